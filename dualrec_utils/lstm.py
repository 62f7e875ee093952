"""Stage 1 of the paper (section 4.2.1): an LSTM over movies, their titles and their genres.

Movie id (128 numbers), mean of the title's word embeddings (64) and genres through a dense layer (64)
make 256 numbers a movie; an LSTM of 256 and one of 128 units read them in order, and a dense layer
gives one logit a movie, whose softmax is the paper's output. Sequences for it come from
:mod:`dualrec_utils.lstm_data`, what it scores goes through :mod:`dualrec_utils.lstm_scores`.
"""

from __future__ import annotations

import os

# Keras reads its backend once, when it is first imported.
os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import numpy as np
import pandas as pd
import torch
from torch.nn import functional
from tqdm import tqdm

from dualrec_utils.errors import StudyError
from dualrec_utils.features import ItemFeatures
from dualrec_utils.lstm_data import IGNORED, Sequences

# Paper section 4.2.1 and Figure 2.
ID_SIZE, TITLE_SIZE, GENRE_SIZE = 128, 64, 64
LSTM_UNITS = (256, 128)


def make_deterministic(seed: int) -> None:
    """Seed Python, numpy, torch and Keras, and let torch use only operations that repeat exactly."""
    if keras.backend.backend() != "torch":
        raise StudyError(
            f"Keras runs on {keras.backend.backend()!r}; set the environment variable"
            " KERAS_BACKEND=torch before Python starts"
        )
    keras.utils.set_random_seed(seed)
    torch.use_deterministic_algorithms(True)


class MovieEncoder(keras.layers.Layer):
    """Movie rows (batch, time) -> vectors (batch, time, 256): id, mean of title words, genres.

    The table of all movies is made once a call and looked up, so that a movie that stands in a batch a
    hundred times is encoded once.
    """

    def __init__(self, features: ItemFeatures, **named) -> None:
        super().__init__(**named)
        self.tokens = torch.tensor(features.tokens)
        real = self.tokens != 0
        self.word_share = (real / real.sum(1, keepdim=True).clamp(min=1)).unsqueeze(-1)
        self.genres = torch.tensor(features.genres)
        self.ids = keras.layers.Embedding(len(features.tokens), ID_SIZE, name="ids")
        self.words = keras.layers.Embedding(len(features.words), TITLE_SIZE, name="words")
        self.genre_layer = keras.layers.Dense(GENRE_SIZE, activation="relu", name="genres")

    def build(self, input_shape) -> None:
        self.ids.build()
        self.words.build()
        self.genre_layer.build(self.genres.shape)

    def table(self) -> torch.Tensor:
        """Vectors of padding and all movies, shape (n_items + 1, 256)."""
        device = self.ids.embeddings.value.device
        # Padding tokens have share 0: the mean is over real words only.
        title = (self.words(self.tokens.to(device)) * self.word_share.to(device)).sum(1)
        genres = self.genre_layer(self.genres.to(device))
        return torch.cat([self.ids.embeddings.value, title, genres], dim=1)

    def call(self, rows):
        # Not `table[rows]`, whose gradient is not the same on every run.
        return functional.embedding(rows.long(), self.table())

    def compute_output_shape(self, input_shape):
        return (*input_shape, ID_SIZE + TITLE_SIZE + GENRE_SIZE)


class TorchLstm(keras.layers.Layer):
    """keras.layers.LSTM(units, return_sequences=True), computed by torch in one call for all steps.

    Weights are those of Keras' layer, transposed, and start as Keras starts them: Glorot for inputs,
    orthogonal for the recurrence, biases 0 but for the forget gate's 1.
    """

    def __init__(self, units: int, **named) -> None:
        super().__init__(**named)
        self.units = units

    def build(self, input_shape) -> None:
        rows, size = 4 * self.units, input_shape[-1]
        self.kernel = self.add_weight((rows, size), initializer="glorot_uniform", name="kernel")
        self.recurrent = self.add_weight((rows, self.units), initializer="orthogonal", name="recurrent")
        self.bias = self.add_weight((rows,), initializer=self._forget_bias, name="bias")

    def _forget_bias(self, shape, dtype=None):
        # Gates stand in the order input, forget, cell, output.
        forget = torch.arange(shape[0]) // self.units == 1
        return forget.to(getattr(torch, dtype or "float32"))

    def call(self, inputs):
        start = inputs.new_zeros(1, inputs.shape[0], self.units)
        # torch adds a second bias to the recurrence, which Keras does not have.
        biases = [self.bias.value, torch.zeros_like(self.bias.value)]
        outputs, _, _ = torch.lstm(
            inputs,
            (start, start),
            [self.kernel.value, self.recurrent.value, *biases],
            has_biases=True,
            num_layers=1,
            dropout=0.0,
            train=False,
            bidirectional=False,
            batch_first=True,
        )
        return outputs

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.units)


class PerTarget(keras.metrics.Mean):
    """Mean over real targets of a function of (targets, logits); padding does not count.

    Args:
        function: (n,) targets and (n, n_items) logits to (n,) values.
    """

    def __init__(self, function, **named) -> None:
        super().__init__(**named)
        self.function = function

    def update_state(self, y_true, y_pred, sample_weight=None) -> None:
        real = y_true != IGNORED
        super().update_state(self.function(y_true[real].long(), y_pred.detach()[real]))


def cross_entropy(targets: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """Negative log-probability of each target, in nats, shape (n,)."""
    return functional.cross_entropy(logits, targets, reduction="none")


def in_top(targets: torch.Tensor, logits: torch.Tensor, *, k: int) -> torch.Tensor:
    """1.0 where the target is among the k highest logits, shape (n,); ties count against it."""
    own = logits.gather(1, targets.unsqueeze(1))
    return ((logits >= own).sum(1) <= k).float()


def build_model(features: ItemFeatures, *, dropout: float) -> keras.Model:
    """The untrained network, with a prediction at every position.

    Args:
        features: of the catalog.
        dropout: share of each LSTM layer's outputs dropped in training (paper: 0.3).

    Returns:
        Rows (batch, time) of movies -> logits (batch, time, n_items) of what comes after each.
    """
    rows = keras.Input((None,), dtype="int64", name="movies")
    state = MovieEncoder(features, name="encoder")(rows)
    for number, units in enumerate(LSTM_UNITS, start=1):
        state = TorchLstm(units, name=f"lstm_{number}")(state)
        state = keras.layers.Dropout(dropout, name=f"dropout_{number}")(state)
    logits = keras.layers.Dense(len(features.tokens) - 1, name="logits")(state)
    return keras.Model(rows, logits, name="lstm")


def at_last_position(model: keras.Model) -> keras.Model:
    """The same weights, with a prediction after the last movie only: logits (batch, 1, n_items)."""
    state = model.get_layer(f"dropout_{len(LSTM_UNITS)}").output[:, -1:]
    return keras.Model(model.input, model.get_layer("logits")(state), name="lstm_last")


def compile_model(model: keras.Model, *, learning_rate) -> None:
    """Adam, cross-entropy over real targets, and the three curves of the paper's Figure 3."""
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=IGNORED),
        metrics=[
            PerTarget(cross_entropy, name="cross_entropy"),
            PerTarget(lambda y, z: in_top(y, z, k=1), name="accuracy"),
            PerTarget(lambda y, z: in_top(y, z, k=5), name="top5_accuracy"),
        ],
        jit_compile=False,
    )


class _Progress(keras.callbacks.Callback):
    """One bar over all steps, on stderr."""

    def __init__(self, label: str) -> None:
        super().__init__()
        self.label = label

    def on_train_begin(self, logs=None) -> None:
        self.bar = tqdm(total=self.params["epochs"] * self.params["steps"], desc=self.label, unit="step")

    def on_train_batch_end(self, batch, logs=None) -> None:
        self.bar.update()

    def on_epoch_end(self, epoch, logs=None) -> None:
        self.bar.set_postfix({name: f"{value:.3f}" for name, value in logs.items() if "cross" in name})

    def on_train_end(self, logs=None) -> None:
        self.bar.close()


def train(
    features: ItemFeatures,
    sequences: Sequences,
    *,
    seed: int,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    dropout: float,
    validation: Sequences | None = None,
    label: str = "LSTM",
) -> tuple[keras.Model, pd.DataFrame]:
    """Build and train the network; the same arguments give the same weights, bit for bit.

    Args:
        features: of the catalog.
        sequences: what to learn from; each target is met once an epoch.
        seed: of the weights, the dropout and the order of the batches.
        epochs: passes over the targets (paper: 10).
        batch_size: rows of `sequences` a step.
        learning_rate: of Adam at the start; it falls to zero along a half cosine.
        dropout: share, in [0, 1).
        validation: sequences of other users, measured after each epoch.
        label: of the progress bar.

    Returns:
        (model, curves): curves have `epoch` (from 1), `part`, `metric`, `value`. Training values are
        means over the epoch, dropout on, as the paper's are.
    """
    make_deterministic(seed)
    model = build_model(features, dropout=dropout)
    trained = at_last_position(model) if sequences.targets.shape[1] == 1 else model
    steps = -(-len(sequences.rows) // batch_size) * epochs
    compile_model(trained, learning_rate=keras.optimizers.schedules.CosineDecay(learning_rate, steps))
    fitted = trained.fit(
        sequences.rows,
        sequences.targets,
        batch_size=batch_size,
        epochs=epochs,
        shuffle=True,
        validation_data=None if validation is None else (validation.rows, validation.targets),
        validation_batch_size=64,
        verbose=0,
        callbacks=[_Progress(label)],
    )
    return model, _curves(fitted.history)


def _curves(history: dict[str, list[float]]) -> pd.DataFrame:
    rows = []
    for part, prefix in (("train", ""), ("validation", "val_")):
        for metric, name in (
            ("loss", "cross_entropy"),
            ("accuracy", "accuracy"),
            ("top5_accuracy", "top5_accuracy"),
        ):
            values = history.get(prefix + name, [])
            rows += [(epoch, part, metric, float(value)) for epoch, value in enumerate(values, start=1)]
    return pd.DataFrame(rows, columns=["epoch", "part", "metric", "value"])


def measure(model: keras.Model, sequences: Sequences, *, batch_size: int = 128) -> dict[str, float]:
    """Loss (nats), accuracy and top-5 accuracy of a trained model, dropout off, over all targets."""
    measured = at_last_position(model) if sequences.targets.shape[1] == 1 else model
    compile_model(measured, learning_rate=0.0)
    found = measured.evaluate(
        sequences.rows, sequences.targets, batch_size=batch_size, verbose=0, return_dict=True
    )
    return {
        "loss": float(found["cross_entropy"]),
        "accuracy": float(found["accuracy"]),
        "top5_accuracy": float(found["top5_accuracy"]),
    }


def log_probabilities(
    model: keras.Model, histories: list[np.ndarray], *, max_history: int, label: str = "scoring"
) -> np.ndarray:
    """Log-probability of every movie as the next one.

    Args:
        model: trained.
        histories: rows of movies, oldest first, each with at least one.
        max_history: only the last so many are read.

    Returns:
        Shape (n_histories, n_items), float32.
    """
    last = at_last_position(model)
    cut = [np.asarray(history)[-max_history:] for history in histories]
    lengths = np.array([len(history) for history in cut])
    if len(lengths) and lengths.min() == 0:
        raise StudyError(f"history {int(lengths.argmin())} is empty; the LSTM needs at least one movie")
    scores = np.empty((len(cut), model.output_shape[-1]), dtype=np.float32)
    # Histories of one length go together: no padding, whatever else is scored.
    for length in tqdm(np.unique(lengths), desc=label, unit="length"):
        own = np.flatnonzero(lengths == length)
        for place in np.array_split(own, -(-len(own) // 256)):
            with torch.no_grad():
                logits = last(np.stack([cut[i] for i in place]), training=False)[:, 0]
            scores[place] = torch.log_softmax(logits, dim=1).cpu().numpy()
    return scores

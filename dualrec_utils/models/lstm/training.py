"""Train the LSTM of the paper's Stage 1, measure it, and let it score histories.

The network is in :mod:`models.lstm.network`, the sequences it learns from are cut in
:mod:`models.lstm.sequences`, and :mod:`models.lstm.scores` writes what later stages read.
"""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import pandas as pd
import torch
from torch.nn import functional
from tqdm import tqdm

from dualrec_utils.content.features import ItemFeatures
from dualrec_utils.core.errors import StudyError
from dualrec_utils.models.lstm.network import at_last_position, build_model
from dualrec_utils.models.lstm.sequences import IGNORED, Sequences

Schedule = keras.optimizers.schedules.LearningRateSchedule
# Curve -> Keras' name of it. Its own loss is a mean over batches, not over targets.
_CURVES = {"loss": "cross_entropy", "accuracy": "accuracy", "top5_accuracy": "top5_accuracy"}


def make_deterministic(seed: int) -> None:
    """Seed Python, numpy, torch and Keras, and let torch use only operations that repeat exactly."""
    if keras.backend.backend() != "torch":
        raise StudyError(
            f"Keras runs on {keras.backend.backend()!r}; set the environment variable"
            " KERAS_BACKEND=torch before Python starts"
        )
    keras.utils.set_random_seed(seed)
    torch.use_deterministic_algorithms(True)
    # Nothing here reads memory before it is written, and filling it costs a tenth of the time.
    torch.utils.deterministic.fill_uninitialized_memory = False


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
    of_target = logits.gather(1, targets.unsqueeze(1))
    return ((logits >= of_target).sum(1) <= k).float()


def _asked_as(model: keras.Model, sequences: Sequences) -> keras.Model:
    """The same weights, predicting where `sequences` has targets; `model` itself stays uncompiled, so
    that no optimizer is saved with it."""
    if sequences.targets.shape[1] == 1 and model.output_shape[1] is None:
        return at_last_position(model)
    return keras.Model(model.input, model.output)


def compile_model(model: keras.Model, optimizer: keras.optimizers.Optimizer | str = "adam") -> None:
    """Cross-entropy over real targets, and the three curves of the paper's Figure 3."""
    model.compile(
        optimizer=optimizer,
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=IGNORED),
        metrics=[
            PerTarget(cross_entropy, name="cross_entropy"),
            PerTarget(lambda y, z: in_top(y, z, k=1), name="accuracy"),
            PerTarget(lambda y, z: in_top(y, z, k=5), name="top5_accuracy"),
        ],
        jit_compile=False,
    )


def train(
    features: ItemFeatures, sequences: Sequences, *, seed: int, dropout: float, **learning
) -> tuple[keras.Model, pd.DataFrame]:
    """Build and train the network; the same arguments give the same weights, bit for bit.

    Args:
        sequences: what to learn from.
        seed: of the weights, the dropout and the order of the batches.
        dropout: share, in [0, 1).
        learning: further arguments of :func:`fit`.

    Returns:
        (model, curves), the curves as from :func:`fit`.
    """
    make_deterministic(seed)
    model = build_model(features, dropout=dropout)
    return model, fit(model, sequences, **learning)


def fit(
    model: keras.Model,
    sequences: Sequences,
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    validation: Sequences | None = None,
    label: str = "LSTM",
    optimizer: Callable[[Schedule], keras.optimizers.Optimizer] = keras.optimizers.Adam,
) -> pd.DataFrame:
    """Train a network in place.

    Args:
        model: from :func:`build_model`, or one that predicts a window's next item only.
        sequences: what to learn from; each target is met once an epoch.
        epochs: passes over the targets (paper: 10).
        batch_size: rows of `sequences` a step.
        learning_rate: at the start; it falls to zero along a half cosine.
        validation: sequences of other users, measured after each epoch.
        optimizer: made of the learning rate's schedule.

    Returns:
        Curves: `epoch` (from 1), `part`, `metric`, `value`. Training values are means over the epoch,
        dropout on, as the paper's are.
    """
    trained = _asked_as(model, sequences)
    steps = -(-len(sequences.rows) // batch_size) * epochs
    compile_model(trained, optimizer(keras.optimizers.schedules.CosineDecay(learning_rate, steps)))
    with tqdm(total=steps, desc=label, unit="step") as bar:
        history = trained.fit(
            sequences.rows,
            sequences.targets,
            batch_size=batch_size,
            epochs=epochs,
            shuffle=True,
            validation_data=None if validation is None else (validation.rows, validation.targets),
            validation_batch_size=64,
            verbose=0,
            callbacks=[
                keras.callbacks.LambdaCallback(
                    on_train_batch_end=lambda batch, logs: bar.update(),
                    on_epoch_end=lambda epoch, logs: bar.set_postfix(loss=f"{logs['cross_entropy']:.3f}"),
                )
            ],
        ).history
    rows = [
        (epoch, part, metric, float(value))
        for part, prefix in (("train", ""), ("validation", "val_"))
        for metric, name in _CURVES.items()
        for epoch, value in enumerate(history.get(prefix + name, []), start=1)
    ]
    return pd.DataFrame(rows, columns=["epoch", "part", "metric", "value"])


def measure(model: keras.Model, sequences: Sequences) -> dict[str, float]:
    """Loss (nats), accuracy and top-5 accuracy of a trained model, dropout off, over all targets.

    Raises:
        StudyError: when there is none: no history is as long as a window and its target.
    """
    if not len(sequences.rows):
        window = sequences.rows.shape[1]
        raise StudyError(
            f"lstm.window is {window}, and no validation user has {window + 1} items: choose a smaller one"
        )
    measured = _asked_as(model, sequences)
    compile_model(measured)
    values = measured.evaluate(
        sequences.rows, sequences.targets, batch_size=128, verbose=0, return_dict=True
    )
    return {metric: float(values[name]) for metric, name in _CURVES.items()}


def log_probabilities(
    model: keras.Model, histories: list[np.ndarray], *, max_history: int, label: str = "scoring"
) -> np.ndarray:
    """Log-probability of every item as the next one.

    Args:
        histories: rows of items, oldest first, each with at least one.
        max_history: only the last so many are read.

    Returns:
        Shape (n_histories, n_items), float32.
    """
    last = at_last_position(model)
    cut = [np.asarray(history)[-max_history:] for history in histories]
    lengths = np.array([len(history) for history in cut])
    if len(lengths) and lengths.min() == 0:
        raise StudyError(f"history {int(lengths.argmin())} is empty; the LSTM needs at least one item")
    scores = np.empty((len(cut), model.output_shape[-1]), dtype=np.float32)
    # Histories of one length go together: no padding, whatever else is scored.
    for length in tqdm(np.unique(lengths), desc=label, unit="length"):
        places = np.flatnonzero(lengths == length)
        for place in np.array_split(places, -(-len(places) // 256)):
            with torch.no_grad():
                logits = last(np.stack([cut[i] for i in place]), training=False)[:, 0]
            scores[place] = torch.log_softmax(logits, dim=1).cpu().numpy()
    return scores

"""The network of the paper's Stage 1 (section 4.2.1, Figure 2), in Keras on torch.

Item id (128 numbers), mean of the title's word embeddings (64) and genres through a dense layer (64)
make 256 numbers an item; an LSTM of 256 and one of 128 units read them in order, and a dense layer
gives one logit an item, whose softmax is the paper's output.
"""

from __future__ import annotations

import keras
import torch
from torch.nn import functional

from dualrec_utils.content.features import ItemFeatures

ID_SIZE, TITLE_SIZE, GENRE_SIZE = 128, 64, 64
LSTM_UNITS = (256, 128)


class MovieEncoder(keras.layers.Layer):
    """Item rows (batch, time) -> vectors (batch, time, 256): id, mean of title words, genres.

    The table of all items is made once a call and looked up, so that an item that stands in a batch a
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
        """Vectors of padding and all items, shape (n_items + 1, 256)."""
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
            # An orthogonal start comes with its columns in a row, which cuDNN refuses.
            [self.kernel.value, self.recurrent.value.contiguous(), *biases],
            has_biases=True,
            num_layers=1,
            dropout=0.0,
            # cuDNN keeps what the gradient needs only if told so; without dropout it changes nothing else.
            train=torch.is_grad_enabled(),
            bidirectional=False,
            batch_first=True,
        )
        return outputs

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.units)


def build_model(features: ItemFeatures, *, dropout: float) -> keras.Model:
    """The untrained network, with a prediction at every position.

    Args:
        dropout: share of each LSTM layer's outputs dropped in training (paper: 0.3).

    Returns:
        Rows (batch, time) of items -> logits (batch, time, n_items) of what comes after each.
    """
    rows = keras.Input((None,), dtype="int64", name="movies")
    state = MovieEncoder(features, name="encoder")(rows)
    for number, units in enumerate(LSTM_UNITS, start=1):
        state = TorchLstm(units, name=f"lstm_{number}")(state)
        state = keras.layers.Dropout(dropout, name=f"dropout_{number}")(state)
    logits = keras.layers.Dense(len(features.tokens) - 1, name="logits")(state)
    return keras.Model(rows, logits, name="lstm")


def at_last_position(model: keras.Model) -> keras.Model:
    """The same weights, with a prediction after the last item only: logits (batch, 1, n_items)."""
    state = model.get_layer(f"dropout_{len(LSTM_UNITS)}").output[:, -1:]
    return keras.Model(model.input, model.get_layer("logits")(state), name="lstm_last")

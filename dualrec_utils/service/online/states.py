"""The trained LSTM, one step per event: what it has read of each user is kept, and only news are read."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np
import torch

from dualrec_utils.content.features import item_features
from dualrec_utils.core import config
from dualrec_utils.core.catalog import Catalog, load_catalog
from dualrec_utils.core.errors import StudyError, first_line
from dualrec_utils.models.lstm.network import LSTM_UNITS, build_model
from dualrec_utils.pipeline import params

# Steps that are read at once. torch keeps what it has prepared for every length that it meets, some hundred
# megabytes for all lengths of histories.
_PIECES = (128, 32, 8, 1)
# h and c of a layer, each of shape (1, 1, units).
_State = tuple[torch.Tensor, torch.Tensor]


def load_lstm(dataset: str) -> keras.Model:
    """The network that notebook 02 trained; its shape comes from section `lstm` of `params.yaml`.

    Raises:
        StudyError: when its weights are not there, or are of another shape.
    """
    path = config.stage_dir(dataset, "lstm") / "lstm.weights.h5"
    if not path.is_file():
        raise StudyError(f"{path} is not there: run `dvc repro lstm` first")
    settings = params.section("lstm")
    words = {key: settings[key] for key in ("title_vocabulary", "title_length")}
    model = build_model(item_features(load_catalog(dataset), **words), dropout=settings["dropout"])
    try:
        model.load_weights(path)
    except (OSError, ValueError, KeyError) as error:
        raise StudyError(
            f"{path} is damaged or of another network ({first_line(error)}): run `dvc repro -f lstm`"
        ) from error
    return model


@dataclass(frozen=True)
class _Layer:
    """An LSTM layer of :class:`models.lstm.network.TorchLstm`, which starts where it stopped."""

    weights: list[torch.Tensor]

    @classmethod
    def of(cls, layer: keras.layers.Layer) -> _Layer:
        kernel, recurrent, bias = (_copy(w) for w in (layer.kernel, layer.recurrent, layer.bias))
        # torch adds a second bias to the recurrence, which Keras does not have.
        return cls([kernel, recurrent, bias, torch.zeros_like(bias)])

    def read(self, inputs: torch.Tensor, state: _State) -> tuple[torch.Tensor, _State]:
        """Outputs for inputs of shape (1, time, size), and the state after the last."""
        outputs, n_read = [], 0
        while n_read < inputs.shape[1]:
            size = next(size for size in _PIECES if size <= inputs.shape[1] - n_read)
            piece, state = self._read_piece(inputs[:, n_read : n_read + size], state)
            outputs.append(piece)
            n_read += size
        return torch.cat(outputs, dim=1), state

    def _read_piece(self, inputs: torch.Tensor, state: _State) -> tuple[torch.Tensor, _State]:
        if inputs.shape[1] == 1:
            # torch.lstm prepares its weights at every call, which takes ten times as long as one step.
            h, c = torch.lstm_cell(inputs[0], (state[0][0], state[1][0]), *self.weights)
            return h.unsqueeze(0), (h.unsqueeze(0), c.unsqueeze(0))
        outputs, *after = torch.lstm(
            inputs,
            state,
            self.weights,
            has_biases=True,
            num_layers=1,
            dropout=0.0,
            train=False,
            bidirectional=False,
            batch_first=True,
        )
        return outputs, tuple(after)


def _copy(variable: keras.Variable) -> torch.Tensor:
    return variable.value.detach().cpu().contiguous().clone()


@dataclass(frozen=True)
class _Read:
    """Attributes: rows: of the items that were read, in order; states: of the layers after them."""

    rows: np.ndarray
    states: tuple[_State, ...]


class LstmStates:
    """Scores of the next item from whole histories, with the states of the users who came last.

    Threads may share it: what is kept of a user is replaced, never changed.

    Args:
        model: from :func:`load_lstm`; its weights are copied.
        catalog: items that it was trained on.
        max_users: users whose state is kept; of one more, whoever came least recently is read anew.
    """

    def __init__(self, model: keras.Model, catalog: Catalog, *, max_users: int = 10_000) -> None:
        self._catalog, self._max_users = catalog, max_users
        with torch.no_grad():
            self._items = model.get_layer("encoder").table().cpu()
        self._layers = [_Layer.of(model.get_layer(f"lstm_{n + 1}")) for n in range(len(LSTM_UNITS))]
        logits = model.get_layer("logits")
        self._kernel, self._bias = _copy(logits.kernel), _copy(logits.bias)
        self._nothing = _Read(
            np.empty(0, np.int32),
            tuple((torch.zeros(1, 1, units), torch.zeros(1, 1, units)) for units in LSTM_UNITS),
        )
        self._users: OrderedDict[int, _Read] = OrderedDict()
        self._lock = threading.Lock()

    def scores(self, user: int | None, history: Sequence[int]) -> np.ndarray:
        """Log-probability of every item as the next one.

        A history that goes on from the one that was last read of this user costs a step for each new
        item; any other is read whole.

        Args:
            user: id; None of somebody without one: everything is read, and nothing kept.
            history: item ids, oldest first, at least one.

        Returns:
            Float32, shape (n_items,).

        Raises:
            StudyError: on an empty history, or an item that the catalog does not have.
        """
        if not len(history):
            raise StudyError("the history is empty; the LSTM needs at least one item")
        rows = self._catalog.rows(history).astype(np.int32)
        before = self._nothing
        if user is not None:
            with self._lock:
                before = self._users.get(user, self._nothing)
        if not np.array_equal(before.rows, rows[: len(before.rows)]):
            before = self._nothing
        with torch.inference_mode():
            now = self._read_on(before, rows)
            top = now.states[-1][0].reshape(1, -1)
            logits = torch.addmm(self._bias, top, self._kernel)
            scores = torch.log_softmax(logits, dim=1)[0].numpy()
        if user is None:
            return scores
        with self._lock:
            self._users[user] = now
            self._users.move_to_end(user)
            if len(self._users) > self._max_users:
                self._users.popitem(last=False)
        return scores

    def _read_on(self, before: _Read, rows: np.ndarray) -> _Read:
        new = rows[len(before.rows) :]
        if not len(new):
            return before
        outputs, states = self._items[torch.from_numpy(new)].unsqueeze(0), []
        for layer, state in zip(self._layers, before.states, strict=True):
            outputs, after = layer.read(outputs, state)
            states.append(after)
        return _Read(rows, tuple(states))

    def forget(self, user: int) -> None:
        """Drop what is kept of a user."""
        with self._lock:
            self._users.pop(user, None)

    def bytes_of(self, user: int) -> int:
        """Memory that a user's state and the items it has read take, in bytes; 0 where none is kept."""
        with self._lock:
            read = self._users.get(user)
        if read is None:
            return 0
        return read.rows.nbytes + sum(half.nbytes for state in read.states for half in state)

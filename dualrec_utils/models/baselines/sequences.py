"""Reading histories in order: how they are cut, padded and scored, for every model that does.

Inside a network items are rows of a table: 0 is padding, catalog column j is row j + 1. Histories are
padded at the end.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from dualrec_utils.core.errors import StudyError
from dualrec_utils.models.baselines.neural import NeuralBaseline
from dualrec_utils.models.lstm.sequences import IGNORED, every_position

PADDING = 0
# Hyperparameters of several models.
EMBEDDING = {"embedding_size": (1, 4_096)}  # of item vectors
TRANSFORMER = EMBEDDING | {"n_layers": (1, 16), "n_heads": (1, 64)}


class SequenceBaseline(NeuralBaseline):
    """A next-item classifier: cross-entropy over the whole catalog, with a target at every position.

    The network is made of the model, whose hyperparameters give its shape. `states(rows)` reads rows
    (batch, time) and gives (batch, time, size), position t knowing rows 0 ... t only, or (batch, 1, size)
    where it reads a history as a whole; `logits(states)` turns (n, size) into (n, n_items). In each epoch
    every history is cut into pieces of `max_length` at a phase drawn anew, so that an item meets histories
    of different lengths; each item but a history's first is a target once.

    Raises:
        StudyError: when heads or intents do not divide the item vectors.
    """

    trained_on = "a target at every position"
    network: type[nn.Module]
    ranges = {
        "max_length": (1, 1_000),  # items of a history that are read, from the last
        "dropout": (0.0, 0.95),  # share; each model says of what
    }

    def __init__(self, item_ids: np.ndarray, **given) -> None:
        super().__init__(item_ids, **given)
        for part in {"n_heads", "n_intents"} & set(given):
            if self.embedding_size % given[part]:
                raise StudyError(
                    f"embedding_size {self.embedding_size} must be a multiple of {part} {given[part]}"
                )

    def _build(self, histories: list[np.ndarray]) -> nn.Module:
        return self.network(self)

    def _examples(self, histories: list[np.ndarray], draw: np.random.Generator) -> tuple[np.ndarray, ...]:
        parts = []
        for history in histories:
            cut = draw.integers(self.max_length)
            parts += [history[: cut + 1] + 1, history[cut:] + 1]
        pieces = every_position(parts, length=self.max_length)
        return pieces.rows, pieces.targets

    def _loss(self, rows: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        # Padding beyond the longest row of the batch is read by nobody.
        longest = int((rows != PADDING).sum(1).max())
        states = self._network.states(rows[:, :longest])
        targets = targets[:, : states.shape[1]].flatten()
        real = torch.nonzero(targets != IGNORED).squeeze(1)
        logits = self._network.logits(states.flatten(0, 1).index_select(0, real))
        return functional.cross_entropy(logits, targets.index_select(0, real))

    def _network_scores(self, histories: list[np.ndarray], users: np.ndarray) -> torch.Tensor:
        rows = padded([self._query(history) for history in histories]).to(self._device)
        states = self._network.states(rows)
        last = (rows != PADDING).sum(1).clamp(max=states.shape[1]) - 1
        return self._network.logits(states[torch.arange(len(rows), device=rows.device), last])

    def _query(self, history: np.ndarray) -> np.ndarray:
        """Rows that are read of a history when it is scored."""
        return history[-self.max_length :] + 1


class PrefixBaseline(SequenceBaseline):
    """A sequence model that reads a history as a whole, so that each target costs a pass of its own.

    In each epoch, a few targets are drawn from each history; the last `max_length` items before each
    are read.
    """

    ranges = {"prefixes_per_user": (1, 10_000)}  # targets drawn of each history and epoch

    @property
    def trained_on(self) -> str:
        return f"{self.prefixes_per_user} prefixes a user and epoch"

    def _examples(self, histories: list[np.ndarray], draw: np.random.Generator) -> tuple[np.ndarray, ...]:
        rows, targets = [], []
        for history in histories:
            n_targets = max(len(history) - 1, 0)
            ends = draw.choice(n_targets, size=min(self.prefixes_per_user, n_targets), replace=False) + 1
            rows += [self._query(history[:end]) for end in ends]
            targets += [history[end] for end in ends]
        return padded(rows, length=self.max_length).numpy(), np.array(targets, dtype=np.int64)[:, None]


def padded(rows: list[np.ndarray], *, length: int = 1) -> torch.Tensor:
    """Rows of different lengths in one tensor (n, longest or `length`, whichever is more)."""
    length = max([length, *map(len, rows)])
    filled = np.full((len(rows), length), PADDING, dtype=np.int64)
    for i, row in enumerate(rows):
        filled[i, : len(row)] = row
    return torch.from_numpy(filled)


class ItemNetwork(nn.Module):
    """A network that scores an item by the product of a state and the item's own vector.

    Attributes:
        items: vectors of padding (zero) and of all items, see :func:`item_table`.
    """

    def logits(self, states: torch.Tensor) -> torch.Tensor:
        return states @ self.items.weight[1:].T


def item_table(model: NeuralBaseline) -> nn.Embedding:
    """Vectors of padding (zero) and of all items, drawn with variance 1 / size."""
    size = model.embedding_size
    table = nn.Embedding(model.n_items + 1, size, padding_idx=PADDING)
    with torch.no_grad():
        table.weight.normal_(std=size**-0.5)
        table.weight[PADDING].zero_()
    return table


def transformer(model: SequenceBaseline) -> nn.TransformerEncoder:
    """The Transformer of BERT4Rec and UniSRec, as its hyperparameters have it."""
    size = model.embedding_size
    layer = nn.TransformerEncoderLayer(
        size, model.n_heads, 4 * size, dropout=model.dropout, activation="gelu", batch_first=True
    )
    return nn.TransformerEncoder(layer, model.n_layers, enable_nested_tensor=False)


def earlier(length: int, *, device: torch.device) -> torch.Tensor:
    """(length, length), True where column ≤ row: what position `row` may know."""
    return torch.ones(length, length, dtype=torch.bool, device=device).tril()


def from_the_end(rows: torch.Tensor) -> torch.Tensor:
    """Reversed positions: 0 at the last item, 1 before it, ...; 0 at padding. Shape of `rows`."""
    lengths = (rows != PADDING).sum(1, keepdim=True)
    return (lengths - 1 - torch.arange(rows.shape[1], device=rows.device)).clamp(min=0)


def same_item(rows: torch.Tensor) -> torch.Tensor:
    """(batch, time, time), 1.0 where two positions hold the same item; padding equals nothing."""
    return ((rows[:, :, None] == rows[:, None, :]) & (rows != PADDING)[:, None, :]).float()


def first_occurrence(rows: torch.Tensor) -> torch.Tensor:
    """(batch, time), True where an item stands for the first time; False at padding."""
    return (same_item(rows).tril(-1).sum(2) == 0) & (rows != PADDING)


def masked_softmax(values: torch.Tensor, allowed: torch.Tensor) -> torch.Tensor:
    """Softmax over the last axis among allowed entries; 0 elsewhere, also where none is allowed."""
    shares = values.masked_fill(~allowed, torch.finfo(values.dtype).min).softmax(-1)
    return shares * allowed

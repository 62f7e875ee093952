"""GCE-GNN: a graph of the history itself and one of what follows what in all histories.

Wang, Wei, Cong, Li, Mao and Qiu (2020), "Global context enhanced graph neural networks for session-based
recommendation", SIGIR.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy import sparse
from torch import nn
from torch.nn import functional

from dualrec_utils.models.baselines.sequences import (
    EMBEDDING,
    PADDING,
    ItemNetwork,
    PrefixBaseline,
    first_occurrence,
    from_the_end,
    item_table,
    masked_softmax,
    same_item,
)

# Of the authors' code.
_DISTANCE, _SLOPE = 3, 0.2
_STRANGER, _SELF, _OUT, _IN, _BOTH = 0, 1, 2, 3, 4


def global_graph(
    histories: Sequence[np.ndarray], n_items: int, *, n_neighbours: int
) -> tuple[np.ndarray, np.ndarray]:
    """The heaviest neighbours of every item in the global graph (paper, section 4.2).

    Two items are linked as often as they stand at most three apart in a training history, in either
    direction.

    Args:
        histories: arrays of catalog columns.
        n_neighbours: kept of each item; equal weights go to the lowest column.

    Returns:
        (neighbours, weights), each of shape (n_items + 1, n_neighbours), row 0 for padding: rows of
        items (0 where there are no more) and their share of the weight kept.
    """
    pairs = [(history[:-step], history[step:]) for history in histories for step in range(1, _DISTANCE + 1)]
    before, after = (np.concatenate(side) for side in zip(*pairs, strict=True))
    counts = sparse.coo_array((np.ones(len(before)), (before, after)), shape=(n_items, n_items)).toarray()
    counts = counts + counts.T
    np.fill_diagonal(counts, 0)
    n_neighbours = min(n_neighbours, n_items)
    order = np.argsort(-counts, axis=1, kind="stable")[:, :n_neighbours]
    kept = np.take_along_axis(counts, order, axis=1)
    shares = kept / np.maximum(kept.sum(axis=1, keepdims=True), 1)
    rows = np.where(kept > 0, order + 1, PADDING)
    above = np.zeros((1, n_neighbours))
    return np.vstack([above, rows]).astype(np.int64), np.vstack([above, shares]).astype(np.float32)


def session_graph(rows: torch.Tensor) -> torch.Tensor:
    """How the items of a history are linked (paper, section 4.3).

    Args:
        rows: (batch, time).

    Returns:
        (batch, time, time): 0 not linked, 1 the same item, 2 right before, 3 right after, 4 both;
        entry (i, j) says what the item at i is to the item at j. Padding is linked to nothing.
    """
    same = same_item(rows)
    before = same[:, :, :-1] @ same[:, 1:, :] > 0
    after = before.transpose(1, 2)
    relation = _OUT * (before & ~after) + _IN * (after & ~before) + _BOTH * (before & after)
    return torch.where(same > 0, _SELF, relation)


class _Network(ItemNetwork):
    def __init__(self, model: GCEGNN, neighbours: np.ndarray, weights: np.ndarray) -> None:
        super().__init__()
        size = model.embedding_size
        self.register_buffer("neighbours", torch.from_numpy(neighbours))
        self.register_buffer("weights", torch.from_numpy(weights))
        self.items = item_table(model)
        self.relations = nn.Parameter(torch.empty(_BOTH, size))
        self.positions = nn.Parameter(torch.empty(model.max_length, size))
        self.attention = nn.Linear(size + 1, size, bias=False)
        self.attention_weight = nn.Linear(size, 1, bias=False)
        self.joined = nn.Linear(2 * size, size, bias=False)
        self.dropout = nn.Dropout(model.dropout)
        self.positioned = nn.Linear(2 * size, size)
        self.of_node, self.of_mean = nn.Linear(size, size), nn.Linear(size, size, bias=False)
        self.readout = nn.Linear(size, 1, bias=False)
        for parameter in (self.relations, self.positions):
            nn.init.uniform_(parameter, -(size**-0.5), size**-0.5)

    def states(self, rows: torch.Tensor) -> torch.Tensor:
        vectors = self.items(rows)
        real = (rows != PADDING).unsqueeze(2)
        count = real.sum(1)
        nodes = self._local(rows, vectors)
        nodes = nodes + self.dropout(self._around(rows, vectors, (vectors * real).sum(1) / count))
        mean = (nodes * real).sum(1, keepdim=True) / count.unsqueeze(2)
        placed = torch.tanh(
            self.positioned(torch.cat([functional.embedding(from_the_end(rows), self.positions), nodes], 2))
        )
        weights = self.readout(torch.sigmoid(self.of_node(placed) + self.of_mean(mean))) * real
        return (weights * nodes).sum(1, keepdim=True)

    def _local(self, rows: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
        """Attention over the items linked within the history, oneself included."""
        relation = session_graph(rows)
        scores = torch.zeros_like(relation, dtype=vectors.dtype)
        for kind in range(_SELF, _BOTH + 1):
            similarity = (vectors * self.relations[kind - 1]) @ vectors.transpose(1, 2)
            scores = torch.where(relation == kind, functional.leaky_relu(similarity, _SLOPE), scores)
        # An item that stands twice is one node.
        linked = (relation != _STRANGER) & first_occurrence(rows).unsqueeze(1)
        return masked_softmax(scores, linked) @ vectors

    def _around(self, rows: torch.Tensor, vectors: torch.Tensor, mean: torch.Tensor) -> torch.Tensor:
        """Attention over each item's global neighbours, asked by the mean of the history."""
        neighbours = self.neighbours[rows]
        around = self.items(neighbours)
        both = torch.cat([mean[:, None, None] * around, self.weights[rows].unsqueeze(3)], dim=3)
        scores = self.attention_weight(functional.leaky_relu(self.attention(both), _SLOPE)).squeeze(3)
        share = masked_softmax(scores, neighbours != PADDING).unsqueeze(3)
        return torch.relu(self.joined(torch.cat([vectors, (share * around).sum(2)], dim=2)))


class GCEGNN(PrefixBaseline):
    """Attention over local and global neighbours of the items, read out from the last one backwards.

    Departs from the authors' code: an item with fewer global neighbours than asked has fewer, instead of
    repeated ones; weights of global edges are shares of the item's kept weight, not counts; one global
    hop. `dropout` is on the vectors from the global graph.
    """

    ranges = EMBEDDING | {
        "n_neighbours": (1, 1_000),  # heaviest global neighbours kept of each item (authors: 12)
    }

    def _build(self, histories: list[np.ndarray]) -> nn.Module:
        return _Network(self, *global_graph(histories, self.n_items, n_neighbours=self.n_neighbours))

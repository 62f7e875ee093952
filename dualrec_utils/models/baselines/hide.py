"""HIDE: hyperedges over windows, transitions and intents of a history.

Li, Zhu, Zhu, Ding, Wang and Hu (2022), "Enhancing hypergraph neural networks with intent disentanglement
for session-based recommendation", SIGIR.
"""

from __future__ import annotations

import torch
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

# Of the authors' code: share of a history in an intent, weight of the loss that tells intents apart.
_INTENT_SHARE, _APART = 0.4, 1e-4
_SLOPE = 0.2
_WINDOW, _TRANSITION, _INTENT = 0, 1, 2


def window_edges(rows: torch.Tensor, longest: int) -> torch.Tensor:
    """Which items stand in which window of 2 to `longest` items in a row.

    Args:
        rows: (batch, time).

    Returns:
        (batch, n_windows, time), boolean; a window that reaches into padding is empty.
    """
    time = rows.shape[1]
    spans = [(start, start + size) for size in range(2, longest + 1) for start in range(time - size + 1)]
    places = torch.zeros(len(spans), time, device=rows.device)
    for edge, (start, end) in enumerate(spans):
        places[edge, start:end] = 1
    lengths = (rows != PADDING).sum(1)
    ends = torch.tensor([end for _, end in spans], device=rows.device, dtype=lengths.dtype)
    whole = ends <= lengths[:, None]
    return (places @ same_item(rows) > 0) & whole.unsqueeze(2)


def transition_edges(rows: torch.Tensor) -> torch.Tensor:
    """Each item with all that stand right before it: (batch, time, time), boolean."""
    same = same_item(rows)
    before = same[:, :, 1:] @ same[:, :-1, :] > 0
    return (before | (same > 0)) & first_occurrence(rows).unsqueeze(2)


class _Network(ItemNetwork):
    def __init__(self, model: HIDE) -> None:
        super().__init__()
        size, n_intents = model.embedding_size, model.n_intents
        self.n_intents, self.longest_window = n_intents, model.longest_window
        self.items = item_table(model)
        self.dropout = nn.Dropout(model.dropout)
        self.positions = nn.Parameter(torch.empty(model.max_length, size))
        part, kinds = size // n_intents, _INTENT + 1
        self.to_edge, self.to_node = (nn.Parameter(torch.empty(kinds, part)) for _ in range(2))
        self.apart = nn.Linear(part, n_intents)
        self.positioned = nn.Linear(2 * size, size)
        self.session = nn.Linear(2 * size, size, bias=False)
        self.of_node, self.of_session, self.of_both = (nn.Linear(size, size) for _ in range(3))
        self.readout = nn.Linear(3 * size, 1, bias=False)
        for parameter in (self.positions, self.to_edge, self.to_node):
            nn.init.uniform_(parameter, -(size**-0.5), size**-0.5)

    def prototypes(self) -> torch.Tensor:
        """Mean of each part of the vectors over the catalog: (n_intents, size / n_intents)."""
        return self.items.weight[1:].mean(0).view(self.n_intents, -1)

    def confusion(self) -> torch.Tensor:
        """Cross-entropy of telling the intents' prototypes apart."""
        intents = torch.arange(self.n_intents, device=self.items.weight.device)
        return functional.cross_entropy(self.apart(self.prototypes()), intents)

    def states(self, rows: torch.Tensor) -> torch.Tensor:
        vectors = self.dropout(self.items(rows))
        real = (rows != PADDING).unsqueeze(2)
        nodes = self._propagated(rows, vectors)
        mean = (nodes * real).sum(1, keepdim=True) / real.sum(1, keepdim=True)
        back = from_the_end(rows)
        last = (nodes * (real & (back == 0).unsqueeze(2))).sum(1, keepdim=True)
        placed = torch.tanh(
            self.positioned(torch.cat([functional.embedding(back, self.positions), nodes], dim=2))
        )
        session = self.session(torch.cat([mean, last], dim=2))
        features = torch.cat(
            [
                self.of_node(placed),
                self.of_session(session).expand_as(nodes),
                self.of_both(session * nodes),
            ],
            dim=2,
        )
        return (self.readout(torch.sigmoid(features)) * real * nodes).sum(1, keepdim=True)

    def _propagated(self, rows: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
        """Vectors after one pass to the hyperedges and back: (batch, time, size)."""
        parts = vectors.unflatten(2, (self.n_intents, -1)).transpose(1, 2)
        prototypes = self.prototypes().unsqueeze(1)
        windows, transitions = window_edges(rows, self.longest_window), transition_edges(rows)
        shared = torch.cat([windows, transitions], dim=1).unsqueeze(1).expand(-1, self.n_intents, -1, -1)
        edges = torch.cat([shared, self._intent_edges(rows, parts, prototypes)], dim=2)
        # An item that stands twice is one node.
        edges = edges & first_occurrence(rows)[:, None, None]
        kind = torch.tensor(
            [_WINDOW] * windows.shape[1] + [_TRANSITION] * transitions.shape[1] + [_INTENT],
            device=rows.device,
        )
        sums = edges.to(parts.dtype) @ parts
        scores = (sums * functional.embedding(kind, self.to_edge)) @ parts.transpose(2, 3)
        of_edges = masked_softmax(functional.leaky_relu(scores, _SLOPE), edges) @ parts
        real = (rows != PADDING)[:, None, :, None]
        mean = (parts * real).sum(2, keepdim=True) / real.sum(2, keepdim=True)
        scores = (parts + mean) @ (of_edges * functional.embedding(kind, self.to_node)).transpose(2, 3)
        # Back to every place of an item, not only its first.
        same = same_item(rows).unsqueeze(1)
        around = (same @ edges.transpose(2, 3).to(parts.dtype)) > 0
        nodes = masked_softmax(functional.leaky_relu(scores, _SLOPE), around) @ of_edges
        nodes = nodes + nodes * torch.sigmoid(nodes * prototypes)
        return nodes.transpose(1, 2).flatten(2)

    def _intent_edges(
        self, rows: torch.Tensor, parts: torch.Tensor, prototypes: torch.Tensor
    ) -> torch.Tensor:
        """For each part, the items nearest to its prototype: (batch, n_intents, 1, time), boolean."""
        nodes = first_occurrence(rows)
        likeness = functional.cosine_similarity(parts, prototypes, dim=3)
        likeness = likeness.masked_fill(~nodes.unsqueeze(1), -torch.inf)
        place = likeness.argsort(dim=2, descending=True, stable=True).argsort(dim=2)
        wanted = (_INTENT_SHARE * nodes.sum(1)).floor().long() + 1
        return (place < wanted[:, None, None]).unsqueeze(2) & nodes[:, None, None]


class HIDE(PrefixBaseline):
    """Attention from items to hyperedges and back, in each part of the vectors by itself.

    Departs from the authors' code: an intent's hyperedge is seen by its own part of the vectors only, as
    the paper has it; padding belongs to no hyperedge; scores are not multiplied with ten, which kept
    training on small data at its starting point; the classifier that keeps intents apart reads the
    intents' prototypes. `dropout` is on item vectors that are read; the authors' code has none.
    """

    network = _Network
    ranges = EMBEDDING | {
        "n_intents": (1, 64),  # parts of the vectors
        "longest_window": (2, 50),  # items in the longest window; windows start at 2
    }

    def _loss(self, rows: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return super()._loss(rows, targets) + _APART * self._network.confusion()

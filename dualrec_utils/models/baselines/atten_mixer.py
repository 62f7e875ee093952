"""Atten-Mixer: attention asked by the last one, two, three ... items at once, without recurrence.

Zhang et al. (2023), "Efficiently leveraging multi-level user intent for session-based recommendation via
Atten-Mixer network", WSDM.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from dualrec_utils.models.baselines.sequences import EMBEDDING, SequenceBaseline, earlier, item_table

# Norm over levels in which their attention is pooled, and what scales cosines: the authors' code.
_POOLING_NORM = 4
_SCALE = 16.0


class _Network(nn.Module):
    def __init__(self, model: AttenMixer) -> None:
        super().__init__()
        size = model.embedding_size
        self.n_heads = model.n_heads
        self.items = item_table(model)
        self.dropout = nn.Dropout(model.dropout)
        self.queries = nn.ModuleList(
            nn.Linear(n * size, size, bias=False) for n in range(1, model.n_levels + 1)
        )
        self.key = nn.Linear(size, size, bias=False)
        self.value = nn.Linear(size, size, bias=False)
        self.norm = nn.LayerNorm(size)
        self.session = nn.Linear(2 * size, size, bias=False)

    def states(self, rows: torch.Tensor) -> torch.Tensor:
        vectors = self.dropout(functional.normalize(self.items(rows), dim=2))
        keys, values = self._heads(self.key(vectors)), self._heads(self.value(vectors))
        # (batch, heads, levels, time, time): what each level of each position asks of each position.
        scores = self._heads(self._levels(vectors)) @ keys.unsqueeze(2).transpose(3, 4)
        future = ~earlier(rows.shape[1], device=rows.device)
        weights = (2 * torch.sigmoid(scores)).masked_fill(future, -torch.inf).softmax(4)
        # Zeros have no gradient under the norm, and none is needed beside the second mask.
        pooled = (weights.clamp(min=1e-9) ** _POOLING_NORM).sum(2) ** (1 / _POOLING_NORM)
        weights = self.dropout((2 * pooled).masked_fill(future, -torch.inf).softmax(3))
        attended = self.norm((weights @ values).transpose(1, 2).flatten(2))
        return self.session(torch.cat([attended, vectors], dim=2))

    def logits(self, states: torch.Tensor) -> torch.Tensor:
        table = self.dropout(functional.normalize(self.items.weight[1:], dim=1))
        return _SCALE * functional.normalize(states, dim=1) @ table.T

    def _levels(self, vectors: torch.Tensor) -> torch.Tensor:
        """(batch, time, size) -> queries (batch, levels, time, size)."""
        time = vectors.shape[1]
        shifted = [functional.pad(vectors, (0, 0, back, 0))[:, :time] for back in range(len(self.queries))]
        levels = [
            query(torch.cat(shifted[: number + 1], dim=2)) for number, query in enumerate(self.queries)
        ]
        return functional.normalize(torch.stack(levels, dim=1), dim=1)

    def _heads(self, vectors: torch.Tensor) -> torch.Tensor:
        """(batch, ..., time, size) -> (batch, heads, ..., time, size / heads)."""
        return vectors.unflatten(-1, (self.n_heads, -1)).movedim(-2, 1)


class AttenMixer(SequenceBaseline):
    """Cosine of each item vector with attended history and last item.

    The query of level i is a linear map of the last i items in order, as in the authors' code (the
    paper sums them); queries are divided by their norm across levels. Attention weights are a softmax
    of twice a sigmoid, pooled over levels, then a softmax again. Departs from that code: heads are
    parts of the features, not of features and positions mixed; the first softmax knows real and earlier
    items only, so that every position of a history can be a target. `dropout` is on item vectors and
    on attention weights.
    """

    network = _Network
    ranges = EMBEDDING | {"n_heads": (1, 64), "n_levels": (1, 50)}  # items in the longest query

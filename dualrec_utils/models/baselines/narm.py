"""NARM: a recurrent network whose last state also asks which earlier movies matter.

Li, Ren, Chen, Ren, Lian and Ma (2017), "Neural attentive session-based recommendation", CIKM.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from dualrec_utils.models.baselines.base import in_range
from dualrec_utils.models.baselines.sequences import SequenceBaseline, earlier, item_table


class NARM(SequenceBaseline):
    """Last GRU state and attention over all states, matched with item vectors bilinearly.

    Attention weights are normalised by a softmax over the movies so far, as in the authors' code.
    Since both parts know earlier movies only, every position of a history is a target. `dropout` is on
    the joined vector.

    Args:
        embedding_size: of item vectors, 1 to 4,096.
        hidden_size: of the GRU, 1 to 4,096.
        embedding_dropout: share of the GRU's input dropped, 0 to 0.95.
    """

    def __init__(
        self,
        item_ids: np.ndarray,
        *,
        seed: int,
        embedding_size: int,
        hidden_size: int,
        embedding_dropout: float,
        **shared: float,
    ) -> None:
        super().__init__(item_ids, seed=seed, **shared)
        self.embedding_size = in_range("embedding_size", embedding_size, low=1, high=4_096, integer=True)
        self.hidden_size = in_range("hidden_size", hidden_size, low=1, high=4_096, integer=True)
        self.embedding_dropout = in_range("embedding_dropout", embedding_dropout, low=0, high=0.95)

    def _build(self, histories: list[np.ndarray]) -> nn.Module:
        return _Network(
            self.n_items,
            self.embedding_size,
            self.hidden_size,
            embedding_dropout=self.embedding_dropout,
            dropout=self.dropout,
        )


class _Network(nn.Module):
    def __init__(
        self, n_items: int, size: int, hidden: int, *, embedding_dropout: float, dropout: float
    ) -> None:
        super().__init__()
        self.items = item_table(n_items, size)
        self.embedding_dropout = nn.Dropout(embedding_dropout)
        self.gru = nn.GRU(size, hidden, batch_first=True)
        self.key = nn.Linear(hidden, hidden, bias=False)
        self.query = nn.Linear(hidden, hidden, bias=False)
        self.weight = nn.Linear(hidden, 1, bias=False)
        self.dropout = nn.Dropout(dropout)
        self.bilinear = nn.Linear(2 * hidden, size, bias=False)

    def states(self, rows: torch.Tensor) -> torch.Tensor:
        states, _ = self.gru(self.embedding_dropout(self.items(rows)))
        both = torch.sigmoid(self.query(states)[:, :, None] + self.key(states)[:, None, :])
        weights = self.weight(both).squeeze(3)
        known = earlier(rows.shape[1], device=rows.device)
        local = weights.masked_fill(~known, -torch.inf).softmax(2) @ states
        return self.dropout(torch.cat([local, states], dim=2))

    def logits(self, states: torch.Tensor) -> torch.Tensor:
        return self.bilinear(states) @ self.items.weight[1:].T

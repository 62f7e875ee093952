"""GRU4Rec: a recurrent network over the history, scores from the same item vectors it reads.

Hidasi, Karatzoglou, Baltrunas and Tikk (2016), "Session-based recommendations with recurrent neural
networks", ICLR; Hidasi and Karatzoglou (2018), CIKM, for the loss over many items, taken here over all.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from dualrec_utils.models.baselines.base import in_range
from dualrec_utils.models.baselines.sequences import SequenceBaseline, item_table


class GRU4Rec(SequenceBaseline):
    """GRU state times item vectors, plus an item bias. Dropout is on what the GRU reads and returns.

    Departs from the paper: whole histories instead of session-parallel batches with one step of
    back-propagation, the exact softmax instead of sampled negatives, Adam instead of Adagrad.

    Args:
        embedding_size: of item vectors and of the GRU, 1 to 4,096.
        n_layers: of the GRU, 1 to 8.
    """

    def __init__(
        self, item_ids: np.ndarray, *, seed: int, embedding_size: int, n_layers: int, **shared: float
    ) -> None:
        super().__init__(item_ids, seed=seed, **shared)
        self.embedding_size = in_range("embedding_size", embedding_size, low=1, high=4_096, integer=True)
        self.n_layers = in_range("n_layers", n_layers, low=1, high=8, integer=True)

    def _build(self, histories: list[np.ndarray]) -> nn.Module:
        return _Network(self.n_items, self.embedding_size, n_layers=self.n_layers, dropout=self.dropout)


class _Network(nn.Module):
    def __init__(self, n_items: int, size: int, *, n_layers: int, dropout: float) -> None:
        super().__init__()
        self.items = item_table(n_items, size)
        self.gru = nn.GRU(size, size, n_layers, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.bias = nn.Parameter(torch.zeros(n_items))

    def states(self, rows: torch.Tensor) -> torch.Tensor:
        return self.dropout(self.gru(self.dropout(self.items(rows)))[0])

    def logits(self, states: torch.Tensor) -> torch.Tensor:
        return states @ self.items.weight[1:].T + self.bias

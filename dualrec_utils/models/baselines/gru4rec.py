"""GRU4Rec: a recurrent network over the history, scores from the same item vectors it reads.

Hidasi, Karatzoglou, Baltrunas and Tikk (2016), "Session-based recommendations with recurrent neural
networks", ICLR; Hidasi and Karatzoglou (2018), CIKM, for the loss over many items, taken here over all.
"""

from __future__ import annotations

import torch
from torch import nn

from dualrec_utils.models.baselines.sequences import EMBEDDING, ItemNetwork, SequenceBaseline, item_table


class _Network(ItemNetwork):
    def __init__(self, model: GRU4Rec) -> None:
        super().__init__()
        size = model.embedding_size
        self.items = item_table(model)
        self.gru = nn.GRU(size, size, model.n_layers, batch_first=True)
        self.dropout = nn.Dropout(model.dropout)
        self.bias = nn.Parameter(torch.zeros(model.n_items))

    def states(self, rows: torch.Tensor) -> torch.Tensor:
        return self.dropout(self.gru(self.dropout(self.items(rows)))[0])

    def logits(self, states: torch.Tensor) -> torch.Tensor:
        return super().logits(states) + self.bias


class GRU4Rec(SequenceBaseline):
    """GRU state times item vectors, plus an item bias. Dropout is on what the GRU reads and returns.

    Departs from the paper: whole histories instead of session-parallel batches with one step of
    back-propagation, the exact softmax instead of sampled negatives, Adam instead of Adagrad.
    """

    network = _Network
    ranges = EMBEDDING | {"n_layers": (1, 8)}  # of the GRU, as wide as item vectors

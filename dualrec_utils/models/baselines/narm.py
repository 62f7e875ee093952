"""NARM: a recurrent network whose last state also asks which earlier items matter.

Li, Ren, Chen, Ren, Lian and Ma (2017), "Neural attentive session-based recommendation", CIKM.
"""

from __future__ import annotations

import torch
from torch import nn

from dualrec_utils.models.baselines.sequences import (
    EMBEDDING,
    ItemNetwork,
    SequenceBaseline,
    earlier,
    item_table,
)


class _Network(ItemNetwork):
    def __init__(self, model: NARM) -> None:
        super().__init__()
        size, hidden = model.embedding_size, model.hidden_size
        self.items = item_table(model)
        self.embedding_dropout = nn.Dropout(model.embedding_dropout)
        self.gru = nn.GRU(size, hidden, batch_first=True)
        self.key = nn.Linear(hidden, hidden, bias=False)
        self.query = nn.Linear(hidden, hidden, bias=False)
        self.weight = nn.Linear(hidden, 1, bias=False)
        self.dropout = nn.Dropout(model.dropout)
        self.bilinear = nn.Linear(2 * hidden, size, bias=False)

    def states(self, rows: torch.Tensor) -> torch.Tensor:
        states, _ = self.gru(self.embedding_dropout(self.items(rows)))
        both = torch.sigmoid(self.query(states)[:, :, None] + self.key(states)[:, None, :])
        weights = self.weight(both).squeeze(3)
        known = earlier(rows.shape[1], device=rows.device)
        local = weights.masked_fill(~known, -torch.inf).softmax(2) @ states
        return self.dropout(torch.cat([local, states], dim=2))

    def logits(self, states: torch.Tensor) -> torch.Tensor:
        return super().logits(self.bilinear(states))


class NARM(SequenceBaseline):
    """Last GRU state and attention over all states, matched with item vectors bilinearly.

    Attention weights are normalised by a softmax over the items so far, as in the authors' code.
    Since both parts know earlier items only, every position of a history is a target. `dropout` is on
    the joined vector.
    """

    network = _Network
    ranges = EMBEDDING | {
        "hidden_size": (1, 4_096),  # of the GRU
        "embedding_dropout": (0.0, 0.95),  # share of the GRU's input
    }

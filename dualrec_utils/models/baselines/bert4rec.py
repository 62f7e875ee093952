"""BERT4Rec: a bidirectional Transformer that fills in masked items of the history.

Sun et al. (2019), "BERT4Rec: sequential recommendation with bidirectional encoder representations from
Transformer", CIKM.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch import nn

from dualrec_utils.models.baselines.sequences import (
    PADDING,
    TRANSFORMER,
    SequenceBaseline,
    padded,
    transformer,
)
from dualrec_utils.models.lstm.sequences import IGNORED


class _Network(nn.Module):
    def __init__(self, model: BERT4Rec) -> None:
        super().__init__()
        size, n_items = model.embedding_size, model.n_items
        self.n_items = n_items
        # One row more than the catalog has: the mask.
        self.items = nn.Embedding(n_items + 2, size, padding_idx=PADDING)
        # Scoring puts the mask after the last `max_length` items.
        self.positions = nn.Parameter(torch.empty(model.max_length + 1, size))
        self.before = nn.Sequential(nn.LayerNorm(size), nn.Dropout(model.dropout))
        self.transformer = transformer(model)
        self.after = nn.Sequential(nn.Linear(size, size), nn.GELU(), nn.LayerNorm(size))
        self.bias = nn.Parameter(torch.zeros(n_items))
        with torch.no_grad():
            self.positions.normal_(std=0.02)
            self.items.weight.normal_(std=0.02)
            self.items.weight[PADDING].zero_()

    def states(self, rows: torch.Tensor) -> torch.Tensor:
        inputs = self.before(self.items(rows) + self.positions[: rows.shape[1]])
        return self.transformer(inputs, src_key_padding_mask=rows == PADDING)

    def logits(self, states: torch.Tensor) -> torch.Tensor:
        return self.after(states) @ self.items.weight[1 : self.n_items + 1].T + self.bias


class BERT4Rec(SequenceBaseline):
    """What stands at a mask put after the history.

    In each epoch every history is cut into pieces of `max_length` at a phase drawn anew; each piece is
    read twice, once with a drawn share of items masked (one at least) and once with its last one
    masked, which is what scoring asks. Dropout is on the input and inside the Transformer.
    """

    trained_on = "masked items"
    network = _Network
    ranges = TRANSFORMER | {"mask_share": (0.01, 0.9)}  # of a piece's items masked in training

    def _examples(self, histories: list[np.ndarray], draw: np.random.Generator) -> tuple[np.ndarray, ...]:
        mask, length = self.n_items + 1, self.max_length + 1
        pieces = []
        for history in histories:
            first = draw.integers(1, length + 1)
            cuts = [0, *range(first, len(history), length), len(history)]
            pieces += [history[a:b] + 1 for a, b in itertools.pairwise(cuts) if b - a > 1]
        rows = padded(pieces, length=length).numpy()
        real = rows != PADDING
        last = np.zeros_like(real)
        last[np.arange(len(rows)), real.sum(1) - 1] = True
        luck = np.where(real, draw.random(rows.shape), np.inf)
        drawn = (luck < self.mask_share) | (luck == luck.min(axis=1, keepdims=True))
        chosen, rows = np.concatenate([drawn, last]), np.concatenate([rows, rows])
        return np.where(chosen, mask, rows), np.where(chosen, rows - 1, IGNORED)

    def _query(self, history: np.ndarray) -> np.ndarray:
        return np.append(super()._query(history), self.n_items + 1)

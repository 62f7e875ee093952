"""BERT4Rec: a bidirectional Transformer that fills in masked movies of the history.

Sun et al. (2019), "BERT4Rec: sequential recommendation with bidirectional encoder representations from
Transformer", CIKM.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch import nn

from dualrec_utils.models.baselines.base import in_range
from dualrec_utils.models.baselines.sasrec import check_heads
from dualrec_utils.models.baselines.sequences import PADDING, SequenceBaseline, padded
from dualrec_utils.models.lstm.sequences import IGNORED


class BERT4Rec(SequenceBaseline):
    """What stands at a mask put after the history.

    In each epoch every history is cut into pieces of `max_length` at a phase drawn anew; each piece is
    read twice, once with a drawn share of movies masked (one at least) and once with its last one
    masked, which is what scoring asks. Dropout is on the input and inside the Transformer.

    Args:
        embedding_size: of item vectors, a multiple of n_heads, 1 to 4,096.
        n_layers: of the Transformer, 1 to 16.
        n_heads: of attention, 1 to 64.
        mask_share: of a piece's movies masked in training, 0.01 to 0.9.
    """

    trained_on = "masked movies"

    def __init__(
        self,
        item_ids: np.ndarray,
        *,
        seed: int,
        embedding_size: int,
        n_layers: int,
        n_heads: int,
        mask_share: float,
        **shared: float,
    ) -> None:
        super().__init__(item_ids, seed=seed, **shared)
        self.embedding_size = in_range("embedding_size", embedding_size, low=1, high=4_096, integer=True)
        self.n_layers = in_range("n_layers", n_layers, low=1, high=16, integer=True)
        self.n_heads = in_range("n_heads", n_heads, low=1, high=64, integer=True)
        self.mask_share = in_range("mask_share", mask_share, low=0.01, high=0.9)
        check_heads(embedding_size, n_heads)

    def _build(self, histories: list[np.ndarray]) -> nn.Module:
        return _Network(
            self.n_items,
            self.embedding_size,
            # Scoring puts the mask after the last `max_length` movies.
            max_length=self.max_length + 1,
            n_layers=self.n_layers,
            n_heads=self.n_heads,
            dropout=self.dropout,
        )

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


class _Network(nn.Module):
    def __init__(
        self, n_items: int, size: int, *, max_length: int, n_layers: int, n_heads: int, dropout: float
    ) -> None:
        super().__init__()
        self.n_items = n_items
        # One row more than the catalog has: the mask.
        self.items = nn.Embedding(n_items + 2, size, padding_idx=PADDING)
        self.positions = nn.Parameter(torch.empty(max_length, size))
        self.before = nn.Sequential(nn.LayerNorm(size), nn.Dropout(dropout))
        layer = nn.TransformerEncoderLayer(
            size, n_heads, 4 * size, dropout=dropout, activation="gelu", batch_first=True
        )
        self.transformer = nn.TransformerEncoder(layer, n_layers, enable_nested_tensor=False)
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

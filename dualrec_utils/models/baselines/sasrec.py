"""SASRec: causal self-attention over the history.

Kang and McAuley (2018), "Self-attentive sequential recommendation", ICDM; trained with the softmax over
the whole catalog of Klenitskiy and Vasilev (2023), "Turning dross into gold loss: is BERT4Rec really
better than SASRec?", RecSys.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from dualrec_utils.core.errors import StudyError
from dualrec_utils.models.baselines.base import in_range
from dualrec_utils.models.baselines.sequences import SequenceBaseline, earlier, item_table


class SASRec(SequenceBaseline):
    """State after self-attention blocks times item vectors, the same that are read.

    As the authors' code: input √d x + position; in a block the query is normalised, keys and values are
    not, and the residual joins the normalised query. Departs from it: full softmax, histories padded at
    the end, positions counted from the first movie that is read. Dropout is on the input, the attention
    weights and the feed-forward layers.

    Args:
        embedding_size: of item vectors, a multiple of n_heads, 1 to 4,096.
        n_layers: blocks, 1 to 16.
        n_heads: of attention, 1 to 64.
    """

    def __init__(
        self,
        item_ids: np.ndarray,
        *,
        seed: int,
        embedding_size: int,
        n_layers: int,
        n_heads: int,
        **shared: float,
    ) -> None:
        super().__init__(item_ids, seed=seed, **shared)
        self.embedding_size = in_range("embedding_size", embedding_size, low=1, high=4_096, integer=True)
        self.n_layers = in_range("n_layers", n_layers, low=1, high=16, integer=True)
        self.n_heads = in_range("n_heads", n_heads, low=1, high=64, integer=True)
        check_heads(embedding_size, n_heads)

    def _build(self, histories: list[np.ndarray]) -> nn.Module:
        return _Network(
            self.n_items,
            self.embedding_size,
            max_length=self.max_length,
            n_layers=self.n_layers,
            n_heads=self.n_heads,
            dropout=self.dropout,
        )


def check_heads(embedding_size: int, n_heads: int) -> None:
    """Refuse heads that do not divide the embedding.

    Raises:
        StudyError: naming both.
    """
    if embedding_size % n_heads:
        raise StudyError(f"embedding_size {embedding_size} must be a multiple of n_heads {n_heads}")


class _Block(nn.Module):
    def __init__(self, size: int, n_heads: int, dropout: float) -> None:
        super().__init__()
        self.before_attention = nn.LayerNorm(size)
        self.attention = nn.MultiheadAttention(size, n_heads, dropout=dropout, batch_first=True)
        self.before_forward = nn.LayerNorm(size)
        self.forward_layers = nn.Sequential(
            nn.Linear(size, size),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(size, size),
            nn.Dropout(dropout),
        )

    def forward(self, inputs: torch.Tensor, forbidden: torch.Tensor) -> torch.Tensor:
        query = self.before_attention(inputs)
        attended, _ = self.attention(query, inputs, inputs, attn_mask=forbidden, need_weights=False)
        normalised = self.before_forward(query + attended)
        return normalised + self.forward_layers(normalised)


class _Network(nn.Module):
    def __init__(
        self, n_items: int, size: int, *, max_length: int, n_layers: int, n_heads: int, dropout: float
    ) -> None:
        super().__init__()
        self.items = item_table(n_items, size)
        self.positions = nn.Parameter(torch.randn(max_length, size) * size**-0.5)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(_Block(size, n_heads, dropout) for _ in range(n_layers))
        self.last = nn.LayerNorm(size)

    def states(self, rows: torch.Tensor) -> torch.Tensor:
        vectors = self.items(rows)
        states = self.dropout(vectors * vectors.shape[2] ** 0.5 + self.positions[: rows.shape[1]])
        forbidden = ~earlier(rows.shape[1], device=rows.device)
        for block in self.blocks:
            states = block(states, forbidden)
        return self.last(states)

    def logits(self, states: torch.Tensor) -> torch.Tensor:
        return states @ self.items.weight[1:].T

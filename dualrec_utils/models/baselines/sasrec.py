"""SASRec: causal self-attention over the history.

Kang and McAuley (2018), "Self-attentive sequential recommendation", ICDM; trained with the softmax over
the whole catalog of Klenitskiy and Vasilev (2023), "Turning dross into gold loss: is BERT4Rec really
better than SASRec?", RecSys.
"""

from __future__ import annotations

import torch
from torch import nn

from dualrec_utils.models.baselines.sequences import (
    TRANSFORMER,
    ItemNetwork,
    SequenceBaseline,
    earlier,
    item_table,
)


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


class _Network(ItemNetwork):
    def __init__(self, model: SASRec) -> None:
        super().__init__()
        size, dropout = model.embedding_size, model.dropout
        self.items = item_table(model)
        self.positions = nn.Parameter(torch.randn(model.max_length, size) * size**-0.5)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(_Block(size, model.n_heads, dropout) for _ in range(model.n_layers))
        self.last = nn.LayerNorm(size)

    def states(self, rows: torch.Tensor) -> torch.Tensor:
        vectors = self.items(rows)
        states = self.dropout(vectors * vectors.shape[2] ** 0.5 + self.positions[: rows.shape[1]])
        forbidden = ~earlier(rows.shape[1], device=rows.device)
        for block in self.blocks:
            states = block(states, forbidden)
        return self.last(states)


class SASRec(SequenceBaseline):
    """State after self-attention blocks times item vectors, the same that are read.

    As the authors' code: input √d x + position; in a block the query is normalised, keys and values are
    not, and the residual joins the normalised query. Departs from it: full softmax, histories padded at
    the end, positions counted from the first item that is read. Dropout is on the input, the attention
    weights and the feed-forward layers.
    """

    network, ranges = _Network, TRANSFORMER

"""STAMP: attention guided by the last item and the mean of the history, without recurrence.

Liu, Zeng, Mokhosi and Zhang (2018), "STAMP: short-term attention/memory priority model for
session-based recommendation", KDD.
"""

from __future__ import annotations

import torch
from torch import nn

from dualrec_utils.models.baselines.sequences import (
    EMBEDDING,
    PADDING,
    ItemNetwork,
    SequenceBaseline,
    earlier,
)


class _Network(ItemNetwork):
    def __init__(self, model: STAMP) -> None:
        super().__init__()
        size = model.embedding_size
        self.items = nn.Embedding(model.n_items + 1, size, padding_idx=PADDING)
        self.dropout = nn.Dropout(model.dropout)
        self.of_item = nn.Linear(size, size, bias=False)
        self.of_last = nn.Linear(size, size, bias=False)
        self.of_mean = nn.Linear(size, size)
        self.weight = nn.Linear(size, 1, bias=False)
        self.memory = nn.Linear(size, size, bias=False)
        self.last = nn.Linear(size, size, bias=False)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.normal_(std=0.05)
            self.items.weight.normal_(std=0.002)
            self.items.weight[PADDING].zero_()

    def states(self, rows: torch.Tensor) -> torch.Tensor:
        vectors = self.dropout(self.items(rows))
        known = earlier(rows.shape[1], device=rows.device)
        # Not cumsum, which on a GPU is not the same on every run, and which torch then refuses.
        mean = (known / known.sum(1, keepdim=True)) @ vectors
        query = self.of_last(vectors) + self.of_mean(mean)
        weights = self.weight(torch.sigmoid(query[:, :, None] + self.of_item(vectors)[:, None])).squeeze(3)
        memory = weights.masked_fill(~known, 0.0) @ vectors + mean
        return torch.tanh(self.memory(memory)) * torch.tanh(self.last(vectors))


class STAMP(SequenceBaseline):
    """Trilinear product of attended history, last item and each item vector.

    As in the authors' code, attention weights are not normalised, the mean joins the attended sum, the
    two output layers have no bias, and the product goes into the softmax as it is (the paper puts a
    sigmoid around it). The order of items before the last plays no part. Departs from it: gradients
    are cut at norm 5, looked-up vectors are not. `dropout` is on item vectors that are read; the paper
    has none.
    """

    network, ranges = _Network, EMBEDDING

"""STAMP: attention guided by the last movie and the mean of the history, without recurrence.

Liu, Zeng, Mokhosi and Zhang (2018), "STAMP: short-term attention/memory priority model for
session-based recommendation", KDD.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from dualrec_utils.models.baselines.base import in_range
from dualrec_utils.models.baselines.sequences import PADDING, SequenceBaseline, earlier


class STAMP(SequenceBaseline):
    """Trilinear product of attended history, last movie and each item vector.

    As in the authors' code, attention weights are not normalised, the mean joins the attended sum, the
    two output layers have no bias, and the product goes into the softmax as it is (the paper puts a
    sigmoid around it). The order of movies before the last plays no part. Departs from it: gradients
    are cut at norm 5, looked-up vectors are not. `dropout` is on item vectors that are read; the paper
    has none.

    Args:
        embedding_size: of item vectors, 1 to 4,096.
    """

    def __init__(self, item_ids: np.ndarray, *, seed: int, embedding_size: int, **shared: float) -> None:
        super().__init__(item_ids, seed=seed, **shared)
        self.embedding_size = in_range("embedding_size", embedding_size, low=1, high=4_096, integer=True)

    def _build(self, histories: list[np.ndarray]) -> nn.Module:
        return _Network(self.n_items, self.embedding_size, dropout=self.dropout)


class _Network(nn.Module):
    def __init__(self, n_items: int, size: int, *, dropout: float) -> None:
        super().__init__()
        self.items = nn.Embedding(n_items + 1, size, padding_idx=PADDING)
        self.dropout = nn.Dropout(dropout)
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
        asked = self.of_last(vectors) + self.of_mean(mean)
        weights = self.weight(torch.sigmoid(asked[:, :, None] + self.of_item(vectors)[:, None])).squeeze(3)
        memory = weights.masked_fill(~known, 0.0) @ vectors + mean
        return torch.tanh(self.memory(memory)) * torch.tanh(self.last(vectors))

    def logits(self, states: torch.Tensor) -> torch.Tensor:
        return states @ self.items.weight[1:].T

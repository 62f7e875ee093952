"""UniSRec: what an item's text says, adapted by whitening experts, read by a Transformer.

Hou, Mu, Zhao, Li, Ding and Wen (2022), "Towards universal sequence representation learning for
recommender systems", KDD.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from dualrec_utils.content.sentences import PACKAGE, embed
from dualrec_utils.core.catalog import Catalog
from dualrec_utils.models.baselines.sequences import (
    TRANSFORMER,
    SequenceBaseline,
    earlier,
    item_table,
    transformer,
)

# Of the adaptor's input, in the authors' code.
_ADAPTOR_DROPOUT = 0.2


def text_vectors(catalog: Catalog, *, sbert: str) -> np.ndarray:
    """Sentence embeddings of "Title (year). Genre, genre": shape (n_items, 384), float32, length 1."""
    texts = [f"{name}. {', '.join(catalog.categories[item])}" for item, name in catalog.names.items()]
    return embed(texts, sbert=sbert).loc[texts].to_numpy(dtype=np.float32)


class _Adaptor(nn.Module):
    """Mixture of whitening experts: each subtracts a learnt mean and maps; a gate mixes (paper, 3.1.2)."""

    def __init__(self, text_size: int, size: int, n_experts: int) -> None:
        super().__init__()
        self.dropout = nn.Dropout(_ADAPTOR_DROPOUT)
        self.means = nn.Parameter(torch.zeros(n_experts, 1, text_size))
        self.maps = nn.Parameter(torch.randn(n_experts, text_size, size) * 0.02)
        self.gate = nn.Parameter(torch.zeros(text_size, n_experts))
        self.noise = nn.Parameter(torch.zeros(text_size, n_experts))

    def forward(self, texts: torch.Tensor) -> torch.Tensor:
        chosen = texts @ self.gate
        if self.training:
            spread = functional.softplus(texts @ self.noise) + 0.01
            chosen = chosen + torch.randn_like(chosen) * spread
        adapted = (self.dropout(texts) - self.means) @ self.maps
        return (chosen.softmax(1).T.unsqueeze(2) * adapted).sum(0)


class _Network(nn.Module):
    def __init__(self, model: UniSRec) -> None:
        super().__init__()
        size, texts = model.embedding_size, text_vectors(model.catalog, sbert=model.sbert)
        self.temperature = model.temperature
        self.register_buffer("texts", torch.tensor(texts))
        self.adaptor = _Adaptor(texts.shape[1], size, model.n_experts)
        self.items = item_table(model)
        self.positions = nn.Parameter(torch.randn(model.max_length, size) * 0.02)
        self.before = nn.Sequential(nn.LayerNorm(size), nn.Dropout(model.dropout))
        self.transformer = transformer(model)

    def table(self) -> torch.Tensor:
        """Vectors of padding and all items: (n_items + 1, size)."""
        return functional.pad(self.adaptor(self.texts), (0, 0, 1, 0)) + self.items.weight

    def states(self, rows: torch.Tensor) -> torch.Tensor:
        inputs = self.before(functional.embedding(rows, self.table()) + self.positions[: rows.shape[1]])
        return self.transformer(inputs, mask=~earlier(rows.shape[1], device=rows.device))

    def logits(self, states: torch.Tensor) -> torch.Tensor:
        items = functional.normalize(self.table()[1:], dim=1)
        return functional.normalize(states, dim=1) @ items.T / self.temperature


class UniSRec(SequenceBaseline):
    """Cosine of the Transformer's state with each item's adapted text vector, over a temperature.

    The text is "Title (year)" and genres. Trained from scratch on this data set alone: no pre-training
    on others, hence no contrastive losses. Transductive, as the paper calls it: a vector of the item's
    own joins that of its text. `dropout` is on the Transformer's input and inside it.
    """

    network = _Network
    ranges = TRANSFORMER | {
        "n_experts": (1, 64),  # of the adaptor (authors: 8)
        "temperature": (0.001, 10.0),  # of the softmax over cosines (authors: 0.07)
        # The sentence encoder, as content.sentences.sbert_folder; by default the study's (authors: BERT).
        "sbert": PACKAGE,
    }

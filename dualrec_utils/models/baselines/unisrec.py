"""UniSRec: what a movie's text says, adapted by whitening experts, read by a Transformer.

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
from dualrec_utils.core.errors import StudyError
from dualrec_utils.models.baselines.base import in_range
from dualrec_utils.models.baselines.sasrec import check_heads
from dualrec_utils.models.baselines.sequences import SequenceBaseline, earlier, item_table

# Of the adaptor's input, in the authors' code.
_ADAPTOR_DROPOUT = 0.2


class UniSRec(SequenceBaseline):
    """Cosine of the Transformer's state with each movie's adapted text vector, over a temperature.

    The text is "Title (year)" and genres. Trained from scratch on this data set alone: no pre-training
    on others, hence no contrastive losses. Transductive, as the paper calls it: a vector of the movie's
    own joins that of its text. `dropout` is on the Transformer's input and inside it.

    Args:
        catalog: the movies that the columns of the scores are. May be left out only where the model is
            not fitted.
        embedding_size: of item vectors, a multiple of n_heads, 1 to 4,096.
        n_layers: of the Transformer, 1 to 16.
        n_heads: of attention, 1 to 64.
        n_experts: of the adaptor, 1 to 64 (authors: 8).
        temperature: of the softmax over cosines, 0.001 to 10 (authors: 0.07).
        sbert: the sentence encoder, as :func:`content.sentences.sbert_folder`; default: that of the whole
            study (authors: BERT).
    """

    def __init__(
        self,
        item_ids: np.ndarray,
        *,
        seed: int,
        catalog: Catalog | None = None,
        embedding_size: int,
        n_layers: int,
        n_heads: int,
        n_experts: int,
        temperature: float,
        sbert: str = PACKAGE,
        **shared: float,
    ) -> None:
        super().__init__(item_ids, seed=seed, **shared)
        self._catalog = catalog
        self.embedding_size = in_range("embedding_size", embedding_size, low=1, high=4_096, integer=True)
        self.n_layers = in_range("n_layers", n_layers, low=1, high=16, integer=True)
        self.n_heads = in_range("n_heads", n_heads, low=1, high=64, integer=True)
        self.n_experts = in_range("n_experts", n_experts, low=1, high=64, integer=True)
        self.temperature = in_range("temperature", temperature, low=0.001, high=10)
        check_heads(embedding_size, n_heads)
        if not isinstance(sbert, str) or not sbert:
            raise StudyError(f"sbert is {sbert!r}; allowed: {PACKAGE!r}, a folder, or (online) a Hub id")
        self.sbert = sbert

    def _build(self, histories: list[np.ndarray]) -> nn.Module:
        if self._catalog is None:
            raise StudyError("UniSRec reads titles and genres: give it the `catalog`")
        return _Network(
            text_vectors(self._catalog, sbert=self.sbert),
            self.embedding_size,
            max_length=self.max_length,
            n_layers=self.n_layers,
            n_heads=self.n_heads,
            n_experts=self.n_experts,
            temperature=self.temperature,
            dropout=self.dropout,
        )


def text_vectors(catalog: Catalog, *, sbert: str) -> np.ndarray:
    """Sentence embeddings of "Title (year). Genre, genre": shape (n_items, 384), float32, length 1."""
    texts = [f"{name}. {', '.join(catalog.categories[movie])}" for movie, name in catalog.names.items()]
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
    def __init__(
        self,
        texts: np.ndarray,
        size: int,
        *,
        max_length: int,
        n_layers: int,
        n_heads: int,
        n_experts: int,
        temperature: float,
        dropout: float,
    ) -> None:
        super().__init__()
        self.temperature = temperature
        self.register_buffer("texts", torch.from_numpy(texts))
        self.adaptor = _Adaptor(texts.shape[1], size, n_experts)
        self.items = item_table(len(texts), size)
        self.positions = nn.Parameter(torch.randn(max_length, size) * 0.02)
        self.before = nn.Sequential(nn.LayerNorm(size), nn.Dropout(dropout))
        layer = nn.TransformerEncoderLayer(
            size, n_heads, 4 * size, dropout=dropout, activation="gelu", batch_first=True
        )
        self.transformer = nn.TransformerEncoder(layer, n_layers, enable_nested_tensor=False)

    def table(self) -> torch.Tensor:
        """Vectors of padding and all movies: (n_items + 1, size)."""
        return functional.pad(self.adaptor(self.texts), (0, 0, 1, 0)) + self.items.weight

    def states(self, rows: torch.Tensor) -> torch.Tensor:
        inputs = self.before(functional.embedding(rows, self.table()) + self.positions[: rows.shape[1]])
        return self.transformer(inputs, mask=~earlier(rows.shape[1], device=rows.device))

    def logits(self, states: torch.Tensor) -> torch.Tensor:
        movies = functional.normalize(self.table()[1:], dim=1)
        return functional.normalize(states, dim=1) @ movies.T / self.temperature

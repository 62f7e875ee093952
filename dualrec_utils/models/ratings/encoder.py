"""all-MiniLM-L6-v2 for a text or two, without the libraries that take many seconds to import.

Devlin et al. (2019), "BERT: pre-training of deep bidirectional transformers", NAACL: six layers of
self-attention and a network of two layers, each added to its input and normalised (Vaswani et al., 2017,
section 3.1). Reimers and Gurevych (2019), "Sentence-BERT", EMNLP: the mean of the last layer, of length 1.
Vectors are those of :func:`content.sentences.embed`, which is quicker for many texts.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from dualrec_utils.content.sentences import PACKAGE, sbert_folder

# Word pieces of a text that count, as sentence-transformers has it for this model.
MAX_PIECES = 256
# So many are encoded here while the libraries are imported.
_FEW = 300


def vectors(texts: Sequence[str], *, folder: Path | None = None) -> np.ndarray:
    """Vectors of a catalog's texts, by the way that takes less time for so many.

    Args:
        folder: where those of many texts are kept, as :class:`features.TextVectors` has it.

    Returns:
        Shape (n, 384), float32, of length 1.
    """
    if len(texts) <= _FEW:
        return SentenceEncoder()(texts)
    from dualrec_utils.models.ratings.features import TextVectors

    return TextVectors(texts, kind="sentence", seed=0, folder=folder).known


class SentenceEncoder:
    """From texts to vectors. The files are read when the first text comes."""

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors of texts, shape (n, 384), float32, of length 1."""
        if not len(texts):
            return np.empty((0, self._config["hidden_size"]), np.float32)
        return np.stack([self._encode(self._tokenizer.encode(text).ids) for text in texts])

    def n_pieces(self, text: str) -> int:
        """Word pieces of a text, two marks included; only the first :data:`MAX_PIECES` are read."""
        return len(self._tokenizer.encode(text).ids)

    @cached_property
    def _folder(self) -> Path:
        return Path(sbert_folder(PACKAGE))

    @cached_property
    def _config(self) -> dict:
        return json.loads((self._folder / "config.json").read_text(encoding="utf-8"))

    @cached_property
    def _weights(self) -> dict[str, np.ndarray]:
        from safetensors.numpy import load_file

        return load_file(self._folder / "model.safetensors")

    @cached_property
    def _tokenizer(self):
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(self._folder / "tokenizer.json"))
        tokenizer.no_padding()
        tokenizer.no_truncation()
        return tokenizer

    def _encode(self, pieces: list[int]) -> np.ndarray:
        if len(pieces) > MAX_PIECES:
            # The last one marks the end.
            pieces = [*pieces[: MAX_PIECES - 1], pieces[-1]]
        words, places, kinds = (
            self._weights[f"embeddings.{name}_embeddings.weight"]
            for name in ("word", "position", "token_type")
        )
        x = self._normalised(words[pieces] + places[: len(pieces)] + kinds[0], "embeddings")
        for number in range(self._config["num_hidden_layers"]):
            layer = f"encoder.layer.{number}"
            attended = self._linear(
                self._attended(x, f"{layer}.attention.self"), f"{layer}.attention.output.dense"
            )
            x = self._normalised(x + attended, f"{layer}.attention.output")
            hidden = _gelu(self._linear(x, f"{layer}.intermediate.dense"))
            x = self._normalised(x + self._linear(hidden, f"{layer}.output.dense"), f"{layer}.output")
        mean = x.mean(axis=0)
        return mean / np.linalg.norm(mean)

    def _linear(self, x: np.ndarray, name: str) -> np.ndarray:
        return x @ self._weights[f"{name}.weight"].T + self._weights[f"{name}.bias"]

    def _normalised(self, x: np.ndarray, name: str) -> np.ndarray:
        """Mean 0 and variance 1 of each row, then scaled and moved as learnt."""
        centred = x - x.mean(axis=1, keepdims=True)
        spread = np.sqrt((centred**2).mean(axis=1, keepdims=True) + self._config["layer_norm_eps"])
        weight, bias = (self._weights[f"{name}.LayerNorm.{part}"] for part in ("weight", "bias"))
        return centred / spread * weight + bias

    def _attended(self, x: np.ndarray, name: str) -> np.ndarray:
        """Each head's mean of the values, weighted by how well the keys fit a query; side by side."""
        n_heads = self._config["num_attention_heads"]
        queries, keys, values = (
            self._linear(x, f"{name}.{part}").reshape(len(x), n_heads, -1).swapaxes(0, 1)
            for part in ("query", "key", "value")
        )
        fits = queries @ keys.swapaxes(1, 2) / np.sqrt(queries.shape[-1]).astype(x.dtype)
        weights = np.exp(fits - fits.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        return (weights @ values).swapaxes(0, 1).reshape(len(x), -1)


def _gelu(x: np.ndarray) -> np.ndarray:
    """x times the share of a normal distribution below x."""
    from scipy.special import erf

    return x * (0.5 * (1 + erf(x / np.sqrt(2)))).astype(x.dtype)

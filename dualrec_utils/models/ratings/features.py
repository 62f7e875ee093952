"""From texts to vectors: sentence embeddings, tf-idf, and two controls that carry no meaning."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path

import numpy as np

from dualrec_utils.content.sentences import PACKAGE, embed
from dualrec_utils.core import config, files
from dualrec_utils.core.errors import StudyError

# Numbers in a vector: all-MiniLM-L6-v2 has so many, and the other kinds as many.
SIZE = 384


class TextVectors:
    """A function from texts to vectors, made for the known texts of one side: the items', or the users'.

    The encoder reads the first 256 word pieces of a text, about 190 words: the rest of a longer one does
    not count. tf-idf reads all.

    Args:
        texts: the known texts, at least one.
        kind: one of :data:`KINDS`.
        seed: of the controls and of the decomposition of tf-idf.
        folder: where sentence embeddings are kept; by default `data/raw/embeddings`, which all profiles
            share.

    Attributes:
        known: shape (n_texts, 384), float32, of the known texts in their order, of length 1; `tfidf` of a
            text without a known word is 0.

    Raises:
        StudyError: for an unknown kind, or without a text.
    """

    def __init__(self, texts: Sequence[str], *, kind: str, seed: int, folder: Path | None = None) -> None:
        if kind not in KINDS:
            raise StudyError(f"there are no text features {kind!r}; there are {', '.join(KINDS)}")
        if not len(texts):
            raise StudyError(f"text features {kind!r} need at least one text")
        self.known, self._read = KINDS[kind](list(texts), seed, folder or config.RAW / "embeddings")

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors of any texts, shape (n, 384), float32."""
        return self._read(list(texts)) if len(texts) else np.empty((0, SIZE), np.float32)


def sentence_vectors(texts: Sequence[str], *, folder: Path) -> np.ndarray:
    """Sentence embeddings of length 1, kept on disk by what the texts and the encoder are.

    Args:
        texts: at least one.
        folder: of the kept arrays, one file for each set of texts; made if missing.

    Returns:
        Shape (n, 384), float32.
    """
    distinct = sorted(set(texts))
    version = f"{PACKAGE} {metadata.version(PACKAGE)}"
    key = hashlib.sha256(json.dumps([version, distinct]).encode()).hexdigest()
    path = folder / f"{key}.npy"
    try:
        vectors = np.load(path, allow_pickle=False)
    except (FileNotFoundError, ValueError, EOFError):  # not there, or damaged
        vectors = embed(distinct, sbert=PACKAGE).to_numpy(dtype=np.float32)
        with files.replacing(path) as temporary, open(temporary, "wb") as stream:
            np.save(stream, vectors)
    row = {text: number for number, text in enumerate(distinct)}
    return vectors[[row[text] for text in texts]]


_Made = tuple[np.ndarray, Callable[[list[str]], np.ndarray]]


def _sentence(texts: list[str], seed: int, folder: Path) -> _Made:
    def read(others: list[str]) -> np.ndarray:
        return sentence_vectors(others, folder=folder)

    return read(texts), read


def _tfidf(texts: list[str], seed: int, folder: Path) -> _Made:
    """Words weighted by tf-idf (sublinear), reduced by a truncated SVD: latent semantic analysis.

    Few texts or words have fewer dimensions than others have numbers: the rest is 0.
    """
    # Importing these takes a second, which the other kinds need not pay.
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.preprocessing import normalize

    weights = TfidfVectorizer(sublinear_tf=True, token_pattern=r"\b\w+\b")
    try:
        known = weights.fit_transform(texts)
    except ValueError as error:  # "empty vocabulary"
        raise StudyError("no text has a word in it: tf-idf has nothing to count") from error
    reduction = TruncatedSVD(min(SIZE, *known.shape), random_state=seed).fit(known)

    def read(others: list[str]) -> np.ndarray:
        vectors = normalize(reduction.transform(weights.transform(others)))
        return np.pad(vectors, ((0, 0), (0, SIZE - vectors.shape[1]))).astype(np.float32)

    return read(texts), read


def _random(texts: list[str], seed: int, folder: Path) -> _Made:
    """Control: a random direction for each text, the same for the same text."""

    def read(others: list[str]) -> np.ndarray:
        drawn = np.stack([_draw(text, seed).standard_normal(SIZE) for text in others])
        return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)

    return read(texts), read


def _permuted(texts: list[str], seed: int, folder: Path) -> _Made:
    """Control: each known text has the sentence embedding of another; a new one that of any of them."""
    known = sentence_vectors(texts, folder=folder)
    known = known[np.random.default_rng(seed).permutation(len(known))]

    def read(others: list[str]) -> np.ndarray:
        return known[[_draw(text, seed).integers(len(known)) for text in others]]

    return known, read


def _draw(text: str, seed: int) -> np.random.Generator:
    digest = hashlib.sha256(f"{seed} {text}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8]))


KINDS: dict[str, Callable[[list[str], int, Path], _Made]] = {
    "sentence": _sentence,
    "tfidf": _tfidf,
    "random": _random,
    "permuted": _permuted,
}

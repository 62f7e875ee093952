"""Per-case ranking metrics: pure functions of a ranked list and its targets.

With one target these are the field's usual definitions. With several (`window_of_five`) a hit is any
target in the top k, and NDCG is 1 / log2(rank + 1) of the first hit, as the paper's released code
counts (github.com/SatoSakula/DUALRec at 02b4cce, code/evaluation.py:51-57; the common definition with
several relevant items divides by an ideal DCG instead).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np


def first_hit_rank(ranked_items: Sequence, target_items: Collection) -> float:
    """Rank (from 1) of the first entry that is a target; infinity where none is.

    Args:
        ranked_items: items in order; None or NA stands for an entry that names no catalog item.
        target_items: the right answers, at least one.

    >>> first_hit_rank([7, 3, 9], [9, 3])
    2.0
    """
    wanted = set(target_items)
    if not wanted:
        raise ValueError("a case needs at least one target")
    for rank, item in enumerate(ranked_items, start=1):
        if item in wanted:
            return float(rank)
    return float("inf")


def hit_rate(first_hits: np.ndarray, k: int) -> np.ndarray:
    """HR@k per case: 1 where the first hit stands in the top k, else 0.

    Args:
        first_hits: shape (n_cases,), from :func:`first_hit_rank`.
        k: cutoff, at least 1.

    Returns:
        Shape (n_cases,), each 0 or 1.
    """
    return (np.asarray(first_hits, dtype=float) <= k).astype(float)


def ndcg(first_hits: np.ndarray, k: int) -> np.ndarray:
    """NDCG@k per case: 1 / log2(rank + 1) of the first hit in the top k, else 0. Range [0, 1]."""
    ranks = np.asarray(first_hits, dtype=float)
    return np.where(ranks <= k, 1.0 / np.log2(ranks + 1.0), 0.0)


def reciprocal_rank(first_hits: np.ndarray, k: int) -> np.ndarray:
    """MRR@k per case: 1 / rank of the first hit in the top k, else 0. Range [0, 1]."""
    ranks = np.asarray(first_hits, dtype=float)
    return np.where(ranks <= k, 1.0 / ranks, 0.0)


def genre_jaccard(genres: Collection[str] | None, target_genres: Collection[str]) -> float:
    """Genre Jaccard similarity (paper section 5.2): |A ∩ B| / |A ∪ B|, range [0, 1].

    Args:
        genres: genres of the first recommended item; None where it matches no item, which counts 0.
        target_genres: genres of the item watched next.

    >>> genre_jaccard(["Comedy", "Drama"], ["Drama", "War"])
    0.3333333333333333
    """
    if genres is None:
        return 0.0
    union = set(genres) | set(target_genres)
    return len(set(genres) & set(target_genres)) / len(union) if union else 0.0

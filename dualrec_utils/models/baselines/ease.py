"""EASE-R: a linear item-item model with a closed-form solution.

Steck (2019), "Embarrassingly shallow autoencoders for sparse data", WWW, equations 7 and 8.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import lapack

from dualrec_utils.models.baselines.base import (
    Baseline,
    Validate,
    incidence,
    never_seen_last,
    popularity,
)

# Rows mirrored at once.
_AT_ONCE = 1_024


class EASE(Baseline):
    """Sum of learnt weights from the last items of the history; their order plays no part.

    With G = AᵀA of the binary user-item matrix A and P = (G + λI)⁻¹, the weight from i to j is
    -P_ij / P_jj, and 0 from an item to itself. An empty history gets popularity; items without any
    training interaction come last.
    """

    ranges = {
        "query_length": (1, 100_000),  # items of the history that count, from the last
        "l2": (0.001, 1_000_000.0),  # λ
    }

    def _fit(self, histories: list[np.ndarray], validate: Validate | None) -> None:
        self._popularity = popularity(histories, self.n_items)
        watched = incidence(histories, self.n_items).sign()
        weights = (watched.T @ watched).toarray(order="C")
        weights[np.diag_indices(self.n_items)] += self.l2
        _invert(weights)
        weights /= -np.diag(weights)
        np.fill_diagonal(weights, 0.0)
        self._weights = weights

    def _score(self, histories: list[np.ndarray], users: np.ndarray) -> np.ndarray:
        queries = incidence([h[-self.query_length :] for h in histories], self.n_items).sign()
        scores = queries @ self._weights
        empty = [row for row, history in enumerate(histories) if not len(history)]
        scores[empty] = self._popularity
        return never_seen_last(scores, self._popularity)


def _invert(matrix: np.ndarray) -> None:
    """Replace a positive definite matrix by its inverse: that of 16,000 items takes two gigabytes once.

    `scipy.linalg.inv` takes the same two steps, on a copy.
    """
    # LAPACK counts by columns, so that the upper triangle it works on is the lower one here.
    factor, _ = lapack.dpotrf(matrix.T, lower=0, overwrite_a=1, clean=0)
    lapack.dpotri(factor, lower=0, overwrite_c=1)
    for start in range(0, len(matrix), _AT_ONCE):
        end = start + _AT_ONCE
        matrix[start:end, end:] = matrix[end:, start:end].T
        half = np.tril(matrix[start:end, start:end])
        matrix[start:end, start:end] = half + np.tril(half, -1).T

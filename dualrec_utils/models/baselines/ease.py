"""EASE-R: a linear item-item model with a closed-form solution.

Steck (2019), "Embarrassingly shallow autoencoders for sparse data", WWW, equations 7 and 8.
"""

from __future__ import annotations

import numpy as np
from scipy import linalg

from dualrec_utils.models.baselines.base import (
    Baseline,
    Validate,
    incidence,
    never_seen_last,
    popularity,
)


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
        gram = (watched.T @ watched).toarray() + self.l2 * np.eye(self.n_items)
        inverse = linalg.inv(gram, assume_a="pos")
        weights = -inverse / np.diag(inverse)
        np.fill_diagonal(weights, 0.0)
        self._weights = weights

    def _score(self, histories: list[np.ndarray], users: np.ndarray) -> np.ndarray:
        queries = incidence([h[-self.query_length :] for h in histories], self.n_items).sign()
        scores = queries @ self._weights
        empty = [row for row, history in enumerate(histories) if not len(history)]
        scores[empty] = self._popularity
        return never_seen_last(scores, self._popularity)

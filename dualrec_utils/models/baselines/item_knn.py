"""Item-kNN: items rated by the same people as the last few items of the history.

Sarwar, Karypis, Konstan and Riedl (2001), "Item-based collaborative filtering recommendation
algorithms"; Deshpande and Karypis (2004), "Item-based top-N recommendation algorithms".
"""

from __future__ import annotations

import numpy as np

from dualrec_utils.models.baselines.base import Baseline, Validate, incidence, popularity

# Far below any sum of cosines that differ: popularity only orders items that are otherwise equal.
_TIE = 1e-9


class ItemKNN(Baseline):
    """Sum of cosines to the last items of the history.

    The cosine of two items is taken over training users, each item being the set of users who rated
    it: |U_i ∩ U_j| / sqrt(|U_i| |U_j|). Each item keeps its nearest neighbours only. Items with equal
    sums, and every item after an empty history, are ordered by popularity.
    """

    ranges = {
        "query_length": (1, 1_000),  # items of the history asked for neighbours, counted from the last
        "n_neighbours": (1, 100_000),  # kept of each item
    }

    def _fit(self, histories: list[np.ndarray], validate: Validate | None) -> None:
        self._popularity = popularity(histories, self.n_items)
        watched = incidence(histories, self.n_items).sign()
        lengths = np.sqrt(np.maximum(watched.sum(axis=0), 1))
        cosines = (watched.T @ watched).toarray() / np.outer(lengths, lengths)
        np.fill_diagonal(cosines, 0.0)
        # Stable, so that neighbours with equal cosines are kept by lowest column.
        farther = np.argsort(-cosines, axis=1, kind="stable")[:, self.n_neighbours :]
        np.put_along_axis(cosines, farther, 0.0, axis=1)
        self._similarity = cosines

    def _score(self, histories: list[np.ndarray], users: np.ndarray) -> np.ndarray:
        queries = incidence([history[-self.query_length :] for history in histories], self.n_items)
        return queries @ self._similarity + _TIE * self._popularity

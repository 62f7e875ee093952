"""SKNN and V-SKNN: what the users with the most similar histories watched.

Jannach and Ludewig (2017), "When recurrent neural networks meet the neighborhood for session-based
recommendation", RecSys; Ludewig and Jannach (2018), "Evaluation of session-based recommendation
algorithms", UMUAI, section 3.2. A session is a user's whole training history; all of them form the
pool, since there are few. The user's own training history never is a neighbour.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from dualrec_utils.models.baselines.base import Baseline, Validate, incidence, popularity

# As ItemKNN's: orders items whose sums are equal, most often 0.
_TIE = 1e-9
# Cases scored at once: bounds the memory of (cases, users) matrices on large data.
_CHUNK = 1_000


class SKNN(Baseline):
    """Sum, over the nearest training users, of their cosine to the last items of the history.

    With s the set of the last items and n that of a training user's, the cosine is
    |s ∩ n| / sqrt(|s| |n|), and an item's score is the sum over the nearest users who watched it.
    Equal sums, and every item after an empty history, are ordered by popularity; so an item without
    training interactions comes last.
    """

    ranges = {
        "query_length": (1, 100_000),  # items of the history that count, from the last
        "n_neighbours": (1, 100_000),  # users summed over
    }

    def _fit(self, histories: list[np.ndarray], validate: Validate | None) -> None:
        self._popularity = popularity(histories, self.n_items)
        self._sessions = incidence(histories, self.n_items).sign()

    def _score(self, histories: list[np.ndarray], users: np.ndarray) -> np.ndarray:
        scores = np.tile(_TIE * self._popularity, (len(histories), 1))
        for start in range(0, len(histories), _CHUNK):
            part = slice(start, start + _CHUNK)
            queries = [history[-self.query_length :] for history in histories[part]]
            scores[part] += self._sum_of_neighbours(queries, users[part])
        return scores

    def _sum_of_neighbours(self, queries: list[np.ndarray], users: np.ndarray) -> np.ndarray:
        return self._nearest(incidence(queries, self.n_items).sign(), users) @ self._sessions

    def _nearest(self, queries: sparse.csr_array, users: np.ndarray) -> np.ndarray:
        """Cosines of query rows to training users, 0 beyond the nearest: (n_cases, n_users)."""
        lengths = np.sqrt(np.maximum(self._sessions.sum(axis=1), 1))
        norms = np.sqrt(np.maximum(queries.power(2).sum(axis=1), 1e-300))
        cosines = (queries @ self._sessions.T).toarray() / np.outer(norms, lengths)
        known = users >= 0
        cosines[known, users[known]] = 0.0
        # Stable, so that equally near users are kept in the order of the training histories.
        farther = np.argsort(-cosines, axis=1, kind="stable")[:, self.n_neighbours :]
        np.put_along_axis(cosines, farther, 0.0, axis=1)
        return cosines


class VSKNN(SKNN):
    """SKNN in which recent items count more, both for finding neighbours and for summing over them.

    The item at position p of a query of length L (p = L is the last) weighs p / L: the cosine is taken
    between these weights and the user's set of items, and each neighbour's cosine is multiplied with
    the weight of the most recent item that both share. Scores are multiplied with
    1 + idf_weight · log(n_users / users who watched the item).
    """

    ranges = {"idf_weight": (0.0, 100.0)}  # how much rare items gain; 0: not at all

    def _sum_of_neighbours(self, queries: list[np.ndarray], users: np.ndarray) -> np.ndarray:
        weights = np.zeros((len(queries), self.n_items))
        for row, query in enumerate(queries):
            # An item that stands twice in the query keeps the later weight.
            weights[row, query] = np.arange(1, len(query) + 1) / max(len(query), 1)
        cosines = self._nearest(sparse.csr_array(weights), users)
        factors = 1 + self.idf_weight * self._rarity()
        return (cosines * self._last_shared(queries)) @ self._sessions * factors

    def _last_shared(self, queries: list[np.ndarray]) -> np.ndarray:
        """Weight of the most recent item of each query that each user watched: (n_cases, n_users)."""
        weights = np.zeros((len(queries), self._sessions.shape[0]))
        columns = self._sessions.tocsc()
        for row, query in enumerate(queries):
            for position, item in enumerate(query, start=1):
                watchers = columns.indices[columns.indptr[item] : columns.indptr[item + 1]]
                weights[row, watchers] = position / len(query)
        return weights

    def _rarity(self) -> np.ndarray:
        """log(n_users / users who watched it), 0 for items nobody watched: shape (n_items,)."""
        viewers = self._sessions.sum(axis=0)
        return np.where(viewers > 0, np.log(self._sessions.shape[0] / np.maximum(viewers, 1)), 0.0)

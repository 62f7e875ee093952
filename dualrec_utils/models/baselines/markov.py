"""First-order Markov chain: what training users rated right after the last item.

Shani, Heckerman and Brafman (2005), "An MDP-based recommender system", section 3; the smoothing is
the Dirichlet prior of MacKay and Peto (1995), "A hierarchical Dirichlet language model".
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from dualrec_utils.models.baselines.base import Baseline, Validate, popularity


class Markov(Baseline):
    """Transition probabilities, smoothed towards popularity.

    P(j | i) = (n_ij + smoothing * p_j) / (n_i + smoothing), where n_ij counts j right after i, n_i
    sums over j and p is popularity. A last item without any transition, and an empty history, get
    popularity itself.
    """

    trained_on = "consecutive items"
    ranges = {"smoothing": (0.001, 100_000.0)}  # weight of popularity in pseudo-transitions

    def _fit(self, histories: list[np.ndarray], validate: Validate | None) -> None:
        self._popularity = popularity(histories, self.n_items)
        before = np.concatenate([history[:-1] for history in histories])
        after = np.concatenate([history[1:] for history in histories])
        shape = (self.n_items, self.n_items)
        self._counts = sparse.coo_array((np.ones(len(before)), (before, after)), shape=shape).tocsr()
        self._totals = self._counts.sum(axis=1)

    def _score(self, histories: list[np.ndarray], users: np.ndarray) -> np.ndarray:
        scores = np.tile(self._popularity, (len(histories), 1))
        rows = np.array([row for row, history in enumerate(histories) if len(history)], dtype=int)
        last = np.array([history[-1] for history in histories if len(history)], dtype=int)
        counted = self._counts[last].toarray() + self.smoothing * self._popularity
        scores[rows] = counted / (self._totals[last] + self.smoothing)[:, None]
        return scores

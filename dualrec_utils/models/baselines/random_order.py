"""Random: every unseen item in random order. The floor that any model must leave behind."""

from __future__ import annotations

import numpy as np
from scipy.special import gammaln

from dualrec_utils.models.baselines.base import Baseline, Validate


class RandomOrder(Baseline):
    """Uniform scores drawn anew for every case.

    The draw depends on the seed and the history alone, so a case gets the same list whichever cases
    stand beside it. An empty history is a history like any other.
    """

    trained_on = "nothing"

    def _fit(self, histories: list[np.ndarray], validate: Validate | None) -> None:
        """Nothing to learn."""

    def _score(self, histories: list[np.ndarray], users: np.ndarray) -> np.ndarray:
        draws = [np.random.default_rng([self.seed, *h]).random(self.n_items) for h in histories]
        return np.array(draws).reshape(len(histories), self.n_items)


def expected_hit_rate(n_candidates: np.ndarray, *, n_targets: int, k: int) -> np.ndarray:
    """HR@k that a random order has on average: 1 - C(n - t, k) / C(n, k); k / n with one target.

    Args:
        n_candidates: shape (n_cases,), items ranked in each case, the targets among them.
        n_targets: targets t of each case; any of them is a hit.
        k: cutoff.

    Returns:
        Shape (n_cases,), each in (0, 1].
    """
    n = np.asarray(n_candidates, dtype=float)
    misses = n - n_targets
    # Where fewer than k items are no target, the top k cannot miss.
    safe = np.maximum(misses - k, 0)
    log_miss = gammaln(misses + 1) - gammaln(safe + 1) - gammaln(n + 1) + gammaln(n - k + 1)
    return np.where(misses >= k, 1 - np.exp(log_miss), 1.0)

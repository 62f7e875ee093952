"""MostPop: the items most often rated by training users, the same list for everyone."""

from __future__ import annotations

import numpy as np

from dualrec_utils.models.baselines.base import Baseline, Validate, popularity


class MostPopular(Baseline):
    """Score = share of all training interactions. The history, empty or not, plays no part."""

    def _fit(self, histories: list[np.ndarray], validate: Validate | None) -> None:
        self._popularity = popularity(histories, self.n_items)

    def _score(self, histories: list[np.ndarray], users: np.ndarray) -> np.ndarray:
        return np.tile(self._popularity, (len(histories), 1))

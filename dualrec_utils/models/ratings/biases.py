"""The global mean, and the biases of users and items around it.

Koren, Bell and Volinsky (2009), "Matrix factorization techniques for recommender systems", IEEE Computer,
equation (3): a rating is mean + bias of the item + bias of the user.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from dualrec_utils.models.ratings.base import Profile, RatingModel, Rows


class GlobalMean(RatingModel):
    """The mean of all training ratings, for every pair."""

    def _fit(self, ratings: Rows) -> None:
        pass

    def _predict(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        return np.full(len(users), self.mean)

    def _predict_new(self, profile: Profile, items: np.ndarray) -> np.ndarray:
        return np.full(len(items), self.mean)


class Biases(RatingModel):
    """Mean + bias of the item + bias of the user, found by turns.

    Attributes:
        item_biases: shape (n_items,); user_biases: shape (n_users,).
    """

    # Shrinkage is in ratings: a user with so many has half of the mean residual as bias.
    defaults: ClassVar[dict[str, Any]] = {"user_shrinkage": 5.0, "item_shrinkage": 5.0, "n_rounds": 20}
    kept: ClassVar[tuple[str, ...]] = ("item_biases", "user_biases")

    def _fit(self, ratings: Rows) -> None:
        self.item_biases, self.user_biases = np.zeros(len(self.item_ids)), np.zeros(len(self.user_ids))
        centred = ratings.values - self.mean
        for _ in range(self.n_rounds):
            self.item_biases = shrunk_means(
                ratings.items,
                centred - self.user_biases[ratings.users],
                len(self.item_ids),
                self.item_shrinkage,
            )
            self.user_biases = shrunk_means(
                ratings.users,
                centred - self.item_biases[ratings.items],
                len(self.user_ids),
                self.user_shrinkage,
            )

    def _predict(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        # The last place is that of anybody: row -1.
        return self.mean + self.item_biases[items] + np.append(self.user_biases, 0.0)[users]

    def _predict_new(self, profile: Profile, items: np.ndarray) -> np.ndarray:
        rated = self._rated(profile)
        residuals = rated.values - self.mean - self.item_biases[rated.items]
        bias = shrunk_means(np.zeros(len(residuals), dtype=int), residuals, 1, self.user_shrinkage)
        return self.mean + self.item_biases[items] + bias


def shrunk_means(groups: np.ndarray, values: np.ndarray, n_groups: int, shrinkage: float) -> np.ndarray:
    """Mean of the values of each group, pulled towards 0: sum / (number + shrinkage), shape (n_groups,).

    >>> shrunk_means(np.array([0, 0, 2]), np.array([1.0, 2.0, 4.0]), 3, 1.0)
    array([1., 0., 2.])
    """
    sums = np.bincount(groups, weights=values, minlength=n_groups)
    counts = np.bincount(groups, minlength=n_groups)
    return np.divide(sums, counts + shrinkage, out=np.zeros(n_groups), where=counts > 0)

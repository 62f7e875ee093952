"""Biased matrix factorisation, by alternating least squares.

Koren, Bell and Volinsky (2009), "Matrix factorization techniques for recommender systems", IEEE Computer,
equations (4) and (5): a rating is mean + bias of the item + bias of the user + product of their factors.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from dualrec_utils.models.ratings.base import Profile, RatingModel, Rows
from dualrec_utils.models.ratings.least_squares import Side, with_ones

# Standard deviation of the factors that training starts with.
_START = 0.1


class BiasedMF(RatingModel):
    """Factors and biases: in turn, the users' are solved for while the items' stand still, and back.

    A step solves a ridge regression for each user (or item) exactly. The penalty counts once a user and
    item, not once a rating, so that whoever has rated little stays near the mean.

    Attributes:
        users: shape (n_users, n_factors + 1); items: shape (n_items, n_factors + 1). The last column is
            the bias.
    """

    defaults: ClassVar[dict[str, Any]] = {
        "n_factors": 10,
        "penalty": 13.0,  # of squared factors
        "bias_penalty": 5.0,  # of squared biases
        "n_rounds": 20,
    }
    kept: ClassVar[tuple[str, ...]] = ("users", "items")

    def _fit(self, ratings: Rows) -> None:
        n_users, n_items = len(self.user_ids), len(self.item_ids)
        draw = np.random.default_rng(self.seed)
        factors = _START * draw.standard_normal((n_users, self.n_factors))
        self.users = np.column_stack([factors, np.zeros(n_users)])
        centred = ratings.values - self.mean
        by_user = Side(ratings.users, ratings.items, (n_users, n_items))
        by_item = Side(ratings.items, ratings.users, (n_items, n_users))
        for _ in range(self.n_rounds):
            residuals = centred - self.users[ratings.users, -1]
            self.items = self._solved(*by_item.normal_equations(with_ones(self.users), residuals))
            residuals = centred - self.items[ratings.items, -1]
            self.users = self._solved(*by_user.normal_equations(with_ones(self.items), residuals))

    def _solved(self, products: np.ndarray, sums: np.ndarray) -> np.ndarray:
        penalties = np.append(np.full(self.n_factors, self.penalty), self.bias_penalty)
        return np.linalg.solve(products + np.diag(penalties), sums[..., None])[..., 0]

    def _predict(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        # The last row is anybody's.
        vectors = np.vstack([self.users, np.zeros(self.n_factors + 1)])[users]
        return self._said(vectors, items)

    def _predict_new(self, profile: Profile, items: np.ndarray) -> np.ndarray:
        """The step of training that solves for one user, with the profile's ratings."""
        rated = self._rated(profile)
        design = with_ones(self.items[rated.items])
        targets = rated.values - self.mean - self.items[rated.items, -1]
        vector = self._solved((design.T @ design)[None], (targets @ design)[None])
        return self._said(vector, items)

    def _said(self, vectors: np.ndarray, items: np.ndarray) -> np.ndarray:
        products = (vectors * with_ones(self.items[items])).sum(axis=1)
        return self.mean + self.items[items, -1] + products

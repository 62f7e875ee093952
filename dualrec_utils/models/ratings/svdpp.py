"""SVD++, by alternating least squares.

Koren (2008), "Factorization meets the neighborhood: a multifaceted collaborative filtering model", KDD,
equation (15): as biased matrix factorisation, but which items a user rated counts too, whatever the rating.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from scipy.sparse.linalg import LinearOperator, cg

from dualrec_utils.models.ratings.base import Profile, RatingModel, Rows
from dualrec_utils.models.ratings.least_squares import Side, with_ones

# Standard deviation of the factors that training starts with.
_START = 0.1
# Steps of conjugate gradients in a round: each round goes on where the last one stopped.
_N_STEPS = 3


class SVDpp(RatingModel):
    """mean + item bias + user bias + q · (p + sum of y over the rated items / root of their number).

    The paper's objective with three penalties; the paper minimises it by stochastic gradient descent. Here,
    in turn, q with the items' biases and p with the users' biases are solved for exactly, and all y at once
    by conjugate gradients.

    Attributes:
        users: p and bias, shape (n_users, n_factors + 1); items: q and bias, shape (n_items,
            n_factors + 1); implicit: y, shape (n_items, n_factors).
    """

    defaults: ClassVar[dict[str, Any]] = {
        "n_factors": 10,
        "penalty": 15.0,  # of squared p and q
        "implicit_penalty": 60.0,  # of squared y
        "bias_penalty": 5.0,  # of squared biases
        "n_rounds": 20,
    }
    kept: ClassVar[tuple[str, ...]] = ("items", "implicit", "_whole")

    def _fit(self, ratings: Rows) -> None:
        n_users, n_items = len(self.user_ids), len(self.item_ids)
        draw = np.random.default_rng(self.seed)
        factors = _START * draw.standard_normal((n_users, self.n_factors))
        self.users = np.column_stack([factors, np.zeros(n_users)])
        self.items = np.zeros((n_items, self.n_factors + 1))
        self.implicit = np.zeros((n_items, self.n_factors))
        centred = ratings.values - self.mean
        by_user = Side(ratings.users, ratings.items, (n_users, n_items))
        by_item = Side(ratings.items, ratings.users, (n_items, n_users))
        counts = np.bincount(ratings.users, minlength=n_users)
        shares = by_user.matrix(counts[ratings.users] ** -0.5)
        for _ in range(self.n_rounds):
            said = shares @ self.implicit
            whole = self.users.copy()
            whole[:, :-1] += said
            targets = centred - whole[ratings.users, -1]
            self.items = self._solved(*by_item.normal_equations(with_ones(whole), targets))
            factors = self.items[:, :-1]
            targets = centred - self.items[ratings.items, -1] - self.users[ratings.users, -1]
            targets -= (self.users[ratings.users, :-1] * factors[ratings.items]).sum(axis=1)
            products, sums = by_user.normal_equations(factors, targets)
            self.implicit = self._implicit(shares, products, sums)
            said = shares @ self.implicit
            targets = centred - self.items[ratings.items, -1]
            targets -= (said[ratings.users] * factors[ratings.items]).sum(axis=1)
            self.users = self._solved(*by_user.normal_equations(with_ones(self.items), targets))
        whole = self.users.copy()
        whole[:, :-1] += said
        # Somebody of whom nothing is known has the mean of what users' items say.
        self._whole = np.vstack([whole, np.append(said.mean(axis=0), 0.0)])

    def _implicit(self, shares, products: np.ndarray, sums: np.ndarray) -> np.ndarray:
        """A few steps towards the y that fit best, all else as it is.

        The normal equations are: sharesᵀ (products (shares y)) + penalty y = sharesᵀ sums.
        """
        shape = self.implicit.shape

        def apply(flat: np.ndarray) -> np.ndarray:
            y = flat.reshape(shape)
            moved = np.einsum("nij,nj->ni", products, shares @ y)
            return (shares.T @ moved + self.implicit_penalty * y).ravel()

        operator = LinearOperator((self.implicit.size,) * 2, matvec=apply)
        target = (shares.T @ sums).ravel()
        return cg(operator, target, x0=self.implicit.ravel(), maxiter=_N_STEPS)[0].reshape(shape)

    def _solved(self, products: np.ndarray, sums: np.ndarray) -> np.ndarray:
        penalties = np.append(np.full(self.n_factors, self.penalty), self.bias_penalty)
        return np.linalg.solve(products + np.diag(penalties), sums[..., None])[..., 0]

    def _predict(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        # The last row is anybody's.
        return self._said(self._whole[users], items)

    def _predict_new(self, profile: Profile, items: np.ndarray) -> np.ndarray:
        """y from the profile's items; p and bias as training solves for them."""
        rated = self._rated(profile)
        vector = self._whole[-1]
        if len(rated.items):
            vector = np.zeros(self.n_factors + 1)
            vector[:-1] = self.implicit[rated.items].sum(axis=0) / np.sqrt(len(rated.items))
            design = with_ones(self.items[rated.items])
            targets = rated.values - self.mean - self.items[rated.items, -1] - design @ vector
            vector = vector + self._solved((design.T @ design)[None], (targets @ design)[None])[0]
        return self._said(vector, items)

    def _said(self, vectors: np.ndarray, items: np.ndarray) -> np.ndarray:
        products = (vectors * with_ones(self.items[items])).sum(axis=-1)
        return self.mean + self.items[items, -1] + products

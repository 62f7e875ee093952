"""Item-based neighbours around baselines.

Koren (2010), "Factor in the neighbors: scalable and accurate collaborative filtering", TKDD 4(1), section
2.2 and equation (3): a rating is the baseline + the weighted mean of how far the user's ratings of similar
items lie from theirs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from scipy import sparse

from dualrec_utils.models.ratings.base import Profile, RatingModel, Rows, put_under, take_under
from dualrec_utils.models.ratings.biases import Biases


class ItemKNN(RatingModel):
    """The k items most similar to the one in question, of those that the user rated.

    Attributes:
        similarities: shape (n_items, n_items), of :func:`similarities`; an item is none to itself.
        baselines: the :class:`Biases` around which ratings are compared.
    """

    defaults: ClassVar[dict[str, Any]] = {
        "n_neighbours": 40,
        "shrinkage": 100.0,  # of similarities, in common users
        # Of the baselines, in ratings.
        "user_shrinkage": 5.0,
        "item_shrinkage": 5.0,
    }

    def _fit(self, ratings: Rows) -> None:
        self.baselines = self._unfitted_baselines().fit(self._frame(ratings))
        residuals = ratings.values - self.baselines._predict(ratings.users, ratings.items)
        self.similarities = similarities(
            ratings.users,
            ratings.items,
            residuals,
            n_items=len(self.item_ids),
            shrinkage=self.shrinkage,
        )
        order = np.argsort(ratings.users, kind="stable")
        cuts = np.bincount(ratings.users, minlength=len(self.user_ids)).cumsum()[:-1]
        # Of each user: what was rated, and how far from the baseline.
        self._history = list(
            zip(np.split(ratings.items[order], cuts), np.split(residuals[order], cuts), strict=True)
        )

    def _unfitted_baselines(self) -> Biases:
        return Biases(
            self.known,
            seed=self.seed,
            user_shrinkage=self.user_shrinkage,
            item_shrinkage=self.item_shrinkage,
        )

    def _state(self) -> dict[str, np.ndarray]:
        items, residuals = (np.concatenate(column) for column in zip(*self._history, strict=True))
        return {
            "similarities": self.similarities,
            "lengths": np.array([len(rated) for rated, _ in self._history]),
            "items": items,
            "residuals": residuals,
            **put_under("baselines", self.baselines.state()),
        }

    def _restore(self, state: Mapping[str, np.ndarray]) -> None:
        self.baselines = self._unfitted_baselines().restore(take_under("baselines", state))
        self.similarities = state["similarities"]
        cuts = state["lengths"].cumsum()[:-1]
        self._history = list(
            zip(np.split(state["items"], cuts), np.split(state["residuals"], cuts), strict=True)
        )

    def _predict(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        values = self.baselines._predict(users, items)
        order = np.argsort(users, kind="stable")
        distinct, starts = np.unique(users[order], return_index=True)
        for user, places in zip(distinct, np.split(order, starts[1:]), strict=True):
            if user >= 0:
                values[places] += self._offsets(*self._history[user], items[places])
        return values

    def _predict_new(self, profile: Profile, items: np.ndarray) -> np.ndarray:
        rated = self._rated(profile)
        baselines = self.baselines._predict_new(profile, np.append(rated.items, items))
        residuals = rated.values - baselines[: len(rated.items)]
        return baselines[len(rated.items) :] + self._offsets(rated.items, residuals, items)

    def _offsets(self, rated: np.ndarray, residuals: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Weighted mean residual of the nearest rated items, for each item; 0 where none is similar."""
        # What speaks against an item is not evidence for another one: only similarities above 0 count.
        weights = np.maximum(self.similarities[np.ix_(items, rated)], 0.0)
        if len(rated) > self.n_neighbours:
            nearest = np.argpartition(-weights, self.n_neighbours - 1, axis=1)[:, : self.n_neighbours]
            weights, residuals = np.take_along_axis(weights, nearest, axis=1), residuals[nearest]
        sums = weights.sum(axis=1)
        weighted = (weights * residuals).sum(axis=1)
        return np.divide(weighted, sums, out=np.zeros(len(items)), where=sums > 0)


def similarities(
    users: np.ndarray, items: np.ndarray, residuals: np.ndarray, *, n_items: int, shrinkage: float
) -> np.ndarray:
    """Correlation of two items' ratings around the baselines, pulled to 0 where few users rated both.

    Over the n users who rated both: sum of products of residuals / root of the product of their sums of
    squares, times (n - 1) / (n - 1 + shrinkage). Koren (2010), equation (2), with the baselines in the
    place of the items' means.

    Args:
        users, items, residuals: shape (n_ratings,).

    Returns:
        Shape (n_items, n_items), symmetric, in [-1, 1], the diagonal 0.

    >>> similarities(np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1]), np.array([1., 1., -1., -1.]),
    ...              n_items=2, shrinkage=1.0)
    array([[0. , 0.5],
           [0.5, 0. ]])
    """
    shape = (int(users.max()) + 1, n_items)
    around = sparse.csr_array((residuals, (users, items)), shape=shape)
    rated = sparse.csr_array((np.ones(len(users)), (users, items)), shape=shape)
    common = (rated.T @ rated).toarray()
    products = (around.T @ around).toarray()
    # Of item i over the users who rated j as well.
    squares = (around.power(2).T @ rated).toarray()
    lengths = np.sqrt(squares * squares.T)
    correlations = np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0)
    shrunk = correlations * np.maximum(common - 1, 0) / np.maximum(common - 1 + shrinkage, 1e-12)
    np.fill_diagonal(shrunk, 0.0)
    return shrunk

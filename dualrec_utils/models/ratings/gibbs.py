"""What Bayesian matrix factorisation draws: vectors, their prior, weights of features, noise.

Each draw is from the distribution of one thing given all the others and the ratings: together a Gibbs
sampler. Sources: :mod:`models.ratings.bayesian`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from dualrec_utils.models.ratings.base import Rows

# Standard deviation of the vectors that sampling starts with.
_START = 0.1
# As how many vectors the prior counts in which the mean of all vectors is 0 (beta of the paper).
_MEAN_WEIGHT = 2.0
# Singular values below this share of the largest are 0 but for rounding.
_RANK = 1e-6


class Kind:
    """Features of one kind, and the weights by which they move the mean of the vectors: features @ weights.

    The prior of a weight is Gaussian, around 0, with `precision` times the precision of the vectors; that
    of `precision` is Gamma(1/2, 1/2). In the coordinates of the features' singular vectors the weights are
    independent of each other, which makes a draw of all of them cheap.

    Args:
        features: shape (n, n_features).

    Attributes:
        precision: as drawn last.
        shift: features @ weights as drawn last, shape (n, d), or 0.0 before.
    """

    def __init__(self, features: np.ndarray) -> None:
        left, sizes, right = np.linalg.svd(features, full_matrices=False)
        real = sizes > _RANK * max(sizes.max(initial=0.0), _RANK)
        # Also divided by their size: weights of these are those in front of `right`.
        self._left, self._sizes, self._right = left[:, real], sizes[real], right[real]
        self.precision: float = 1.0
        self.shift: np.ndarray | float = 0.0

    def draw(self, targets: np.ndarray, vector_precision: np.ndarray, draw: np.random.Generator) -> None:
        """Draw weights and their precision.

        Args:
            targets: what the weights are to explain: vectors without their mean and without what the other
                kinds explain, shape (n, d).
            vector_precision: shape (d, d).
        """
        precisions = self._sizes**2 + self.precision
        means = (self._left * self._sizes).T @ targets / precisions[:, None]
        noise = draw.standard_normal(means.shape) / np.sqrt(precisions)[:, None]
        self._rotated = means + noise @ _root(vector_precision)
        self.shift = (self._left * self._sizes) @ self._rotated
        rate = (1 + np.sum(self._rotated @ vector_precision * self._rotated)) / 2
        self.precision = draw.gamma((1 + self._rotated.size) / 2, 1 / rate)

    def weights(self) -> np.ndarray:
        """Weights as drawn last, shape (n_features, d)."""
        return self._right.T @ self._rotated

    def squares(self) -> tuple[np.ndarray, int]:
        """precision * weightsᵀ weights, (d, d), and how many rows the weights have: what they say of the
        precision of the vectors."""
        return self.precision * self._rotated.T @ self._rotated, len(self._rotated)


class Vectors:
    """The vectors of one side, users or items.

    Each is Gaussian around mean + what its features add, with one precision matrix. The prior of mean and
    precision is Gauss-Wishart: d degrees, the unit matrix, mean 0.

    Args:
        kinds: name -> features, shape (n, n_features).
        shape: (n, d).

    Attributes:
        vectors: as drawn last, shape (n, d).
        expected: their means given the ratings and all else, shape (n, d).
        mean: shape (d,); precision: shape (d, d).
        kinds: name -> :class:`Kind`.
    """

    def __init__(
        self, kinds: Mapping[str, np.ndarray], shape: tuple[int, int], draw: np.random.Generator
    ) -> None:
        self.vectors = self.expected = _START * draw.standard_normal(shape)
        self.mean, self.precision = np.zeros(shape[1]), np.eye(shape[1])
        self.kinds = {name: Kind(features) for name, features in kinds.items()}

    def draw_prior(self, draw: np.random.Generator) -> None:
        """Draw the weights of the features, then precision and mean, given the vectors."""
        # Importing it takes half a second, which predictions need not pay.
        from scipy.stats import wishart

        n, d = self.vectors.shape
        for kind in self.kinds.values():
            kind.draw(self.vectors - self.prior_means() + kind.shift, self.precision, draw)
        left = self.vectors - sum(kind.shift for kind in self.kinds.values())
        mean = left.mean(axis=0)
        inverse_scale = np.eye(d) + (left - mean).T @ (left - mean)
        inverse_scale += n * _MEAN_WEIGHT / (n + _MEAN_WEIGHT) * np.outer(mean, mean)
        degrees = d + n
        for squares, n_rows in (kind.squares() for kind in self.kinds.values()):
            inverse_scale += squares
            degrees += n_rows
        self.precision = wishart.rvs(degrees, np.linalg.inv(inverse_scale), random_state=draw)
        noise = draw.standard_normal(d) @ _root((n + _MEAN_WEIGHT) * self.precision)
        self.mean = n * mean / (n + _MEAN_WEIGHT) + noise

    def prior_means(self) -> np.ndarray:
        """Of every vector, shape (n, d)."""
        return self.mean + sum((kind.shift for kind in self.kinds.values()), np.zeros_like(self.vectors))

    def draw_vectors(self, products: np.ndarray, sums: np.ndarray, draw: np.random.Generator) -> None:
        """Draw the vectors given their prior and the ratings.

        Args:
            products, sums: of :meth:`least_squares.Side.normal_equations`, weighted by precision.
        """
        precisions = products + self.precision
        right = sums + self.prior_means() @ self.precision
        self.expected = np.linalg.solve(precisions, right[..., None])[..., 0]
        roots = np.linalg.cholesky(precisions).transpose(0, 2, 1)
        noise = np.linalg.solve(roots, draw.standard_normal((*right.shape, 1)))[..., 0]
        self.vectors = self.expected + noise


class Noise:
    """Precision of a rating: that of all, times one of the user, times one of the item.

    The prior of the latter two is Gamma around 1, with `degrees` / 2 as shape.

    Attributes:
        precision: of all; of_users: shape (n_users,); of_items: shape (n_items,), as drawn last.
        of_ratings: all three multiplied, shape (n_ratings,).
    """

    def __init__(self, ratings: Rows, n_users: int, n_items: int, degrees: float) -> None:
        self._ratings, self._degrees = ratings, degrees
        self.precision: float = 1.0
        self.of_users, self.of_items = np.ones(n_users), np.ones(n_items)
        self.of_ratings = np.ones(len(ratings.values))

    def draw(self, residuals: np.ndarray, draw: np.random.Generator) -> None:
        """Draw all three given what the vectors leave of the ratings, shape (n_ratings,)."""
        users, items = self._ratings.users, self._ratings.items
        squares = residuals**2
        weighted = (squares * self.of_users[users] * self.of_items[items]).sum()
        self.precision = draw.gamma((1 + len(squares)) / 2, 2 / (1 + weighted))
        self.of_users = self._drawn(users, squares * self.of_items[items], len(self.of_users), draw)
        self.of_items = self._drawn(items, squares * self.of_users[users], len(self.of_items), draw)
        self.of_ratings = self.precision * self.of_users[users] * self.of_items[items]

    def _drawn(
        self, groups: np.ndarray, squares: np.ndarray, n_groups: int, draw: np.random.Generator
    ) -> np.ndarray:
        counts = np.bincount(groups, minlength=n_groups)
        sums = self.precision * np.bincount(groups, weights=squares, minlength=n_groups)
        return draw.gamma((self._degrees + counts) / 2, 2 / (self._degrees + sums))


def _root(precision: np.ndarray) -> np.ndarray:
    """A matrix R by which standard normal rows @ R have the covariance that is the precision's inverse."""
    return np.linalg.cholesky(np.linalg.inv(precision)).T

"""Ratings seen from one side, and the normal equations of every user or item at once."""

from __future__ import annotations

import numpy as np
from scipy import sparse


class Side:
    """The ratings of each row, be it a user or an item.

    Args:
        rows, columns: shape (n_ratings,), of each rating.
        shape: number of rows and of columns.
    """

    def __init__(self, rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]) -> None:
        self.shape = shape
        self._order = np.lexsort((columns, rows))
        self._columns = columns[self._order]
        self._starts = np.append(0, np.bincount(rows, minlength=shape[0]).cumsum())

    def matrix(self, values: np.ndarray) -> sparse.csr_array:
        """A matrix of this shape that holds a value for each rating, given in the order of the ratings."""
        return sparse.csr_array((values[self._order], self._columns, self._starts), shape=self.shape)

    def normal_equations(
        self, design: np.ndarray, targets: np.ndarray, weights: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Sums over the ratings of each row, of which least squares is made.

        Args:
            design: z, shape (n_columns, d).
            targets: y, shape (n_ratings,).
            weights: w, shape (n_ratings,); 1 by default.

        Returns:
            (sum of w z zᵀ, sum of w y z), shapes (n_rows, d, d) and (n_rows, d).
        """
        weights = np.ones(len(targets)) if weights is None else weights
        d = design.shape[1]
        # A symmetric matrix has its upper half twice: only that is summed.
        above = np.triu_indices(d)
        halves = self.matrix(weights) @ (design[:, above[0]] * design[:, above[1]])
        products = np.empty((self.shape[0], d, d))
        products[:, above[0], above[1]] = products[:, above[1], above[0]] = halves
        return products, self.matrix(weights * targets) @ design


def with_ones(vectors: np.ndarray) -> np.ndarray:
    """The design of factors and bias together: the other side's factors and a column of ones.

    Args:
        vectors: shape (n, d), of which the last column is a bias and makes room for the ones.
    """
    return np.column_stack([vectors[:, :-1], np.ones(len(vectors))])

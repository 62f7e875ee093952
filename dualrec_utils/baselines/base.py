"""What every baseline is: built with a catalog and a seed, fitted on histories, asked for scores.

A baseline sees histories of item ids and nothing else; no target ever reaches it. This class turns
ids into catalog columns and refuses strangers, so that a model works on columns 0 ... n_items - 1.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Self

import numpy as np

from dualrec_utils.errors import StudyError


class Baseline(ABC):
    """One baseline. A subclass writes `_fit` and `_score`, and its hyperparameters as keywords.

    Args:
        item_ids: shape (n_items,), the catalog, ascending; column j of every score is item_ids[j].
        seed: of everything random in the model.

    Raises:
        StudyError: when the catalog is empty, unsorted or repeats an item.
    """

    def __init__(self, item_ids: np.ndarray, *, seed: int) -> None:
        self.item_ids = np.array(item_ids, dtype=np.int64)
        self.seed = seed
        self._fitted = False
        if not len(self.item_ids) or (np.diff(self.item_ids) <= 0).any():
            raise StudyError("a baseline's catalog must hold item ids in ascending order, each once")

    @property
    def n_items(self) -> int:
        """Size of the catalog."""
        return len(self.item_ids)

    def fit(self, histories: Sequence[np.ndarray]) -> Self:
        """Learn from training histories.

        Args:
            histories: one array of item ids for each training user, oldest first.

        Returns:
            The model itself.

        Raises:
            StudyError: when there is no interaction to learn from, or an item is not in the catalog.
        """
        columns = [self._columns(history, number) for number, history in enumerate(histories)]
        if not sum(map(len, columns)):
            raise StudyError("there is no training interaction to fit a baseline on")
        self._fit(columns)
        self._fitted = True
        return self

    def score(self, histories: Sequence[np.ndarray]) -> np.ndarray:
        """Score the whole catalog after each history.

        Args:
            histories: one array of item ids for each case, oldest first. An empty one is allowed:
                every baseline says what it then answers.

        Returns:
            Shape (n_cases, n_items), float64, finite, higher is better. Movies of the history are
            scored like any other; :func:`dualrec_utils.predictions.from_scores` leaves them out.

        Raises:
            StudyError: when an item is not in the catalog.
            RuntimeError: when the model is not fitted.
        """
        if not self._fitted:
            raise RuntimeError(f"{type(self).__name__} must be fitted before it scores")
        return self._score([self._columns(history, number) for number, history in enumerate(histories)])

    def _columns(self, history: np.ndarray, number: int) -> np.ndarray:
        """Catalog columns of a history's items."""
        items = np.asarray(history, dtype=np.int64)
        columns = np.searchsorted(self.item_ids, items)
        known = self.item_ids[np.minimum(columns, self.n_items - 1)] == items
        if not known.all():
            raise StudyError(
                f"history {number} holds item {items[~known][0]}, which the catalog of"
                f" {self.n_items} movies does not have"
            )
        return columns

    @abstractmethod
    def _fit(self, histories: list[np.ndarray]) -> None:
        """Learn from histories of catalog columns."""

    @abstractmethod
    def _score(self, histories: list[np.ndarray]) -> np.ndarray:
        """Score every column after each history of catalog columns."""


def popularity(histories: Sequence[np.ndarray], n_items: int) -> np.ndarray:
    """Share of all interactions that each column has: shape (n_items,), sums to 1.

    Args:
        histories: arrays of catalog columns, at least one interaction in all.
        n_items: size of the catalog.
    """
    counts = np.bincount(np.concatenate(histories), minlength=n_items)
    return counts / counts.sum()


def in_range(name: str, value: float, *, low: float, high: float, integer: bool = False) -> float:
    """Return a hyperparameter that lies in [low, high].

    Raises:
        StudyError: naming the value and what is allowed.
    """
    kinds = (int,) if integer else (int, float)
    right_kind = isinstance(value, kinds) and not isinstance(value, bool)
    if not right_kind or not low <= value <= high:
        kind = "an integer" if integer else "a number"
        raise StudyError(f"{name} is {value!r}; allowed: {kind} from {low} to {high}")
    return value

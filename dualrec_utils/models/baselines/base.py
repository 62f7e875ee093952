"""What every baseline is: built with a catalog and a seed, fitted on histories, asked for scores.

A baseline sees histories of item ids and nothing else; no target ever reaches it. This class turns
ids into catalog columns and refuses strangers, so that a model works on columns 0 ... n_items - 1.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar, Self

import numpy as np
from scipy import sparse

from dualrec_utils.core.catalog import Catalog, columns_of
from dualrec_utils.core.errors import StudyError

# Histories of item ids -> scores (n_cases, n_items).
Scorer = Callable[[Sequence[np.ndarray]], np.ndarray]
# A scorer -> its value on validation users, higher is better. Who wrote it knows the targets; who calls
# it does not.
Validate = Callable[[Scorer], float]
# What a hyperparameter may be: the least and the most, an integer where these are; or its default, a text.
Range = tuple[float, float] | str


class Diverged(StudyError):
    """The loss of one model is no number any more; other models are not concerned."""


class Baseline(ABC):
    """One baseline. A subclass writes `ranges`, `_fit` and `_score`.

    Args:
        item_ids: shape (n_items,), the catalog, ascending; column j of every score is item_ids[j].
        seed: of everything random in the model.
        catalog: of the same items; models that read titles and genres cannot be fitted without it.
        hyperparameters: those of :meth:`hyperparameters`, which become attributes.

    Attributes:
        ranges: hyperparameter -> what it may be, without those of the classes above.
        trained_on: what one training example is, in words for tables.

    Raises:
        StudyError: when the catalog is empty, unsorted or repeats an item, or for an impossible value.
    """

    ranges: ClassVar[dict[str, Range]] = {}
    trained_on = "whole histories"

    def __init__(
        self,
        item_ids: np.ndarray,
        *,
        seed: int,
        catalog: Catalog | None = None,
        **hyperparameters: float | str,
    ) -> None:
        self.item_ids = np.array(item_ids, dtype=np.int64)
        self.seed = seed
        self._catalog = catalog
        self._fitted = False
        self._user_rows: dict[int, int] = {}
        if not len(self.item_ids) or (np.diff(self.item_ids) <= 0).any():
            raise StudyError("a baseline's catalog must hold item ids in ascending order, each once")
        for name, allowed in self.hyperparameters().items():
            setattr(self, name, _checked(name, hyperparameters.get(name, allowed), allowed))

    @property
    def n_items(self) -> int:
        """Size of the catalog."""
        return len(self.item_ids)

    @property
    def catalog(self) -> Catalog:
        """The items, for a model that reads titles and genres."""
        if self._catalog is None:
            raise StudyError(f"{type(self).__name__} reads titles and genres: give it the `catalog`")
        return self._catalog

    @property
    def settings(self) -> dict[str, float | str]:
        """The model's hyperparameters and their values."""
        return {name: getattr(self, name) for name in self.hyperparameters()}

    @classmethod
    def hyperparameters(cls) -> dict[str, Range]:
        """The model's hyperparameters and what they may be, its own before those it shares with others."""
        declared = [kind.__dict__.get("ranges", {}) for kind in cls.__mro__]
        return {name: allowed for ranges in declared for name, allowed in ranges.items()}

    @classmethod
    def required(cls) -> list[str]:
        """Those of :meth:`hyperparameters` that have no default."""
        return [name for name, allowed in cls.hyperparameters().items() if not isinstance(allowed, str)]

    def fit(
        self,
        histories: Sequence[np.ndarray],
        *,
        user_ids: Sequence[int] | None = None,
        validate: Validate | None = None,
    ) -> Self:
        """Learn from training histories.

        Args:
            histories: one array of item ids for each training user, oldest first.
            user_ids: whose histories they are, in the same order, each once. Only needed where users
                who are scored later may be among them.
            validate: asked after each epoch by models that are trained in epochs; they stop when its
                value no longer grows and keep the best epoch. Without it they run all their epochs.

        Returns:
            The model itself.

        Raises:
            StudyError: when there is no interaction to learn from, or an item is not in the catalog.
            Diverged: when a loss turns NaN, naming the model's settings.
        """
        columns = [columns_of(history, self.item_ids) for history in histories]
        if not sum(map(len, columns)):
            raise StudyError("there is no training interaction to fit a baseline on")
        if user_ids is not None:
            self._user_rows = {int(user): row for row, user in enumerate(user_ids)}
            if len(self._user_rows) != len(columns):
                raise StudyError(
                    f"{len(columns)} training histories need as many different user ids,"
                    f" not {len(self._user_rows)}"
                )
        self._fit(columns, validate)
        self._fitted = True
        return self

    def score(
        self, histories: Sequence[np.ndarray], *, user_ids: Sequence[int] | None = None
    ) -> np.ndarray:
        """Score the whole catalog after each history.

        Args:
            histories: one array of item ids for each case, oldest first. An empty one is allowed:
                every baseline says what it then answers.
            user_ids: whose histories they are. A user whom `fit` was not given is unknown, as are all
                where this is left out.

        Returns:
            Shape (n_cases, n_items), float64, finite, higher is better. Items of the history are
            scored like any other; :func:`core.predictions.from_scores` leaves them out.

        Raises:
            StudyError: when an item is not in the catalog.
            RuntimeError: when the model is not fitted.
        """
        if not self._fitted:
            raise RuntimeError(f"{type(self).__name__} must be fitted before it scores")
        return self._answer(histories, user_ids)

    def _answer(self, histories: Sequence[np.ndarray], user_ids: Sequence[int] | None = None) -> np.ndarray:
        """:meth:`score` of the model as it stands, in the middle of its training too."""
        columns = [columns_of(history, self.item_ids) for history in histories]
        if user_ids is None:
            users = np.full(len(columns), -1)
        else:
            users = np.array([self._user_rows.get(int(user), -1) for user in user_ids], dtype=int)
            if len(users) != len(columns):
                raise StudyError(f"{len(columns)} histories need as many user ids, not {len(users)}")
        return self._score(columns, users)

    @abstractmethod
    def _fit(self, histories: list[np.ndarray], validate: Validate | None) -> None:
        """Learn from histories of catalog columns."""

    @abstractmethod
    def _score(self, histories: list[np.ndarray], users: np.ndarray) -> np.ndarray:
        """Score every column after each history of catalog columns; users are rows of the training
        histories, -1 where unknown."""


def popularity(histories: Sequence[np.ndarray], n_items: int) -> np.ndarray:
    """Share of all interactions that each column has: shape (n_items,), sums to 1.

    Args:
        histories: arrays of catalog columns, at least one interaction in all.
    """
    counts = np.bincount(np.concatenate(histories), minlength=n_items)
    return counts / counts.sum()


def incidence(histories: Sequence[np.ndarray], n_items: int) -> sparse.csr_array:
    """How often each history holds each column: shape (n_histories, n_items), float64."""
    rows = np.repeat(np.arange(len(histories)), [len(history) for history in histories])
    columns = np.concatenate([np.empty(0, dtype=int), *histories])
    shape = (len(histories), n_items)
    return sparse.coo_array((np.ones(len(rows)), (rows, columns)), shape=shape).tocsr()


def never_seen_last(scores: np.ndarray, popular: np.ndarray) -> np.ndarray:
    """The same scores, but columns without any training interaction one below each row's lowest.

    Nothing was learnt of such an item, so whatever a model says of it is chance.

    Args:
        scores: shape (n_cases, n_items); not changed.
        popular: shape (n_items,), from :func:`popularity`.
    """
    if not len(scores):
        return scores
    lowest = scores[:, popular > 0].min(axis=1, keepdims=True)
    return np.where(popular > 0, scores, lowest - 1)


def _checked(name: str, value: object, allowed: Range) -> float | str:
    """A hyperparameter's value, if it is allowed."""
    if isinstance(allowed, str):
        right, words = isinstance(value, str) and bool(value), f"a text such as {allowed!r}"
    else:
        low, high = allowed
        whole = isinstance(low, int)
        kinds = int if whole else (int, float)
        right = isinstance(value, kinds) and not isinstance(value, bool) and low <= value <= high
        words = f"{'an integer' if whole else 'a number'} from {low:,g} to {high:,g}"
    if not right:
        raise StudyError(f"{name} is {value!r}; allowed: {words}")
    return value

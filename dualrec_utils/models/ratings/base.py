"""What every rating model is: built with what is known of items and users, fitted on ratings, then asked.

A model sees ratings of the training folds, and the users and items of what it predicts: never a rating of
the fold that it predicts. This class numbers users and items, so that a model works on rows 0, 1, ....
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd

from dualrec_utils.core.config import ITEM, RATING, USER
from dualrec_utils.core.errors import StudyError


class NotSupported(StudyError):
    """The model cannot answer a question of this kind: its row says "not possible"."""


@dataclass(frozen=True)
class Known:
    """What is known beside ratings.

    Attributes:
        items: `item_id`, `title`, `year` (nullable), `genres` (list of str): every item that may be asked
            for, ascending.
        users: `user_id`, `age`, `gender`, `occupation`; empty where the data set does not say.
        tags: `user_id`, `item_id`, `tag`; empty where the data set has none.
        scale: lowest and highest rating.
    """

    items: pd.DataFrame
    users: pd.DataFrame = field(
        default_factory=lambda: pd.DataFrame(columns=[USER, "age", "gender", "occupation"])
    )
    tags: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=[USER, ITEM, "tag"]))
    scale: tuple[float, float] = (1.0, 5.0)


@dataclass(frozen=True)
class Profile:
    """What is known of somebody who was not there in training.

    Attributes:
        ratings: item id -> rating; may be empty.
        text: a description in plain words; may be empty.
    """

    ratings: Mapping[int, float] = field(default_factory=dict)
    text: str = ""


@dataclass(frozen=True)
class Rows:
    """Ratings or pairs as numbers of rows.

    Attributes:
        users: shape (n,), rows of the training users, -1 for somebody else.
        items: shape (n,), rows of :attr:`Known.items`.
        values: shape (n,), ratings; NaN in pairs.
    """

    users: np.ndarray
    items: np.ndarray
    values: np.ndarray


class RatingModel(ABC):
    """One rating model. A subclass writes `defaults`, `_fit` and `_predict`, and `_predict_new` if it can.

    What `_fit` leaves and predictions need is named in `kept`; where that is more than arrays, a subclass
    writes `_state` and `_restore`.

    Args:
        known: items, users, tags, scale.
        seed: of everything random in the model.
        settings: some of :attr:`defaults`; they become attributes.

    Attributes:
        defaults: setting -> value.
        kept: names of attributes, arrays all, that are the fitted model.
        user_ids: training users, ascending, once fitted.
        item_ids: of all items that may be asked for, ascending.
        mean: of the training ratings, once fitted.

    Raises:
        StudyError: for an unknown setting.
    """

    defaults: ClassVar[dict[str, Any]] = {}
    kept: ClassVar[tuple[str, ...]] = ()

    def __init__(self, known: Known, *, seed: int, **settings: float | str) -> None:
        if unknown := sorted(set(settings) - set(self.defaults)):
            raise StudyError(
                f"{type(self).__name__} has no setting {unknown[0]!r}; it has"
                f" {', '.join(self.defaults) or 'none'}"
            )
        self.known, self.seed = known, seed
        self.item_ids = known.items[ITEM].to_numpy(dtype=np.int64)
        if (np.diff(self.item_ids) <= 0).any():
            raise StudyError("items of a rating model must ascend by item_id, each once")
        for name, default in self.defaults.items():
            setattr(self, name, settings.get(name, default))
        self.user_ids = np.empty(0, dtype=np.int64)
        self.mean = float("nan")

    def fit(self, ratings: pd.DataFrame) -> Self:
        """Learn from ratings.

        Args:
            ratings: `user_id`, `item_id`, `rating`, at least one row; not changed.

        Returns:
            The model itself.

        Raises:
            StudyError: without a rating, for one outside the scale, or for an unknown item.
        """
        if ratings.empty:
            raise StudyError("there is no rating to fit a model on")
        values = ratings[RATING].to_numpy(dtype=np.float64, na_value=np.nan)
        self._check(values)
        self.user_ids = np.sort(ratings[USER].unique()).astype(np.int64)
        self.mean = float(values.mean())
        self._fit(self._rows(ratings, values))
        return self

    def predict(self, pairs: pd.DataFrame, *, profiles: Mapping[int, Profile] | None = None) -> np.ndarray:
        """Predict ratings.

        Args:
            pairs: `user_id`, `item_id`. A user without training ratings who has no profile gets what the
                model says of anybody.
            profiles: user id -> :class:`Profile`: these users are known by it alone, whether they were
                there in training or not.

        Returns:
            Shape (n_pairs,), within the scale, not rounded.

        Raises:
            StudyError: for an unknown item, in pairs or profiles, or a profile's rating outside the scale.
            NotSupported: when the model cannot use such a profile.
            RuntimeError: when it is not fitted.
        """
        if not len(self.user_ids):
            raise RuntimeError(f"{type(self).__name__} must be fitted before it predicts")
        profiles = profiles or {}
        rows = self._rows(pairs, np.full(len(pairs), np.nan))
        known_by = np.array([user in profiles for user in pairs[USER].tolist()], dtype=bool)
        values = np.empty(len(pairs))
        if (~known_by).any():
            values[~known_by] = self._predict(rows.users[~known_by], rows.items[~known_by])
        named = {user: profile for user, profile in profiles.items() if (pairs[USER] == user).any()}
        for user, profile in self._read(named).items():
            theirs = pairs[USER].to_numpy() == user
            values[theirs] = self._predict_new(profile, rows.items[theirs])
        return np.clip(values, *self.known.scale)

    def state(self) -> dict[str, np.ndarray]:
        """The fitted model as named arrays, from which :meth:`restore` makes it again.

        Raises:
            NotSupported: when something of it is no array.
            RuntimeError: when it is not fitted.
        """
        if not len(self.user_ids):
            raise RuntimeError(f"{type(self).__name__} must be fitted before it is kept")
        return {"user_ids": self.user_ids, "mean": np.array(self.mean), **self._state()}

    def restore(self, state: Mapping[str, np.ndarray]) -> Self:
        """Become the fitted model of a :meth:`state`: predictions are the same to the digit.

        Args:
            state: of a model of the same class, built with the same items, users, tags, scale, seed and
                settings.

        Returns:
            The model itself.
        """
        self.user_ids, self.mean = state["user_ids"], float(state["mean"])
        self._restore(state)
        return self

    def _state(self) -> dict[str, np.ndarray]:
        """What :meth:`state` holds beside users and mean."""
        return {name: getattr(self, name) for name in self.kept}

    def _restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Set what :meth:`_state` has returned."""
        for name in self.kept:
            setattr(self, name, state[name])

    def _rows(self, pairs: pd.DataFrame, values: np.ndarray) -> Rows:
        items = np.searchsorted(self.item_ids, pairs[ITEM].to_numpy())
        clipped = np.minimum(items, len(self.item_ids) - 1)
        if len(strange := pairs[self.item_ids[clipped] != pairs[ITEM].to_numpy()]):
            raise StudyError(f"item {strange[ITEM].iloc[0]} is not among the {len(self.item_ids)} items")
        users = np.searchsorted(self.user_ids, pairs[USER].to_numpy())
        nearest = self.user_ids[np.minimum(users, len(self.user_ids) - 1)]
        return Rows(np.where(nearest == pairs[USER].to_numpy(), users, -1), clipped, values)

    @property
    def reads_texts(self) -> bool:
        """Whether the text of a profile counts; a model for which it does not, leaves it aside."""
        return False

    @abstractmethod
    def _fit(self, ratings: Rows) -> None:
        """Learn from ratings by row."""

    @abstractmethod
    def _predict(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Predictions for rows of users (-1: anybody) and items, not yet clipped."""

    def _rated(self, profile: Profile) -> Rows:
        """The ratings of a profile by row.

        Raises:
            StudyError: for an unknown item, or a rating outside the scale.
        """
        pairs = pd.DataFrame({USER: -1, ITEM: list(profile.ratings)}, dtype=np.int64)
        values = np.array(list(profile.ratings.values()), dtype=np.float64)
        self._check(values)
        return self._rows(pairs, values)

    def _frame(self, ratings: Rows) -> pd.DataFrame:
        """Ratings by row as :meth:`fit` takes them."""
        users, items = self.user_ids[ratings.users], self.item_ids[ratings.items]
        return pd.DataFrame({USER: users, ITEM: items, RATING: ratings.values})  # noqa: PD011

    def _check(self, values: np.ndarray) -> None:
        low, high = self.known.scale
        if len(outside := values[~((values >= low) & (values <= high))]):
            raise StudyError(f"a rating is {outside[0]:g}; the scale goes from {low:g} to {high:g}")

    def _read(self, profiles: Mapping[int, Profile]) -> Mapping[int, Profile]:
        """Profiles as `_predict_new` takes them: for what is done sooner for all of them at once."""
        return profiles

    def _predict_new(self, profile: Profile, items: np.ndarray) -> np.ndarray:
        """Predictions of some item rows for somebody known by a profile alone, not yet clipped.

        Models that read no text give a profile without ratings what they say of anybody.
        """
        raise NotSupported(f"{type(self).__name__} predicts only for users it was trained on")


def put_under(name: str, state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The state of a part, its names beginning with the part's."""
    return {f"{name}.{key}": array for key, array in state.items()}


def take_under(name: str, state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The state of a part as it was before :func:`put_under`."""
    start = f"{name}."
    return {key.removeprefix(start): array for key, array in state.items() if key.startswith(start)}

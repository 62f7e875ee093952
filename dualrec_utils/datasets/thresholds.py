"""Which ratings are kept: those of users who rate enough, of items rated and tagged enough.

The passes are those of the released code of the hybrid with sentence-transformer features: users, items,
tags of items, users once more. An item may end with fewer ratings than its threshold: this is no k-core.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from math import ceil
from types import MappingProxyType

import numpy as np
import pandas as pd

from dualrec_utils.core.config import ITEM, USER
from dualrec_utils.core.errors import StudyError


@dataclass(frozen=True)
class Thresholds:
    """The least numbers, named as the command line names them.

    Attributes:
        min_user_ratings: of a user, at first and at the end, 1 or more.
        min_movie_ratings: of an item, by the users of the first pass, 1 or more.
        min_tags_per_item: tags that users gave to an item, one given twice counted twice, 0 or more.

    Raises:
        StudyError: for a value below.
    """

    min_user_ratings: int = 5
    min_movie_ratings: int = 5
    min_tags_per_item: int = 3

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value < _LEAST[name]:
                raise StudyError(f"{name} is {value}; allowed: whole numbers from {_LEAST[name]}")

    def __str__(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in asdict(self).items())


_LEAST = {"min_user_ratings": 1, "min_movie_ratings": 1, "min_tags_per_item": 0}
_NAMES = tuple(field.name for field in fields(Thresholds))
# The variants of the released code.
VARIANTS = MappingProxyType(
    {"tiny": Thresholds(500, 500, 3), "small": Thresholds(500, 5, 3), "large": Thresholds(5, 5, 3)}
)
# Where those leave nothing: the busiest users, and the most rated items, by share.
_USERS_SHARE = 1 / 4
_ITEMS_SHARE = 1 / 10


def kept(ratings: pd.DataFrame, tags: pd.DataFrame, thresholds: Thresholds) -> pd.DataFrame:
    """The ratings that pass all thresholds.

    Args:
        ratings: `user_id`, `item_id`; not changed.
        tags: `item_id`, a row each time a user gave one; where there are none, their threshold does not
            count (see :func:`about_tags`).

    Returns:
        Rows of `ratings`, in their order, with a new index.

    Raises:
        StudyError: when nothing passes: what each threshold alone would leave, how far they must be
            lowered, and what is left then.
    """
    counted = _Counted(ratings, tags)
    passing = counted.passing(thresholds)
    if not passing.any():
        raise StudyError(_what_would_leave_something(counted, thresholds))
    return ratings[passing].reset_index(drop=True)


def about_tags(tags: pd.DataFrame, thresholds: Thresholds) -> str:
    """A line that says so where there are no tags for their threshold; else empty."""
    if len(tags) or not thresholds.min_tags_per_item:
        return ""
    return f"there are no tags: min_tags_per_item {thresholds.min_tags_per_item} is left out"


def variant(name: str, ratings: pd.DataFrame, tags: pd.DataFrame) -> tuple[Thresholds, str]:
    """Thresholds of a variant: those of the released code where they leave something, else scaled ones.

    Scaled, `tiny` asks of an item as many ratings as the most rated tenth of items has. `tiny` and `small`
    then ask of a user the largest number that leaves a quarter of all users who have rated any of the items
    that are kept. `large` is never scaled.

    Args:
        name: tiny, small or large.
        ratings, tags: as :func:`kept`.

    Returns:
        (thresholds, line): the line says that and how they are scaled; empty where they are not.

    Raises:
        StudyError: for another name.
    """
    if name not in VARIANTS:
        raise StudyError(f"there is no variant {name!r}; variants: {', '.join(VARIANTS)}")
    literal = VARIANTS[name]
    counted = _Counted(ratings, tags)
    if name == "large" or counted.passing(literal).any():
        return literal, ""
    scaled, how = replace(literal, min_user_ratings=1), "the busiest quarter of users"
    if name == "tiny":
        most_rated = np.sort(np.bincount(counted.items))[::-1]
        enough = int(most_rated[ceil(_ITEMS_SHARE * len(most_rated)) - 1])
        scaled = replace(scaled, min_movie_ratings=enough)
        how += " and the most rated tenth of items"
    wanted = _USERS_SHARE * counted.left(scaled)[1]
    enough = _largest(
        lambda value: counted.left(replace(scaled, min_user_ratings=value))[1] >= wanted,
        lowest=1,
        highest=counted.most["min_user_ratings"],
    )
    scaled = replace(scaled, min_user_ratings=enough)
    return scaled, f"variant {name}: {literal} leave nothing here; scaled to {how}: {scaled}"


class _Counted:
    """Ratings as numbers of users and items, so that thresholds can be tried quickly.

    Attributes:
        items: shape (n_ratings,), row of each rating's item.
        most: each threshold that counts -> the largest count that there is.

    Raises:
        StudyError: without a rating.
    """

    def __init__(self, ratings: pd.DataFrame, tags: pd.DataFrame) -> None:
        if ratings.empty:
            raise StudyError("there is no rating to choose from")
        self._users, _ = pd.factorize(ratings[USER])
        self.items, item_ids = pd.factorize(ratings[ITEM])
        self._n_tags = tags[ITEM].value_counts().reindex(item_ids, fill_value=0).to_numpy()
        self._tagged = len(tags) > 0
        counts = [np.bincount(self._users), np.bincount(self.items), *[self._n_tags] * self._tagged]
        self.most = {name: int(n.max()) for name, n in zip(_NAMES, counts, strict=False)}

    def passing(self, thresholds: Thresholds) -> np.ndarray:
        """Which ratings pass, shape (n_ratings,)."""
        passing = np.ones(len(self.items), dtype=bool)
        passing &= _often(self._users, passing, thresholds.min_user_ratings)
        passing &= _often(self.items, passing, thresholds.min_movie_ratings)
        if self._tagged:
            passing &= self._n_tags[self.items] >= thresholds.min_tags_per_item
        return passing & _often(self._users, passing, thresholds.min_user_ratings)

    def left(self, thresholds: Thresholds) -> tuple[int, int, int]:
        """How many ratings, users and items pass."""
        passing = self.passing(thresholds)
        n_users, n_items = (len(np.unique(rows[passing])) for rows in (self._users, self.items))
        return int(passing.sum()), n_users, n_items


def _often(rows: np.ndarray, passing: np.ndarray, least: int) -> np.ndarray:
    """Which ratings are of a row that has `least` passing ones or more, shape (n_ratings,)."""
    return (np.bincount(rows, weights=passing) >= least)[rows]


def _largest(holds: Callable[[int], bool], *, lowest: int, highest: int) -> int | None:
    """The largest number for which something holds that holds up to some number; None where for none."""
    if not holds(lowest):
        return None
    low, high = lowest, highest
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if holds(middle) else (low, middle - 1)
    return low


def _what_would_leave_something(counted: _Counted, thresholds: Thresholds) -> str:
    def leaves_something(**changed: int) -> bool:
        return bool(counted.passing(replace(thresholds, **changed)).any())

    def lowered(percent: int) -> dict[str, int]:
        """That part of each threshold, of the highest count where there is none as high."""
        counts = asdict(thresholds) | {
            name: min(getattr(thresholds, name), most) for name, most in counted.most.items()
        }
        return {name: max(ceil(n * percent / 100), _LEAST[name]) for name, n in counts.items()}

    lines = [f"{thresholds} leave nothing of {_said(counted.left(Thresholds(**_LEAST)))}"]
    for name in counted.most:
        value, most = getattr(thresholds, name), counted.most[name]
        alone = counted.left(Thresholds(**_LEAST | {name: value}))
        lines.append(f"{name} {value} alone leaves {_said(alone)}; the highest count is {most}")
    for name in counted.most:
        best = _largest(
            lambda value, name=name: leaves_something(**{name: value}),
            lowest=_LEAST[name],
            highest=counted.most[name],
        )
        if best is not None:
            left = _said(counted.left(replace(thresholds, **{name: best})))
            lines.append(
                f"with the others as they are, the largest {name} that leaves something is {best}: {left}"
            )
    percent = _largest(lambda percent: leaves_something(**lowered(percent)), lowest=0, highest=100)
    together = replace(thresholds, **lowered(percent))
    left = _said(counted.left(together))
    lines.append(f"all lowered alike, the largest that leave something are {together}: {left}")
    return "\n  - ".join(lines)


def _said(left: tuple[int, int, int]) -> str:
    return "{} ratings, {} users, {} items".format(*left)

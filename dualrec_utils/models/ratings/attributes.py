"""What is known of items and users beside texts, as numbers: genres and decade, demographics."""

from __future__ import annotations

import numpy as np
import pandas as pd

from dualrec_utils.core.config import GENRE_LIST, USER, YEAR

# First years of life of the groups of ages, as MovieLens 1M has them.
_AGES = (18, 25, 35, 45, 50, 56)
_COLUMNS = ("age", "gender", "occupation")


def of_items(items: pd.DataFrame) -> np.ndarray:
    """Genres and decade of each item, 0 or 1 minus the mean: an item of unknown decade has 0 there.

    Args:
        items: as :attr:`Known.items`.

    Returns:
        Shape (n_items, n_genres + n_decades).
    """
    genres = pd.get_dummies(items[GENRE_LIST].explode()).groupby(level=0).max().to_numpy(dtype=np.float64)
    return np.hstack([genres - genres.mean(axis=0), _centred(items[YEAR].astype("Float64") // 10)])


def of_users(users: pd.DataFrame, user_ids: np.ndarray) -> np.ndarray:
    """Group of age, gender and occupation, 0 or 1 minus the mean; 0 where nothing is known.

    Args:
        users: as :attr:`Known.users`.
        user_ids: of the rows to be returned.

    Returns:
        Shape (n_users, n), n 0 where nothing is known of anybody.
    """
    known = users.set_index(USER).reindex(user_ids)
    parts = [
        _centred(_group_of(known[column]) if column == "age" else known[column])
        for column in _COLUMNS
        if column in known
    ]
    return np.hstack([np.empty((len(user_ids), 0)), *parts])


def _group_of(ages: pd.Series) -> pd.Series:
    years = ages.astype("float64")
    return pd.Series(np.digitize(years, _AGES), index=ages.index).where(years.notna())


def _centred(values: pd.Series) -> np.ndarray:
    """A column a value, 0 or 1 minus the mean of those that are known; 0 where missing."""
    known = values.notna().to_numpy(dtype=bool)
    ones = pd.get_dummies(values).to_numpy(dtype=np.float64)
    return np.where(known[:, None], ones - ones.sum(axis=0) / max(known.sum(), 1), 0.0)

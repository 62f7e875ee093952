"""What the text models read: a text of each item and of each user.

A user's text is made from the ratings that are given to it and from nothing else: those of the training
folds. To measure what a leak is worth, give it all ratings.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from dualrec_utils.core.catalog import title_with_year
from dualrec_utils.core.config import GENRE_LIST, ITEM, RATING, TITLE, USER, YEAR
from dualrec_utils.models.ratings.base import Known

# Items that a profile names, and genres that a paragraph names.
N_FAVOURITES = N_GENRES = 10


def item_texts(items: pd.DataFrame, *, genres: bool = True) -> list[str]:
    """Title, year and genres of each item, in the order given.

    Args:
        items: as :attr:`Known.items`.
        genres: whether genres are named.

    >>> item_texts(pd.DataFrame({"title": ["Heat"], "year": [1995], "genres": [["Action", "Crime"]]}))
    ['Title: Heat. Year: 1995. Genres: Action, Crime.']
    """
    texts = []
    for title, year, of_item in zip(items[TITLE], items[YEAR], items[GENRE_LIST], strict=True):
        parts = [f"Title: {title}."]
        if not pd.isna(year):
            parts.append(f"Year: {int(year)}.")
        if genres and len(of_item):
            parts.append(f"Genres: {', '.join(of_item)}.")
        texts.append(" ".join(parts))
    return texts


def demographics(users: pd.DataFrame) -> dict[int, str]:
    """User id -> "Age: 24, gender: M, occupation: technician."; what is not known is left out.

    Args:
        users: as :attr:`Known.users`.
    """
    columns = [column for column in ("age", "gender", "occupation") if column in users]
    texts = {}
    for user, *values in users[[USER, *columns]].itertuples(index=False):
        pairs = zip(columns, values, strict=True)
        # An age may come as 24.0: pandas turns integers into floats where one is missing.
        said = ", ".join(
            f"{column}: {f'{value:g}' if isinstance(value, float) else value}"
            for column, value in pairs
            if pd.notna(value)
        )
        texts[int(user)] = f"{said[0].upper()}{said[1:]}." if said else ""
    return texts


def profiles(ratings: pd.DataFrame, known: Known) -> dict[int, str]:
    """HybridRecModel's text of a user: demographics and the ten items rated highest.

    Args:
        ratings: `user_id`, `item_id`, `rating`: all that the texts may say of tastes.
        known: items and users; without users the favourite items are all.

    Returns:
        User id -> text, for each user of the ratings. Of items with equal ratings those with the lowest id
        come first.
    """
    names = _names(known.items)
    ordered = ratings.sort_values([USER, RATING, ITEM], ascending=[True, False, True])
    best = ordered.groupby(USER)[ITEM].agg(lambda rated: list(rated.iloc[:N_FAVOURITES]))
    about = demographics(known.users)
    return {
        int(user): f"{about.get(user, '')} Favourite items: {', '.join(names[i] for i in rated)}.".lstrip()
        for user, rated in best.items()
    }


def paragraphs(ratings: pd.DataFrame, known: Known) -> dict[int, str]:
    """The cross-attention hybrid's text of a user: liked genres, and how many ratings of which value.

    Up to ten genres with the highest mean rating, the mean and the number of ratings of each; the number
    of ratings of each value; number, mean and spread (standard deviation) of all.

    Args:
        ratings, known: as :func:`profiles`; users are not read.

    Returns:
        User id -> text, for each user of the ratings.
    """
    liked = _genres(ratings, known.items)
    counts = ratings.groupby([USER, RATING]).size()
    texts = {}
    for user, given in ratings.groupby(USER)[RATING]:
        values = given.to_numpy(dtype=np.float64)
        how_many = ", ".join(f"{value:g}: {count}" for value, count in counts[user].items())
        texts[int(user)] = (
            f"{liked.get(user, '')} Ratings: {how_many}. {len(values)} ratings with a mean of"
            f" {values.mean():.2f} and a spread of {values.std():.2f}."
        ).lstrip()
    return texts


def paragraphs_without_genres(ratings: pd.DataFrame, known: Known) -> dict[int, str]:
    """As :func:`paragraphs`, of items without genres."""
    return paragraphs(ratings, Known(known.items.assign(**{GENRE_LIST: [[]] * len(known.items)})))


def _names(items: pd.DataFrame) -> dict[int, str]:
    named = zip(items[ITEM], items[TITLE], items[YEAR], strict=True)
    return {int(item): title_with_year(title, year) for item, title, year in named}


def _genres(ratings: pd.DataFrame, items: pd.DataFrame) -> dict[int, str]:
    """User id -> "Liked genres: Crime (mean 4.50, 2 ratings), ...", for users with an item of any genre."""
    of_item = items[[ITEM, GENRE_LIST]].explode(GENRE_LIST).dropna()
    joined = ratings[[USER, ITEM, RATING]].merge(of_item, on=ITEM)
    table = joined.groupby([USER, GENRE_LIST])[RATING].agg(["mean", "size"]).reset_index()
    table = table.sort_values([USER, "mean", "size", GENRE_LIST], ascending=[True, False, False, True])
    texts: dict[int, list[str]] = {}
    for user, genre, mean, size in table.itertuples(index=False):
        texts.setdefault(int(user), []).append(f"{genre} (mean {mean:.2f}, {size} ratings)")
    return {user: f"Liked genres: {', '.join(said[:N_GENRES])}." for user, said in texts.items()}

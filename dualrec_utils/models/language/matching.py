"""From a title as text to a movie of the catalog.

A title matches exactly on a normal form, else by rapidfuzz' normalised indel similarity above a
threshold. A year, where the text gives one, must agree within one: release dates differ by country.
"""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
from rapidfuzz import fuzz, process

from dualrec_utils.core.config import ITEM, TITLE, YEAR
from dualrec_utils.core.titles import named_as, normal_form

_YEAR = re.compile(r"[(\[]\s*((?:18|19|20)\d\d)\s*[)\]]")
YEAR_TOLERANCE = 1


def split_year(text: str) -> tuple[str, int | None]:
    """Cut a text at its first bracketed year: what stands before it, and the year.

    >>> split_year("Matrix, The (1999) (Action, Sci-Fi)")
    ('Matrix, The', 1999)
    """
    match = _YEAR.search(text)
    return (text[: match.start()].strip(), int(match[1])) if match else (text.strip(), None)


def names_of_title(title: str) -> list[str]:
    """Normal forms a title goes by: whole, without its bracketed alias, and the alias alone.

    >>> names_of_title("Tin Drum, The (Blechtrommel, Die)")
    ['the tin drum die blechtrommel', 'the tin drum', 'die blechtrommel']
    """
    parts = [normal_form(name) for name in named_as(title)]
    names = [" ".join(parts), *parts]
    return [name for name in dict.fromkeys(names) if name]


class TitleMatcher:
    """Matches texts to the movies of one catalog.

    Args:
        items: catalog with `item_id`, `title`, `year`.
        threshold: least similarity of an inexact match, 0 to 100 (101 switches inexact matches off).
    """

    def __init__(self, items: pd.DataFrame, *, threshold: float):
        self.threshold = threshold
        rows = [
            (name, int(item), None if pd.isna(year) else int(year))
            for item, title, year in items.sort_values(ITEM)[[ITEM, TITLE, YEAR]].itertuples(index=False)
            for name in names_of_title(title)
        ]
        self._names = [row[0] for row in rows]
        self._items = np.array([row[1] for row in rows], dtype=np.int64)
        self._years = np.array([np.nan if row[2] is None else row[2] for row in rows], dtype=float)

    def match(self, text: str) -> int | None:
        """The movie a text names, or None.

        Args:
            text: a title, with or without a year in brackets; what follows the year is ignored.

        Returns:
            `item_id`. Among equally good names the nearest year wins, then the lowest `item_id` (a
            remake named without its year cannot be told apart).
        """
        title, year = split_year(text)
        wanted = names_of_title(title)
        if not wanted:
            return None
        distance = np.zeros(len(self._names)) if year is None else np.abs(self._years - year)
        # A catalog movie without a year agrees with every year, after those that have one.
        distance = np.where(np.isnan(distance), YEAR_TOLERANCE, distance)
        rows = np.flatnonzero(distance <= YEAR_TOLERANCE)
        names = [self._names[row] for row in rows]
        exact = [row for row, name in zip(rows, names, strict=True) if name in wanted]
        if exact:
            return int(min((distance[row], self._items[row]) for row in exact)[1])
        scores = process.cdist(wanted[:1], names, scorer=fuzz.ratio)[0] if names else np.zeros(0)
        if not len(scores) or scores.max() < self.threshold:
            return None
        best = rows[scores == scores.max()]
        return int(min((distance[row], self._items[row]) for row in best)[1])

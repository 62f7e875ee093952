"""Items by their titles as people type them: the beginning first, then words, then what looks alike."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd
from rapidfuzz import fuzz, process

from dualrec_utils.core.catalog import Catalog, title_with_year
from dualrec_utils.core.config import TITLE, YEAR
from dualrec_utils.core.titles import named_as, normal_form

# Likeness, 0 to 100, from which a title may be what was meant, and from which it is.
_ALIKE, _THE_SAME = 70, 90
_WITH_YEAR = re.compile(r"(.+) \((\d{4})\)", re.DOTALL)
_NUMBERS = re.compile(r"\d+")
_ARTICLES = ("the ", "a ", "an ")


class Titles:
    """An index of a catalog's titles, alternative ones included.

    Args:
        catalog: the items.
        popularity: shape (n_items,): of equally good hits the more popular comes first.
    """

    def __init__(self, catalog: Catalog, popularity: Sequence[float]) -> None:
        self._ids, self._popularity = catalog.ids, np.asarray(popularity)
        forms: dict[tuple[int, str], None] = {}
        # By name and year; None stands for any year.
        self._having: dict[tuple[str, int | None], list[int]] = {}
        columns = zip(catalog.items[TITLE], catalog.items[YEAR], strict=True)
        for column, (title, year) in enumerate(columns):
            for one in (title, *named_as(title)):
                for shown in (one, title_with_year(one, year)):
                    forms[column, _form(shown)] = None
                for when in {None, None if pd.isna(year) else year}:
                    self._having.setdefault((_form(one), when), []).append(column)
        self._columns = np.array([column for column, _ in forms])
        self._forms = [form for _, form in forms]

    def search(self, query: str, *, limit: int) -> list[int]:
        """Ids of the items that are meant, likeliest first.

        Args:
            query: as typed: a beginning, words in any order, with or without year, perhaps misspelt.
            limit: most items, at least 1.
        """
        wanted = _form(query)
        if not wanted:
            return []
        # The spaces make every word of the query the beginning of one of the title's.
        begins = [f" {word}" for word in wanted.split()]
        ranks = np.array(
            [
                (form != wanted) + (not form.startswith(wanted))
                if all(word in f" {form}" for word in begins)
                else np.inf
                for form in self._forms
            ]
        )
        if not np.isfinite(ranks).any():
            likeness = process.cdist([wanted], self._forms, scorer=fuzz.WRatio, score_cutoff=_ALIKE)[0]
            ranks = np.where(likeness > 0, -likeness, np.inf)
        # An item is as good as the best of its titles.
        best = np.full(len(self._ids), np.inf)
        np.minimum.at(best, self._columns, ranks)
        order = np.lexsort((-self._popularity, best))[:limit]
        return self._ids[order[np.isfinite(best[order])]].tolist()

    def find(self, title: str) -> int | None:
        """The item of a title that was typed whole; None where none is near enough.

        A title with another number, such as that of a sequel, is another title.
        """
        wanted = _form(title)
        for item in self.search(title, limit=1):
            places = np.flatnonzero(self._ids[self._columns] == item)
            forms = [self._forms[place] for place in places]
            same = [form for form in forms if _NUMBERS.findall(form) == _NUMBERS.findall(wanted)]
            if same and max(fuzz.token_sort_ratio(wanted, form) for form in same) >= _THE_SAME:
                return item
        return None

    def named(self, title: str) -> int | None:
        """The item of a whole title, also where another of its names stands there; None where none has it.

        Args:
            title: as :func:`core.catalog.title_with_year` writes it. One letter more is another title.
        """
        match = _WITH_YEAR.fullmatch(title)
        bare, year = (match[1], int(match[2])) if match else (title, None)
        for name in (bare, *named_as(bare)):
            if columns := self._having.get((_form(name), year)):
                return int(self._ids[max(columns, key=lambda column: self._popularity[column])])
        return None


def _form(title: str) -> str:
    """Normal form without the article that many leave out; of signs alone as it is, in lower case."""
    form = normal_form(title) or title.casefold().strip()
    return next((form.removeprefix(one) for one in _ARTICLES if form.startswith(one)), form)

"""An item's title in words: with its year, and in the order people write it."""

from __future__ import annotations

import pandas as pd

from dualrec_utils.core.config import ITEM, TITLE, YEAR


def title_with_year(title: str, year: int | None) -> str:
    """A movie as the prompts name it; the title alone where the year is not known.

    >>> title_with_year("Toy Story", 1995)
    'Toy Story (1995)'
    """
    return title if pd.isna(year) else f"{title} ({int(year)})"


def names_of(items: pd.DataFrame) -> dict[int, str]:
    """`item_id` -> "Title (year)" of every catalog movie."""
    return {
        item: title_with_year(title, year)
        for item, title, year in zip(items[ITEM], items[TITLE], items[YEAR], strict=True)
    }


def full_titles(items: pd.DataFrame) -> list[str]:
    """Titles as MovieLens writes them, the year in brackets: `Toy Story (1995)`."""
    return [
        title if pd.isna(year) else f"{title} ({year})"
        for title, year in zip(items[TITLE], items[YEAR], strict=True)
    ]

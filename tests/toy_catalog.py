"""A catalog for tests that need some of its columns."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from dualrec_utils.core.catalog import Catalog
from dualrec_utils.core.config import GENRE_LIST, ITEM, TITLE, YEAR


def catalog_of(
    ids: Sequence[int],
    *,
    titles: Sequence[str] | None = None,
    years: Sequence[int | None] | None = None,
    genres: Sequence[Sequence[str]] | None = None,
) -> Catalog:
    """Movies with these ids: `Film <id>`, without a year, and dramas unless given."""
    columns = {
        ITEM: ids,
        TITLE: titles or [f"Film {item}" for item in ids],
        YEAR: pd.array(years or [None] * len(ids), "Int64"),
        GENRE_LIST: genres or [["Drama"]] * len(ids),
    }
    return Catalog.of(pd.DataFrame(columns))

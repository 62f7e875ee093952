"""The catalog: which items are ranked, at which place, and what they are called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

import numpy as np
import pandas as pd

from dualrec_utils.core import config, files
from dualrec_utils.core.config import GENRE_LIST, ITEM, TITLE, YEAR
from dualrec_utils.core.domain import MOVIES, Domain, load_domain
from dualrec_utils.core.errors import StudyError


def title_with_year(title: str, year: int | None) -> str:
    """An item as the prompts name it; the title alone where the year is not known.

    >>> title_with_year("Toy Story", 1995)
    'Toy Story (1995)'
    """
    return title if pd.isna(year) else f"{title} ({int(year)})"


def columns_of(items: Sequence[int], item_ids: np.ndarray) -> np.ndarray:
    """Columns of items in a score matrix.

    Args:
        items: shape (n,), item ids in any order, repeated or not.
        item_ids: the catalog, ascending, at least one.

    Returns:
        Shape (n,), integers from 0.

    Raises:
        StudyError: naming the first item that the catalog does not have.
    """
    wanted = np.asarray(items)
    columns = np.searchsorted(item_ids, wanted)
    known = item_ids[np.minimum(columns, len(item_ids) - 1)] == wanted
    if not known.all():
        raise StudyError(f"item {wanted[~known][0]} is not in the catalog of {len(item_ids)} items")
    return columns


def marked(lists: Sequence[Sequence[int]], item_ids: np.ndarray) -> np.ndarray:
    """Which items each list names, such as those of a history that must not be recommended.

    Args:
        lists: n lists of item ids.
        item_ids: as :func:`columns_of`.

    Returns:
        Bool, shape (n, n_items).

    Raises:
        StudyError: as :func:`columns_of`.
    """
    mask = np.zeros((len(lists), len(item_ids)), dtype=bool)
    for row, items in enumerate(lists):
        mask[row, columns_of(items, item_ids)] = True
    return mask


@dataclass(frozen=True, eq=False)
class Catalog:
    """The items that are ranked, by ascending id.

    Item j is column j of every score matrix and row j + 1 of every table of features, whose row 0 is
    padding and no item.

    Attributes:
        ids: int64, shape (n,), read-only; `ids[columns]` are the items of some columns.
        names: id -> "Title (year)", in the order of `ids`.
        categories: id -> genres, in the order of `ids`.
        items: the table behind them (`item_id`, `title`, `year`, `genres`), for those who need its columns.
        domain: what items are called.
    """

    ids: np.ndarray
    names: Mapping[int, str]
    categories: Mapping[int, tuple[str, ...]]
    items: pd.DataFrame
    domain: Domain = MOVIES

    @classmethod
    def of(cls, items: pd.DataFrame, domain: Domain = MOVIES) -> Catalog:
        """The catalog of a table.

        Args:
            items: `item_id`, `title`, `year`, `genres`, one row an item, by ascending id.
            domain: what they are called.

        Raises:
            StudyError: without an item, and where ids do not ascend or repeat.
        """
        ids = items[ITEM].to_numpy(dtype=np.int64, copy=True)
        if not len(ids) or (np.diff(ids) <= 0).any():
            raise StudyError("a catalog must hold items in ascending order of their ids, each once")
        ids.setflags(write=False)
        names = map(title_with_year, items[TITLE], items[YEAR])
        categories = map(tuple, items[GENRE_LIST])
        by_id = (
            MappingProxyType(dict(zip(ids.tolist(), values, strict=True))) for values in (names, categories)
        )
        return cls(ids, *by_id, items, domain)

    @cached_property
    def vocabulary(self) -> tuple[str, ...]:
        """All genres that its items have, by alphabet; of MovieLens' usual catalogs the paper's 18."""
        return tuple(sorted({name for genres in self.categories.values() for name in genres}))

    def __len__(self) -> int:
        """Number of items."""
        return len(self.ids)

    def columns(self, items: Sequence[int]) -> np.ndarray:
        """Columns of items in score matrices, see :func:`columns_of`."""
        return columns_of(items, self.ids)

    def rows(self, items: Sequence[int]) -> np.ndarray:
        """Rows of items in tables of features: 1 for the first item, since row 0 is padding."""
        return self.columns(items) + 1


def load_catalog(dataset: str) -> Catalog:
    """The catalog that stage `data` wrote.

    Raises:
        StudyError: when it is not there, naming the stage to run.
    """
    items = files.read_parquet_of("data", config.processed_dir(dataset) / "items.parquet")
    return Catalog.of(items, load_domain(dataset))

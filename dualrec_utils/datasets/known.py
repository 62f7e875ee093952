"""The data sets of the study: one module each in `datasets/sets/`, whose name is the data set's.

To add one, write such a module with a :class:`Dataset` named `DATASET`, and a profile that names it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import pandas as pd

from dualrec_utils.core import config
from dualrec_utils.core.config import GENRE_LIST, RATING, TIMESTAMP, YEAR
from dualrec_utils.core.errors import StudyError
from dualrec_utils.datasets import movielens


class Parsed(NamedTuple):
    """What a parser makes of files.

    Attributes:
        ratings: in the columns of :mod:`datasets.movielens`, its index the lines of the file; without
            `rating` or `timestamp` where the data have none.
        items: likewise; without `year` or `genres` where the data have none.
        counts: what was left out or changed on the way, for the summary of stage `data`.
    """

    ratings: pd.DataFrame
    items: pd.DataFrame
    counts: Mapping[str, int] = MappingProxyType({})


# The frames alone will do.
Parser = Callable[[Path], Parsed | tuple[pd.DataFrame, pd.DataFrame]]
Reader = Callable[[Path], pd.DataFrame]
_FETCH_AGAIN = "delete it and run `dvc repro data` again"


@dataclass(frozen=True)
class Dataset:
    """Where a data set comes from and how its files are read.

    Attributes:
        sha256: checksum of every file that may be fetched or found: file name -> hexadecimal.
        parsers: first file of a form that the data may have -> what reads it: a path to :class:`Parsed`.
        files: sets of names, any one of which may lie in a folder named by `DUALREC_DATA`.
        line_format: how a line of its files looks, for the question whether a language model has read them:
            `items_file`, `item_separator`, `genre_separator` (empty where the line has no genres),
            `ratings_file`, `rating_separator`.
        users: a file that says who users are -> what reads it, into the columns of :mod:`datasets.beside`.
        tags: a file that holds tags -> what reads it, likewise.
        stars: values that a rating may have; empty where interactions are not rated, None for any number.
        years: first and last year of its interactions, no item is younger; None where their times are not
            known and `position` alone orders them.
        categories: those that items may have; None where the data are not held to a list.
        urls: file -> where it lies on the web; empty where it does not.
        publisher: who has put it there.
        wheel: a package on the Python index that holds it, as `name==version`, empty where there is none.
    """

    sha256: Mapping[str, str]
    parsers: Mapping[str, Parser]
    files: tuple[tuple[str, ...], ...]
    line_format: Mapping[str, str] = field(default_factory=dict)
    users: Mapping[str, Reader] = field(default_factory=dict)
    tags: Mapping[str, Reader] = field(default_factory=dict)
    stars: tuple[float, ...] | None = movielens.STARS
    years: tuple[int, int] | None = movielens.YEARS
    categories: tuple[str, ...] | None = config.GENRES
    urls: Mapping[str, str] = field(default_factory=dict)
    publisher: str = ""
    wheel: str = ""


# Of a reader's data, see :mod:`datasets.reader_data`: any rating, any time, any category.
READER_DATA = Dataset(sha256={}, parsers={}, files=(), stars=None, years=(1900, 2128), categories=None)


def find(name: str) -> Dataset:
    """The data set of that name.

    Raises:
        StudyError: naming the known ones.
    """
    if name not in config.DATASETS and (config.processed_dir(name) / "summary.json").is_file():
        # Stage `data` has read it from the files that params.yaml names.
        return READER_DATA
    if name not in config.DATASETS:
        raise StudyError(f"there is no data set {name!r}; data sets: {', '.join(config.DATASETS)}")
    return importlib.import_module(f"dualrec_utils.datasets.sets.{name.replace('-', '_')}").DATASET


def parse(name: str, path: Path) -> Parsed:
    """Parse the raw files of a data set, see :func:`datasets.sources.load`.

    Args:
        name: of the data set.
        path: the first of the files, a key of :attr:`Dataset.parsers`; the others lie beside it.

    Returns:
        All columns, checked.

    Raises:
        StudyError: naming file and line or value: truncated, damaged or wrongly encoded files, ratings
            of unknown items, a user rating an item twice, ratings or timestamps out of range.
    """
    with reading(path):
        about = find(name)
        parsed = Parsed(*about.parsers[path.name](path))
        return checked(parsed, about)


def checked(parsed: Parsed, about: Dataset) -> Parsed:
    """What a parser made, with all columns, if it fits the record of its data set.

    Raises:
        StudyError: as :func:`parse`.
    """
    ratings = _with_columns(parsed.ratings, {RATING: "Float64", TIMESTAMP: "Int64"})
    items = _with_columns(parsed.items, {YEAR: "Int64"})
    if GENRE_LIST not in items:
        empty = pd.Series([[] for _ in range(len(items))], index=items.index, dtype=object)
        items = items.assign(**{GENRE_LIST: empty})
    ratings = movielens.check_ratings(
        ratings, items, stars=about.stars, years=about.years, ties=about is READER_DATA
    )
    last_year = about.years[1] if about.years and about is not READER_DATA else None
    items = movielens.check_items(items, last_year=last_year, categories=about.categories)
    return Parsed(ratings.reset_index(drop=True), items.reset_index(drop=True), parsed.counts)


def _with_columns(frame: pd.DataFrame, columns: Mapping[str, str]) -> pd.DataFrame:
    """A frame with columns of missing values, name -> type, where it lacks them."""
    lacking = {name: kind for name, kind in columns.items() if name not in frame}
    return frame.assign(
        **{name: pd.array([pd.NA] * len(frame), dtype=kind) for name, kind in lacking.items()}
    )


@contextmanager
def reading(path: Path, *, remedy: str = _FETCH_AGAIN) -> Iterator[None]:
    """Say of whatever goes wrong while a file is read which file that is.

    Args:
        path: the file, or the folder of several.
        remedy: what to do then.

    Raises:
        StudyError: in the place of what parsers raise. What is one already, or an error of the operating
            system that names a file, stays as it is.
    """
    try:
        yield
    except Exception as error:
        # An error of the operating system names a file; those of damaged archives do not.
        if isinstance(error, StudyError) or getattr(error, "filename", None):
            raise
        raise StudyError(
            f"{path} cannot be read ({type(error).__name__}: {error}): it is truncated, damaged, wrongly"
            f" encoded or another file; {remedy}"
        ) from error

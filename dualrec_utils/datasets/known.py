"""The data sets of the study: one module each in `datasets/sets/`, whose name is the data set's.

To add one, write such a module with a :class:`Dataset` named `DATASET`, and a profile that names it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from dualrec_utils.core import config
from dualrec_utils.core.errors import StudyError
from dualrec_utils.datasets import movielens

Parser = Callable[[Path], tuple[pd.DataFrame, pd.DataFrame]]
Reader = Callable[[Path], pd.DataFrame]
_FETCH_AGAIN = "delete it and run `dvc repro data` again"


@dataclass(frozen=True)
class Dataset:
    """Where a data set comes from and how its files are read.

    Attributes:
        sha256: checksum of every file that may be fetched or found: file name -> hexadecimal.
        parsers: first file of a form that the data may have -> what reads it: a path to (ratings, items),
            in the columns of :mod:`datasets.movielens`, their index the lines of the file.
        files: sets of names, any one of which may lie in a folder named by `DUALREC_DATA`.
        line_format: how a line of its files looks, for the question whether a language model has read them:
            `items_file`, `item_separator`, `genre_separator` (empty where the line has no genres),
            `ratings_file`, `rating_separator`.
        users: a file that says who users are -> what reads it, into the columns of :mod:`datasets.beside`.
        tags: a file that holds tags -> what reads it, likewise.
        stars: values that a rating may have.
        years: first and last year of its ratings; no movie is younger.
        url: of an archive that holds it, empty where there is none.
        publisher: whose the archive is.
        wheel: a package on the Python index that holds it, as `name==version`, empty where there is none.
    """

    sha256: Mapping[str, str]
    parsers: Mapping[str, Parser]
    files: tuple[tuple[str, ...], ...]
    line_format: Mapping[str, str] = field(default_factory=dict)
    users: Mapping[str, Reader] = field(default_factory=dict)
    tags: Mapping[str, Reader] = field(default_factory=dict)
    stars: tuple[float, ...] = movielens.STARS
    years: tuple[int, int] = movielens.YEARS
    url: str = ""
    publisher: str = ""
    wheel: str = ""


def find(name: str) -> Dataset:
    """The data set of that name.

    Raises:
        StudyError: naming the known ones.
    """
    if name not in config.DATASETS:
        raise StudyError(f"there is no data set {name!r}; data sets: {', '.join(config.DATASETS)}")
    return importlib.import_module(f"dualrec_utils.datasets.sets.{name.replace('-', '_')}").DATASET


def parse(name: str, path: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Parse the raw files of a data set, see :func:`datasets.sources.load`.

    Args:
        name: of the data set.
        path: the first of the files, a key of :attr:`Dataset.parsers`; the others lie beside it.

    Returns:
        (ratings, items), both checked.

    Raises:
        StudyError: naming file and line or value: truncated, damaged or wrongly encoded files, ratings
            of unknown items, a user rating an item twice, ratings or timestamps out of range.
    """
    with reading(path):
        about = find(name)
        ratings, items = about.parsers[path.name](path)
        checked = (
            movielens.check_ratings(ratings, items, stars=about.stars, years=about.years),
            movielens.check_items(items, last_year=about.years[1]),
        )
    return checked[0].reset_index(drop=True), checked[1].reset_index(drop=True)


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

"""MovieLens "latest small" of September 2018: CSV files with half stars and tags."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from dualrec_utils.core.config import ITEM, RATING, TIMESTAMP, USER
from dualrec_utils.datasets import beside, movielens
from dualrec_utils.datasets.known import Dataset

_RATINGS = {"userId": USER, "movieId": ITEM, "rating": RATING, "timestamp": TIMESTAMP}
_MOVIES = ["movieId", "title", "genres"]
_TAGS = ["userId", "movieId", "tag", "timestamp"]


def parse_ratings(content: bytes) -> pd.DataFrame:
    """Parse `ratings.csv` of MovieLens' later editions."""
    return movielens.rating_frame(io.BytesIO(content), name="ratings.csv", columns=_RATINGS)


def parse_movies(content: bytes) -> pd.DataFrame:
    """Parse `movies.csv` (UTF-8; titles stand in quotation marks where they hold a comma)."""
    rows = [
        (item, *movielens.split_title(title), movielens.genres_of(genres))
        for item, title, genres in _rows(content, _MOVIES, name="movies.csv")
    ]
    return movielens.item_frame(rows, name="movies.csv", first=2)


def parse_tags(content: bytes) -> pd.DataFrame:
    """Parse `tags.csv`, into the columns of :mod:`datasets.beside`."""
    rows = [(user, item, tag) for user, item, tag, _ in _rows(content, _TAGS, name="tags.csv")]
    return beside.tag_frame(rows, name="tags.csv", first=2)


def _rows(content: bytes, columns: list[str], *, name: str) -> Iterator[list[str]]:
    """Rows of a CSV file below its header, each on a line of its own.

    Raises:
        ValueError: naming the line of what is no such row, or other columns.
    """
    reader = csv.reader(io.StringIO(content.decode("utf-8"), newline=""), strict=True)
    number = 1
    try:
        header = next(reader, [])
        if header != columns:
            raise ValueError(f"{name} has the columns {header}, expected {columns}")
        for number, row in enumerate(reader, start=2):
            if reader.line_num != number:
                raise ValueError(f"{name} line {number}: a quotation mark is not closed on its line")
            if len(row) != len(columns):
                raise ValueError(f"{name} line {number} has {len(row)} fields, expected {len(columns)}")
            yield row
    except csv.Error as error:
        raise ValueError(f"{name} line {number + 1}: {error}") from error


_NAME = "ml-latest-small"


def _parse_zip(path: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    ratings, movies = movielens.members(path, f"{_NAME}/ratings.csv", f"{_NAME}/movies.csv")
    return parse_ratings(ratings), parse_movies(movies)


def _parse_files(path: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    return parse_ratings(path.read_bytes()), parse_movies(path.with_name("movies.csv").read_bytes())


def _tags_of_zip(path: Path) -> pd.DataFrame:
    return parse_tags(*movielens.members(path, f"{_NAME}/tags.csv"))


def _tags_of_file(path: Path) -> pd.DataFrame:
    return parse_tags(path.read_bytes())


DATASET = Dataset(
    publisher="GroupLens",
    urls={f"{_NAME}.zip": f"https://files.grouplens.org/datasets/movielens/{_NAME}.zip"},
    # GroupLens may put a newer one in its place.
    sha256={
        "ml-latest-small.zip": "696d65a3dfceac7c45750ad32df2c259311949efec81f0f144fdfb91ebc9e436",
        "ratings.csv": "aa289ca83157595d0df6aea1be6a4ded676ddc4385472e8313a8ed9805352646",
        "movies.csv": "5a5f32dd9bb3797b8e728a1b98958789d2b13f294a69fdfbc5727f8a9611aa07",
        "tags.csv": "92a9f8bb7916dceef6151209845788c3643f794dfa79d1feaec7121b5960399d",
    },
    files=(("ml-latest-small.zip",), ("ratings.csv", "movies.csv", "tags.csv")),
    parsers={"ml-latest-small.zip": _parse_zip, "ratings.csv": _parse_files},
    tags={"ml-latest-small.zip": _tags_of_zip, "tags.csv": _tags_of_file},
    stars=movielens.HALF_STARS,
    years=(1995, 2018),
    # Where a title holds no comma; MovieLens quotes the others.
    line_format={
        "items_file": "movies.csv",
        "item_separator": ",",
        "genre_separator": "|",
        "ratings_file": "ratings.csv",
        "rating_separator": ",",
    },
)

"""MovieLens 1M: GroupLens' own files, or an order file with `movies.dat`."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import pandas as pd

from dualrec_utils.core.config import ITEM, POSITION, RATING, TIMESTAMP, USER
from dualrec_utils.datasets import movielens
from dualrec_utils.datasets.known import Dataset

_ORDER_FILE = {"movie_id": ITEM} | {
    name: name for name in (USER, POSITION, RATING, TIMESTAMP, movielens.FILE_ROW)
}


def parse_1m_movies(movies: bytes) -> pd.DataFrame:
    """Parse ml-1m's `movies.dat` (latin-1, :: separated, genres | separated)."""
    rows = []
    for number, line in enumerate(movielens.latin1(movies, "movies.dat"), start=1):
        fields = line.split("::")
        if len(fields) != 3:
            raise ValueError(f"movies.dat line {number} has {len(fields)} fields, expected 3")
        rows.append((fields[0], *movielens.split_title(fields[1]), fields[2].split("|")))
    return movielens.item_frame(rows, name="movies.dat")


def _parse_1m_zip(path: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    ratings, movies = movielens.members(path, "ml-1m/ratings.dat", "ml-1m/movies.dat")
    stream = io.BytesIO(ratings.replace(b"::", b"\t"))
    frame = movielens.rating_frame(stream, name="ratings.dat", sep="\t")
    return frame.assign(**{movielens.FILE_ROW: range(len(frame))}), parse_1m_movies(movies)


def _parse_1m_order(path: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """All ratings with place in the user's order and line in GroupLens' file; some without a time."""
    text = io.BytesIO(gzip.decompress(path.read_bytes()))
    frame = movielens.rating_frame(text, name=path.name, columns=_ORDER_FILE, optional=(TIMESTAMP,))
    return frame, parse_1m_movies(path.with_name("movies.dat").read_bytes())


DATASET = Dataset(
    publisher="GroupLens",
    url="https://files.grouplens.org/datasets/movielens/ml-1m.zip",
    sha256={
        "ml-1m.zip": "a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20",
        "interactions.csv.gz": "3495dc5f64c5d3d659acdbd455dd9d9d26d11598e3502c5b70f5c85f7e4b0bbd",
        "movies.dat": "0140fc2356357c1a851d0f52e893a1e4d3696df632c4141cea8d5bc3d621f0b9",
    },
    files=(("ml-1m.zip",), ("interactions.csv.gz", "movies.dat")),
    parsers={"ml-1m.zip": _parse_1m_zip, "interactions.csv.gz": _parse_1m_order},
    line_format={
        "items_file": "movies.dat",
        "item_separator": "::",
        "genre_separator": "|",
        "ratings_file": "ratings.dat",
        "rating_separator": "::",
    },
)

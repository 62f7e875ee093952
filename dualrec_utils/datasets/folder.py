"""A folder that holds MovieLens in any edition, as GroupLens' archives unpack.

These are `ratings.csv` and `movies.csv` of later editions, `ratings.dat` and `movies.dat` of 1M and 10M, or
`u.data` and `u.item` of 100K. Nothing is fetched, no checksum is expected, and no items are merged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from dualrec_utils.core.config import RATING
from dualrec_utils.core.errors import StudyError
from dualrec_utils.datasets import beside, known, movielens
from dualrec_utils.datasets.sets import ml_1m, ml_100k, ml_latest_small

# Of the ratings of any edition; items may be as young.
_YEARS = (1995, 2100)
_REMEDY = "unpack GroupLens' archive again, or correct the file"
# Kind of rows -> the file that holds them, and what reads its bytes into a frame by line.
_Edition = Mapping[str, tuple[str, Callable[[bytes], pd.DataFrame]]]


@dataclass(frozen=True)
class Folder:
    """What a folder holds.

    Attributes:
        ratings: `user_id`, `item_id`, `rating`, `timestamp`, in the order of their file.
        items: `item_id`, `title`, `year` (nullable), `genres` (list of str), likewise.
        tags: `user_id`, `item_id`, `tag`, likewise; empty where there is no file of them.
        users: `user_id`, `age`, `gender`, `occupation`; empty where there is no file of them.
        stars: values that a rating may have: 0.5, 1, ..., 5 where there are half stars, else 1, 2, ..., 5.
    """

    ratings: pd.DataFrame
    items: pd.DataFrame
    tags: pd.DataFrame
    users: pd.DataFrame
    stars: tuple[float, ...]


def read(folder: Path) -> Folder:
    """Read and check a folder.

    Args:
        folder: holds the ratings and items of one edition; tags and users are read where they are there.

    Raises:
        StudyError: where there is no such folder, a file is missing (with what is there and what is
            needed) or two editions are there; naming file or kind of row, line and value: damaged or
            wrongly encoded files, ratings other than 0.5 to 5 in half stars, an item rated twice by a
            user, ratings and tags of unknown items.
    """
    folder = Path(folder)
    edition = _edition(folder)

    def parsed(kind: str) -> pd.DataFrame | None:
        """By line of the file; None where the edition or the folder has none of the kind."""
        name, parse = edition.get(kind, ("", None))
        if not name or not (folder / name).is_file():
            return None
        with known.reading(folder / name, remedy=_REMEDY):
            return parse((folder / name).read_bytes())

    ratings, items, tags, users = map(parsed, ("ratings", "items", "tags", "users"))
    if ratings.empty:
        raise StudyError(f"{folder / edition['ratings'][0]} holds no rating: {_REMEDY}")
    ratings = movielens.check_ratings(ratings, items, stars=movielens.HALF_STARS, years=_YEARS)
    items = movielens.check_items(items, last_year=_YEARS[1])
    tags = beside.no_tags() if tags is None else beside.check_tags(tags, items)
    users = beside.no_users() if users is None else beside.check_users(users)
    halves = (ratings[RATING] % 1 != 0).any()
    frames = (frame.reset_index(drop=True) for frame in (ratings, items, tags, users))
    return Folder(*frames, stars=movielens.HALF_STARS if halves else movielens.STARS)


def _edition(folder: Path) -> _Edition:
    """The one edition whose ratings and items a folder holds."""
    if not folder.is_dir():
        raise StudyError(f"there is no folder {folder}: name one that holds {_needed()}")
    there = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    files = {name for name in there if (folder / name).is_file()}
    matching = [edition for edition in _EDITIONS if files.issuperset(_needs(edition))]
    if not matching:
        listed = ", ".join(there[:10]) + (f" and {len(there) - 10} more" if len(there) > 10 else "")
        raise StudyError(
            f"{folder} holds {listed or 'nothing'}; needed: {_needed()}. Name the folder that holds them"
            " (of an archive, the one that it unpacks to)"
        )
    if len(matching) > 1:
        editions = " and ".join(" + ".join(_needs(edition)) for edition in matching)
        raise StudyError(f"{folder} holds {editions}: leave one edition in it and move the other away")
    return matching[0]


def _needs(edition: _Edition) -> tuple[str, str]:
    return edition["ratings"][0], edition["items"][0]


def _needed() -> str:
    return " or ".join(" + ".join(_needs(edition)) for edition in _EDITIONS)


def _lines(content: bytes) -> list[str]:
    """Lines of a .dat file: 1M's are latin-1, 10M's UTF-8, which accents in latin-1 are not."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    return text.replace("\r\n", "\n").removesuffix("\n").split("\n")


def _parse_movies_dat(content: bytes) -> pd.DataFrame:
    return ml_1m.parse_movies_dat(_lines(content))


def _parse_tags_dat(content: bytes) -> pd.DataFrame:
    """Tags of 10M (:: separated): user, item, tag, time."""
    rows = []
    for number, line in enumerate(_lines(content), start=1):
        # A tag may hold the separator.
        fields = line.split("::")
        if len(fields) < 4:
            raise ValueError(f"tags.dat line {number} has {len(fields)} fields, expected 4")
        rows.append((fields[0], fields[1], "::".join(fields[2:-1])))
    return beside.tag_frame(rows, name="tags.dat")


_EDITIONS: tuple[_Edition, ...] = (
    {
        "ratings": ("ratings.csv", ml_latest_small.parse_ratings),
        "items": ("movies.csv", ml_latest_small.parse_movies),
        "tags": ("tags.csv", ml_latest_small.parse_tags),
    },
    {
        "ratings": ("ratings.dat", ml_1m.parse_ratings),
        "items": ("movies.dat", _parse_movies_dat),
        "tags": ("tags.dat", _parse_tags_dat),
        "users": ("users.dat", ml_1m.parse_users),
    },
    {
        "ratings": ("u.data", ml_100k.parse_ratings),
        "items": ("u.item", ml_100k.parse_items),
        "users": ("u.user", ml_100k.parse_users),
    },
)

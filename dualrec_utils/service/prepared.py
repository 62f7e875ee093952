"""`dualrec preprocess`: a MovieLens folder, filtered and cut into training and test ratings.

What it leaves is a folder of its own: `ratings.parquet` (with `part`), `items.parquet`, `tags.parquet`,
`users.parquet` and `summary.json`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from dualrec_utils.core import files
from dualrec_utils.core.catalog import title_with_year
from dualrec_utils.core.config import GENRE_LIST, ITEM, RATING, TITLE, USER, YEAR
from dualrec_utils.core.errors import StudyError, first_line
from dualrec_utils.models.ratings.base import Known

if TYPE_CHECKING:
    from dualrec_utils.datasets.folder import Folder
    from dualrec_utils.datasets.thresholds import Thresholds

PART = "part"
TRAIN, TEST = "train", "test"
# Share of the ratings that is kept for `dualrec evaluate`, drawn by a seed that stays the same.
TEST_SHARE, _SEED = 0.2, 0
_SUMMARY = "summary.json"
_FRAMES = ("ratings", "items", "tags", "users")
# Files of the editions that have no half stars: 100K's ratings, 1M's users.
_WHOLE_STARS = ("u.data", "users.dat")
# Characters of a title or tag that are shown.
_LONGEST = 60


@dataclass(frozen=True)
class Summary:
    """What `summary.json` says of a prepared folder.

    Attributes:
        stars: values that a rating may have.
        thresholds: that were applied.
        n_ratings, n_test, n_users, n_items, n_tags: numbers of what is left.
        sha256: of all that is kept: a model knows by it which data it was trained on.
    """

    stars: tuple[float, ...]
    thresholds: dict[str, int]
    n_ratings: int
    n_test: int
    n_users: int
    n_items: int
    n_tags: int
    sha256: str


@dataclass(frozen=True)
class Prepared:
    """A prepared folder, read.

    Attributes:
        ratings: `user_id`, `item_id`, `rating`, `timestamp`, `part` (train or test).
        items: as :class:`datasets.folder.Folder`, those that are left, by ascending id; so are `tags`
            and `users`.
        summary: numbers and checksum.
    """

    ratings: pd.DataFrame
    items: pd.DataFrame
    tags: pd.DataFrame
    users: pd.DataFrame
    summary: Summary

    @property
    def known(self) -> Known:
        """What a model may know beside ratings."""
        scale = (self.summary.stars[0], self.summary.stars[-1])
        return Known(self.items, self.users, self.tags, scale)

    @cached_property
    def names(self) -> dict[int, str]:
        """Item id -> title and year to be shown: short, and without what would move a terminal's cursor."""
        columns = zip(self.items[ITEM].tolist(), self.items[TITLE], self.items[YEAR], strict=True)
        return {item: title_with_year(shown(title), year) for item, title, year in columns}

    def part(self, name: str) -> pd.DataFrame:
        """Ratings of a part."""
        return self.ratings[self.ratings[PART] == name]


def write(read: Folder, output_dir: Path, *, least: Thresholds) -> Summary:
    """Keep what passes the thresholds, cut off test ratings, and write both.

    Args:
        read: from :func:`datasets.folder.read`.
        output_dir: written whole or not at all; a folder that was prepared before is replaced.
        least: thresholds.

    Raises:
        StudyError: as :func:`datasets.thresholds.kept`, or when `output_dir` holds anything else.
    """
    # Importing it takes a second, which readers need not pay.
    from dualrec_utils.datasets import thresholds

    check_free(output_dir, (_SUMMARY, *(f"{name}.parquet" for name in _FRAMES)), command="preprocess")
    ratings = thresholds.kept(read.ratings, read.tags, least)
    items = read.items[read.items[ITEM].isin(ratings[ITEM])].sort_values(ITEM, ignore_index=True)
    tags = read.tags[read.tags[ITEM].isin(items[ITEM])].reset_index(drop=True)
    users = read.users[read.users[USER].isin(ratings[USER])].sort_values(USER, ignore_index=True)
    n_test = round(TEST_SHARE * len(ratings))
    drawn = np.random.default_rng(_SEED).permutation(len(ratings))
    ratings = ratings.assign(**{PART: np.where(drawn < n_test, TEST, TRAIN)})
    frames = {"ratings": ratings, "items": items, "tags": tags, "users": users}
    summary = Summary(
        stars=read.stars,
        thresholds=asdict(least),
        n_ratings=len(ratings),
        n_test=n_test,
        n_users=ratings[USER].nunique(),
        n_items=len(items),
        n_tags=len(tags),
        sha256=_digest(frames, read.stars),
    )
    with files.replacing_folder(output_dir.resolve()) as temporary:
        for name, frame in frames.items():
            files.write_parquet(frame, temporary / f"{name}.parquet")
        files.write_json(asdict(summary), temporary / _SUMMARY)
    return summary


def shown(text: str) -> str:
    """A title or tag to be shown: short, and without what would move a terminal's cursor."""
    text = " ".join("".join(one if one.isprintable() else " " for one in text).split())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def read_raw(data_dir: Path) -> Folder:
    """Read a MovieLens folder, see :func:`datasets.folder.read`.

    Raises:
        StudyError: as there, naming the folder, on one line; for half stars in an edition that has none.
    """
    # Importing it takes a second, which readers of prepared data need not pay.
    from dualrec_utils.datasets import folder

    if data_dir.is_file():
        raise StudyError(f"{data_dir} is a file: unpack it, and name the folder that it unpacks to")
    try:
        read = folder.read(data_dir)
    except StudyError as error:
        said = " ".join(str(error).split())
        raise StudyError(said if str(data_dir) in said else f"{data_dir}: {said}") from error
    _check_stars(read, data_dir)
    return read


def _check_stars(read: Folder, data_dir: Path) -> None:
    halves = read.ratings[RATING] % 1 != 0
    if halves.any() and any((data_dir / name).is_file() for name in _WHOLE_STARS):
        first = halves.idxmax()
        raise StudyError(
            f"{data_dir}: rating {first + 1} of the file is {read.ratings[RATING][first]}; this edition has"
            " whole stars from 1 to 5: correct the file, or unpack GroupLens' archive again"
        )


def check_free(output_dir: Path, names: Collection[str], *, command: str) -> None:
    """Refuse to replace a folder that holds what a command does not write.

    Args:
        output_dir: to be written, as a whole.
        names: of the files that the command writes.

    Raises:
        StudyError: where it is a file, or holds any other.
    """
    there = [path.name for path in output_dir.iterdir()] if output_dir.is_dir() else []
    strange = sorted(set(there) - set(names))
    if output_dir.is_file() or strange:
        what = f"holds {strange[0]}" if strange else "is a file"
        raise StudyError(
            f"{output_dir} {what}, which `dualrec {command}` has not written: name another --output-dir, or"
            " move it away"
        )


def read(data_dir: Path) -> Prepared:
    """Read a folder that :func:`write` has written.

    Raises:
        StudyError: where it is none, or was changed since.
    """
    if not (data_dir / _SUMMARY).is_file():
        raise StudyError(
            f"{data_dir} holds no prepared data (no {_SUMMARY}): run `dualrec preprocess --data-dir"
            f" MOVIELENS_FOLDER --output-dir {data_dir}` first"
        )
    summary = files.read_json(data_dir / _SUMMARY, Summary)
    try:
        frames = {name: pd.read_parquet(data_dir / f"{name}.parquet") for name in _FRAMES}
        together = _digest(frames, summary.stars) == summary.sha256
    # pyarrow's exceptions are ValueErrors; a column that is not there is a KeyError, one of another kind
    # a TypeError.
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StudyError(
            f"{data_dir} cannot be read ({first_line(error)}): run `dualrec preprocess` again"
        ) from error
    if not together:
        raise StudyError(f"the files of {data_dir} do not belong together: run `dualrec preprocess` again")
    return Prepared(**frames, summary=summary)


def _digest(frames: Mapping[str, pd.DataFrame], stars: tuple[float, ...]) -> str:
    """SHA-256 of the four frames, of ratings without their times, and of the values of a rating."""
    ratings = frames["ratings"]
    numbers = np.ascontiguousarray(ratings[[USER, ITEM, RATING]].to_numpy(dtype="<f8"))
    items = frames["items"].assign(**{GENRE_LIST: ["|".join(of) for of in frames["items"][GENRE_LIST]]})
    texts = [",".join(ratings[PART]), repr([float(value) for value in stars])]
    texts += [frame.to_csv(index=False) for frame in (items, frames["tags"], frames["users"])]
    return hashlib.sha256(numbers.tobytes() + "\n".join(texts).encode()).hexdigest()

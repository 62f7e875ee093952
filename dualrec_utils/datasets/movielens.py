"""Parse MovieLens files into two frames, merge duplicate movies, keep the most frequent ones.

Ratings: `user_id`, `item_id`, `rating`, `timestamp`; of ml-1m also `file_row`, the rating's line in
GroupLens' file (from 0), and `position` (from 0, of each user) where the source gives it.
Items: `item_id`, `title`, `year` (nullable), `genres` (list of str).
"""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pandera.pandas as pa

from dualrec_utils.core.config import (
    GENRE_LIST,
    GENRES,
    ITEM,
    POSITION,
    RATING,
    TIMESTAMP,
    TITLE,
    USER,
    YEAR,
)
from dualrec_utils.core.errors import StudyError

FILE_ROW = "file_row"
# The field of genre flags in ml-100k's u.item begins with "unknown", which is no genre of the paper.
_GENRE_FLAGS = ("unknown", *GENRES)
_TITLE_YEAR = re.compile(r"^(?P<title>.*?)\s*\((?P<year>\d{4})\)\s*(?:\(V\))?\s*$")
# MovieLens 1M was closed in 2003, 100K in 1998; both began after 1995.
_FIRST_SECOND, _LAST_SECOND = 788_918_400, 1_072_915_200

RATINGS_SCHEMA = pa.DataFrameSchema(
    {
        USER: pa.Column("int64", pa.Check.ge(1)),
        ITEM: pa.Column("int64", pa.Check.ge(1)),
        RATING: pa.Column("Float64", pa.Check.in_range(1, 5), nullable=True),
        TIMESTAMP: pa.Column("Int64", pa.Check.in_range(_FIRST_SECOND, _LAST_SECOND), nullable=True),
    }
)
ITEMS_SCHEMA = pa.DataFrameSchema(
    {
        ITEM: pa.Column("int64", pa.Check.ge(1), unique=True),
        TITLE: pa.Column("str", pa.Check.str_length(min_value=1)),
        YEAR: pa.Column("Int64", pa.Check.in_range(1890, 2003), nullable=True),
        GENRE_LIST: pa.Column(object),
    }
)


def parse(dataset: str, folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Parse whichever raw files lie in `folder` (see :mod:`datasets.sources`).

    Returns:
        (ratings, items), both checked.

    Raises:
        StudyError: naming file and line or value: truncated or wrongly encoded files, ratings of
            unknown movies, a user rating a movie twice, ratings or timestamps out of range.
    """
    for name, parser in _PARSERS[dataset]:
        if (folder / name).is_file():
            try:
                ratings, items = parser(folder / name)
            except (zipfile.BadZipFile, EOFError, KeyError, UnicodeDecodeError, ValueError) as error:
                raise StudyError(
                    f"{folder / name} cannot be read ({error}): it is truncated, wrongly encoded or"
                    " another file; delete it and run `dvc repro data` again"
                ) from error
            return check_ratings(ratings, items), check_items(items)
    raise StudyError(f"{folder} holds none of {[name for name, _ in _PARSERS[dataset]]}")


def check_items(items: pd.DataFrame) -> pd.DataFrame:
    """Return `items` if they fit the schema and genres are known; raise StudyError otherwise."""
    items = _validated(items, ITEMS_SCHEMA, "items")
    for item, genres in zip(items[ITEM], items[GENRE_LIST], strict=True):
        strange = [genre for genre in genres if genre not in GENRES]
        if strange:
            raise StudyError(f"movie {item} has the genre {strange[0]!r}; allowed: {list(GENRES)}")
    return items


def check_ratings(ratings: pd.DataFrame, items: pd.DataFrame) -> pd.DataFrame:
    """Return `ratings` if they fit the schema, name known movies and no user rates one twice."""
    ratings = _validated(ratings, RATINGS_SCHEMA, "ratings")
    unknown = ratings[~ratings[ITEM].isin(items[ITEM])]
    if len(unknown):
        row = unknown.iloc[0]
        raise StudyError(
            f"user {row[USER]:.0f} rates movie {row[ITEM]:.0f}, which the movie file does not list"
            f" ({len(unknown)} such ratings)"
        )
    twice = ratings[ratings.duplicated([USER, ITEM])]
    if len(twice):
        row = twice.iloc[0]
        raise StudyError(f"user {row[USER]:.0f} rates movie {row[ITEM]:.0f} twice ({len(twice)} such rows)")
    return ratings


def _validated(frame: pd.DataFrame, schema: pa.DataFrameSchema, name: str) -> pd.DataFrame:
    try:
        return schema.validate(frame)
    except pa.errors.SchemaError as error:
        cases = error.failure_cases
        value = cases["failure_case"].iloc[0] if isinstance(cases, pd.DataFrame) else cases
        value = value.item() if isinstance(value, np.generic) else value
        column = getattr(error.schema, "name", None)
        raise StudyError(f"{name}: column {column!r} holds {value!r}, which fails {error.check}") from error


def split_title(text: str) -> tuple[str, int | None]:
    """Split MovieLens' "Title (1995)" into title and year.

    >>> split_title("Usual Suspects, The (1995)")
    ('Usual Suspects, The', 1995)
    """
    match = _TITLE_YEAR.match(text)
    return (match["title"], int(match["year"])) if match else (text.strip(), None)


def _item_frame(rows: list[tuple[int, str, int | None, list[str]]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=[ITEM, TITLE, YEAR, GENRE_LIST])
    return frame.astype({ITEM: "int64", TITLE: "str", YEAR: "Int64"})


def _rating_frame(stream: io.IOBase, **read: object) -> pd.DataFrame:
    names = [USER, ITEM, RATING, TIMESTAMP]
    frame = pd.read_csv(stream, names=names, **read)
    if frame.isna().any(axis=None):
        row = int(frame.isna().any(axis=1).argmax()) + 1
        raise ValueError(f"rating {row} lacks a value")
    types = {USER: "int64", ITEM: "int64", RATING: "Float64", TIMESTAMP: "Int64"}
    return frame.astype(types)


def _latin1(content: bytes, name: str) -> list[str]:
    """Lines of a latin-1 file. Every byte is latin-1, so what betrays a file converted to UTF-8 is that
    its accents decode as UTF-8, which accents in latin-1 do not."""
    if not content.isascii():
        try:
            content.decode("utf-8")
        except UnicodeDecodeError:
            pass
        else:
            raise ValueError(f"{name} is encoded in UTF-8, expected latin-1")
    return content.decode("latin-1").splitlines()


def parse_100k_text(u_data: bytes, u_item: bytes) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Parse GroupLens' `u.data` (tab separated) and `u.item` (latin-1, | separated)."""
    rows = []
    for number, line in enumerate(_latin1(u_item, "u.item"), start=1):
        fields = line.split("|")
        if len(fields) != 5 + len(_GENRE_FLAGS):
            raise ValueError(f"u.item line {number} has {len(fields)} fields, expected 24")
        title, year = split_title(fields[1])
        flags = zip(_GENRE_FLAGS[1:], fields[6:], strict=True)
        rows.append((int(fields[0]), title, year, [genre for genre, flag in flags if flag == "1"]))
    return _rating_frame(io.BytesIO(u_data), sep="\t"), _item_frame(rows)


def _parse_100k_zip(path: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    with zipfile.ZipFile(path) as archive:
        return parse_100k_text(archive.read("ml-100k/u.data"), archive.read("ml-100k/u.item"))


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
        number, title, year, genres = fields
        if title == "unkonwn":
            title = "unknown"
        parsed = (title, int(year)) if year.isdigit() else split_title(title)
        listed = [genre for genre in genres.split(" ") if genre != "unknown"]
        rows.append((int(number), *parsed, listed))
    return _rating_frame(io.BytesIO(inter), sep="\t", header=0), _item_frame(rows)


def _parse_wheel(path: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    base = "recbole/dataset_example/ml-100k/ml-100k"
    with zipfile.ZipFile(path) as archive:
        return parse_recbole(archive.read(f"{base}.inter"), archive.read(f"{base}.item"))


def parse_1m_movies(movies: bytes) -> pd.DataFrame:
    """Parse ml-1m's `movies.dat` (latin-1, :: separated, genres | separated)."""
    rows = []
    for number, line in enumerate(_latin1(movies, "movies.dat"), start=1):
        fields = line.split("::")
        if len(fields) != 3:
            raise ValueError(f"movies.dat line {number} has {len(fields)} fields, expected 3")
        rows.append((int(fields[0]), *split_title(fields[1]), fields[2].split("|")))
    return _item_frame(rows)


def _parse_1m_zip(path: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    with zipfile.ZipFile(path) as archive:
        ratings = io.BytesIO(archive.read("ml-1m/ratings.dat").replace(b"::", b"\t"))
        frame = _rating_frame(ratings, sep="\t")
        movies = parse_1m_movies(archive.read("ml-1m/movies.dat"))
    return frame.assign(**{FILE_ROW: np.arange(len(frame))}), movies


def _parse_1m_order(path: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """All ratings with place in the user's order and line in GroupLens' file; some without a time."""
    frame = pd.read_csv(path).rename(columns={"movie_id": ITEM})
    whole = dict.fromkeys((USER, ITEM, POSITION, FILE_ROW), "int64")
    frame = frame.astype(whole | {RATING: "Float64", TIMESTAMP: "Int64"})
    return frame, parse_1m_movies((path.parent / "movies.dat").read_bytes())


_PARSERS: dict[str, tuple[tuple[str, Callable], ...]] = {
    "ml-100k": (
        ("ml-100k.zip", _parse_100k_zip),
        (
            "u.data",
            lambda path: parse_100k_text(path.read_bytes(), (path.parent / "u.item").read_bytes()),
        ),
        ("recbole-1.2.1-py3-none-any.whl", _parse_wheel),
    ),
    "ml-1m": (("ml-1m.zip", _parse_1m_zip), ("interactions.csv.gz", _parse_1m_order)),
}


def merge_duplicates(
    ratings: pd.DataFrame, items: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Make movies of the same title and year one movie, the one with the lowest id.

    A user who rated both keeps the earlier rating.

    Returns:
        (ratings in order, items, merged): `merged` lists each movie that went (`item_id`) and the
        one it went into (`into`).
    """
    kept = items.sort_values(ITEM).groupby([TITLE, YEAR], dropna=False)[ITEM].transform("min")
    into = dict(zip(items[ITEM], kept.reindex(items.index), strict=True))
    merged = pd.DataFrame([(old, new) for old, new in into.items() if old != new], columns=[ITEM, "into"])
    renamed = in_order(ratings.assign(**{ITEM: ratings[ITEM].map(into)}))
    renamed = renamed.drop_duplicates([USER, ITEM], keep="first", ignore_index=True)
    return renamed, items[~items[ITEM].isin(merged[ITEM])].reset_index(drop=True), merged


def in_order(ratings: pd.DataFrame) -> pd.DataFrame:
    """Sort by user and time, inside one second by `file_row` where there is one (ml-1m), else by item id.

    This alone decides the order of a data set, whichever source it came from: `position`, which one source
    of ml-1m gives, is the order by time and `file_row` and places ratings without a time too.
    """
    if POSITION in ratings:
        keys = [USER, POSITION]
    else:
        keys = [USER, TIMESTAMP, FILE_ROW if FILE_ROW in ratings else ITEM]
    return ratings.sort_values(keys, ignore_index=True)


def most_frequent(ratings: pd.DataFrame, n_items: int) -> np.ndarray:
    """Ids of the `n_items` most frequent movies, ascending; ties at the edge by lowest id.

    Raises:
        StudyError: when fewer movies have ratings.
    """
    counts = ratings[ITEM].value_counts().rename_axis(ITEM).reset_index(name="n")
    if len(counts) < n_items:
        raise StudyError(f"data.n_items is {n_items}, but only {len(counts)} movies have ratings")
    best = counts.sort_values(["n", ITEM], ascending=[False, True]).head(n_items)
    return np.sort(best[ITEM].to_numpy())


def order_hash(interactions: pd.DataFrame) -> str:
    """SHA-256 of the (user, item) pairs in order: other tie orders give other numbers."""
    pairs = interactions[[USER, ITEM]].to_numpy(dtype="<i8")
    return hashlib.sha256(np.ascontiguousarray(pairs).tobytes()).hexdigest()

"""Parse MovieLens files into two frames, merge duplicate movies, keep the most frequent ones.

Ratings: `user_id`, `item_id`, `rating`, `timestamp`; of ml-1m also `file_row`, the rating's line in
GroupLens' file (from 0), and `position` (from 0, of each user) where the source gives it.
Items: `item_id`, `title`, `year` (nullable), `genres` (list of str).
"""

from __future__ import annotations

import calendar
import io
import re
import reprlib
import zipfile
from collections.abc import Collection, Hashable, Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pandas as pd
import pandera.pandas as pa
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

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
from dualrec_utils.core.titles import named_as, normal_form

FILE_ROW = "file_row"
AGE = "age"
_TITLE_YEAR = re.compile(r"^(?P<title>.*?)\s*\((?P<year>\d{4})\)\s*(?:\(V\))?\s*$")
# No more than 18 digits: a larger number does not fit into 64 bits.
_WHOLE = (r"[0-9]{1,18}", "int64")
_FORMS = dict.fromkeys((USER, ITEM, POSITION, FILE_ROW, AGE), _WHOLE) | {
    RATING: (r"[0-9]{1,3}([.][0-9]{1,3})?", "Float64"),
    TIMESTAMP: (r"[0-9]{1,18}", "Int64"),
}
# In the genres of later editions: another name, and what is no genre.
_OTHER_NAMES = {"Children": "Children's"}
_NO_GENRES = ("IMAX", "(no genres listed)")
# Of MovieLens 100K and 1M: whole stars; the one was closed in 1998, the other in 2003.
STARS = (1, 2, 3, 4, 5)
YEARS = (1995, 2003)
# Of later editions.
HALF_STARS = (0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5)
# The oldest film of any edition is of 1874.
_FIRST_FILM = 1874


def _ratings_schema(stars: Collection[float] | None, years: tuple[int, int] | None) -> pa.DataFrameSchema:
    when = pa.Check.isin(())
    if years:
        first, after = (calendar.timegm((year, 1, 1, 0, 0, 0)) for year in (years[0], years[1] + 1))
        when = pa.Check.in_range(first, after)
    return pa.DataFrameSchema(
        {
            USER: pa.Column("int64", pa.Check.ge(1)),
            ITEM: pa.Column("int64", pa.Check.ge(1)),
            RATING: pa.Column("Float64", None if stars is None else pa.Check.isin(stars), nullable=True),
            TIMESTAMP: pa.Column("Int64", when, nullable=True),
            FILE_ROW: pa.Column("int64", unique=True, report_duplicates="exclude_first", required=False),
        }
    )


def _items_schema(last_year: int | None) -> pa.DataFrameSchema:
    came_out = None if last_year is None else pa.Check.in_range(_FIRST_FILM, last_year)
    return pa.DataFrameSchema(
        {
            ITEM: pa.Column("int64", pa.Check.ge(1), unique=True, report_duplicates="exclude_first"),
            TITLE: pa.Column("str", pa.Check.str_length(min_value=1)),
            YEAR: pa.Column("Int64", came_out, nullable=True),
            GENRE_LIST: pa.Column(object),
        }
    )


def check_items(
    items: pd.DataFrame,
    *,
    last_year: int | None = YEARS[1],
    categories: Collection[str] | None = GENRES,
) -> pd.DataFrame:
    """Return `items`, by line of their file, if they fit the schema and their genres are known.

    Args:
        last_year: in which an item may have come out; None for any.
        categories: genres that an item may have; None for any.

    Raises:
        StudyError: naming line and value.
    """
    items = validated(items, _items_schema(last_year), "items")
    if categories is None:
        return items
    genres = items[GENRE_LIST].explode().dropna()
    strange = genres[~genres.isin(categories)]
    if len(strange):
        raise StudyError(
            f"items line {strange.index[0]}: genre {strange.iloc[0]!r} is unknown; allowed:"
            f" {list(categories)}"
        )
    return items


def check_ratings(
    ratings: pd.DataFrame,
    items: pd.DataFrame,
    *,
    stars: Collection[float] | None = STARS,
    years: tuple[int, int] | None = YEARS,
    ties: bool = False,
) -> pd.DataFrame:
    """Return `ratings`, by line of their file, if they fit the schema and one another.

    Args:
        stars: values that a rating may have; None for any, none where there are no ratings.
        years: first and last year of ratings; None where their times are not known.
        ties: whether rows of a user may share a position.

    Raises:
        StudyError: naming line and value: on an item that `items` lacks, an item rated twice by a user,
            and positions of a user other than 0, 1, 2, ...
    """
    ratings = validated(ratings, _ratings_schema(stars, years), "ratings")
    wrong = {
        "an item that the file of items does not list": ~ratings[ITEM].isin(items[ITEM]),
        "a user rates an item twice": ratings.duplicated([USER, ITEM]),
    }
    if POSITION in ratings and not ties:
        places = ratings.sort_values([USER, POSITION], kind="stable").groupby(USER).cumcount()
        amiss = ratings[POSITION] != places.reindex(ratings.index)
        wrong["positions of a user must be 0, 1, 2, ..., each once"] = amiss
    for reason, rows in wrong.items():
        if rows.any():
            line, n = rows.idxmax(), rows.sum()
            row = ratings.loc[[line]].to_dict("records")[0]
            raise StudyError(f"ratings line {line}: {reason}: {row} ({n} such lines)")
    return ratings


def validated(frame: pd.DataFrame, schema: pa.DataFrameSchema, name: str) -> pd.DataFrame:
    """Return `frame`, by line of its file, if it fits the schema.

    Args:
        name: what the rows are.

    Raises:
        StudyError: naming line, column and value.
    """
    try:
        return schema.validate(frame)
    except pa.errors.SchemaError as error:
        cases, line = error.failure_cases, ""
        if isinstance(cases, pd.DataFrame):
            line = f" line {cases['index'].iloc[0]}"
            cases = cases["failure_case"].iloc[0]
        value = cases.item() if isinstance(cases, np.generic) else cases
        column = getattr(error.schema, "name", None)
        raise StudyError(
            f"{name}{line}: column {column!r} holds {value!r}, which fails {error.check}"
        ) from error


def split_title(text: str) -> tuple[str, int | None]:
    """Split MovieLens' "Title (1995)" into title and year.

    >>> split_title("Usual Suspects, The (1995)")
    ('Usual Suspects, The', 1995)
    """
    match = _TITLE_YEAR.match(text)
    return (match["title"], int(match["year"])) if match else (text.strip(), None)


def genres_of(text: str) -> list[str]:
    """Genres of the paper in a field of MovieLens, where | stands between them.

    Later editions say "Children" for "Children's" and list IMAX, which is a format of screens and no genre.

    >>> genres_of("Action|Children|IMAX"), genres_of("(no genres listed)")
    (['Action', "Children's"], [])
    """
    return [_OTHER_NAMES.get(name, name) for name in text.split("|") if name not in _NO_GENRES]


def members(archive: Path, *names: str) -> list[bytes]:
    """Files of a zip, with the errors of :mod:`zipfile`."""
    with zipfile.ZipFile(archive) as opened:
        return [opened.read(name) for name in names]


def item_frame(
    rows: list[tuple[str, str, int | None, list[str]]], *, name: str, first: int = 1
) -> pd.DataFrame:
    """Items by line of their file.

    Args:
        rows: id as text, title, year and genres.
        name: of the file.
        first: line of the first row.

    Raises:
        ValueError: naming the line of an id that is no whole number.
    """
    lines = range(first, first + len(rows))
    frame = pd.DataFrame(rows, columns=[ITEM, TITLE, YEAR, GENRE_LIST], index=lines)
    return numbers(frame.astype({ITEM: "str", TITLE: "str", YEAR: "Int64"}), name=name)


def rating_frame(
    stream: io.IOBase,
    *,
    name: str,
    columns: Mapping[Hashable, str] = MappingProxyType(dict(enumerate((USER, ITEM, RATING, TIMESTAMP)))),
    optional: Collection[str] = (),
    **read: object,
) -> pd.DataFrame:
    """Ratings by line of their file.

    Args:
        stream: the file, or what :func:`pandas.read_csv` takes in its place.
        name: of the file.
        columns: number of a column, or its label where the first line has some -> ours.
        optional: of ours, those that may be empty.
        read: keywords of :func:`pandas.read_csv`.

    Raises:
        ValueError: naming the line and value of what is no number, or other columns.
    """
    text = pd.read_csv(
        stream, header=None, dtype="str", na_filter=False, skip_blank_lines=False, quoting=3, **read
    )
    text.index += 1
    if 0 not in columns:
        text = text.set_axis(text.iloc[0].to_list(), axis=1).iloc[1:]
    if set(text) != set(columns):
        raise ValueError(f"{name} has the columns {list(text)}, expected {list(columns)}")
    return numbers(text.rename(columns=columns)[list(columns.values())], name=name, optional=optional)


def numbers(text: pd.DataFrame, *, name: str, optional: Collection[str] = ()) -> pd.DataFrame:
    """The columns of :data:`_FORMS` as numbers, checked as text: pandas would round, wrap or guess.

    Args:
        text: by line of its file.
        name: of the file.
        optional: columns that may be empty.

    Raises:
        ValueError: naming the line and value of what is no number.
    """
    typed = {}
    for column in [column for column in text if column in _FORMS]:
        (pattern, kind), values = _FORMS[column], text[column]
        empty = (values == "") & (column in optional)
        wrong = ~(values.str.fullmatch(pattern) | empty)
        if wrong.any():
            line = wrong.idxmax()
            raise ValueError(
                f"{name} line {line}: {column} is {reprlib.repr(values[line])}; allowed: {pattern}"
            )
        typed[column] = values.mask(empty).astype(kind)
    return text.assign(**typed)


def latin1(content: bytes, name: str) -> list[str]:
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


def merge_duplicates(
    ratings: pd.DataFrame, items: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Make items of the same title and year one item, the one with the lowest id.

    Two items of one year are the same too where the title of one is the other's alternative title in
    brackets: "Bewegte Mann, Der" and "Maybe, Maybe Not (Bewegte Mann, Der)". Titles are compared in their
    normal form. A user who rated both keeps the earlier rating.

    Returns:
        (ratings, items, merged): `merged` lists each item that went (`item_id`) and the
        one it went into (`into`).
    """
    parts = [[normal_form(name) or name for name in named_as(title)] for title in items[TITLE]]
    names = pd.DataFrame({"whole": map(" ".join, parts), "main": [part[0] for part in parts]})
    names = names.assign(row=range(len(items)), year=items[YEAR].array, other=[part[1:] for part in parts])
    others = names.explode("other").dropna(subset=["other", "year"])
    pairs = pd.concat(
        [
            names.merge(names, on=["whole", "year"]),
            others.merge(names, left_on=["other", "year"], right_on=["main", "year"]),
        ]
    )
    edges = (np.ones(len(pairs)), (pairs["row_x"], pairs["row_y"]))
    _, groups = connected_components(coo_array(edges, shape=(len(items),) * 2), directed=False)
    into = dict(zip(items[ITEM], items.groupby(groups)[ITEM].transform("min"), strict=True))
    merged = pd.DataFrame([(old, new) for old, new in into.items() if old != new], columns=[ITEM, "into"])
    renamed = ratings.assign(**{ITEM: ratings[ITEM].map(into)})
    earliest = renamed.sort_values([USER, POSITION if POSITION in renamed else TIMESTAMP], kind="stable")
    kept = earliest.drop_duplicates([USER, ITEM], keep="first", ignore_index=True)
    return kept, items[~items[ITEM].isin(merged[ITEM])].reset_index(drop=True), merged


def most_frequent(ratings: pd.DataFrame, n_items: int) -> np.ndarray:
    """Ids of the `n_items` most frequent items, ascending; ties at the edge by lowest id.

    Raises:
        StudyError: when fewer items have ratings.
    """
    counts = ratings[ITEM].value_counts().rename_axis(ITEM).reset_index(name="n")
    if len(counts) < n_items:
        raise StudyError(
            f"data.n_items is {n_items}, but only {len(counts)} items have ratings: set it to that or less"
        )
    best = counts.sort_values(["n", ITEM], ascending=[False, True]).head(n_items)
    return np.sort(best[ITEM].to_numpy())

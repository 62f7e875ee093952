"""A reader's data: any CSV or Parquet files whose columns section `data` of `params.yaml` names.

Nothing is fetched and no checksum is expected: the files are read where they lie, as text, and every value
that cannot be used is named with its line.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv

from dualrec_utils.core import config
from dualrec_utils.core.config import GENRE_LIST, ITEM, POSITION, RATING, TIMESTAMP, TITLE, USER, YEAR
from dualrec_utils.core.errors import StudyError
from dualrec_utils.core.files import sha256
from dualrec_utils.datasets import known, tidy
from dualrec_utils.datasets.known import Parsed

# Reading four million rows took 1.1 GB; stage `data` holds several copies of them.
MOST_ROWS = 5_000_000
_REMEDY = "correct the file, or the columns that `data: source:` in params.yaml names"
# Numbers that are times of 1973 to 2128, by their unit; those of two units never meet.
_UNITS = {"seconds": 1, "milliseconds": 10**3, "microseconds": 10**6, "nanoseconds": 10**9}
_FIRST_SECOND, _LAST_SECOND = 10**8, 5 * 10**9
# What may stand between the columns of a CSV file; of equally frequent ones the first.
_DELIMITERS = ",;\t|"


@dataclass(frozen=True)
class Source:
    """Files and their columns; None where there is no such file or column.

    Attributes:
        interactions: file with a row each time a user took an item; a name that begins without `/` is
            read from the folder that `params.yaml` lies in.
        user, item: its columns of ids, text or numbers.
        time: of a time: seconds, milliseconds, microseconds or nanoseconds since 1970, or dates.
        order: of a place in the user's history, where no time is known; equal places are a tie.
        rating: of a number.
        items: file with a row an item; None where the first file names titles.
        title: column of titles, in the file of items.
        categories: likewise, a column of lists, or of text.
        separator: between the categories of a text; None where the text is one category or a list in
            brackets.
        year: likewise, of a year.
    """

    interactions: str
    user: str
    item: str
    title: str
    time: str | None = None
    order: str | None = None
    rating: str | None = None
    items: str | None = None
    categories: str | None = None
    separator: str | None = None
    year: str | None = None


def paths(source: Source) -> list[Path]:
    """The files of a source, that of interactions first."""
    names = [source.interactions, *([source.items] if source.items else [])]
    return [config.ROOT / Path(name).expanduser() for name in names]


def checksums(source: Source) -> dict[str, str]:
    """Name -> SHA-256 of the files of a source."""
    return {path.name: sha256(path) for path in paths(source)}


def read(source: Source) -> Parsed:
    """Read and check a reader's data.

    Of a user who took an item again at a later time the first time counts.

    Raises:
        StudyError: naming the file, and line and value or column, of what is missing, empty, no number or
            no time, of a column that is there twice, of times in several units, of a user who takes an item
            twice at one time, of an item without a row, and of more rows than :data:`MOST_ROWS`.
    """
    files = paths(source)
    in_first = [source.user, source.item, source.time, source.order, source.rating]
    of_items = [source.title, source.categories, source.year]
    if not source.items:
        in_first, of_items = in_first + of_items, []
    rows = _table(files[0], in_first)
    if rows.empty:
        raise StudyError(f"{files[0]} holds no interaction: {_REMEDY}")
    about = _table(files[1], [source.item, *of_items]) if source.items else rows
    name, name_of_items = files[0].name, files[-1].name
    users, codes = (_ids(rows[column], name) for column in (source.user, source.item))
    items = _items(about, source, name=name_of_items)
    places = items.set_index("code")[ITEM]
    unknown = ~codes.isin(places.index)
    if unknown.any():
        line = unknown.idxmax()
        raise StudyError(
            f"{name} line {line}: item {codes[line]!r} is not in {name_of_items} ({unknown.sum():,} such"
            f" lines): {_REMEDY}"
        )
    ratings = pd.DataFrame({USER: tidy.user_numbers(users), ITEM: codes.map(places).astype("int64")})
    if source.time:
        ratings[TIMESTAMP] = seconds(rows[source.time], name=name)
    if source.order:
        order = _numbers(rows[source.order], name=name)
        ratings[POSITION] = order.groupby(ratings[USER]).rank("dense").astype("int64") - 1
    if source.rating:
        ratings[RATING] = _numbers(rows[source.rating], name=name).astype("Float64")
    when = POSITION if source.order else TIMESTAMP
    again = ratings.duplicated([USER, ITEM, when])
    if again.any():
        line = again.idxmax()
        same = (ratings[[USER, ITEM, when]] == ratings.loc[line, [USER, ITEM, when]]).all(axis=1)
        raise StudyError(
            f"{name} lines {same.idxmax()} and {line}: user {users[line]!r} takes item {codes[line]!r}"
            f" twice at one {'place' if source.order else 'time'} ({again.sum():,} such lines): leave one"
            " of them"
        )
    once = ratings.sort_values([USER, when], kind="stable").drop_duplicates([USER, ITEM]).sort_index()
    if source.order:
        once[POSITION] = once.groupby(USER)[POSITION].rank("dense").astype("int64") - 1
    titles, counts = tidy.tidy_titles(items[TITLE], items["code"])
    counts["n_repeats_left_out"] = len(ratings) - len(once)
    return known.checked(
        Parsed(once, items.assign(**{TITLE: titles.astype("str")}), counts), known.READER_DATA
    )


def _rows(path: Path, names: Sequence[str] = ()) -> csv.CSVStreamingReader:
    """Rows of a CSV file, read piece by piece: some columns as text, or all as they may be."""
    with pa.input_stream(str(path)) as stream:
        header = stream.read(2**16).split(b"\n")[0].decode(errors="replace")
    return csv.open_csv(
        pa.input_stream(str(path)),
        parse_options=csv.ParseOptions(
            delimiter=max(_DELIMITERS, key=header.count), newlines_in_values=True
        ),
        convert_options=csv.ConvertOptions(
            include_columns=list(names), column_types=dict.fromkeys(names, pa.string())
        ),
    )


def _table(path: Path, wanted: Sequence[str | None]) -> pd.DataFrame:
    """Some columns of a file, by line: those of a CSV file as text, empty where nothing stands."""
    names = list(dict.fromkeys(name for name in wanted if name))
    if not path.is_file():
        raise StudyError(f"there is no file {path}: {_REMEDY}")
    with known.reading(path, remedy="save it as CSV in UTF-8, or as Parquet"):
        parquet = path.suffix == ".parquet"
        there = pq.read_schema(path).names if parquet else _rows(path).schema.names
        if absent := [name for name in names if name not in there]:
            raise StudyError(
                f"{path} lacks the columns {', '.join(absent)}; it has {', '.join(there)}: {_REMEDY}"
            )
        if twice := [name for name in names if there.count(name) > 1]:
            raise StudyError(
                f"{path} has several columns named {', '.join(twice)}: leave one of each, or give others"
                " another name"
            )
        if parquet:
            n_rows = pq.read_metadata(path).num_rows
            table = pq.read_table(path, columns=names) if n_rows <= MOST_ROWS else None
        else:
            n_rows, pieces = 0, []
            for piece in _rows(path, names):
                n_rows += piece.num_rows
                if n_rows > MOST_ROWS:
                    break
                pieces.append(piece)
            table = pa.Table.from_batches(pieces) if pieces else None
    if n_rows > MOST_ROWS:
        raise StudyError(
            f"{path} has more than {MOST_ROWS:,} rows, which do not fit into the memory of a usual machine:"
            " take a sample of its users, with all rows of each"
        )
    frame = table.to_pandas() if table else pd.DataFrame(columns=names)
    # Line 1 of a CSV file is its header; a Parquet file's rows are counted alike.
    frame.index += 2
    return frame


def _text(values: pd.Series) -> pd.Series:
    """Values as text without spaces around, empty where nothing stands; whole numbers without `.0`."""
    if pd.api.types.is_float_dtype(values) and (values.dropna() % 1 == 0).all():
        values = values.astype("Int64")
    return values.astype("str").where(values.notna(), "").str.strip()


def _ids(values: pd.Series, name: str) -> pd.Series:
    text = _text(values)
    _refuse(text == "", text, name=name, allowed="an id, text or number")
    return text


def _refuse(wrong: pd.Series, values: pd.Series, *, name: str, allowed: str) -> None:
    """Raise a StudyError that names the first line that is wrong."""
    if wrong.any():
        line = wrong.idxmax()
        value = str(values[line])
        shown = repr(value if len(value) <= 60 else f"{value[:60]}...")
        raise StudyError(
            f"{name} line {line}: {values.name} is {shown}; allowed: {allowed} ({wrong.sum():,} such lines)"
        )


def _numbers(values: pd.Series, *, name: str) -> pd.Series:
    numbers = pd.to_numeric(values, errors="coerce").astype("float64")
    _refuse(~np.isfinite(numbers), values, name=name, allowed="a number")
    return numbers


def seconds(values: pd.Series, *, name: str) -> pd.Series:
    """Times as whole seconds since 1970, Int64.

    Args:
        values: numbers in one unit, from seconds to nanoseconds, or dates (ISO 8601, UTC where they name
            no zone), by line.
        name: of the file.

    Raises:
        StudyError: on what is no time of 1973 to 2128, on dates among numbers and numbers among dates, and
            on numbers of several units.
    """
    dated = pd.api.types.is_datetime64_any_dtype(values)
    numbers = pd.Series(np.nan, values.index) if dated else pd.to_numeric(values, errors="coerce")
    times = pd.to_datetime(values.mask(numbers.notna()), utc=True, format="ISO8601", errors="coerce")
    # The more frequent kind is what the column holds: the lines of the other are named.
    if times.count() >= numbers.count():
        _refuse(
            times.isna(),
            values,
            name=name,
            allowed="a date as 2020-12-31, or a number since 1970, the same kind in every line",
        )
        return times.dt.floor("s").astype("datetime64[s, UTC]").astype("int64").astype("Int64")
    _refuse(numbers.isna(), values, name=name, allowed="a number, as in the other lines")
    inside = {
        unit: numbers.between(_FIRST_SECOND * size, _LAST_SECOND * size) for unit, size in _UNITS.items()
    }
    outside = ~np.logical_or.reduce(list(inside.values()))
    _refuse(
        pd.Series(outside, index=values.index),
        values,
        name=name,
        allowed="seconds, milliseconds, microseconds or nanoseconds since 1970, from 1973 on; a mere order"
        " is named as `order`",
    )
    there = {unit: rows for unit, rows in inside.items() if rows.any()}
    if len(there) > 1:
        said = " and ".join(
            f"{rows.sum():,} in {unit} (line {rows.idxmax()})" for unit, rows in there.items()
        )
        raise StudyError(
            f"{name}: the times of {values.name} are in several units: {said}: bring them to one"
        )
    (unit,) = there
    return (numbers // _UNITS[unit]).astype("Int64")


def _items(about: pd.DataFrame, source: Source, *, name: str) -> pd.DataFrame:
    """One row an item, by number: `item_id`, `title`, `code`; `genres` and `year` where they are named."""
    codes = _ids(about[source.item], name)
    titles = _titles(about[source.title], name=name)
    frame = pd.DataFrame({"code": codes, TITLE: titles})
    if source.categories:
        frame[GENRE_LIST] = _categories(about[source.categories], source.separator, name=name)
    if source.year:
        years = _text(about[source.year])
        wrong = (years != "") & ~years.str.fullmatch(r"[0-9]{1,4}")
        _refuse(wrong, about[source.year], name=name, allowed="a year, or nothing")
        frame[YEAR] = years.mask(years == "").astype("Int64")
    if source.items:
        again = codes.duplicated()
        _refuse(again, codes, name=name, allowed="each item once")
        kept = frame
    else:
        # Of several titles of an item the most frequent one, of equals the first by alphabet.
        counts = frame.groupby(["code", TITLE]).cumcount(ascending=False) + 1
        ordered = frame.assign(n=counts).sort_values(["code", "n", TITLE], ascending=[True, False, True])
        kept = ordered.drop_duplicates("code").drop(columns="n")
    kept = kept.assign(**{ITEM: tidy.item_numbers(kept["code"])})
    return kept.sort_values(ITEM)


def _titles(values: pd.Series, *, name: str) -> pd.Series:
    text = _text(values)
    _refuse(text == "", values, name=name, allowed="a title, or leave the item out")
    number = text.str.fullmatch(r"[0-9.,]+")
    # "1984" is a title; a column of such is one of ids.
    if number.mean() > 0.5:
        _refuse(number, values, name=name, allowed="titles: this column holds numbers")
    return text


def _categories(values: pd.Series, separator: str | None, *, name: str) -> pd.Series:
    """Lists of categories, each once, from lists or from text."""
    if len(filled := values.dropna()) and not isinstance(filled.iloc[0], str):
        listed = values.map(lambda one: isinstance(one, list | tuple | np.ndarray))
        _refuse(values.notna() & ~listed, values, name=name, allowed="a list of categories, or text")
        lists = values.where(listed, "").map(list)
    else:
        text = _text(values)
        if separator:
            lists = text.str.split(separator, regex=False)
        else:
            bracketed = text.str.startswith("[")
            lists = text.map(lambda one: [one])
            lists[bracketed] = text[bracketed].map(_listed)
            _refuse(lists.isna(), values, name=name, allowed="a list such as ['one', 'two']")
    return lists.map(lambda one: list(dict.fromkeys(filter(None, (str(part).strip() for part in one)))))


def _listed(text: str) -> list | None:
    """A list written as Python or JSON writes it; None where it is none."""
    try:
        read = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    return read if isinstance(read, list) else None

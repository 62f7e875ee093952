"""What is known beside ratings and items, where a data set says it: who users are, and their tags.

Users: `user_id`, `age` (years; of ml-1m the lowest of a range, 1, 18, 25, 35, 45, 50 or 56), `gender` (F or
M), `occupation`; zip codes are left out. Tags: `user_id`, `item_id`, `tag`, a row each time one was given.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import pandera.pandas as pa

from dualrec_utils.core.config import ITEM, USER
from dualrec_utils.core.errors import StudyError
from dualrec_utils.datasets import known, movielens, sources
from dualrec_utils.datasets.movielens import AGE

GENDER = "gender"
OCCUPATION = "occupation"
TAG = "tag"
_USER_TYPES = {USER: "int64", AGE: "int64", GENDER: "str", OCCUPATION: "str"}
_TAG_TYPES = {USER: "int64", ITEM: "int64", TAG: "str"}
_USERS = pa.DataFrameSchema(
    {
        USER: pa.Column("int64", pa.Check.ge(1), unique=True, report_duplicates="exclude_first"),
        AGE: pa.Column("int64", pa.Check.in_range(1, 120)),
        GENDER: pa.Column("str", pa.Check.isin(["F", "M"])),
        OCCUPATION: pa.Column("str", pa.Check.str_length(min_value=1)),
    }
)
_TAGS = pa.DataFrameSchema(
    {
        USER: pa.Column("int64", pa.Check.ge(1)),
        ITEM: pa.Column("int64", pa.Check.ge(1)),
        TAG: pa.Column("str"),
    }
)


def load_users(dataset: str) -> pd.DataFrame:
    """Users of a data set, from the files that stage `data` fetched, or fetched now.

    Args:
        dataset: the name of one of :mod:`datasets.known`.

    Returns:
        `user_id` (ascending), `age`, `gender`, `occupation`; empty where the data set says nothing of its
        users, and, with a line that says so, where it was fetched without the file that does.

    Raises:
        StudyError: as :func:`sources.fetch`; naming file, line and value of what is damaged or wrong.
    """
    readers = known.find(dataset).users
    path = _fetched(readers, dataset)
    if path is None:
        return no_users()
    with known.reading(path):
        return check_users(readers[path.name](path)).sort_values(USER, ignore_index=True)


def load_tags(dataset: str) -> pd.DataFrame:
    """Tags that users gave to items of a data set: as :func:`load_users`.

    Returns:
        `user_id`, `item_id`, `tag`, in the order of their file.

    Raises:
        StudyError: as :func:`load_users`, and on a tag of an item that the data set does not have.
    """
    readers = known.find(dataset).tags
    path = _fetched(readers, dataset)
    if path is None:
        return no_tags()
    _, _, items = sources.load(dataset)
    with known.reading(path):
        return check_tags(readers[path.name](path), items).reset_index(drop=True)


def _fetched(readers: Mapping[str, known.Reader], dataset: str) -> Path | None:
    """The file that one of the readers is for; None where there is none."""
    if not readers:
        return None
    paths = sources.fetch(dataset).paths
    chosen = next((path for path in paths if path.name in readers), None)
    if chosen is None:
        print(
            f"data: {dataset} was fetched without any of {', '.join(readers)}: what that says is left out"
            f" (to have it, delete {paths[0].parent} and fetch again from a folder that holds it)",
            flush=True,
        )
    return chosen


def no_users() -> pd.DataFrame:
    """The frame of users of a data set that says nothing of them."""
    return pd.DataFrame(columns=list(_USER_TYPES)).astype(_USER_TYPES)


def no_tags() -> pd.DataFrame:
    """The frame of tags of a data set that has none."""
    return pd.DataFrame(columns=list(_TAG_TYPES)).astype(_TAG_TYPES)


def user_frame(rows: list[tuple[str, str, str, str]], *, name: str, first: int = 1) -> pd.DataFrame:
    """Users by line of their file.

    Args:
        rows: id, age, gender and occupation, all as text.
        name: of the file.
        first: line of the first row.

    Raises:
        ValueError: naming the line of an id or age that is no whole number.
    """
    return _frame(rows, _USER_TYPES, name=name, first=first)


def tag_frame(rows: list[tuple[str, str, str]], *, name: str, first: int = 1) -> pd.DataFrame:
    """Tags by line of their file, without those of nothing but spaces.

    Args:
        rows: user id, item id and tag, all as text.
        name, first: as :func:`user_frame`.

    Raises:
        ValueError: naming the line of an id that is no whole number.
    """
    frame = _frame(rows, _TAG_TYPES, name=name, first=first)
    return frame[frame[TAG].str.strip() != ""]


def _frame(rows: list[tuple[str, ...]], types: Mapping[str, str], *, name: str, first: int) -> pd.DataFrame:
    lines = range(first, first + len(rows))
    text = pd.DataFrame(rows, columns=list(types), index=lines).astype("str")
    return movielens.numbers(text, name=name)


def check_users(users: pd.DataFrame) -> pd.DataFrame:
    """Return `users`, by line of their file, if each is there once with a possible age and gender.

    Raises:
        StudyError: naming line and value.
    """
    return movielens.validated(users, _USERS, "users")


def check_tags(tags: pd.DataFrame, items: pd.DataFrame) -> pd.DataFrame:
    """Return `tags`, by line of their file, if all are of items that there are.

    Raises:
        StudyError: naming line and value.
    """
    tags = movielens.validated(tags, _TAGS, "tags")
    strange = tags[~tags[ITEM].isin(items[ITEM])]
    if len(strange):
        row = strange.iloc[[0]].to_dict("records")[0]
        raise StudyError(
            f"tags line {strange.index[0]}: an item that the file of items does not list: {row}"
            f" ({len(strange)} such lines)"
        )
    return tags

"""Amazon reviews of CDs and vinyl, October 2015 to October 2018 (Ni, Li and McAuley 2019).

The source cuts each customer's history into windows: up to ten items and the one that follows. It gives
those of the later months, which overlap, so that they join to the contiguous end of each history. Of some
customers a beginning is missing. Times are days.
"""

from __future__ import annotations

import ast
import csv
import json
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from dualrec_utils.core.config import GENRE_LIST, ITEM, RATING, TIMESTAMP, TITLE, USER
from dualrec_utils.datasets import tidy
from dualrec_utils.datasets.known import Dataset, Parsed

_WINDOW = 10
# The items of a window -> the one that follows.
_COLUMNS = {
    "item_asins": "item_asin",
    "history_item_title": "item_title",
    "history_rating": "rating",
    "history_timestamp": "timestamp",
}
# What all items are.
_NO_CATEGORY = "CDs & Vinyl"
_CODE = "code"


def histories(windows: Iterator[tuple[str, list[tuple], str]]) -> dict[str, list[tuple]]:
    """Join windows that overlap into one history a customer.

    Args:
        windows: customer, up to eleven purchases in order, and the place in a file, for messages; a
            customer's windows in the order of their last purchases.

    Raises:
        ValueError: naming the place of a window that does not go on where the one before ended.
    """
    joined: dict[str, list[tuple]] = {}
    for user, purchases, place in windows:
        history = joined.setdefault(user, purchases[:-1])
        if history[-_WINDOW:] != purchases[:-1]:
            raise ValueError(f"{place}: the window of {user} does not go on where the one before ended")
        history.append(purchases[-1])
    return joined


def _windows(paths: list[Path]) -> Iterator[tuple[str, list[tuple], str]]:
    for path in paths:
        with path.open(encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream)
            if absent := {"user_id", *_COLUMNS, *_COLUMNS.values()} - set(reader.fieldnames or ()):
                raise ValueError(f"{path.name} lacks the columns {sorted(absent)}")
            for row in reader:
                before = [ast.literal_eval(row[name]) for name in _COLUMNS]
                last = [row[name] for name in _COLUMNS.values()]
                typed = (last[0], last[1], float(last[2]), int(last[3]))
                yield (
                    row["user_id"],
                    [*zip(*before, strict=True), typed],
                    f"{path.name} line {reader.line_num}",
                )


def _parse(path: Path) -> Parsed:
    joined = histories(_windows([path, path.with_name("test.csv")]))
    rows = [(user, *purchase) for user, history in joined.items() for purchase in history]
    bought = pd.DataFrame(rows, columns=[USER, _CODE, TITLE, RATING, TIMESTAMP])
    once = bought.drop_duplicates([USER, _CODE], ignore_index=True)
    ratings = pd.DataFrame(
        {
            USER: tidy.user_numbers(once[USER]),
            ITEM: tidy.item_numbers(once[_CODE]),
            RATING: once[RATING].astype("Float64"),
            TIMESTAMP: once[TIMESTAMP].astype("Int64"),
        }
    )
    named = once.assign(**{ITEM: ratings[ITEM]}).drop_duplicates(ITEM).sort_values(ITEM, ignore_index=True)
    titles, counts = tidy.tidy_titles(named[TITLE], named[_CODE])
    genres = json.loads(path.with_name("sprec_name2genre.json").read_text(encoding="utf-8"))
    # A fragment of a page is the name of several items.
    of_items = [
        [name for name in genres.get(title, ()) if name != _NO_CATEGORY] if tidy.tidy_title(title) else []
        for title in named[TITLE]
    ]
    items = pd.DataFrame(
        {
            ITEM: named[ITEM],
            TITLE: titles.astype("str"),
            GENRE_LIST: of_items,
            _CODE: named[_CODE],
        }
    )
    return Parsed(ratings, items, counts | {"n_repeats_left_out": len(bought) - len(once)})


_R3 = "https://raw.githubusercontent.com/mingyao-huang/R3/2ec299c5ddc261ca8002c5f7717143e75d2f18bf/data"
_SPREC = "https://raw.githubusercontent.com/flora0110/SPRec/cbf27b3a248733dc27c980768b9ca0f94900c1a2"
DATASET = Dataset(
    publisher="GitHub",
    urls={
        "valid.csv": f"{_R3}/valid/CDs_and_Vinyl_5_2015-10-2018-11.csv",
        "test.csv": f"{_R3}/test/CDs_and_Vinyl_5_2015-10-2018-11.csv",
        "sprec_name2genre.json": f"{_SPREC}/eval/CDs_and_Vinyl/name2genre.json",
    },
    sha256={
        "valid.csv": "71a46f1546ab35eacb74a91b859b6c75a199a65ccc2ecfb3c36f6f8b5b8d3acd",
        "test.csv": "944634cd2b9248a4a579f222151c6df140935f56f5ea731cfe4ac21c240e1999",
        "sprec_name2genre.json": "7845172f448f3861fac9dbebfae3abb6c3446c5fd02a5c11c54b4562f6deb6c1",
    },
    files=(("valid.csv", "test.csv", "sprec_name2genre.json"),),
    parsers={"valid.csv": _parse},
    years=(2015, 2018),
    categories=None,
)

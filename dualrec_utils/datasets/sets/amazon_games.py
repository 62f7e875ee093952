"""Amazon reviews of video games (Ni, Li and McAuley 2019), as published with LLMRank.

A row is a customer's history, its last 50 items at most, and the item after it: an order without times and
ratings. The source numbers items in the order in which they first appear, so its numbers are not kept.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from dualrec_utils.core.config import ITEM, POSITION, TITLE, USER
from dualrec_utils.datasets import tidy
from dualrec_utils.datasets.known import Dataset, Parsed

_INTER = {"user_id:token": USER, "item_id_list:token_seq": "before", "item_id:token": "after"}
_ITEM = {"item_id:token": "code", "title:token_seq": TITLE}


def _read(path: Path, columns: dict[str, str]) -> pd.DataFrame:
    frame = pd.read_csv(path, sep="\t", dtype="str", quoting=3, na_filter=False, encoding="utf-8")
    if list(frame) != list(columns):
        raise ValueError(f"{path.name} has the columns {list(frame)}, expected {list(columns)}")
    return frame.rename(columns=columns)


def _parse(path: Path) -> Parsed:
    rows, named = _read(path, _INTER), _read(path.with_name("Games.item"), _ITEM)
    codes = (rows["before"] + " " + rows["after"]).str.split(" ")
    bought = pd.DataFrame({USER: tidy.user_numbers(rows[USER]), "code": codes}).explode("code")
    numbers = dict(zip(named["code"], tidy.item_numbers(named["code"]), strict=True))
    strange = bought[~bought["code"].isin(named["code"])]
    if len(strange):
        raise ValueError(f"{path.name}: item {strange['code'].iloc[0]!r} is not in Games.item")
    ratings = pd.DataFrame(
        {
            USER: bought[USER].to_numpy(),
            ITEM: bought["code"].map(numbers).to_numpy(np.int64),
            POSITION: bought.groupby(USER).cumcount().to_numpy(),
        }
    )
    titles, counts = tidy.tidy_titles(named[TITLE], named["code"])
    items = pd.DataFrame(
        {
            ITEM: named["code"].map(numbers),
            TITLE: titles.astype("str"),
            "code": named["code"],
        }
    )
    return Parsed(ratings, items.sort_values(ITEM, ignore_index=True), counts)


_FOLDER = (
    "https://raw.githubusercontent.com/RUCAIBox/LLMRank/5ec1154cb74cbf68ed5721212f1d7e79336c39c7"
    "/llmrank/dataset/Games-6k"
)
DATASET = Dataset(
    publisher="GitHub",
    urls={
        "Games-6k.test.inter": f"{_FOLDER}/Games-6k.test.inter",
        "Games.item": f"{_FOLDER}/Games-6k.item",
    },
    sha256={
        "Games-6k.test.inter": "b241e4c8a52d2d41530fd073296e8bced4b61753e86ed6c51467c657704bab19",
        "Games.item": "be9cea58a8de4f940a20b0ad6b58bad46b22fd6f9dbc82d1a1902e1c62e96ade",
    },
    files=(("Games-6k.test.inter", "Games.item"),),
    parsers={"Games-6k.test.inter": _parse},
    stars=(),
    years=None,
    categories=None,
)

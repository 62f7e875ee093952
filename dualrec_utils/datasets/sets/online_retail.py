"""UCI Online Retail: invoices of a British gift shop, December 2010 to December 2011.

An interaction is a customer's first purchase of a product. What stands on one invoice has no order.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from dualrec_utils.core.config import ITEM, TIMESTAMP, TITLE, USER
from dualrec_utils.datasets import tidy
from dualrec_utils.datasets.known import Dataset, Parsed

_COLUMNS = ["InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID"]
# Postage, manual entries, carriage, fees.
_NO_PRODUCTS = ("POST", "M", "C2", "DOT", "BANK CHARGES", "PADS")


def _parse(path: Path) -> Parsed:
    lines = pd.read_parquet(path, columns=_COLUMNS)
    left_out = {
        "n_lines_cancelled": lines["InvoiceNo"].str.startswith("C"),
        "n_lines_without_quantity_or_price": (lines["Quantity"] <= 0) | (lines["UnitPrice"] <= 0),
        "n_lines_without_customer": lines["CustomerID"].isna(),
        "n_lines_of_no_product": lines["StockCode"].isin(_NO_PRODUCTS),
    }
    # A line that several rules leave out counts for the first of them.
    out, counts = pd.Series(False, index=lines.index), {}
    for name, rows in left_out.items():
        counts[name] = int((rows & ~out).sum())
        out |= rows
    sold = lines[~out]
    # An invoice may pass a minute; two of one customer in the same minute are one tie.
    seconds = sold["InvoiceDate"].astype("datetime64[s]").astype("int64")
    times = seconds.groupby(sold["InvoiceNo"]).transform("min")
    bought = pd.DataFrame(
        {
            USER: tidy.user_numbers(sold["CustomerID"]),
            ITEM: tidy.item_numbers(sold["StockCode"]),
            TIMESTAMP: times.astype("Int64"),
        }
    )
    once = bought.sort_values([USER, TIMESTAMP, ITEM], kind="stable").drop_duplicates([USER, ITEM])
    # A product's name is written in several ways: the most frequent one, of equals the first by alphabet.
    written = pd.DataFrame(
        {ITEM: bought[ITEM], "code": sold["StockCode"], "as_fetched": sold["Description"]}
    )
    names = written.value_counts().reset_index()
    names = names.sort_values([ITEM, "count", "as_fetched"], ascending=[True, False, True])
    names = names.drop_duplicates(ITEM, ignore_index=True)
    titles, of_titles = tidy.tidy_titles(names["as_fetched"], names["code"])
    items = pd.DataFrame(
        {
            ITEM: names[ITEM],
            TITLE: titles.astype("str"),
            "code": names["code"],
        }
    )
    counts |= {"n_repeats_left_out": len(bought) - len(once)} | of_titles
    return Parsed(once.reset_index(drop=True), items, counts)


_NAME = "online_retail_2010-2011.parquet"
_COMMIT = "WhiteHorse101/OnlineEcommerce/a41b2cc02dd3c0f81b8333bf9687c825f0d42b0f"
DATASET = Dataset(
    publisher="GitHub",
    urls={_NAME: f"https://raw.githubusercontent.com/{_COMMIT}/Data/Raw/online_retail.parquet"},
    sha256={_NAME: "399de155a1c07e4bc89d8ef4f75d619c70a6b4ed39cc76ea54d56c2c939fb72b"},
    files=((_NAME,),),
    parsers={_NAME: _parse},
    stars=(),
    years=(2010, 2011),
    categories=None,
)

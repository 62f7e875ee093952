"""What parsers of shops' data share: titles out of web pages, numbers for ids that are text."""

from __future__ import annotations

import hashlib
import html
import re
import unicodedata

import pandas as pd

# Pieces of a page, the last of them often cut off: `<span class="a-size-medium`.
_TAG = re.compile(r"</?(?:a|b|br|div|em|font|i|img|li|p|span|strong|td|u)\b[^<>]*(?:>|$)", re.IGNORECASE)


def tidy_title(text: str) -> str:
    """A title without HTML tags and entities, invisible characters and double spaces.

    >>> tidy_title("Bluenote Caf&eacute;  &lrm;&ndash; <b>Live</b> ")
    'Bluenote Café – Live'
    """
    plain = html.unescape(_TAG.sub(" ", text))
    return " ".join("".join(one for one in plain if unicodedata.category(one) != "Cf").split())


def tidy_titles(titles: pd.Series, codes: pd.Series) -> tuple[pd.Series, dict[str, int]]:
    """:func:`tidy_title` of all items; one of which nothing is left says the item's code.

    Such an item is kept, because people did take it: models that know ids alone lose nothing.

    Args:
        titles: text, one an item.
        codes: what the source calls the items, likewise.

    Returns:
        (titles, counts): how many held entities, and how many say their code.
    """
    tidy = titles.map(tidy_title)
    nameless = tidy == ""
    counts = {
        "n_titles_with_html_entities": int((titles != titles.map(html.unescape)).sum()),
        "n_titles_replaced_by_code": int(nameless.sum()),
    }
    return tidy.mask(nameless, "Untitled " + codes.astype("str")), counts


def user_numbers(codes: pd.Series) -> pd.Series:
    """Numbers from 1 for users, by their codes in sorted order: the seed of the split shuffles them."""
    return codes.rank(method="dense").astype("int64")


def item_numbers(codes: pd.Series) -> pd.Series:
    """Numbers from 1 for items, by the SHA-256 of their codes.

    Codes often rise with the time at which an item came first. Where the study settles a tie by the lowest
    number, as at the edge of the catalog, these are a draw that knows nothing of it.

    Args:
        codes: text, of any rows.
    """
    hashes = {code: hashlib.sha256(code.encode()).digest() for code in codes.unique()}
    numbers = {code: number for number, code in enumerate(sorted(hashes, key=hashes.get), start=1)}
    return codes.map(numbers).astype("int64")

"""How well titles are matched: precision and recall on titles that are changed by rule."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from dualrec_utils.core import config, files
from dualrec_utils.core.catalog import title_with_year
from dualrec_utils.core.config import ITEM, TITLE, YEAR
from dualrec_utils.core.titles import named_as, normal_form
from dualrec_utils.models.language.matching import TitleMatcher, names_of_title, spelt, split_year

_SWAPS = (("&", "and"), ("Dr.", "Doctor"), ("Mr.", "Mister"), ("vs.", "versus"), ("St.", "Saint"))
_SWAPS += (
    ("II", "2"),
    ("III", "3"),
    ("IV", "4"),
    ("VI", "6"),
    ("Two", "2"),
    ("Four", "4"),
    ("Twelve", "12"),
)
_NUMERAL = re.compile(r"\b(?:II|III|IV|V|VI|\d)\b")


def misspelt(title: str, rng: np.random.Generator) -> str:
    """A title of which one letter is dropped, doubled or swapped with the next."""
    letters = [i for i, character in enumerate(title[:-1]) if character.isalpha()]
    if not letters:
        return title
    at, kind = int(rng.choice(letters)), int(rng.integers(3))
    middle = ("", title[at] * 2, title[at + 1] + title[at])[kind]
    return title[:at] + middle + title[at + (2 if kind == 2 else 1) :]


def outsiders(dataset: str, items: pd.DataFrame) -> pd.DataFrame:
    """The items of a data set whose title, with its year, is not one of the catalog's.

    Args:
        dataset: whose stage `data` wrote all items.
        items: the catalog.
    """
    raw = files.read_parquet_of("data", config.processed_dir(dataset) / "items_raw.parquet")
    known = set(map(title_with_year, items[TITLE], items[YEAR]))
    return raw[[name not in known for name in map(title_with_year, raw[TITLE], raw[YEAR])]]


def usual_names(items: pd.DataFrame, *, seed: int) -> pd.DataFrame:
    """Other ways to write the catalog's titles, which must be matched.

    Args:
        items: catalog with `item_id`, `title`, `year`.
        seed: of the letters and names chosen.

    Returns:
        Frame with `kind`, `text`, `item_id` (the right answer). A kind has the titles that it changes.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for item, title, year in items.sort_values(ITEM)[[ITEM, TITLE, YEAR]].itertuples(index=False):
        main, *aliases = named_as(title)
        in_order = re.sub(r"^(.*), (The|An?)$", r"\2 \1", main)
        beginning, colon, _ = main.partition(": ")
        swapped = main
        for one, other in _SWAPS:
            swapped = re.sub(rf"(?<!\S){re.escape(one)}(?!\S)", other, swapped)
        series = named_as(items[TITLE].iloc[rng.integers(len(items))])[0]
        changed = {
            "no year": title,
            "year off by one": title_with_year(title, year + rng.choice([-1, 1])),
            "article in front": title_with_year(in_order, year),
            "no article": title_with_year(re.sub(r"^(The|An?) ", "", in_order), year),
            "no accents, case or punctuation": title_with_year(normal_form(main), year),
            "numbers and abbreviations": title_with_year(swapped, year),
            "alternative title": title_with_year(aliases[0] if aliases else title, year),
            "subtitle cut": title_with_year(beginning if colon else title, year),
            "series in front": title_with_year(f"{series}: {in_order}", year),
            "one typo": title_with_year(misspelt(title, rng), year),
        }
        written = title_with_year(title, year)
        rows += [("as written", written, item)]
        rows += [(kind, text, item) for kind, text in changed.items() if text != written]
    return pd.DataFrame(rows, columns=["kind", "text", ITEM])


def near_names(items: pd.DataFrame, strangers: pd.DataFrame, *, seed: int) -> pd.DataFrame:
    """Names near those of the catalog that are other items, which must be refused.

    Args:
        items: catalog with `item_id`, `title`, `year`.
        strangers: items outside the catalog with `title`, `year`, from :func:`outsiders`.
        seed: of the letters and words chosen.

    Returns:
        Frame with `kind`, `text`, and `item_id`, which is null. A kind has the titles that it changes; what
        comes out as a name of the catalog is left out.
    """
    rng = np.random.default_rng(seed)
    names = {name for title in items[TITLE] for name in names_of_title(title)}
    long_words = sorted(
        {word for title in items[TITLE] for word in title.split() if word.isalpha() and len(word) > 4}
    )
    rows = []
    for title, year in items.sort_values(ITEM)[[TITLE, YEAR]].itertuples(index=False):
        main = re.sub(r"^(.*), (The|An?)$", r"\2 \1", named_as(title)[0])
        words = main.split()
        long = [place for place, word in enumerate(words) if word in long_words]
        part = _NUMERAL.sub("7", main)
        part = f"{main} {rng.choice(['2', 'II', 'Part II', '3'])}" if part == main else part
        # In a catalog of short words there is none to add or to exchange.
        added, exchanged = map(str, rng.choice(long_words, 2)) if long_words else ("", "")
        changed = [("another part", title_with_year(part, year)), ("another part, no year", part)]
        if added and len(words) > 2:
            at = int(rng.integers(1, len(words) - 1))
            text = " ".join([*words[:at], added, *words[at:]])
            changed += [("word added", title_with_year(text, year))]
        if long and len(words) > 1:
            text = " ".join([*words[: long[-1]], exchanged, *words[long[-1] + 1 :]])
            changed += [("word exchanged", title_with_year(text, year))]
        if sum(word not in ("the", "a", "an") for word in spelt(main).split()) == 1:
            at = int(rng.integers(len(words[-1])))
            letter = str(rng.choice(list("abcdefghijklmnoprstuvwxyz")))
            text = " ".join([*words[:-1], words[-1][:at] + letter + words[-1][at + 1 :]])
            changed += [("letter of one word changed", title_with_year(text, year))]
        if not pd.isna(year):
            changed += [("another year", title_with_year(title, year + 5))]
        rows += [
            (kind, text)
            for kind, text in changed
            if kind == "another year" or spelt(split_year(text)[0]) not in names
        ]
    for title, year in strangers[[TITLE, YEAR]].itertuples(index=False):
        rows += [("not in catalog", title_with_year(title, year)), ("not in catalog, no year", title)]
    return pd.DataFrame(rows, columns=["kind", "text"]).assign(
        **{ITEM: pd.array([pd.NA] * len(rows), "Int64")}
    )


def measure(matcher: TitleMatcher, texts: pd.DataFrame) -> pd.DataFrame:
    """What a matcher makes of texts whose right answer is known.

    Args:
        texts: frame from :func:`usual_names` or :func:`near_names`, or both together.

    Returns:
        Indexed by kind: `n`, and the shares of `right` (matched to the right item; refused, for a text
        that names none), `wrong` (matched to a wrong item) and `refused`.
    """
    said = pd.Series([matcher.match(text) for text in texts["text"]], index=texts.index, dtype="Int64")
    frame = pd.DataFrame({"kind": texts["kind"], "refused": said.isna()})
    same = (said == texts[ITEM]).fillna(False).astype(bool)
    frame["right"] = np.where(texts[ITEM].isna(), said.isna(), same)
    frame["wrong"] = ~frame["right"] & ~frame["refused"]
    groups = frame.groupby("kind", sort=False)
    return pd.concat([groups.size().rename("n"), groups[["right", "wrong", "refused"]].mean()], axis=1)


def precision_recall(usual: pd.DataFrame, near: pd.DataFrame) -> tuple[float, float]:
    """Precision and recall of the matches made, over all kinds of text together.

    Args:
        usual, near: tables of :func:`measure`.

    Returns:
        (right matches / all matches made, those of near names included, 1 where none is made; right
        matches / texts that name a catalog item).

    Raises:
        ValueError: when no text names a catalog item.
    """
    right = (usual["n"] * usual["right"]).sum()
    made = right + sum((table["n"] * table["wrong"]).sum() for table in (usual, near))
    if not usual["n"].sum():
        raise ValueError("no text names an item of the catalog: there is nothing to recall")
    return (float(right / made) if made else 1.0), float(right / usual["n"].sum())

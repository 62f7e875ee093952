"""How well titles are matched: precision and recall on titles that were changed on purpose."""

from __future__ import annotations

import numpy as np
import pandas as pd

from dualrec_utils.core import config, files
from dualrec_utils.core.catalog import title_with_year
from dualrec_utils.core.config import ITEM, TITLE, YEAR
from dualrec_utils.models.language.matching import TitleMatcher


def _typo(title: str, rng: np.random.Generator) -> str:
    """Drop, double or swap one letter."""
    letters = [i for i, character in enumerate(title[:-1]) if character.isalpha()]
    if not letters:
        return title
    at, kind = int(rng.choice(letters)), int(rng.integers(3))
    middle = ("", title[at] * 2, title[at + 1] + title[at])[kind]
    return title[:at] + middle + title[at + (2 if kind == 2 else 1) :]


def _drop_word(title: str, rng: np.random.Generator) -> str:
    words = title.split()
    return title if len(words) < 2 else " ".join(np.delete(words, rng.integers(len(words))))


def outsiders(dataset: str, items: pd.DataFrame) -> pd.DataFrame:
    """The movies of a data set whose title, with its year, is not one of the catalog's.

    Args:
        dataset: whose stage `data` wrote all movies.
        items: the catalog.
    """
    movies = files.read_parquet_of("data", config.processed_dir(dataset) / "items_raw.parquet")
    known = set(map(title_with_year, items[TITLE], items[YEAR]))
    return movies[[name not in known for name in map(title_with_year, movies[TITLE], movies[YEAR])]]


def perturbed_titles(items: pd.DataFrame, strangers: pd.DataFrame, *, seed: int) -> pd.DataFrame:
    """Test texts for the matcher: catalog titles written carelessly, and titles it must refuse.

    Args:
        items: catalog with `item_id`, `title`, `year`.
        strangers: movies outside the catalog with `title`, `year`, from :func:`outsiders`.
        seed: of the letters and words chosen.

    Returns:
        Frame with `kind`, `text`, `item_id` (the right answer; null for outsiders).
    """
    rng = np.random.default_rng(seed)
    rows = []
    for item, title, year in items.sort_values(ITEM)[[ITEM, TITLE, YEAR]].itertuples(index=False):
        twice = _typo(_typo(title, rng), rng)
        rows += [
            ("as written", title_with_year(title, year), item),
            ("no year", title, item),
            ("one typo", title_with_year(_typo(title, rng), year), item),
            ("two typos", title_with_year(twice, year), item),
            ("word dropped", title_with_year(_drop_word(title, rng), year), item),
            ("typo, no year", _typo(title, rng), item),
        ]
    for title, year in strangers[[TITLE, YEAR]].itertuples(index=False):
        rows += [
            ("not in catalog", title_with_year(title, year), None),
            ("not in catalog, no year", title, None),
        ]
    return pd.DataFrame(rows, columns=["kind", "text", ITEM]).astype({ITEM: "Int64"})


def measure_thresholds(
    items: pd.DataFrame, texts: pd.DataFrame, *, thresholds: list[float]
) -> pd.DataFrame:
    """How well a threshold tells right from wrong on known texts.

    Args:
        items: the catalog.
        texts: frame from :func:`perturbed_titles`.
        thresholds: values to try.

    Returns:
        One row a (threshold, kind) with `n`, `right` (share matched to the right movie; for titles
        outside the catalog the share refused), `wrong` (share matched to a wrong movie) and `refused`.
    """
    rows = []
    for threshold in thresholds:
        matcher = TitleMatcher(items, threshold=threshold)
        found = pd.array([matcher.match(text) for text in texts["text"]], dtype="Int64")
        refused = pd.Series(found).isna().to_numpy()
        same = (pd.Series(found) == texts[ITEM].reset_index(drop=True)).fillna(False).to_numpy(bool)
        right = np.where(texts[ITEM].isna(), refused, same)
        frame = pd.DataFrame({"kind": texts["kind"].to_numpy(), "right": right, "refused": refused})
        frame["wrong"] = ~frame["right"] & ~frame["refused"]
        shares = frame.groupby("kind", sort=False).agg(
            n=("right", "size"),
            right=("right", "mean"),
            wrong=("wrong", "mean"),
            refused=("refused", "mean"),
        )
        rows.append(shares.reset_index().assign(threshold=threshold))
    table = pd.concat(rows, ignore_index=True)
    return table[["threshold", "kind", "n", "right", "wrong", "refused"]]


def precision_recall(thresholds: pd.DataFrame, *, outside: str = "not in catalog") -> pd.DataFrame:
    """Precision and recall of the matches made at each threshold, over all kinds of text together.

    Args:
        thresholds: table from :func:`measure_thresholds`.
        outside: beginning of the kinds of text that name no movie of the catalog.

    Returns:
        One row a threshold: `precision` (right matches / all matches made, those of outsiders included;
        1 where none is made), `recall` (right matches / texts that name a catalog movie), `n_matches`
        and `n_texts`.

    Raises:
        ValueError: when no text names a catalog movie.
    """
    inside = ~thresholds["kind"].str.startswith(outside)
    counts = pd.DataFrame(
        {
            "threshold": thresholds["threshold"],
            "n_texts": thresholds["n"].where(inside, 0),
            # For outsiders `right` is the share refused, which is no match.
            "right": (thresholds["n"] * thresholds["right"]).where(inside, 0).round(),
            "n_matches": (thresholds["n"] * (1 - thresholds["refused"])).round(),
        }
    )
    sums = counts.groupby("threshold", sort=False).sum().astype(int).reset_index()
    if (sums["n_texts"] == 0).any():
        raise ValueError("no text names a movie of the catalog: there is nothing to recall")
    sums["precision"] = (sums["right"] / sums["n_matches"]).where(sums["n_matches"] > 0, 1.0)
    sums["recall"] = sums["right"] / sums["n_texts"]
    return sums[["threshold", "precision", "recall", "n_matches", "n_texts"]]

"""From a title as text to a movie of the catalog.

A title matches exactly on a normal form, else by rapidfuzz' normalised indel similarity above a
threshold. A year, where the text gives one, must agree within one: release dates differ by country.
"""

from __future__ import annotations

import re
import unicodedata

import numpy as np
import pandas as pd
from rapidfuzz import fuzz, process

from dualrec_utils.config import ITEM, TITLE, YEAR
from dualrec_utils.prompts import title_with_year

_YEAR = re.compile(r"[(\[]\s*((?:18|19|20)\d\d)\s*[)\]]")
_ALIAS = re.compile(r"\(([^()]*)\)")
_ARTICLES = "the|a|an|la|le|les|l'|il|lo|gli|das|der|die|det|el|los|las|o"
_TRAILING_ARTICLE = re.compile(rf"^(.*),\s*({_ARTICLES})$")
YEAR_TOLERANCE = 1


def split_year(text: str) -> tuple[str, int | None]:
    """Cut a text at its first bracketed year: what stands before it, and the year.

    >>> split_year("Matrix, The (1999) (Action, Sci-Fi)")
    ('Matrix, The', 1999)
    """
    match = _YEAR.search(text)
    return (text[: match.start()].strip(), int(match[1])) if match else (text.strip(), None)


def normal_form(title: str) -> str:
    """Lower case, accents and punctuation gone, a trailing article moved to the front.

    >>> normal_form("Matrix, The"), normal_form("Les Misérables"), normal_form("M*A*S*H")
    ('the matrix', 'les miserables', 'mash')
    """
    text = unicodedata.normalize("NFKD", title).casefold().replace("’", "'").replace("&", " and ")
    text = "".join(character for character in text if not unicodedata.combining(character)).strip()
    text = _TRAILING_ARTICLE.sub(r"\2 \1", text)
    # Within a word punctuation vanishes (mash, dont); between words it is a space.
    text = re.sub(r"(?<=\w)['.*](?=\w|$)", "", text)
    return " ".join(re.sub(r"[^\w]+|_", " ", text).split())


def names_of_title(title: str) -> list[str]:
    """Normal forms a title goes by: whole, without its bracketed alias, and the alias alone.

    >>> names_of_title("Tin Drum, The (Blechtrommel, Die)")
    ['the tin drum die blechtrommel', 'the tin drum', 'die blechtrommel']
    """
    main = normal_form(_ALIAS.sub(" ", title))
    aliases = [normal_form(alias) for alias in _ALIAS.findall(title)]
    names = [" ".join([main, *aliases]), main, *aliases]
    return [name for name in dict.fromkeys(names) if name]


class TitleMatcher:
    """Matches texts to the movies of one catalog.

    Args:
        items: catalog with `item_id`, `title`, `year`.
        threshold: least similarity of an inexact match, 0 to 100 (101 switches inexact matches off).
    """

    def __init__(self, items: pd.DataFrame, *, threshold: float):
        self.threshold = threshold
        rows = [
            (name, int(item), None if pd.isna(year) else int(year))
            for item, title, year in items.sort_values(ITEM)[[ITEM, TITLE, YEAR]].itertuples(index=False)
            for name in names_of_title(title)
        ]
        self._names = [row[0] for row in rows]
        self._items = np.array([row[1] for row in rows], dtype=np.int64)
        self._years = np.array([np.nan if row[2] is None else row[2] for row in rows], dtype=float)

    def match(self, text: str) -> int | None:
        """The movie a text names, or None.

        Args:
            text: a title, with or without a year in brackets; what follows the year is ignored.

        Returns:
            `item_id`. Among equally good names the nearest year wins, then the lowest `item_id` (a
            remake named without its year cannot be told apart).
        """
        title, year = split_year(text)
        wanted = names_of_title(title)
        if not wanted:
            return None
        distance = np.zeros(len(self._names)) if year is None else np.abs(self._years - year)
        # A catalog movie without a year agrees with every year, after those that have one.
        distance = np.where(np.isnan(distance), YEAR_TOLERANCE, distance)
        rows = np.flatnonzero(distance <= YEAR_TOLERANCE)
        names = [self._names[row] for row in rows]
        exact = [row for row, name in zip(rows, names, strict=True) if name in wanted]
        if exact:
            return int(min((distance[row], self._items[row]) for row in exact)[1])
        scores = process.cdist(wanted[:1], names, scorer=fuzz.ratio)[0] if names else np.zeros(0)
        if not len(scores) or scores.max() < self.threshold:
            return None
        best = rows[scores == scores.max()]
        return int(min((distance[row], self._items[row]) for row in best)[1])


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


def perturbed_titles(items: pd.DataFrame, outsiders: pd.DataFrame, *, seed: int) -> pd.DataFrame:
    """Test texts for the matcher: catalog titles written carelessly, and titles it must refuse.

    Args:
        items: catalog with `item_id`, `title`, `year`.
        outsiders: movies outside the catalog with `title`, `year`.
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
    for title, year in outsiders[[TITLE, YEAR]].itertuples(index=False):
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

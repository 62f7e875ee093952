"""Has a language model seen the data? Two probes for models trained on the web.

Records: shown consecutive lines of a MovieLens file, does the model write the next one to the letter? The
same lines with permuted ids are the control: no file holds them, so what is right there is a guess. Di
Palma et al. (2025), "Do LLMs Memorize Recommendation Datasets? A Preliminary Study on MovieLens-1M",
arXiv 2505.10212, find that the models they try hold part of MovieLens 1M.

Years: given a title, does the model name its release year? Titles after a model's cut-off should be
unknown to it. MovieLens 100K and 1M end in 2000, before the cut-off of any model on the web, so here the
probe shows what is known; a frame of later titles shows where knowledge ends.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from dualrec_utils.core import config, files
from dualrec_utils.core.catalog import title_with_year
from dualrec_utils.core.config import GENRE_LIST, ITEM, RATING, TIMESTAMP, TITLE, USER, YEAR
from dualrec_utils.core.errors import StudyError

# How a line of a data set's files looks, as :mod:`datasets.known` describes it and stage `data` leaves it.
LineFormat = Mapping[str, str]
_RECORDS = (
    "These lines follow each other in the file {file} of the MovieLens data. Write the next line only."
)
_YEARS = "Each line holds a movie and the year of its release. Complete the last line."
_YEAR_WRITTEN = re.compile(r"(?:18|19|20)\d\d")
_N_EXAMPLES = 3


class Ask(Protocol):
    """Prompts to answers, one each, in order.

    `functools.partial(generate, model, tokenizer, max_new_tokens=40, batch_size=32, answer_prefix="",
    n_lines=1)` is one, with :func:`models.language.generation.generate`.
    """

    def __call__(self, prompts: Sequence[str], *, label: str) -> list[str]: ...


def load_raw(dataset: str) -> tuple[pd.DataFrame, pd.DataFrame, LineFormat]:
    """(items, ratings, line format) of a data set as fetched, ratings in their file's own order."""
    folder = config.processed_dir(dataset)
    items, ratings = (
        files.read_parquet_of("data", folder / f"{name}.parquet")
        for name in ("items_raw", "ratings_as_fetched")
    )
    return items, ratings, files.read_json(folder / "line_format.json")


def item_lines(items: pd.DataFrame, *, line_format: LineFormat) -> list[str]:
    """The items as the data set's own file has them, in the order of `items`.

    >>> items = pd.DataFrame({"item_id": [1], "title": "Heat", "year": 1995, "genres": [["Crime", "War"]]})
    >>> item_lines(items, line_format={"item_separator": "|", "genre_separator": ""})
    ['1|Heat (1995)']
    >>> item_lines(items, line_format={"item_separator": "::", "genre_separator": "|"})
    ['1::Heat (1995)::Crime|War']
    """
    separator, between_genres = line_format["item_separator"], line_format["genre_separator"]
    lines = []
    for item, title, year, genres in items[[ITEM, TITLE, YEAR, GENRE_LIST]].itertuples(index=False):
        fields = [str(item), title_with_year(title, year)]
        if between_genres:
            fields.append(between_genres.join(genres))
        lines.append(separator.join(fields))
    return lines


def rating_lines(ratings: pd.DataFrame, *, line_format: LineFormat) -> list[str]:
    """The ratings as the data set's own file has them: user, item, stars, time, in the order of `ratings`.

    Raises:
        StudyError: when values are missing, as in the order file that stands in for ml-1m's ratings.
    """
    separator = line_format["rating_separator"]
    columns = ratings[[USER, ITEM, RATING, TIMESTAMP]]
    if columns.isna().any(axis=None):
        raise StudyError(
            "the ratings lack stars or times, so their file cannot be written out: leave the ratings out of"
            " the probe, or use the original ratings file"
        )
    # Where there are half stars, MovieLens writes whole ones as 4.0.
    stars = columns[RATING].astype(float)
    text = columns.drop(columns=RATING).astype("int64").astype(str)
    text[RATING] = stars.map("{:.0f}".format if (stars % 1 == 0).all() else "{:.1f}".format)
    return [separator.join(row) for row in text[list(columns)].itertuples(index=False)]


def with_permuted_ids(frame: pd.DataFrame, *, seed: int) -> pd.DataFrame:
    """The same rows with the items' ids dealt out anew, each id to one item: the control."""
    ids = np.sort(frame[ITEM].unique())
    dealt = dict(zip(ids, np.random.default_rng(seed).permutation(ids), strict=True))
    return frame.assign(**{ITEM: frame[ITEM].map(dealt)})


def continuations(
    lines: Sequence[str], ask: Ask, *, file: str, n_shown: int, n_probes: int, seed: int, label: str
) -> pd.DataFrame:
    """Show runs of lines and compare what follows with the next one.

    Args:
        lines: a file's lines, in its order.
        file: its name, told to the model.
        n_shown: consecutive lines shown. n_probes: places in the file, drawn with `seed`, at most as many
            as there are.

    Returns:
        One row a place: `place` (number of the line asked for, from 0), `expected`, `answer`, `verbatim`
        (the answer's first line is the expected one to the letter, spaces around it apart).

    Raises:
        StudyError: when the file is too short to ask for a line.
    """
    if len(lines) <= n_shown:
        raise StudyError(f"{file} has {len(lines)} lines; more than the {n_shown} shown are needed")
    places = np.arange(n_shown, len(lines))
    chosen = np.random.default_rng(seed).choice(places, size=min(n_probes, len(places)), replace=False)
    chosen.sort()
    head = _RECORDS.format(file=file)
    prompts = [head + "\n\n" + "\n".join(lines[at - n_shown : at]) + "\n" for at in chosen]
    answers = ask(prompts, label=label)
    expected = [lines[at] for at in chosen]
    verbatim = [_first_line(text) == line for text, line in zip(answers, expected, strict=True)]
    return pd.DataFrame(
        {
            "place": chosen,
            "expected": expected,
            "answer": answers,
            "verbatim": np.array(verbatim, dtype=bool),
        }
    )


def _first_line(answer: str) -> str:
    """The first line that is not empty; its inner tabs and spaces stay."""
    return next((line.strip() for line in answer.splitlines() if line.strip()), "")


def probe_records(
    items: pd.DataFrame,
    ratings: pd.DataFrame | None,
    ask: Ask,
    *,
    line_format: LineFormat,
    n_shown: int = 10,
    n_probes: int = 100,
    seed: int,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Can the model continue the data set's files?

    Args:
        items, ratings, line_format: from :func:`load_raw`; None in the place of ratings leaves them out.
        ask: the model.
        n_shown, n_probes: see :func:`continuations`. seed: of places and permuted ids.

    Returns:
        (table, answers): the table has one row a file and kind of ids (`ids` is `as published` or
        `permuted`) with `n`, `verbatim` (share) and its 95% Wilson interval `low`, `high`; the answers are
        those of :func:`continuations` with the same two columns. Both are empty without a line format.
    """
    if not line_format:
        # Its files have no lines of items and ratings to go on with.
        return pd.DataFrame(columns=["file", "ids", "n", "verbatim", "low", "high"]), pd.DataFrame()
    # Permuted ids do not follow each other, so the lines keep the order of the items.
    sources = [(line_format["items_file"], items, item_lines)]
    if ratings is not None:
        sources.append((line_format["ratings_file"], ratings, rating_lines))
    parts = []
    for file, frame, write in sources:
        for ids, rows in (("as published", frame), ("permuted", with_permuted_ids(frame, seed=seed))):
            lines = write(rows, line_format=line_format)
            shape = {"file": file, "n_shown": n_shown, "n_probes": n_probes, "seed": seed}
            continued = continuations(lines, ask, **shape, label=f"{file}, ids {ids}")
            parts.append(continued.assign(file=file, ids=ids))
    answers = pd.concat(parts, ignore_index=True)
    table = (
        answers.groupby(["file", "ids"], sort=False)["verbatim"].agg(n="size", right="sum").reset_index()
    )
    return _with_interval(table, "verbatim"), answers


def probe_years(
    items: pd.DataFrame, ask: Ask, *, n_titles: int = 200, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Does the model know the years of titles?

    Three other items with their years stand before each title, so that a model without instruction
    tuning sees what is wanted.

    Args:
        items: items with `title` and `year`; those without a year are left out.
        ask: the model.
        n_titles: titles asked about, drawn with `seed`, at most as many as there are.

    Returns:
        (table, answers): the table has one row a decade of release, newest last, and one for `all`, with
        `n`, `exact` (share of right years) with its 95% Wilson interval `low`, `high`, `within_one` (at
        most a year off) and `chance` (share of the decade's most common year: the best that one answer
        to every question can do). The answers have one row a title with `answered`, missing where no
        year was written.

    Raises:
        StudyError: with fewer than four dated items.
    """
    dated = items[items[YEAR].notna()].sort_values(ITEM, ignore_index=True)
    if len(dated) <= _N_EXAMPLES:
        raise StudyError(f"{len(dated)} items have a year; at least {_N_EXAMPLES + 1} are needed")
    order = np.random.default_rng(seed).permutation(len(dated))
    examples, probed = dated.iloc[order[:_N_EXAMPLES]], dated.iloc[order[_N_EXAMPLES:][:n_titles]]
    shown = [f"- {title_with_year(*row)}" for row in examples[[TITLE, YEAR]].itertuples(index=False)]
    prompts = ["\n".join([_YEARS, "", *shown, f"- {title}"]) for title in probed[TITLE]]
    answers = probed[[ITEM, TITLE, YEAR]].reset_index(drop=True)
    answers["answer"] = ask(prompts, label="years of titles")
    answers["answered"] = pd.array([_year_in(text) for text in answers["answer"]], dtype="Int64")
    off = (answers["answered"] - answers[YEAR]).abs().fillna(10_000)
    answers["right"], answers["near"] = (off == 0).astype(bool), (off <= 1).astype(bool)
    decades = (answers[YEAR] // 10 * 10).astype(str) + "s"
    return _years_table(answers, decades), answers


def _year_in(answer: str) -> int | None:
    """The first year in the first line of an answer."""
    year = _YEAR_WRITTEN.search(_first_line(answer))
    return int(year[0]) if year else None


def _years_table(answers: pd.DataFrame, decades: pd.Series) -> pd.DataFrame:
    groups = [(decade, answers[decades == decade]) for decade in sorted(decades.unique())]
    rows = [
        {
            "released": name,
            "n": len(group),
            "right": int(group["right"].sum()),
            "within_one": float(group["near"].mean()),
            "chance": float(group[YEAR].value_counts(normalize=True).max()),
        }
        for name, group in [*groups, ("all", answers)]
    ]
    table = _with_interval(pd.DataFrame(rows), "exact")
    return table[["released", "n", "exact", "low", "high", "within_one", "chance"]]


def _with_interval(table: pd.DataFrame, share: str) -> pd.DataFrame:
    """Replace the count `right` of `n` by a share with its 95% Wilson interval."""
    intervals = [
        binomtest(int(right), int(n)).proportion_ci(method="wilson")
        for right, n in zip(table["right"], table["n"], strict=True)
    ]
    table = table.assign(**{share: table["right"] / table["n"]})
    table = table.assign(low=[one.low for one in intervals], high=[one.high for one in intervals])
    return table.drop(columns="right")

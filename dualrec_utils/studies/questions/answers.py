"""Reading the answers to replaced suggestions: copied, corrected, or passed over, and what it costs.

Answers come from :mod:`studies.questions.suggestions`. A title is copied when its normal form is that
of the suggestion's text, so that a title with typos counts as copied only with the same typos.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from dualrec_utils.core import evaluation, metrics, predictions
from dualrec_utils.core.catalog import Catalog
from dualrec_utils.core.config import CASE, ITEM, RANK, TEXT, USER
from dualrec_utils.core.errors import StudyError
from dualrec_utils.core.titles import normal_form
from dualrec_utils.models.language import answers as responses
from dualrec_utils.models.language.matching import TitleMatcher, split_year
from dualrec_utils.studies.questions.settings import compared, pieces_dir

KIND, PROMPT, ANSWER = "kind", "prompt", "answer"
AS_IS, NONE = "lstm", "none"
# What stands in the prompt's line, in words; the first is the study's own.
KINDS = {
    AS_IS: "the LSTM's movie, as is",
    NONE: "no suggestion",
    "unpopular": "a little-known movie",
    "other_genres": "a movie of other genres",
    "watched": "a movie already rated",
    "typos": "the LSTM's movie, two typos",
    "corrupted": "the LSTM's movie, letters replaced",
    "invented": "an invented title",
}
QUALITY = ("hit_rate@1", "hit_rate@5", "valid")
FOLLOWED = ("copied_first", "copied", "corrected", "near")


def read(system: str) -> pd.DataFrame:
    """What a system was asked and answered: `case_id`, `kind`, `item_id`, `text`, `prompt`, `answer`.

    Raises:
        StudyError: when it has not been asked.
    """
    path = pieces_dir("suggestions") / f"{system}.parquet"
    if not path.is_file():
        raise StudyError(f"{path} is not there: run `make questions`, which makes every piece")
    return pd.read_parquet(path)


def _form(title: str) -> str:
    return normal_form(split_year(title)[0])


def judged(
    answered: pd.DataFrame,
    cases: pd.DataFrame,
    targets: pd.Series,
    catalog: Catalog,
    *,
    hints: pd.Series,
    matcher: TitleMatcher,
    seed: int,
    n_titles: int,
) -> pd.DataFrame:
    """Per-case values of every kind of suggestion.

    Args:
        answered: `case_id`, `kind`, `item_id`, `text`, `answer`; each kind for every row of `cases`, one of
            them :data:`NONE`.
        cases, targets, catalog: as :func:`core.evaluation.score_lists`.
        hints: `case_id` -> the LSTM's item.
        matcher: text to item. seed: written into the lists. n_titles: titles asked for.

    Returns:
        `kind`, `case_id`, `user_id` and values in [0, 1]: `hit_rate@1`, `hit_rate@5` (of a list of three,
        items of the history left out), `valid` (share of the titles asked for that are items of the
        catalog); `copied_first` and `copied` (the first title, any title is the suggestion's text),
        `corrected` (a title is the LSTM's item, rightly spelt), `near` (mean genre Jaccard of the titles'
        items with the suggested one; for a text that is no item, with the LSTM's), and the same four of
        the same model's answer to the prompt without a suggestion, ending in `_anyway`: what it names
        whatever is suggested. For :data:`NONE` the LSTM's item stands in as the suggestion.
    """
    hinted = pd.Series({case: hints[case] for case in cases[CASE]})
    reading = {"seed": seed, "limit": n_titles}
    unprompted = answered[answered[KIND] == NONE].set_index(CASE)[ANSWER].loc[cases[CASE]]
    bare, _ = responses.answers_to_predictions(list(unprompted), cases, matcher, **reading)
    frames = []
    for kind, part in answered.groupby(KIND, sort=False):
        part = part.set_index(CASE).loc[cases[CASE]]
        lists, counts = responses.answers_to_predictions(list(part[ANSWER]), cases, matcher, **reading)
        frame = evaluation.score_lists(predictions.drop_seen(lists, cases), cases, targets, catalog)
        wrong = counts[["n_cut", "n_unparsable", "n_unmatched"]].sum(axis=1).to_numpy()
        texts, items = part[TEXT].fillna(hinted.map(catalog.names)), part[ITEM].fillna(hinted)
        said = pd.DataFrame({"text": texts, "item": items, "hint": hinted})
        frames.append(
            frame[[CASE, USER, "hit_rate@1", "hit_rate@5"]]
            .assign(valid=1 - wrong / n_titles, **{KIND: kind})
            .merge(_followed(lists, said, catalog), left_on=CASE, right_index=True)
            .merge(_followed(bare, said, catalog).add_suffix("_anyway"), left_on=CASE, right_index=True)
        )
    return pd.concat(frames, ignore_index=True)


def _followed(lists: pd.DataFrame, said: pd.DataFrame, catalog: Catalog) -> pd.DataFrame:
    """The columns of :data:`FOLLOWED` of every case, by `case_id`.

    Args:
        said: by `case_id`, `text` and `item` of the suggestion, and `hint`, the LSTM's item.
    """
    names, genres, rows = catalog.names, catalog.categories, {}
    by_case = dict(tuple(lists.sort_values([CASE, RANK]).groupby(CASE)))
    for row in said.itertuples():
        entries = by_case.get(row.Index, lists.iloc[:0])
        titles = [_form(title) for title in entries[TEXT]]
        near = [metrics.genre_jaccard(genres[item], genres[row.item]) for item in entries[ITEM].dropna()]
        rows[row.Index] = (
            float(titles[:1] == [_form(row.text)]),
            float(_form(row.text) in titles),
            float(_form(names[row.hint]) in titles),
            float(np.mean(near)) if near else 0.0,
        )
    return pd.DataFrame.from_dict(rows, orient="index", columns=list(FOLLOWED))


def summarise(values: pd.DataFrame, **stats) -> pd.DataFrame:
    """Every kind's values with intervals over users, and its differences.

    Args:
        values: from :func:`judged`.
        stats: `seed`, `n_bootstrap`, `confidence`.

    Returns:
        One row a (kind, metric): `kind`, `metric`, the numbers of :func:`settings.compared`, `n_users`,
        `n_cases`. The values of :data:`QUALITY` are held against those of :data:`AS_IS`, the values of
        :data:`FOLLOWED` against the same model's answers without a suggestion.
    """
    rows, base = [], values[values[KIND] == AS_IS]
    for kind, part in values.groupby(KIND, sort=False):
        sizes = {"n_users": part[USER].nunique(), "n_cases": len(part)}
        for metric in (*QUALITY, *FOLLOWED):
            other = None if kind == AS_IS else base
            if metric in FOLLOWED:
                other = part[[CASE, USER]].assign(**{metric: part[f"{metric}_anyway"]})
            numbers = compared(part, metric, against=other, **stats)
            rows.append({KIND: kind, "metric": metric} | numbers | sizes)
    return pd.DataFrame(rows)

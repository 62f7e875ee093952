"""The audit's readings of one and the same list: what counts as a hit, what the re-ranker may see.

**This room lets targets into a ranking.** :func:`leaking_similarities` is what the paper's released code
does: the titles that answer the case stand among the references that a list is ordered by. It exists to
measure what that gives away; the audit alone calls it, with targets from `evaluation.load_targets`.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping

import numpy as np
import pandas as pd

from dualrec_utils.audit import steps
from dualrec_utils.core import evaluation, predictions
from dualrec_utils.core.catalog import Catalog
from dualrec_utils.core.config import CASE, ITEM, RANK, TEXT
from dualrec_utils.models.hybrids import rerank
from dualrec_utils.models.language import answers as responses
from dualrec_utils.models.language.matching import TitleMatcher

# From the paper's setting to the strict one, each rung one change: (name, changes).
RELEASED = {
    "protocol": "window_of_five",
    "n_recent": 3,
    "failures": "dropped",
    "threshold": 0.8,
    "reference": "answers",
    "seen": "kept",
}
RUNGS = (
    ("as released", {}),
    ("five recent movies in the prompt", {"n_recent": 5}),
    ("failed answers counted", {"failures": "counted"}),
    ("the same movie, not a title like it", {"threshold": None}),
    ("re-ranked without the answers", {"reference": "hint"}),
    ("movies already rated left out", {"seen": "left out"}),
    ("one target: the next movie", {"protocol": "next_item"}),
)


def read_lists(
    answers: pd.Series, cases: pd.DataFrame, matcher: TitleMatcher, *, seed: int, limit: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Lists as written (seen movies kept) and their diagnostics, from raw answers.

    Args:
        answers: `case_id` -> text, for every case.
        cases, matcher, seed, limit: as :func:`models.language.answers.answers_to_predictions`.
    """
    return responses.answers_to_predictions(
        list(answers.loc[cases[CASE]]), cases, matcher, seed=seed, limit=limit
    )


def judged(
    answers: pd.Series,
    cases: pd.DataFrame,
    targets: pd.Series,
    catalog: Catalog,
    *,
    matcher: TitleMatcher,
    seed: int,
    limit: int,
) -> pd.DataFrame:
    """Per-case values of raw answers under the study's rules: movies of the history left out, item ids.

    Arguments as :func:`read_lists` and :func:`core.evaluation.score_lists`.
    """
    lists, _ = read_lists(answers, cases, matcher, seed=seed, limit=limit)
    return evaluation.score_lists(predictions.drop_seen(lists, cases), cases, targets, catalog)


def title_ratio(one: str, other: str) -> float:
    """difflib's similarity of two titles in lower case, in [0, 1]: the released code's rule.

    >>> round(title_ratio("Die Hard (1988)", "die hard 2 (1990)"), 2)
    0.81
    """
    return difflib.SequenceMatcher(None, one.lower(), other.lower()).ratio()


def fuzzy_hits(
    lists: pd.DataFrame,
    cases: pd.DataFrame,
    targets: pd.Series,
    catalog: Catalog,
    *,
    threshold: float,
) -> pd.DataFrame:
    """Per-case frame under the rule that a title hits when it is like the title of a target.

    Args:
        lists: predictions; a title is compared as it was written, or by its catalog name where a model
            that ranks movies named it.
        cases, catalog: cases and catalog.
        targets: `case_id` -> list of item ids.
        threshold: least :func:`title_ratio` of a hit, in [0, 1].

    Returns:
        As :func:`audit.steps.per_case`.
    """
    names = catalog.names
    titles = lists[TEXT].astype(object).where(lists[TEXT].notna(), lists[ITEM].map(names))
    ordered = lists.assign(title=titles).sort_values([CASE, RANK])
    named = ordered.groupby(CASE)["title"].agg(list).to_dict()
    hits = []
    for case in cases[CASE]:
        wanted = [names[item] for item in targets[case]]
        like = [
            max(title_ratio(title, answer) for answer in wanted) >= threshold
            for title in named.get(case, [])
        ]
        hits.append(like.index(True) + 1 if any(like) else np.inf)
    return steps.per_case(cases, hits)


def lookalikes(
    lists: pd.DataFrame, targets: pd.Series, catalog: Catalog, *, threshold: float
) -> pd.DataFrame:
    """Titles that count as a hit by likeness alone, although they name another movie.

    Returns:
        `title`, `target`, `ratio`, `n` (how often), most frequent first.
    """
    names, found = catalog.names, []
    for case, item, text in zip(lists[CASE], lists[ITEM], lists[TEXT], strict=True):
        title = names[item] if pd.isna(text) else text
        for target in targets[case]:
            ratio = title_ratio(title, names[target])
            if ratio >= threshold and not (pd.notna(item) and item == target):
                found.append((title, names[target], round(ratio, 3)))
    frame = pd.DataFrame(found, columns=["title", "target", "ratio"])
    counted = frame.groupby(["title", "target", "ratio"]).size().rename("n").reset_index()
    return counted.sort_values(["n", "title"], ascending=[False, True], ignore_index=True)


def leaking_similarities(
    lists: pd.DataFrame,
    hints: pd.Series,
    targets: pd.Series,
    catalog: Catalog,
    embeddings: pd.DataFrame,
) -> pd.Series:
    """`as_released`: each entry's best cosine with the LSTM's title **or any of the answers**.

    A title that is an answer has cosine 1 with itself, so every hit of a list moves to its head.

    Args:
        lists, hints, catalog, embeddings: as :func:`models.hybrids.rerank.similarities`.
        targets: `case_id` -> item ids, from `evaluation.load_targets`.

    Returns:
        Series on the index of `lists`, range [-1, 1].
    """
    best = rerank.similarities(lists, hints, catalog, embeddings)
    width = int(targets.loc[lists[CASE].unique()].map(len).max())
    for place in range(width):
        answer = targets.map(lambda own, place=place: own[min(place, len(own) - 1)])
        best = np.maximum(best, rerank.similarities(lists, answer, catalog, embeddings))
    return best


def cut(lists: pd.DataFrame, length: int) -> pd.DataFrame:
    """The first `length` entries of every list."""
    return lists[lists[RANK] <= length]


def compacted(lists: pd.DataFrame) -> pd.DataFrame:
    """Lists without titles that match no movie and without repeated movies, ranks closed."""
    ordered = lists[lists[ITEM].notna()].sort_values([CASE, RANK]).drop_duplicates([CASE, ITEM])
    return ordered.assign(**{RANK: ordered.groupby(CASE).cumcount() + 1}).astype(predictions.COLUMNS)


def rung(
    lists: pd.DataFrame,
    cases: pd.DataFrame,
    targets: pd.Series,
    catalog: Catalog,
    *,
    hints: pd.Series,
    embeddings: pd.DataFrame,
    settings: Mapping,
    n_titles: int,
) -> pd.DataFrame:
    """One rung of the ladder: lists of titles, re-ranked and judged by the settings given.

    Args:
        lists: at most `n_titles` entries a case, as written, seen movies among them.
        cases, targets, catalog, hints, embeddings: as above.
        settings: `failures` (`dropped`: cases whose answer lacks a title or names one that is no movie of
            the catalog leave the average; `counted`), `threshold` (see :func:`fuzzy_hits`; None: item
            ids), `reference` (`answers`: the leak; `hint`), `seen` (`kept`; `left out`, after parsing).
        n_titles: entries of a complete list.

    Returns:
        Per-case frame of the cases that count.
    """
    kept = lists if settings["seen"] == "kept" else predictions.drop_seen(lists, cases)
    if settings["reference"] == "answers":
        similarity = leaking_similarities(kept, hints, targets, catalog, embeddings)
    else:
        similarity = rerank.similarities(kept, hints, catalog, embeddings)
    ordered = rerank.by_similarity(kept, similarity)
    counted = cases
    if settings["failures"] == "dropped":
        counted = cases[cases[CASE].isin(complete(lists, n_titles=n_titles))]
    if settings["threshold"] is None:
        return evaluation.score_lists(ordered, counted, targets, catalog)
    return fuzzy_hits(ordered, counted, targets, catalog, threshold=settings["threshold"])


def first_movies(lists: pd.DataFrame) -> pd.Series:
    """The movie at the head of every list, `case_id` -> item id: what a ranking of its own is re-ranked to.

    The hints of the prompts are movies that the user has not rated. Towards them a list that keeps rated
    movies would be rid of these by the back door.
    """
    return lists[lists[RANK] == 1].set_index(CASE)[ITEM]


def complete(lists: pd.DataFrame, *, n_titles: int) -> set[str]:
    """Cases whose answer holds as many titles as asked for, all of them movies of the catalog."""
    size = lists.groupby(CASE)[ITEM].count()
    return set(size.index[size >= n_titles])


def first_target(targets: pd.Series) -> pd.Series:
    """Of several targets the first: the movie that follows the history."""
    return targets.map(lambda own: own[:1])

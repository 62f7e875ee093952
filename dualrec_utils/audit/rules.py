"""The audit's readings of one and the same list: what counts as a hit, what the re-ranker may see.

**Targets reach a ranking here.** :func:`leaking_similarities` is what the paper's released code
does (code/evaluation.py:104-105, see :mod:`audit.released`): the titles that answer the case stand among
the references that a list is ordered by. It exists to measure what that gives away; the audit alone calls
it, with targets from `evaluation.load_targets`.
"""

from __future__ import annotations

import difflib

import numpy as np
import pandas as pd

from dualrec_utils.audit import steps
from dualrec_utils.audit.material import Material
from dualrec_utils.core import predictions
from dualrec_utils.core.catalog import Catalog
from dualrec_utils.core.config import CASE, ITEM, RANK, TEXT
from dualrec_utils.models.hybrids import rerank


def short_lists(data: Material) -> dict[tuple[str, str], pd.DataFrame]:
    """Lists as short as a prompt asks for, items already rated among them: (system, protocol) -> lists.

    Of the fine-tuned model as it wrote them, of its control, and the first places of three rankings.
    """
    short = {}
    for protocol, cases in data.cases.items():
        short[data.lora, protocol] = data.lists_of(data.answers(data.lora, protocol), cases)
        for name in ("lstm", "most_popular", "ease"):
            ranking = data.read(name + predictions.SEEN_KEPT, protocol)
            short[name, protocol] = cut(ranking, data.tuning["n_titles"])
        short[data.control, protocol] = data.read(data.control + predictions.SEEN_KEPT, protocol)
    return short


def title_ratio(one: str, other: str) -> float:
    """difflib's similarity of two titles in lower case, in [0, 1]: the released code's rule.

    Its lines stand in :mod:`audit.released`.

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
            that ranks items named it.
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
    """Titles that count as a hit by likeness alone, although they name another item.

    Returns:
        `title`, `target`, `ratio`, `n` (how often), most frequent first.
    """
    names, pairs = catalog.names, []
    for case, item, text in zip(lists[CASE], lists[ITEM], lists[TEXT], strict=True):
        title = names[item] if pd.isna(text) else text
        for target in targets[case]:
            ratio = title_ratio(title, names[target])
            if ratio >= threshold and not (pd.notna(item) and item == target):
                pairs.append((title, names[target], round(ratio, 3)))
    frame = pd.DataFrame(pairs, columns=["title", "target", "ratio"])
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
    width = int(targets.map(len).max())
    for place in range(width):
        answer = targets.map(lambda answers, place=place: answers[min(place, len(answers) - 1)])
        best = np.maximum(best, rerank.similarities(lists, answer, catalog, embeddings))
    return best


def cut(lists: pd.DataFrame, length: int) -> pd.DataFrame:
    """The first `length` entries of every list."""
    return lists[lists[RANK] <= length]


def compacted(lists: pd.DataFrame) -> pd.DataFrame:
    """Lists without titles that match no item and without repeated items, ranks closed."""
    ordered = lists[lists[ITEM].notna()].sort_values([CASE, RANK]).drop_duplicates([CASE, ITEM])
    return ordered.assign(**{RANK: ordered.groupby(CASE).cumcount() + 1}).astype(predictions.COLUMNS)


def first_target(targets: pd.Series) -> pd.Series:
    """Of several targets the first: the item that follows the history."""
    return targets.map(lambda answers: answers[:1])

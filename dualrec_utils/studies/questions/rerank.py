"""What does the semantic re-ranker do when the LSTM's suggestion is wrong?

Lists of a language model in three orders: as it wrote them, by likeness to the suggestion (paper section
4.2.3), and at random; cases apart by what the suggestion was. Lists and re-ranking see no target; the
division of the cases does, after the fact, and nothing is chosen by it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from dualrec_utils.core import evaluation, metrics
from dualrec_utils.core.catalog import Catalog
from dualrec_utils.core.config import CASE, USER
from dualrec_utils.models.hybrids import rerank
from dualrec_utils.studies.questions.settings import compared

RIGHT, ALIKE, UNLIKE = "right", "wrong, alike", "wrong, unlike"
ALL = "all cases"
# What the suggestion was, in words.
GROUPS = {
    ALL: "every case",
    RIGHT: "the suggestion is the next movie",
    ALIKE: "another movie that shares a genre with it",
    UNLIKE: "another movie that shares no genre with it",
}
WRITTEN, RERANKED, RANDOM = "as written", "re-ranked", "random order"
METRICS = ("hit_rate@1", "hit_rate@5", "ndcg@5", "genre_jaccard")
_MEANS = (*METRICS, "holds_target")


def suggestion_groups(
    cases: pd.DataFrame, hints: pd.Series, targets: pd.Series, catalog: Catalog
) -> pd.Series:
    """What the suggestion of each case was: `case_id` -> :data:`RIGHT`, :data:`ALIKE` or :data:`UNLIKE`.

    Args:
        cases: `case_id`.
        hints: `case_id` -> the LSTM's item.
        targets: `case_id` -> item ids; the first counts.
        catalog: the items.
    """
    genres = catalog.categories
    groups = []
    for case in cases[CASE]:
        hint, target = hints[case], targets[case][0]
        alike = metrics.genre_jaccard(genres[hint], genres[target]) > 0
        groups.append(RIGHT if hint == target else ALIKE if alike else UNLIKE)
    return pd.Series(groups, index=pd.Index(cases[CASE], name=CASE))


def in_orders(
    lists: pd.DataFrame,
    cases: pd.DataFrame,
    targets: pd.Series,
    catalog: Catalog,
    *,
    similarity: pd.Series,
    seed: int,
    n_random: int,
) -> dict[str, pd.DataFrame]:
    """Per-case values of the same lists in each order.

    Args:
        lists: predictions, items of the history left out.
        cases, targets, catalog: as :func:`core.evaluation.score_lists`.
        similarity: of every entry to its case's suggestion, :func:`models.hybrids.rerank.similarities`.
        seed: of the random orders.
        n_random: random orders, whose values are averaged case by case.

    Returns:
        order -> `case_id`, `user_id`, :data:`METRICS` and `holds_target` (1 where the target is in the
        list, wherever it stands: the same in every order).
    """
    drawn = [rerank.in_random_order(lists, seed=seed + number) for number in range(n_random)]
    ordered = {WRITTEN: [lists], RERANKED: [rerank.by_similarity(lists, similarity)], RANDOM: drawn}
    return {order: _mean_of(versions, cases, targets, catalog) for order, versions in ordered.items()}


def _mean_of(
    drawn: Sequence[pd.DataFrame], cases: pd.DataFrame, targets: pd.Series, catalog: Catalog
) -> pd.DataFrame:
    frames = [evaluation.score_lists(lists, cases, targets, catalog) for lists in drawn]
    frames = [frame.assign(holds_target=np.isfinite(frame["first_hit"]) * 1.0) for frame in frames]
    stacked = pd.concat(frames)[[CASE, USER, *_MEANS]]
    return stacked.groupby([CASE, USER], as_index=False).mean()


def by_group(
    orders: Mapping[str, pd.DataFrame], groups: pd.Series, *, metric: str, **stats
) -> pd.DataFrame:
    """Each order's value and the re-ranker's differences, for all cases and each kind of suggestion.

    Args:
        orders: from :func:`in_orders`.
        groups: from :func:`suggestion_groups`.
        metric: one of :data:`METRICS`.
        stats: `seed`, `n_bootstrap`, `confidence` of the intervals over users.

    Returns:
        One row a (group, row): `group`, `what` (an order, or `re-ranked - ...`), `value`, `low`, `high`,
        `n_users`, `n_cases`, `n_lists_with_target`: the only cases whose hit rate an order can change.
        Users without a case of a group are left out of it.
    """
    rows = []
    for group in GROUPS:
        chosen = groups.index if group == ALL else groups.index[groups == group]
        of_group = {order: frame[frame[CASE].isin(chosen)] for order, frame in orders.items()}
        sizes = {
            "n_users": of_group[WRITTEN][USER].nunique(),
            "n_cases": len(of_group[WRITTEN]),
            "n_lists_with_target": int(of_group[WRITTEN]["holds_target"].sum()),
        }
        if not sizes["n_cases"]:
            continue
        for order, frame in of_group.items():
            numbers = compared(frame, metric, **stats)
            values = {name: numbers[name] for name in ("value", "low", "high")}
            rows.append({"group": group, "what": order} | values | sizes)
        for other in (WRITTEN, RANDOM):
            gain = evaluation.paired_difference(of_group[RERANKED], of_group[other], metric=metric, **stats)
            values = {"value": gain["difference"], "low": gain["low"], "high": gain["high"]}
            rows.append({"group": group, "what": f"{RERANKED} - {other}"} | values | sizes)
    return pd.DataFrame(rows)

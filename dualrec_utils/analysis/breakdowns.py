"""Where the hits are, and what is recommended: by popularity, history and genre; coverage and novelty.

Popularity is counted on training users alone. Groups are of cases under `next_item`, which have one
target; the targets come from :mod:`core.evaluation` and go no further than a case's group.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from dualrec_utils.core import evaluation, predictions, splits
from dualrec_utils.core.catalog import Catalog, load_catalog
from dualrec_utils.core.config import CASE, HISTORY, ITEM, PROTOCOL, RANK, SYSTEM, USER
from dualrec_utils.core.predictions import Scope
from dualrec_utils.models import systems

PROTOCOL_USED = "next_item"
POPULARITY, LENGTH, GENRE = "popularity of the target", "length of the history", "genre of the target"
# Groupings in which each case belongs to one group.
WHOM = (POPULARITY, LENGTH)
POPULARITY_CLASSES = ("head", "middle", "tail")
K = 5
# An interval over fewer users says nothing, and none is given.
FEWEST_USERS = 10


def training_counts(dataset: str) -> tuple[pd.Series, int]:
    """How many training users rated each catalog item.

    Returns:
        (counts, n_users): counts by `item_id`, every item of the catalog, 0 where no training user
        rated it; and the number of training users.
    """
    histories = splits.load_histories(dataset, "train")
    rated = pd.Series(np.concatenate(list(histories.values()))).value_counts()
    return rated.reindex(load_catalog(dataset).ids, fill_value=0).rename_axis(ITEM), len(histories)


def load_test(dataset: str) -> tuple[pd.DataFrame, pd.Series, Catalog]:
    """Test cases under `next_item`, their targets, and the catalog."""
    cases = predictions.load_cases(Scope(dataset, "results", PROTOCOL_USED, "test"))
    return cases, evaluation.load_targets(dataset, PROTOCOL_USED), load_catalog(dataset)


def frames_of(
    cases: Mapping[tuple[str, str], pd.DataFrame], names: Sequence[str]
) -> dict[str, pd.DataFrame]:
    """Per-case frames under `next_item`: system -> frame, for the systems that have one.

    Args:
        cases: (protocol, system) -> frame of `evaluation.per_case`.
        names: the systems wanted.
    """
    return {name: cases[PROTOCOL_USED, name] for name in names if (PROTOCOL_USED, name) in cases}


def popularity_classes(counts: pd.Series) -> pd.Series:
    """`head`, `middle` or `tail` of every item: each class holds about a third of the training ratings.

    Args:
        counts: from :func:`training_counts`. The most rated item comes first, ties by lowest id.

    Returns:
        Item -> class; an item belongs where the ratings of the items before it end.
    """
    ordered = counts.sort_index().sort_values(ascending=False, kind="stable")
    before = (ordered.cumsum() - ordered) / ordered.sum()
    place = np.minimum((before * len(POPULARITY_CLASSES)).astype(int), len(POPULARITY_CLASSES) - 1)
    return place.map(dict(enumerate(POPULARITY_CLASSES))).reindex(counts.index)


def case_groups(
    cases: pd.DataFrame, targets: pd.Series, catalog: Catalog, counts: pd.Series
) -> pd.DataFrame:
    """The groups that each case of `next_item` belongs to.

    Args:
        cases: frame with `case_id` and `history`.
        targets: from `evaluation.load_targets`, one a case.
        catalog: the items.
        counts: from :func:`training_counts`.

    Returns:
        Long frame `by` (:data:`POPULARITY`, :data:`LENGTH`, :data:`GENRE`), `group` (in words) and
        `case_id`, groups in reading order. A case has one popularity class, one third of the history
        lengths, and every genre of its target.
    """
    target = cases[CASE].map(targets).str[0]
    classes = popularity_classes(counts)
    sizes = classes.value_counts()
    names = {name: f"{name}: {sizes.get(name, 0):,} {catalog.domain.items}" for name in POPULARITY_CLASSES}
    lengths = cases[HISTORY].map(len)
    thirds = pd.qcut(lengths, 3, labels=False, duplicates="drop")
    edges = lengths.groupby(thirds).agg(["min", "max"])
    spans = {third: f"{low} to {high} {catalog.domain.items}" for third, low, high in edges.itertuples()}
    genres = target.map(catalog.categories)
    parts = [
        _part(POPULARITY, cases[CASE], target.map(classes).map(names), order=names.values()),
        _part(LENGTH, cases[CASE], thirds.map(spans), order=spans.values()),
        _part(GENRE, cases[CASE], genres, order=catalog.vocabulary),
    ]
    return pd.concat(parts, ignore_index=True)


def _part(by: str, cases: pd.Series, groups: pd.Series, *, order: Sequence[str]) -> pd.DataFrame:
    """One way of grouping, long: a case stands once for each of its groups, groups in the order given."""
    rows = pd.DataFrame({"by": by, "group": groups, CASE: cases}).explode("group").dropna()
    place = {name: at for at, name in enumerate(order)}
    return rows.sort_values("group", key=lambda column: column.map(place), kind="stable")


def by_group(
    cases: Mapping[str, pd.DataFrame], groups: pd.DataFrame, *, metric: str, **intervals
) -> pd.DataFrame:
    """A metric of several systems within each group of cases, with an interval over users.

    Args:
        cases: system -> frame of `evaluation.per_case`, over the same cases.
        groups: from :func:`case_groups`.
        intervals: `seed`, `n_bootstrap`, `confidence` of `evaluation.summarise`.

    Returns:
        `by`, `group`, `system`, `metric`, `value`, `low`, `high`, `n_users`, `n_cases`; groups and
        systems in the order given. Bounds are NaN for groups of fewer than :data:`FEWEST_USERS` users.
    """
    return _within(groups, _side_by_side(cases, metric), metric=metric, **intervals)


def gains_by_group(
    cases: Mapping[str, pd.DataFrame], groups: pd.DataFrame, *, over: str, metric: str, **intervals
) -> pd.DataFrame:
    """How far systems are ahead of another within each group of cases, compared case by case.

    Args:
        cases: as :func:`by_group`.
        groups: likewise.
        over: the system that the others are compared with, one of `cases`.
        intervals: as :func:`by_group`.

    Returns:
        As :func:`by_group`, `value` the difference of a system and `over`, which has a column of its own.
    """
    values = _side_by_side(cases, metric)
    gains = values[[CASE, USER]].assign(
        **{name: values[name] - values[over] for name in cases if name != over}
    )
    table = _within(groups, gains, metric=metric, **intervals)
    table.insert(table.columns.get_loc(SYSTEM) + 1, "over", over)
    return table


def gains_in_words(gains: pd.DataFrame) -> str:
    """In how many groups of users and items each system is ahead of the LSTM, or behind it.

    Args:
        gains: from :func:`gains_by_group`, over the LSTM.

    Returns:
        A sentence a system; the groups are named where there are any. A group counts if its interval, not
        corrected for the number of groups, excludes zero; one without an interval is left out. Empty
        where there are no gains.
    """
    lines = []
    for name in dict.fromkeys(gains["system"]):
        ahead, behind, n = _sides(gains, name)
        said = [f"{words} in {_groups(rows)}" for words, rows in (("ahead", ahead), ("behind", behind))]
        lines.append(f"{systems.label(name)}: of {n} group{'s' * (n != 1)}, {' and '.join(said)}.")
    return " ".join(lines)


def helped(gains: pd.DataFrame, system: str) -> str:
    """In how many groups of users and items a fusion with the LSTM is ahead of it, in a sentence.

    Args:
        gains: as :func:`gains_in_words`.
        system: whose.

    Returns:
        Empty where no group has an interval.
    """
    ahead, _, n = _sides(gains, system)
    if not n:
        return ""
    return (
        f"The LSTM fused with it is ahead of the LSTM alone in {_groups(ahead)} of {n} groups of users and"
        " items (HR@5, not corrected for their number)."
    )


def _sides(gains: pd.DataFrame, system: str) -> tuple[pd.DataFrame, pd.DataFrame, int]:
    """The groups in which a system is ahead and behind, and how many groups have an interval."""
    rows = gains[gains["by"].isin(WHOM) & (gains["system"] == system)].dropna(subset="low")
    return rows[rows["low"] > evaluation.LAST_BIT], rows[rows["high"] < -evaluation.LAST_BIT], len(rows)


def _groups(rows: pd.DataFrame) -> str:
    """How many groups, and which: `none`, `1 (length of the history, 2 to 45 items)`."""
    which = "; ".join(f"{row.by}, {row.group}" for row in rows.itertuples())
    return f"{len(rows)} ({which})" if which else "none"


def _side_by_side(cases: Mapping[str, pd.DataFrame], metric: str) -> pd.DataFrame:
    """A metric of every case, a column a system."""
    wide = next(iter(cases.values()))[[CASE, USER]]
    for name, frame in cases.items():
        one = frame[[CASE, metric]].rename(columns={metric: name})
        wide = wide.merge(one, on=CASE, validate="one_to_one")
    return wide


def _within(groups: pd.DataFrame, wide: pd.DataFrame, *, metric: str, **intervals) -> pd.DataFrame:
    """The mean of each column of `wide` within each group, as :func:`by_group` returns it."""
    names = [name for name in wide if name not in (CASE, USER)]
    rows = []
    for (by, group), part in groups.groupby(["by", "group"], sort=False):
        one = wide[wide[CASE].isin(part[CASE])]
        summary = evaluation.summarise(one, columns=names, **intervals)
        few = summary["n_users"] < FEWEST_USERS
        summary[["low", "high"]] = summary[["low", "high"]].mask(few)
        rows.append(summary.rename_axis(SYSTEM).reset_index().assign(by=by, group=group, metric=metric))
    table = pd.concat(rows, ignore_index=True)
    first = ["by", "group", SYSTEM, "metric"]
    return table[[*first, *table.columns.drop(first)]]


def read_lists(written: pd.DataFrame, *, dataset: str, names: Sequence[str]) -> dict[str, pd.DataFrame]:
    """Predictions for the test cases of `next_item`: system -> lists.

    Args:
        written: from `results.discover`; says which stage wrote a system.
        names: the systems wanted; those without predictions are left out.
    """
    stages = written[written[PROTOCOL] == PROTOCOL_USED].set_index(SYSTEM)["stage"]
    return {
        name: predictions.read(name, Scope(dataset, stages[name], PROTOCOL_USED, "test"))
        for name in names
        if name in stages
    }


def self_information(counts: pd.Series, *, n_users: int) -> pd.Series:
    """How surprising an item is: -log2 of the share of training users who rated it, in bits.

    0 is an item that everyone rated (Zhou et al., PNAS 2010; Vargas and Castells, RecSys 2011). An item
    that no training user rated counts as rated once.

    Args:
        counts: from :func:`training_counts`.
        n_users: training users.
    """
    return -np.log2(counts.clip(lower=1) / n_users)


def coverage_and_novelty(
    lists: Mapping[str, pd.DataFrame], cases: pd.DataFrame, information: pd.Series, **intervals
) -> pd.DataFrame:
    """What systems recommend, whether right or wrong.

    Args:
        lists: system -> predictions.
        cases: all of them, with `case_id` and `user_id`.
        information: from :func:`self_information`, every item of the catalog.
        intervals: as :func:`by_group`.

    Returns:
        One row a system: `coverage` (share of the catalog that stands in any case's first :data:`K`, which
        grows with the number of cases and has no interval over users), `novelty` (mean
        :func:`self_information` of a case's first, averaged over cases, then users) with `low` and
        `high`, `n_users` and `n_cases` with an item to count: none, and no novelty, where a system named
        no item of the catalog.
    """
    users = cases.set_index(CASE)[USER]
    rows = []
    for system, ranked in lists.items():
        top = ranked[(ranked[RANK] <= K) & ranked[ITEM].notna()]
        bits = top[ITEM].map(information).astype(float).groupby(top[CASE]).mean().rename("novelty")
        frame = bits.reset_index().assign(**{USER: lambda part: part[CASE].map(users)})
        if frame.empty:
            nothing = dict.fromkeys(("novelty", "low", "high"), np.nan) | {"n_users": 0, "n_cases": 0}
            rows.append({SYSTEM: system, "coverage": 0.0} | nothing)
            continue
        row = evaluation.summarise(frame, columns=["novelty"], **intervals).loc["novelty"]
        bounds = row.rename({"value": "novelty"}).to_dict()
        rows.append({SYSTEM: system, "coverage": top[ITEM].nunique() / len(information)} | bounds)
    return pd.DataFrame(rows).astype({"n_users": int, "n_cases": int})


def novelty_of_targets(cases: pd.DataFrame, targets: pd.Series, information: pd.Series) -> float:
    """Mean :func:`self_information` of the items rated next, averaged over cases, then users."""
    bits = cases[CASE].map(targets).str[0].map(information)
    return float(bits.groupby(cases[USER]).mean().mean())


def flatten(table: pd.DataFrame) -> dict[str, float]:
    """`next_item/lstm/coverage@5` and `next_item/lstm/novelty@5`, with `/low` and `/high` for novelty; no
    novelty where a system listed nothing.

    Args:
        table: from :func:`coverage_and_novelty`.
    """
    flat = {}
    for row in table.itertuples():
        key = f"{PROTOCOL_USED}/{row.system}"
        flat[f"{key}/coverage@{K}"] = row.coverage
        # Who lists no item of the catalog has no novelty.
        if pd.notna(row.novelty):
            flat |= evaluation.with_interval(f"{key}/novelty@{K}", row, column="novelty")
    return flat

"""The study's tables: rows with intervals, paired differences, and how they are read and flattened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from dualrec_utils.analysis import breakdowns, seeds
from dualrec_utils.core import config, evaluation, files, predictions
from dualrec_utils.core.config import CASE, ITEM, RANK
from dualrec_utils.core.errors import StudyError
from dualrec_utils.core.predictions import Scope
from dualrec_utils.datasets import weights
from dualrec_utils.models import systems
from dualrec_utils.studies.knowledge.plan import TEXT, Job, Row
from dualrec_utils.studies.knowledge.settings import STUDY

METRICS = ("ndcg@10", "hit_rate@10")
# Part -> its table.
NAMES = {"a": "little_data", "b": "cold", "c": "form", "e": "search"}
DIFFERENCES = {part: f"{name}_differences" for part, name in NAMES.items()}
DRAWN, BY_RATINGS = "cold_drawn", "by_ratings"
# Of part d.
SPOKEN, SHOWN, RECORDS, KNOWN = "spoken", "spoken_shown", "records", "by_knowledge"
# Of part e.
OVERLAP = "search_overlap"
# Questions and answers in words, for the report page.
ANSWERS = "answers"
NOT_YET = "not run yet"
_OWN_NAMES = {
    TEXT: "UniSRec, text alone",
    "lstm": "LSTM",
    "random": "Random order",
    **{name: model.label for name, model in weights.MODELS.items()},
}
# Of the run's own systems, those whose hits are counted by the target's training ratings; also kinds of
# language models' systems.
_ORDINARY = ("most_popular", "ease", "gru4rec", "unisrec", "lstm")
_KINDS = ("history_constrained", "lora_constrained")
_N_GROUPS = 5

Values = Mapping[Job, pd.DataFrame]


def label(system: str) -> str:
    """A system of the study in words."""
    return _OWN_NAMES.get(system) or systems.label(system)


def path_of(dataset: str, name: str) -> Path:
    """Where a table lies, for a notebook that is run by hand too."""
    return config.STUDIES / STUDY / dataset / f"{name}.csv"


def read(dataset: str, name: str) -> pd.DataFrame:
    """A table; empty where nothing has been measured yet."""
    path = path_of(dataset, name)
    table = pd.read_csv(path, dtype={"remark": str}) if path.is_file() else pd.DataFrame()
    return table.fillna({"remark": ""}) if "remark" in table else table


def write(table: pd.DataFrame, name: str, dataset: str) -> None:
    """Write a table whole."""
    files.write_csv(table, path_of(dataset, name))


def _by_draw(row: Row, values: Values, metric: str) -> pd.DataFrame:
    """Users' means of a row, a column a draw that was measured."""
    records = {job.draw: values[job].loc[row.among][metric] for job in row.jobs if job in values}
    return pd.DataFrame(records)


def levels(
    rows: Sequence[Row],
    values: Values,
    reasons: Mapping[Job, str],
    *,
    n_cases: Mapping[str, int],
    **intervals,
) -> pd.DataFrame:
    """Every row, averaged over users and draws; one that was not run says why.

    Args:
        values: job -> means by `among` and user.
        reasons: job -> why it cannot be run here.
        n_cases: by `among`.
        intervals: as :func:`analysis.seeds.interval`.

    Returns:
        The rows' labels, `metric`, `value`, `low`, `high`, `n_users`, `n_seeds` (draws), `over_seeds`,
        `n_cases`, `remark`; a row a metric of :data:`METRICS`.
    """
    records = []
    for row in rows:
        missing = [job for job in row.jobs if job not in values]
        why = [reasons[job] for job in missing if job in reasons]
        remark = f"not run: {why[0]}" if why else NOT_YET if missing else ""
        if 0 < len(missing) < len(row.jobs):
            remark = f"{len(row.jobs) - len(missing)} of {len(row.jobs)} draws"
        for metric in METRICS:
            wide = _by_draw(row, values, metric)
            numbers = seeds.interval(wide, **intervals) if len(wide) else {"value": np.nan}
            records.append({**row.labels, "metric": metric, **numbers, "remark": remark})
            records[-1]["n_cases"] = n_cases[row.among]
    columns = ["value", "low", "high", "n_users", "n_seeds", "over_seeds", "n_cases", "remark"]
    return pd.DataFrame(records, columns=[*rows[0].labels, "metric", *columns])


def differences(pairs: Sequence[tuple[Row, Row]], values: Values, **intervals) -> pd.DataFrame:
    """Paired differences over the draws that both rows have; pairs of which one was not run are left out.

    Args:
        pairs: (row, row subtracted from it).
        values, intervals: as :func:`levels`.

    Returns:
        The first row's labels, the first of the other's that differs as `minus`, `metric`, and the columns
        of :func:`analysis.seeds.interval`.
    """
    records = []
    for one, other in pairs:
        minus = next(str(value) for name, value in other.labels.items() if value != one.labels[name])
        for metric in METRICS:
            gains = (_by_draw(one, values, metric) - _by_draw(other, values, metric)).dropna(
                axis=1, how="all"
            )
            if len(gains.columns):
                numbers = seeds.interval(gains.dropna(), **intervals)
                records.append({**one.labels, "minus": minus, "metric": metric, **numbers})
    # With its columns also where nothing was measured: an empty file cannot be read.
    columns = ["value", "low", "high", "n_users", "n_seeds", "over_seeds"]
    labels = list(pairs[0][0].labels) if pairs else []
    return pd.DataFrame(records, columns=[*labels, "minus", "metric", *columns])


def overlaps(pairs: Sequence[tuple[Row, Row]], lists: Mapping[Job, pd.DataFrame]) -> pd.DataFrame:
    """How many items of a row's lists are in the other row's lists for the same cases.

    Args:
        pairs: rows of one job each; those that have no lists are left out.
        lists: job -> predictions.

    Returns:
        `system`, `share`, `overlap` (mean share of the first list's items that the other holds, 0 to 1),
        `same_first` (share of cases whose first items agree), `n_items` and `n_items_other` (different
        items in all lists of a row), `n_cases`.
    """
    records = []
    for one, other in pairs:
        jobs = one.jobs[0], other.jobs[0]
        if not set(jobs) <= lists.keys():
            continue
        both = lists[jobs[0]].merge(lists[jobs[1]], on=[CASE, ITEM], how="left", suffixes=("", "_other"))
        first = both[both[RANK] == 1]
        records.append(
            {
                "system": jobs[0].model,
                "share": jobs[0].share,
                "overlap": both[f"{RANK}_other"].notna().groupby(both[CASE]).mean().mean(),
                "same_first": (first[f"{RANK}_other"] == 1).mean(),
                "n_items": lists[jobs[0]][ITEM].nunique(),
                "n_items_other": lists[jobs[1]][ITEM].nunique(),
                "n_cases": len(first),
            }
        )
    columns = ["system", "share", "overlap", "same_first", "n_items", "n_items_other", "n_cases"]
    return pd.DataFrame(records, columns=columns)


def rating_groups(counts: pd.Series) -> pd.DataFrame:
    """Cases in groups of like size by the training ratings of their target, fewest first.

    Args:
        counts: case -> ratings of its target by training users.

    Returns:
        `by`, `group` (such as `12 to 30`), `case_id`, as :func:`analysis.breakdowns.by_group` takes them.
    """
    group = pd.qcut(counts, _N_GROUPS, labels=False, duplicates="drop")
    ends = counts.groupby(group).agg(["min", "max"])
    words = {at: f"{low} to {high}" for at, low, high in ends.itertuples()}
    frame = pd.DataFrame({"by": "training ratings", "at": group, "group": group.map(words)})
    return frame.rename_axis(CASE).reset_index().sort_values("at", kind="stable")[["by", "group", CASE]]


def ordinary_frames(dataset: str) -> dict[str, pd.DataFrame]:
    """The run's own lists for all test cases, those whose hits are counted by the target's ratings.

    Returns:
        system -> frame of `evaluation.per_case`, in the study's order.

    Raises:
        StudyError: when the run has left no list yet.
    """
    frames = {}
    for stage in systems.STAGES:
        scope = Scope(dataset, stage, "next_item", "test")
        for name in predictions.systems(scope):
            if name in _ORDINARY or systems.split(name)[1] in _KINDS:
                frames[name] = evaluation.per_case(name, scope)
    if not frames:
        raise StudyError("the run has left no lists yet: run `make repro` first")
    return {name: frames[name] for name in systems.in_order(frames)}


def target_counts(dataset: str) -> pd.Series:
    """Test case of `next_item` -> ratings of its target by training users."""
    cases, targets, _ = breakdowns.load_test(dataset)
    counts, _ = breakdowns.training_counts(dataset)
    return cases.set_index(CASE).index.to_series().map(targets).str[0].map(counts)


def by_ratings(dataset: str, **intervals) -> pd.DataFrame:
    """Hit rates of the run's own lists for all test cases, by training ratings of the target.

    Returns:
        As :func:`analysis.breakdowns.by_group`.

    Raises:
        StudyError: as :func:`ordinary_frames`.
    """
    groups = rating_groups(target_counts(dataset))
    return breakdowns.by_group(ordinary_frames(dataset), groups, metric="hit_rate@10", **intervals)


def measured(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The rows of one metric that have a value; empty for an empty table."""
    return table[(table["metric"] == metric) & table["value"].notna()] if len(table) else table


def flatten(dataset: str) -> dict[str, float]:
    """Flat metric keys of all that was measured: `knowledge/<table>/<labels>/<metric>`, with its ends."""
    flat: dict[str, float] = {}
    for name in (*NAMES.values(), *DIFFERENCES.values(), BY_RATINGS, SPOKEN):
        table = read(dataset, name)
        if table.empty:
            continue
        labels = list(table.columns[: list(table.columns).index("metric")])
        for _, row in table[table["value"].notna()].iterrows():
            key = "/".join([STUDY, name, *(str(row[one]) for one in labels), row["metric"]])
            flat |= evaluation.with_interval(key.replace(" ", "_").replace(",", ""), row)
    return {key: value for key, value in flat.items() if np.isfinite(value)}


def write_metrics(flat: Mapping[str, float], *, dataset: str) -> Path:
    """Write the study's `metrics.json` with the data's origin."""
    path = config.study_dir(STUDY) / dataset / "metrics.json"
    return files.write_json({**flat, **evaluation.origin(dataset)}, path)

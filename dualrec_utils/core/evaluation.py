"""Score predictions against targets: the only room that reads target files.

Every case counts: a case without a list is a miss. Values are averaged per user first; intervals and
tests resample users, since the cases of one user are not independent.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dualrec_utils.core import config, files, metrics, predictions
from dualrec_utils.core.catalog import Catalog, load_catalog
from dualrec_utils.core.config import CASE, ITEM, RANK, USER
from dualrec_utils.core.errors import StudyError
from dualrec_utils.core.predictions import Scope

CUTOFFS = (1, 5, 10)
PAPER_METRICS = ("hit_rate@1", "hit_rate@5", "ndcg@1", "ndcg@5")
METRICS = (*(f"{name}@{k}" for name in ("hit_rate", "ndcg", "mrr") for k in CUTOFFS), "genre_jaccard")
# Settings, and the rivals that claims are about, are chosen by it on validation users.
CHOSEN_BY = "ndcg@5"
# Closer to zero, a difference is what rounding left of equal values.
LAST_BIT = 1e-12

_BOUNDS = {"difference": "value", "low": "low", "high": "high"}


def load_targets(dataset: str, protocol: str) -> pd.Series:
    """Targets of every case: `case_id` -> list of item ids, in order."""
    frame = files.read_parquet_of("data", config.processed_dir(dataset) / f"targets_{protocol}.parquet")
    return frame.sort_values([CASE, "target_order"]).groupby(CASE)[ITEM].agg(list)


def per_case(system: str, scope: Scope) -> pd.DataFrame:
    """Metric values of one system, one row a case of the scope, cases without a list included.

    Returns:
        Frame with `case_id`, `user_id`, `first_hit` (rank, inf for a miss), `list_length` and the
        columns of :data:`METRICS`, each in [0, 1].

    Raises:
        StudyError: when the predictions do not fit the cases (see :mod:`core.predictions`).
    """
    return score(predictions.read(system, scope), scope)


def user_means(system: str, scope: Scope, *, columns: Sequence[str]) -> pd.DataFrame:
    """Metrics of a system, a mean over each user's cases: one row a user, indexed by user.

    Args:
        columns: some of :data:`METRICS`.
    """
    return per_case(system, scope).groupby(USER)[list(columns)].mean()


def chosen_by(system: str, scope: Scope) -> float:
    """:data:`CHOSEN_BY` of a system, the mean over users."""
    return float(user_means(system, scope, columns=[CHOSEN_BY])[CHOSEN_BY].mean())


def score(lists: pd.DataFrame, scope: Scope) -> pd.DataFrame:
    """Metric values of lists that lie in no file, for the cases of a scope; its stage plays no part.

    Returns and raises as :func:`per_case`.
    """
    cases, catalog = predictions.load_cases(scope), load_catalog(scope.dataset)
    predictions.check(lists, cases, catalog.ids)
    return score_lists(lists, cases, load_targets(scope.dataset, scope.protocol), catalog)


def per_case_of(
    systems: Mapping[str, str], scopes: Iterable[Scope]
) -> dict[tuple[Scope, str], pd.DataFrame]:
    """:func:`per_case` of several systems, which may come from different stages.

    Args:
        systems: system -> the stage that wrote its predictions.
        scopes: which cases; their own stage plays no part.

    Returns:
        (scope, system) -> frame, scope by scope, systems in the order given.
    """
    return {
        (scope, system): per_case(system, scope.replace(stage=stage))
        for scope in scopes
        for system, stage in systems.items()
    }


def score_lists(
    lists: pd.DataFrame, cases: pd.DataFrame, targets: pd.Series, catalog: Catalog
) -> pd.DataFrame:
    """Metric values per case of lists already read. Arguments and return as :func:`per_case`."""
    genres = catalog.categories
    ordered = lists.sort_values([CASE, RANK])
    # An unmatched title becomes None: pandas' NA does not compare.
    named = ordered[ITEM].astype(object).where(ordered[ITEM].notna(), None)
    ranked = named.groupby(ordered[CASE].to_numpy()).agg(list).to_dict()
    rows = []
    for case, user in zip(cases[CASE], cases[USER], strict=True):
        items, wanted = ranked.get(case, []), targets[case]
        first = genres.get(items[0]) if items else None
        jaccard = metrics.genre_jaccard(first, genres[wanted[0]])
        rows.append((case, user, metrics.first_hit_rank(items, wanted), len(items), jaccard))
    frame = pd.DataFrame(rows, columns=[CASE, USER, "first_hit", "list_length", "genre_jaccard"])
    values = {"hit_rate": metrics.hit_rate, "ndcg": metrics.ndcg, "mrr": metrics.reciprocal_rank}
    for name, function in values.items():
        for k in CUTOFFS:
            frame[f"{name}@{k}"] = function(frame["first_hit"].to_numpy(), k)
    return frame


def right_entries(lists: pd.DataFrame, scope: Scope) -> pd.Series:
    """Which entries of lists are targets of their case: 1.0 or 0.0, on the index of `lists`."""
    targets = load_targets(scope.dataset, scope.protocol)
    entries = zip(lists[CASE], lists[ITEM].fillna(-1), strict=True)
    return pd.Series([float(item in targets[case]) for case, item in entries], index=lists.index)


def user_draws(n_users: int, *, n_bootstrap: int, seed: int) -> np.ndarray:
    """How often each user is drawn in each resample: shape (n_bootstrap, n_users)."""
    return np.random.default_rng(seed).multinomial(n_users, np.full(n_users, 1 / n_users), size=n_bootstrap)


def summarise(
    cases: pd.DataFrame,
    *,
    seed: int,
    n_bootstrap: int = 2000,
    confidence: float = 0.95,
    columns: Sequence[str] = METRICS,
) -> pd.DataFrame:
    """Mean over users and percentile bootstrap interval of each metric.

    Args:
        cases: frame from :func:`per_case`.
        seed: of the resampling; the same seed draws the same users for every system.
        n_bootstrap: resamples.
        confidence: of the interval, in (0, 1).

    Returns:
        Frame indexed by metric with `value`, `low`, `high`, `n_users`, `n_cases`.
    """
    users = cases.groupby(USER)[list(columns)].mean()
    draws = user_draws(len(users), n_bootstrap=n_bootstrap, seed=seed)
    means = draws @ users.to_numpy() / len(users)
    tail = (1 - confidence) / 2
    return pd.DataFrame(
        {
            "value": users.mean().to_numpy(),
            "low": np.quantile(means, tail, axis=0),
            "high": np.quantile(means, 1 - tail, axis=0),
            "n_users": len(users),
            "n_cases": len(cases),
        },
        index=pd.Index(columns, name="metric"),
    )


def side_of_zero(low: float, high: float) -> int:
    """1 where an interval lies above zero, -1 where it lies below, 0 where it holds zero."""
    return int(low > LAST_BIT) - int(high < -LAST_BIT)


def paired_difference(
    cases: pd.DataFrame, others: pd.DataFrame, *, metric: str, **intervals
) -> dict[str, float]:
    """Difference of two systems on the same cases, with an interval over users.

    Args:
        cases: per-case frame of the one system.
        others: per-case frame of the other, over the same cases.
        metric: a column of both.
        intervals: `seed`, `n_bootstrap`, `confidence` of :func:`summarise`.

    Returns:
        `difference` (cases minus others), `low`, `high`, `n_users`.

    Raises:
        ValueError: when the frames do not hold the same cases.
    """
    both = cases[[CASE, USER, metric]].merge(others[[CASE, metric]], on=CASE, suffixes=("", "_other"))
    if not len(both) == len(cases) == len(others):
        raise ValueError("the two systems answer different cases")
    gain = both.assign(gain=both[metric] - both[f"{metric}_other"])[[CASE, USER, "gain"]]
    row = summarise(gain, columns=["gain"], **intervals).loc["gain"]
    bounds = {name: float(row[column]) for name, column in _BOUNDS.items()}
    return bounds | {"n_users": int(row["n_users"])}


def compare(
    cases: Mapping[tuple[Scope, str], pd.DataFrame],
    pairs: Sequence[tuple[str, str]],
    *,
    metrics: Sequence[str],
    **intervals,
) -> pd.DataFrame:
    """Paired differences of several pairs of systems.

    Args:
        cases: (scope, system) -> frame of :func:`per_case`, as :func:`per_case_of` gives them; one split.
        pairs: (system, other), compared under every protocol of `cases`.
        metrics: columns of the frames.
        intervals: as :func:`paired_difference`.

    Returns:
        One row a protocol, pair and metric, in that order: `system`, `other`, `protocol`, `metric`,
        `difference` (system minus other), `low`, `high`, `n_users`.

    Raises:
        ValueError: as :func:`paired_difference`.
    """
    scopes = dict.fromkeys(scope for scope, _ in cases)
    rows = [
        {"system": system, "other": other, "protocol": scope.protocol, "metric": metric}
        | paired_difference(cases[scope, system], cases[scope, other], metric=metric, **intervals)
        for scope, (system, other), metric in itertools.product(scopes, pairs, metrics)
    ]
    return pd.DataFrame(rows)


def flat_differences(differences: pd.DataFrame) -> dict[str, float]:
    """Flat metric keys of :func:`compare`: `next_item/lora/hit_rate@5/over_zero_shot/difference`.

    Beside each stand `.../low` and `.../high`.
    """
    return {
        f"{row.protocol}/{row.system}/{row.metric}/over_{row.other}/{part}": float(getattr(row, part))
        for row in differences.itertuples()
        for part in _BOUNDS
    }


def with_interval(key: str, row, *, column: str = "value") -> dict[str, float]:
    """A value under its metric key, the ends of its interval under `<key>/low` and `<key>/high`.

    Args:
        row: of a table with `column`, `low` and `high`.
    """
    ends = (("", column), ("/low", "low"), ("/high", "high"))
    return {key + end: float(getattr(row, name)) for end, name in ends}


def flatten(summary: pd.DataFrame, *, protocol: str, system: str, split: str = "test") -> dict[str, float]:
    """Flat metric keys: `next_item/lstm/hit_rate@5`, and `.../low`, `.../high` beside it.

    Values of the validation split get the prefix `validation/`.
    """
    prefix = f"{protocol}/{system}" if split == "test" else f"{split}/{protocol}/{system}"
    flat: dict[str, float] = {}
    for metric, row in summary.iterrows():
        flat |= with_interval(f"{prefix}/{metric}", row)
    flat[f"{prefix}/n_cases"] = int(summary["n_cases"].iloc[0])
    flat[f"{prefix}/n_users"] = int(summary["n_users"].iloc[0])
    return flat


def evaluate_systems(
    systems: Iterable[str], scopes: Iterable[Scope], **intervals
) -> tuple[pd.DataFrame, dict[str, float]]:
    """Evaluate several systems of one stage.

    Args:
        systems: names, each with predictions of every scope.
        scopes: from :func:`core.predictions.scopes`.
        intervals: as :func:`paired_difference`.

    Returns:
        (table, flat metrics): the table has one row for each (split, protocol, system, metric) with
        `value`, `low`, `high`, `n_users`, `n_cases`.
    """
    cases = {(scope, name): per_case(name, scope) for scope, name in itertools.product(scopes, systems)}
    return tabulate(cases, **intervals)


def tabulate(
    cases: Mapping[tuple[Scope, str], pd.DataFrame], **intervals
) -> tuple[pd.DataFrame, dict[str, float]]:
    """Means and intervals of frames that were made before.

    Args:
        cases: (scope, system) -> frame of :func:`per_case`.
        Others and returns as :func:`evaluate_systems`; rows in the order of `cases`.
    """
    rows, flat = [], {}
    for (scope, system), frame in cases.items():
        summary = summarise(frame, **intervals)
        keys = {"split": scope.split, "protocol": scope.protocol, "system": system}
        flat |= flatten(summary, **keys)
        rows.append(summary.reset_index().assign(**keys))
    table = pd.concat(rows, ignore_index=True)
    first = ["split", "protocol", "system", "metric"]
    return table[first + [c for c in table if c not in first]], flat


def flat_keys(values: Mapping | pd.Series | pd.DataFrame) -> dict[str, Any]:
    """Nested values as flat metric keys, a slash between levels.

    Args:
        values: mappings, series and frames inside one another. A series is read as index -> value, a
            frame as index -> column -> value; each level of an index is one of the key.

    Returns:
        Key -> value, numpy's numbers as Python's.

    Raises:
        ValueError: when two values would have the same key.

    >>> hints = pd.DataFrame({"hit_rate": [0.5, 0.25]}, index=["in-sample", "cross-fitted"])
    >>> flat_keys({"n_words": 3, "hints": hints})
    {'n_words': 3, 'hints/in-sample/hit_rate': 0.5, 'hints/cross-fitted/hit_rate': 0.25}
    """
    flat: dict[str, Any] = {}
    for name, value in _named_values(values):
        key = "/".join(map(str, name)) if isinstance(name, tuple) else str(name)
        nested = isinstance(value, (Mapping, pd.Series, pd.DataFrame))
        parts = {f"{key}/{rest}": v for rest, v in flat_keys(value).items()} if nested else {key: value}
        if twice := flat.keys() & parts.keys():
            raise ValueError(f"two values have the metric key {min(twice)}")
        flat |= parts
    return flat


def _named_values(values: Mapping | pd.Series | pd.DataFrame) -> Iterable[tuple[Any, Any]]:
    if isinstance(values, pd.DataFrame):
        return zip(values.index, values.to_dict("records"), strict=True)
    return (
        zip(values.index, values.tolist(), strict=True) if isinstance(values, pd.Series) else values.items()
    )


def write_metrics(stage: str, values: Mapping[str, Any], *, dataset: str) -> Path:
    """Write `reports/metrics/<stage>.json` with the data's :func:`origin`.

    Args:
        values: numbers by key; also tables and mappings, see :func:`flat_keys`.
    """
    return files.write_json({**flat_keys(values), **origin(dataset)}, config.metrics_file(stage))


@dataclass(frozen=True)
class _Origin:
    source: str
    order_sha256: str


def origin(dataset: str) -> dict[str, str]:
    """`dataset`, `source` and `order_sha256`: where the data came from, and a hash of their order.

    Raises:
        StudyError: when stage `data` left no summary that says so.
    """
    path = config.processed_dir(dataset) / "summary.json"
    try:
        summary = files.read_json(path, _Origin)
    except FileNotFoundError:
        raise StudyError(f"{path} is not there: run `dvc repro data` first") from None
    return {"dataset": dataset, **asdict(summary)}

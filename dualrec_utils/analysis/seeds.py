"""What a system does under several seeds: the run's own lists are seed 0, further seeds lie in tables.

`make seeds` fits systems again and leaves `reports/tables/seeds/<system>.csv`: one row a seed and test
user, the user's means over the `next_item` cases of that seed, items of the history left out. Values and
differences are averaged over seeds user by user; their interval covers other users and other seeds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict

import numpy as np
import pandas as pd
from ruamel.yaml import YAML
from scipy import stats

from dualrec_utils.core import config, evaluation, files
from dualrec_utils.core.config import PROTOCOL, SEED, SYSTEM, USER
from dualrec_utils.core.domain import MOVIES
from dualrec_utils.core.errors import StudyError

METRICS = ("hit_rate@1", "hit_rate@5", "ndcg@5")
FOLDER, MADE_FROM = "seeds", "made_from.json"
# What a run from another seed reads, but for its baselines.
_MADE_FROM_SECTIONS = (
    "dataset", "seed", "data", "lstm", "movielm", "zero_shot_llm", "lora_finetuning", "rerank_ablation",
)  # fmt: skip
# Settings that came later: where they are null, everything is as it always was.
_CAME_LATER = {"data": ("source", "held_out_users"), "lora_finetuning": ("n_users",)}
# The seed of the run's own predictions in this module.
RUN = 0

# Frames of `evaluation.per_case` by (protocol, system).
Cases = Mapping[tuple[str, str], pd.DataFrame]


def settings_digest() -> str:
    """A hash of the settings that further seeds are made from; they count as long as it stays the same.

    Of the baselines those with a table of further seeds count, since the others are not run again.
    """
    paths = dict.fromkeys((config.PACKAGE_ROOT / "params.yaml", config.PARAMS_FILE))
    again = {path.stem for path in (config.TABLES / FOLDER).glob("[!.]*.csv")}
    values = []
    for path in paths:
        whole = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
        models = (whole.get("baselines") or {}).get("models") or {}
        settings = {name: whole.get(name) for name in _MADE_FROM_SECTIONS}
        for name in _CAME_LATER.keys() & {name for name, section in settings.items() if section}:
            left_out = [key for key in _CAME_LATER[name] if settings[name].get(key) is None]
            settings[name] = {key: value for key, value in settings[name].items() if key not in left_out}
        if whole.get("domain") not in (None, {}, asdict(MOVIES)):
            settings["domain"] = whole["domain"]
        values.append([settings, {name: models[name] for name in models if name in again}])
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]


def check_settings() -> None:
    """Refuse further seeds that were made from other settings than the run's.

    Raises:
        StudyError: saying what to do.
    """
    folder = config.TABLES / FOLDER
    if any(folder.glob("[!.]*.csv")):
        about = files.read_json(folder / MADE_FROM, missing={})
        if about.get("settings") != settings_digest():
            raise StudyError(
                f"{folder} holds further seeds, but of other settings than params.yaml has now: run `make"
                " seeds`, or delete its CSV files to go on with one seed"
            )


def further(system: str, *, users: pd.Index) -> dict[int, pd.DataFrame]:
    """The further seeds of a system: seed -> users' means, a row a user and a column a metric.

    Args:
        users: those of the run, ascending.

    Returns:
        Seeds ascending, users as given; empty where no further seed was run.

    Raises:
        StudyError: when the table lacks a column, holds seed 0, has other users than the run, or was made
            from other settings (:func:`check_settings`).
    """
    path = config.TABLES / FOLDER / f"{system}.csv"
    if not path.is_file():
        return {}
    check_settings()
    try:
        table = pd.read_csv(path)
    except ValueError as error:  # pandas' exceptions for damaged files are ValueErrors
        raise StudyError(f"{path} cannot be read ({error}): run `make seeds` again") from error
    wanted = [SEED, USER, *METRICS]
    if missing := [name for name in wanted if name not in table]:
        raise StudyError(f"{path} lacks the columns {missing}: run `make seeds` again")
    by_seed = {}
    for seed, rows in table[wanted].groupby(SEED):
        values = rows.set_index(USER)[list(METRICS)].apply(pd.to_numeric, errors="coerce").sort_index()
        if seed == RUN or not values.index.equals(users) or values.isna().any(axis=None):
            raise StudyError(
                f"{path}, seed {seed}: it must have one value of each metric for each of the run's"
                f" {len(users)} test users, and a seed other than {RUN}, the run's: run `make seeds` again"
            )
        by_seed[int(seed)] = values
    return by_seed


def user_means(cases: Cases, system: str) -> dict[int, pd.DataFrame]:
    """A system under every seed there is: seed -> users' means of :data:`METRICS` under `next_item`.

    Returns:
        The run's own first; users ascending. Empty where the system was not run.

    Raises:
        StudyError: as :func:`further`.
    """
    if ("next_item", system) not in cases:
        return {}
    values = cases["next_item", system].groupby(USER)[list(METRICS)].mean().sort_index()
    return {RUN: values} | further(system, users=values.index)


def interval(
    values: pd.DataFrame, *, seed: int, n_bootstrap: int, confidence: float
) -> dict[str, float | int]:
    """The mean over users and seeds of a value or a difference, with an interval over both.

    Half its width squared is (half the width of the bootstrap interval over users of the mean over seeds)
    squared + (t quantile with k - 1 degrees of freedom x SD over the k seeds / square root of k) squared.
    With one seed it is the interval over users as it stands, which need not be symmetric.

    Args:
        values: a row a user, a column a seed.
        seed: of the resampling.
        n_bootstrap, confidence: as `evaluation.summarise`.

    Returns:
        `value`, `low`, `high`, `n_users`, `n_seeds`, `over_seeds` (the second of the two parts, 0 with one
        seed).
    """
    mean, k = values.mean(axis=1).rename("value").rename_axis(USER).reset_index(), values.shape[1]
    intervals = {"seed": seed, "n_bootstrap": n_bootstrap, "confidence": confidence}
    row = evaluation.summarise(mean, columns=["value"], **intervals).loc["value"]
    value, low, high, over_seeds = row["value"], row["low"], row["high"], 0.0
    if k > 1:
        quantile = stats.t.ppf((1 + confidence) / 2, k - 1)
        over_seeds = float(quantile * values.mean().std() / np.sqrt(k))
        half = np.hypot((high - low) / 2, over_seeds)
        low, high = value - half, value + half
    ends = {"value": float(value), "low": float(low), "high": float(high)}
    return ends | {"n_users": len(values), "n_seeds": k, "over_seeds": over_seeds}


def with_seeds(table: pd.DataFrame, cases: Cases, **intervals) -> pd.DataFrame:
    """The table of all systems with the mean over seeds, and its interval, where there are several.

    Args:
        table: from `evaluation.tabulate`, of one split.
        intervals: as :func:`interval`.

    Returns:
        The table with `n_seeds` more. Rows of `next_item` and :data:`METRICS` (NDCG@1, which is HR@1, too)
        are replaced where a system has further seeds; all others are of the run's own seed.

    Raises:
        StudyError: as :func:`further`.
    """
    table = table.assign(n_seeds=1)
    for system in table.loc[table[PROTOCOL] == "next_item", SYSTEM].unique():
        by_seed = user_means(cases, system)
        if len(by_seed) == 1:
            continue
        for metric, shown in (*((name, name) for name in METRICS), ("hit_rate@1", "ndcg@1")):
            row = interval(pd.DataFrame({s: frame[metric] for s, frame in by_seed.items()}), **intervals)
            place = (
                (table[PROTOCOL] == "next_item") & (table[SYSTEM] == system) & (table["metric"] == shown)
            )
            for column in ("value", "low", "high", "n_seeds"):
                table.loc[place, column] = row[column]
    return table

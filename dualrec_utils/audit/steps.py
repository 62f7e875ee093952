"""The audit: one step at a time between the paper's way of measuring and this study's, as numbers.

A step compares settings of one thing, for example "the whole catalog" with "20 candidates". Its material is
one per-case frame a (step, system, setting, protocol), values in [0, 1]; the first setting of a step and
system is the study's own and the others are held against it. Everything is averaged per user first and
users are resampled, as everywhere in this study; `stats` are `seed`, `n_bootstrap` and `confidence` of
:func:`core.evaluation.summarise`.

Nothing outside of `audit/` imports its modules: here targets may reach a ranking, to show what that does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from dualrec_utils.analysis import verdict
from dualrec_utils.core import evaluation, metrics
from dualrec_utils.core.config import CASE, PROTOCOL, SYSTEM, USER
from dualrec_utils.core.errors import StudyError
from dualrec_utils.models import systems
from dualrec_utils.show import tables

METRICS = ("hit_rate@1", "hit_rate@5", "ndcg@5")
# Steps, each in words; the figures draw them in this order.
STEPS = {
    "ground_truth": "One next movie, or any of the last five?",
    "candidates": "The whole catalog, or 20 candidates?",
    "training_sessions": "Trained on all users, or on 50 sessions?",
    "seen": "Movies already rated: left out, or kept?",
    "reference": "Re-ranked towards the LSTM's title, or towards the answers too?",
    "hit_rule": "The same movie, or a title that looks alike?",
    "list_length": "Ten titles, or three?",
    "compaction": "Unusable titles keep their place, or are taken out?",
    "lora_modules": "LoRA on four projections, or on q_proj and v_proj?",
    "lora_hints": "Hints out of sample, or in sample?",
    "lora_loss": "Loss on the answer, or on prompt and padding too?",
    "lstm_targets": "A target at every position, or one a window?",
}


# The step whose settings are protocols; in every other one, protocols are compared each within itself.
_ACROSS = "ground_truth"
# Where HR@5 says least: a list of three keeps its titles, or loses places that held none.
STEP_METRICS = dict.fromkeys(STEPS, "hit_rate@5") | {"reference": "hit_rate@1", "compaction": "ndcg@5"}


class Key(NamedTuple):
    """What one per-case frame measures."""

    step: str
    system: str
    setting: str
    protocol: str


Measured = Mapping[Key, pd.DataFrame]


def per_case(cases: pd.DataFrame, first_hits: Sequence[float], n_equal: Sequence[int] = 0) -> pd.DataFrame:
    """A per-case frame from the ranks of the first hits.

    Args:
        cases: frame with `case_id`, `user_id`.
        first_hits: best rank that the first hit of each case can have, from 1, infinity for a miss.
        n_equal: others of the same score; every order among them is as likely.

    Returns:
        `case_id`, `user_id`, `first_hit` and the columns of :data:`METRICS`, each its mean over the orders.
    """
    hits, n_equal = np.broadcast_arrays(np.asarray(first_hits, dtype=float), n_equal)
    frame = cases[[CASE, USER]].reset_index(drop=True).assign(first_hit=hits + n_equal / 2)
    later = np.arange(n_equal.max(initial=0) + 1)
    possible = later <= n_equal[:, None]
    for metric in METRICS:
        name, k = metric.split("@")
        function = metrics.hit_rate if name == "hit_rate" else metrics.ndcg
        values = function(hits[:, None] + later, int(k))
        frame[metric] = values.sum(axis=1, where=possible) / (n_equal + 1)
    return frame


def mean_over_draws(draws: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Per-case frames of several draws (seeds) of one setting, averaged case by case."""
    stacked = pd.concat([draw[[CASE, USER, *METRICS]] for draw in draws])
    return stacked.groupby([CASE, USER], as_index=False).mean()


def _user_means(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.groupby(USER)[list(METRICS)].mean()


def _resampled(users: pd.DataFrame, draws: np.ndarray) -> np.ndarray:
    """Means over the users of each draw that have a value, (n_bootstrap, n_metrics); NaN where none has."""
    values = users.to_numpy()
    present = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return (draws @ np.where(present, values, 0.0)) / (draws @ present)


def difference(
    frame: pd.DataFrame, other: pd.DataFrame, *, seed: int, n_bootstrap: int, confidence: float
) -> pd.DataFrame:
    """Difference of the means over users, `frame` minus `other`, with its bootstrap interval.

    Users are paired: a resample draws the same ones for both sides. The two may have different cases of a
    user (another protocol), and one may lack users altogether (without a case under its protocol); then
    each side is the mean over the users it has.

    Returns:
        Frame indexed by metric with `difference`, `low`, `high`, `n_users` (of both together).
    """
    one, two = _user_means(frame), _user_means(other)
    everyone = one.index.union(two.index)
    one, two = one.reindex(everyone), two.reindex(everyone)
    draws = evaluation.user_draws(len(everyone), n_bootstrap=n_bootstrap, seed=seed)
    gained = _resampled(one, draws) - _resampled(two, draws)
    tail = (1 - confidence) / 2
    return pd.DataFrame(
        {
            "difference": (one.mean() - two.mean()).to_numpy(),
            "low": np.nanquantile(gained, tail, axis=0),
            "high": np.nanquantile(gained, 1 - tail, axis=0),
            "n_users": len(everyone),
        },
        index=pd.Index(METRICS, name="metric"),
    )


def _shares_first(users: pd.DataFrame, draws: np.ndarray) -> tuple[float, np.ndarray]:
    """HR@1 over HR@5 of the users' means, and of each draw; NaN where nothing hits."""
    means, point = _resampled(users, draws), users.mean()
    with np.errstate(invalid="ignore", divide="ignore"):
        return float(np.divide(point["hit_rate@1"], point["hit_rate@5"])), means[:, 0] / means[:, 1]


def share_first(
    frame: pd.DataFrame,
    other: pd.DataFrame | None = None,
    *,
    seed: int,
    n_bootstrap: int,
    confidence: float,
) -> dict[str, float]:
    """HR@1 over HR@5: of the lists with a hit among the first five, the share that has it on top.

    Args:
        frame: per-case frame.
        other: another one; then the share of `frame` minus that of `other`, users paired.

    Returns:
        `value`, `low`, `high`, `n_users`; NaN where nothing hits, or there is nobody. Draws without a hit
        are left out of the interval.
    """
    users = _user_means(frame)
    everyone = users.index if other is None else users.index.union(_user_means(other).index)
    if everyone.empty:
        return {"value": np.nan, "low": np.nan, "high": np.nan, "n_users": 0}
    draws = evaluation.user_draws(len(everyone), n_bootstrap=n_bootstrap, seed=seed)
    value, drawn = _shares_first(users.reindex(everyone), draws)
    if other is not None:
        less, less_drawn = _shares_first(_user_means(other).reindex(everyone), draws)
        value, drawn = value - less, drawn - less_drawn
    known = drawn[np.isfinite(drawn)]
    tail = (1 - confidence) / 2
    low, high = np.quantile(known, [tail, 1 - tail]) if len(known) else (np.nan, np.nan)
    return {"value": value, "low": float(low), "high": float(high), "n_users": len(everyone)}


def summarise(measured: Measured, **stats: float) -> pd.DataFrame:
    """Every setting of every step with its interval over users.

    Returns:
        One row a (step, system, setting, protocol, metric): those, `value`, `low`, `high`, `n_users`,
        `n_cases`.

    Raises:
        StudyError: for a step without words in :data:`STEPS`, or a setting without any case.
    """
    rows = []
    for key, frame in measured.items():
        if key.step not in STEPS:
            raise StudyError(f"the audit has no step {key.step!r}; steps: {', '.join(STEPS)}")
        if frame.empty:
            raise StudyError(
                f"step {key.step}, {key.system}, setting {key.setting!r} under {key.protocol} has no case:"
                " nothing can be averaged; take more test users or cases"
            )
        summary = evaluation.summarise(frame, columns=METRICS, **stats)
        rows.append(summary.reset_index().assign(**key._asdict()))
    return _keys_first(rows, "metric")


def differences(measured: Measured, **stats: float) -> pd.DataFrame:
    """Every further setting of a (step, system, protocol) minus its first one, the study's own.

    In step `ground_truth` the settings are protocols, and the first one of a system is its reference.

    Returns:
        One row a (step, system, setting, metric): those, `protocol`, `against` (the first setting),
        `difference`, `low`, `high`, `n_users`.
    """
    first: dict[tuple[str, ...], Key] = {}
    rows = []
    for key, frame in measured.items():
        group = (key.step, key.system) if key.step == _ACROSS else (key.step, key.system, key.protocol)
        reference = first.setdefault(group, key)
        if reference is not key:
            gain = difference(frame, measured[reference], **stats)
            rows.append(gain.reset_index().assign(**key._asdict(), against=reference.setting))
    return _keys_first(rows, "against", "metric")


def _keys_first(rows: Sequence[pd.DataFrame], *more: str) -> pd.DataFrame:
    table, first = pd.concat(rows, ignore_index=True), [*Key._fields, *more]
    return table[first + [column for column in table if column not in first]]


def flatten(values: pd.DataFrame, gains: pd.DataFrame) -> dict[str, float]:
    """Flat metric keys: `audit/<step>/<protocol>/<system>/<setting>/<metric>` with `/low`, `/high` beside
    it, and `audit/<step>/difference/<protocol>/...` likewise; spaces become underscores, commas go.

    Args:
        values: from :func:`summarise`.
        gains: from :func:`differences`.
    """
    flat: dict[str, float] = {}
    for row in values.itertuples():
        place = f"audit/{row.step}/{row.protocol}/{row.system}/{row.setting}"
        flat |= evaluation.with_interval(f"{place}/{row.metric}", row)
        flat |= {f"{place}/n_users": int(row.n_users), f"{place}/n_cases": int(row.n_cases)}
    for row in gains.itertuples():
        key = f"audit/{row.step}/difference/{row.protocol}/{row.system}/{row.setting}/{row.metric}"
        flat |= evaluation.with_interval(key, row, column="difference")
    return {key.replace(",", "").replace(" ", "_"): value for key, value in flat.items()}


def in_words(measured: Measured, *names: str, metric: str | None = None, **stats: float) -> str:
    """Steps in words, one line a comparison: what the other setting does, and whether it can be told.

    Args:
        names: keys of :data:`STEPS`; every step measured if left out.
        metric: one of :data:`METRICS`; that of :data:`STEP_METRICS` if left out.

    Returns:
        A Markdown list; one sentence where none of them was run.
    """
    frames = {key: frame for key, frame in measured.items() if not names or key.step in names}
    if not frames:
        return "Not run here; section 10 says why."
    gains = differences(frames, **stats)
    lines = []
    for _, row in gains[gains["metric"] == (metric or gains["step"].map(STEP_METRICS))].iterrows():
        flat = evaluation.with_interval("d", row, column="difference")
        lines.append(
            f"- {systems.label(row[SYSTEM])} ({row[PROTOCOL]}), {row['setting']} minus {row['against']},"
            f" {verdict.short(row['metric'])}: {verdict.points(flat, 'd')}, {verdict.reading(flat, 'd')}."
        )
    return "\n".join(lines)


def side_by_side(measured: Measured, *, metric: str, **stats: float) -> pd.DataFrame:
    """The settings of one step beside each other: a row a system, a column a setting, as measured.

    Args:
        metric: one of :data:`METRICS`.

    Returns:
        Cells are values with their intervals.
    """
    table = summarise(measured, **stats)
    table = table[table["metric"] == metric]
    cells = map(tables.with_interval, table["value"], table["low"], table["high"])
    wide = table.assign(cell=list(cells)).pivot(index=SYSTEM, columns="setting", values="cell")
    return wide.loc[table[SYSTEM].unique(), table["setting"].unique()]

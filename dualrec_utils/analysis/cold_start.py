"""How far off predictions are by how much is known: values, differences to baselines, answers in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dualrec_utils.analysis import ratings as analysis
from dualrec_utils.core import evaluation, ratings as rules
from dualrec_utils.core.config import ITEM, RATING, SYSTEM, USER
from dualrec_utils.core.errors import StudyError
from dualrec_utils.core.ratings import ERROR, PREDICTION, RATING_ID
from dualrec_utils.models.ratings.cold_figures import in_order
from dualrec_utils.models.ratings.cold_start import N_KNOWN, NOTHING, SAID, HeldOut
from dualrec_utils.show.tables import with_interval

METRIC, NDCG = "metric", "ndcg"
METRICS = (*rules.METRICS, NDCG)
OTHER = "other"
# In the place of a value.
NOT_POSSIBLE = "not possible"
_KEYS = [SYSTEM, SAID, N_KNOWN]


@dataclass(frozen=True)
class Scores:
    """What every system is worth under every condition, and in every resample.

    Attributes:
        conditions: (system, text, n_known), shape (n_conditions, 3).
        value: shape (n_conditions, 3), in the order of :data:`METRICS`.
        drawn: the same in each resample, shape (n_bootstrap, n_conditions, 3).
        n: users or items resampled, for each metric; n_targets: ratings predicted.
        confidence: of intervals.
    """

    conditions: list[tuple[str, str, str]]
    value: np.ndarray
    drawn: np.ndarray
    n: tuple[int, int, int]
    n_targets: int
    confidence: float

    def ends(self, drawn: np.ndarray) -> np.ndarray:
        """Ends of the intervals of resampled values, (n_bootstrap, ...): shape (2, ...)."""
        tail = (1 - self.confidence) / 2
        return np.quantile(drawn, [tail, 1 - tail], axis=0)


def scores(
    predictions: pd.DataFrame,
    targets: pd.DataFrame,
    *,
    by: str,
    k: int,
    seed: int,
    n_bootstrap: int,
    confidence: float,
) -> Scores:
    """RMSE, MAE and NDCG of every system under every condition, pooled over all targets.

    Args:
        predictions: of :class:`models.ratings.cold_runs.Answers`: all of a condition on the same targets.
        targets: `rating_id`, `user_id`, `item_id`, `rating`.
        by: `user_id` or `item_id`: what the intervals of RMSE and MAE resample. NDCG is a mean over users
            who have two targets or more with different ratings, and resamples them.
        k: places of a ranking that count.
        seed, n_bootstrap, confidence: of the intervals. The same users (or items) are drawn for all.

    Raises:
        StudyError: when a condition lacks a target, or no user has targets that can be ranked.
    """
    conditions, sums, ranked = [], [], []
    for keys, part in predictions.groupby(_KEYS, sort=False):
        errors = rules.errors(part, targets)
        of_each = errors.assign(squared=errors[ERROR] ** 2, absolute=errors[ERROR].abs()).groupby(by)
        conditions.append(keys)
        sums.append(of_each[["squared", "absolute"]].sum().to_numpy())
        ranked.append(analysis.ranking(part, targets, k=k, seed=seed).set_index(USER)[NDCG].to_numpy())
    if not len(ranked[0]):
        raise StudyError("no user has two targets with different ratings: there is nothing to rank")
    sums, ranked = np.stack(sums, axis=1), np.stack(ranked, axis=1)
    n_rows = targets.groupby(by).size().to_numpy()
    draws = evaluation.user_draws(len(n_rows), n_bootstrap=n_bootstrap, seed=seed)
    of_users = evaluation.user_draws(len(ranked), n_bootstrap=n_bootstrap, seed=seed)
    return Scores(
        conditions,
        _three(sums.sum(axis=0) / n_rows.sum(), ranked.mean(axis=0)),
        _three(
            np.tensordot(draws, sums, axes=1) / (draws @ n_rows)[:, None, None],
            of_users @ ranked / len(ranked),
        ),
        (len(n_rows), len(n_rows), len(ranked)),
        len(targets),
        confidence,
    )


def _three(means: np.ndarray, ranked: np.ndarray) -> np.ndarray:
    """RMSE, MAE and NDCG from means of squared and absolute errors (..., 2) and NDCG (...)."""
    return np.stack([np.sqrt(means[..., 0]), means[..., 1], ranked], axis=-1)


def values(scored: Scores) -> pd.DataFrame:
    """A row a condition and metric.

    Returns:
        `system`, `text`, `n_known`, `metric`, `value`, `low`, `high`, `n` (users or items resampled),
        `n_targets`.
    """
    low, high = scored.ends(scored.drawn)
    rows = [
        (*keys, metric, scored.value[row, m], low[row, m], high[row, m], scored.n[m], scored.n_targets)
        for row, keys in enumerate(scored.conditions)
        for m, metric in enumerate(METRICS)
    ]
    return pd.DataFrame(rows, columns=[*_KEYS, METRIC, "value", "low", "high", "n", "n_targets"])


def differences(scored: Scores, *, others: Sequence[str]) -> pd.DataFrame:
    """Every system minus some others that know as many ratings and no text, on the same targets.

    Args:
        others: systems to compare with; a system is compared with its own predictions without text too,
            where it has some with text.

    Returns:
        `system`, `text`, `n_known`, `other`, `metric`, `difference` (below 0 in RMSE and MAE and above 0 in
        NDCG: the system is better), `low`, `high`, `n`.
    """
    row_of = {keys: row for row, keys in enumerate(scored.conditions)}
    rows = []
    for keys, here in row_of.items():
        system, text, n_known = keys
        for other in [*others, *([system] if text != NOTHING else [])]:
            there = row_of.get((other, NOTHING, n_known), here)
            if there == here:
                continue
            low, high = scored.ends(scored.drawn[:, here] - scored.drawn[:, there])
            gaps = scored.value[here] - scored.value[there]
            rows += [
                (*keys, other, metric, gaps[m], low[m], high[m], scored.n[m])
                for m, metric in enumerate(METRICS)
            ]
    columns = [*_KEYS, OTHER, METRIC, "difference", "low", "high", "n"]
    return pd.DataFrame(rows, columns=columns).astype({"n": "int64"})


def mean_errors(predictions: pd.DataFrame, targets: pd.DataFrame) -> pd.DataFrame:
    """Mean of prediction minus rating without a text: below 0, a system predicts too low.

    Args:
        predictions, targets: as :func:`scores`.

    Returns:
        A row a system, a column a number of known ratings.
    """
    plain = predictions[predictions[SAID] == NOTHING]
    joined = plain.merge(targets[[RATING_ID, RATING]], on=RATING_ID)
    means = (
        joined.assign(error=joined[PREDICTION] - joined[RATING]).groupby([SYSTEM, N_KNOWN])["error"].mean()
    )
    table = means.unstack()
    return table.loc[list(dict.fromkeys(plain[SYSTEM])), in_order(table.columns)]


def wide(
    table: pd.DataFrame, not_possible: pd.DataFrame, *, metric: str, text: str, systems: Sequence[str]
) -> pd.DataFrame:
    """One row a system, one column a number of known ratings, each cell a value with its interval.

    Args:
        table: of :func:`values`.
        not_possible: of :class:`models.ratings.cold_runs.Answers`: these cells say so.
        metric, text: the rows wanted.
        systems: in the order of rows; one that was not asked has no row, a number it was not asked for a
            dash.

    Returns:
        Indexed by system.

    Raises:
        StudyError: when a system has a value and a reason why it has none.
    """
    some = table[(table[METRIC] == metric) & (table[SAID] == text)]
    cells = {
        (row.system, row.n_known): with_interval(row.value, row.low, row.high) for row in some.itertuples()
    }
    for row in not_possible[not_possible[SAID] == text].itertuples():
        if (row.system, row.n_known) in cells:
            raise StudyError(f"{row.system} has a value from {row.n_known} ratings and a reason for none")
        cells[row.system, row.n_known] = NOT_POSSIBLE
    numbers = in_order(number for _, number in cells)
    shown = [name for name in systems if any(name == system for system, _ in cells)]
    rows = [[cells.get((name, number), "–") for number in numbers] for name in shown]
    return pd.DataFrame(rows, index=pd.Index(shown, name=SYSTEM), columns=pd.Index(numbers, name=N_KNOWN))


def levels(held: HeldOut, counts: Sequence[int], *, seed: int) -> pd.DataFrame:
    """How much a few known ratings say of a user's level in the targets.

    A level is the mean of how far a user's ratings lie above their items' training means; items that nobody
    in training rated do not count.

    Args:
        held: users held out.
        counts: numbers of known ratings.
        seed: of the draw.

    Returns:
        Indexed by `n_known`, the positive counts: correlation over users between the level in the targets
        and that in the `first` so many known ratings, and in as many `drawn` of all the known ones.
    """
    means = held.others.groupby(ITEM)[RATING].mean()

    def level(part: pd.DataFrame) -> pd.Series:
        return part.assign(above=part[RATING] - part[ITEM].map(means)).groupby(USER)["above"].mean()

    late, shuffled = level(held.targets), held.known.sample(frac=1, random_state=seed)
    numbers = [n for n in counts if n]
    rows = [
        (late.corr(level(held.first(n))), late.corr(level(shuffled.groupby(USER).head(n)))) for n in numbers
    ]
    return pd.DataFrame(rows, columns=["first", "drawn"], index=pd.Index(numbers, name=N_KNOWN))


def with_not_possible(table: pd.DataFrame, not_possible: pd.DataFrame) -> pd.DataFrame:
    """The table of values with a row without numbers, `remark` "not possible: ...", for what cannot be."""
    rows = not_possible.assign(remark=NOT_POSSIBLE + ": " + not_possible["reason"].astype("str"))
    return pd.concat([table.assign(remark=""), rows[[*_KEYS, "remark"]]], ignore_index=True).astype(
        {"n": "Int64", "n_targets": "Int64"}
    )


def in_words(table: pd.DataFrame, *, system: str, text: str, other: str, metric: str = "rmse") -> str:
    """Where a system is better than another, in one sentence a number of known ratings.

    Args:
        table: of :func:`differences`.
        system, text, other: the rows wanted.
    """
    rows = table[
        (table[SYSTEM] == system)
        & (table[SAID] == text)
        & (table[OTHER] == other)
        & (table[METRIC] == metric)
    ].set_index(N_KNOWN)
    sign = -1 if metric in rules.METRICS else 1
    parts = []
    for number in in_order(rows.index):
        row = rows.loc[number]
        sure = evaluation.side_of_zero(row["low"], row["high"])
        word = ("better" if sign * row["difference"] > 0 else "worse") if sure else "unclear"
        parts.append(
            f"{number}: {row['difference']:+.3f} ({row['low']:+.3f} to {row['high']:+.3f}, {word})"
        )
    return "; ".join(parts) or NOT_POSSIBLE


def wordings_in_words(table: pd.DataFrame) -> str:
    """How many wordings of a language model fail the check, in one sentence.

    Args:
        table: of :func:`models.ratings.wordings.shares`.
    """
    row = table[table["what"] == "any"].iloc[0]
    if row["remark"]:
        return f"{row['model']} was {row['remark']}; every recommendation shows the plain sentence."
    return (
        f"of {row['n_wordings']} wordings by {row['model']}, {row['n']} ({row['share']:.0%}) name something"
        " that is not in the evidence; the plain sentence is shown instead."
    )


def flatten(tables: Mapping[str, pd.DataFrame]) -> dict[str, float]:
    """Metric keys `users/none/0/biases/rmse` and `.../low`, `.../high` of tables of :func:`values`."""
    flat = {}
    for name, table in tables.items():
        for row in table.itertuples():
            key = "/".join([name, row.text.replace(" ", "_"), row.n_known, row.system, row.metric])
            flat |= evaluation.with_interval(key, row)
    return flat


def check_same(predictions: pd.DataFrame) -> int:
    """The number of targets, which is the same under every condition.

    Raises:
        StudyError: when it is not.
    """
    seen = {frozenset(ids) for _, ids in predictions.groupby(_KEYS)[RATING_ID]}
    if len(seen) != 1:
        raise StudyError("conditions of the cold start have different targets: their values do not compare")
    return len(seen.pop())

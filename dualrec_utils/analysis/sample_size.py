"""How many users a comparison needs, and what this study's users can tell apart.

Everything is for a two-sided test of one comparison by the normal approximation (Cohen, Statistical Power
Analysis for the Behavioral Sciences, 1988), with the variance over users that this run observed.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy import stats

from dualrec_utils.analysis.significance import user_values
from dualrec_utils.core import config
from dualrec_utils.core.config import PROTOCOL, SYSTEM

# HR@1 is the metric of the paper's claim, HR@5 that of this study's verdict.
METRICS = ("hit_rate@1", "hit_rate@5")
_MEDIANS = ("users_independent", "users_paired", "smallest_difference", "smallest_difference_paper")
_COLUMNS = (PROTOCOL, "metric", "n_users", "cases_per_user", "correlation", *_MEDIANS)
_COLUMNS += ("variance_independent", "variance_paired")
# Test users of the paper's dataset: 15% of those with ten of the items that are kept.
PAPER_USERS = 904


def users_needed(difference: float, *, variance: float, alpha: float, power: float) -> float:
    """Users that a two-sided test needs: (z(1 - alpha/2) + z(power))^2 variance / difference^2.

    Args:
        difference: to be told from zero, in the metric's own unit.
        variance: of a user's difference in a paired design; the sum of both systems' variances over
            users where each is tried on users of its own, and the result is then the users of each.
        alpha: chance of a false alarm.
        power: chance of seeing the difference where it is there.

    Returns:
        A whole number, at least 1; NaN where the variance is.
    """
    return float(np.maximum(np.ceil(_z(alpha, power) ** 2 * variance / difference**2), 1))


def smallest_difference(n_users: int, *, variance: float, alpha: float, power: float) -> float:
    """The smallest difference that so many users can tell from zero: :func:`users_needed` solved for it."""
    return float(_z(alpha, power) * np.sqrt(variance / n_users))


def _z(alpha: float, power: float) -> float:
    return float(stats.norm.ppf(1 - alpha / 2) + stats.norm.ppf(power))


def table(
    cases: Mapping[tuple[str, str], pd.DataFrame],
    pairs: Sequence[tuple[str, str]],
    *,
    rates: Sequence[float],
    alpha: float,
    power: float,
) -> pd.DataFrame:
    """How many users tell two hit rates apart, given how users vary in this study.

    A user's variance is taken from the observed one, scaled to the rate asked about as that of a share
    is: by rate (1 - rate). The correlation of the two systems over users is the observed one.

    Args:
        cases: (protocol, system) -> frame of `evaluation.per_case`.
        pairs: (system, other); those without predictions, without a difference, or with a hit rate of 0
            or 1 are left out.
        rates: the two hit rates to tell apart.
        alpha, power: as :func:`users_needed`, for a single comparison.

    Returns:
        One row a (protocol, metric, pair): `n_users`, `cases_per_user` (mean), `correlation`,
        observed variances `variance_independent` (sum of both) and `variance_paired` (of the difference),
        `users_independent` (of each system), `users_paired`, and the smallest paired difference, at the
        observed variance, for the users of this run and for :data:`PAPER_USERS`:
        `smallest_difference`, `smallest_difference_paper`.
    """
    rows = []
    for protocol, metric, pair in itertools.product(config.PROTOCOLS, METRICS, pairs):
        compared = {name: cases[protocol, name] for name in pair if (protocol, name) in cases}
        if len(compared) < 2:
            continue
        values = user_values(compared, metric=metric)
        means, covariance = values.mean().to_numpy(), values.cov().to_numpy()
        differ = (values[pair[0]] != values[pair[1]]).any()
        if not differ or not ((means > 0) & (means < 1)).all():
            continue
        scale = np.sqrt([rate * (1 - rate) for rate in rates] / (means * (1 - means)))
        scaled = covariance * np.outer(scale, scale)
        gap, options = rates[0] - rates[1], {"alpha": alpha, "power": power}
        variance = _of_difference(covariance)
        row = {
            PROTOCOL: protocol,
            "metric": metric,
            SYSTEM: pair[0],
            "other": pair[1],
            "n_users": len(values),
            "cases_per_user": len(compared[pair[0]]) / len(values),
            "correlation": covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1]),
            "variance_independent": np.trace(covariance),
            "variance_paired": variance,
            "users_independent": users_needed(gap, variance=np.trace(scaled), **options),
            "users_paired": users_needed(gap, variance=_of_difference(scaled), **options),
            "smallest_difference": smallest_difference(len(values), variance=variance, **options),
            "smallest_difference_paper": smallest_difference(PAPER_USERS, variance=variance, **options),
        }
        rows.append(row)
    # Without a pair to measure, as where no system hits at all, the columns that others choose by stay.
    return pd.DataFrame(rows) if rows else pd.DataFrame(columns=_COLUMNS, dtype=float)


def _of_difference(covariance: np.ndarray) -> float:
    """Variance of the difference of two variables, from their covariance matrix."""
    return float(np.array([1, -1]) @ covariance @ np.array([1, -1]))


def medians(table: pd.DataFrame) -> pd.DataFrame:
    """Medians over the compared pairs, a row a protocol and metric.

    Args:
        table: from :func:`table`.
    """
    columns = ["cases_per_user", "correlation", *_MEDIANS]
    return table.groupby([PROTOCOL, "metric"], sort=False)[columns].median().reset_index()


def flatten(table: pd.DataFrame, *, rates: Sequence[float], power: float) -> dict[str, float]:
    """Medians over pairs: `power/next_item/hit_rate@5/users_paired`, and so for the columns from there on.

    Args:
        table: from :func:`table`.
        rates, power: what it was asked, kept as `power/higher`, `power/lower` and `power/chance`.
    """
    given = {"power/higher": max(rates), "power/lower": min(rates), "power/chance": power}
    medians = table.groupby([PROTOCOL, "metric"], sort=False)[list(_MEDIANS)].median()
    return given | {
        f"power/{protocol}/{metric}/{column}": float(value)
        for (protocol, metric), row in medians.iterrows()
        for column, value in row.items()
    }

"""Paired tests over users, their correction, and effect sizes.

The test is the sign-flip permutation test of user means (Fisher's randomisation test). Its statistic is
the difference that the tables show, and it assumes nothing of how users' differences are distributed:
most are zero, few are large. Under the null hypothesis each user's difference might as well have the
other sign. Wilcoxon's test asks about ranks instead of means and leaves out the users without a difference
(Smucker, Allan and Carterette, CIKM 2007).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from dualrec_utils.core.config import USER
from dualrec_utils.core.errors import StudyError
from dualrec_utils.core.evaluation import LAST_BIT

# Signs drawn at once; keeps memory flat.
_BLOCK = 1_000


def user_values(cases: Mapping[str, pd.DataFrame], *, metric: str) -> pd.DataFrame:
    """Mean of a metric over each user's cases.

    Args:
        cases: system -> frame of `evaluation.per_case`, all over the same users.

    Returns:
        Shape (n_users, n_systems), users ascending.

    Raises:
        ValueError: when the systems answer for different users.
    """
    columns = {system: frame.groupby(USER)[metric].mean() for system, frame in cases.items()}
    values = pd.DataFrame(columns)
    if values.isna().any(axis=None):
        raise ValueError("the systems answer for different users")
    return values


def holm(p_values: Sequence[float]) -> np.ndarray:
    """P-values corrected for their number by Holm's step-down method (1979).

    The smallest of m is multiplied by m, the next by m - 1, and so on; none may fall below the one
    before it, or exceed 1. Whoever calls those under alpha real is wrong about any of them with
    probability alpha at most, however the tests depend on each other.

    >>> holm([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate((len(p) - np.arange(len(p))) * p[order])
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(stepped, 1)
    return adjusted


def check_draws(n_tests: int, *, n_permutations: int, alpha: float) -> None:
    """Refuse draws too few for any p-value of a family of `n_tests` to fall below alpha.

    Raises:
        StudyError: with the number needed.
    """
    # The least p-value is 1 / (1 + draws), and Holm multiplies it by the number of tests.
    if n_tests >= alpha * (1 + n_permutations):
        raise StudyError(
            f"{n_permutations} permutations cannot tell any of {n_tests} differences from zero at"
            f" {alpha:g}: set intervals.n_permutations to {int(np.floor(n_tests / alpha))} or more"
        )


def paired_tests(gains: pd.DataFrame, *, seed: int, n_permutations: int, alpha: float) -> pd.DataFrame:
    """Test whether users' differences are zero on average, as one family.

    `scipy.stats.permutation_test` gives the same values; here one draw of signs serves every column, which
    takes a fiftieth of the time.

    Args:
        gains: a row a user, a column a comparison: what the one system is better by.
        seed: of the signs.
        n_permutations: draws of signs; a p-value is (1 + as far from zero) / (1 + draws).
        alpha: chance of any false alarm in the family.

    Returns:
        One row a column of `gains`: `n_better` and `n_worse` (users above and below zero), `effect_size`
        (Cohen's d_z: the mean difference in standard deviations of users' differences; 0.2 is called
        small, 0.5 medium, 0.8 large; NaN where all users differ by the same), `p` and `p_holm`.

    Raises:
        StudyError: as :func:`check_draws`.
    """
    check_draws(gains.shape[1], n_permutations=n_permutations, alpha=alpha)
    values = gains.to_numpy()
    means, spread = values.mean(axis=0), values.std(axis=0, ddof=1)
    # Where every user differs by the same, there is no spread to measure by.
    measurable = spread > 1e-12
    effect = np.where((values == 0).all(axis=0), 0, np.nan)
    effect[measurable] = means[measurable] / spread[measurable]
    p = _sign_flips(values, seed=seed, n_permutations=n_permutations)
    columns = {
        "n_better": (values > LAST_BIT).sum(axis=0),
        "n_worse": (values < -LAST_BIT).sum(axis=0),
        "effect_size": effect,
        "p": p,
        "p_holm": holm(p),
    }
    return pd.DataFrame(columns, index=gains.columns)


def _sign_flips(gains: np.ndarray, *, seed: int, n_permutations: int) -> np.ndarray:
    """Two-sided p-value of each column's mean, (n_users, n) -> (n,)."""
    generator = np.random.default_rng(seed)
    # Sums that are equal but for the order of their terms count as equally far.
    observed = np.abs(gains.sum(axis=0)) - 1e-9
    as_far = np.zeros(gains.shape[1])
    for start in range(0, n_permutations, _BLOCK):
        n_draws = min(_BLOCK, n_permutations - start)
        signs = generator.integers(0, 2, size=(n_draws, len(gains))) * 2.0 - 1
        as_far += (np.abs(signs @ gains) >= observed).sum(axis=0)
    return (1 + as_far) / (1 + n_permutations)

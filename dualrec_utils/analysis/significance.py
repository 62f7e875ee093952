"""Which differences are real: paired tests over users, their correction, and effect sizes.

The test is the sign-flip permutation test of user means (Fisher's randomisation test). Its statistic is
the difference that the tables show, and it assumes nothing of how users' differences are distributed:
most are zero, few are large. Under the null hypothesis each user's difference might as well have the
other sign. The paired t-test stands beside it as a check; Wilcoxon's test asks about ranks instead of
means and leaves out the users without a difference (Smucker, Allan and Carterette, CIKM 2007).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy import stats

from dualrec_utils.analysis import verdict
from dualrec_utils.core import config
from dualrec_utils.core.config import PROTOCOL, SYSTEM, USER
from dualrec_utils.core.errors import StudyError
from dualrec_utils.models import systems

METRICS = ("hit_rate@1", "hit_rate@5", "ndcg@5")
NOT_RUN = "not run"
# Folder of the tables of models trained from more seeds.
SEEDS = "seeds"
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


def check_draws(n_pairs: int, *, n_permutations: int, alpha: float) -> None:
    """Refuse draws too few for any p-value of a family of `n_pairs` to fall below alpha.

    Raises:
        StudyError: with the number needed.
    """
    # The least p-value is 1 / (1 + draws), and Holm multiplies it by the number of pairs.
    if n_pairs >= alpha * (1 + n_permutations):
        raise StudyError(
            f"{n_permutations} permutations cannot tell any of {n_pairs} comparisons apart at {alpha:g}:"
            f" set intervals.n_permutations to {int(np.floor(n_pairs / alpha))} or more"
        )


def paired_tests(
    values: pd.DataFrame, pairs: Sequence[tuple[str, str]], *, seed: int, n_permutations: int, alpha: float
) -> pd.DataFrame:
    """Test pairs of systems over users, as one family.

    `scipy.stats.permutation_test` gives the same values; here one draw of signs serves every pair, which
    takes a fiftieth of the time.

    Args:
        values: from :func:`user_values`.
        pairs: (system, other), columns of `values`.
        seed: of the signs.
        n_permutations: draws of signs; a p-value is (1 + as far from zero) / (1 + draws).
        alpha: chance of any false alarm in the family.

    Returns:
        One row a pair: `system`, `other`, `n_users`, `difference` (mean of system minus other),
        `n_better` and `n_worse` (users for whom the system does better, worse), `effect_size`
        (Cohen's d_z: the mean difference in standard deviations of users' differences; 0.2 is called
        small, 0.5 medium, 0.8 large; NaN where all users differ by the same), `p_t`, `p_permutation`,
        `p_holm`, and `reading`: `higher`, `lower` or :data:`verdict.NOT_SHOWN`.

    Raises:
        StudyError: as :func:`check_draws`.
    """
    check_draws(len(pairs), n_permutations=n_permutations, alpha=alpha)
    left, right = [one for one, _ in pairs], [other for _, other in pairs]
    gains = values[left].to_numpy() - values[right].to_numpy()
    means, spread = gains.mean(axis=0), gains.std(axis=0, ddof=1)
    # Where every user differs by the same, there is no spread to measure by.
    testable = spread > 1e-12
    same = (gains == 0).all(axis=0)
    p_t, effect = np.where(same, 1, np.nan), np.where(same, 0, np.nan)
    p_t[testable] = stats.ttest_1samp(gains[:, testable], 0).pvalue
    effect[testable] = means[testable] / spread[testable]
    p_permutation = _sign_flips(gains, seed=seed, n_permutations=n_permutations)
    table = pd.DataFrame(
        {
            SYSTEM: left,
            "other": right,
            "n_users": len(values),
            "difference": means,
            "n_better": (gains > 0).sum(axis=0),
            "n_worse": (gains < 0).sum(axis=0),
            "effect_size": effect,
            "p_t": p_t,
            "p_permutation": p_permutation,
            "p_holm": holm(p_permutation),
        }
    )
    sides = np.where(table["difference"] > 0, "higher", "lower")
    return table.assign(reading=np.where(table["p_holm"] < alpha, sides, verdict.NOT_SHOWN))


def _sign_flips(gains: np.ndarray, *, seed: int, n_permutations: int) -> np.ndarray:
    """Two-sided p-value of each column's mean, (n_users, n_pairs) -> (n_pairs,)."""
    generator = np.random.default_rng(seed)
    # Sums that are equal but for the order of their terms count as equally far.
    observed = np.abs(gains.sum(axis=0)) - 1e-9
    as_far = np.zeros(gains.shape[1])
    for start in range(0, n_permutations, _BLOCK):
        n_draws = min(_BLOCK, n_permutations - start)
        signs = generator.integers(0, 2, size=(n_draws, len(gains))) * 2.0 - 1
        as_far += (np.abs(signs @ gains) >= observed).sum(axis=0)
    return (1 + as_far) / (1 + n_permutations)


def planned(
    cases: Mapping[tuple[str, str], pd.DataFrame],
    comparisons: Sequence[tuple[str, str, str]],
    *,
    metrics: Sequence[str] = METRICS,
    **draws,
) -> pd.DataFrame:
    """The planned comparisons, tested and corrected; a family is those of one protocol and metric.

    Args:
        cases: (protocol, system) -> frame of `evaluation.per_case`.
        comparisons: (question, system, other), from `plan.comparisons`.
        draws: `seed`, `n_permutations`, `alpha` of :func:`paired_tests`.

    Returns:
        A row for every comparison, also of systems without predictions, whose `reading` is `not run`:
        `protocol`, `metric`, `question` and the columns of :func:`paired_tests`.
    """
    frames = []
    for protocol, metric in itertools.product(config.PROTOCOLS, metrics):
        own = {system: frame for (where, system), frame in cases.items() if where == protocol}
        asked = pd.DataFrame(comparisons, columns=["question", SYSTEM, "other"])
        pairs = [(one, other) for _, one, other in comparisons if {one, other} <= own.keys()]
        if pairs:
            values = user_values({name: own[name] for pair in pairs for name in pair}, metric=metric)
            asked = asked.merge(paired_tests(values, pairs, **draws), on=[SYSTEM, "other"], how="left")
            frames.append(_of_family(asked.fillna({"reading": NOT_RUN}), protocol, metric))
    table = pd.concat(frames, ignore_index=True)
    return table.astype(dict.fromkeys(("n_users", "n_better", "n_worse"), "Int64"))


def _of_family(tests: pd.DataFrame, protocol: str, metric: str) -> pd.DataFrame:
    return pd.concat({(protocol, metric): tests}, names=[PROTOCOL, "metric"]).reset_index([0, 1])


def all_pairs(
    cases: Mapping[tuple[str, str], pd.DataFrame], names: Sequence[str], *, metric: str, **draws
) -> pd.DataFrame:
    """Every two of some systems, each pair once; the pairs of one protocol are a family.

    Args:
        cases: (protocol, system) -> frame of `evaluation.per_case`.
        names: systems; those without predictions under a protocol are left out of it.
        draws: as :func:`planned`.

    Returns:
        `protocol`, `metric` and the columns of :func:`paired_tests`.
    """
    frames = []
    for protocol in config.PROTOCOLS:
        own = {name: cases[protocol, name] for name in names if (protocol, name) in cases}
        if pairs := list(itertools.combinations(own, 2)):
            tested = paired_tests(user_values(own, metric=metric), pairs, **draws)
            frames.append(_of_family(tested, protocol, metric))
    return pd.concat(frames, ignore_index=True)


def seed_spread(table: pd.DataFrame, names: Sequence[str], *, metric: str) -> pd.DataFrame:
    """What another seed of training changes under `next_item`: mean and standard deviation over seeds.

    More seeds are trained by :mod:`studies.seeds`, whose tables are read where they are.

    Args:
        table: from `results.summarise`.
        names: the systems asked for.

    Returns:
        `system`, `value` (of the run's own seed), `n_seeds`, `mean`, `sd` (n - 1) and `remark`: empty,
        `one seed only`, or `not run`.
    """
    rows = table[(table[PROTOCOL] == "next_item") & (table["metric"] == metric)].set_index(SYSTEM)["value"]
    spread = []
    for name in names:
        path = config.TABLES / SEEDS / f"{name}.csv"
        values = pd.read_csv(path)[metric] if path.is_file() else pd.Series(dtype=float)
        n_seeds = max(len(values), int(name in rows))
        remark = {0: NOT_RUN, 1: "one seed only"}.get(n_seeds, "")
        mean, sd = (values.mean(), values.std()) if n_seeds > 1 else (np.nan, np.nan)
        spread.append((name, rows.get(name, np.nan), n_seeds, mean, sd, remark))
    return pd.DataFrame(spread, columns=[SYSTEM, "value", "n_seeds", "mean", "sd", "remark"])


def readable(tests: pd.DataFrame, *, protocol: str, metrics: Sequence[str]) -> dict[str, pd.DataFrame]:
    """Families of :func:`planned` as a reader sees them: names in words, differences in points.

    Returns:
        One table a metric, under its short name, such as HR@5.
    """
    names = {"effect_size": "d_z", "p_t": "p (t)", "p_permutation": "p", "p_holm": "p (Holm)"}
    families = {}
    for metric in metrics:
        own = tests[(tests[PROTOCOL] == protocol) & (tests["metric"] == metric)]
        users = zip(own["n_better"], own["n_worse"], strict=True)
        shown = {
            "question": own["question"],
            "systems": own[SYSTEM].map(systems.label) + " − " + own["other"].map(systems.label),
            "points": 100 * own["difference"],
            "users better / worse": ["" if pd.isna(up) else f"{up} / {down}" for up, down in users],
        }
        rest = own[[*names, "reading"]].rename(columns=names)
        families[verdict.short(metric)] = pd.DataFrame(shown).join(rest)
    return families


def counts_in_words(tests: pd.DataFrame, *, alpha: float) -> str:
    """How many comparisons of each family show a difference by themselves, corrected, and by the t-test.

    Args:
        tests: from :func:`planned`.
        alpha: the level they were tested at.

    Returns:
        A Markdown list, one line a family.
    """
    lines = []
    ran = tests[tests["reading"] != NOT_RUN]
    for (protocol, metric), family in ran.groupby([PROTOCOL, "metric"]):
        alone = (family["p_permutation"] < alpha).sum()
        corrected = (family["reading"] != verdict.NOT_SHOWN).sum()
        other = ((family["p_permutation"] < alpha) != (family["p_t"] < alpha)).sum()
        lines.append(
            f"- {protocol}, {metric}: of {len(family)} comparisons, {alone} have p < {alpha:.2f} by"
            f" themselves and {corrected} after correction; the t-test says otherwise of {other} before"
            " correction."
        )
    return "\n".join(lines)


def flatten(tests: pd.DataFrame) -> dict[str, float]:
    """Corrected p-values under flat keys: `next_item/difference/lstm-ease/hit_rate@5/p_holm`.

    Args:
        tests: from :func:`planned`; what was not run has no key.
    """
    return {
        f"{row.protocol}/difference/{row.system}-{row.other}/{row.metric}/p_holm": row.p_holm
        for row in tests[tests["reading"] != NOT_RUN].itertuples()
    }

"""What rating predictions are worth: differences over users and seeds, the two claims, rankings and lists.

The claims of the ratings are a family of their own: 7, text adds to biases and factorisation; 8, the best
hybrid beats SVD++. Both compare RMSE; lower is better, so a gain is how much higher the other's RMSE is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from dualrec_utils.analysis import claims, significance
from dualrec_utils.core import ratings as rules
from dualrec_utils.core.config import GENRE_LIST, ITEM, RANK, RATING, SEED, USER
from dualrec_utils.core.ratings import ERROR, FOLD, PREDICTION, RATING_ID

QUESTIONS = {
    "7": "Does text add to biases and factorisation?",
    "8": "Is the best hybrid better than SVD++?",
}


def squared_gains(rows: pd.DataFrame, others: pd.DataFrame) -> pd.DataFrame:
    """How much lower one system's squared error is, by user and seed.

    Args:
        rows, others: frames of :func:`core.ratings.errors` of the same ratings.

    Returns:
        A row a user, a column a seed that both have: the sum over the user's ratings of the other's
        squared error minus the system's, times n_users / n_ratings. Its mean over users is the difference
        of the pooled mean squared errors.

    Raises:
        ValueError: when the two have no seed in common, or other ratings.
    """
    both = rows.merge(others, on=[RATING_ID, USER, ITEM, FOLD, SEED], suffixes=("", "_other"))
    seeds = set(rows[SEED]) & set(others[SEED])
    if not seeds or len(both) != len(seeds) * rows[RATING_ID].nunique():
        raise ValueError("the two systems predict different ratings, or have no seed in common")
    gain = both.assign(gain=both[f"{ERROR}_other"] ** 2 - both[ERROR] ** 2)
    wide = gain.pivot_table(index=USER, columns=SEED, values="gain", aggfunc="sum")
    return wide * len(wide) / rows[RATING_ID].nunique()


def difference(
    rows: pd.DataFrame, others: pd.DataFrame, *, seed: int, n_bootstrap: int, confidence: float
) -> dict[str, float | int]:
    """How much lower one system's pooled RMSE is, with an interval over users and seeds.

    Half its width squared is (half the width of the bootstrap interval over users) squared + (t quantile
    x SD over the k seeds / square root of k) squared, as for all claims of the study.

    Args:
        rows, others: frames of :func:`core.ratings.errors`.
        seed, n_bootstrap, confidence: of the bootstrap.

    Returns:
        `difference` (the other's RMSE minus the system's: above 0, the system is better), `low`, `high`,
        `n_users`, `n_seeds`, `same_sign` (in all seeds).
    """
    seeds = sorted(set(rows[SEED]) & set(others[SEED]))
    both = [frame[frame[SEED].isin(seeds)] for frame in (rows, others)]
    intervals = {"seed": seed, "n_bootstrap": n_bootstrap, "confidence": confidence}
    row = -rules.paired_difference(both[0], both[1], **intervals).loc["rmse", ["difference", "high", "low"]]
    value, low, high = (float(row[name]) for name in ("difference", "high", "low"))
    by_seed = [
        float(np.sqrt((other[ERROR] ** 2).mean()) - np.sqrt((one[ERROR] ** 2).mean()))
        for one, other in ([frame[frame[SEED] == k] for frame in both] for k in seeds)
    ]
    if len(seeds) > 1:
        quantile = stats.t.ppf((1 + confidence) / 2, len(seeds) - 1)
        over_seeds = quantile * np.std(by_seed, ddof=1) / np.sqrt(len(seeds))
        half = float(np.hypot((high - low) / 2, over_seeds))
        low, high = value - half, value + half
    signs = np.sign(by_seed)
    return {
        "difference": value,
        "low": low,
        "high": high,
        "n_users": int(rows[USER].nunique()),
        "n_seeds": len(seeds),
        "same_sign": bool((signs == signs[0]).all() and signs[0] != 0),
    }


def answered(
    pairs: Mapping[str, tuple[str, str]],
    systems: Mapping[str, pd.DataFrame],
    *,
    seed: int,
    n_bootstrap: int,
    n_permutations: int,
    confidence: float,
) -> pd.DataFrame:
    """The claims of the ratings, as one family.

    Args:
        pairs: number of the claim -> (system, other).
        systems: name -> frame of :func:`core.ratings.errors`.
        seed, n_bootstrap, confidence: of the intervals.
        n_permutations: draws of signs, as :func:`significance.paired_tests`.

    Returns:
        A row a claim: `claim`, `question`, `system`, `other`, `metric`, `answer`, and the columns of
        :func:`difference` and of :func:`significance.paired_tests`.
    """
    alpha = 1 - confidence
    gains = pd.DataFrame(
        {
            key: squared_gains(systems[one], systems[other]).mean(axis=1)
            for key, (one, other) in pairs.items()
        }
    )
    tests = significance.paired_tests(gains, seed=seed, n_permutations=n_permutations, alpha=alpha)
    rows = []
    for key, (one, other) in pairs.items():
        row: dict[str, Any] = {"claim": key, "question": QUESTIONS[key], "system": one, "other": other}
        row |= {"metric": "rmse"} | difference(
            systems[one], systems[other], seed=seed, n_bootstrap=n_bootstrap, confidence=confidence
        )
        row |= tests.loc[key].to_dict()
        rows.append(row | {"answer": claims.answer(row, alpha=alpha)})
    return pd.DataFrame(rows)


def ranking(predictions: pd.DataFrame, ratings: pd.DataFrame, *, k: int, seed: int) -> pd.DataFrame:
    """How well predicted ratings order what a user rated: NDCG over each user's held-out items.

    Järvelin and Kekäläinen (2002): gain 2^rating - 1, discount 1 / log2(rank + 1), divided by that of the
    best order. Equal predictions are drawn. Users whose held-out ratings are all equal, or who have one,
    can be ordered in no wrong way and are left out.

    Args:
        predictions: in the columns of :data:`core.ratings.COLUMNS`.
        ratings: of :func:`core.ratings.load`.
        k: items of a list that count.
        seed: of the draw.

    Returns:
        A row a user, fold and seed: `user_id`, `fold`, `seed`, `ndcg`, `n_items`.
    """
    drawn = predictions.sample(frac=1, random_state=seed)
    joined = drawn.merge(ratings[[RATING_ID, RATING]], on=RATING_ID).sort_values(
        PREDICTION, ascending=False, kind="stable"
    )
    rows = []
    for (user, fold, number), part in joined.groupby([USER, FOLD, SEED]):
        given = part[RATING].to_numpy(dtype=np.float64)
        if len(given) > 1 and given.min() < given.max():
            rows.append((user, fold, number, _dcg(given, k) / _dcg(-np.sort(-given), k), len(given)))
    return pd.DataFrame(rows, columns=[USER, FOLD, SEED, "ndcg", "n_items"])


def _dcg(given: np.ndarray, k: int) -> float:
    first = given[:k]
    return float(((2**first - 1) / np.log2(np.arange(2, len(first) + 2))).sum())


def variety(lists: pd.DataFrame, items: pd.DataFrame, counts: pd.Series) -> dict[str, float]:
    """How varied top lists are.

    Args:
        lists: `user_id`, `rank`, `item_id`: a list a user.
        items: `item_id`, `genres`.
        counts: item id -> number of training ratings.

    Returns:
        `distance` (mean over users of the mean Jaccard distance between the genres of two items of a
        list), `coverage` (share of all items that stand in any list), `gini` (of how often an item is
        listed, 0: all equally often, 1: one item alone), `median_ratings` (training ratings of a listed
        item).
    """
    genres = {item: frozenset(names) for item, names in zip(items[ITEM], items[GENRE_LIST], strict=True)}
    distances = [
        np.mean([1 - _jaccard(genres[a], genres[b]) for i, a in enumerate(part) for b in part[:i]])
        for part in lists.sort_values(RANK).groupby(USER)[ITEM].agg(list)
        if len(part) > 1
    ]
    listed = lists[ITEM].value_counts().reindex(items[ITEM], fill_value=0)
    return {
        "distance": float(np.mean(distances)),
        "coverage": float((listed > 0).mean()),
        "gini": gini(listed.to_numpy()),
        "median_ratings": float(counts.reindex(lists[ITEM], fill_value=0).median()),
    }


def _jaccard(one: frozenset, other: frozenset) -> float:
    return len(one & other) / len(one | other) if one | other else 0.0


def gini(counts: Sequence[int]) -> float:
    """Gini coefficient of non-negative numbers, 0 where all are equal.

    >>> gini([1, 1, 1, 1]), gini([0, 0, 0, 4])
    (0.0, 0.75)
    """
    ordered = np.sort(np.asarray(counts, dtype=np.float64))
    if not ordered.sum():
        return 0.0
    n = len(ordered)
    return float((2 * np.arange(1, n + 1) - n - 1) @ ordered / (n * ordered.sum()))

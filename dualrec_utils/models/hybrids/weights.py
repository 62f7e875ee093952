"""Choose the weight of a fusion on validation users, and ask how far the choice can be trusted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from sklearn.model_selection import KFold
from tqdm import tqdm

from dualrec_utils.core import evaluation, predictions, splits
from dualrec_utils.core.catalog import Catalog
from dualrec_utils.core.config import USER
from dualrec_utils.core.evaluation import CHOSEN_BY
from dualrec_utils.core.predictions import Scope
from dualrec_utils.models.hybrids.fusion import METHODS, align, combine

METHOD, WEIGHT = "method", "weight"
_N_FOLDS = 5


def choose_weight(
    lstm: np.ndarray,
    other: np.ndarray,
    cases: pd.DataFrame,
    catalog: Catalog,
    *,
    scope: Scope,
    weights: Sequence[float],
    seed: int,
    methods: Sequence[str] = METHODS,
    n_candidates: int = predictions.MAX_LENGTH,
) -> tuple[pd.DataFrame, dict]:
    """Try every method and weight on validation users, seen items left out, and take the best.

    The highest mean of `ndcg@5` over users wins; ties go to the smaller weight, then to the earlier method.

    Args:
        lstm, other, cases, catalog: as :func:`align`, of the validation split.
        weights: of the other model, each in [0, 1].

    Returns:
        (tried, choice): `tried` has one row for each method, weight and case, with `user_id` and the
        metrics of :mod:`core.evaluation`; `choice` holds `method`, `weight` and the value of `ndcg@5`.

    Raises:
        StudyError: when a case is not of a validation user, and as :func:`combine`.
    """
    splits.check_apart(cases[USER], splits.load_splits(scope.dataset), split="validation")
    targets = evaluation.load_targets(scope.dataset, scope.protocol)
    sides = align(lstm, other, cases, catalog, seed=seed, n_candidates=n_candidates)
    tried = []
    settings = [(method, weight) for method in methods for weight in weights]
    for method, weight in tqdm(settings, desc="fusion weights", unit="setting"):
        fused = combine(*sides, weight=weight, method=method)
        lists = predictions.from_scores(
            fused, cases, catalog.ids, seed=seed, exclude_seen=False, length=max(evaluation.CUTOFFS)
        )
        scored = evaluation.score_lists(lists, cases, targets, catalog)
        tried.append(scored.assign(**{METHOD: method, WEIGHT: float(weight)}))
    tried = pd.concat(tried, ignore_index=True)
    return tried, _best(tried)


def _best(tried: pd.DataFrame) -> dict:
    """The setting with the highest mean over users; ties: smaller weight, then earlier method."""
    users = tried.groupby([METHOD, WEIGHT, USER], sort=False)[CHOSEN_BY].mean()
    # Means of the same values added in another order differ in the last digits.
    means = users.groupby([METHOD, WEIGHT], sort=False).mean().round(12).reset_index()
    means["order"] = means[METHOD].map(METHODS.index)
    best = means.sort_values([CHOSEN_BY, WEIGHT, "order"], ascending=[False, True, True]).iloc[0]
    return {METHOD: str(best[METHOD]), WEIGHT: float(best[WEIGHT]), CHOSEN_BY: float(best[CHOSEN_BY])}


def weight_curve(tried: pd.DataFrame, **intervals) -> pd.DataFrame:
    """Mean over users and bootstrap interval of every setting tried, by HR@5 and NDCG@5.

    Args:
        tried: from :func:`choose_weight`.
        intervals: `seed`, `n_bootstrap`, `confidence` of :func:`core.evaluation.summarise`.

    Returns:
        Frame `method`, `weight`, `metric`, `value`, `low`, `high`, `n_users`, `n_cases`.
    """
    rows = []
    for (method, weight), part in tried.groupby([METHOD, WEIGHT], sort=False):
        summary = evaluation.summarise(part, columns=["hit_rate@5", "ndcg@5"], **intervals).reset_index()
        rows.append(summary.assign(**{METHOD: method, WEIGHT: weight}))
    table = pd.concat(rows, ignore_index=True)
    return table[[METHOD, WEIGHT, "metric", "value", "low", "high", "n_users", "n_cases"]]


def cross_validated(tried: pd.DataFrame, *, seed: int) -> pd.DataFrame:
    """How far a choice on some validation users holds for others, in five folds of users.

    Returns:
        One row a fold: `fold`, `n_users`, `method`, `weight` (chosen on the other folds), `inside` (the
        mean there), `outside` (the mean on this fold's users), `lstm` and `other` (this fold's means
        at the weights 0 and 1 of that method; NaN where not tried). Weight the folds by `n_users`.
    """
    users = np.sort(tried[USER].unique())
    folds = KFold(n_splits=_N_FOLDS, shuffle=True, random_state=seed).split(users)
    rows = []
    for fold, (_, held_out) in enumerate(folds, start=1):
        here = tried[USER].isin(users[held_out])
        choice = _best(tried[~here])
        part = tried[here & (tried[METHOD] == choice[METHOD])]
        means = part.groupby([WEIGHT, USER])[CHOSEN_BY].mean().groupby(WEIGHT).mean()
        row = {"fold": fold, "n_users": len(held_out), METHOD: choice[METHOD], WEIGHT: choice[WEIGHT]}
        row |= {"inside": choice[CHOSEN_BY], "outside": means[choice[WEIGHT]]}
        rows.append(row | {"lstm": means.get(0.0, np.nan), "other": means.get(1.0, np.nan)})
    return pd.DataFrame(rows)

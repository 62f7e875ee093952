"""The tables of notebook 11, from what the rating models left. No model is fitted here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from dualrec_utils.analysis import ratings as analysis
from dualrec_utils.core import config, evaluation, ratings as rules
from dualrec_utils.core.config import ITEM, RATING, SYSTEM
from dualrec_utils.core.ratings import FOLD, N_FOLDS, PREDICTION, RATING_ID

# Of a distribution, what is drawn beside its mean.
_LOW, _HIGH = 0.1, 0.9


def errors_of(predictions: Mapping[str, pd.DataFrame], ratings: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Errors of each system on the folds that it predicts.

    Args:
        predictions: system -> frame in the columns of :data:`core.ratings.COLUMNS`: of some folds all
            ratings.
        ratings: of :func:`core.ratings.load`.

    Returns:
        System -> frame of :func:`core.ratings.errors`.
    """
    return {
        name: rules.errors(frame, ratings[ratings[RATING_ID].isin(frame[RATING_ID])])
        for name, frame in predictions.items()
    }


def overview(
    errors: Mapping[str, pd.DataFrame], *, seed: int, n_bootstrap: int, confidence: float
) -> pd.DataFrame:
    """RMSE and MAE of every system.

    Args:
        errors: of :func:`errors_of`.
        seed, n_bootstrap, confidence: of the intervals over users.

    Returns:
        By system: `folds` (how many), `rmse` and `mae` (mean of folds), each with `_low` and `_high` (of
        the pooled value), `rmse_u1`, ..., `mae_u1`, ... (missing where not fitted), `n_users`.
    """
    rows = {}
    for name, frame in errors.items():
        table = rules.summarise(frame, seed=seed, n_bootstrap=n_bootstrap, confidence=confidence)
        of_folds = rules.by_fold(frame).groupby(FOLD)[list(rules.METRICS)].mean()
        row: dict[str, Any] = {"folds": len(of_folds)}
        for metric in rules.METRICS:
            row[metric] = table.loc[metric, "value"]
            row |= {f"{metric}_{end}": table.loc[metric, end] for end in ("low", "high")}
        for metric in rules.METRICS:
            row |= {f"{metric}_u{k}": of_folds[metric].get(k, np.nan) for k in range(1, N_FOLDS + 1)}
        rows[name] = row | {"n_users": int(table["n_users"].iloc[0])}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(SYSTEM)


def shared(rows: pd.DataFrame, others: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Two frames of errors, cut to the folds that both have."""
    folds = set(rows[FOLD]) & set(others[FOLD])
    return rows[rows[FOLD].isin(folds)], others[others[FOLD].isin(folds)]


def differences(
    errors: Mapping[str, pd.DataFrame],
    pairs: Sequence[tuple[str, str, str]],
    *,
    seed: int,
    n_bootstrap: int,
    confidence: float,
) -> pd.DataFrame:
    """Paired differences of RMSE and MAE, over the folds that both systems have.

    Args:
        errors: of :func:`errors_of`.
        pairs: (what it shows, system, other); a pair of which one was not fitted is left out.
        seed, n_bootstrap, confidence: of the intervals over users.

    Returns:
        A row a pair and metric: `question`, `system`, `other`, `metric`, `difference` (of the pooled
        values, system minus other: below 0, the system is better), `low`, `high`, `folds`, `n_users`.
    """
    rows = []
    for question, one, other in pairs:
        if one not in errors or other not in errors:
            continue
        both = shared(errors[one], errors[other])
        table = rules.paired_difference(*both, seed=seed, n_bootstrap=n_bootstrap, confidence=confidence)
        about = {"question": question, SYSTEM: one, "other": other}
        folds = {"folds": both[0][FOLD].nunique()}
        rows += [about | {"metric": metric} | row | folds for metric, row in table.to_dict("index").items()]
    columns = ["question", SYSTEM, "other", "metric", "difference", "low", "high", "folds", "n_users"]
    return pd.DataFrame(rows, columns=columns)


def spread(predictions: Mapping[str, pd.DataFrame], ratings: pd.DataFrame) -> pd.DataFrame:
    """How far predictions spread, beside the ratings themselves, on fold 1.

    Args:
        predictions: as :func:`errors_of`.

    Returns:
        By system, the last row `ratings`: `sd` (standard deviation of all), `sd_of_items` (of each item's
        mean, over items: s of the published loss, here over a whole fold), `lowest`, `highest`.
    """
    low, high = float(ratings[RATING].min()), float(ratings[RATING].max())
    columns = {
        name: frame[frame[FOLD] == 1].assign(value=frame[PREDICTION].clip(low, high))
        for name, frame in predictions.items()
    }
    first = next(iter(columns.values()))
    given = first[[RATING_ID, ITEM]].merge(ratings[[RATING_ID, RATING]], on=RATING_ID)
    columns["ratings"] = given.assign(value=given[RATING].astype(float))
    rows = {
        name: {
            "sd": frame["value"].std(),
            "sd_of_items": frame.groupby(ITEM)["value"].mean().std(),
            "lowest": frame["value"].min(),
            "highest": frame["value"].max(),
        }
        for name, frame in columns.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(SYSTEM)


def by_true_rating(predictions: Mapping[str, pd.DataFrame], ratings: pd.DataFrame) -> pd.DataFrame:
    """What is predicted where users gave one, two, ... stars.

    Args:
        predictions: as :func:`errors_of`.

    Returns:
        A row a system and value: `system`, `rating`, `mean`, `low` and `high` (10% and 90% quantiles of
        the predictions), `n_ratings`.
    """
    rows = []
    for name, frame in predictions.items():
        joined = frame.merge(ratings[[RATING_ID, RATING]], on=RATING_ID)
        for value, part in joined.groupby(RATING)[PREDICTION]:
            rows.append(
                (name, float(value), part.mean(), part.quantile(_LOW), part.quantile(_HIGH), len(part))
            )
    return pd.DataFrame(rows, columns=[SYSTEM, RATING, "mean", "low", "high", "n_ratings"])


def rankings(
    predictions: Mapping[str, pd.DataFrame],
    ratings: pd.DataFrame,
    *,
    k: int,
    seed: int,
    n_bootstrap: int,
    confidence: float,
) -> pd.DataFrame:
    """NDCG over held-out rated items, see :func:`analysis.ratings.ranking`.

    Args:
        predictions: as :func:`errors_of`.
        k: items of a list that count.
        seed: of the draw among equal predictions, and of the resamples.
        n_bootstrap, confidence: of the intervals over users.

    Returns:
        By system: `ndcg` (mean over each user's folds, then over users), `low`, `high`, `n_users`.
    """
    rows = {}
    for name, frame in predictions.items():
        table = analysis.ranking(frame, ratings, k=k, seed=seed)
        row = evaluation.summarise(
            table, seed=seed, n_bootstrap=n_bootstrap, confidence=confidence, columns=["ndcg"]
        ).loc["ndcg"]
        rows[name] = {"ndcg": row["value"], "low": row["low"], "high": row["high"]}
        rows[name] |= {"n_users": int(row["n_users"])}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(SYSTEM)


def varieties(
    lists: Mapping[str, pd.DataFrame], items: pd.DataFrame, ratings: pd.DataFrame, folds: np.ndarray
) -> pd.DataFrame:
    """How varied top lists are, see :func:`analysis.ratings.variety`; systems without lists are left out.

    Args:
        lists: system -> `user_id`, `rank`, `item_id` of fold 1.
        items: `item_id`, `genres`.
        ratings: of :func:`core.ratings.load`; folds: of each of them.
    """
    counts = ratings.loc[folds != 1, ITEM].value_counts()
    rows = {name: analysis.variety(frame, items, counts) for name, frame in lists.items() if len(frame)}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(SYSTEM)


def peers() -> pd.DataFrame:
    """What Surprise reaches on GroupLens' folds (`make peers`), in the columns of :func:`overview`.

    Its intervals are those of the pooled value. Empty where the table is not there.
    """
    path = config.study_dir("peers") / "ratings.csv"
    if not path.is_file():
        return pd.DataFrame()
    table = pd.read_csv(path)
    table.insert(0, SYSTEM, "Surprise " + table.pop("model"))
    return table.set_index(SYSTEM).assign(folds=N_FOLDS)


def flat(table: pd.DataFrame) -> dict[str, float]:
    """Flat metric keys of :func:`overview`: `ratings/<system>/rmse`, `.../rmse/low`, `.../rmse_u1`."""
    keys: dict[str, float] = {}
    for name, row in table.iterrows():
        for metric in rules.METRICS:
            ends = {"value": row[metric], "low": row[f"{metric}_low"], "high": row[f"{metric}_high"]}
            keys |= evaluation.with_interval(f"ratings/{name}/{metric}", pd.Series(ends))
            of_folds = {f"{metric}_u{k}": row[f"{metric}_u{k}"] for k in range(1, N_FOLDS + 1)}
            keys |= {
                f"ratings/{name}/{key}": float(value) for key, value in of_folds.items() if value == value
            }
        keys[f"ratings/{name}/n_users"] = int(row["n_users"])
    return keys


def flat_differences(table: pd.DataFrame) -> dict[str, float]:
    """Flat keys of :func:`differences`: `ratings/<system>/<metric>/over_<other>/difference`, `.../low`."""
    return evaluation.flat_differences(table.assign(protocol="ratings"))


def claims_of(
    errors: Mapping[str, pd.DataFrame],
    *,
    with_text: str,
    without_text: str,
    hybrid: str,
    rival: str,
    **options: Any,
) -> pd.DataFrame:
    """Claims 7 and 8 on the folds that all four systems have, see :func:`analysis.ratings.answered`.

    Empty where one was not fitted.

    Args:
        errors: of :func:`errors_of`.
        with_text, without_text: the systems of claim 7.
        hybrid, rival: those of claim 8.
        options: `seed`, `n_bootstrap`, `n_permutations`, `confidence`.
    """
    pairs = {"7": (with_text, without_text), "8": (hybrid, rival)}
    names = {name for pair in pairs.values() for name in pair}
    if not names <= set(errors):
        return pd.DataFrame()
    compared = {name: errors[name] for name in names}
    folds = set.intersection(*(set(frame[FOLD]) for frame in compared.values()))
    cut = {name: frame[frame[FOLD].isin(folds)] for name, frame in compared.items()}
    return analysis.answered(pairs, cut, **options)


def curves_of(curves: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Training by epoch on fold 1: `system`, `epoch`, `loss`, `rmse` (missing without a validation part).

    Args:
        curves: system -> `fold`, `epoch`, `loss` and perhaps `rmse`; systems that have none are left out.
    """
    parts = [frame[frame[FOLD] == 1].assign(**{SYSTEM: name}) for name, frame in curves.items()]
    columns = [SYSTEM, "epoch", "loss", "rmse"]
    tables = [part.reindex(columns=columns) for part in parts if len(part)]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)


def study(dataset: str) -> dict[str, pd.DataFrame]:
    """Tables that `make ratings` left for a data set: name -> table; empty where it has not run."""
    folder = config.study_dir("ratings") / dataset
    names = ("errors", "claims", "ablations", "shares")
    paths = {name: folder / f"{name}.csv" for name in names}
    return {name: pd.read_csv(path) for name, path in paths.items() if path.is_file()}

"""Rating predictions: which ratings a model learns from, which it predicts, and how far off it is.

All ratings of a data set count, as fetched: no item is left out, none is merged. They are cut into five
folds; a model learns from four and predicts the fifth, of which it sees users and items alone. The ratings
are joined to predictions here and nowhere else.

RMSE and MAE are the mean of the five folds' values, as GroupLens' folds are reported; the pooled value
stands beside them. Intervals resample users with all their predictions.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from dualrec_utils.core import config, files
from dualrec_utils.core.config import ITEM, RATING, SEED, TIMESTAMP, USER
from dualrec_utils.core.errors import StudyError
from dualrec_utils.core.evaluation import user_draws

RATING_ID = "rating_id"
FOLD = "fold"
PREDICTION = "prediction"
ERROR = "error"
N_FOLDS = 5
COLUMNS = {
    RATING_ID: "int64", USER: "int64", ITEM: "int64", PREDICTION: "float64", FOLD: "int64", SEED: "int64",
}  # fmt: skip
METRICS = ("rmse", "mae")


def load(dataset: str) -> pd.DataFrame:
    """All ratings of a data set in the order of its file.

    Returns:
        `rating_id` (the row in the file, from 0), `user_id`, `item_id`, `rating`, `timestamp`.
    """
    ratings = files.read_parquet_of("data", config.processed_dir(dataset) / "ratings_as_fetched.parquet")
    return ratings.rename_axis(RATING_ID).reset_index()[[RATING_ID, USER, ITEM, RATING, TIMESTAMP]]


def consecutive_folds(n_ratings: int) -> np.ndarray:
    """Fold of each rating, 1 to 5: consecutive blocks of the file, the first ones one longer if need be.

    Of `u.data` these are GroupLens' `u1` to `u5`.

    >>> consecutive_folds(7)
    array([1, 1, 2, 2, 3, 4, 5])
    """
    if n_ratings < N_FOLDS:
        raise StudyError(f"{n_ratings} ratings are too few for {N_FOLDS} folds")
    sizes = [len(block) for block in np.array_split(np.arange(n_ratings), N_FOLDS)]
    return np.repeat(np.arange(1, N_FOLDS + 1), sizes)


def random_folds(n_ratings: int, *, seed: int) -> np.ndarray:
    """Fold of each rating, 1 to 5: the sizes of :func:`consecutive_folds`, drawn by the seed."""
    return np.random.default_rng(seed).permutation(consecutive_folds(n_ratings))


def parts(ratings: pd.DataFrame, folds: np.ndarray, fold: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What a model learns from, and what it predicts.

    Args:
        ratings: frame of :func:`load`, or a part of it.
        folds: fold of each row.
        fold: the one that is predicted.

    Returns:
        (training, pairs): `training` has the columns of `ratings`; `pairs` has `rating_id`, `user_id` and
        `item_id`, not what is to be predicted.
    """
    held_out = folds == fold
    if not held_out.any() or held_out.all():
        raise StudyError(f"fold {fold} is empty or holds everything; folds are 1 to {N_FOLDS}")
    return ratings[~held_out], ratings.loc[held_out, [RATING_ID, USER, ITEM]]


def as_predictions(pairs: pd.DataFrame, values: Sequence[float], *, fold: int, seed: int) -> pd.DataFrame:
    """The frame of one fold's predictions, in the columns of :data:`COLUMNS`.

    Args:
        pairs: of :func:`parts`.
        values: predicted ratings, one a pair, not yet clipped to the scale.

    Raises:
        StudyError: when their number differs, or one is not a finite number.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.shape != (len(pairs),):
        raise StudyError(f"{len(pairs)} pairs need as many predictions, not an array of {values.shape}")
    if not np.isfinite(values).all():
        pair = pairs.iloc[int(np.flatnonzero(~np.isfinite(values))[0])]
        raise StudyError(
            f"the prediction for user {pair[USER]} and item {pair[ITEM]} is not a finite number"
        )
    return pairs.assign(**{PREDICTION: values, FOLD: fold, SEED: seed})[list(COLUMNS)].astype(COLUMNS)


def path_of(system: str, *, dataset: str, stage: str) -> Path:
    """Where a system's rating predictions lie."""
    return config.predictions_dir(dataset, stage) / "ratings" / f"{system}.parquet"


def write(predictions: pd.DataFrame, system: str, *, dataset: str, stage: str) -> Path:
    """Check rating predictions against the data set's ratings, and write them whole.

    Raises:
        StudyError: as :func:`errors`.
    """
    errors(predictions, load(dataset))
    ordered = predictions[list(COLUMNS)].astype(COLUMNS).sort_values([SEED, RATING_ID])
    return files.write_parquet(ordered, path_of(system, dataset=dataset, stage=stage))


def read(system: str, *, dataset: str, stage: str) -> pd.DataFrame:
    """Read one system's rating predictions.

    Raises:
        StudyError: when the file is not there or has other columns, naming the stage that writes it.
    """
    return files.read_parquet_of(stage, path_of(system, dataset=dataset, stage=stage), COLUMNS)


def errors(predictions: pd.DataFrame, ratings: pd.DataFrame) -> pd.DataFrame:
    """Predictions, clipped to the scale of the ratings, minus what the users gave.

    Args:
        predictions: in the columns of :data:`COLUMNS`: every rating once a seed.
        ratings: of :func:`load`; its lowest and highest value are the scale.

    Returns:
        `rating_id`, `user_id`, `item_id`, `fold`, `seed`, `error`.

    Raises:
        StudyError: when a column is missing, a rating is not predicted, predicted twice by a seed, or one
            of another user or item.
    """
    if missing := [column for column in COLUMNS if column not in predictions]:
        raise StudyError(f"rating predictions lack the columns {missing}; they need {list(COLUMNS)}")
    twice = predictions.duplicated([RATING_ID, SEED])
    if twice.any():
        raise StudyError(f"rating {predictions.loc[twice, RATING_ID].iloc[0]} is predicted twice by a seed")
    keys = [RATING_ID, USER, ITEM]
    joined = predictions.merge(ratings[[*keys, RATING]], on=keys, how="left")
    if joined[RATING].isna().any():
        row = joined[joined[RATING].isna()].iloc[0]
        raise StudyError(f"there is no rating {row[RATING_ID]} of item {row[ITEM]} by user {row[USER]}")
    n_seeds = predictions[SEED].nunique()
    if len(joined) != n_seeds * len(ratings):
        raise StudyError(
            f"{n_seeds} seed(s) need {n_seeds * len(ratings)} predictions, not {len(joined)}:"
            " every rating is predicted"
        )
    given = joined[RATING].to_numpy(dtype=np.float64)
    clipped = joined[PREDICTION].clip(given.min(), given.max())
    return joined[[*keys, FOLD, SEED]].assign(**{ERROR: clipped - given})


def by_fold(rows: pd.DataFrame) -> pd.DataFrame:
    """RMSE and MAE of each fold and seed.

    Args:
        rows: frame of :func:`errors`.

    Returns:
        `fold`, `seed`, `rmse`, `mae`, `n_ratings`.
    """
    squared = rows.assign(rmse=rows[ERROR] ** 2, mae=rows[ERROR].abs())
    table = squared.groupby([FOLD, SEED])[list(METRICS)].mean()
    table["rmse"] = np.sqrt(table["rmse"])
    return table.assign(n_ratings=squared.groupby([FOLD, SEED]).size()).reset_index()


def summarise(
    rows: pd.DataFrame, *, seed: int, n_bootstrap: int = 2000, confidence: float = 0.95
) -> pd.DataFrame:
    """RMSE and MAE of a system.

    Args:
        rows: frame of :func:`errors`.
        seed: of the resampling; the same seed draws the same users for every system.
        n_bootstrap: resamples of users.
        confidence: of the interval, in (0, 1).

    Returns:
        Indexed by metric: `value` (mean over folds and seeds), `pooled` with its interval over users `low`
        and `high`, `n_users`, `n_ratings`.
    """
    sums, n_rows = _sums(rows)
    draws = user_draws(len(n_rows), n_bootstrap=n_bootstrap, seed=seed)
    resampled = _pooled(draws @ sums, draws @ n_rows)
    tail = (1 - confidence) / 2
    return pd.DataFrame(
        {
            "value": by_fold(rows)[list(METRICS)].mean().to_numpy(),
            "pooled": _pooled(sums.sum(axis=0), n_rows.sum()),
            "low": np.quantile(resampled, tail, axis=0),
            "high": np.quantile(resampled, 1 - tail, axis=0),
            "n_users": len(n_rows),
            "n_ratings": rows[RATING_ID].nunique(),
        },
        index=pd.Index(METRICS, name="metric"),
    )


def paired_difference(
    rows: pd.DataFrame,
    others: pd.DataFrame,
    *,
    seed: int,
    n_bootstrap: int = 2000,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Pooled RMSE and MAE of one system minus those of another, on the same ratings.

    Args:
        rows: frame of :func:`errors` of the one system.
        others: that of the other.
        seed, n_bootstrap, confidence: as :func:`summarise`.

    Returns:
        Indexed by metric: `difference` (below 0: the first is better), `low`, `high`, `n_users`.

    Raises:
        ValueError: when the two do not hold the same ratings.
    """
    if set(rows[RATING_ID]) != set(others[RATING_ID]):
        raise ValueError("the two systems predict different ratings")
    pairs = [_sums(frame) for frame in (rows, others)]
    draws = user_draws(len(pairs[0][1]), n_bootstrap=n_bootstrap, seed=seed)
    here, there = (_pooled(sums.sum(axis=0), n_rows.sum()) for sums, n_rows in pairs)
    drawn, drawn_there = (_pooled(draws @ sums, draws @ n_rows) for sums, n_rows in pairs)
    tail = (1 - confidence) / 2
    return pd.DataFrame(
        {
            "difference": here - there,
            "low": np.quantile(drawn - drawn_there, tail, axis=0),
            "high": np.quantile(drawn - drawn_there, 1 - tail, axis=0),
            "n_users": draws.shape[1],
        },
        index=pd.Index(METRICS, name="metric"),
    )


def _sums(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Of each user, in ascending order: sums of squared and absolute errors, (n, 2), and rows, (n,)."""
    users = rows.assign(squared=rows[ERROR] ** 2, absolute=rows[ERROR].abs()).groupby(USER)
    return users[["squared", "absolute"]].sum().to_numpy(), users.size().to_numpy()


def _pooled(sums: np.ndarray, n_rows: np.ndarray) -> np.ndarray:
    """RMSE and MAE from sums: shape (..., 2)."""
    means = sums / np.asarray(n_rows)[..., None]
    return np.stack([np.sqrt(means[..., 0]), means[..., 1]], axis=-1)

"""`dualrec train` and `dualrec evaluate`: from prepared data to a model folder, and how far off it is."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from dualrec_utils.core import files, ratings as rules
from dualrec_utils.core.config import ITEM, RATING, SEED, USER
from dualrec_utils.core.errors import StudyError
from dualrec_utils.core.ratings import ERROR, FOLD, RATING_ID
from dualrec_utils.models import ratings as models
from dualrec_utils.models.ratings import encoder, folder, texts
from dualrec_utils.models.ratings.biases import Biases
from dualrec_utils.service import prepared, settings

METRICS, OF_USERS = "metrics.json", "users.csv"
# Of the resampling of users.
_SEED = 0
_log = logging.getLogger("dualrec")


@dataclass(frozen=True)
class Training:
    """Attributes: model: its name; n_ratings: it was trained on; seconds: of training."""

    model: str
    n_ratings: int
    seconds: float


def train(
    data_dir: Path, output_dir: Path, *, config_path: Path | None, cache: Path | None = None
) -> Training:
    """Train a model on the training ratings of prepared data and write its folder, whole or not at all.

    Args:
        config_path: as :func:`settings.read`.
        cache: where sentence embeddings are kept; default as :class:`features.TextVectors`.

    Raises:
        StudyError: for a broken config, data that are not prepared, or a folder that holds anything else.
    """
    # Importing it takes a moment, which the other commands need not pay.
    from threadpoolctl import threadpool_limits

    config = settings.read(config_path)
    prepared.check_free(output_dir, folder.FILES, command="train")
    data = prepared.read(data_dir)
    ratings = data.part(prepared.TRAIN)
    try:
        model = models.build(config.model, data.known, seed=config.seed, **config.settings)
    except StudyError as error:
        raise StudyError(f"{config_path}: {error}") from error
    n_users, n_items = ratings[USER].nunique(), len(data.items)
    _log.info("%s: %d ratings of %d users and %d items", config.model, len(ratings), n_users, n_items)
    started = time.perf_counter()
    # The folder is begun before the training, which would be in vain where nothing can be written.
    with files.replacing_folder(output_dir.resolve()) as temporary:
        try:
            # Sums over several threads differ in the last digits. Of what diverges the folder will speak.
            with threadpool_limits(1), np.errstate(all="ignore"):
                model.fit(ratings)
                _log.info("fitted after %.0f s; the items' texts follow", time.perf_counter() - started)
                vectors = encoder.vectors(texts.item_texts(data.items), folder=cache)
        except (MemoryError, np.linalg.LinAlgError) as error:
            raise StudyError(
                f"{config.model} cannot be trained with these settings ({error or 'out of memory'}): lower"
                " n_factors or batch_size, or leave the settings at their defaults"
            ) from error
        folder.write(
            model,
            temporary,
            name=config.model,
            settings=config.settings,
            item_vectors=vectors,
            data_sha256=data.summary.sha256,
        )
    return Training(config.model, len(ratings), time.perf_counter() - started)


def evaluate(data_dir: Path, model_path: Path, output_dir: Path, *, batch_size: int) -> dict:
    """Predict the test ratings of prepared data; write `metrics.json`, and `users.csv` with a row a user.

    Args:
        batch_size: pairs predicted at once, 1 or more.

    Returns:
        The metrics: RMSE and MAE over all test ratings with 95% intervals over users, those of biases
        alone for comparison, and numbers of what was measured.

    Raises:
        StudyError: for a model of other data, data without test ratings, an impossible batch size, or a
            folder that holds anything else.
    """
    if batch_size < 1:
        raise StudyError(f"--batch-size is {batch_size}; allowed: whole numbers from 1")
    prepared.check_free(output_dir, (METRICS, OF_USERS), command="evaluate")
    data = prepared.read(data_dir)
    trained = folder.read(model_path, data.known, data_sha256=data.summary.sha256)
    test, training = data.part(prepared.TEST), data.part(prepared.TRAIN)
    if test.empty:
        raise StudyError(
            f"{data_dir} has no test ratings: it is too small; prepare it with lower thresholds"
        )
    with files.replacing_folder(output_dir.resolve()) as temporary:
        pairs = [
            test[[USER, ITEM]].iloc[start : start + batch_size] for start in range(0, len(test), batch_size)
        ]
        errors = _errors(test, np.concatenate([trained.model.predict(batch) for batch in pairs]))
        compared = _errors(test, Biases(data.known, seed=0).fit(training).predict(test))
        metrics = {
            "model": trained.about.model,
            "n_ratings": len(test),
            "n_users": test[USER].nunique(),
            "n_training_ratings": len(training),
            "n_of_users_without_training": int((~test[USER].isin(training[USER])).sum()),
            "n_of_items_without_training": int((~test[ITEM].isin(training[ITEM])).sum()),
        }
        for start, frame in (("", errors), ("biases_alone/", compared)):
            for metric, row in rules.summarise(frame, seed=_SEED).iterrows():
                metrics |= {f"{start}{metric}": row["pooled"]}
                metrics |= {f"{start}{metric}/{end}": row[end] for end in ("low", "high")}
        files.write_json(metrics, temporary / METRICS)
        files.write_csv(_of_users(errors, training), temporary / OF_USERS)
    return metrics


def _errors(test: pd.DataFrame, predictions: np.ndarray) -> pd.DataFrame:
    """The frame of :func:`core.ratings.errors` of one part that was predicted once."""
    error = predictions - test[RATING].to_numpy(dtype=np.float64)
    rows = test[[USER, ITEM]].assign(**{RATING_ID: test.index, FOLD: 1, SEED: 0, ERROR: error})
    return rows.reset_index(drop=True)


def _of_users(errors: pd.DataFrame, training: pd.DataFrame) -> pd.DataFrame:
    """`user_id`, `n_training` and `n_test` ratings, `rmse`, `mae`, `mean_error` (above 0: predicted too
    high), by ascending id."""
    by_user = errors.groupby(USER)[ERROR]
    return pd.DataFrame(
        {
            "n_training": training[USER].value_counts().reindex(by_user.size().index, fill_value=0),
            "n_test": by_user.size(),
            "rmse": by_user.agg(lambda values: np.sqrt(np.mean(values**2))).round(4),
            "mae": by_user.agg(lambda values: values.abs().mean()).round(4),
            "mean_error": by_user.mean().round(4),
        }
    ).reset_index()

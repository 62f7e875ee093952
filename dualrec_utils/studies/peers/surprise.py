"""Surprise beside the rating models: the folds that go to it, and how far off its predictions are.

Both sides learn from the same four folds and predict the same fifth: GroupLens' `u1` to `u5`. Surprise
(1.1.5) runs in an environment of its own (`run_surprise.py` beside this file) and gets no rating of the
fold that it predicts; its predictions are compared with the ratings by :mod:`core.ratings`, as ours are.
`make peers` runs it all.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dualrec_utils.core import config, files, ratings as rating_rules
from dualrec_utils.core.config import ITEM, RATING, USER
from dualrec_utils.core.errors import StudyError
from dualrec_utils.core.ratings import FOLD, METRICS, N_FOLDS, PREDICTION, RATING_ID
from dualrec_utils.datasets import sources
from dualrec_utils.pipeline import params
from dualrec_utils.show import tables
from dualrec_utils.studies.peers.settings import DATASET, RUNS

SETTINGS = Path(__file__).with_name("surprise.yaml")
FOLDS = RUNS / "folds"
RESULTS = RUNS / "surprise"
# Their plain mean is what a hybrid has to beat.
_MEAN_OF = ("knn_baseline", "svdpp")
# Surprise is run once: what is random in it has one seed.
_RUN = 0


@dataclass(frozen=True)
class Record:
    """What `run_surprise.py` says of a model.

    Attributes:
        seconds: fold -> `fit` and `predict`, seconds of a processor.
    """

    model: str
    algorithm: str
    settings: dict[str, Any]
    seconds: dict[str, dict[str, float]]
    versions: dict[str, str]


def read_settings(path: Path = SETTINGS) -> dict:
    """`models` (name -> `algorithm`, `settings`) and `bootstrap_seed`.

    Raises:
        StudyError: naming what is missing or unknown, and as :func:`params.read_yaml`.
    """
    settings = params.read_yaml(path)
    models = settings.get("models")
    models = models if isinstance(models, dict) else {}
    sections = {"the file": (settings, {"models", "bootstrap_seed"})}
    sections |= {f"model {name}": (about, {"algorithm", "settings"}) for name, about in models.items()}
    for where, (values, keys) in sections.items():
        wrong = sorted(keys.symmetric_difference(values if isinstance(values, dict) else ()), key=str)
        if wrong or not models:
            raise StudyError(
                f"{path}: {where} must have {sorted(keys)}; missing, unknown or empty: {wrong}"
            )
    return settings


def load_ratings() -> pd.DataFrame:
    """All ratings in the order of `u.data`, as :func:`core.ratings.load`; no stage need have run."""
    _, fetched, _ = sources.load(DATASET)
    return fetched.rename_axis(RATING_ID).reset_index()


def export(ratings: pd.DataFrame, folder: Path) -> Path:
    """Write `<fold>.train.tsv` (user, item, rating) and `<fold>.pairs.tsv` (user, item) of each fold.

    Args:
        ratings: as of :func:`load_ratings`.
        folder: what it held before is gone.
    """
    folds = rating_rules.consecutive_folds(len(ratings))
    with files.replacing_folder(folder) as temporary:
        for fold in range(1, N_FOLDS + 1):
            training, pairs = rating_rules.parts(ratings, folds, fold)
            as_text = {"sep": "\t", "index": False, "header": False, "lineterminator": "\n"}
            training[[USER, ITEM, RATING]].to_csv(temporary / f"{fold}.train.tsv", **as_text)
            pairs[[USER, ITEM]].to_csv(temporary / f"{fold}.pairs.tsv", **as_text)
    return folder


def read_predictions(model: str, ratings: pd.DataFrame, *, folder: Path = RESULTS) -> pd.DataFrame:
    """What a model of Surprise predicts, in the columns of :data:`core.ratings.COLUMNS`.

    Args:
        model: a name in the settings.
        ratings: as of :func:`load_ratings`.
        folder: of all models' results.

    Raises:
        StudyError: when a fold's predictions are missing, are not as many as its pairs, or hold anything
            but finite numbers.
    """
    folds = rating_rules.consecutive_folds(len(ratings))
    frames = []
    for fold in range(1, N_FOLDS + 1):
        path = folder / model / f"{fold}.txt"
        try:
            values = np.array(path.read_text(encoding="utf-8").split(), dtype=np.float64)
        except FileNotFoundError:
            raise StudyError(f"{path} is not there: run `make peers`") from None
        except ValueError as error:
            raise StudyError(f"{path}: {error}: delete {folder / model} and run `make peers`") from error
        _, pairs = rating_rules.parts(ratings, folds, fold)
        frames.append(rating_rules.as_predictions(pairs, values, fold=fold, seed=_RUN))
    return pd.concat(frames, ignore_index=True)


def compare(settings: dict, ratings: pd.DataFrame, *, folder: Path = RESULTS) -> pd.DataFrame:
    """RMSE, MAE and seconds of each model, and of the mean of two of them.

    Args:
        settings: of :func:`read_settings`.
        ratings, folder: as :func:`read_predictions`.

    Returns:
        One row a model: of each metric the mean of the five folds (`rmse`), the value of all ratings
        together with its interval over users (`rmse_pooled`, `rmse_low`, `rmse_high`) and each fold's
        (`rmse_u1` to `rmse_u5`); `fit_seconds` and `predict_seconds`, of a processor, means of the folds.

    Raises:
        StudyError: as :func:`read_predictions`.
    """
    predictions = {model: read_predictions(model, ratings, folder=folder) for model in settings["models"]}
    rows = {}
    for model, of_model in predictions.items():
        record = files.read_json(folder / model / "record.json", Record)
        seconds = pd.DataFrame(record.seconds).mean(axis=1).add_suffix("_seconds").to_dict()
        rows[model] = _errors(of_model, ratings, seed=settings["bootstrap_seed"]) | seconds
    if set(_MEAN_OF) <= set(predictions):
        one, other = (predictions[model] for model in _MEAN_OF)
        both = one.assign(**{PREDICTION: (one[PREDICTION] + other[PREDICTION]) / 2})
        rows[" + ".join(_MEAN_OF)] = _errors(both, ratings, seed=settings["bootstrap_seed"])
    return pd.DataFrame(rows).T.rename_axis("model").reset_index()


def _errors(predictions: pd.DataFrame, ratings: pd.DataFrame, *, seed: int) -> dict[str, float]:
    errors = rating_rules.errors(predictions, ratings)
    summary = rating_rules.summarise(errors, seed=seed)
    by_fold = rating_rules.by_fold(errors).set_index(FOLD)
    row = {}
    for metric in METRICS:
        row[metric] = summary.loc[metric, "value"]
        row |= {f"{metric}_{name}": summary.loc[metric, name] for name in ("pooled", "low", "high")}
        row |= {f"{metric}_u{fold}": value for fold, value in by_fold[metric].items()}
    return row


def export_folds() -> None:
    """Write the folds for Surprise, and print where they lie."""
    print(export(load_ratings(), FOLDS))


def write_table() -> None:
    """Write the comparison of all of Surprise's models, and print it."""
    table = compare(read_settings(), load_ratings())
    path = config.study_dir("peers") / "ratings.csv"
    with files.replacing(path) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n", float_format="%.6g")
    shown = ["model", "rmse", "rmse_u1", "mae", "fit_seconds", "predict_seconds"]
    print(tables.to_markdown(table[shown], digits=3))

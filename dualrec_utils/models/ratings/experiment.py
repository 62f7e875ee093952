"""Fit rating models on every fold, predict what the fold holds, and keep both until anything changes.

What a system predicts of one fold is a piece: it lies under
`data/<dataset>/checkpoints/rating_hybrids/<system>/`, outside what DVC clears before a run, so that a new
model fits one model and a killed run goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, cpu_count, delayed, parallel_config
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from dualrec_utils.core import closure, config, files, ratings as rules
from dualrec_utils.core.ratings import N_FOLDS
from dualrec_utils.models import ratings as models
from dualrec_utils.models.ratings.base import Known

STAGE = "rating_hybrids"
# Setting of a system -> which class it is; the others are the model's.
MODEL = "model"
_REGISTRY = frozenset({"models.ratings"})
_LIBRARIES = ("numpy", "scipy", "scikit-learn", "torch", "sentence-transformers")


def folds_of(n_ratings: int, *, dataset: str, seed: int) -> np.ndarray:
    """Fold of each rating: GroupLens' u1 to u5 of ml-100k; of other data sets folds drawn by the seed."""
    if dataset == "ml-100k":
        return rules.consecutive_folds(n_ratings)
    return rules.random_folds(n_ratings, seed=seed)


def fold_predictions(
    settings: Mapping[str, Any],
    ratings: pd.DataFrame,
    folds: np.ndarray,
    *,
    known: Known,
    fold: int,
    seed: int,
) -> tuple[pd.DataFrame, dict[str, float]]:
    """Fit a model on four folds and predict the fifth.

    Args:
        settings: `model`, a key of :data:`models.ratings.REGISTRY`, and some of its settings.
        ratings: of :func:`core.ratings.load`.
        folds: fold of each of them.
        known: what the model may know beside ratings.

    Returns:
        Predictions as :func:`core.ratings.as_predictions`, and `fit_seconds` and `predict_seconds`.
    """
    training, pairs = rules.parts(ratings, folds, fold)
    choices = dict(settings)
    model = models.build(choices.pop(MODEL), known, seed=seed, **choices)
    started = time.perf_counter()
    # Sums over several threads differ in the last digits.
    with threadpool_limits(1):
        model.fit(training)
        fitted = time.perf_counter()
        values = model.predict(pairs)
    cost = {"fit_seconds": fitted - started, "predict_seconds": time.perf_counter() - fitted}
    return rules.as_predictions(pairs, values, fold=fold, seed=seed), cost


def obtain_all(
    systems: Mapping[str, Mapping[str, Any]],
    *,
    dataset: str,
    known: Known,
    seed: int,
    split_seed: int,
    n_jobs: int | None = None,
) -> tuple[dict[str, pd.DataFrame], pd.DataFrame]:
    """Predictions of every system on every fold, fitted anew only where needed.

    As many pieces are made at once as there are cores, each with one thread, so that the digits do not
    depend on the number of cores.

    Args:
        systems: name -> settings as :func:`fold_predictions`.
        seed: of the models.
        split_seed: of the folds where they are drawn.
        n_jobs: pieces at once; None for as many as there are cores.

    Returns:
        (system -> predictions of all folds, cost): cost has a row a system, `fit_seconds` and
        `predict_seconds`, the means over folds.
    """
    ratings = rules.load(dataset)
    folds = folds_of(len(ratings), dataset=dataset, seed=split_seed)
    data = _digest_of(known, ratings, folds)
    tasks = [(name, fold) for name in systems for fold in range(1, N_FOLDS + 1)]
    run = delayed(_obtain)
    calls = [
        run(
            _piece(name, systems[name], dataset=dataset, fold=fold, seed=seed, data=data),
            systems[name],
            ratings,
            folds,
            known=known,
            fold=fold,
            seed=seed,
        )
        for name, fold in tasks
    ]
    with parallel_config(backend="loky", inner_max_num_threads=1):
        left = Parallel(n_jobs=n_jobs or cpu_count(), return_as="generator")(calls)
        pieces = dict(zip(tasks, tqdm(left, total=len(tasks), desc="rating models"), strict=True))
    costs = pd.DataFrame(
        {
            name: pd.DataFrame([pieces[name, fold][1] for fold in range(1, N_FOLDS + 1)]).mean()
            for name in systems
        }
    )
    predictions = {
        name: pd.concat([pieces[name, fold][0] for fold in range(1, N_FOLDS + 1)], ignore_index=True)
        for name in systems
    }
    return predictions, costs.T.rename_axis("system")


def _obtain(path: Path, settings: Mapping[str, Any], *args: Any, **keywords: Any) -> tuple:
    if not (path / "cost.json").is_file():
        frame, cost = fold_predictions(settings, *args, **keywords)
        with files.replacing_folder(path) as temporary:
            files.write_parquet(frame, temporary / "predictions.parquet")
            files.write_json(cost, temporary / "cost.json")
    return pd.read_parquet(path / "predictions.parquet"), files.read_json(path / "cost.json")


def _piece(name: str, settings: Mapping, *, dataset: str, fold: int, seed: int, data: str) -> Path:
    """Where a piece lies: another folder once settings, code, data, libraries or seed change."""
    module = models.model_class(settings[MODEL]).__module__
    code = closure.closure(f"import {module}\nimport {__name__}", without=_REGISTRY, by_name=False)
    libraries = {library: version(library) for library in _LIBRARIES}
    about = [dict(settings), seed, data, closure.digest(code), libraries]
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:12]
    return config.checkpoints_dir(dataset, STAGE) / name / f"{digest}-{fold}"


def _digest_of(known: Known, ratings: pd.DataFrame, folds: np.ndarray) -> str:
    """A hash of everything that a model may learn from."""
    frames = (known.items, known.users, known.tags, ratings)
    texts = [frame.to_json(orient="split", double_precision=15) for frame in frames]
    return hashlib.sha256(json.dumps([*texts, folds.tolist(), known.scale]).encode()).hexdigest()

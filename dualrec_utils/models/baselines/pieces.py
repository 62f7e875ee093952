"""Fit a baseline, write what it leaves, and keep both until its settings, code or data change.

A piece lies under `data/<dataset>/checkpoints/baselines/<system>/`, outside what DVC clears before a run:
adding a model fits one model, and a killed run goes on where it stopped.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
from joblib import Parallel, cpu_count, delayed, parallel_config
from tqdm import tqdm

from dualrec_utils.content import sentences
from dualrec_utils.core import closure, config, files, predictions
from dualrec_utils.core.catalog import load_catalog
from dualrec_utils.core.config import HISTORY
from dualrec_utils.core.predictions import Scope, scopes
from dualrec_utils.models import baselines, handoff
from dualrec_utils.models.baselines import experiment
from dualrec_utils.models.baselines.base import Diverged
from dualrec_utils.models.baselines.experiment import STAGE

# Names models and checks their settings; changes no result.
_REGISTRY = frozenset({"models.baselines"})
_LIBRARIES = ("numpy", "scipy", "scikit-learn", "torch", "keras", "tokenizers", "sentence-transformers")
_POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Piece:
    """What one baseline left.

    Attributes:
        systems: names its predictions were written under.
        curves: `epoch`, `part`, `metric`, `value` of a model trained in epochs, empty for others.
        cost: `fit_seconds`, `score_seconds` (the test cases of `next_item`), `n_scored` (their number),
            `peak_memory_mb` (of its process meanwhile), `n_epochs`, `best_epoch` (0 without epochs)
            and `trained_on`, measured when it was fitted.
        fitted: whether that was now, or before.
    """

    systems: list[str]
    curves: pd.DataFrame
    cost: dict[str, float | str]
    fitted: bool


def obtain(name: str, settings: dict, histories: list[np.ndarray], *, dataset: str, seed: int) -> Piece:
    """A baseline's predictions for every protocol and held-out split, fitted anew only where needed.

    Args:
        name: a key of :data:`models.baselines.REGISTRY`.
        settings: its hyperparameters.
        histories: one array of item ids for each training user, oldest first.

    Raises:
        StudyError: as :func:`models.baselines.build`.
        Diverged: when the loss turns NaN; nothing is kept then.
    """
    about = _about(name, settings, dataset=dataset, seed=seed)
    kept, there = piece_dir(dataset, name), config.stage_dir(dataset, STAGE)
    if (kept / "about.json").is_file() and files.read_json(kept / "about.json") == about:
        left = files.read_json(kept / "left.json")
        shutil.copytree(kept / "stage", there, dirs_exist_ok=True)
        return Piece(left["systems"], pd.read_parquet(kept / "curves.parquet"), left["cost"], fitted=False)
    with experiment.one_thread(name):
        piece = _fit(name, settings, histories, dataset=dataset, seed=seed)
    with files.replacing_folder(kept) as temporary:
        for path in _left_by(name, piece.systems, dataset):
            copy = temporary / "stage" / path.relative_to(there)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, copy)
        files.write_parquet(piece.curves, temporary / "curves.parquet")
        files.write_json({"systems": piece.systems, "cost": piece.cost}, temporary / "left.json")
        files.write_json(about, temporary / "about.json")
    return piece


def _left_by(name: str, systems: list[str], dataset: str) -> list[Path]:
    """The files of a baseline in the stage's folder."""
    on = scopes(dataset, STAGE)
    scored = [name] if name in handoff.SCORED_BASELINES else []
    lists = [predictions.path_of(system, scope) for scope in on for system in systems]
    return lists + [handoff.scores_path(one, scope) for scope in on for one in scored]


def obtain_all(
    models: dict[str, dict],
    histories: list[np.ndarray],
    *,
    dataset: str,
    seed: int,
    n_jobs: int | None = None,
) -> tuple[dict[str, Piece], dict[str, str]]:
    """:func:`obtain` for several baselines, as many at once as there are cores.

    Each has a process and one thread of its own (:func:`experiment.one_thread`), so that the digits do not
    depend on the number of cores. A GPU takes one after the other.

    Args:
        models: baseline -> its hyperparameters.
        n_jobs: baselines at once; None for as many as there are cores, or one with a GPU.

    Returns:
        Pieces by baseline, and for those whose loss turned NaN what :class:`Diverged` says; both in the
        order given.
    """
    if n_jobs is None:
        on_gpu = any(_device(name) != "cpu" for name in models)
        n_jobs = 1 if on_gpu else cpu_count()
    run = partial(_attempt, dataset=dataset, seed=seed)
    tasks = [delayed(run)(name, settings, histories) for name, settings in models.items()]
    with parallel_config(backend="loky", inner_max_num_threads=1):
        fits = Parallel(n_jobs=n_jobs, return_as="generator")(tasks)
        results = dict(zip(models, tqdm(fits, total=len(tasks), desc="baselines"), strict=True))
    pieces = {name: result for name, result in results.items() if isinstance(result, Piece)}
    handoff.note_scored([name for name in handoff.SCORED_BASELINES if name in pieces], dataset)
    return pieces, {name: result for name, result in results.items() if name not in pieces}


def _attempt(
    name: str, settings: dict, histories: list[np.ndarray], *, dataset: str, seed: int
) -> Piece | str:
    """:func:`obtain`, or the message of a model that diverged."""
    try:
        return obtain(name, settings, histories, dataset=dataset, seed=seed)
    except Diverged as error:
        return str(error)


def piece_dir(dataset: str, name: str) -> Path:
    """Where a baseline's piece lies: `data/<dataset>/checkpoints/baselines/<name>`."""
    return config.checkpoints_dir(dataset, STAGE) / name


def _about(name: str, settings: dict, *, dataset: str, seed: int) -> dict:
    """Everything that a baseline's predictions depend on."""
    kind = baselines.model_class(name)
    module = kind.__module__
    source = f"import {module}\nimport {__name__}"
    code = closure.closure(source, without=_REGISTRY, by_name=False)
    data = sorted(path for path in config.processed_dir(dataset).iterdir() if path.is_file())
    # The weights of the sentence encoder come as a package too.
    libraries = [*_LIBRARIES, sentences.PACKAGE] if "sbert" in kind.hyperparameters() else _LIBRARIES
    return {
        "settings": settings,
        "seed": seed,
        "code": closure.digest(code),
        "data": files.sha256_of_all(data),
        "libraries": {library: _version(library) for library in libraries},
        "device": _device(name),
    }


def _version(library: str) -> str | None:
    """None where it is not installed: an encoder may also come from a folder or the Hub."""
    try:
        return version(library)
    except PackageNotFoundError:
        return None


def _device(name: str) -> str:
    """What a trained model runs on: the last digits depend on it."""
    if "max_epochs" not in baselines.model_class(name).hyperparameters():
        return "cpu"
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"


def _fit(name: str, settings: dict, histories: list[np.ndarray], *, dataset: str, seed: int) -> Piece:
    catalog = load_catalog(dataset)
    model = baselines.build(name, catalog.ids, seed=seed, catalog=catalog, **settings)
    with _measured() as fitting:
        model.fit(histories, validate=experiment.validation_score(dataset, seed=seed))
    cases = predictions.load_cases(Scope(dataset, STAGE, "next_item", "test"))
    with _measured() as scoring:
        model.score(cases[HISTORY])
    systems = experiment.write_predictions(model, name, dataset=dataset)
    curves = getattr(model, "curves", pd.DataFrame(columns=["epoch", "part", "metric", "value"]))
    cost = {
        "trained_on": model.trained_on,
        "n_epochs": int(curves["epoch"].max()) if len(curves) else 0,
        "best_epoch": int(getattr(model, "best_epoch", 0)),
        "fit_seconds": round(fitting.seconds, 2),
        "score_seconds": round(scoring.seconds, 3),
        "n_scored": len(cases),
        "peak_memory_mb": round(max(fitting.peak_bytes, scoring.peak_bytes) / 2**20),
    }
    return Piece(systems, curves, cost, fitted=True)


@dataclass
class _Cost:
    seconds: float = 0.0
    peak_bytes: int = 0


@contextmanager
def _measured() -> Iterator[_Cost]:
    """Seconds that a block takes and the most memory that the process holds meanwhile."""
    cost, process, done = _Cost(), psutil.Process(), threading.Event()

    def watch() -> None:
        while True:
            cost.peak_bytes = max(cost.peak_bytes, process.memory_info().rss)
            if done.wait(_POLL_SECONDS):
                break

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    started = time.perf_counter()
    try:
        yield cost
    finally:
        cost.seconds = time.perf_counter() - started
        done.set()
        watcher.join()

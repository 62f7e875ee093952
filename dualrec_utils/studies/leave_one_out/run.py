"""`dualrec study loo run ml-1m sasrec`: fit and measure baselines on the field's track.

It stands outside the default run. One table a data set and model, one row a seed:
`reports/studies/leave_one_out/<dataset>/<model>.csv`.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from dualrec_utils.core import config, evaluation, files
from dualrec_utils.core.config import SEED
from dualrec_utils.core.errors import StudyError
from dualrec_utils.core.evaluation import CHOSEN_BY
from dualrec_utils.models import baselines
from dualrec_utils.models.baselines.base import Scorer
from dualrec_utils.pipeline import params
from dualrec_utils.studies.leave_one_out import track as loo

PARAMS = Path(__file__).with_name("params.yaml")
_KINDS = {"n_validation": int, "seeds": list, "models": dict}


def read_settings(path: Path, dataset: str) -> dict:
    """`split_seed`, and `n_validation`, `seeds` and `models` of one data set.

    Raises:
        StudyError: when a value is missing or not of its kind, and as :func:`params.read_yaml`.
    """
    values = params.read_yaml(path)
    section = values.get(dataset)
    if type(values.get("split_seed")) is not int or not isinstance(section, dict):
        known = [name for name in values if name != "split_seed"]
        raise StudyError(f"{path} must hold split_seed (an integer) and {dataset!r}; it has {known}")
    wrong = [name for name, kind in _KINDS.items() if type(section.get(name)) is not kind]
    if wrong or set(section) - set(_KINDS) or {type(seed) for seed in section["seeds"]} != {int}:
        look = ", ".join(wrong or sorted(set(section) - set(_KINDS)) or ["seeds"])
        raise StudyError(
            f"{path}, {dataset}: it must hold n_validation (an integer), seeds (integers) and models (model"
            f" -> hyperparameters); look at {look}"
        )
    return {"split_seed": values["split_seed"], **section}


def run_seed(split: loo.Split, name: str, hyperparameters: dict, *, seed: int, bootstrap_seed: int) -> dict:
    """Fit a baseline on training histories, then ask it for everyone's last item.

    Args:
        split: of :func:`leave_one_out.split`.
        name: a key of :data:`models.baselines.REGISTRY`, one that reads no titles.
        hyperparameters: exactly the model's.
        seed: of the model.
        bootstrap_seed: of the intervals.

    Returns:
        One row: each metric with `_low` and `_high`; for models trained in epochs `best_epoch`, `epochs`,
        `seconds_per_epoch` (training alone, the mean over epochs) and `validation_ndcg@5` (a list, one
        value an epoch, as JSON); `fit_seconds` (validation included) and `score_seconds`; `peak_memory_mb`,
        of the whole process so far. Seconds are those of the clock, whatever else the machine was doing.

    Raises:
        StudyError: as :func:`baselines.build`, or when the loss is no number any more.
    """
    model = baselines.build(name, split.item_ids, seed=seed, **hyperparameters)
    validation = loo.Validation(split, metric=CHOSEN_BY, clock=time.perf_counter)

    def validate(score: Scorer) -> float:
        value, epoch = validation(score), len(validation.by_epoch)
        tqdm.write(f"epoch {epoch}: {validation.epoch_seconds[-1]:.1f} s, {CHOSEN_BY} {value:.4f}")
        return value

    start = time.perf_counter()
    model.fit(split.training, user_ids=split.user_ids, validate=validate)
    fitted = time.perf_counter()
    users = loo.evaluate(model.score, split.test, split.item_ids)
    scored = time.perf_counter()
    row: dict = {"model": name, SEED: seed}
    for metric, values in evaluation.summarise(users, columns=loo.METRICS, seed=bootstrap_seed).iterrows():
        row |= {metric: values["value"], f"{metric}_low": values["low"], f"{metric}_high": values["high"]}
    epochs = len(validation.by_epoch)
    return row | {
        "best_epoch": getattr(model, "best_epoch", None),
        "epochs": epochs or None,
        "seconds_per_epoch": sum(validation.epoch_seconds) / epochs if epochs else None,
        f"validation_{CHOSEN_BY}": json.dumps([round(value, 4) for value in validation.by_epoch]),
        "fit_seconds": fitted - start,
        "score_seconds": scored - fitted,
        "peak_memory_mb": _peak_memory(),
        "device": _device(epochs > 0),
        "hyperparameters": json.dumps(hyperparameters),
    }


def run(dataset: str, name: str, *, settings: dict) -> pd.DataFrame:
    """Fit one baseline with each seed; write and return its table.

    Args:
        dataset: `ml-100k` or `ml-1m`.
        name: of the baseline.
        settings: of :func:`read_settings`.

    Raises:
        StudyError: when the settings do not have the model, and as :func:`leave_one_out.load` and
            :func:`run_seed`; nothing is written then.
    """
    models = settings["models"]
    if name not in models:
        raise StudyError(f"{PARAMS}, {dataset}: there is no model {name!r}; it has {', '.join(models)}")
    track = loo.load(dataset)
    seed = settings["split_seed"]
    split = loo.split(track, n_validation=settings["n_validation"], seed=seed)
    # Only training in epochs is random.
    seeds = settings["seeds"] if "max_epochs" in models[name] else settings["seeds"][:1]
    rows = [run_seed(split, name, models[name], seed=s, bootstrap_seed=seed) for s in seeds]
    about = {
        "dataset": dataset,
        "n_users": len(track.user_ids),
        "n_items": len(track.item_ids),
        "n_interactions": sum(map(len, track.histories)),
        "n_validation": settings["n_validation"],
        "source": track.source,
        "order_sha256": track.order_sha256,
    }
    table = pd.DataFrame([row | about for row in rows])
    files.write_csv(table, config.study_dir(loo.STUDY) / dataset / f"{name}.csv")
    return table


def _peak_memory() -> int:
    """The most memory that this process has held, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10))


def _device(trained: bool) -> str:
    if not trained:
        return "cpu"
    # Imported by then: models that are trained bring it.
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"cpu, {torch.get_num_threads()} thread(s)"


def run_models(dataset: str, models: Sequence[str]) -> None:
    """Fit the named baselines with the study's `params.yaml`, and print their tables.

    Raises:
        StudyError: as :func:`read_settings` and :func:`run`.
    """
    settings = read_settings(PARAMS, dataset)
    # Imported here: a spelling mistake need not wait for it. One thread, because attention's last digits
    # depend on their number and early stopping makes hits of them; networks of this size lose no time.
    import torch

    torch.set_num_threads(1)
    for name in models:
        table = run(dataset, name, settings=settings)
        shown = ["model", SEED, *loo.METRICS, "best_epoch", "epochs", "seconds_per_epoch"]
        print(table[shown].round(4).to_string(index=False), flush=True)

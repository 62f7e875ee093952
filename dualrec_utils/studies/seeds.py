"""`dualrec study seeds`: the run again from other seeds of order and training.

The run itself has `order_seed` and `model_seed` 0. Here both are 1, 2, ...: inside a second another order
is drawn, cases and targets with it, and everything that is trained or drawn starts from another seed;
users keep their part of the split. Each seed is a run of the pipeline up to notebook 06 in a folder of its
own beside the profiles, with the baselines that the claims need. Its values, user by user, come into the
tables of `reports/tables/seeds/`, one a system, which :mod:`analysis.seeds` reads. A stopped run goes on
where it stopped. A seed whose values stand in the tables, made from the same settings, is not run again on
a machine that has no folder of it.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pandas as pd

from dualrec_utils.analysis import claims
from dualrec_utils.analysis.seeds import FOLDER, MADE_FROM, METRICS, settings_digest
from dualrec_utils.core import config, evaluation, files, predictions
from dualrec_utils.core.config import SEED, SYSTEM, USER
from dualrec_utils.core.errors import StudyError
from dualrec_utils.core.predictions import Scope
from dualrec_utils.models import systems
from dualrec_utils.pipeline import params, profiles

STAGE = FOLDER
# Seeds after the run's own, by data set: what its size allows.
N_MORE = {"ml-100k": 4}
_N_MORE_OF_OTHERS = 2
# Notebook 03 needs the first two; the others stand in claims and controls.
_BASELINES = ("random", "most_popular", "ease", "gru4rec", "sasrec")
_LAST_STAGE = "rerank_ablation"
VALUES = "seed_values.parquet"


def differences(seed: int, *, best: Collection[str]) -> dict[str, Any]:
    """What a seed's `params.yaml` holds: the differences of the profile at hand, and those of the seed.

    Args:
        seed: of order and models, from 1.
        best: baselines that are kept besides :data:`_BASELINES`.
    """
    at_hand = params.read_yaml(config.PARAMS_FILE)
    whole = params.load()
    of_profile = {} if at_hand[params.REPOSITORY] == "" else at_hand
    sections = {name: dict(of_profile.get(name) or {}) for name in params.SECTIONS}
    dropped = set(whole.baselines.models) - {*_BASELINES, *best}
    models = {**sections["baselines"].get("models", {}), **dict.fromkeys(sorted(dropped))}
    sections["baselines"] |= {"models": models}
    # Not run here, and checked all the same.
    sections["audit"] |= {"baselines": ["most_popular"]}
    above = {params.REPOSITORY: params.UP, "trial": whole.trial, "dataset": whole.dataset, SEED: whole.seed}
    for name in ("intervals", params.DOMAIN):
        if name in of_profile:
            sections[name] = dict(of_profile[name])
    sections.setdefault(params.DOMAIN, {})
    return {**above, "order_seed": seed, "model_seed": seed, **sections}


def folder_of(seed: int) -> Path:
    """The folder of a seed's run, beside the profiles: `profiles/<profile>-seed-<seed>`."""
    base = "default" if config.ROOT == config.PACKAGE_ROOT else config.ROOT.name
    return config.PROFILES / f"{base}{profiles.SEED_MARK}{seed}"


def set_up(seed: int, *, best: Collection[str]) -> Path:
    """Write a seed's `params.yaml` and what DVC needs beside it; arguments as :func:`differences`."""
    folder = folder_of(seed)
    # JSON is YAML.
    files.write_json(differences(seed, best=best), folder / "params.yaml")
    profiles.set_up(folder.name)
    # Git ignores the folder, which DVC would refuse.
    files.write_text(profiles.NO_GIT, folder / ".dvc" / "config.local")
    return folder


def best_baselines(dataset: str) -> tuple[str, ...]:
    """The best order-aware and the best order-free baseline of the run, by NDCG@5 on validation users.

    Raises:
        StudyError: when the run has no baselines yet.
    """
    ran = set(predictions.systems(Scope(dataset, "baselines", "next_item", "validation")))
    if not ran:
        raise StudyError("the run has no baselines yet: run `make repro` first")
    free = claims.best_on_validation(systems.ORDER_FREE, dataset)
    return tuple(name for name in (claims.best_order_aware(dataset), free) if name in ran)


def write_values() -> int:
    """Write :data:`VALUES` of the run in this folder: its systems on the test cases of `next_item`."""
    dataset = params.load().dataset
    rows = []
    for stage in systems.STAGES:
        scope = Scope(dataset, stage, "next_item", "test")
        for name in predictions.systems(scope):
            if not name.endswith(predictions.SEEN_KEPT):
                values = evaluation.user_means(name, scope, columns=METRICS)
                rows.append(values.reset_index().assign(**{SYSTEM: name}))
    files.write_parquet(pd.concat(rows, ignore_index=True), config.stage_dir(dataset, STAGE) / VALUES)
    return 0


def tabulated(values: dict[int, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """The tables of all systems; one that lacks a seed, because its loss diverged, has the others.

    Args:
        values: seed -> frame of :func:`write_values`.

    Returns:
        system -> `seed`, `user_id`, :data:`METRICS`, by seed and user.
    """
    together = pd.concat([frame.assign(**{SEED: seed}) for seed, frame in values.items()])
    columns = [SEED, USER, *METRICS]
    return {
        name: frame[columns].sort_values([SEED, USER], ignore_index=True)
        for name, frame in together.groupby(SYSTEM)
    }


def read_tables() -> dict[int, pd.DataFrame]:
    """The frames that :func:`tabulated` made the tables from: seed -> frame; none of other settings."""
    folder = config.TABLES / STAGE
    if files.read_json(folder / MADE_FROM, missing={}).get("settings") != settings_digest():
        return {}
    tables = [pd.read_csv(path).assign(**{SYSTEM: path.stem}) for path in sorted(folder.glob("*.csv"))]
    together = pd.concat(tables) if tables else pd.DataFrame({SEED: []})
    return {int(seed): rows.drop(columns=SEED) for seed, rows in together.groupby(SEED)}


def run_all() -> int:
    """Run every seed up to notebook 06, and write the tables after each: what is there already counts.

    Raises:
        StudyError: when the run itself has not got that far, or a seed's run fails.
    """
    dataset = params.load().dataset
    best = best_baselines(dataset)
    values = read_tables()
    for seed in range(1, N_MORE.get(dataset, _N_MORE_OF_OTHERS) + 1):
        if seed in values and not (folder_of(seed) / "data").is_dir():
            print(f"seeds: {seed} stands in the tables, made from these settings: kept", flush=True)
            continue
        folder = set_up(seed, best=best)
        for command in (["dvc", "repro", _LAST_STAGE], ["dualrec_utils", "study", "seed-values"]):
            if subprocess.run([sys.executable, "-m", *command], cwd=folder, check=False).returncode:
                raise StudyError(f"seed {seed} stopped (above); `make seeds` goes on from there")
        values[seed] = pd.read_parquet(folder / "data" / dataset / STAGE / VALUES)
        write_tables(values)
    return 0


def write_tables(values: dict[int, pd.DataFrame]) -> None:
    """Write the tables of the seeds that have been run; those of other settings go.

    Args:
        values: seed -> frame of :func:`write_values`.
    """
    folder = config.TABLES / STAGE
    for path in folder.glob("*.csv"):
        path.unlink()
    for name, table in tabulated(values).items():
        files.write_csv(table, folder / f"{name}.csv")
    files.write_json({"settings": settings_digest(), "seeds": sorted(values)}, folder / MADE_FROM)
    n_systems = pd.concat(values.values())[SYSTEM].nunique()
    print(f"seeds: {len(values)} of {n_systems} systems in {folder}", flush=True)

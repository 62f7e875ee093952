"""Random search of settings on validation users: `dualrec study search gru4rec ...`.

Bergstra and Bengio (2012), "Random search for hyper-parameter optimization", JMLR. Every baseline, the LSTM
of notebook 02 and `movielm` get their defaults and drawn settings, and are measured on validation users
alone: more of them for the models that matter most (`more_draws`). It stands outside the default run, which
takes the chosen values from `params.yaml`. One table a model, `reports/studies/search/<model>.csv`, best
setting first, is written after each trial; a stopped search goes on with the settings that the table lacks.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from dualrec_utils.core import config, files, splits
from dualrec_utils.core.catalog import load_catalog
from dualrec_utils.core.errors import StudyError
from dualrec_utils.core.evaluation import CHOSEN_BY
from dualrec_utils.models import baselines
from dualrec_utils.models.baselines import experiment
from dualrec_utils.models.baselines.base import Diverged, Scorer
from dualrec_utils.pipeline import params
from dualrec_utils.studies import fits
from dualrec_utils.studies.fits import LSTM, MOVIELM
from dualrec_utils.studies.search import spaces

STAGE = "search"
DATASET = "ml-100k"
PARAMS = Path(__file__).with_name("params.yaml")
# Columns behind the hyperparameters.
VALUES = ("hit_rate@5", CHOSEN_BY, "n_cases", "n_epochs", "best_epoch", "seconds")
# Digest of a trial's settings, seed, data and code.
_MADE_FROM = "made_from"


def draws(name: str, defaults: dict, *, n_draws: int, seed: int) -> list[dict]:
    """Settings of one model to try: the defaults, then drawn ones.

    Args:
        name: a baseline, :data:`LSTM` or :data:`MOVIELM`.
        defaults: all its hyperparameters; those that its space does not name keep their value.
        n_draws: settings in all, at least 1. A model without hyperparameters has one.
        seed: of the draws; they do not depend on other models.

    Returns:
        Settings for :func:`trial`, each different.

    Raises:
        StudyError: as :func:`models.baselines.build`, or when n_draws is below 1.
    """
    if n_draws < 1:
        raise StudyError(f"n_draws is {n_draws}; a search needs at least 1")
    generator, settings = np.random.default_rng([seed, *name.encode()]), [dict(defaults)]
    space = spaces.SPACES.get(name, {})
    # A small space of lists alone may have fewer different settings than are asked for.
    for _ in range(100 * n_draws):
        if len(settings) == n_draws or not space:
            break
        drawn = {key: spaces.draw(candidates, generator) for key, candidates in space.items()}
        if defaults | drawn not in settings:
            settings.append(defaults | drawn)
    for keywords in settings if name in baselines.REGISTRY else ():
        baselines.build(name, np.array([1]), seed=seed, **keywords)
    return settings


def read_settings(path: Path) -> dict:
    """`seed`, `n_draws`, `more_draws` (name -> number) and `models` (name -> defaults) of a file.

    Raises:
        StudyError: when a value is missing or not of its kind, and as :func:`params.read_yaml`.
    """
    values = params.read_yaml(path)
    kinds = {"seed": int, "n_draws": int, "more_draws": dict, "models": dict}
    wrong = [name for name, kind in kinds.items() if type(values.get(name)) is not kind]
    wrong = (
        wrong
        or sorted(set(values) - set(kinds))
        or sorted(set(values["more_draws"]) - set(values["models"]))
    )
    if wrong:
        raise StudyError(
            f"{path} must hold seed and n_draws (integers), more_draws (model -> integer) and models"
            f" (model -> hyperparameters); look at {', '.join(wrong)}"
        )
    return values


def trial(name: str, settings: dict, *, seed: int) -> dict[str, float]:
    """Train a model with some settings and measure it on validation users, as :func:`experiment.trial`.

    Args:
        name: a baseline, :data:`LSTM` or :data:`MOVIELM`.
        settings: from :func:`draws`.

    Raises:
        Diverged: as :func:`experiment.trial`.
    """
    if name == LSTM:
        return _lstm(settings, seed=seed)
    if name == MOVIELM:
        return _movielm(seed=seed, **settings)
    histories = list(splits.load_histories(DATASET, "train").values())
    return experiment.trial(name, settings, histories, dataset=DATASET, seed=seed)


def _lstm(settings: dict, *, seed: int) -> dict[str, float]:
    histories = list(splits.load_histories(DATASET, "train").values())
    score = fits.lstm_scorer(histories, load_catalog(DATASET), settings, seed=seed)
    values = experiment.validation(DATASET, seed=seed)(_numbers(LSTM, score))
    # It is trained to the end: the learning rate falls to zero by then.
    return values | {"n_epochs": settings["epochs"], "best_epoch": settings["epochs"]}


def _movielm(*, seed: int, n_history: int, last_cases: int, **section) -> dict[str, float]:
    """Stage `movielm`, then the bare history with lists of real items only, as in notebook 04."""
    known, others = splits.load_earlier(DATASET, "train"), splits.load_histories(DATASET, "validation")
    catalog = load_catalog(DATASET)
    rank = fits.movielm_ranker(known, others, catalog, section, n_history=n_history, seed=seed)

    def score(histories: Sequence[np.ndarray]) -> np.ndarray:
        return rank(histories, excluded=histories, k=5)

    values = experiment.validation(DATASET, seed=seed, last_cases=last_cases)(_numbers(MOVIELM, score))
    return values | {"n_epochs": section["n_epochs"], "best_epoch": section["n_epochs"]}


def _numbers(name: str, score: Scorer) -> Scorer:
    """The scorer, which raises :class:`Diverged` for scores that are NaN; baselines watch their loss."""

    def checked(histories: Sequence[np.ndarray]) -> np.ndarray:
        scores = score(histories)
        if np.isnan(scores).any():
            raise Diverged(f"{name}: its scores are nan; lower the learning rate")
        return scores

    return checked


def run(
    name: str, *, seed: int, n_draws: int, models: dict[str, dict], more_draws: dict[str, int] | None = None
) -> pd.DataFrame:
    """Search one model; write its table after each trial, and return it.

    Args:
        name: of the model.
        seed: of the draws and of every fit.
        n_draws: settings tried, the defaults among them.
        models: defaults of every model.
        more_draws: settings tried of some models, in place of `n_draws`.

    Returns:
        One row a setting: hyperparameters, `hit_rate@5` and `ndcg@5` (means over validation users,
        `next_item`, items already seen left out; NaN where the loss diverged), `n_cases`, `n_epochs`
        trained, `best_epoch`, `seconds`, and `made_from`: rows of other settings, data, seeds or code are
        dropped. Best `ndcg@5` first, ties as drawn.

    Raises:
        StudyError: when `models` does not have it, and as :func:`draws`.
        Diverged: when no setting is left.
    """
    if name not in models:
        raise StudyError(f"{PARAMS} has no model {name!r}; it has {', '.join(models)}")
    n_draws = (more_draws or {}).get(name, n_draws)
    wanted = {
        _digest(name, settings, seed=seed): settings
        for settings in draws(name, models[name], n_draws=n_draws, seed=seed)
    }
    path = config.study_dir(STAGE) / f"{name}.csv"
    kept = pd.read_csv(path) if path.is_file() else pd.DataFrame()
    rows = {row[_MADE_FROM]: row for row in kept.to_dict("records") if row.get(_MADE_FROM) in wanted}
    for key, settings in tqdm(wanted.items(), desc=name):
        if key in rows:
            continue
        started, values = time.perf_counter(), dict.fromkeys(VALUES, np.nan)
        try:
            values |= trial(name, settings, seed=seed)
        except Diverged as error:
            # What a broken setting costs counts, too.
            print(error)
        seconds = round(time.perf_counter() - started, 1)
        rows[key] = settings | values | {"seconds": seconds, _MADE_FROM: key}
        files.write_csv(_table(rows, wanted), path)
    table = _table(rows, wanted)
    if table[CHOSEN_BY].isna().all():
        raise Diverged(f"{name}: every setting diverged; lower the learning rate")
    return table


def _table(rows: dict[str, dict], wanted: dict[str, dict]) -> pd.DataFrame:
    """The trials so far, best first, ties in the order drawn."""
    frame = pd.DataFrame([rows[key] for key in wanted if key in rows])
    return frame.sort_values(CHOSEN_BY, ascending=False, kind="stable", ignore_index=True)


def _digest(name: str, settings: dict, *, seed: int) -> str:
    """A trial's key, see :func:`studies.fits.digest`."""
    return fits.digest(name, [settings, seed], dataset=DATASET, study=[__file__])


def run_all(models: Sequence[str]) -> None:
    """Search the named models and print their tables.

    Raises:
        StudyError: as :func:`run`.
    """
    settings = read_settings(PARAMS)
    for name in models:
        print(run(name, **settings).round(4).to_string(index=False), flush=True)

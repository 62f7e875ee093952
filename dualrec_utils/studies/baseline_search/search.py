"""Random search of baselines on validation users: `dualrec study search gru4rec ...`.

Bergstra and Bengio (2012), "Random search for hyper-parameter optimization", JMLR. Every model gets the
same number of settings, its defaults and drawn ones, and is measured on validation users alone. It
stands outside the default run, which takes the chosen values from `params.yaml`. One table a model:
`reports/studies/baseline_search/<model>.csv`, best setting first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from dualrec_utils.core import config, files, splits
from dualrec_utils.core.errors import StudyError
from dualrec_utils.models import baselines
from dualrec_utils.models.baselines import experiment
from dualrec_utils.pipeline import params

STAGE = "baseline_search"
DATASET = "ml-100k"
PARAMS = Path(__file__).with_name("params.yaml")


@dataclass(frozen=True)
class Between:
    """A range to draw from, uniformly or, with `log`, so that each decade is as likely.

    Attributes:
        low, high: ends, both of the same type; integers give integers, `high` included.
        log: draw the logarithm uniformly; `low` must be above 0.
    """

    low: float
    high: float
    log: bool = False

    def draw(self, generator: np.random.Generator) -> float:
        """One value; other than integers are rounded to three significant digits."""
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        if isinstance(self.low, int):
            # Half a step beyond either end, so that the ends are as likely as what lies between.
            low, high = (
                (math.log(self.low - 0.5), math.log(self.high + 0.5))
                if self.log
                else (low - 0.5, high + 0.5)
            )
        value = generator.uniform(low, high)
        value = math.exp(value) if self.log else value
        if isinstance(self.low, int):
            return int(min(max(round(value), self.low), self.high))
        return float(f"{value:.3g}")


# A list is drawn from uniformly.
Space = dict[str, Between | list]
_TRAINED: Space = {"learning_rate": Between(5e-4, 1e-2, log=True), "weight_decay": [0.0, 1e-6, 1e-5, 1e-4]}
_SEQUENCE: Space = _TRAINED | {
    "dropout": Between(0.0, 0.6),
    "embedding_size": [32, 64, 128],
    "batch_size": [16, 32, 64],
}
_PREFIX: Space = _SEQUENCE | {"batch_size": [64, 128]}
SPACES: dict[str, Space] = {
    "markov": {"smoothing": Between(1.0, 3_000.0, log=True)},
    "item_knn": {"query_length": Between(1, 30, log=True), "n_neighbours": Between(10, 1_000, log=True)},
    "sknn": {"query_length": Between(1, 50, log=True), "n_neighbours": Between(10, 500, log=True)},
    "vsknn": {
        "query_length": Between(1, 50, log=True),
        "n_neighbours": Between(10, 500, log=True),
        "idf_weight": [0, 1, 2, 5],
    },
    "slim": {
        "query_length": Between(1, 50, log=True),
        "alpha": Between(1e-3, 1e-1, log=True),
        "l1_share": Between(1e-3, 5e-1, log=True),
    },
    "ease": {"query_length": Between(1, 50, log=True), "l2": Between(10.0, 3_000.0, log=True)},
    "fpmc": _TRAINED | {"embedding_size": [32, 64, 128], "batch_size": [256, 512, 1_024]},
    "gru4rec": _SEQUENCE | {"n_layers": [1, 2], "max_length": [30, 50, 100]},
    "sasrec": _SEQUENCE | {"n_layers": [1, 2], "n_heads": [1, 2], "max_length": [30, 50, 100]},
    "bert4rec": _SEQUENCE
    | {
        "n_layers": [1, 2],
        "n_heads": [1, 2],
        "max_length": [30, 50, 100],
        "mask_share": Between(0.1, 0.6),
    },
    "narm": _SEQUENCE
    | {"hidden_size": [64, 128], "embedding_dropout": Between(0.0, 0.5), "max_length": [20, 30]},
    "stamp": _SEQUENCE | {"max_length": [10, 20, 30]},
    "mcprn": _SEQUENCE
    | {
        "n_channels": Between(1, 4),
        "temperature": Between(0.05, 1.0, log=True),
        "max_length": [20, 30],
    },
    "atten_mixer": _SEQUENCE | {"n_heads": [1, 2, 4], "n_levels": Between(1, 8), "max_length": [20, 30]},
    "gce_gnn": _PREFIX | {"n_neighbours": [6, 12, 20]},
    "hide": _PREFIX
    | {
        "learning_rate": Between(3e-3, 3e-2, log=True),
        "n_intents": [1, 2, 4],
        "longest_window": Between(2, 6),
    },
    "unisrec": _SEQUENCE
    | {
        "n_layers": [1, 2],
        "n_heads": [1, 2],
        "n_experts": [2, 4, 8],
        "temperature": Between(0.05, 0.3, log=True),
        "max_length": [30, 50],
    },
    "lstm_tuned": {key: value for key, value in _SEQUENCE.items() if key != "embedding_size"}
    | {"max_length": [20, 30, 50]},
}


def draws(name: str, defaults: dict, *, n_draws: int, seed: int) -> list[dict]:
    """Settings of one model to try: the defaults, then drawn ones.

    Args:
        name: a key of :data:`models.baselines.REGISTRY`.
        defaults: all its hyperparameters; those that its space does not name keep their value.
        n_draws: settings in all, at least 1. A model without hyperparameters has one.
        seed: of the draws; they do not depend on other models.

    Returns:
        Keywords for :func:`models.baselines.build`, each different.

    Raises:
        StudyError: as :func:`models.baselines.build`, or when n_draws is below 1.
    """
    if n_draws < 1:
        raise StudyError(f"n_draws is {n_draws}; a search needs at least 1")
    generator, found = np.random.default_rng([seed, *name.encode()]), [dict(defaults)]
    space = SPACES.get(name, {})
    # A small space of lists alone may have fewer different settings than are asked for.
    for _ in range(100 * n_draws):
        if len(found) == n_draws or not space:
            break
        drawn = {key: _one(candidates, generator) for key, candidates in space.items()}
        if defaults | drawn not in found:
            found.append(defaults | drawn)
    for keywords in found:
        baselines.build(name, np.array([1]), seed=seed, **keywords)
    return found


def _one(candidates: Between | list, generator: np.random.Generator):
    if isinstance(candidates, Between):
        return candidates.draw(generator)
    return candidates[generator.integers(len(candidates))]


def read_settings(path: Path) -> dict:
    """`seed`, `n_draws` and `models` (name -> default hyperparameters) of a parameters file.

    Raises:
        StudyError: when a value is missing or not of its kind, and as :func:`params.read_yaml`.
    """
    values = params.read_yaml(path)
    kinds = {"seed": int, "n_draws": int, "models": dict}
    wrong = [name for name, kind in kinds.items() if type(values.get(name)) is not kind]
    if wrong or set(values) - set(kinds):
        raise StudyError(
            f"{path} must hold seed and n_draws (integers) and models (model -> hyperparameters);"
            f" look at {', '.join(wrong or sorted(set(values) - set(kinds)))}"
        )
    return values


def run(name: str, *, seed: int, n_draws: int, models: dict[str, dict]) -> pd.DataFrame:
    """Search one baseline; write and return the table of :func:`experiment.try_each`.

    Args:
        name: of the baseline.
        seed: of the draws and of every fit.
        n_draws: settings tried, the defaults among them.
        models: defaults of every baseline.

    Raises:
        StudyError: when `models` does not have it, and as :func:`draws`.
    """
    if name not in models:
        raise StudyError(f"{PARAMS} has no model {name!r}; it has {', '.join(models)}")
    histories = list(splits.load_histories(DATASET, "train").values())
    settings = draws(name, models[name], n_draws=n_draws, seed=seed)
    table = experiment.try_each(name, settings, histories, dataset=DATASET, seed=seed)
    files.write_csv(table, config.study_dir(STAGE) / f"{name}.csv")
    return table


def run_all(models: Sequence[str]) -> None:
    """Search the named baselines and print their tables.

    Raises:
        StudyError: as :func:`run`.
    """
    settings = read_settings(PARAMS)
    for name in models:
        print(run(name, **settings).round(4).to_string(index=False), flush=True)

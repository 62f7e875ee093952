"""`python -m dualrec_utils.baseline_search gru4rec ...`: random search of baselines on validation users.

Every model gets the same number of settings: its defaults and drawn ones. It stands outside the default
run, which takes the chosen values from `params.yaml`. One table a model:
`reports/tables/baseline_search/<model>.csv`, best setting first.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pandas as pd

from dualrec_utils import config, params, splits, stages, tables
from dualrec_utils.baselines import experiment, search
from dualrec_utils.errors import StudyError

STAGE = "baseline_search"
DATASET = "ml-100k"
PARAMS = config.PACKAGE_ROOT / "optional" / STAGE / "params.yaml"


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
        StudyError: when `models` does not have it, and as :func:`search.draws`.
    """
    if name not in models:
        raise StudyError(f"{PARAMS} has no model {name!r}; it has {', '.join(models)}")
    histories = list(splits.load_histories(DATASET, "train").values())
    settings = search.draws(name, models[name], n_draws=n_draws, seed=seed)
    table = experiment.try_each(name, settings, histories, dataset=DATASET, seed=seed)
    tables.save_table(table, name, stage=STAGE)
    return table


@stages.reported(STAGE)
def main() -> None:
    """Parse the command line and search."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", metavar="model")
    settings = read_settings(PARAMS)
    for name in parser.parse_args().models:
        print(run(name, **settings).round(4).to_string(index=False), flush=True)


if __name__ == "__main__":
    sys.exit(main())

"""Questions of the paper's digest that the default run leaves open: where their settings and pieces lie.

`dualrec study questions notebook` runs notebook 09, which puts the pieces together. It stands outside the
default pipeline, and takes its settings from `params.yaml` beside this file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dualrec_utils.core import config, evaluation, predictions
from dualrec_utils.core.config import USER
from dualrec_utils.core.errors import StudyError
from dualrec_utils.core.predictions import Scope
from dualrec_utils.pipeline import params
from dualrec_utils.studies import notebook

STAGE = "questions"
NOTEBOOK = f"09_{STAGE}.ipynb"
PARAMS = Path(__file__).with_name("params.yaml")


def pieces_dir(section: str) -> Path:
    """Where the runs of a section leave what they found, apart, so that a stopped run goes on."""
    return config.ROOT / "data" / STAGE / section


def read_settings(section: str) -> dict[str, Any]:
    """One section of the study's `params.yaml`.

    Raises:
        StudyError: for a section that the file does not have, and as :func:`params.read_yaml`.
    """
    values = params.read_yaml(PARAMS)
    if not isinstance(values.get(section), dict):
        raise StudyError(f"{PARAMS} has no section {section!r}; it has {', '.join(values)}")
    return values[section]


def last_cases(dataset: str, *, n_cases: int) -> pd.DataFrame:
    """The last cases of every test user under `next_item`."""
    cases = predictions.load_cases(Scope(dataset, STAGE, "next_item", "test"))
    return cases.groupby(USER).tail(n_cases).reset_index(drop=True)


def settings() -> dict[str, Any]:
    """The notebook's parameters: `dataset` and `seed` of the default run, and section `notebook`."""
    about = params.section("lstm")
    return {"dataset": about["dataset"], "seed": about["seed"], **read_settings("notebook")}


def compared(
    frame: pd.DataFrame, metric: str, *, against: pd.DataFrame | None = None, **stats
) -> dict[str, float]:
    """A metric's mean over users and its paired difference to another frame's, with intervals.

    Args:
        frame, against: per-case values, `user_id` and `case_id` among them; None leaves the difference
            missing.
        stats: `seed`, `n_bootstrap`, `confidence`.

    Returns:
        `value`, `low`, `high`, `difference`, `difference_low`, `difference_high`.
    """
    numbers = evaluation.summarise(frame, columns=[metric], **stats).loc[metric, ["value", "low", "high"]]
    gain = dict.fromkeys(("difference", "low", "high"), np.nan)
    if against is not None:
        gain = evaluation.paired_difference(frame, against, metric=metric, **stats)
    ends = {f"difference_{end}": gain[end] for end in ("low", "high")}
    return numbers.astype(float).to_dict() | {"difference": gain["difference"]} | ends


def run_notebook() -> int:
    """Run the notebook on the pieces at hand, write its page and print where it lies.

    Returns:
        0; 1 when a cell fails, after printing which.
    """
    return notebook.run_notebook(NOTEBOOK, STAGE)

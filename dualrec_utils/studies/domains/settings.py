"""Does it carry beyond films? The study's name, the runs it reads, and where it leaves what it finds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dualrec_utils.analysis import verdict
from dualrec_utils.core import config, files
from dualrec_utils.pipeline import params

STUDY = "domains"
NOTEBOOK = f"13_{STUDY}.ipynb"
# Data set -> the profile that runs it; empty: the default run.
RUNS = {
    "ml-100k": "",
    "ml-1m": "ml-1m",
    "amazon-cds": "amazon-cds",
    "amazon-games": "amazon-games",
    "online-retail": "online-retail",
}
# What readers call them.
NAMES = verdict.DATASETS | {
    "amazon-cds": "music (Amazon CDs)",
    "amazon-games": "video games",
    "online-retail": "a gift shop's baskets",
}
NOT_RUN_YET = "not run yet"


def folder_of(dataset: str) -> Path:
    """The folder of the run on a data set."""
    profile = RUNS[dataset]
    return config.PROFILES / profile if profile else config.PACKAGE_ROOT


def metrics(dataset: str, stage: str) -> dict[str, Any]:
    """What a stage of the run on a data set has measured; empty where it has not been run."""
    return files.read_json(folder_of(dataset) / "reports" / "metrics" / f"{stage}.json", missing={})


def name_of(dataset: str) -> str:
    """What readers call a data set; its own name where nobody has given it another."""
    return NAMES.get(dataset, dataset)


def items_of(dataset: str) -> str:
    """What the items of a data set are called, several of them."""
    return params.load(folder_of(dataset) / "params.yaml").domain.items


def path_of(name: str) -> Path:
    """Where a table of the study lies, for a notebook that is run by hand too."""
    return config.STUDIES / STUDY / f"{name}.csv"


def settings() -> dict[str, Any]:
    """The notebook's own: `dataset` and `seed` of the default run."""
    about = params.section("lstm")
    return {"dataset": about["dataset"], "seed": about["seed"]}

"""Where things lie and what columns are called, each said once.

Every path begins at :data:`ROOT`, the folder that holds `params.yaml`, `data/` and `reports/`: the folder
of a profile where the command is started in it, else the repository. The environment variable
`DUALREC_ROOT` names another one (a test's scratch folder).
"""

from __future__ import annotations

import os
from pathlib import Path

PACKAGE_ROOT = Path(__file__).resolve().parents[2]
PROFILES = PACKAGE_ROOT / "profiles"


def _root() -> Path:
    if named := os.environ.get("DUALREC_ROOT"):
        return Path(named).resolve()
    here = Path.cwd()
    return here if here.parent == PROFILES and (here / "params.yaml").is_file() else PACKAGE_ROOT


ROOT = _root()

PARAMS_FILE = ROOT / "params.yaml"
NOTEBOOKS = PACKAGE_ROOT / "notebooks"
REPORTS = ROOT / "reports"
FIGURES = REPORTS / "figures"
TABLES = REPORTS / "tables"
# What studies beside the pipeline find belongs to the repository, not to a profile.
STUDIES = PACKAGE_ROOT / "reports" / "studies"
METRICS = REPORTS / "metrics"
TIMINGS = REPORTS / "timings"
NOTEBOOK_REPORTS = REPORTS / "notebooks"
# As fetched, never edited: fetched once for all profiles.
RAW = PACKAGE_ROOT / "data" / "raw"
# Lock files of running stages: outside every stage's outputs, which DVC deletes before a run.
STATE = ROOT / "data" / ".state"
# Environment variable that names the stage whose notebook is run by hand, if any: what it writes goes under
# `data/by_hand/`, so that the pipeline's outputs stay as they are. Set by `pipeline.notebook.begin` alone;
# in the environment, since processes that a notebook starts write too.
BY_HAND = "DUALREC_BY_HAND"

# A data set is a module of datasets/sets/; its name is the file's.
DATASETS = tuple(
    sorted(
        path.stem.replace("_", "-")
        for path in (PACKAGE_ROOT / "dualrec_utils" / "datasets" / "sets").glob("[!_]*.py")
    )
)
PROTOCOLS = ("next_item", "window_of_five")
SPLITS = ("train", "validation", "test")
HELDOUT_SPLITS = ("validation", "test")
# The 18 genres of the paper (section 4.2.1), in MovieLens' order.
GENRES = (
    "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama",
    "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War",
    "Western",
)  # fmt: skip

USER = "user_id"
ITEM = "item_id"
RATING = "rating"
TIMESTAMP = "timestamp"
POSITION = "position"
# Which of a user's distinct seconds, from 0.
SECOND = "second"
TITLE = "title"
YEAR = "year"
GENRE_LIST = "genres"
SPLIT = "split"
CASE = "case_id"
HISTORY = "history"
RANK = "rank"
SCORE = "score"
TEXT = "text"
SEED = "seed"
SYSTEM = "system"
PROTOCOL = "protocol"


def raw_dir(dataset: str) -> Path:
    """Folder of the files as fetched: `data/raw/<dataset>` of the repository, shared by all profiles."""
    return RAW / dataset


def study_dir(name: str) -> Path:
    """Folder of what a study finds: `reports/studies/<name>` of the repository, shared by all profiles."""
    by_hand = os.environ.get(BY_HAND) == name
    return ROOT / "data" / "by_hand" / "reports" / "studies" / name if by_hand else STUDIES / name


def _writing(stage: str) -> Path:
    """The folder under which a stage writes: :data:`ROOT` but for the notebook that is run by hand."""
    return ROOT / "data" / "by_hand" if stage == os.environ.get(BY_HAND) else ROOT


def stage_dir(dataset: str, stage: str) -> Path:
    """Folder of all that a stage leaves: `data/<dataset>/<stage>`. DVC clears it before a run."""
    return _writing(stage) / "data" / dataset / stage


def figures_dir(stage: str) -> Path:
    """Folder of a stage's figures: `reports/figures/<stage>`."""
    return _writing(stage) / "reports" / "figures" / stage


def tables_dir(stage: str) -> Path:
    """Folder of a stage's tables: `reports/tables/<stage>`."""
    return _writing(stage) / "reports" / "tables" / stage


def metrics_file(stage: str) -> Path:
    """A stage's metrics: `reports/metrics/<stage>.json`."""
    return _writing(stage) / "reports" / "metrics" / f"{stage}.json"


def timings_file(stage: str, name: str) -> Path:
    """Times that a stage measures beside those of the runner: `reports/timings/<name>.json`."""
    return _writing(stage) / "reports" / "timings" / f"{name}.json"


def processed_dir(dataset: str) -> Path:
    """Folder of the parsed tables, splits, cases and targets, which stage `data` writes."""
    return stage_dir(dataset, "processed")


def predictions_dir(dataset: str, stage: str) -> Path:
    """Folder of all predictions that a stage writes."""
    return stage_dir(dataset, stage) / "predictions"


def generations_dir(dataset: str, stage: str) -> Path:
    """Folder of a stage's raw language-model answers."""
    return stage_dir(dataset, stage) / "generations"


def handoff_dir(dataset: str, stage: str) -> Path:
    """Folder of what a stage leaves for the models of later ones: scores, hints."""
    return stage_dir(dataset, stage) / "handoff"


def adapters_dir(dataset: str, stage: str) -> Path:
    """Folder of the LoRA adapters that a stage trains."""
    return stage_dir(dataset, stage) / "adapters"


def checkpoints_dir(dataset: str, stage: str) -> Path:
    """Folder of what a stopped run of a stage takes up again; outside of what DVC clears."""
    return _writing(stage) / "data" / dataset / "checkpoints" / stage

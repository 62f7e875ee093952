"""Where things lie and what columns are called, each said once.

Every path hangs on :data:`ROOT`, the folder that holds `params.yaml`, `data/` and `reports/`: the
repository itself, or the folder named by the environment variable `DUALREC_ROOT` (a test's scratch
folder, another profile).
"""

from __future__ import annotations

import os
from pathlib import Path

PACKAGE_ROOT = Path(__file__).resolve().parents[2]
ROOT = Path(os.environ.get("DUALREC_ROOT") or PACKAGE_ROOT).resolve()

PARAMS_FILE = ROOT / "params.yaml"
NOTEBOOKS = PACKAGE_ROOT / "notebooks"
REPORTS = ROOT / "reports"
FIGURES = REPORTS / "figures"
TABLES = REPORTS / "tables"
# Tables that no run of the pipeline makes anew: what was tried by hand, and optional studies.
STUDY_TABLES = PACKAGE_ROOT / "reports" / "tables"
METRICS = REPORTS / "metrics"
TIMINGS = REPORTS / "timings"
NOTEBOOK_REPORTS = REPORTS / "notebooks"
BENCH = REPORTS / "bench"
# As fetched, never edited: fetched once for all profiles.
RAW = PACKAGE_ROOT / "data" / "raw"
# Lock files of running stages: outside every stage's outputs, which DVC deletes before a run.
STATE = ROOT / "data" / ".state"

DATASETS = ("ml-100k", "ml-1m")
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


def stage_dir(dataset: str, stage: str) -> Path:
    """Folder of all that a stage leaves: `data/<dataset>/<stage>`. DVC clears it before a run."""
    return ROOT / "data" / dataset / stage


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
    return stage_dir(dataset, "checkpoints") / stage

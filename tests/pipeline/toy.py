"""A toy study: a generated data set and a baseline, added to a copy of the study as README.md says."""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parents[2]
N_ITEMS, N_USERS, SEED = 200, 300, 11
_GENRES = ("Comedy", "Drama", "Horror", "Romance", "War")
_FIRST = ("Amber", "Brave", "Crimson", "Distant", "Empty", "Frozen", "Gentle", "Hidden", "Iron", "Jolly")
_FIRST += ("Kindred", "Lonely", "Misty", "Noble")
_SECOND = (
    "Anchor",
    "Bridge",
    "Castle",
    "Desert",
    "Engine",
    "Forest",
    "Garden",
    "Harbour",
    "Island",
    "Jungle",
)
_SECOND += ("Kettle", "Lantern", "Mirror", "Needle", "Orchard")

# README.md, "A data set": a module of its own ...
DATASET_MODULE = '''"""A toy data set: two CSV files."""

import pandas as pd

from dualrec_utils.datasets.known import Dataset


def parse(path):
    """`ratings.csv` and, beside it, `items.csv`."""
    ratings = pd.read_csv(path).astype({"rating": "Float64", "timestamp": "Int64"})
    items = pd.read_csv(path.with_name("items.csv")).astype({"title": "str", "year": "Int64"})
    return ratings, items.assign(genres=items["genres"].str.split("|"))


DATASET = Dataset(
    sha256=%r,
    files=(("ratings.csv", "items.csv"),),
    parsers={"ratings.csv": parse},
    line_format={
        "items_file": "items.csv",
        "item_separator": ",",
        "genre_separator": "|",
        "ratings_file": "ratings.csv",
        "rating_separator": ",",
    },
)
'''
# ... and "A baseline": a class, its line, its hyperparameters.
BASELINE_MODULE = '''"""Recent popularity: how often an item is among the last few of a training history."""

import numpy as np

from dualrec_utils.models.baselines.base import Baseline


class RecentPopularity(Baseline):
    """Counts of the last `n_last` items of every training history.
    """

    ranges = {"n_last": (1, 100)}  # items counted

    def _fit(self, histories, validate):
        last = np.concatenate([history[-self.n_last :] for history in histories])
        self.counts = np.bincount(last, minlength=self.n_items).astype(float)

    def _score(self, histories, users):
        return np.tile(self.counts, (len(histories), 1))
'''


def tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    """(ratings, items): users go through one genre after the other, so that order tells something."""
    rng = np.random.default_rng(SEED)
    names = itertools.islice(itertools.product(_FIRST, _SECOND), N_ITEMS)
    genres = np.array(_GENRES)[np.arange(N_ITEMS) % len(_GENRES)]
    items = pd.DataFrame(
        {
            "item_id": np.arange(1, N_ITEMS + 1),
            "title": [" ".join(pair) for pair in names],
            "year": 1950 + np.arange(N_ITEMS) % 50,
            "genres": [f"{genre}|Adventure" if n % 3 == 0 else genre for n, genre in enumerate(genres)],
        }
    )
    rows = []
    for user in range(1, N_USERS + 1):
        n = int(rng.integers(20, 60))
        weights = 1 / (1 + np.arange(N_ITEMS)) ** 0.4
        drawn = rng.choice(N_ITEMS, size=n, replace=False, p=weights / weights.sum())
        drawn = sorted(drawn, key=lambda item: (item % len(_GENRES), rng.random()))
        times = 900_000_000 + np.cumsum(rng.choice([0, 5, 60, 90_000], size=n, p=[0.3, 0.3, 0.3, 0.1]))
        rows += [
            (user, item + 1, int(rng.integers(1, 6)), time) for item, time in zip(drawn, times, strict=True)
        ]
    return pd.DataFrame(rows, columns=["user_id", "item_id", "rating", "timestamp"]), items


def write_data(folder: Path) -> dict[str, str]:
    """Write the two files under `folder/toy` and return their checksums."""
    ratings, items = tables()
    place = folder / "toy"
    place.mkdir(parents=True)
    ratings.to_csv(place / "ratings.csv", index=False)
    items.to_csv(place / "items.csv", index=False)
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(place.iterdir())}


def copy_of_the_study(folder: Path) -> Path:
    """What git tracks of the code, without results: the study as somebody finds it."""
    listed = subprocess.run(
        ["git", "-C", ROOT, "ls-files", "-co", "--exclude-standard"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    for name in listed:
        source, target = ROOT / name, folder / name
        if name.startswith(
            ("tests/", "reports/figures", "reports/tables", "reports/metrics", "profiles/ml-1m")
        ):
            continue
        if source.is_symlink() or source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target, follow_symlinks=False)
    (folder / "dvc.lock").unlink(missing_ok=True)
    subprocess.run(["git", "init", "-q", folder], check=True)
    return folder


def _edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{path} does not hold {old!r} once"
    path.write_text(text.replace(old, new), encoding="utf-8")


def add_data_set(study: Path, checksums: dict[str, str]) -> list[Path]:
    """The recipe "A data set"; returns the files touched."""
    module = study / "dualrec_utils/datasets/sets/toy.py"
    module.write_text(DATASET_MODULE % checksums, encoding="utf-8")
    profile = study / "profiles/toy/params.yaml"
    profile.parent.mkdir()
    shutil.copy(study / "profiles/quick/params.yaml", profile)
    _edit(profile, "dataset: ml-100k", "dataset: toy")
    _edit(profile, "  n_items: 200", "  n_items: 150")
    return [module, profile]


def add_baseline(study: Path) -> list[Path]:
    """The recipe "A baseline"; returns the files touched."""
    module = study / "dualrec_utils/models/baselines/recent_popularity.py"
    module.write_text(BASELINE_MODULE, encoding="utf-8")
    roster = study / "dualrec_utils/models/systems.py"
    line = '    "markov": ('
    _edit(
        roster,
        line,
        f'    "recent_popularity": ("recent_popularity.RecentPopularity", "Recently popular"),\n{line}',
    )
    params = study / "params.yaml"
    _edit(params, "    most_popular: {}\n", "    most_popular: {}\n    recent_popularity: {n_last: 5}\n")
    return [module, roster, params]


def run(study: Path, *arguments: str, data: Path, folder: str = ".") -> str:
    """A command in a folder of the copied study, with its own package, offline; returns what it printed."""
    environment = os.environ | {
        "PYTHONPATH": str(study),
        "DUALREC_DATA": str(data),
        "HF_HUB_OFFLINE": "1",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    environment.pop("DUALREC_ROOT", None)
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=study / folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-5000:]}"
    return done.stdout

"""`dualrec study variants`: the published sizes of the rating data, each prepared, trained on and measured.

What `dualrec preprocess --variant`, `train` and `evaluate` do, one after the other, on MovieLens "latest
small": three minutes. Data, models and metrics lie in `data/ml-latest-small/variants/<name>/`.
"""

from __future__ import annotations

import zipfile
from dataclasses import asdict
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from dualrec_utils.core import config, files
from dualrec_utils.datasets import folder, sources, thresholds
from dualrec_utils.service import prepared, training

STUDY, DATASET = "variants", "ml-latest-small"
_DATA, _MODEL, _METRICS = "prepared", "model", "metrics"


def run_all() -> None:
    """Make every variant and write `reports/studies/variants/ml-latest-small.csv`.

    Raises:
        StudyError: as :func:`datasets.sources.fetch` and the commands.
    """
    raw = unpacked(sources.fetch(DATASET).paths[0])
    rows = [made(name, raw) for name in tqdm(thresholds.VARIANTS, desc=STUDY)]
    table = pd.DataFrame(rows)
    print(table.round(4).to_string(index=False))
    print(f"written to {files.write_csv(table, config.study_dir(STUDY) / f'{DATASET}.csv')}")


def unpacked(path: Path) -> Path:
    """The folder that holds the CSV files: as fetched, or taken out of GroupLens' archive."""
    if path.suffix != ".zip":
        return path.parent
    target = config.ROOT / "data" / DATASET / STUDY / "raw"
    with zipfile.ZipFile(path) as archive:
        for member in ("ratings.csv", "movies.csv", "tags.csv"):
            with files.replacing(target / member) as temporary:
                temporary.write_bytes(archive.read(f"{DATASET}/{member}"))
    return target


def made(name: str, raw: Path) -> dict[str, str | int | float]:
    """Prepare a variant, train on it and measure it; its row of the table.

    Args:
        name: a key of :data:`datasets.thresholds.VARIANTS`.
        raw: a MovieLens folder.
    """
    place = config.ROOT / "data" / DATASET / STUDY / name
    read = folder.read(raw)
    least, line = thresholds.variant(name, read.ratings, read.tags)
    prepared.write(read, place / _DATA, least=least)
    training.train(place / _DATA, place / _MODEL, config_path=None)
    metrics = training.evaluate(place / _DATA, place / _MODEL, place / _METRICS, batch_size=128)
    summary = prepared.read(place / _DATA).summary
    sizes = {key: getattr(summary, key) for key in ("n_users", "n_items", "n_ratings")}
    ends = ("rmse", "rmse/low", "rmse/high", "mae", "biases_alone/rmse")
    scaled = {"scaled": bool(line)}
    return {"variant": name, **asdict(least), **scaled, **sizes, **{key: metrics[key] for key in ends}}

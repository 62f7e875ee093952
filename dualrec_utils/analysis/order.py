"""What the order study (`make order`) found: its tables, read and put into words."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from dualrec_utils.core import config
from dualrec_utils.models import systems

STUDY = "order"
# What is asked -> in words, from the former definition to the present one.
WORDS = {
    "by id": "ties by item id",
    "file order": "ties as in the file",
    "drawn": "ties drawn",
    "earlier seconds": "earlier seconds only",
    "companions masked": "earlier seconds only, companions masked",
    "one a second": "earlier seconds only, trained on one item a second",
}
# The definition of the study.
PRESENT = "earlier seconds"
# Those that stand in figures and sentences; the tables have all.
SHOWN = ("by id", "file order", "drawn", PRESENT)


def table_path(dataset: str, name: str) -> Path:
    """Where a table of the study lies: `levels` or `effects`."""
    return config.study_dir(STUDY) / dataset / f"{name}.csv"


def read(dataset: str, name: str) -> pd.DataFrame:
    """A table of the study, `levels` or `effects` of :mod:`studies.order`; empty where it was not run."""
    path = table_path(dataset, name)
    return pd.read_csv(path) if path.is_file() else pd.DataFrame()


def leads(dataset: str, system: str) -> pd.DataFrame:
    """What a model leads EASE-R by, on NDCG@5, under each order.

    Args:
        system: the model wanted; GRU4Rec stands in for one that the study does not have.

    Returns:
        `model`, `asked`, `value`, `low`, `high`, `n_seeds` (draws), orders as :data:`WORDS`; empty where
        the study was not run.
    """
    effects = read(dataset, "effects")
    if effects.empty:
        return effects
    against = effects[(effects["minus"] == "ease") & (effects["metric"] == "ndcg@5")]
    model = system if system in set(against["model"]) else "gru4rec"
    rows = against[against["model"] == model].set_index("asked")
    rows = rows.loc[[way for way in WORDS if way in rows.index]].reset_index()
    return rows[["model", "asked", "value", "low", "high", "n_seeds"]]


def wide(dataset: str, *, metric: str = "ndcg@5") -> pd.DataFrame:
    """One metric of all models, a column an order, as `value [low, high]`; empty where not run."""
    levels = read(dataset, "levels")
    return _wide(levels[levels["metric"] == metric], signed=False) if len(levels) else levels


def wide_leads(dataset: str, *, metric: str = "ndcg@5") -> pd.DataFrame:
    """What every model leads EASE-R by, as :func:`wide`, in points."""
    effects = read(dataset, "effects")
    if effects.empty:
        return effects
    rows = effects[(effects["minus"] == "ease") & (effects["metric"] == metric)]
    return _wide(rows.assign(**rows[["value", "low", "high"]] * 100), signed=True)


def _wide(rows: pd.DataFrame, *, signed: bool) -> pd.DataFrame:
    form = "+.1f" if signed else ".3f"
    cells = [f"{row.value:{form}} [{row.low:{form}}, {row.high:{form}}]" for row in rows.itertuples()]
    names = rows["model"].map(systems.label)
    frame = rows.assign(cell=cells, model=names).pivot(index="model", columns="asked", values="cell")
    order = [way for way in WORDS if way in frame]
    return frame.loc[names.drop_duplicates(), order].rename(columns=WORDS).rename_axis(columns=None)

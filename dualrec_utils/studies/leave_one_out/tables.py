"""`dualrec study loo tables`: tables of the field's track, beside published figures.

It reads what :mod:`studies.leave_one_out.run` left and writes, under `reports/studies/leave_one_out/`,
`ml-100k.csv`, `ml-1m.csv` and `ml-1m_published.csv`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from dualrec_utils.core import config, files
from dualrec_utils.core.errors import StudyError
from dualrec_utils.pipeline import params
from dualrec_utils.show import tables
from dualrec_utils.studies.leave_one_out import track as loo

PUBLISHED = Path(__file__).with_name("published.yaml")
PUBLISHED_FOR = "ml-1m"
COMPARED = ("hit_rate@10", "ndcg@10")
_COSTS = ("best_epoch", "epochs", "seconds_per_epoch", "fit_seconds", "peak_memory_mb")


def read_rows(dataset: str) -> pd.DataFrame:
    """Rows of every model of a data set that has been run, one a model and seed.

    Raises:
        StudyError: when none has.
    """
    folder = config.study_dir(loo.STUDY) / dataset
    # A name that begins with a dot is what a killed write left.
    paths = sorted(folder.glob("[!.]*.csv"))
    if not paths:
        raise StudyError(f"{folder} has no table: run `make loo` first")
    return pd.concat([pd.read_csv(path) for path in paths], ignore_index=True)


def by_model(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a model, best first; numbers are means over its seeds.

    Args:
        rows: of :func:`read_rows`.

    Returns:
        `model`, `n_seeds`, each metric as `value [low, high]` (the bounds, which are over users, are means
        over seeds too), `ndcg@10_of_seeds` (lowest and highest), what the fit took, and the settings.
    """
    groups = rows.groupby("model")
    numbers = [*(name for metric in loo.METRICS for name in (metric, f"{metric}_low", f"{metric}_high"))]
    means = groups[[*numbers, *_COSTS]].mean().sort_values("ndcg@10", ascending=False)
    table = pd.DataFrame({"n_seeds": groups.size().loc[means.index]})
    for metric in loo.METRICS:
        triples = zip(*(means[f"{metric}{end}"] for end in ("", "_low", "_high")), strict=True)
        table[metric] = [tables.with_interval(*triple) for triple in triples]
    spread = groups["ndcg@10"].agg(["min", "max"]).loc[means.index]
    table["ndcg@10_of_seeds"] = [
        f"{low:.4f} to {high:.4f}" for low, high in zip(spread["min"], spread["max"], strict=True)
    ]
    table = table.join(means[list(_COSTS)].round(1))
    return table.join(groups["hyperparameters"].first()).rename_axis("model").reset_index()


def beside_published(rows: pd.DataFrame, published: dict) -> pd.DataFrame:
    """One row a model and figure of others: ours, theirs with source and kind, and where the band lies.

    Args:
        rows: of :func:`read_rows`.
        published: model -> `figures` (each with `kind`, `source` and the metrics of :data:`COMPARED`) and,
            for some, `band` (metric -> lowest and highest).

    Returns:
        Frame in the order of `published`, models that have not been run left out. `..._verdict` says
        whether the mean over our seeds lies inside the band, below or above, and whether its interval over
        users reaches into the band all the same; empty without one, and beside figures of another kind
        than `published`.
    """
    ours = by_model(rows).set_index("model")
    ends = [f"{metric}{end}" for metric in COMPARED for end in ("", "_low", "_high")]
    means = rows.groupby("model")[ends].mean()
    compared = []
    for model, theirs in published.items():
        if model not in ours.index:
            continue
        for figure in theirs["figures"]:
            row = {"model": model, "kind": figure["kind"], "source": figure["source"]}
            for metric in COMPARED:
                row |= {f"{metric}_ours": ours.loc[model, metric], f"{metric}_theirs": figure[metric]}
                if "band" in theirs and figure["kind"] == "published":
                    band = theirs["band"][metric]
                    row[f"{metric}_band"] = "{} to {}".format(*band)
                    value, *interval = means.loc[model, [f"{metric}{end}" for end in ("", "_low", "_high")]]
                    row[f"{metric}_verdict"] = place(value, band, interval=interval)
            compared.append(row)
    return pd.DataFrame(compared)


def place(value: float, band: Sequence[float], *, interval: Sequence[float]) -> str:
    """`inside`, `below` or `above` of a band [lowest, highest], both of them inside.

    Args:
        interval: [low, high] of the value; where it reaches into a band that the value misses, it is said.

    >>> place(0.31, [0.30, 0.32], interval=[0.29, 0.33])
    'inside'
    >>> place(0.33, [0.30, 0.32], interval=[0.319, 0.341])
    'above, its interval reaches in'
    """
    low, high = band
    if low <= value <= high:
        return "inside"
    side = "below" if value < low else "above"
    return f"{side}, its interval reaches in" if interval[0] <= high and interval[1] >= low else side


def write_all(published: Path = PUBLISHED) -> dict[str, pd.DataFrame]:
    """Write every table and return them by name.

    Raises:
        StudyError: as :func:`read_rows` and :func:`params.read_yaml`.
    """
    rows = {dataset: read_rows(dataset) for dataset in loo.DATASETS}
    theirs = params.read_yaml(published)
    written = {dataset: by_model(of_dataset) for dataset, of_dataset in rows.items()}
    written[f"{PUBLISHED_FOR}_published"] = beside_published(rows[PUBLISHED_FOR], theirs)
    for name, table in written.items():
        files.write_csv(table, config.study_dir(loo.STUDY) / f"{name}.csv")
    return written


def print_tables() -> None:
    """Write and print the tables."""
    for name, table in write_all().items():
        print(f"{name}\n{table.drop(columns='hyperparameters', errors='ignore').to_string(index=False)}\n")

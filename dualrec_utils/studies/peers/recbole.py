"""RecBole beside the study's own baselines: what goes to it, what comes back, and the table of both.

Both sides see the leave_one_out track of one data set: the same training interactions in the same order,
the same validation and test items. RecBole (1.2.1) runs in an environment of its own
(`run_recbole.py` beside this file) and hands back test scores, which are ranked here by the one function
that ranks ours. `make peers` runs it all.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from jinja2 import StrictUndefined, Template

from dualrec_utils.core import config, files
from dualrec_utils.core.config import ITEM, POSITION, USER
from dualrec_utils.core.errors import StudyError
from dualrec_utils.show import tables
from dualrec_utils.studies.leave_one_out import track as leave_one_out
from dualrec_utils.studies.leave_one_out.track import Cases, Track
from dualrec_utils.studies.peers.settings import (
    DATASET,
    METRICS,
    RUN_COLUMNS,
    RUNS,
    read_settings,
    row,
    split,
)

# RecBole's typed header names.
_COLUMNS = {USER: "token", ITEM: "token", POSITION: "float"}


def export(track: Track, path: Path) -> Path:
    """Write a track as RecBole's interaction file, positions (from 0) in place of timestamps.

    RecBole orders by time and keeps it as a 32-bit float, in which seconds of 1997 fall together; positions
    keep this study's order to the last tie.
    """
    lines = ["\t".join(f"{name}:{kind}" for name, kind in _COLUMNS.items())]
    for user, history in zip(track.user_ids, track.histories, strict=True):
        lines += [f"{user}\t{item}\t{position}" for position, item in enumerate(history)]
    return files.write_text("\n".join(lines) + "\n", path)


def from_recbole(folder: Path, model: str, seed: int, cases: Cases, item_ids: np.ndarray) -> dict:
    """One run of RecBole as a row of :data:`RUN_COLUMNS`.

    Args:
        folder: the model's; holds `<seed>.npz` (`users`, `items`, `scores`) and `<seed>.json`.
        cases: the test cases.
        item_ids: shape (n_items,), the catalog, ascending.

    Raises:
        StudyError: when users or items of the scores are not those of the cases.
    """
    record = files.read_json(folder / f"{seed}.json")
    with np.load(folder / f"{seed}.npz") as stored:
        users, items, scores = stored["users"], stored["items"], stored["scores"]
    if not np.array_equal(users, cases.user_ids) or not np.array_equal(items, item_ids):
        raise StudyError(f"{folder}: scores of {model} are of other users or items; run `make peers` again")
    row_of = {int(user): place for place, user in enumerate(users)}

    def stored_scores(histories, *, user_ids):
        return scores[[row_of[int(user)] for user in user_ids]]

    measured = leave_one_out.evaluate(stored_scores, cases, item_ids)[list(METRICS)].mean().to_dict()
    return row("recbole", model, seed, measured | record)


def compare(runs: pd.DataFrame, models: Sequence[str], *, n_users: int) -> pd.DataFrame:
    """Join both sides: one row a model.

    Args:
        runs: frame with :data:`RUN_COLUMNS`.
        models: in the order wanted; those without a run of either side are left out.
        n_users: asked in the test; no spread counts as less than one user, 1 / n_users.

    Returns:
        For each metric `ours`, `spread` (highest minus lowest seed of ours), `recbole` (mean over its
        seeds), `difference` (ours minus RecBole's) and `verdict` of :func:`verdict`; then
        `seconds_per_epoch` of both with their `ratio` (below 1: ours is faster), `epochs` of both (mean),
        and `recbole_stopped`.
    """
    rows = []
    for model in models:
        ours, peer = (
            runs[(runs["model"] == model) & (runs["side"] == side)] for side in ("ours", "recbole")
        )
        if not len(ours) or not len(peer):
            continue
        stopped = "time" if (peer["stopped"] == "time").any() else peer["stopped"].iloc[0]
        entry = {"model": model, "seeds": len(ours), "recbole_seeds": len(peer)}
        for metric in METRICS:
            spread = ours[metric].max() - ours[metric].min()
            difference = ours[metric].mean() - peer[metric].mean()
            entry |= {
                f"{metric}/ours": ours[metric].mean(),
                f"{metric}/spread": spread,
                f"{metric}/recbole": peer[metric].mean(),
                f"{metric}/difference": difference,
                f"{metric}/verdict": verdict(
                    difference, max(spread, 1 / n_users), capped=stopped == "time"
                ),
            }
        seconds, theirs = ours["seconds_per_epoch"].mean(), peer["seconds_per_epoch"].mean()
        entry |= {
            "seconds_per_epoch/ours": seconds,
            "seconds_per_epoch/recbole": theirs,
            "seconds_per_epoch/ratio": seconds / theirs,
            "epochs/ours": ours["epochs"].mean(),
            "epochs/recbole": peer["epochs"].mean(),
            "recbole_stopped": stopped,
        }
        rows.append(entry)
    return pd.DataFrame(rows)


def verdict(difference: float, spread: float, *, capped: bool) -> str:
    """What a difference (ours minus RecBole's) means beside the spread of our seeds.

    Returns:
        `worse` where RecBole is ahead by more than the spread, cut short or not; else `capped` where the
        time cap ended RecBole's training, which is no fair comparison; else `better` or `within spread`.
    """
    # Metrics are means of floats: equal lists may differ in the last digit.
    slack = 1e-12
    if difference < -spread - slack:
        return "worse"
    if capped:
        return "capped"
    return "better" if difference > spread + slack else "within spread"


def collect(settings: dict, track: Track, folder: Path = RUNS) -> pd.DataFrame:
    """Runs of the models that both sides have finished with all their seeds: frame of :data:`RUN_COLUMNS`.

    Raises:
        StudyError: when there is none.
    """
    test, rows = split(track).test, []
    for model, section in settings["models"].items():
        ours = [folder / "ours" / model / f"{seed}.json" for seed in settings["seeds"]]
        theirs = folder / "recbole" / model
        if all(path.is_file() for path in [*ours, *(theirs / f"{seed}.json" for seed in section["seeds"])]):
            rows += [files.read_json(path) for path in ours]
            rows += [from_recbole(theirs, model, seed, test, track.item_ids) for seed in section["seeds"]]
    if not rows:
        raise StudyError(f"{folder} has no model that both sides have finished: run `make peers` first")
    return pd.DataFrame(rows)[list(RUN_COLUMNS)]


def report(settings: dict, track: Track) -> pd.DataFrame:
    """Collect all runs; write `runs.csv`, `peers.csv` and `README.md` under `reports/studies/peers/`."""
    runs = collect(settings, track)
    table = compare(runs, list(settings["models"]), n_users=len(track.user_ids))
    folder = config.study_dir("peers")
    for name, frame in {"runs": runs, "peers": table}.items():
        with files.replacing(folder / f"{name}.csv") as temporary:
            frame.to_csv(temporary, index=False, lineterminator="\n", float_format="%.6g")
    files.write_text(page(table, settings, track), folder / "README.md")
    return table


def page(table: pd.DataFrame, settings: dict, track: Track) -> str:
    """The page about the comparison, in Markdown."""
    text = Path(__file__).with_name("peers.md.j2").read_text(encoding="utf-8")
    return Template(text, undefined=StrictUndefined, keep_trailing_newline=True).render(
        track=track,
        n_interactions=sum(map(len, track.histories)),
        seeds=settings["seeds"],
        quality=tables.to_markdown(_quality(table)),
        speed=tables.to_markdown(_speed(table), digits=2),
        differs=tables.to_markdown(_differs(table, settings)),
        capped=list(table.loc[table["recbole_stopped"] == "time", "model"]),
        worse=list(table.loc[table["ndcg@10/verdict"] == "worse", "model"]),
        unfinished=[model for model in settings["models"] if model not in set(table["model"])],
        slower=list(table.loc[table["seconds_per_epoch/ratio"] > 1, "model"]),
    )


def _quality(table: pd.DataFrame) -> pd.DataFrame:
    columns = {"model": table["model"]}
    for metric, name in zip(METRICS, ("HR@10", "NDCG@10"), strict=True):
        pairs = zip(table[f"{metric}/ours"], table[f"{metric}/spread"], strict=True)
        columns[f"{name} ours (spread)"] = [f"{mean:.4f} ({spread:.4f})" for mean, spread in pairs]
        columns[f"{name} RecBole"] = [f"{value:.4f}" for value in table[f"{metric}/recbole"]]
        columns[f"{name} difference"] = [f"{value:+.4f}" for value in table[f"{metric}/difference"]]
        columns[f"{name} verdict"] = table[f"{metric}/verdict"]
    return pd.DataFrame(columns)


def _speed(table: pd.DataFrame) -> pd.DataFrame:
    names = {"none": "nothing to stop", "early": "early stopping", "time": "time cap", "epochs": "epochs"}
    return pd.DataFrame(
        {
            "model": table["model"],
            "seconds an epoch, ours": table["seconds_per_epoch/ours"],
            "RecBole": table["seconds_per_epoch/recbole"],
            "ratio": table["seconds_per_epoch/ratio"],
            "epochs, ours": table["epochs/ours"].round(1).map("{:g}".format),
            "epochs, RecBole": table["epochs/recbole"].round(1).map("{:g}".format),
            "RecBole ended by": table["recbole_stopped"].map(names),
        }
    )


def _differs(table: pd.DataFrame, settings: dict) -> pd.DataFrame:
    sections = [settings["models"][model] for model in table["model"]]
    return pd.DataFrame(
        {
            "model": table["model"],
            "in RecBole": [settings["recbole"]["model"] for settings in sections],
            "where RecBole's differs": [settings["differs"] for settings in sections],
        }
    )


def export_data() -> None:
    """Write the track for RecBole, and print where it lies."""
    print(export(leave_one_out.load(DATASET), RUNS / "leave_one_out" / "leave_one_out.inter"))


def write_report() -> None:
    """Write the comparison of what both sides have finished, and print its first table."""
    print(tables.to_markdown(_quality(report(read_settings(), leave_one_out.load(DATASET)))))

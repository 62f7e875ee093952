"""The pieces of the questions as tables, and all tables as flat metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from dualrec_utils.core import config, evaluation, files
from dualrec_utils.core.config import SYSTEM, USER
from dualrec_utils.core.errors import StudyError
from dualrec_utils.studies.questions.settings import STAGE, compared, pieces_dir, read_settings

LEARNING_RATE, OPTIMIZER, BATCH_SIZE = "learning rate", "optimizer", "batch size"
TARGETS = "targets"
_FACTORS = (LEARNING_RATE, OPTIMIZER, BATCH_SIZE, TARGETS)
LSTM_METRICS = ("hit_rate@5", "ndcg@5")
NO_TIME = "no time yet (make questions)"
# The paper's own range.
NOT_RUN = {
    "DeepSeek-R1-Distill-Qwen-1.5B": "1.5 billion weights need a GPU and have to be fetched",
    "Mistral-7B-Instruct-v0.3": "7 billion weights need a GPU and have to be fetched",
}
SIZE_METRICS = {"history": ("hit_rate@5", "ndcg@5"), "zero_shot": ("hit_rate@5", "valid")}


def read_pieces(section: str, frames: Sequence[str]) -> dict[str, dict]:
    """What the runs of `lstm` or `sizes` left: name -> `measured` and each frame, of those at hand.

    Args:
        section: `lstm` | `sizes`, of the study's `params.yaml`.
        frames: names of the parquet files of a piece.

    Raises:
        StudyError: when the piece that changes nothing is not there: the others are held against it.
    """
    needed, pieces = unchanged(section), {}
    if needed in missing(section):
        raise StudyError(
            f"{pieces_dir(section) / needed} is not there: run `make questions`, which makes every piece"
        )
    for name in [name for name in _changes(section) if name not in missing(section)]:
        folder = pieces_dir(section) / name
        pieces[name] = {"measured": files.read_json(folder / "measured.json")}
        pieces[name] |= {frame: pd.read_parquet(folder / f"{frame}.parquet") for frame in frames}
    return pieces


def missing(section: str) -> list[str]:
    """The settings of `lstm` or `sizes` that have not been run."""
    folder = pieces_dir(section)
    return [name for name in _changes(section) if not (folder / name / "measured.json").is_file()]


def _changes(section: str) -> dict[str, dict]:
    settings = read_settings(section)
    return settings.get("models", settings)


def earlier(name: str) -> pd.DataFrame:
    """A committed table of what was tried before: `search/lstm_tuned`, `movielm_trials`.

    Raises:
        StudyError: when it is not there.
    """
    path = config.study_dir(f"{name}.csv")
    if not path.is_file():
        raise StudyError(f"{path} is not there; restore it with `git checkout {path.name}`")
    return pd.read_csv(path)


def unchanged(section: str) -> str:
    """The setting of `lstm` or `sizes` that changes nothing: the default run's own.

    Raises:
        StudyError: when the section has none, or several.
    """
    names = [name for name, changes in _changes(section).items() if not changes]
    if len(names) != 1:
        raise StudyError(f"section {section!r} needs one setting that changes nothing; it has {names}")
    return names[0]


def setting_names(table: pd.DataFrame) -> dict[str, str]:
    """Setting of the LSTM -> what it is, in words.

    Args:
        table: from :func:`lstm_table`.
    """
    usual = table.iloc[0]
    names = {
        usual["setting"]: f"default: {usual['optimizer']}, learning rate {usual['learning_rate']:g},"
        f" batch size {usual['batch_size']}"
    }
    for row in table.iloc[1:].to_dict("records"):
        name = {
            LEARNING_RATE: f"learning rate {row['learning_rate']:g}",
            BATCH_SIZE: f"batch size {row['batch_size']}",
            OPTIMIZER: row["optimizer"],
            TARGETS: f"one target a window, batch size {row['batch_size']}",
        }[row["factor"]]
        own_rate = row["factor"] == OPTIMIZER and row["learning_rate"] != usual["learning_rate"]
        names[row["setting"]] = name + (f", learning rate {row['learning_rate']:g}" if own_rate else "")
    return names


def _columns(frame: pd.DataFrame, usual: pd.DataFrame, metric: str, **stats) -> dict[str, float]:
    """:func:`compared` as columns `<metric>`, `<metric>_low`, ..., without a difference to itself."""
    numbers = compared(frame, metric, against=None if frame is usual else usual, **stats)
    return {metric: numbers.pop("value")} | {f"{metric}_{name}": value for name, value in numbers.items()}


def lstm_table(pieces: Mapping[str, Mapping], *, default: str, **stats) -> pd.DataFrame:
    """One row a setting of the LSTM.

    Args:
        pieces: from :func:`read_pieces`.
        default: the setting that the others are held against.
        stats: `seed`, `n_bootstrap`, `confidence`.

    Returns:
        `setting`, `factor` (what it changes; empty for the default), `learning_rate`, `optimizer`,
        `batch_size`, `steps`, `loss` and `top5_accuracy` on windows, each metric of :data:`LSTM_METRICS`
        with `_low`, `_high` and its paired `_difference` to the default with bounds, `n_users`, `n_cases`.
    """
    usual = pieces[default]
    rows = []
    for name, piece in pieces.items():
        measured, cases = piece["measured"], piece["cases"]
        row = {"setting": name, "factor": _factor(measured, usual["measured"])}
        row |= {key: measured[key] for key in ("learning_rate", "optimizer", "batch_size", "steps")}
        row |= {key: measured[key] for key in ("loss", "top5_accuracy")}
        for metric in LSTM_METRICS:
            row |= _columns(cases, usual["cases"], metric, **stats)
        rows.append(row | {"n_users": cases[USER].nunique(), "n_cases": len(cases)})
    table = pd.DataFrame(rows)
    order = {factor: place for place, factor in enumerate(("", *_FACTORS))}
    by = ["factor", "learning_rate", "batch_size"]
    return table.sort_values(
        by, key=lambda column: column.map(order) if column.name == "factor" else column, ignore_index=True
    )


def _factor(measured: Mapping, usual: Mapping) -> str:
    # Windows have batches, an optimizer of another kind has a learning rate of its own.
    for factor, key in (
        (TARGETS, "training"),
        (OPTIMIZER, "optimizer"),
        (BATCH_SIZE, "batch_size"),
        (LEARNING_RATE, "learning_rate"),
    ):
        if measured[key] != usual[key]:
            return factor
    return ""


def sizes_table(pieces: Mapping[str, Mapping], *, default: str, **stats) -> pd.DataFrame:
    """One row a size of the language model, smallest first.

    Args:
        pieces: from :func:`read_pieces`.
        default: the size of the default run, which the others are held against.
        stats: `seed`, `n_bootstrap`, `confidence`.

    Returns:
        `size`, `hidden_size`, `n_layers`, `n_parameters`, `loss_per_title` and `loss_per_token` (nats,
        validation users), `train_loss_per_token`; for each prompt and metric of :data:`SIZE_METRICS`
        `<prompt>_<metric>` with `_low`, `_high`, and its paired `_difference` with bounds; `n_users`,
        `n_cases`.
    """
    rows = []
    for name, piece in pieces.items():
        measured = piece["measured"]
        keys = ("hidden_size", "n_layers", "n_parameters", "loss_per_title")
        row = {"size": name} | {key: measured[key] for key in keys}
        row |= {key: measured[key] for key in ("loss_per_token", "train_loss_per_token")}
        for prompt, metrics in SIZE_METRICS.items():
            for metric in metrics:
                numbers = _columns(piece[prompt], pieces[default][prompt], metric, **stats)
                row |= {f"{prompt}_{key}": value for key, value in numbers.items()}
        cases = piece["history"]
        rows.append(row | {"n_users": cases[USER].nunique(), "n_cases": len(cases)})
    return pd.DataFrame(rows).sort_values("n_parameters", ignore_index=True)


def with_not_run(table: pd.DataFrame, column: str, reasons: Mapping[str, str]) -> pd.DataFrame:
    """A table with a row for each name that was not run: its reason as `remark`, and no number.

    Args:
        column: of the names.
        reasons: name -> why.
    """
    rows = pd.DataFrame({column: list(reasons), "remark": [f"not run: {why}" for why in reasons.values()]})
    return pd.concat([table.assign(remark=""), rows], ignore_index=True)


def _keys(key: str, row: Mapping, column: str = "value") -> dict[str, float]:
    """A column of a table's row and the ends of its interval, where there is a value."""
    prefix = "" if column == "value" else f"{column}_"
    columns = {key: column, f"{key}/low": f"{prefix}low", f"{key}/high": f"{prefix}high"}
    return {} if pd.isna(row[column]) else {name: float(row[end]) for name, end in columns.items()}


def flatten(
    lstm: pd.DataFrame, reranked: pd.DataFrame, followed: pd.DataFrame, sizes: pd.DataFrame
) -> dict[str, float]:
    """Flat metric keys of all four questions.

    Args:
        lstm: from :func:`lstm_table`. sizes: from :func:`sizes_table`.
        reranked: from :func:`studies.questions.rerank.by_group`, with `system` and `metric`.
        followed: from :func:`studies.questions.answers.summarise`, with `system`.

    Returns:
        `questions/<part>/<name>/...` with `/low` and `/high`, differences under `/difference`; spaces
        become underscores, commas go.
    """
    flat: dict[str, float] = {}
    for row in lstm.to_dict("records"):
        key = f"{STAGE}/lstm/{row['setting']}"
        flat |= {
            f"{key}/{name}": row[name] for name in ("loss", "top5_accuracy", "steps", "n_users", "n_cases")
        }
        for metric in LSTM_METRICS:
            flat |= _keys(f"{key}/{metric}", row, metric)
            flat |= _keys(f"{key}/difference/{metric}", row, f"{metric}_difference")
    for row in reranked.to_dict("records"):
        key = f"{STAGE}/rerank/{row[SYSTEM]}/{row['group']}"
        flat |= _keys(f"{key}/{row['what']}/{row['metric']}", row)
        flat |= {f"{key}/{name}": int(row[name]) for name in ("n_users", "n_cases", "n_lists_with_target")}
    for row in followed.to_dict("records"):
        key = f"{STAGE}/suggestions/{row[SYSTEM]}/{row['kind']}"
        flat |= _keys(f"{key}/{row['metric']}", row)
        flat |= _keys(f"{key}/difference/{row['metric']}", row, "difference")
        flat |= {f"{key}/{name}": int(row[name]) for name in ("n_users", "n_cases")}
    for row in sizes.to_dict("records"):
        key = f"{STAGE}/sizes/{row['size']}"
        flat |= {f"{key}/{name}": int(row[name]) for name in ("n_parameters", "n_users", "n_cases")}
        flat |= {
            f"{key}/{name}": row[name]
            for name in ("loss_per_title", "loss_per_token", "train_loss_per_token")
        }
        for prompt, metrics in SIZE_METRICS.items():
            for metric in metrics:
                column = f"{prompt}_{metric}"
                flat |= _keys(f"{key}/{prompt}/{metric}", row, column)
                flat |= _keys(f"{key}/difference/{prompt}/{metric}", row, f"{column}_difference")
    return {key.replace(",", "").replace(" ", "_"): value for key, value in flat.items()}


def write_metrics(flat: Mapping[str, float], *, dataset: str) -> Path:
    """Write the study's `metrics.json` with the data's origin."""
    path = config.study_dir(STAGE) / "metrics.json"
    return files.write_json({**flat, **evaluation.origin(dataset)}, path)

"""The tables of notebook 03. No baseline is fitted here, so that an edit fits none anew."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from dualrec_utils.core import config, evaluation, files, predictions, splits
from dualrec_utils.core.catalog import load_catalog
from dualrec_utils.core.config import HISTORY, USER
from dualrec_utils.core.evaluation import CHOSEN_BY
from dualrec_utils.core.predictions import Scope
from dualrec_utils.models.baselines.experiment import STAGE
from dualrec_utils.models.baselines.pieces import Piece
from dualrec_utils.models.baselines.random_order import expected_hit_rate

# `make search` tries settings on this data set; a table with this column is of today's order of ratings.
_SEARCHED_ON, _MADE_FROM = "ml-100k", "made_from"
# Targets of a case, any of which is a hit.
_N_TARGETS = {"next_item": 1, "window_of_five": splits.WINDOW}


def searched(models: Mapping[str, Mapping[str, float | str]]) -> pd.DataFrame:
    """What the search of hyperparameters found (`dualrec study search`), one row a model that was searched.

    Args:
        models: baseline -> the hyperparameters chosen.

    Returns:
        By model: `settings tried`, `best NDCG@5`, `median`, `worst` (validation users, `next_item`; a
        setting that diverged counts as 0) and `chosen`, in words.
    """
    rows = {}
    for name, chosen in models.items():
        trials = _trials(name)
        if len(trials):
            values = trials[CHOSEN_BY].fillna(0)
            rows[name] = (len(values), values.max(), values.median(), values.min(), _in_words(chosen))
    columns = ["settings tried", "best NDCG@5", "median", "worst", "chosen"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("model")


def refitted(models: Iterable[str], *, dataset: str) -> pd.DataFrame:
    """What the chosen setting had in the search beside what the same setting has here, from another seed.

    Args:
        models: fitted baselines.

    Returns:
        By model: `search`, `this run` (NDCG@5, validation users, `next_item`), `change`; the largest fall
        first. Empty on a data set that was not searched; models searched under another order are left out.
    """
    scope, rows = Scope(dataset, STAGE, "next_item", "validation"), {}
    for name in models if dataset == _SEARCHED_ON else ():
        trials = _trials(name)
        if _MADE_FROM in trials:
            best = trials[CHOSEN_BY].max()
            here = evaluation.chosen_by(name, scope)
            rows[name] = (best, here, here - best)
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["search", "this run", "change"])
    return table.rename_axis("model").sort_values("change", kind="stable")


def _trials(name: str) -> pd.DataFrame:
    """The search's table of a model; empty where it was not searched."""
    path = config.study_dir("search") / f"{name}.csv"
    return pd.read_csv(path) if path.is_file() else pd.DataFrame()


def _in_words(hyperparameters: Mapping[str, float | str]) -> str:
    """`query_length 5, n_neighbours 100`."""
    return ", ".join(
        f"{name} {value if isinstance(value, str) else format(value, 'g')}"
        for name, value in hyperparameters.items()
    )


def costs(pieces: Mapping[str, Piece]) -> pd.DataFrame:
    """What fitting and scoring took, by model: the values of :class:`Piece`, with `score_1000_seconds`."""
    table = pd.DataFrame({name: piece.cost for name, piece in pieces.items()}).T.rename_axis("model")
    per_thousand = table["score_seconds"] / table["n_scored"] * 1000
    # A piece that was kept has its values in the order of the alphabet.
    order = ["trained_on", "n_epochs", "best_epoch", "fit_seconds", "peak_memory_mb", "score_1000_seconds"]
    return table.assign(score_1000_seconds=per_thousand)[order].infer_objects()


def write_costs(pieces: Mapping[str, Piece]) -> Path:
    """Write `reports/timings/baselines_models.json`: every value of :func:`costs`, as measured."""
    measured = {name: piece.cost for name, piece in pieces.items()}
    return files.write_json(measured, config.timings_file(STAGE, f"{STAGE}_models"))


def learning_curves(pieces: Mapping[str, Piece]) -> pd.DataFrame:
    """`system`, `epoch`, `part`, `metric`, `value` of all models trained in epochs; may be empty."""
    curves = [piece.curves.assign(system=name) for name, piece in pieces.items() if len(piece.curves)]
    return pd.concat(curves, ignore_index=True) if curves else pd.DataFrame()


def ended_by_the_cap(
    pieces: Mapping[str, Piece], models: Mapping[str, Mapping[str, float | str]]
) -> dict[str, str]:
    """Models that met their cap of epochs before early stopping: name -> `best epoch 58 of 60`.

    Args:
        models: baseline -> its hyperparameters.
    """
    return {
        name: f"best epoch {piece.cost['best_epoch']} of {piece.cost['n_epochs']}"
        for name, piece in pieces.items()
        if piece.cost["n_epochs"] - piece.cost["best_epoch"] < models[name].get("patience", 0)
    }


def random_order(summary: pd.DataFrame, *, dataset: str) -> pd.DataFrame:
    """The hit rate that a random order has on average beside the one measured, on test users.

    Args:
        summary: from :func:`core.evaluation.evaluate_systems`, with system `random`.

    Returns:
        One row a protocol and cutoff: `protocol`, `k`, `expected`, `measured`, `low`, `high`.
    """
    measured = summary[(summary["system"] == "random") & (summary["split"] == "test")]
    measured = measured.set_index(["protocol", "metric"])
    n_items, rows = len(load_catalog(dataset)), []
    for protocol, n_targets in _N_TARGETS.items():
        cases = predictions.load_cases(Scope(dataset, STAGE, protocol, "test"))
        unseen = n_items - cases[HISTORY].map(len).to_numpy()
        for k in evaluation.CUTOFFS:
            chances = pd.Series(expected_hit_rate(unseen, n_targets=n_targets, k=k))
            expected = chances.groupby(cases[USER]).mean().mean()
            row = measured.loc[protocol, f"hit_rate@{k}"]
            rows.append((protocol, k, expected, row["value"], row["low"], row["high"]))
    return pd.DataFrame(rows, columns=["protocol", "k", "expected", "measured", "low", "high"])


def flat_expected(table: pd.DataFrame) -> dict[str, float]:
    """Flat metric keys of :func:`random_order`: `next_item/random/hit_rate@5/expected`."""
    return {f"{row.protocol}/random/hit_rate@{row.k}/expected": row.expected for row in table.itertuples()}


def seen_kept(summary: pd.DataFrame, *, metric: str) -> pd.DataFrame:
    """What a system loses when its lists keep the items of the history.

    Args:
        summary: from :func:`core.evaluation.evaluate_systems`, of one split and protocol.

    Returns:
        By system: `left out` and `kept`, the metric's values, and `lost`, the share of the first that the
        second is short of (missing where the first is 0).
    """
    values = summary[summary["metric"] == metric].set_index("system")["value"]
    names = [name for name in values.index if not name.endswith(predictions.SEEN_KEPT)]
    kept = values[[name + predictions.SEEN_KEPT for name in names]].to_numpy()
    table = pd.DataFrame({"left out": values[names], "kept": kept})
    return table.assign(lost=1 - table["kept"] / table["left out"].where(table["left out"] > 0))

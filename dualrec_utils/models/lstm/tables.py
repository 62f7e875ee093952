"""The tables of notebook 02."""

from __future__ import annotations

from collections.abc import Mapping

import keras
import pandas as pd

_MEASURES = {"loss": "loss (nats)", "accuracy": "accuracy", "top5_accuracy": "top-5 accuracy"}


def by_epoch(curves: pd.DataFrame) -> pd.DataFrame:
    """Curves of :func:`models.lstm.training.fit`, one row an epoch: `epoch`, then `<part>_<metric>`."""
    named = curves.assign(name=curves["part"] + "_" + curves["metric"])
    return (
        named.pivot(index="epoch", columns="name", values="value").reset_index().rename_axis(columns=None)
    )


def at_end(curves: pd.DataFrame) -> pd.Series:
    """The curves' values after the last epoch: (`part`, `metric`) -> value."""
    last = curves[curves["epoch"] == curves["epoch"].max()]
    return last.set_index(["part", "metric"])["value"]


def beside_the_paper(
    curves: pd.DataFrame,
    on_windows: Mapping[str, float],
    paper: Mapping[str, Mapping[str, float]],
    *,
    window: int,
) -> pd.DataFrame:
    """Our values after the last epoch beside the paper's, one row a measure.

    Args:
        curves: from :func:`models.lstm.training.fit`, with validation users.
        on_windows: from :func:`models.lstm.training.measure`, on windows of validation users.
        paper: metric -> part -> value.
        window: items in a window.
    """
    ours = at_end(curves)
    columns = {
        "train": [ours["train", key] for key in _MEASURES],
        "validation": [ours["validation", key] for key in _MEASURES],
        f"validation, windows of {window}": [on_windows[key] for key in _MEASURES],
        "paper, train": [paper[key]["train"] for key in _MEASURES],
        "paper, validation": [paper[key]["validation"] for key in _MEASURES],
    }
    return pd.DataFrame(columns, index=pd.Index(_MEASURES.values(), name="metric"))


def hint_table(hits: pd.DataFrame, summary: pd.DataFrame) -> pd.DataFrame:
    """How often a hint is among a user's last five items: training users, then those held out.

    Args:
        hits: from :func:`models.lstm.scores.hint_hits`.
        summary: from :func:`core.evaluation.evaluate_systems`. A held-out user's hint is the first item
            of the LSTM's list, so its hit rate is HR@1 under `window_of_five`.

    Returns:
        Frame `users`, `hints`, `hit_rate`, `n_users`.
    """
    rows = summary.query("protocol == 'window_of_five' and system == 'lstm' and metric == 'hit_rate@1'")
    held_out = rows.rename(columns={"split": "users", "value": "hit_rate"}).assign(hints="held out")
    both = pd.concat([hits.assign(users="train"), held_out], ignore_index=True)
    return both[["users", "hints", "hit_rate", "n_users"]]


def layers(model: keras.Model) -> pd.DataFrame:
    """One row a layer, by name: `kind`, `output` (shape; None stands for any size) and `weights`."""
    return pd.DataFrame(
        {
            "kind": [type(layer).__name__ for layer in model.layers],
            "output": [str(layer.output.shape) for layer in model.layers],
            "weights": [layer.count_params() for layer in model.layers],
        },
        index=pd.Index([layer.name for layer in model.layers], name="layer"),
    )

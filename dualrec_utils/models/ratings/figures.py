"""Figures of notebook 11."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dualrec_utils.core.config import RATING, SYSTEM
from dualrec_utils.show.charts import (
    COLORS,
    MARKERS,
    PALETTE,
    SERIES,
    blank,
    caption,
    intervals,
    label_rows,
    study_style,
)


def label(system: str) -> str:
    """A system in words."""
    return system.replace("_", " ")


@study_style()
def errors(table: pd.DataFrame, *, note: str) -> Figure:
    """RMSE of every system: the mean of five folds with its interval over users, and fold u1 alone.

    Args:
        table: of :func:`analysis.rating_tables.overview`, best first.
        note: begin of the caption.
    """
    names = list(table.index)
    figure = blank((9.0, 1.1 + 0.24 * len(names)))
    left, right = figure.subplots(1, 2, sharey=True)
    places = np.arange(len(names))
    whole = (table["folds"] == table["folds"].max()).to_numpy()
    rows = table.rename(columns={"rmse": "value", "rmse_low": "low", "rmse_high": "high"})
    intervals(left, rows[whole], places[whole], **SERIES[0])
    left.set(title="RMSE, all folds", xlabel="stars")
    right.plot(
        table["rmse_u1"], places, linestyle="none", marker="s", markersize=5, color=COLORS["vermilion"]
    )
    right.set(title="RMSE, fold u1", xlabel="stars")
    label_rows(left, [label(name) for name in names])
    right.grid(axis="y", color="#EEEEEE", linewidth=0.8)
    right.tick_params(axis="y", length=0)
    caption(figure, f"{note}; without a mark on the left: fitted on u1 alone")
    return figure


@study_style()
def differences(table: pd.DataFrame, *, note: str) -> Figure:
    """Paired differences of RMSE with their intervals; a filled mark's interval excludes zero.

    Args:
        table: of :func:`analysis.rating_tables.differences`, one metric.
        note: begin of the caption.
    """
    lines = table["question"] + "\n" + table[SYSTEM].map(label) + " − " + table["other"].map(label)
    figure = blank((9.0, 0.9 + 0.5 * len(lines)))
    axes = figure.subplots()
    axes.axvline(0, color=COLORS["black"], linewidth=0.8)
    sure = ((table["low"] > 0) | (table["high"] < 0)).to_numpy()
    places = np.arange(len(table))
    for chosen, more in ((sure, {}), (~sure, {"markerfacecolor": "white"})):
        intervals(axes, table[chosen], places[chosen], value="difference", **SERIES[0] | more)
    label_rows(axes, list(lines))
    axes.tick_params(axis="y", labelsize=8)
    axes.set_xlabel("difference of RMSE in stars (below 0: the first is better)")
    caption(figure, f"{note}; filled: the interval excludes zero")
    return figure


@study_style()
def by_true_rating(table: pd.DataFrame, *, note: str) -> Figure:
    """Mean prediction, with the middle 80%, where users gave one, two, ... stars.

    Args:
        table: of :func:`analysis.rating_tables.by_true_rating`.
        note: begin of the caption.
    """
    figure = blank((6.4, 4.0))
    axes = figure.subplots()
    names = list(dict.fromkeys(table[SYSTEM]))
    values = np.unique(table[RATING])
    axes.plot(values, values, color=COLORS["black"], linewidth=0.8, linestyle="--")
    step = 0.12 * np.diff(values).min(initial=1.0)
    for number, name in enumerate(names):
        rows = table[table[SYSTEM] == name]
        ends = np.abs(rows[["mean"]].to_numpy() - rows[["low", "high"]].to_numpy()).T
        axes.errorbar(
            rows[RATING] + step * (number - (len(names) - 1) / 2),
            rows["mean"],
            yerr=ends,
            marker=MARKERS[number % len(MARKERS)],
            color=PALETTE[number % len(PALETTE)],
            markersize=5,
            linewidth=0.9,
            label=label(name),
        )
    axes.set(xlabel="stars given", ylabel="stars predicted")
    axes.legend(fontsize=8)
    caption(figure, f"{note}; dashed: as given; bars: the middle 80% of predictions")
    return figure


@study_style()
def curves(table: pd.DataFrame, *, note: str) -> Figure:
    """Training by epoch: a panel a system, loss dashed, RMSE on a validation part solid where there is one.

    Args:
        table: `system`, `epoch`, `loss`, `rmse` of one fold.
        note: begin of the caption.
    """
    names = list(dict.fromkeys(table[SYSTEM]))
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    figure = blank((0.6 + 2.9 * columns, 0.7 + 2.0 * rows))
    panels = figure.subplots(rows, columns, squeeze=False).flat
    for axes, name in zip(panels, names, strict=False):
        of_system = table[table[SYSTEM] == name]
        axes.plot(of_system["epoch"], of_system["loss"], linestyle="--", color=COLORS["grey"])
        axes.set(title=label(name), xlabel="epoch")
        if of_system["rmse"].notna().any():
            right = axes.twinx()
            right.plot(of_system["epoch"], of_system["rmse"], color=COLORS["vermilion"])
            right.spines["right"].set_visible(True)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=4))
    for axes in list(figure.axes)[len(names) : rows * columns]:
        axes.set_axis_off()
    caption(figure, f"{note}; dashed, left: training loss; solid, right: RMSE on the validation part")
    return figure

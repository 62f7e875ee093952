"""Figures of notebook 03."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dualrec_utils.core.config import SYSTEM
from dualrec_utils.models import systems
from dualrec_utils.show.charts import COLORS, PROTOCOLS, SERIES, caption, study_style

# Panels of learning curves.
_SIDE_BY_SIDE = 4


def with_intervals(summary: pd.DataFrame, *, metric: str, group: str, xlabel: str, note: str) -> Figure:
    """One line a system, a mean and its interval in each, groups side by side on the line.

    Args:
        summary: rows with `system`, `metric`, `value`, `low`, `high` and the column `group`, from
            :func:`core.evaluation.evaluate_systems`; the first system stands on top.
        group: column that tells the (at most two) marks on a line apart.
        xlabel: what the axis shows.
        note: caption: protocol, cases, interval.
    """
    rows = summary[summary["metric"] == metric]
    names, groups = list(dict.fromkeys(rows[SYSTEM])), list(dict.fromkeys(rows[group]))
    with study_style():
        figure, axes = plt.subplots(figsize=(7.2, 1.3 + 0.55 * len(names)))
        for number, name in enumerate(groups):
            points, look = rows[rows[group] == name], PROTOCOLS.get(name, SERIES[number])
            height = [names.index(s) + 0.24 * (number - (len(groups) - 1) / 2) for s in points[SYSTEM]]
            reach = [points["value"] - points["low"], points["high"] - points["value"]]
            axes.errorbar(points["value"], height, xerr=reach, fmt="none", ecolor=look["color"], capsize=3)
            axes.plot(points["value"], height, linestyle="none", label=name, **look)
            for value, x, y in zip(points["value"], points["high"], height, strict=True):
                axes.annotate(f"{value:.3f}", (x, y), (5, 0), textcoords="offset points", va="center")
        axes.set_yticks(range(len(names)), [systems.label(name) for name in names])
        axes.set(xlabel=xlabel, xlim=(0, rows["high"].max() * 1.15), ylim=(len(names) - 0.5, -0.5))
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=len(groups))
        caption(figure, note)
    return figure


def learning_curves(curves: pd.DataFrame, *, note: str) -> Figure:
    """One small panel a model: its training loss and its value on validation users over epochs.

    Args:
        curves: `system`, `epoch` (from 1), `part`, `metric`, `value`, as
            :class:`models.baselines.neural.NeuralBaseline` keeps them, for one or more systems.
        note: caption: data set, users, what the values are means over.

    Returns:
        The figure; a star stands at the best epoch, whose weights are kept.
    """
    names = list(dict.fromkeys(curves[SYSTEM]))
    columns = min(_SIDE_BY_SIDE, len(names))
    rows = -(-len(names) // columns)
    with study_style():
        size = (0.6 + 2.3 * columns, 0.5 + 1.8 * rows)
        figure, panels = plt.subplots(rows, columns, figsize=size, squeeze=False)
        for axes in panels.flat[len(names) :]:
            axes.remove()
        for axes, name in zip(panels.flat, names, strict=False):
            curve = curves[curves[SYSTEM] == name]
            loss, value = curve[curve["part"] == "train"], curve[curve["part"] == "validation"]
            axes.plot(loss["epoch"], loss["value"], linestyle="--", color=COLORS["grey"])
            axes.set(title=systems.label(name), xlabel="epoch")
            right = axes.twinx()
            right.plot(value["epoch"], value["value"], color=COLORS["vermilion"])
            best = value.loc[[value["value"].idxmax()]] if len(value) else value
            right.plot(best["epoch"], best["value"], marker="*", markersize=11, color=COLORS["vermilion"])
            right.spines["right"].set_visible(True)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=4))
        figure.supylabel("training loss (dashed, left), validation NDCG@5 (solid, right)", fontsize=9)
        caption(figure, note)
    return figure

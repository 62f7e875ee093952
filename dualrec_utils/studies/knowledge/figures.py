"""Figures of notebook 10: lines along shares or groups, and rows in panels."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from dualrec_utils.core.config import SYSTEM
from dualrec_utils.show import charts
from dualrec_utils.studies.knowledge.tables import label

NAMES = {"ndcg@10": "NDCG@10", "hit_rate@10": "HR@10"}


@charts.study_style()
def lines(rows: pd.DataFrame, *, along: str, words: str, metric: str, note: str) -> Figure:
    """A line with intervals for each system.

    Args:
        rows: `system`, `value`, `low`, `high`, and the column `along`, whose values stand on the horizontal
            axis in their order.
        words: what these values are.
        metric: of all rows.
        note: caption.
    """
    places = list(dict.fromkeys(rows[along]))
    systems = list(dict.fromkeys(rows[SYSTEM]))
    figure = charts.blank((8.4, 4.2))
    axes = figure.subplots()
    for number, system in enumerate(systems):
        part = rows[rows[SYSTEM] == system]
        # Beside each other, so that no interval hides another.
        at = part[along].map(places.index) + 0.08 * (number - (len(systems) - 1) / 2)
        errors = np.abs(part[["value"]].to_numpy() - part[["low", "high"]].to_numpy()).T
        look = {"color": charts.PALETTE[number % len(charts.PALETTE)], "markersize": 5, "elinewidth": 1.0}
        look["marker"] = charts.MARKERS[number % len(charts.MARKERS)]
        # More systems than colours: those that share one differ in their lines.
        look["linestyle"] = "-" if number < len(charts.PALETTE) else (0, (4, 2))
        axes.errorbar(at, part["value"], yerr=errors, label=label(system), **look)
    axes.set_xticks(range(len(places)), places)
    axes.set(xlabel=words, ylabel=NAMES[metric])
    axes.set_ylim(bottom=0)
    figure.legend(loc="outside right upper")
    charts.caption(figure, note)
    return figure


@charts.study_style()
def panels(rows: pd.DataFrame, *, by: str, metric: str, note: str) -> Figure:
    """Rows with intervals, a panel for each value of a column.

    Args:
        rows: `row` (its name, the same in every panel), the column `by` (a panel's title), `value`, `low`,
            `high`.
        metric, note: as :func:`lines`.
    """
    names, titles = list(dict.fromkeys(rows["row"])), list(dict.fromkeys(rows[by]))
    figure = charts.blank((9.0, 1.1 + 0.34 * len(names)))
    grid = figure.subplots(1, len(titles), sharey=True, squeeze=False)[0]
    for number, (axes, title) in enumerate(zip(grid, titles, strict=True)):
        part = rows[rows[by] == title]
        places = part["row"].map(names.index).to_numpy(float)
        charts.intervals(axes, part, places, **charts.SERIES[number])
        axes.set(title=title, xlabel=NAMES[metric])
        axes.xaxis.set_major_formatter(PercentFormatter(1))
        axes.set_xlim(left=0)
        # Labels of narrow panels would touch.
        axes.locator_params(axis="x", nbins=5)
        charts.label_rows(axes, names)
    charts.caption(figure, note)
    return figure

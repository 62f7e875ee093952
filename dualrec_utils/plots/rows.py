"""What charts share: names, colours and markers, blank figures, labelled rows, points with intervals."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dualrec_utils.plots.style import COLORS

SHORT = {"hit_rate@1": "HR@1", "hit_rate@5": "HR@5", "ndcg@1": "NDCG@1", "ndcg@5": "NDCG@5"}
# Series side by side, in order.
SERIES = (
    {"marker": "o", "color": COLORS["blue"]},
    {"marker": "s", "color": COLORS["vermilion"]},
    {"marker": "D", "color": COLORS["green"]},
)
# A protocol looks alike in every figure that tells the two apart.
PROTOCOLS = {"next_item": SERIES[0], "window_of_five": SERIES[1]}
# Markers of more series, each with a colour of the palette.
MARKERS = "osD^vPX*"


def blank(size: tuple[float, float]) -> Figure:
    """An empty figure that a notebook shows where it is named, not once more at the end of the cell."""
    figure = plt.figure(figsize=size)
    plt.close(figure)
    return figure


def label_rows(axes: Axes, names: Sequence[str]) -> None:
    """Label one row a name, first on top, with faint lines to guide the eye."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(axis="y", color="#EEEEEE", linewidth=0.8)
    axes.tick_params(axis="y", length=0)
    axes.set_axisbelow(True)


def intervals(axes: Axes, rows: pd.DataFrame, places: np.ndarray, *, value: str = "value", **look) -> None:
    """Points with horizontal intervals.

    Args:
        rows: `value` (or the column named), `low`, `high`.
        places: shape (n_rows,), where each stands on the vertical axis.
        look: as of `Axes.errorbar`.
    """
    errors = np.abs(rows[[value]].to_numpy() - rows[["low", "high"]].to_numpy()).T
    axes.errorbar(rows[value], places, xerr=errors, linestyle="none", markersize=5, elinewidth=1.1, **look)

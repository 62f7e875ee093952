"""Figures of notebook 14."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from dualrec_utils.show.charts import COLORS, MARKERS, PALETTE, blank, caption, study_style
from dualrec_utils.studies.online.latency import LABELS
from dualrec_utils.studies.online.prequential import TENTH


@study_style()
def over_time(rows: pd.DataFrame, *, ylabel: str, note: str) -> Figure:
    """Each way by tenth of the stream, with its interval.

    Args:
        rows: from :func:`studies.online.prequential.over_time`.
        note: caption: protocol, n, interval.
    """
    figure = blank((9.0, 4.6))
    axes = figure.subplots()
    ways = list(dict.fromkeys(rows["way"]))
    colors = [*PALETTE, COLORS["grey"]]
    # Marks of one tenth stand side by side, so that intervals can be told apart.
    shifts = np.linspace(-0.28, 0.28, len(ways))
    for way, shift, color, marker in zip(ways, shifts, colors, MARKERS, strict=False):
        part = rows[rows["way"] == way]
        reach = np.abs(part[["low", "high"]].to_numpy() - part[["value"]].to_numpy()).T
        look = {"color": color, "marker": marker, "markersize": 4.5, "linewidth": 1, "elinewidth": 0.9}
        axes.errorbar(part[TENTH] + shift, part["value"], yerr=reach, label=way, **look)
    axes.set(xlabel="tenth of the stream, in order of time", ylabel=ylabel, xticks=range(1, 11))
    axes.set_ylim(bottom=0)
    figure.legend(loc="outside upper center", ncols=3)
    caption(figure, note)
    return figure


@study_style()
def latency(rows: pd.DataFrame, *, note: str) -> Figure:
    """Milliseconds of an answer by number of clients, the middle one and the slowest of a hundred.

    Args:
        rows: `what`, `clients`, `p50_ms`, `p99_ms`.
        note: caption: machine, n.
    """
    figure = blank((9.0, 4.2))
    shown = [what for what in LABELS if what in set(rows["what"])]
    axes_of = figure.subplots(1, 2, sharey=True)
    for axes, column, title in zip(
        axes_of, ("p50_ms", "p99_ms"), ("half are faster", "99 of 100 are faster"), strict=True
    ):
        for what, color, marker in zip(shown, PALETTE, MARKERS, strict=False):
            part = rows[rows["what"] == what].sort_values("clients")
            axes.plot(part["clients"], part[column], color=color, marker=marker, label=LABELS[what])
        clients = sorted(rows["clients"].unique())
        axes.set(title=title, xlabel="clients at once", xscale="log", yscale="log")
        axes.set_xticks(clients, [f"{n}" for n in clients])
    axes_of[0].set_ylabel("milliseconds")
    handles, names = axes_of[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=3)
    caption(figure, note)
    return figure

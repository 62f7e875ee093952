"""Figures of the paired tests: every two systems, and what a number of users can tell apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

from dualrec_utils.analysis import sample_size
from dualrec_utils.analysis.verdict import NOT_SHOWN
from dualrec_utils.core import config
from dualrec_utils.core.config import PROTOCOL, SYSTEM
from dualrec_utils.models import systems
from dualrec_utils.show.charts import COLORS, SHORT, WIDE, blank, caption, label_rows, study_style

# How a pair is marked, by what its corrected test says of the row's system.
LOOKS = {
    "higher": {"color": COLORS["blue"], "marker": "^", "markersize": 6},
    "lower": {"color": COLORS["vermilion"], "marker": "v", "markersize": 6},
    NOT_SHOWN: {"color": "#BBBBBB", "marker": ".", "markersize": 4},
}
TURNED = {"higher": "lower", "lower": "higher", NOT_SHOWN: NOT_SHOWN}


@study_style()
def draw_pairs(
    tests: pd.DataFrame, *, names: Sequence[str], note: str, lead: str
) -> tuple[Figure, pd.DataFrame]:
    """Every two systems as a matrix: below the diagonal one protocol, above it the other.

    Args:
        tests: from `significance.all_pairs`.
        names: systems, top to bottom and left to right.
        note: end of the caption: the test and its correction.
        lead: begin of the caption: the data set.

    Returns:
        The figure and the rows it draws.
    """
    place = {name: at for at, name in enumerate(names)}
    drawn = tests[tests[SYSTEM].isin(names) & tests["other"].isin(names)]
    side = 2.9 + 0.25 * len(names)
    figure = blank((side + 0.6, side))
    axes = figure.subplots()
    for protocol, below in zip(config.PROTOCOLS, (True, False), strict=True):
        own = drawn[drawn[PROTOCOL] == protocol]
        one, other = own[SYSTEM].map(place).to_numpy(), own["other"].map(place).to_numpy()
        # A cell speaks of its row's system: turned round where that is the pair's second.
        turned = (one < other) == below
        rows, columns = np.where(turned, other, one), np.where(turned, one, other)
        readings = np.where(turned, own["reading"].map(TURNED), own["reading"])
        for reading, look in LOOKS.items():
            chosen = readings == reading
            axes.plot(columns[chosen], rows[chosen], linestyle="none", **look)
    axes.plot([-0.5, len(names) - 0.5], [-0.5, len(names) - 0.5], color=COLORS["black"], linewidth=0.8)
    labels = [systems.label(name) for name in names]
    label_rows(axes, labels)
    axes.set_xticks(range(len(names)), labels, rotation=90)
    axes.set_xlim(-0.5, len(names) - 0.5)
    axes.grid(axis="x", color="#EEEEEE", linewidth=0.8)
    axes.tick_params(length=0, labelsize=8)
    metric, (low, high) = SHORT[drawn["metric"].iloc[0]], config.PROTOCOLS
    axes.set_title(f"{metric}: row against column. Lower left: {low}; upper right: {high}")
    words = {"higher": "row higher", "lower": "row lower", NOT_SHOWN: NOT_SHOWN}
    handles = [Line2D([], [], linestyle="none", label=words[name], **look) for name, look in LOOKS.items()]
    figure.legend(handles=handles, loc="outside upper right", ncols=3)
    caption(figure, f"{lead}, {drawn['n_users'].max()} test users, seen movies excluded; {note}")
    return figure, drawn


@study_style()
def draw_power(
    table: pd.DataFrame, *, metric: str, alpha: float, power: float, lead: str
) -> tuple[Figure, pd.DataFrame]:
    """The smallest difference that a number of users can tell, for the middle pair of systems.

    Args:
        table: from `sample_size.table`.
        metric: which of its metrics.
        alpha, power: as there.
        lead: begin of the caption: the data set.

    Returns:
        The figure and the points it draws: `protocol`, `n_users`, `design`, `difference`.
    """
    points = []
    figure = blank(WIDE)
    panels = figure.subplots(1, len(config.PROTOCOLS), sharey=True)
    users = np.geomspace(50, 20_000, 60).round().astype(int)
    looks = {
        "paired": {"color": COLORS["blue"]},
        "independent": {"color": COLORS["orange"], "linestyle": "--"},
    }
    for axes, protocol in zip(panels, config.PROTOCOLS, strict=True):
        own = table[(table[PROTOCOL] == protocol) & (table["metric"] == metric)]
        for design, look in looks.items():
            variance = own[f"variance_{design}"].median()
            curve = [
                sample_size.smallest_difference(n, variance=variance, alpha=alpha, power=power)
                for n in users
            ]
            axes.plot(users, curve, label=f"{design} users", **look)
            points.append(
                pd.DataFrame({PROTOCOL: protocol, "n_users": users, "design": design, "difference": curve})
            )
        n_users = own["n_users"].max()
        marked = {"this run": n_users} if len(own) else {}
        marked["ml-1m"] = sample_size.PAPER_USERS
        # A run on the paper's data set has almost its users: two lines would overprint each other.
        if abs(n_users / sample_size.PAPER_USERS - 1) < 0.05:
            del marked["ml-1m"]
        for name, n in marked.items():
            axes.axvline(n, color=COLORS["grey"], linestyle=":", linewidth=1)
            place = {"xycoords": ("data", "axes fraction"), "va": "bottom", "ha": "right", "rotation": 90}
            axes.annotate(f"{name}: {n}", (n, 0.03), fontsize=8, **place)
        axes.set(title=protocol, xscale="log", yscale="log", xlabel="test users")
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.grid(axis="y", color="#EEEEEE", linewidth=0.8)
    panels[0].set_ylabel(f"smallest difference of {SHORT[metric]}")
    panels[-1].legend()
    caption(
        figure,
        f"{lead}, test users, seen movies excluded; power {power:.0%} at {alpha:.0%}, one comparison;"
        " variance over users: the median of the pairs",
    )
    return figure, pd.concat(points, ignore_index=True)

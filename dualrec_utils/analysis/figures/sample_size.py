"""What a number of users can tell apart, as a figure."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

from dualrec_utils.analysis import sample_size
from dualrec_utils.core import config
from dualrec_utils.core.config import PROTOCOL
from dualrec_utils.show.charts import COLORS, SHORT, WIDE, blank, caption, study_style


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
        rows = table[(table[PROTOCOL] == protocol) & (table["metric"] == metric)]
        for design, look in looks.items():
            variance = rows[f"variance_{design}"].median()
            curve = [
                sample_size.smallest_difference(n, variance=variance, alpha=alpha, power=power)
                for n in users
            ]
            axes.plot(users, curve, label=f"{design} users", **look)
            points.append(
                pd.DataFrame({PROTOCOL: protocol, "n_users": users, "design": design, "difference": curve})
            )
        n_users = rows["n_users"].max()
        marked = {"this run": n_users} if len(rows) else {}
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
        f"{lead}, test users, seen items excluded; power {power:.0%} at {alpha:.0%}, one comparison;"
        " variance over users: the median of the pairs",
    )
    return figure, pd.concat(points, ignore_index=True)

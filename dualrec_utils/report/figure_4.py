"""The paper's Figure 4 beside ours: one row a system, the paper's value and ours under both protocols."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from dualrec_utils.analysis import counterparts
from dualrec_utils.core import config
from dualrec_utils.core.config import PROTOCOL, SYSTEM
from dualrec_utils.models import systems
from dualrec_utils.show import paper
from dualrec_utils.show.charts import COLORS, PROTOCOLS, blank, caption, study_style

METRICS = {"hit_rate@1": "HR@1", "hit_rate@5": "HR@5"}
_PAPER = "paper"
_LOOKS = {
    _PAPER: {"color": COLORS["black"], "marker": "x", "label": "paper (ml-1m, its protocol unstated)"},
    **{protocol: look | {"label": f"ours, {protocol}"} for protocol, look in PROTOCOLS.items()},
}
# The two protocols of a row stand a little above and below its line, so that intervals do not overlap.
_OFFSETS = {_PAPER: 0.0, "next_item": -0.2, "window_of_five": 0.2}


def figure_4_values(flat: Mapping[str, Any]) -> pd.DataFrame:
    """Every value of the figure: the paper's rows, then our own systems.

    Args:
        flat: metrics of notebook 07.

    Returns:
        Frame with `row` (the paper's name or ours), `protocol` (`paper` for its own values), `metric`,
        `value`, `low`, `high` (NaN for the paper, which prints no interval).
    """
    printed = paper.figure_4()
    names = dict.fromkeys(printed[SYSTEM], "") | counterparts.COUNTERPARTS
    ours = {
        f"ours: {systems.label(system).removesuffix(' (ours)')}": system
        for system in counterparts.STAND_INS
    }
    rows = [
        (row[SYSTEM], _PAPER, metric, row[metric], None, None)
        for row in printed.to_dict("records")
        for metric in METRICS
    ]
    for name, system in (names | ours).items():
        for protocol in config.PROTOCOLS:
            for metric in METRICS:
                key = f"{protocol}/{system}/{metric}"
                if key in flat:
                    values = (flat[key], flat[f"{key}/low"], flat[f"{key}/high"])
                    rows.append((name, protocol, metric, *values))
    columns = ["row", PROTOCOL, "metric", "value", "low", "high"]
    return pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(columns[3:], "float64"))


@study_style()
def draw_figure_4(flat: Mapping[str, Any]) -> tuple[Figure, pd.DataFrame]:
    """The paper's values and ours side by side, HR@1 and HR@5.

    Args:
        flat: metrics of notebook 07, with `dataset`, `confidence` and the LSTM's sizes.

    Returns:
        The figure and the rows it draws.
    """
    drawn = figure_4_values(flat)
    order = list(dict.fromkeys(drawn["row"]))
    place = {name: at for at, name in enumerate(order)}
    figure = blank((8.4, 1.2 + 0.36 * len(order)))
    panels = figure.subplots(1, len(METRICS), sharey=True)
    for axes, (metric, title) in zip(panels, METRICS.items(), strict=True):
        for protocol, look in _LOOKS.items():
            rows = drawn[(drawn["metric"] == metric) & (drawn[PROTOCOL] == protocol)]
            errors = [rows["value"] - rows["low"], rows["high"] - rows["value"]]
            axes.errorbar(
                rows["value"],
                rows["row"].map(place) + _OFFSETS[protocol],
                xerr=None if protocol == _PAPER else errors,
                linestyle="none",
                markersize=5,
                elinewidth=1.1,
                **look,
            )
        axes.set_title(title)
        axes.set_xlim(left=0)
        axes.grid(axis="y", color="#EEEEEE", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.axhline(len(paper.figure_4()) - 0.5, color=COLORS["grey"], linewidth=0.8)
    panels[0].set_yticks(range(len(order)), order)
    panels[0].set_ylim(len(order) - 0.5, -0.5)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=len(_LOOKS))
    caption(figure, _sizes(flat))
    return figure, drawn


def _sizes(flat: Mapping[str, Any]) -> str:
    """Dataset, users, cases and interval, as far as they are known."""
    parts = [f"ours: {flat['dataset']}, {flat['confidence']:.0%} intervals over users"]
    for protocol in config.PROTOCOLS:
        if (key := f"{protocol}/lstm/n_cases") in flat:
            users = flat[f"{protocol}/lstm/n_users"]
            parts.append(f"{flat[key]:,} cases of {users} users ({protocol})")
    return "; ".join(parts)

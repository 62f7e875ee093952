"""Figure of notebook 08: who leads under which order of ratings that share a second."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from dualrec_utils.analysis import order
from dualrec_utils.models import systems
from dualrec_utils.show import charts


@charts.study_style()
def draw_order(levels: pd.DataFrame, *, lead: str) -> tuple[Figure, pd.DataFrame]:
    """NDCG@5 of every model under each order, with interval.

    Args:
        levels: from :func:`analysis.order.read`.
        lead: begin of the caption: data set and interval.

    Returns:
        The figure and the rows it draws.
    """
    drawn = levels[(levels["metric"] == "ndcg@5") & levels["asked"].isin(order.SHOWN)]
    present = drawn[drawn["asked"] == order.PRESENT].set_index("model")["value"]
    names = list(present.sort_values(ascending=False).index)
    shown = [way for way in order.SHOWN if way in set(drawn["asked"])]
    figure = charts.blank((7.5, 1.2 + 0.5 * len(names)))
    axes = figure.subplots()
    for at, way in enumerate(shown):
        rows = drawn[drawn["asked"] == way].set_index("model").reindex(names).reset_index()
        places = rows.index.to_numpy(float) + 0.17 * (at - (len(shown) - 1) / 2)
        look = {"color": charts.PALETTE[at], "marker": charts.MARKERS[at]}
        charts.intervals(axes, rows, places, label=order.WORDS[way], **look)
    axes.set_xlabel("NDCG@5")
    axes.set_xlim(left=0)
    charts.label_rows(axes, [systems.label(name) for name in names])
    figure.legend(loc="outside upper center", ncols=len(shown), handletextpad=0.3, columnspacing=1.0)
    draws = drawn["n_seeds"].max()
    charts.caption(
        figure, f"{lead}; {drawn['n_users'].max()} test users, {draws} draws of order and training"
    )
    return figure, drawn

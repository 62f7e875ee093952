"""Figures of notebook 07: systems, paired differences, and the paper's Figure 5."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from dualrec_utils.analysis import results
from dualrec_utils.analysis.figures.breakdowns import DOT
from dualrec_utils.core import config, evaluation
from dualrec_utils.core.config import PROTOCOL, SYSTEM
from dualrec_utils.models import systems
from dualrec_utils.show import charts, paper

MARKERS = {"hit_rate@1": "o", "hit_rate@5": "s", "ndcg@1": "x", "ndcg@5": "D"}
METRIC_COLORS = dict(
    zip(
        charts.SHORT,
        (charts.COLORS["blue"], charts.COLORS["vermilion"], charts.COLORS["black"], charts.COLORS["green"]),
        strict=True,
    )
)
# The paper's variants in Figure 5(a), best last as in its figure.
PAPER_VARIANT = "DUALRec – "


def _sizes(rows: pd.DataFrame) -> str:
    """How many users and cases a figure stands on."""
    cases = rows.groupby(PROTOCOL, sort=False)["n_cases"].max()
    counts = ", ".join(f"{count:,} cases {protocol}" for protocol, count in cases.items())
    return f"{rows['n_users'].max()} test users, {counts}"


@charts.study_style()
def draw_systems(table: pd.DataFrame, *, lead: str) -> tuple[Figure, pd.DataFrame]:
    """HR@5 of every system with interval under both protocols, seen items excluded and kept.

    Args:
        table: from `results.summarise`.
        lead: begin of the caption: data set and interval.

    Returns:
        The figure and the rows it draws.
    """
    rows = table[table["metric"] == "hit_rate@5"]
    drawn = rows.assign(
        setting=np.where(results.is_seen_kept(rows[SYSTEM]), "seen kept", "seen excluded"),
        name=results.headline_of(rows[SYSTEM]),
    )
    order = systems.in_order(drawn["name"])
    place = {name: at for at, name in enumerate(order)}
    figure = charts.blank((9.0, 0.7 + 0.33 * len(order)))
    panels = figure.subplots(1, len(config.PROTOCOLS), sharey=True)
    for axes, protocol in zip(panels, config.PROTOCOLS, strict=True):
        points = drawn[drawn[PROTOCOL] == protocol]
        for setting, shift, face in (("seen excluded", -0.14, DOT["color"]), ("seen kept", 0.14, "white")):
            part = points[points["setting"] == setting]
            places = part["name"].map(place).to_numpy(float) + shift
            charts.intervals(axes, part, places, markerfacecolor=face, label=setting, **DOT)
        axes.set_title(protocol)
        axes.set_xlabel("HR@5")
        axes.set_xlim(left=0)
        charts.label_rows(axes, [systems.label(name) for name in order])
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper right", ncols=2)
    charts.caption(figure, f"{lead}; {_sizes(drawn)}")
    return figure, drawn


@charts.study_style()
def draw_figure_5a(table: pd.DataFrame, *, names: Sequence[str], lead: str) -> tuple[Figure, pd.DataFrame]:
    """Figure 5(a): HR and NDCG at 1 and 5 of the paper's variants, and of ours under both protocols.

    Args:
        table: from `results.summarise`.
        names: our systems, top to bottom.
        lead: data set and interval of ours, for the caption.

    Returns:
        The figure and the rows it draws.
    """
    reported = paper.figure_4().query("family == 'dualrec'").drop(columns="family")
    reported = reported.melt(id_vars=SYSTEM, var_name="metric").assign(panel="the paper's (ml-1m)")
    ours = table[table[SYSTEM].isin(names) & table["metric"].isin(evaluation.PAPER_METRICS)]
    ours = ours.assign(panel="ours, " + ours[PROTOCOL])
    drawn = pd.concat([reported, ours[["panel", SYSTEM, "metric", "value", "low", "high"]]])
    order = {"the paper's (ml-1m)": list(dict.fromkeys(reported[SYSTEM]))}
    order |= {f"ours, {protocol}": list(names) for protocol in config.PROTOCOLS}
    heights = [len(order["the paper's (ml-1m)"]), len(names), len(names)]
    figure = charts.blank((9.0, 1.4 + 0.30 * sum(heights)))
    panels = figure.subplots(3, 1, sharex=True, height_ratios=heights)
    for axes, (panel, ranked) in zip(panels, order.items(), strict=True):
        for metric in evaluation.PAPER_METRICS:
            rows = drawn[(drawn["panel"] == panel) & (drawn["metric"] == metric)]
            shift = 0.16 * (list(charts.SHORT).index(metric) - 1.5)
            look = {
                "marker": MARKERS[metric],
                "color": METRIC_COLORS[metric],
                "label": charts.SHORT[metric],
            }
            places = rows[SYSTEM].map(ranked.index).to_numpy(float) + shift
            if rows["low"].isna().all():
                axes.plot(rows["value"], places, linestyle="none", markersize=5, **look)
            else:
                charts.intervals(axes, rows, places, **look)
        axes.set_title(panel)
        charts.label_rows(axes, [systems.label(name).removeprefix(PAPER_VARIANT) for name in ranked])
    # The panels share their axis: setting one side in the loop would fix the other for those to come.
    axes.set_xlim(0, 1.05 * drawn[["value", "high"]].max(axis=None))
    panels[-1].set_xlabel("HR or NDCG")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper right", ncols=4)
    charts.caption(figure, f"seen items excluded; ours: {lead}; {_sizes(ours)}")
    return figure, drawn


@charts.study_style()
def draw_figure_5b(table: pd.DataFrame, *, names: Sequence[str], lead: str) -> tuple[Figure, pd.DataFrame]:
    """Figure 5(b): genre Jaccard of the first recommendation and the item rated next.

    The paper's values (MovieLens 1M) are dashed lines. Only `next_item` is drawn: the paper compares
    with the next item.

    Args:
        table: from `results.summarise`.
        names: our systems, top to bottom.
        lead: data set and interval of ours, for the caption.

    Returns:
        The figure and the rows it draws.
    """
    rows = table[
        (table["metric"] == "genre_jaccard") & (table[PROTOCOL] == "next_item") & table[SYSTEM].isin(names)
    ]
    reported = pd.DataFrame({SYSTEM: list(paper.FIGURE_5B), "value": list(paper.FIGURE_5B.values())})
    drawn = pd.concat([rows, reported.assign(metric="genre_jaccard", **{PROTOCOL: "the paper's (ml-1m)"})])
    figure = charts.blank((9.0, 1.2 + 0.32 * len(names)))
    axes = figure.subplots()
    places = rows[SYSTEM].map(list(names).index).to_numpy(float)
    charts.intervals(axes, rows, places, **DOT)
    charts.label_rows(axes, [systems.label(name) for name in names])
    axes.set_xlim(0, 0.72)
    axes.set_xlabel("genre Jaccard similarity of the first recommendation")
    # Two of the paper's values lie within a line's width: their names go to either side.
    sides = {"DUALRec – DS V3": "left", "DUALRec – Mistral 7B Finetuned": "right"}
    for name, value in paper.FIGURE_5B.items():
        side = sides.get(name, "right")
        axes.axvline(value, **charts.PAPER_LINE)
        text = name.removeprefix(PAPER_VARIANT).removesuffix(" Finetuned")
        gap = 0.004 if side == "left" else -0.004
        axes.text(value + gap, -0.62, text, fontsize=8, ha=side, va="bottom", color=charts.COLORS["black"])
    charts.caption(
        figure, f"seen items excluded; dashed: the paper's values (ml-1m); ours: {lead}; {_sizes(rows)}"
    )
    return figure, drawn

"""Figures of notebook 07: systems, paired differences, and the paper's Figure 5."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from dualrec_utils.analysis import results
from dualrec_utils.core import config, evaluation
from dualrec_utils.core.config import PROTOCOL, SYSTEM
from dualrec_utils.models import systems
from dualrec_utils.show import paper
from dualrec_utils.show.charts import (
    COLORS,
    PAPER_LINE,
    PROTOCOLS,
    SHORT,
    blank,
    caption,
    intervals,
    label_rows,
    study_style,
)

MARKERS = {"hit_rate@1": "o", "hit_rate@5": "s", "ndcg@1": "x", "ndcg@5": "D"}
METRIC_COLORS = dict(
    zip(SHORT, (COLORS["blue"], COLORS["vermilion"], COLORS["black"], COLORS["green"]), strict=True)
)
# The paper's variants in Figure 5(a), best last as in its figure.
PAPER_VARIANT = "DUALRec – "


def _sizes(rows: pd.DataFrame) -> str:
    """How many users and cases a figure stands on."""
    cases = rows.groupby(PROTOCOL, sort=False)["n_cases"].max()
    counts = ", ".join(f"{count:,} cases {protocol}" for protocol, count in cases.items())
    return f"{rows['n_users'].max()} test users, {counts}"


@study_style()
def draw_systems(
    table: pd.DataFrame, *, metric: str = "hit_rate@5", lead: str
) -> tuple[Figure, pd.DataFrame]:
    """Every system's value with interval under both protocols, seen movies excluded and kept.

    Args:
        table: from `results.summarise`.
        metric: which metric to draw.
        lead: begin of the caption: data set and interval.

    Returns:
        The figure and the rows it draws.
    """
    rows = table[table["metric"] == metric]
    drawn = rows.assign(
        setting=np.where(results.is_seen_kept(rows[SYSTEM]), "seen kept", "seen excluded"),
        name=results.headline_of(rows[SYSTEM]),
    )
    order = systems.in_order(drawn["name"])
    place = {name: at for at, name in enumerate(order)}
    figure = blank((9.0, 0.7 + 0.33 * len(order)))
    panels = figure.subplots(1, len(config.PROTOCOLS), sharey=True)
    for axes, protocol in zip(panels, config.PROTOCOLS, strict=True):
        own = drawn[drawn[PROTOCOL] == protocol]
        for setting, shift, face in (
            ("seen excluded", -0.14, COLORS["blue"]),
            ("seen kept", 0.14, "white"),
        ):
            part = own[own["setting"] == setting]
            places = part["name"].map(place).to_numpy(float) + shift
            look = {"color": COLORS["blue"], "markerfacecolor": face, "marker": "o", "label": setting}
            intervals(axes, part, places, **look)
        axes.set_title(protocol)
        axes.set_xlabel(SHORT.get(metric, metric))
        axes.set_xlim(left=0)
        label_rows(axes, [systems.label(name) for name in order])
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=2)
    caption(figure, f"{lead}; {_sizes(drawn)}")
    return figure, drawn


@study_style()
def draw_differences(
    differences: pd.DataFrame,
    *,
    metrics: Sequence[str] = ("hit_rate@1", "hit_rate@5"),
    lead: str,
) -> tuple[Figure, pd.DataFrame]:
    """Forest plot of paired differences; a filled marker's interval excludes zero.

    Args:
        differences: from `results.compare`.
        metrics: one panel each.
        lead: begin of the caption: data set and interval.

    Returns:
        The figure and the rows it draws.
    """
    drawn = differences[differences["metric"].isin(metrics)]
    pairs = drawn[["question", SYSTEM, "other"]].drop_duplicates().reset_index(drop=True)
    place = {(row.system, row.other): at for at, row in enumerate(pairs.itertuples())}
    names = [
        f"{row.question}\n{systems.label(row.system)} − {systems.label(row.other)}"
        for row in pairs.itertuples()
    ]
    figure = blank((9.0, 0.9 + 0.48 * len(pairs)))
    panels = figure.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
    for axes, metric in zip(panels, metrics, strict=True):
        axes.axvline(0, color=COLORS["black"], linewidth=0.8)
        for shift, (protocol, look) in zip((-0.15, 0.15), PROTOCOLS.items(), strict=True):
            rows = drawn[(drawn["metric"] == metric) & (drawn[PROTOCOL] == protocol)]
            places = np.array(
                [place[pair] for pair in zip(rows[SYSTEM], rows["other"], strict=True)], float
            )
            for sure, face in ((True, look["color"]), (False, "white")):
                chosen = (rows["excludes_zero"] == sure).to_numpy()
                named = {"label": protocol} if sure else {}
                filled = {"markerfacecolor": face, **look, **named}
                intervals(axes, rows[chosen], places[chosen] + shift, value="difference", **filled)
        axes.set_title(f"difference of {SHORT.get(metric, metric)}")
        label_rows(axes, names)
        axes.locator_params(axis="x", nbins=5)
        axes.tick_params(axis="y", labelsize=8)
    handles, labels = panels[-1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=2)
    users = drawn["n_users"].max()
    caption(figure, f"{lead}; {users} test users, seen movies excluded; filled: the interval excludes zero")
    return figure, drawn


@study_style()
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
    figure = blank((9.0, 1.4 + 0.30 * sum(heights)))
    panels = figure.subplots(3, 1, sharex=True, height_ratios=heights)
    for axes, (panel, own) in zip(panels, order.items(), strict=True):
        for metric in evaluation.PAPER_METRICS:
            rows = drawn[(drawn["panel"] == panel) & (drawn["metric"] == metric)]
            shift = 0.16 * (list(SHORT).index(metric) - 1.5)
            look = {"marker": MARKERS[metric], "color": METRIC_COLORS[metric], "label": SHORT[metric]}
            places = rows[SYSTEM].map(own.index).to_numpy(float) + shift
            if rows["low"].isna().all():
                axes.plot(rows["value"], places, linestyle="none", markersize=5, **look)
            else:
                intervals(axes, rows, places, **look)
        axes.set_title(panel)
        label_rows(axes, [systems.label(name).removeprefix(PAPER_VARIANT) for name in own])
    # The panels share their axis: setting one side in the loop would fix the other for those to come.
    axes.set_xlim(0, 1.05 * drawn[["value", "high"]].max(axis=None))
    panels[-1].set_xlabel("HR or NDCG")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=4)
    caption(figure, f"seen movies excluded; ours: {lead}; {_sizes(ours)}")
    return figure, drawn


@study_style()
def draw_figure_5b(table: pd.DataFrame, *, names: Sequence[str], lead: str) -> tuple[Figure, pd.DataFrame]:
    """Figure 5(b): genre Jaccard of the first recommendation and the movie rated next.

    The paper's values (MovieLens 1M) are dashed lines. Only `next_item` is drawn: the paper compares
    with the next movie.

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
    figure = blank((9.0, 1.2 + 0.32 * len(names)))
    axes = figure.subplots()
    places = rows[SYSTEM].map(list(names).index).to_numpy(float)
    intervals(axes, rows, places, color=COLORS["blue"], marker="o")
    label_rows(axes, [systems.label(name) for name in names])
    axes.set_xlim(0, 0.72)
    axes.set_xlabel("genre Jaccard similarity of the first recommendation")
    # Two of the paper's values lie within a line's width: their names go to either side.
    sides = {"DUALRec – DS V3": "left", "DUALRec – Mistral 7B Finetuned": "right"}
    for name, value in paper.FIGURE_5B.items():
        side = sides.get(name, "right")
        axes.axvline(value, **PAPER_LINE)
        text = name.removeprefix(PAPER_VARIANT).removesuffix(" Finetuned")
        gap = 0.004 if side == "left" else -0.004
        axes.text(value + gap, -0.62, text, fontsize=8, ha=side, va="bottom", color=COLORS["black"])
    caption(
        figure, f"seen movies excluded; dashed: the paper's values (ml-1m); ours: {lead}; {_sizes(rows)}"
    )
    return figure, drawn

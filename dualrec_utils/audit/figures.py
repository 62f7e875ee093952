"""Figures of notebook 08: the ladder, the leak, the interface, equal times, and every step."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dualrec_utils.analysis import order
from dualrec_utils.audit.interface import BARE
from dualrec_utils.audit.steps import STEP_METRICS, STEPS
from dualrec_utils.core.config import PROTOCOL, SYSTEM
from dualrec_utils.core.domain import Domain
from dualrec_utils.models.systems import label
from dualrec_utils.show.charts import (
    COLORS,
    MARKERS,
    PALETTE,
    PAPER_LINE,
    SERIES,
    SHORT,
    blank,
    caption,
    intervals,
    label_rows,
    study_style,
)

_NOTE = "#555555"
# Their differences are so large that they have a figure, and a scale, of their own.
_PROTOCOL_STEPS = ("ground_truth", "candidates", "training_sessions")
_WHERE = {"next_item": "", "window_of_five": " (any of five)"}


def ladder(
    rungs: pd.DataFrame,
    *,
    paper: Mapping[str, Mapping[str, float]],
    domain: Domain,
    note: str,
) -> Figure:
    """Rungs from the paper's setting (top) downwards, one panel a metric, one line a system.

    Args:
        rungs: `rung`, `protocol`, `system`, `metric`, `value`, `low`, `high`, `n_users`, rungs in order.
            Points of fewer users than the others say how many.
        paper: what a value of the paper is -> metric -> that value, three of them at most, drawn as lines
            across the panels.
        domain: what items are called, here and below.
    """
    metrics = ("hit_rate@1", "hit_rate@5")
    names, drawn = list(dict.fromkeys(rungs["rung"])), list(dict.fromkeys(rungs[SYSTEM]))
    with study_style():
        figure = blank((9.0, 1.9 + 0.46 * len(names)))
        panels = figure.subplots(1, len(metrics), sharey=True, squeeze=False)
        for axes, metric in zip(panels[0], metrics, strict=True):
            for number, (system, look) in enumerate(zip(drawn, SERIES, strict=False)):
                rows = rungs[(rungs["metric"] == metric) & (rungs[SYSTEM] == system)]
                places = rows["rung"].map(names.index).to_numpy(float) + 0.2 * (
                    number - (len(drawn) - 1) / 2
                )
                reach = [rows["value"] - rows["low"], rows["high"] - rows["value"]]
                axes.errorbar(
                    rows["value"],
                    places,
                    xerr=reach,
                    label=label(system),
                    linewidth=1.2,
                    elinewidth=1,
                    **look,
                )
                _name_few(axes, rows.assign(place=places), n_users=rungs["n_users"].max())
            for number, (name, values) in enumerate(paper.items()):
                dashes = ("--", ":", "-.")[number]
                axes.axvline(values[metric], label=name, **PAPER_LINE | {"linestyle": dashes})
            axes.set(xlabel=SHORT[metric], xlim=(0, None))
            label_rows(axes, [f"{place}. {domain.spoken(name)}" for place, name in enumerate(names)])
        _name_protocols(panels[0], rungs.drop_duplicates("rung")[PROTOCOL].map(domain.spoken).tolist())
        handles, labels = panels[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper right", ncols=3)
        caption(figure, domain.spoken(note))
    return figure


def _name_few(axes: Axes, rows: pd.DataFrame, *, n_users: int) -> None:
    """Write how many users a point stands on where they are not all."""
    place = {"xytext": (0, 6), "textcoords": "offset points", "ha": "center", "fontsize": 7.5}
    # Lines pass behind the words.
    paper = {"facecolor": "white", "edgecolor": "none", "pad": 0.4}
    for row in rows[rows["n_users"] < n_users].itertuples():
        axes.annotate(f"n = {row.n_users}", (row.value, row.place), color=_NOTE, bbox=paper, **place)


def _name_protocols(panels: Sequence[Axes], protocols: Sequence[str]) -> None:
    """A line where the protocol changes from one rung to the next, and the name of each beside it."""
    margin = panels[0].get_yaxis_transform()
    for place, (above, below) in enumerate(itertools.pairwise(protocols)):
        if above == below:
            continue
        for axes in panels:
            axes.axhline(place + 0.5, color=COLORS["grey"], linestyle=":", linewidth=1)
        look = {"transform": margin, "ha": "right", "fontsize": 7.5, "color": _NOTE}
        panels[0].text(-0.02, place + 0.48, f"{above} ↑", va="bottom", **look)
        panels[0].text(-0.02, place + 0.52, f"{below} ↓", va="top", **look)


def leak(table: pd.DataFrame, *, domain: Domain, note: str) -> Figure:
    """HR@1 with and without the answers among the references: a panel a protocol, a line a system.

    Args:
        table: from :func:`audit.references.leak`.
    """
    looks = {
        "without": ("re-ranked without the answers", SERIES[0]),
        "with": ("re-ranked with the answers", SERIES[1]),
        "plain": ("not re-ranked", SERIES[2]),
        "plain, rated left out": ("not re-ranked, rated items left out", SERIES[2]),
    }
    names, protocols = list(dict.fromkeys(table[SYSTEM])), list(dict.fromkeys(table[PROTOCOL]))
    with study_style():
        figure = blank((9.0, 1.4 + 0.42 * len(names)))
        panels = figure.subplots(1, len(protocols), sharey=True, squeeze=False)[0]
        for axes, protocol in zip(panels, protocols, strict=True):
            for kind, (words, look) in looks.items():
                rows = table[(table["list"] == kind) & (table[PROTOCOL] == protocol)]
                shift = {"without": -0.14, "with": 0.14, "plain": -0.14}.get(kind, 0.14)
                fill = {"markerfacecolor": "white"} if kind.endswith("left out") else {}
                places = rows[SYSTEM].map(names.index).to_numpy(float) + shift
                intervals(axes, rows, places, label=domain.spoken(words), **look, **fill)
            sizes = table[table[PROTOCOL] == protocol]
            axes.set_title(f"{protocol}: {sizes['n_users'].max()} users, {sizes['n_cases'].max():,} cases")
            axes.set(xlabel="HR@1", xlim=(0, None))
            label_rows(axes, [label(name) for name in names])
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
        caption(figure, domain.spoken(note))
    return figure


def interface(table: pd.DataFrame, *, model: str, domain: Domain, note: str) -> Figure:
    """HR@5 of the model and of the LSTM on the same items, one line a way to ask.

    Args:
        table: from :func:`audit.interface.measure`.
        model: its name.
    """
    rows = table[table["metric"] == "hit_rate@5"]
    names, words = (list(dict.fromkeys(rows[column])) for column in ("row", "setting"))
    looks = {
        "model": (model, SERIES[0], -0.14),
        "lstm": ("LSTM that reads the same items", SERIES[1], 0.14),
    }
    with study_style():
        figure = blank((9.0, 1.5 + 0.42 * len(names)))
        axes = figure.subplots()
        for series, (name, look, shift) in looks.items():
            of_series = rows[rows["series"] == series]
            places = of_series["row"].map(names.index).to_numpy(float) + shift
            intervals(axes, of_series, places, label=name, **look)
        # The rows below change one thing of the best known way to ask, which stands above the line.
        axes.axhline(names.index(BARE) + 0.5, color=COLORS["grey"], linestyle=":", linewidth=1)
        axes.set(xlabel="HR@5", xlim=(0, None))
        label_rows(axes, [domain.spoken(way) for way in words])
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper right", ncols=2)
        caption(figure, domain.spoken(note))
    return figure


def all_steps(
    gains: pd.DataFrame, *, domain: Domain, note: str
) -> tuple[tuple[Figure, pd.DataFrame], tuple[Figure, pd.DataFrame]]:
    """:func:`steps` twice: the protocol (truth, candidates, training data), then the smaller steps.

    Args:
        gains: from :func:`audit.steps.differences`.
    """
    inside = [step for step in STEPS if step in _PROTOCOL_STEPS]
    return (
        steps(gains, names=inside, domain=domain, note=note),
        steps(gains, names=[step for step in STEPS if step not in inside], domain=domain, note=note),
    )


def steps(
    gains: pd.DataFrame, *, names: Sequence[str], domain: Domain, note: str
) -> tuple[Figure, pd.DataFrame]:
    """Comparisons of the audit: the other setting minus the study's, with its interval.

    Args:
        gains: from :func:`audit.steps.differences`.
        names: the steps drawn, in order; those without a row are left out.

    Returns:
        The figure and the rows it draws.
    """
    drawn = gains[gains["step"].isin(names) & (gains["metric"] == gains["step"].map(STEP_METRICS))]
    with study_style():
        figure = blank((9.0, 1.0 + 0.21 * (len(drawn) + 2 * drawn["step"].nunique())))
        axes = figure.subplots()
        rows_at, bold, at = {}, [], 0.0
        for step in names:
            rows = drawn[drawn["step"] == step]
            if len(rows):
                bold.append(len(rows_at))
                rows_at[at] = f"{domain.spoken(STEPS[step])} ({SHORT[STEP_METRICS[step]]})"
            for row in rows.itertuples():
                at += 1
                rows_at[at] = domain.spoken(_row_name(row))
                _mark(axes, row, at)
            at += 1.6 if len(rows) else 0
        axes.axvline(0, color=COLORS["black"], linewidth=0.8)
        axes.set_yticks(list(rows_at), list(rows_at.values()), fontsize=8)
        for place in bold:
            axes.get_yticklabels()[place].set_fontweight("bold")
        axes.set_ylim(at - 0.6, -0.9)
        axes.set_xlabel("the other setting minus the study's")
        axes.grid(axis="x", color="#EEEEEE", linewidth=0.8)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        caption(figure, domain.spoken(note))
    return figure, drawn


def _row_name(row) -> str:
    where = "" if row.step == "ground_truth" else _WHERE.get(row.protocol, f" ({row.protocol})")
    return f"{label(row.system)}{where}: {row.setting}"


def _mark(axes: Axes, row, place: float) -> None:
    """One difference with its interval; filled where the interval excludes zero."""
    sure = row.low > 0 or row.high < 0
    axes.errorbar(
        [row.difference],
        [place],
        xerr=[[row.difference - row.low], [row.high - row.difference]],
        marker="o",
        markersize=4,
        color=COLORS["blue"],
        markerfacecolor=COLORS["blue"] if sure else "white",
        elinewidth=1,
    )


@study_style()
def order_of_equal_times(levels: pd.DataFrame, *, lead: str) -> tuple[Figure, pd.DataFrame]:
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
    figure = blank((7.5, 1.2 + 0.5 * len(names)))
    axes = figure.subplots()
    for at, way in enumerate(shown):
        rows = drawn[drawn["asked"] == way].set_index("model").reindex(names).reset_index()
        places = rows.index.to_numpy(float) + 0.17 * (at - (len(shown) - 1) / 2)
        look = {"color": PALETTE[at], "marker": MARKERS[at]}
        intervals(axes, rows, places, label=order.WORDS[way], **look)
    axes.set_xlabel("NDCG@5")
    axes.set_xlim(left=0)
    label_rows(axes, [label(name) for name in names])
    figure.legend(loc="outside upper center", ncols=len(shown), handletextpad=0.3, columnspacing=1.0)
    draws = drawn["n_seeds"].max()
    caption(figure, f"{lead}; {drawn['n_users'].max()} test users, {draws} draws of order and training")
    return figure, drawn

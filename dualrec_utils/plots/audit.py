"""Figures of notebook 08: the ladder from the paper's setting to the strict one, and every step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dualrec_utils.config import SYSTEM
from dualrec_utils.plots.style import COLORS, PAPER_LINE, caption, study_style
from dualrec_utils.systems import label

_LOOKS = (
    {"marker": "o", "color": COLORS["blue"]},
    {"marker": "s", "color": COLORS["vermilion"]},
    {"marker": "D", "color": COLORS["green"]},
)
_SHORT = {"hit_rate@1": "HR@1", "hit_rate@5": "HR@5", "ndcg@5": "NDCG@5"}


def _guides(axes: Axes, names: Sequence[str]) -> None:
    """One line a name, first on top, faint guides."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(axis="y", color="#EEEEEE", linewidth=0.8)
    axes.tick_params(axis="y", length=0)
    axes.set_axisbelow(True)


def ladder(
    rungs: pd.DataFrame,
    *,
    paper: Mapping[str, float],
    note: str,
    metrics: Sequence[str] = ("hit_rate@1", "hit_rate@5"),
) -> Figure:
    """Rungs from the paper's setting (top) to the strict one, one panel a metric, one line a system.

    Args:
        rungs: `rung`, `system`, `metric`, `value`, `low`, `high`, rungs in order.
        paper: metric -> the paper's value, drawn dashed across its panel.
        note: caption.
    """
    names, drawn = list(dict.fromkeys(rungs["rung"])), list(dict.fromkeys(rungs[SYSTEM]))
    with study_style():
        figure, panels = plt.subplots(
            1, len(metrics), figsize=(9.0, 1.9 + 0.46 * len(names)), sharey=True, squeeze=False
        )
        for axes, metric in zip(panels[0], metrics, strict=True):
            for number, (system, look) in enumerate(zip(drawn, _LOOKS, strict=False)):
                own = rungs[(rungs["metric"] == metric) & (rungs[SYSTEM] == system)]
                places = own["rung"].map(names.index).to_numpy(float) + 0.2 * (number - 0.5)
                reach = [own["value"] - own["low"], own["high"] - own["value"]]
                axes.errorbar(
                    own["value"],
                    places,
                    xerr=reach,
                    label=label(system),
                    linewidth=1.2,
                    elinewidth=1,
                    **look,
                )
            axes.axvline(paper[metric], label="the paper's best (ml-1m)", **PAPER_LINE)
            axes.set(xlabel=_SHORT[metric], xlim=(0, None))
            _guides(axes, [f"{place}. {name}" for place, name in enumerate(names)])
        handles, labels = panels[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper right", ncols=3)
        caption(figure, note)
    # Shown where it is named, not once more at the end of a notebook's cell.
    plt.close(figure)
    return figure


def steps(
    gains: pd.DataFrame,
    *,
    words: Mapping[str, str],
    metrics: Mapping[str, str],
    columns: Sequence[Sequence[str]],
    note: str,
) -> tuple[Figure, pd.DataFrame]:
    """Every comparison of the audit: the other setting minus the study's, with its interval.

    Args:
        gains: from :func:`dualrec_utils.audit.differences`.
        words: step -> question.
        metrics: step -> the metric drawn.
        columns: the steps of each panel, in order; a panel has a scale of its own.
        note: caption.

    Returns:
        The figure and the rows it draws.
    """
    drawn = gains[gains["metric"] == gains["step"].map(metrics)]
    present = [[step for step in column if (drawn["step"] == step).any()] for column in columns]
    height = max(sum(1.5 + (drawn["step"] == step).sum() for step in column) for column in present)
    with study_style():
        figure, panels = plt.subplots(
            1, len(columns), figsize=(11.0, 0.9 + 0.2 * height), squeeze=False, sharey=False
        )
        for axes, column in zip(panels[0], present, strict=True):
            at, ticks, names = 0.0, [], []
            for step in column:
                question = f"{words[step]} ({_SHORT[metrics[step]]})"
                axes.annotate(
                    question, (0, at), xycoords=("axes fraction", "data"), xytext=(-150, 0),
                    textcoords="offset points", fontsize=8.5, weight="bold", va="center",
                    annotation_clip=False,
                )  # fmt: skip
                for row in drawn[drawn["step"] == step].itertuples():
                    at += 1
                    ticks.append(at)
                    names.append(_row_name(row))
                    _mark(axes, row, at)
                at += 1.5
            axes.axvline(0, color=COLORS["black"], linewidth=0.8)
            axes.set_yticks(ticks, names, fontsize=7.5)
            axes.set_ylim(height - 0.2, -0.9)
            axes.set_xlabel("the other setting minus the study's")
            axes.tick_params(axis="y", length=0)
            axes.locator_params(axis="x", nbins=5)
            axes.spines["left"].set_visible(False)
        caption(figure, note)
    plt.close(figure)
    return figure, drawn


def _row_name(row) -> str:
    five = " (any of five)" if row.protocol == "window_of_five" and row.step != "ground_truth" else ""
    return f"{label(row.system)}{five}: {row.setting}"


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

"""Figures of notebook 09: settings of the LSTM, re-ranking, replaced suggestions, sizes of a model."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from dualrec_utils.core.config import SYSTEM
from dualrec_utils.models.systems import label
from dualrec_utils.show.charts import (
    COLORS,
    PAPER_LINE,
    SERIES,
    SHORT,
    blank,
    caption,
    intervals,
    label_rows,
    study_style,
)

_NAMES = {**SHORT, "genre_jaccard": "genre Jaccard"}
# Differences up to here are drawn to a linear scale.
_LINEAR = 0.05


def _shifted(count: int, number: int, n_series: int) -> np.ndarray:
    """Places of one of several series on each row."""
    return np.arange(count) + 0.24 * (number - (n_series - 1) / 2)


def settings(table: pd.DataFrame, names: Mapping[str, str], *, note: str) -> Figure:
    """Settings of the LSTM, one row each: loss on windows, and HR@5 with its interval.

    Args:
        table: from :func:`studies.questions.tables.lstm_table`, the default first.
        names: setting -> words.
        note: caption.
    """
    with study_style():
        figure = blank((9.0, 1.3 + 0.34 * len(table)))
        left, right = figure.subplots(1, 2, sharey=True)
        places, usual = np.arange(len(table)), table.iloc[0]
        left.plot(table["loss"], places, linestyle="none", **SERIES[0])
        left.set(title="loss on windows of validation users", xlabel="nats an item (lower is better)")
        rows = table.rename(columns={"hit_rate@5_low": "low", "hit_rate@5_high": "high"})
        intervals(right, rows, places, value="hit_rate@5", **SERIES[0])
        right.set(title="HR@5, next_item, validation users", xlabel="HR@5")
        for axes, value in ((left, usual["loss"]), (right, usual["hit_rate@5"])):
            axes.axvline(value, **PAPER_LINE)
        label_rows(left, [names[setting] for setting in table["setting"]])
        caption(figure, note)
    return figure


def reranking(rows: pd.DataFrame, names: Mapping[str, str], *, note: str) -> Figure:
    """What re-ranking changes for each kind of suggestion: a panel a (system, metric).

    Args:
        rows: differences from :func:`studies.questions.rerank.by_group`, with `system`, `metric`.
        names: group -> words, in order.
        note: caption.
    """
    metrics, drawn = rows["metric"].unique(), rows[SYSTEM].unique()
    with study_style():
        figure = blank((9.6, 1.0 + 2.2 * len(metrics)))
        grid = figure.subplots(len(metrics), len(drawn), sharex="row", sharey=True, squeeze=False)
        for (metric, system), axes in zip(itertools.product(metrics, drawn), grid.flat, strict=True):
            chosen = rows[(rows["metric"] == metric) & (rows[SYSTEM] == system)]
            for number, (what, part) in enumerate(chosen.groupby("what", sort=False)):
                part = part.set_index("group").loc[list(names)].reset_index()
                places = _shifted(len(part), number, chosen["what"].nunique())
                intervals(axes, part, places, label=what.replace(" - ", " − "), **SERIES[number])
            axes.axvline(0, color=COLORS["black"], linewidth=0.8)
            # Where the suggestion is right, differences are ten times as large.
            axes.set_xscale("symlog", linthresh=_LINEAR)
            axes.set_xticks(
                [-_LINEAR, 0, _LINEAR, 10 * _LINEAR], [f"−{_LINEAR}", "0", _LINEAR, 10 * _LINEAR]
            )
            axes.minorticks_off()
            axes.set(title=label(system), xlabel=f"difference in {_NAMES[metric]}")
            label_rows(axes, list(names.values()))
        figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside upper right", ncols=2)
        caption(figure, f"{note}; beyond ±{_LINEAR} the scale is logarithmic")
    return figure


def suggestions(rows: pd.DataFrame, names: Mapping[str, str], *, note: str) -> Figure:
    """Replaced suggestions: how often they are copied, how near the titles come, and what it costs.

    Args:
        rows: from :func:`studies.questions.answers.summarise`, with `system`.
        names: kind -> words, in order.
        note: caption.
    """
    panels = (
        ("copied", "value", "named in the answer"),
        ("near", "difference", "drawn towards its genres"),
        ("hit_rate@5", "difference", "HR@5, minus as is"),
    )
    with study_style():
        figure = blank((9.6, 1.5 + 0.42 * len(names)))
        for axes, (metric, column, title) in zip(figure.subplots(1, 3, sharey=True), panels, strict=True):
            drawn = rows[rows["metric"] == metric]
            for number, (system, of_system) in enumerate(drawn.groupby(SYSTEM, sort=False)):
                of_system = of_system.set_index("kind").loc[list(names)].reset_index()
                ends = ("low", "high") if column == "value" else ("difference_low", "difference_high")
                part = pd.DataFrame(
                    {"value": of_system[column], "low": of_system[ends[0]], "high": of_system[ends[1]]}
                )
                places = _shifted(len(part), number, drawn[SYSTEM].nunique())
                intervals(axes, part, places, label=label(system), **SERIES[number])
            if column == "difference":
                axes.axvline(0, color=COLORS["black"], linewidth=0.8)
                axes.xaxis.set_major_locator(MaxNLocator(4))
            else:
                axes.xaxis.set_major_formatter(PercentFormatter(1))
            axes.set_title(title)
            label_rows(axes, list(names.values()))
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper right", ncols=2)
        caption(figure, note)
    return figure


def sizes(table: pd.DataFrame, *, note: str) -> Figure:
    """Loss and hit rates over the number of weights.

    Args:
        table: from :func:`studies.questions.tables.sizes_table`.
        note: caption.
    """
    lines = {
        "history_hit_rate@5": "history only, ten real items",
        "zero_shot_hit_rate@5": "paper's prompt, three titles",
    }
    with study_style():
        figure = blank((9.0, 4.0))
        left, right = figure.subplots(1, 2)
        thousands = table["n_parameters"] / 1_000
        left.plot(thousands, table["loss_per_title"], linestyle="-", **SERIES[0])
        left.set(title="loss on validation users", ylabel="nats a title (lower is better)")
        for number, (column, name) in enumerate(lines.items()):
            values = table[column]
            reach = [values - table[f"{column}_low"], table[f"{column}_high"] - values]
            right.errorbar(thousands, values, yerr=reach, label=name, capsize=3, **SERIES[number])
        right.set(title="HR@5, next_item, test users", ylabel="HR@5", ylim=(0, None))
        figure.legend(*right.get_legend_handles_labels(), loc="outside upper right", ncols=2)
        # Two sizes lie close together: every other label stands lower.
        lower = itertools.cycle(("", "\n\n"))
        names = [
            f"{gap}{value:.0f}\n({size})"
            for gap, value, size in zip(lower, thousands, table["size"], strict=False)
        ]
        for axes in (left, right):
            axes.set(xscale="log", xlabel="thousand weights")
            axes.set_xticks(thousands, names)
            axes.minorticks_off()
        caption(figure, note)
    return figure

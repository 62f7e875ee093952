"""Figures of notebook 13: claims by data set, and curves along the interactions of the next item."""

from __future__ import annotations

import textwrap

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from dualrec_utils.analysis import claims
from dualrec_utils.core.config import SYSTEM
from dualrec_utils.models import systems
from dualrec_utils.show import charts
from dualrec_utils.studies.domains import curves
from dualrec_utils.studies.domains.settings import name_of
from dualrec_utils.studies.domains.tables import DATASET

# An answer -> how its interval is drawn.
_LOOKS = {
    claims.YES: {"marker": "o", "color": charts.COLORS["blue"]},
    claims.NO: {"marker": "s", "color": charts.COLORS["vermilion"]},
    claims.UNCLEAR: {"marker": "D", "color": charts.COLORS["grey"], "markerfacecolor": "white"},
}
_SHOWN = ("most_popular", "ease", "lstm")


@charts.study_style()
def by_domain(rows: pd.DataFrame, *, note: str) -> Figure:
    """A panel a claim, a row a data set: the difference with its interval, and the answer.

    Args:
        rows: from :func:`domains.tables.all_claims`; without a difference: not run yet.
        note: caption.
    """
    names, numbers = list(dict.fromkeys(rows[DATASET])), list(dict.fromkeys(rows["claim"]))
    ends = ["difference", "low", "high"]
    rows = rows.assign(**{end: 100 * rows[end] for end in ends})
    figure = charts.blank((9.0, 2 * (1.1 + 0.26 * len(names))))
    panels = figure.subplots(2, -(-len(numbers) // 2), sharey=True, squeeze=False).ravel()
    drawn = {}
    for axes, number in zip(panels, numbers, strict=False):
        part = rows[rows["claim"] == number]
        axes.axvline(0, color=charts.COLORS["black"], linewidth=0.8)
        for answer, look in _LOOKS.items():
            those = part[(part["answer"] == answer) & part["difference"].notna()]
            places = those[DATASET].map(names.index).to_numpy(float)
            charts.intervals(axes, those, places, value="difference", label=answer, **look)
        for dataset in part.loc[part["difference"].isna(), DATASET]:
            axes.annotate("not run yet", (0, names.index(dataset)), fontsize=7.5, va="center")
        question, metric = part["question"].iloc[0].replace("movies", "items"), part["metric"].iloc[0]
        axes.set_title("\n".join(textwrap.wrap(f"{number}. {question}", 34)), fontsize=8)
        axes.set_xlabel(f"difference of {charts.SHORT.get(metric, metric)} in points", fontsize=8)
        axes.locator_params(axis="x", nbins=4)
        charts.label_rows(axes, [name_of(name) for name in names])
        drawn |= dict(zip(*axes.get_legend_handles_labels()[::-1], strict=True))
    for axes in panels[len(numbers) :]:
        axes.set_axis_off()
    figure.legend(drawn.values(), drawn.keys(), loc="outside upper right", ncols=len(drawn))
    charts.caption(figure, note)
    return figure


@charts.study_style()
def by_interactions(rows: pd.DataFrame, *, note: str) -> Figure:
    """A panel a data set: HR@10 of some systems by how often training users took the next item.

    Args:
        rows: from :func:`domains.tables.all_curves`.
        note: caption.
    """
    names = list(dict.fromkeys(rows[DATASET]))
    # Without an interval there are too few users to show a value.
    some = rows[(rows["group"] != curves.ALL) & rows["low"].notna()]
    some = some[~some[SYSTEM].str.endswith(curves.MINUS_LSTM)]
    some = some[some[SYSTEM].isin(_SHOWN) | some[SYSTEM].str.endswith("_constrained")]
    shown = systems.in_order(some[SYSTEM])
    figure = charts.blank((9.0, 0.8 + 2.5 * -(-len(names) // 2)))
    panels = figure.subplots(-(-len(names) // 2), 2, sharex=True, squeeze=False).ravel()
    for axes, dataset in zip(panels, names, strict=False):
        for number, system in enumerate(shown):
            part = some[(some[DATASET] == dataset) & (some[SYSTEM] == system)]
            at = part["group"].map(curves.names().index) + 0.08 * (number - (len(shown) - 1) / 2)
            errors = np.abs(part[["value"]].to_numpy() - part[["low", "high"]].to_numpy()).T
            look = {
                "color": charts.PALETTE[number % len(charts.PALETTE)],
                "markersize": 4,
                "elinewidth": 0.9,
            }
            look["marker"] = charts.MARKERS[number % len(charts.MARKERS)]
            axes.errorbar(at, part["value"], yerr=errors, label=systems.label(system), **look)
        axes.set_xticks(range(len(curves.names())), curves.names(), fontsize=7.5, rotation=30)
        axes.set(title=name_of(dataset), ylabel="HR@10")
        axes.set_ylim(bottom=0)
    for axes in panels[len(names) :]:
        axes.set_axis_off()
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    charts.caption(figure, note)
    return figure

"""Figures of hits by popularity, history length and genre, and of coverage and novelty."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from dualrec_utils.analysis import breakdowns
from dualrec_utils.core.config import SYSTEM, USER
from dualrec_utils.core.domain import Domain
from dualrec_utils.models import systems
from dualrec_utils.show import charts

DOT = {"color": charts.COLORS["blue"], "marker": "o"}
# Room left of zero, as a share of the axis: a marker at zero is seen whole.
EDGE = -0.04


@charts.study_style()
def draw_by_group(
    table: pd.DataFrame, *, by: str, names: Sequence[str], note: str, lead: str
) -> tuple[Figure, pd.DataFrame]:
    """A metric of every system, one panel a group.

    Args:
        table: from `breakdowns.by_group`.
        by: which grouping, each case in one group.
        names: systems, top to bottom.
        note: end of the caption: how the groups were made.
        lead: begin of the caption: data set and interval.

    Returns:
        The figure and the rows it draws.
    """
    drawn = table[(table["by"] == by) & table[SYSTEM].isin(names)]
    groups = list(dict.fromkeys(drawn["group"]))
    figure = charts.blank((9.0, 1.1 + 0.26 * len(names)))
    panels = figure.subplots(1, len(groups), sharex=True, sharey=True, squeeze=False)[0]
    for axes, group in zip(panels, groups, strict=True):
        rows = drawn[drawn["group"] == group]
        charts.intervals(axes, rows, rows[SYSTEM].map(list(names).index).to_numpy(float), **DOT)
        axes.set_title(f"{group}\n{rows['n_cases'].max():,} cases, {rows['n_users'].max()} users")
        axes.set_xlabel(charts.SHORT[rows["metric"].iloc[0]])
        charts.label_rows(axes, [systems.label(name) for name in names])
    axes.set_xlim(left=EDGE * axes.get_xlim()[1])
    n_cases = drawn.groupby("group")["n_cases"].max().sum()
    charts.caption(
        figure, f"{lead}; {breakdowns.PROTOCOL_USED}, {n_cases:,} cases, seen items excluded; {note}"
    )
    return figure, drawn


@charts.study_style()
def draw_gains(
    table: pd.DataFrame, *, names: Sequence[str], domain: Domain, lead: str
) -> tuple[Figure, pd.DataFrame]:
    """How far systems are ahead of another, one row a group, each case in one group of each grouping.

    Args:
        table: from `breakdowns.gains_by_group`.
        names: systems, at most three, the first on top.
        domain: what items are called.
        lead: begin of the caption: data set and interval.

    Returns:
        The figure and the rows it draws.
    """
    drawn = table[table["by"].isin(breakdowns.WHOM) & table[SYSTEM].isin(names)]
    groups = drawn.drop_duplicates(["by", "group"])
    place = {key: at for at, key in enumerate(zip(groups["by"], groups["group"], strict=True))}
    figure = charts.blank((9.0, 1.4 + 0.16 * len(place) * (1 + len(names))))
    axes = figure.subplots()
    axes.axvline(0, color=charts.COLORS["grey"], linewidth=1)
    for at, (name, look) in enumerate(zip(names, charts.SERIES, strict=False)):
        rows = drawn[drawn[SYSTEM] == name]
        rows = rows.assign(**{part: 100 * rows[part] for part in ("value", "low", "high")})
        middle = np.array([place[key] for key in zip(rows["by"], rows["group"], strict=True)])
        offset = 0.22 * (at - (len(names) - 1) / 2)
        charts.intervals(axes, rows, middle + offset, label=systems.label(name), **look)
    over, metric = drawn["over"].iloc[0], charts.SHORT[drawn["metric"].iloc[0]]
    axes.set_xlabel(f"{metric} minus {systems.label(over)}, points")
    sizes = [f"({row.n_cases:,} cases, {row.n_users} users)" for row in groups.itertuples()]
    charts.label_rows(
        axes, [f"{by}, {group} {size}" for (by, group), size in zip(place, sizes, strict=True)]
    )
    figure.legend(loc="outside upper center", ncols=len(names))
    note = f"seen {domain.items} excluded, paired, not corrected for the number of groups"
    charts.caption(figure, f"{lead}; {breakdowns.PROTOCOL_USED}, {note}")
    return figure, drawn


@charts.study_style()
def draw_by_genre(
    table: pd.DataFrame, scored: Mapping[str, pd.DataFrame], *, names: Sequence[str], lead: str
) -> tuple[Figure, pd.DataFrame]:
    """A metric by the target's genre, one panel a system; dashed: the system's value over all cases.

    Args:
        table: from `breakdowns.by_group`; genres of too few users are not drawn.
        scored: system -> per-case frame, which `table` was made from: the dashed lines are of all of it.
        names: systems, left to right.
        lead: begin of the caption: data set and interval.

    Returns:
        The figure and the rows it draws.
    """
    rows = table[(table["by"] == breakdowns.GENRE) & table[SYSTEM].isin(names)]
    drawn = rows.dropna(subset=["low"])
    genres = list(dict.fromkeys(drawn["group"]))
    sizes = drawn.groupby("group")["n_cases"].first()
    metric = drawn["metric"].iloc[0]
    whole = {name: scored[name].groupby(USER)[metric].mean().mean() for name in names}
    figure = charts.blank((9.0, 1.1 + 0.26 * len(genres)))
    panels = figure.subplots(1, len(names), sharex=True, sharey=True, squeeze=False)[0]
    for axes, name in zip(panels, names, strict=True):
        points = drawn[drawn[SYSTEM] == name]
        axes.axvline(whole[name], **charts.PAPER_LINE)
        charts.intervals(axes, points, points["group"].map(genres.index).to_numpy(float), **DOT)
        axes.set_title(textwrap.fill(systems.label(name), 16), fontsize=9)
        axes.set_xlabel(charts.SHORT[metric])
        charts.label_rows(axes, [f"{genre} ({sizes[genre]})" for genre in genres])
    axes.set_xlim(left=EDGE * axes.get_xlim()[1])
    few = breakdowns.FEWEST_USERS
    n_cases = len(scored[names[0]])
    note = f"{n_cases:,} cases, each under every genre of its target (cases in brackets)"
    charts.caption(
        figure,
        f"{lead}; {breakdowns.PROTOCOL_USED}, seen items excluded, {note};\n"
        f"genres of at least {few} users; dashed: all cases",
    )
    return figure, drawn


@charts.study_style()
def draw_catalog(
    table: pd.DataFrame, *, targets: float, domain: Domain, lead: str
) -> tuple[Figure, pd.DataFrame]:
    """Catalog coverage and novelty of the first five, one row a system.

    Args:
        table: from `breakdowns.coverage_and_novelty`.
        targets: novelty of the items rated next, drawn as a dashed line.
        domain: what items are called.
        lead: begin of the caption: data set and interval.

    Returns:
        The figure and the rows it draws.
    """
    figure = charts.blank((9.0, 1.1 + 0.26 * len(table)))
    coverage, novelty = figure.subplots(1, 2, sharey=True)
    places = np.arange(len(table), dtype=float)
    coverage.plot(table["coverage"], places, linestyle="none", markersize=5, **DOT)
    coverage.set(title="coverage@5", xlabel="share of the catalog in any first five", xlim=(0, 1.02))
    novelty.axvline(targets, **charts.PAPER_LINE)
    charts.intervals(novelty, table, places, value="novelty", **DOT)
    novelty.set(title="novelty@5", xlabel="mean self-information of the first five, bits")
    novelty.set_xlim(left=0)
    for axes in (coverage, novelty):
        charts.label_rows(axes, [systems.label(name) for name in table[SYSTEM]])
    n_cases, n_users = table["n_cases"].max(), table["n_users"].max()
    charts.caption(
        figure,
        f"{lead}; {breakdowns.PROTOCOL_USED}, {n_users} users, {n_cases:,} cases, seen items excluded;"
        f" dashed: the {domain.items} {domain.verb} next",
    )
    return figure, table

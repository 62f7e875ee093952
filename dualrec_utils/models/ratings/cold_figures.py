"""Figures of notebook 12."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from dualrec_utils.core.config import SYSTEM
from dualrec_utils.models.ratings.cold_start import ALL, N_KNOWN
from dualrec_utils.show.charts import COLORS, MARKERS, PALETTE, blank, caption, study_style

# Width between two numbers that the marks of one number share.
_SPREAD = 0.7


def label(system: str) -> str:
    """A system in words."""
    return system.replace("_", " ")


def in_order(numbers: Iterable[str]) -> list[str]:
    """Numbers of known ratings as tables and axes write them, ascending, each once, all of them last.

    >>> in_order(["all", "10", "3", "10"])
    ['3', '10', 'all']
    """
    return sorted(set(numbers), key=lambda number: np.inf if number == ALL else int(number))


@study_style()
def by_number(
    panels: Mapping[str, pd.DataFrame], *, systems: Sequence[str], ylabel: str, xlabel: str, note: str
) -> Figure:
    """Values with their intervals by number of known ratings, a mark and a colour a system.

    Args:
        panels: title -> `system`, `n_known`, `value`, `low`, `high`: side by side, with one vertical axis.
        systems: all that any panel shows: a system looks alike in all of them.
        ylabel, xlabel: of the axes.
        note: caption: protocol, n, interval.
    """
    looks = {
        name: {"color": color, "marker": marker}
        for name, color, marker in zip(systems, [*PALETTE, COLORS["grey"]], MARKERS, strict=False)
    }
    figure = blank((9.0, 4.4))
    axes_of = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    handles = {}
    for axes, (title, rows) in zip(axes_of, panels.items(), strict=True):
        numbers = in_order(rows[N_KNOWN])
        shown = [name for name in systems if name in set(rows[SYSTEM])]
        for place, name in enumerate(shown):
            some = rows[rows[SYSTEM] == name].set_index(N_KNOWN)
            some = some.loc[[number for number in numbers if number in some.index]]
            shift = _SPREAD * ((place + 0.5) / len(shown) - 0.5)
            x = np.array([numbers.index(number) for number in some.index]) + shift
            reach = np.abs(some[["low", "high"]].to_numpy() - some[["value"]].to_numpy()).T
            handles[name] = axes.errorbar(
                x, some["value"], yerr=reach, markersize=4.5, linewidth=0.8, elinewidth=1, **looks[name]
            )
        axes.set_xticks(range(len(numbers)), numbers)
        for number in range(1, len(numbers)):
            axes.axvline(number - 0.5, color="#EEEEEE", linewidth=0.8, zorder=0)
        axes.set(title=title, xlabel=xlabel, xlim=(-0.5, len(numbers) - 0.5))
    axes_of[0].set_ylabel(ylabel)
    ordered = [name for name in systems if name in handles]
    figure.legend(
        [handles[name] for name in ordered],
        [label(name) for name in ordered],
        loc="outside upper center",
        ncols=4,
    )
    caption(figure, note)
    return figure

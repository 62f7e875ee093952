"""One look for every figure: style, colours, rows with intervals, and the one way to save a figure."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dualrec_utils.core import config, files
from dualrec_utils.core.config import PROTOCOL, SYSTEM

# No matplotlibrc reaches a figure, neither while it is drawn nor when it is shown or saved later. A kernel
# names its backend in the environment.
if "MPLBACKEND" not in os.environ:
    mpl.use("agg")
mpl.rcParams.update(
    {key: value for key, value in mpl.rcParamsDefault.items() if key not in ("backend", "interactive")}
)

# Okabe and Ito's colours, told apart by colour-blind readers and in grey print; each plot also uses
# markers, dashes or labels, so that no meaning depends on colour alone.
COLORS = {
    "blue": "#0072B2",
    "orange": "#E69F00",
    "green": "#009E73",
    "vermilion": "#D55E00",
    "purple": "#CC79A7",
    "sky": "#56B4E9",
    "black": "#222222",
    "grey": "#8A8A8A",
}
PALETTE = [COLORS[name] for name in ("blue", "orange", "green", "vermilion", "purple", "sky", "black")]
PAPER_LINE = {"color": COLORS["black"], "linestyle": (0, (4, 3)), "linewidth": 1.2}
# Inches: one column of text, and the full width of the report.
NARROW, WIDE = (5.2, 3.4), (9.0, 3.6)
SHORT = {"hit_rate@1": "HR@1", "hit_rate@5": "HR@5", "ndcg@1": "NDCG@1", "ndcg@5": "NDCG@5"}
# Series side by side, in order.
SERIES = (
    {"marker": "o", "color": COLORS["blue"]},
    {"marker": "s", "color": COLORS["vermilion"]},
    {"marker": "D", "color": COLORS["green"]},
)
# A protocol looks alike in every figure that tells the two apart.
PROTOCOLS = {"next_item": SERIES[0], "window_of_five": SERIES[1]}
# Markers of more series, each with a colour of the palette.
MARKERS = "osD^vPX*"


@contextmanager
def study_style() -> Iterator[None]:
    """Draw inside this block to get the study's fonts, grid and colours; nothing global is changed."""
    settings = {
        "figure.dpi": 110,
        "savefig.dpi": 150,
        "font.size": 9.5,
        "axes.titlesize": 10.5,
        "axes.titlelocation": "left",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "legend.frameon": False,
        "figure.constrained_layout.use": True,
        # A dollar in a title or a name is a dollar.
        "text.parse_math": False,
    }
    # A notebook's backend makes figures show themselves by a setting that it changes on first use; inside
    # the block below that change would be undone, and only a notebook's first figure would be seen.
    plt.switch_backend(mpl.get_backend())
    with sns.axes_style("ticks"), sns.color_palette(PALETTE), plt.rc_context(settings):
        yield


def caption(figure: Figure, text: str) -> None:
    """Write n, protocol and interval below a figure, in small grey type."""
    figure.supxlabel(text, fontsize=8, color="#555555", x=0.01, ha="left")


def save_figure(figure: Figure, data: pd.DataFrame | None, name: str, *, stage: str) -> Path:
    """Save `reports/figures/<stage>/<name>.png` and `.csv`, the data drawn.

    Args:
        figure: the finished figure.
        data: every number it shows; None where the stage's table of this name has them.
        name: file name without ending.
        stage: DVC stage that owns the folder.

    Returns:
        Path of the picture.
    """
    folder = config.figures_dir(stage)
    if data is not None:
        files.write_csv(data, folder / f"{name}.csv")
    return save_picture(figure, folder / f"{name}.png")


def save_picture(figure: Figure, path: Path) -> Path:
    """Save a figure whose data stand in a table: the picture alone, the same bytes for the same figure."""
    with files.replacing(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})
    return path


def blank(size: tuple[float, float]) -> Figure:
    """An empty figure that a notebook shows where it is named, not once more at the end of the cell."""
    figure = plt.figure(figsize=size)
    plt.close(figure)
    return figure


def label_rows(axes: Axes, names: Sequence[str]) -> None:
    """Label one row a name, first on top, with faint lines to guide the eye."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(axis="y", color="#EEEEEE", linewidth=0.8)
    axes.tick_params(axis="y", length=0)
    axes.set_axisbelow(True)


def intervals(axes: Axes, rows: pd.DataFrame, places: np.ndarray, *, value: str = "value", **look) -> None:
    """Points with horizontal intervals.

    Args:
        rows: `value` (or the column named), `low`, `high`.
        places: shape (n_rows,), where each stands on the vertical axis.
        look: as of `Axes.errorbar`.
    """
    errors = np.abs(rows[[value]].to_numpy() - rows[["low", "high"]].to_numpy()).T
    axes.errorbar(rows[value], places, xerr=errors, linestyle="none", markersize=5, elinewidth=1.1, **look)


@study_style()
def forest(pairs: pd.DataFrame, *, note: str, label: Callable[[str], str] = str) -> Figure:
    """Paired differences with their intervals: a panel a metric, a line a comparison, a mark a protocol.

    A filled mark's interval excludes zero.

    Args:
        pairs: `system`, `other`, `protocol`, `metric`, `difference` (system minus other), `low`, `high`;
            where there is a `question` to each pair, it stands above the pair's names.
        note: begin of the caption.
        label: a system in words.
    """
    # Names of both systems on one line would leave the intervals less than half the width.
    one, other = (pairs[column].map(label) for column in (SYSTEM, "other"))
    lines = pairs["question"] + "\n" + one + " − " + other if "question" in pairs else one + "\n− " + other
    names, metrics = list(dict.fromkeys(lines)), list(dict.fromkeys(pairs["metric"]))
    protocols = [protocol for protocol in PROTOCOLS if protocol in set(pairs[PROTOCOL])]
    figure = blank((9.0, 0.9 + 0.48 * len(names)))
    panels = figure.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
    for axes, metric in zip(panels, metrics, strict=True):
        axes.axvline(0, color=COLORS["black"], linewidth=0.8)
        for number, protocol in enumerate(protocols):
            rows = pairs[(pairs["metric"] == metric) & (pairs[PROTOCOL] == protocol)]
            places = lines[rows.index].map(names.index) + 0.3 * (number - (len(protocols) - 1) / 2)
            sure = (rows["low"] > 0) | (rows["high"] < 0)
            for chosen, more in ((sure, {"label": protocol}), (~sure, {"markerfacecolor": "white"})):
                look = PROTOCOLS[protocol] | more
                intervals(axes, rows[chosen], places[chosen].to_numpy(), value="difference", **look)
        axes.set_title(f"difference of {SHORT.get(metric, metric)}")
        label_rows(axes, names)
        axes.locator_params(axis="x", nbins=5)
        axes.tick_params(axis="y", labelsize=8)
    figure.legend(*panels[-1].get_legend_handles_labels(), loc="outside upper right", ncols=2)
    caption(figure, f"{note}; filled: the interval excludes zero")
    return figure

"""One look for every figure, and the one way to save it: the picture beside the data it draws."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from dualrec_utils import config, files

# Okabe and Ito's colours, told apart by colour-blind readers and in grey print; each plot also uses
# markers, dashes or labels, so that no meaning hangs on colour alone.
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
    }
    # A notebook's backend makes figures show themselves by a setting that it changes on first use; inside
    # the block below that change would be undone, and only a notebook's first figure would be seen.
    plt.switch_backend(mpl.get_backend())
    with sns.axes_style("ticks"), sns.color_palette(PALETTE), plt.rc_context(settings):
        yield


def caption(figure: Figure, text: str) -> None:
    """Write n, protocol and interval below a figure, in small grey type."""
    figure.supxlabel(text, fontsize=8, color="#555555", x=0.01, ha="left")


def save_figure(figure: Figure, data: pd.DataFrame, name: str, *, stage: str) -> Path:
    """Save `reports/figures/<stage>/<name>.png` and `.csv`, the data drawn.

    Args:
        figure: the finished figure.
        data: every number it shows.
        name: file name without ending.
        stage: DVC stage that owns the folder.

    Returns:
        Path of the picture.
    """
    folder = config.FIGURES / stage
    with files.replacing(folder / f"{name}.csv") as temporary:
        data.to_csv(temporary, index=False, lineterminator="\n")
    path = folder / f"{name}.png"
    with files.replacing(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})
    return path

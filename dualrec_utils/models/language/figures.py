"""Figures of the small language model and of what its answers hold."""

from __future__ import annotations

import math

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from dualrec_utils.core.domain import Domain
from dualrec_utils.models import systems
from dualrec_utils.show.charts import COLORS, NARROW, PALETTE, WIDE, caption, study_style


def title_loss(curve: pd.DataFrame, *, n_items: int, note: str) -> Figure:
    """Validation loss per title over epochs, beside a uniform guess among the catalog.

    Args:
        curve: `epoch`, `loss_per_title`, `loss_per_title_genres` (nats).
        n_items: items of the catalog.
        note: caption.
    """
    with study_style():
        figure, axes = plt.subplots(figsize=NARROW)
        look = {"color": COLORS["blue"], "marker": "o", "label": "title and year"}
        axes.plot(curve["epoch"], curve["loss_per_title"], **look)
        look = {"color": COLORS["vermilion"], "marker": "s", "linestyle": "--", "label": "with genres"}
        axes.plot(curve["epoch"], curve["loss_per_title_genres"], **look)
        axes.axhline(math.log(n_items), color=COLORS["grey"], linestyle=":")
        place = {"xytext": (0, 3), "textcoords": "offset points", "ha": "right", "fontsize": 8}
        axes.annotate("uniform guess", (curve["epoch"].max(), math.log(n_items)), **place)
        axes.set(title="Loss per item, validation users", xlabel="epoch", ylabel="nats")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend()
        caption(figure, note)
    return figure


def answer_shares(shares: pd.DataFrame, *, domain: Domain, note: str) -> Figure:
    """What answers hold, as shares, one colour a system.

    Args:
        shares: indexed by system, one column a share in [0, 1].
        domain: what items are called.
        note: caption.
    """
    width, tall = WIDE
    with study_style():
        # Inside the axes, the legend would cover the values of long bars at the bottom.
        figure, axes = plt.subplots(figsize=(width, tall + 0.25 * math.ceil(len(shares) / 2)))
        height = 0.8 / len(shares)
        for row, (system, values) in enumerate(shares.iterrows()):
            at = [place + row * height for place in range(len(values))]
            # A profile may have more systems than there are colours: the next round is hatched.
            round_, color = divmod(row, len(PALETTE))
            look = {"color": PALETTE[color], "hatch": "/" * 3 * round_, "edgecolor": "white"}
            bars = axes.barh(at, values, height=height * 0.9, label=systems.label(system), **look)
            axes.bar_label(bars, [f"{value:.1%}" for value in values], fontsize=8, padding=2)
        middles = [place + 0.4 - height / 2 for place in range(shares.shape[1])]
        axes.set_yticks(middles, [domain.spoken(name) for name in shares.columns])
        axes.invert_yaxis()
        axes.xaxis.set_major_formatter(PercentFormatter(1))
        axes.margins(x=0.1)
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2)
        caption(figure, note)
    return figure

"""Figures of notebooks 05 and 06: adapters in training, paired differences, likeness of titles."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from dualrec_utils import systems
from dualrec_utils.config import SYSTEM
from dualrec_utils.plots.rows import MARKERS, PROTOCOLS, SERIES
from dualrec_utils.plots.style import COLORS, PALETTE, WIDE, caption, study_style

_DASHES = ("-", "--", "-.", ":")


def adapter_losses(curves: pd.DataFrame, *, note: str) -> Figure:
    """Training and validation loss over epochs, one line an adapter.

    Args:
        curves: `adapter` and the columns of :func:`dualrec_utils.lora_training.train`. A training loss is
            the mean over an epoch and is drawn at its middle.
        note: caption.
    """
    panels = (
        ("training, own answers of each", "train_loss", 0.5),
        ("validation users", "validation_loss", 0),
    )
    with study_style():
        figure, both = plt.subplots(1, 2, figsize=WIDE, sharey=True)
        for axes, (title, column, shift) in zip(both, panels, strict=True):
            for row, (name, own) in enumerate(curves.groupby("adapter", sort=False)):
                # Of unlike length, so that colour and marker together tell more lines apart than either.
                look = {"color": PALETTE[row % len(PALETTE)], "marker": MARKERS[row % len(MARKERS)]}
                dashes = _DASHES[row % len(_DASHES)]
                axes.plot(
                    own["epoch"] - shift, own[column], label=systems.label(name), linestyle=dashes, **look
                )
            axes.set(title=title, xlabel="epoch", xlim=(-0.1, curves["epoch"].max() + 0.1))
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        both[0].set_ylabel("nats a token of the answer")
        both[1].legend()
        caption(figure, note)
    return figure


def differences(pairs: pd.DataFrame, *, group: str, metric: str, note: str) -> Figure:
    """Paired differences with their intervals, one line a comparison, one mark a group on it.

    Args:
        pairs: `system`, `other`, the column `group`, `difference` (system minus other), `low`, `high`.
        group: column that tells the marks of a line apart.
        metric: what differs.
        note: caption.
    """
    # Names of both systems on one line would leave the intervals less than half the width.
    one, other = (pairs[column].map(systems.label) for column in (SYSTEM, "other"))
    pairs = pairs.assign(comparison=one + "\n− " + other)
    comparisons, groups = list(dict.fromkeys(pairs["comparison"])), list(dict.fromkeys(pairs[group]))
    with study_style():
        figure, axes = plt.subplots(figsize=(8.2, 1.3 + 0.5 * len(comparisons)))
        for number, name in enumerate(groups):
            own = pairs[pairs[group] == name]
            height = [
                comparisons.index(c) + 0.22 * (number - (len(groups) - 1) / 2) for c in own["comparison"]
            ]
            reach = [own["difference"] - own["low"], own["high"] - own["difference"]]
            look = PROTOCOLS.get(name, SERIES[number])
            axes.errorbar(
                own["difference"], height, xerr=reach, label=name, capsize=3, linestyle="none", **look
            )
        axes.axvline(0, color=COLORS["grey"], linewidth=1)
        axes.set_yticks(range(len(comparisons)), comparisons)
        axes.set(xlabel=f"difference in {metric}", ylim=(len(comparisons) - 0.5, -0.5))
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=len(groups))
        caption(figure, note)
    return figure


def hits_by_similarity(shares: pd.DataFrame, *, note: str) -> Figure:
    """Share of titles that are right over their likeness to the LSTM's title.

    Args:
        shares: `bin` (text, in order), `n`, `share`, `low`, `high`; a share is missing where n is 0.
        note: caption.
    """
    with study_style():
        figure, axes = plt.subplots(figsize=(7.2, 3.4))
        places = range(len(shares))
        reach = [shares["share"] - shares["low"], shares["high"] - shares["share"]]
        axes.errorbar(
            places,
            shares["share"],
            yerr=reach,
            color=COLORS["blue"],
            marker="o",
            linestyle="none",
            capsize=3,
        )
        labels = [f"{name}\nn = {n:,}" for name, n in zip(shares["bin"], shares["n"], strict=True)]
        axes.set_xticks(places, labels)
        axes.set(xlabel="cosine to the LSTM's title", ylabel="share of titles that are right")
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        caption(figure, note)
    return figure

"""Curves of a training run: loss and accuracies over epochs or steps."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dualrec_utils.plots.style import COLORS, PAPER_LINE, caption, study_style

_LOOKS = {
    "train": {"color": COLORS["blue"], "marker": "o", "label": "training"},
    "validation": {"color": COLORS["vermilion"], "marker": "s", "label": "validation"},
}
_NAMES = {
    "loss": "cross-entropy (nats)",
    "accuracy": "accuracy",
    "top5_accuracy": "top-5 accuracy",
}


def epoch_curves(
    curves: pd.DataFrame,
    *,
    note: str,
    paper: Mapping[str, Mapping[str, float]] | None = None,
    marks: Mapping[str, float] | None = None,
    marks_label: str = "",
) -> Figure:
    """One panel a metric, one line a part, over epochs.

    Args:
        curves: `epoch` (from 1), `part` (`train`, `validation`), `metric`, `value`.
        note: caption: data set, users, what the values are means over.
        paper: metric -> part -> the paper's value at the end, drawn as a labelled dashed line.
        marks: metric -> a value of the finished model, drawn as a star at the last epoch.
        marks_label: what the stars are.

    Returns:
        The figure.
    """
    metrics = list(dict.fromkeys(curves["metric"]))
    with study_style():
        figure, panels = plt.subplots(
            1, len(metrics), figsize=(0.6 + 2.95 * len(metrics), 3.5), squeeze=False
        )
        for axes, metric in zip(panels[0], metrics, strict=True):
            for part, own in curves[curves["metric"] == metric].groupby("part", sort=False):
                axes.plot(own["epoch"], own["value"], markersize=4, **_LOOKS[part])
            for part, value in (paper or {}).get(metric, {}).items():
                axes.axhline(value, **{**PAPER_LINE, "color": _LOOKS[part]["color"]})
                text = f"paper, {_LOOKS[part]['label']}"
                place = {"xytext": (-2, 2), "textcoords": "offset points", "ha": "right", "fontsize": 7.5}
                axes.annotate(text, (curves["epoch"].max(), value), color=_LOOKS[part]["color"], **place)
            if metric in (marks or {}):
                star = {"marker": "*", "markersize": 12, "linestyle": "none", "color": COLORS["black"]}
                axes.plot(curves["epoch"].max(), marks[metric], label=marks_label, clip_on=False, **star)
            axes.set(title=_NAMES.get(metric, metric), xlabel="epoch")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.margins(y=0.12)
        panels[0][0].legend(loc="best")
        caption(figure, note)
    return figure


def step_losses(losses: pd.DataFrame, *, group: str, ylabel: str, note: str, smooth: int = 1) -> Figure:
    """Training loss over steps, one line a group.

    Args:
        losses: `step` (from 1), `loss` and the column `group`.
        group: column that tells runs apart, e.g. which adapter.
        ylabel: what the loss is a mean over, with its unit.
        note: caption.
        smooth: each point drawn is the mean of so many steps before it.

    Returns:
        The figure.
    """
    with study_style():
        figure, axes = plt.subplots(figsize=(6.4, 3.5))
        dashes = ["-", "--", "-.", ":"]
        for number, (name, own) in enumerate(losses.groupby(group, sort=False)):
            values = own["loss"].rolling(smooth, min_periods=1).mean()
            axes.plot(own["step"], values, linestyle=dashes[number % len(dashes)], label=str(name))
        axes.set(xlabel="step", ylabel=ylabel)
        axes.legend()
        caption(figure, note)
    return figure

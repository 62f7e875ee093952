"""Curves of a training run: loss and accuracies over epochs or steps."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dualrec_utils.show.charts import COLORS, PAPER_LINE, caption, study_style

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
    """
    metrics = list(dict.fromkeys(curves["metric"]))
    with study_style():
        figure, panels = plt.subplots(
            1, len(metrics), figsize=(0.6 + 2.95 * len(metrics), 3.5), squeeze=False
        )
        for axes, metric in zip(panels[0], metrics, strict=True):
            for part, rows in curves[curves["metric"] == metric].groupby("part", sort=False):
                axes.plot(rows["epoch"], rows["value"], markersize=4, **_LOOKS[part])
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

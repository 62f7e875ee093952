"""Figures of the fusion's weight and of what diversity costs."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from dualrec_utils.show.charts import COLORS, SHORT, WIDE, caption, study_style

# Method -> color, line, mark, name.
_METHODS = {
    "log_linear": ("vermilion", "--", "s", "weighted log-probability"),
    "mixture": ("blue", "-", "o", "mixture of probabilities"),
    "reciprocal_rank": ("green", ":", "^", "reciprocal rank"),
}
# Re-ranker -> the measure it is chosen by, title and axis of its panel.
_PANELS = {
    "mmr": ("sbert_similarity@5", "Maximal marginal relevance", "intra-list similarity@5 (← more diverse)"),
    "genres": ("genre_coverage@5", "Genre coverage", "genre coverage@5 (more diverse →)"),
}


def weight_curve(curve: pd.DataFrame, *, metric: str, chosen: Mapping, language: str, note: str) -> Figure:
    """A metric over the language model's weight, one line a method, the chosen setting marked.

    Args:
        curve: from :func:`models.hybrids.weights.weight_curve`; the band of the chosen method is
            its interval over users.
        chosen: `method`, `weight`.
    """
    rows = curve[curve["metric"] == metric]
    with study_style():
        figure, axes = plt.subplots(figsize=WIDE)
        for method, part in rows.groupby("method", sort=False):
            part = part.sort_values("weight")
            color, dashes, mark, name = _METHODS[method]
            look = {
                "color": COLORS[color],
                "linestyle": dashes,
                "marker": mark,
                "markersize": 4,
                "label": name,
            }
            axes.plot(part["weight"], part["value"], **look)
            if method == chosen["method"]:
                band = {"color": look["color"], "alpha": 0.12, "linewidth": 0}
                axes.fill_between(part["weight"], part["low"], part["high"], **band)
                values = part.set_index("weight")["value"]
        ends = ((0.0, "LSTM alone", 6, "left"), (1.0, f"{language} alone", -6, "right"))
        for weight, name, shift, side in ends:
            if weight in values.index:
                place = {"xytext": (shift, -16), "textcoords": "offset points", "ha": side}
                axes.annotate(f"{name}: {values[weight]:.3f}", (weight, values[weight]), **place)
        at, height = chosen["weight"], values[chosen["weight"]]
        axes.plot(at, height, marker="o", markersize=11, fillstyle="none", color=COLORS["black"])
        place = {"xytext": (0, 12), "textcoords": "offset points", "ha": "center"}
        axes.annotate(f"chosen: weight {at:g}, {height:.3f}", (at, height), **place)
        axes.set(xlabel=f"weight of {language}", ylabel=SHORT.get(metric, metric))
        axes.set_title(f"LSTM and {language} together, validation users")
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
        caption(figure, note)
    plt.close(figure)
    return figure


def trade_off(curve: pd.DataFrame, *, chosen: Mapping[str, float], tolerance: float, note: str) -> Figure:
    """HR@5 against diversity, one panel a re-ranker, one point a trade-off, labelled with it.

    Args:
        curve: from :func:`models.hybrids.diversity.trade_off_curve`.
        chosen: re-ranker -> its chosen trade-off, circled.
        tolerance: of HR@5, drawn as the lowest height that a choice may have.
    """
    with study_style():
        figure, panels = plt.subplots(1, len(_PANELS), figsize=WIDE, sharey=True)
        for axes, (reranker, (measure, title, xlabel)) in zip(panels, _PANELS.items(), strict=True):
            points = curve[curve["reranker"] == reranker].set_index("trade_off").sort_index()
            across = points.loc[points["metric"] == measure, "value"]
            up = points.loc[points["metric"] == "hit_rate@5", ["value", "low", "high"]]
            errors = abs(up[["low", "high"]].sub(up["value"], axis=0)).T.to_numpy()
            look = {"color": COLORS["sky"], "linestyle": "none", "elinewidth": 1}
            axes.errorbar(across, up["value"], yerr=errors, **look)
            axes.plot(across, up["value"], color=COLORS["blue"], marker="o", markersize=4)
            ring = {"marker": "o", "markersize": 11, "fillstyle": "none", "color": COLORS["black"]}
            axes.plot(across[chosen[reranker]], up["value"][chosen[reranker]], **ring)
            for place, label in enumerate(across.index):
                # Beyond the ring where there is one.
                right = 8 if label == chosen[reranker] else 4
                look = {"xytext": (right, 5 if place % 2 else -12), "textcoords": "offset points"}
                axes.annotate(f"{label:g}", (across[label], up["value"][label]), fontsize=8, **look)
            lowest = up["value"][0.0] - tolerance
            axes.axhline(lowest, color=COLORS["grey"], linestyle=":")
            axes.set(title=title, xlabel=xlabel)
            axes.xaxis.set_major_locator(MaxNLocator(5))
        panels[0].set_ylabel("HR@5")
        panels[0].yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        place = {"xytext": (4, 0), "textcoords": "offset points", "va": "center", "fontsize": 8}
        right = panels[-1].get_yaxis_transform()
        panels[-1].annotate("lowest\naccepted", (1, lowest), xycoords=right, **place)
        caption(figure, note)
    plt.close(figure)
    return figure


def hits_by_similarity(shares: pd.DataFrame, *, note: str) -> Figure:
    """Share of titles that are right over their likeness to the LSTM's title.

    Args:
        shares: `bin` (text, in order), `n`, `share`, `low`, `high`; a share is missing where n is 0.
    """
    with study_style():
        figure, axes = plt.subplots(figsize=(7.2, 3.4))
        places = range(len(shares))
        reach = [shares["share"] - shares["low"], shares["high"] - shares["share"]]
        look = {"color": COLORS["blue"], "marker": "o", "linestyle": "none", "capsize": 3}
        axes.errorbar(places, shares["share"], yerr=reach, **look)
        labels = [f"{name}\nn = {n:,}" for name, n in zip(shares["bin"], shares["n"], strict=True)]
        axes.set_xticks(places, labels)
        axes.set(xlabel="cosine to the LSTM's title", ylabel="share of titles that are right")
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        caption(figure, note)
    return figure

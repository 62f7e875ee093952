"""Figures of notebook 01, each from one frame of :mod:`datasets.eda`."""

from __future__ import annotations

import matplotlib.dates as mdates
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from dualrec_utils.core.config import RATING, SPLIT, SPLITS
from dualrec_utils.core.domain import Domain
from dualrec_utils.show.charts import COLORS, NARROW, PAPER_LINE, WIDE, caption, study_style

_DASHES = {"train": "-", "validation": (0, (1, 1)), "test": (0, (5, 2))}
_SPLIT_COLORS = dict(zip(SPLITS, (COLORS["blue"], COLORS["green"], COLORS["vermilion"]), strict=True))
_THOUSANDS = FuncFormatter(lambda value, _: f"{value:,.0f}")
# Ticks that a person reads, on a logarithmic axis of seconds.
_TIMES = {
    1: "≤ 1 s",
    10: "10 s",
    60: "1 min",
    600: "10 min",
    3_600: "1 h",
    86_400: "1 day",
    2_592_000: "30 days",
}


def popularity_curve(popularity: pd.DataFrame, *, domain: Domain, note: str) -> Figure:
    """Ratings by popularity rank, and the share of all ratings that the first items hold.

    Args:
        popularity: from :func:`datasets.eda.popularity`.
        domain: what items are called.
        note: caption.
    """
    edge = int(popularity.loc[popularity["kept"], "rank"].max())
    share = popularity.loc[popularity["rank"] == edge, "cumulative_share"].item()
    with study_style():
        figure, (left, right) = plt.subplots(1, 2, figsize=WIDE)
        left.plot(popularity["rank"], popularity["n"], color=COLORS["blue"])
        left.set(
            yscale="log",
            xlabel=f"popularity rank of the {domain.item}",
            ylabel="ratings",
            title=f"Ratings a {domain.item}",
        )
        left.yaxis.set_major_formatter(_THOUSANDS)
        right.plot(popularity["rank"], popularity["cumulative_share"], color=COLORS["blue"])
        right.plot([edge], [share], marker="o", color=COLORS["vermilion"])
        right.annotate(f"{share:.1%} of ratings", (edge, share), (7, -7), textcoords="offset points",
                       va="top", color=COLORS["vermilion"])  # fmt: skip
        right.set(
            xlabel=f"{domain.items} kept, most {domain.verb} first",
            title="Share of all ratings",
            ylim=(0, 1.03),
        )
        right.yaxis.set_major_formatter(PercentFormatter(1))
        for axes in (left, right):
            axes.axvline(edge, **PAPER_LINE)
            axes.xaxis.set_major_formatter(_THOUSANDS)
            axes.xaxis.set_major_locator(MaxNLocator(5))
            axes.set_xlim(left=0)
        left.annotate(
            f"kept: {edge:,}", (edge, left.get_ylim()[1]), (4, -4), textcoords="offset points", va="top"
        )
        caption(figure, note)
    return figure


def history_lengths(profiles: pd.DataFrame, *, window: int, domain: Domain, note: str) -> Figure:
    """Items a user has rated, on a logarithmic axis, with the line a training window needs.

    Args:
        profiles: from :func:`datasets.eda.user_profiles`.
        window: items in a window.
        domain: what items are called.
        note: caption.
    """
    lengths = profiles["length"]
    bins = np.geomspace(lengths.min(), lengths.max() + 1, 31)
    with study_style():
        figure, axes = plt.subplots(figsize=(6.6, 3.4))
        axes.hist(lengths, bins=bins, color=COLORS["sky"], edgecolor="white", linewidth=0.6)
        axes.axvline(window + 1, **PAPER_LINE)
        axes.axvline(lengths.median(), color=COLORS["vermilion"], linewidth=1.4)
        top = axes.get_ylim()[1] * 1.2
        axes.set(xscale="log", xlabel=f"{domain.items} in the history", ylabel="users", ylim=(0, top))
        axes.annotate(f"window of {window}\n+ its target", (window + 1, top), (-4, -3),
                      textcoords="offset points", va="top", ha="right")  # fmt: skip
        axes.annotate(f"median {lengths.median():.0f}", (lengths.median(), top), (4, -3),
                      textcoords="offset points", va="top", color=COLORS["vermilion"])  # fmt: skip
        _plain_ticks(axes, (10, 20, 50, 100, 200, 500, 1_000, 2_000), lengths.min(), lengths.max())
        caption(figure, note)
    return figure


def genres(shares: pd.DataFrame, *, domain: Domain, note: str) -> Figure:
    """Each genre's share of the catalog beside its share of what training and test users rate.

    Args:
        shares: from :func:`datasets.eda.genre_shares`.
        domain: what items are called.
        note: caption.
    """
    marks = {
        "catalog": (f"catalog {domain.items}", "D", COLORS["grey"]),
        "train": (f"{domain.verb} by training users", "o", _SPLIT_COLORS["train"]),
        "test": (f"{domain.verb} by test users", "x", _SPLIT_COLORS["test"]),
    }
    height = np.arange(len(shares))
    with study_style():
        figure, axes = plt.subplots(figsize=(6.8, 4.8))
        axes.hlines(height, shares["catalog"], shares["train"], color="#CFCFCF", linewidth=2, zorder=1)
        for column, (label, marker, color) in marks.items():
            axes.plot(shares[column], height, marker, color=color, label=label, markersize=5.5)
        axes.set_yticks(height, shares["genre"])
        axes.set(xlabel=f"share of {domain.items}, share of interactions", xlim=(0, None))
        axes.invert_yaxis()
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.grid(axis="x", color="#EEEEEE")
        axes.legend(loc="lower right")
        caption(figure, note)
    return figure


def rating_values(counts: pd.DataFrame, *, note: str) -> Figure:
    """How often each rating value is given. `counts` from :func:`datasets.eda.rating_counts`."""
    with study_style():
        figure, axes = plt.subplots(figsize=NARROW)
        bars = axes.bar(counts[RATING].map("{:g}".format), counts["share"], color=COLORS["sky"], width=0.7)
        axes.bar_label(bars, [f"{share:.0%}" for share in counts["share"]], padding=2)
        axes.set(xlabel="rating", ylabel="share of interactions", ylim=(0, counts["share"].max() * 1.12))
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        caption(figure, note)
    return figure


def weeks(counts: pd.DataFrame, *, note: str) -> Figure:
    """Ratings and active users a week. `counts` from :func:`datasets.eda.weekly_counts`."""
    with study_style():
        figure, (left, right) = plt.subplots(1, 2, figsize=WIDE, sharex=True)
        for axes, column, color in ((left, "n", COLORS["blue"]), (right, "users", COLORS["green"])):
            axes.fill_between(counts["week"], counts[column], color=color, alpha=0.2, linewidth=0)
            axes.plot(counts["week"], counts[column], color=color)
            axes.set_ylim(bottom=0)
            axes.yaxis.set_major_formatter(_THOUSANDS)
            locator = mdates.AutoDateLocator(minticks=3, maxticks=7)
            axes.xaxis.set_major_locator(locator)
            axes.xaxis.set_major_formatter(mdates.ConciseDateFormatter(locator))
        left.set(title="Ratings a week", ylabel="ratings")
        right.set(title="Users rating in the week", ylabel="users")
        caption(figure, note)
    return figure


def order(classes: pd.DataFrame, spans: pd.DataFrame, *, last: int, note: str) -> Figure:
    """Time between consecutive ratings, and the time that each user's last ratings span.

    Args:
        classes: from :func:`datasets.eda.gap_classes`.
        spans: from :func:`datasets.eda.last_spans`.
        last: ratings in a span.
        note: caption.
    """
    seconds = spans["seconds"].clip(lower=1)
    with study_style():
        figure, (left, right) = plt.subplots(1, 2, figsize=(9.6, 3.8))
        colors = [COLORS["vermilion"], *[COLORS["sky"]] * (len(classes) - 1)]
        bars = left.barh(classes["gap"], classes["share"], color=colors, height=0.72)
        left.bar_label(bars, [f"{share:.1%}" for share in classes["share"]], padding=3)
        left.invert_yaxis()
        left.set(title="Since the user's previous rating", xlabel="share of ratings",
                 xlim=(0, classes["share"].max() * 1.18))  # fmt: skip
        left.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        right.hist(seconds, bins=np.geomspace(1, seconds.max() * 1.01, 32), color=COLORS["sky"],
                   edgecolor="white", linewidth=0.6)  # fmt: skip
        median = spans["seconds"].median()
        top = right.get_ylim()[1] * 1.12
        right.axvline(median, color=COLORS["vermilion"], linewidth=1.4)
        right.annotate(f"median {median:.0f} s", (median, top), (4, -3), textcoords="offset points",
                       va="top", color=COLORS["vermilion"])  # fmt: skip
        right.set(
            xscale="log", ylabel="users", title=f"Span of a user's last {last} ratings", ylim=(0, top)
        )
        shown = {value: text for value, text in _TIMES.items() if value <= seconds.max()}
        right.set_xticks(list(shown), list(shown.values()), rotation=30, ha="right")
        right.minorticks_off()
        caption(figure, note)
    return figure


def parts(profiles: pd.DataFrame, labels: dict[str, str], *, note: str) -> Figure:
    """Cumulative distribution of each measure for training, validation and test users.

    Args:
        profiles: from :func:`datasets.eda.user_profiles`.
        labels: column -> axis label, one panel each; `length` gets a logarithmic axis.
        note: caption.
    """
    with study_style():
        figure, panels = plt.subplots(1, len(labels), figsize=WIDE, sharey=True)
        for axes, (column, label) in zip(panels, labels.items(), strict=True):
            for part in SPLITS:
                values = profiles.loc[profiles[SPLIT] == part, column].astype(float)
                look = {"color": _SPLIT_COLORS[part], "linestyle": _DASHES[part], "linewidth": 1.6}
                sns.ecdfplot(x=values, ax=axes, label=f"{part} ({len(values):,})", **look)
            axes.set(xlabel=label, ylabel="share of users")
            if column == "length":
                axes.set_xscale("log")
                _plain_ticks(
                    axes, (10, 30, 100, 300, 1_000), profiles[column].min(), profiles[column].max()
                )
        panels[0].yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        panels[-1].legend(loc="upper left", title="users")
        caption(figure, note)
    return figure


def _plain_ticks(axes: Axes, ticks: tuple[int, ...], low: float, high: float) -> None:
    """Whole numbers on a logarithmic axis instead of powers of ten."""
    axes.set_xticks([tick for tick in ticks if low <= tick <= high])
    axes.xaxis.set_major_formatter(_THOUSANDS)
    axes.minorticks_off()

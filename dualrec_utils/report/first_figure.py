"""The first figure of README and page: how often each system names the next item, from simple to whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from dualrec_utils.analysis import verdict
from dualrec_utils.core.config import SYSTEM
from dualrec_utils.models import systems
from dualrec_utils.show.charts import COLORS, blank, caption, intervals, label_rows, study_style

METRICS = {"hit_rate@1": "HR@1: first in the list", "hit_rate@5": "HR@5: among the first five"}
KIND = "kind"
_LOOKS = {
    "no language model": {"color": COLORS["blue"], "marker": "o"},
    "the paper's method": {"color": COLORS["vermilion"], "marker": "s"},
    "other ways to ask": {"color": COLORS["green"], "marker": "D"},
}


def rows_of(flat: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """The systems of the figure: name -> (label, kind), from top to bottom.

    Args:
        flat: metrics of notebook 07.
    """
    model = verdict.model_of(flat)
    order_aware = str(flat.get("claims/1/system", "gru4rec"))
    plain, paper, ways = _LOOKS
    return {
        "most_popular": ("Most popular", plain),
        "ease": ("EASE-R, no order", plain),
        order_aware: (f"{systems.label(order_aware)}, reads the order", plain),
        "lstm": ("LSTM alone (Stage 1)", plain),
        f"{model}_zero_shot": (f"{model}, the paper's prompt (Stage 2)", paper),
        f"{model}_lora": ("… and fine-tuned", paper),
        f"{model}_lora_reranked": ("… and re-ranked (Stage 3)", paper),
        f"{model}_lora_lstm_first": ("… after the LSTM's title", ways),
        f"{model}_history_constrained": (f"{model}, history only, catalog only", ways),
        "dualrec_fusion": (f"LSTM and {model} fused", ways),
    }


@study_style()
def draw(flat: Mapping[str, Any]) -> tuple[Figure, pd.DataFrame]:
    """Hit rates with intervals, a row a system.

    Args:
        flat: metrics of notebook 07.

    Returns:
        The figure and the rows it draws.
    """
    rows = rows_of(flat)
    drawn = pd.DataFrame(
        [
            {SYSTEM: name, KIND: kind, "metric": metric}
            | {part: flat.get(f"next_item/{name}/{metric}{end}", np.nan)
               for part, end in (("value", ""), ("low", "/low"), ("high", "/high"))}
            for metric in METRICS
            for name, (_, kind) in rows.items()
        ]
    )  # fmt: skip
    figure = blank((8.4, 0.9 + 0.3 * len(rows)))
    panels = figure.subplots(1, len(METRICS), sharey=True)
    place = {name: at for at, name in enumerate(rows)}
    for axes, (metric, title) in zip(panels, METRICS.items(), strict=True):
        for kind, look in _LOOKS.items():
            part = drawn[(drawn["metric"] == metric) & (drawn[KIND] == kind)].dropna()
            intervals(axes, part, part[SYSTEM].map(place).to_numpy(), label=kind, **look)
        axes.set_xlim(left=0)
        axes.set_xlabel(title)
    label_rows(panels[0], [label for label, _ in rows.values()])
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=len(_LOOKS))
    seeds = max((int(flat.get(f"next_item/{name}/n_seeds", 1)) for name in rows), default=1)
    caption(
        figure,
        f"{flat['dataset']}, next_item: {flat['next_item/lstm/n_cases']:,} cases of"
        f" {flat['next_item/lstm/n_users']} test users; {flat['confidence']:.0%} intervals over users"
        + (f" and {seeds} seeds" if seeds > 1 else "; one seed"),
    )
    return figure, drawn

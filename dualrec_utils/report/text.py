"""The results as tables of text, for README, page and terminal.

`python -m dualrec_utils.report.text` prints them and says where the page lies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from dualrec_utils.analysis import plan, verdict
from dualrec_utils.core import config, files
from dualrec_utils.models import systems
from dualrec_utils.show import tables

NOT_RUN = "not run"
COLUMNS = (
    ("next_item", "hit_rate@1", "HR@1"),
    ("next_item", "hit_rate@5", "HR@5"),
    ("next_item", "ndcg@5", "NDCG@5"),
    ("window_of_five", "hit_rate@1", "HR@1"),
    ("window_of_five", "hit_rate@5", "HR@5"),
)


def read_metrics() -> dict[str, Any]:
    """Flat metrics of notebook 07; empty where it has not run."""
    path = config.METRICS / "results.json"
    return files.read_json(path, missing={})


def cell(flat: Mapping[str, Any], key: str) -> str:
    """A metric as `value [low, high]`, or `not run`."""
    if key not in flat:
        return NOT_RUN
    return tables.with_interval(flat[key], flat[f"{key}/low"], flat[f"{key}/high"])


def headline_systems(flat: Mapping[str, Any]) -> list[str]:
    """The systems a reader meets first, the order-aware model that the first claim is about among them.

    Args:
        flat: metrics of notebook 07.
    """
    names, order_aware = list(plan.headline(verdict.model_of(flat))), flat.get("claims/1/system", "")
    if order_aware and order_aware not in names:
        names.insert(names.index("lstm"), order_aware)
    return names


def results_table(flat: Mapping[str, Any], *, names: Sequence[str] | None = None) -> pd.DataFrame:
    """One row a system, one column a (protocol, metric) of :data:`COLUMNS`, then `seeds`; cells are text.

    Values under `next_item` are means over that many seeds; `window_of_five` is of the run's own.

    Args:
        flat: metrics of notebook 07.
        names: the systems; None takes :func:`headline_systems`.
    """
    rows = []
    for name in headline_systems(flat) if names is None else names:
        cells = {f"{protocol} {short}": cell(flat, f"{protocol}/{name}/{metric}")
                 for protocol, metric, short in COLUMNS}  # fmt: skip
        ran = f"next_item/{name}/n_cases" in flat
        cells["seeds"] = str(flat.get(f"next_item/{name}/n_seeds", 1)) if ran else NOT_RUN
        rows.append({"system": systems.label(name)} | cells)
    return pd.DataFrame(rows)


def all_systems(flat: Mapping[str, Any]) -> tuple[str, ...]:
    """Every system with a headline value, and those a reader expects, in the study's order."""
    systems_there = {
        key.split("/")[1] for key in flat if key.startswith("next_item/") and key.endswith("/n_cases")
    }
    expected = systems.expected(verdict.model_of(flat))
    return tuple(
        systems.in_order({n for n in systems_there if not n.endswith("_seen_kept")} | set(expected))
    )


def basis(flat: Mapping[str, Any]) -> str:
    """What the numbers stand on: dataset, users, cases, interval."""
    users, cases = flat.get("next_item/lstm/n_users"), flat.get("next_item/lstm/n_cases")
    windows = flat.get("window_of_five/lstm/n_cases")
    if None in (users, cases, windows):
        return "The results are not there yet: run `make repro`."
    return (
        f"{flat['dataset']}, {users} test users, {cases:,} cases (next_item) and {windows}"
        f" (window_of_five), without seen movies, {flat['confidence']:.0%} intervals over users and, where"
        " several were run, over seeds."
    )


def full_table(flat: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows of the sortable table: `name`, `cells` (text), `keys` (sorted by these; empty when not run)."""
    names = all_systems(flat)
    frame = results_table(flat, names=names)
    rows = []
    for at, name in enumerate(names):
        keys = [f"{protocol}/{name}/{metric}" for protocol, metric, _ in COLUMNS]
        keys += [f"next_item/{name}/{ending}" for ending in ("n_seeds", "genre_jaccard", "list_length_max")]
        rows.append(
            {
                "name": systems.label(name),
                "cells": [*frame.iloc[at, 1:], cell(flat, keys[-2]), str(flat.get(keys[-1], ""))],
                "keys": [flat.get(key, "") for key in keys],
            }
        )
    return rows


def as_text(flat: Mapping[str, Any]) -> str:
    """The results table for a terminal."""
    table = results_table(flat, names=all_systems(flat)).set_index("system")
    blocks = []
    for protocol in config.PROTOCOLS:
        columns = table[[column for column in table if column.startswith(f"{protocol} ")]]
        if protocol == "next_item":
            columns = columns.join(table["seeds"])
        short = columns.set_axis([column.split()[-1] for column in columns], axis=1).rename_axis(None)
        blocks.append(f"{protocol}\n{short.to_string()}")
    return "\n\n".join([*blocks, basis(flat), *verdict.headline(flat)])


def print_results() -> None:
    """Print the results and where the page lies."""
    page = config.REPORTS / "index.html"
    place = page if page.is_file() else f"not built yet ({page}): run `make repro`"
    print(f"{as_text(read_metrics())}\n\nReport: {place}")

"""`reports/results.json`: the results for machines, in the form of `reports/results.schema.json`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from dualrec_utils.analysis import claims, verdict
from dualrec_utils.core import config
from dualrec_utils.models import systems
from dualrec_utils.report import parts as page_parts
from dualrec_utils.report.text import COLUMNS, headline_systems

NAME = "results.json"
# Goes up with every change that a reader of the file has to know of.
VERSION = 2
# Of a claim, as the schema names them.
_CLAIM = (
    "claim", "question", "answer", "system", "other", "metric", "difference", "low", "high", "n_users",
    "n_seeds", "p", "p_holm", "users_needed",
)  # fmt: skip


def results(flat: Mapping[str, Any]) -> dict[str, Any]:
    """All that the file holds.

    Args:
        flat: metrics of notebook 07, those of a finished run.

    Returns:
        What JSON takes.
    """
    return {
        "version": VERSION,
        "profile": "default" if config.ROOT == config.PACKAGE_ROOT else config.ROOT.name,
        "dataset": flat["dataset"],
        "source": flat["source"],
        "order_sha256": flat["order_sha256"],
        "language_model": verdict.model_of(flat),
        "confidence": flat["confidence"],
        "systems": [_system(flat, name) for name in headline_systems(flat)],
        "claims": [_claim(row) for row in claims.of_metrics(flat)],
        "rating_systems": _rating_systems(),
        "rating_claims": [
            _claim(row) for row in page_parts.rating_claims_table(flat["dataset"]).to_dict("records")
        ],
    }


def _system(flat: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A system with its values under each protocol, null where it was not run."""
    row: dict[str, Any] = {"system": name, "label": systems.label(name)}
    for protocol in config.PROTOCOLS:
        key = f"{protocol}/{name}"
        if f"{key}/n_cases" not in flat:
            row[protocol] = None
            continue
        row[protocol] = {
            "n_users": flat[f"{key}/n_users"],
            "n_cases": flat[f"{key}/n_cases"],
            "n_seeds": flat.get(f"{key}/n_seeds", 1),
            "values": {
                metric: {
                    "value": flat[f"{key}/{metric}"],
                    "low": flat[f"{key}/{metric}/low"],
                    "high": flat[f"{key}/{metric}/high"],
                }
                for of, metric, _ in COLUMNS
                if of == protocol
            },
        }
    return row


def _claim(row: Mapping[Any, Any]) -> dict[str, Any]:
    """A claim with all of its keys; null is what it has no value of, an endless number of users too."""
    values = {name: _plain(row.get(name)) for name in _CLAIM}
    return values | {"claim": str(row["claim"])}


def _rating_systems() -> list[dict[str, Any]]:
    """Root mean squared errors of notebook 11, in stars; none where it has not run."""
    path = config.TABLES / "rating_hybrids" / "errors.csv"
    if not path.is_file():
        return []
    return [
        {
            "system": row["system"],
            "folds": row["folds"],
            "n_users": row["n_users"],
            "rmse": {"value": row["rmse"], "low": row["rmse_low"], "high": row["rmse_high"]},
        }
        for row in pd.read_csv(path).to_dict("records")
    ]


def _plain(value: Any) -> Any:
    """None for what JSON lacks: missing, infinite."""
    if value is None or value is pd.NA or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return value

"""What the re-ranker compares titles with: the LSTM's title, or the answers as well: the leak."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from dualrec_utils.audit import rules, steps
from dualrec_utils.audit.material import Material
from dualrec_utils.audit.steps import Key, Measured
from dualrec_utils.core import config, evaluation, predictions
from dualrec_utils.core.config import PROTOCOL, SYSTEM
from dualrec_utils.models import systems
from dualrec_utils.models.hybrids import rerank

# Settings that more than one function names.
HONEST, LEAKING = "LSTM's title", "LSTM's title and the answers"


def reference(
    data: Material, written: Mapping[tuple[str, str], pd.DataFrame], embeddings: pd.DataFrame
) -> Measured:
    """Lists re-ranked towards the LSTM's title, or towards the answers as well: the leak.

    Args:
        written, embeddings: from :func:`audit.rules.short_lists` and :func:`audit.rules.embeddings`.
    """
    measured = {}
    for (name, protocol), lists in written.items():
        # The LSTM's own list is re-ranked to its own head, rated or not, which leaves that where it is.
        towards = predictions.first_items(lists) if name == "lstm" else data.hints[protocol]
        place, targets = (lists, towards), data.targets[protocol]
        likeness = {
            HONEST: rerank.similarities(*place, data.catalog, embeddings),
            LEAKING: rules.leaking_similarities(*place, targets, data.catalog, embeddings),
        }
        for setting, similarity in likeness.items():
            ordered = rerank.by_similarity(lists, similarity)
            measured[Key("reference", name, setting, protocol)] = data.judged(ordered, protocol)
    return measured


def leak(data: Material, measured: Measured, names: Sequence[str], **stats: float) -> pd.DataFrame:
    """HR@1 of lists re-ranked with and without the answers among the references, the LSTM's list beside.

    Args:
        measured: from :func:`reference`.
        names: systems of the lists that are re-ranked.

    Returns:
        One row a (protocol, system, list): `list` is `without` or `with` (the answers), `plain` for the
        LSTM's own order with items already rated kept, as in all lists here, and `plain, rated left out`;
        `value`, `low`, `high`, `n_users`, `n_cases` of HR@1.
    """
    rows = []
    for protocol in config.PROTOCOLS:
        frames = {
            (name, kind): measured[Key("reference", name, setting, protocol)]
            for name in names
            for kind, setting in (("without", HONEST), ("with", LEAKING))
        }
        frames |= {
            ("lstm", "plain"): data.per_case("lstm" + predictions.SEEN_KEPT, protocol),
            ("lstm", "plain, rated left out"): data.per_case("lstm", protocol),
        }
        for (name, kind), frame in frames.items():
            row = evaluation.summarise(frame, columns=["hit_rate@1"], **stats).iloc[0]
            rows.append({PROTOCOL: protocol, SYSTEM: name, "list": kind} | row.to_dict())
    return pd.DataFrame(rows).astype({"n_users": int, "n_cases": int})


def flatten_leak(table: pd.DataFrame, name: str) -> dict[str, float]:
    """Flat metric keys of one system under `window_of_five`, the protocol of the released code.

    `audit/leak/with/hit_rate@1`, `audit/leak/without/hit_rate@1` and, beside them, the LSTM's own list:
    `audit/leak/lstm/hit_rate@1`, with rated items left out `audit/leak/lstm_rated_left_out/hit_rate@1`.

    Args:
        table: from :func:`leak`.
        name: the system.
    """
    names = {
        (name, "with"): "with",
        (name, "without"): "without",
        ("lstm", "plain"): "lstm",
        ("lstm", "plain, rated left out"): "lstm_rated_left_out",
    }
    flat: dict[str, float] = {}
    for row in table[table[PROTOCOL] == "window_of_five"].itertuples():
        if key := names.get((row.system, row.list)):
            flat |= evaluation.with_interval(f"audit/leak/{key}/hit_rate@1", row)
    return flat


def shares_first(measured: Measured, names: Sequence[str], **stats: float) -> pd.DataFrame:
    """HR@1 as a share of HR@5 under `window_of_five`, with and without the answers in the reference.

    Args:
        measured: from :func:`reference`.

    Returns:
        `system` (in words), `reference`, `value`, `low`, `high`, `n_users`.
    """
    return pd.DataFrame(
        [
            {SYSTEM: systems.label(name), "reference": setting}
            | steps.share_first(measured[Key("reference", name, setting, "window_of_five")], **stats)
            for name in names
            for setting in (HONEST, LEAKING)
        ]
    )


def leak_in_words(shares: pd.DataFrame, name: str) -> str:
    """What the answers in the reference do to one system's HR@1, in a sentence.

    Args:
        shares: from :func:`shares_first`.
    """
    rows = shares[shares[SYSTEM] == systems.label(name)].set_index("reference")["value"]
    return (
        f"{systems.label(name)}: of the lists with a hit, {rows[LEAKING]:.0%} have it on top if the"
        f" re-ranker sees the answers, and {rows[HONEST]:.0%} if it does not. The titles are the same."
    )

"""Is likeness to the LSTM's title a sign of being right? What re-ranking by it rests on.

Looks at lists after they were written: which of their titles are right comes from
:func:`core.evaluation.right_entries`, and nothing is chosen by it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from dualrec_utils.core import config, evaluation, predictions
from dualrec_utils.core.config import CASE, ITEM, PROTOCOL, RANK, SCORE, USER
from dualrec_utils.core.predictions import Lists, Scope

COSINE, IS_HINT, RIGHT = "cosine", "is_hint", "right"
BY_COSINE, AS_WRITTEN = "cosine", "the model's own order"
_N_BINS = 4


def judged_titles(
    lists: Lists, reranked: Lists, hints: Mapping[Scope, pd.Series], *, system: str
) -> pd.DataFrame:
    """Every title of a system's lists: how like the reference it is, and whether it is right.

    Args:
        lists, reranked: (scope, system) -> predictions before and after re-ranking.
        hints: scope -> `case_id` -> the LSTM's item.

    Returns:
        The columns of the lists as written, `protocol`, `user_id`, `cosine`, `is_hint` (the LSTM's own
        title) and `right` (1 where the title is a target of its case, else 0).
    """
    frames = []
    for (scope, name), frame in lists.items():
        if name == system:
            users = predictions.load_cases(scope).set_index(CASE)[USER]
            columns = {PROTOCOL: scope.protocol, USER: frame[CASE].map(users)}
            # Rows of re-ranked lists keep the index that they had before.
            columns[COSINE] = reranked[scope, name][SCORE]
            columns[IS_HINT] = (frame[CASE].map(hints[scope]) == frame[ITEM]).fillna(False).astype(bool)
            columns[RIGHT] = evaluation.right_entries(frame, scope)
            frames.append(frame.assign(**columns))
    return pd.concat(frames, ignore_index=True)


def right_by_cosine(titles: pd.DataFrame, **intervals) -> pd.DataFrame:
    """Share of titles that are right, in four equally filled bins of their cosine.

    Args:
        titles: from :func:`judged_titles`, of one protocol.
        intervals: `seed`, `n_bootstrap`, `confidence` of :func:`core.evaluation.summarise`.

    Returns:
        `bin` (its bounds in words; last the LSTM's own title, whose cosine is 1), `n`, `share`, `low`,
        `high`.
    """
    bins = pd.qcut(titles.loc[~titles[IS_HINT], COSINE], _N_BINS, duplicates="drop")
    groups = {f"{b.left:.2f} to {b.right:.2f}": bins.index[bins == b] for b in bins.cat.categories}
    groups["LSTM's own"] = titles.index[titles[IS_HINT]]
    rows = []
    for name, index in groups.items():
        row = {"bin": name, "n": len(index)}
        if len(index):
            share = evaluation.summarise(titles.loc[index], columns=[RIGHT], **intervals).loc[RIGHT]
            row |= {"share": share["value"], "low": share["low"], "high": share["high"]}
        rows.append(row)
    return pd.DataFrame(rows, columns=["bin", "n", "share", "low", "high"])


def right_preferred(titles: pd.DataFrame, **intervals) -> pd.DataFrame:
    """Of a right and a wrong title in one list, how often does an order put the right one first?

    The LSTM's own title is left aside; equal cosines count one half, which is chance.

    Args:
        titles: from :func:`judged_titles`. intervals: as :func:`right_by_cosine`.

    Returns:
        One row a protocol and order (:data:`BY_COSINE`, :data:`AS_WRITTEN`): `order by`, `value` (mean
        over users), `low`, `high`, `n_users`, `protocol`, `n_pairs`.
    """
    rest = titles[~titles[IS_HINT]]
    right, wrong = (rest[rest[RIGHT] == value] for value in (1, 0))
    pairs = right.merge(wrong, on=[PROTOCOL, CASE, USER], suffixes=("", "_wrong"))
    gap = pairs[COSINE] - pairs[f"{COSINE}_wrong"]
    orders = {
        BY_COSINE: (gap > 0) + 0.5 * (gap == 0),
        AS_WRITTEN: (pairs[RANK] < pairs[f"{RANK}_wrong"]).astype(float),
    }
    first = pairs[[PROTOCOL, CASE, USER]].assign(**orders)
    # Without a right title, as a model trained for a minute has it, there is no pair and no value.
    none = pd.DataFrame(
        {"value": np.nan, "low": np.nan, "high": np.nan, "n_users": 0, "n_cases": 0}, orders
    )
    rows = []
    for protocol in config.PROTOCOLS:
        part = first[first[PROTOCOL] == protocol]
        shares = evaluation.summarise(part, columns=list(orders), **intervals) if len(part) else none
        rows.append(shares.reset_index(names="order by").assign(protocol=protocol, n_pairs=len(part)))
    return pd.concat(rows, ignore_index=True).drop(columns="n_cases")


def flat_preferred(table: pd.DataFrame) -> dict[str, float]:
    """Metric keys of :func:`right_preferred`: `next_item/right_preferred/cosine`, `.../low`, `.../high`.

    A protocol without pairs has none.
    """
    flat: dict[str, float] = {}
    for _, row in table.dropna(subset="value").iterrows():
        flat |= evaluation.with_interval(f"{row[PROTOCOL]}/right_preferred/{row['order by']}", row)
    return flat

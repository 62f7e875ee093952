"""Lists worked by hand, and titles as directions in a plane."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from dualrec_utils.core import predictions


def lists_of(
    entries: Mapping[str, list], *, scores: Sequence[float] = (), names: Mapping[int, str] | None = None
) -> pd.DataFrame:
    """Predictions from `case -> items`; a text stands for an entry that matches no movie.

    Args:
        scores: of the ranks; 1 / rank unless given.
        names: what a model wrote for an item.
    """
    rows = []
    for case, listed in entries.items():
        for rank, entry in enumerate(listed, start=1):
            score = scores[rank - 1] if scores else 1 / rank
            written = entry if isinstance(entry, str) else (names or {}).get(entry, f"text of {entry}")
            rows.append((case, rank, None if isinstance(entry, str) else entry, score, written, 7))
    return pd.DataFrame(rows, columns=list(predictions.COLUMNS)).astype(predictions.COLUMNS)


def order(lists: pd.DataFrame, case: str = "a") -> list:
    """A case's items by rank, the text where an entry matches no movie."""
    rows = lists[lists["case_id"] == case].sort_values("rank")
    assert rows["rank"].tolist() == list(range(1, len(rows) + 1))
    return [
        text if pd.isna(item) else item for item, text in zip(rows["item_id"], rows["text"], strict=True)
    ]


def directions(degrees: Mapping[str, float]) -> pd.DataFrame:
    """Stand-ins for sentence embeddings: each text a unit vector at an angle."""
    radians = np.deg2rad(list(degrees.values()))
    return pd.DataFrame(np.c_[np.cos(radians), np.sin(radians)], index=list(degrees))

"""Where a target stands in a ranking of the whole catalog, from scores and without writing lists."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dualrec_utils.errors import StudyError


def target_ranks(
    scores: np.ndarray, histories: Sequence[np.ndarray], targets: np.ndarray, item_ids: np.ndarray
) -> np.ndarray:
    """Rank of each target, movies of the history left out, equal scores in the order of item ids.

    The ranks that the lists of :func:`dualrec_utils.predictions.from_scores` have, for one target a row.

    Args:
        scores: shape (n, n_items); not changed.
        histories: n arrays of item ids.
        targets: shape (n,), item ids, none of them in its history.
        item_ids: shape (n_items,), ascending.

    Returns:
        Shape (n,), whole numbers from 1.

    Raises:
        StudyError: when shapes disagree or a score is not a number.
    """
    if scores.shape != (len(targets), len(item_ids)):
        raise StudyError(
            f"scores have shape {scores.shape}, expected ({len(targets)}, {len(item_ids)}): one row a"
            " history and one column a catalog movie"
        )
    if not np.isfinite(scores).all():
        raise StudyError("a score is not a number (NaN or infinity)")
    working = scores.astype(np.float64, copy=True)
    for row, history in enumerate(histories):
        working[row, np.searchsorted(item_ids, history)] = -np.inf
    columns = np.searchsorted(item_ids, targets)
    own = working[np.arange(len(targets)), columns][:, None]
    earlier = np.arange(len(item_ids)) < columns[:, None]
    return 1 + (working > own).sum(1) + ((working == own) & earlier).sum(1)

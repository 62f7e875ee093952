"""Candidate sets of the NIR paper (section 3.1): a few items a user, from like users or like items.

Both filters read histories only. User filtering follows the authors' released script, whose sets it
reproduces; of item filtering that script leaves the number of neighbours open.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

# Users asked for items, as in the authors' released script; the user's own row is the first of them.
N_USERS = 12


def counts(histories: Sequence[np.ndarray], n_items: int) -> np.ndarray:
    """How often each history holds each item: shape (n_users, n_items).

    Args:
        histories: item ids 0 ... n_items - 1 of every user.
    """
    return np.array([np.bincount(history, minlength=n_items) for history in histories], dtype=np.int64)


def by_users(
    histories: Sequence[np.ndarray], *, n_items: int, n_candidates: int, n_users: int = N_USERS
) -> list[list[int]]:
    """User filtering: items of the users who share most items, weighted by how many they share.

    Args:
        histories: item ids of every user, oldest first.
        n_items: number of items. n_candidates: items a user gets at most.
        n_users: most alike users asked, the user included, equal ones by lowest row.

    Returns:
        Candidates of every user, best first, none of the user's own history among them; equal ones as
        they are met. An item that stands in a history twice counts twice.
    """
    watched = np.minimum(counts(histories, n_items), 1)
    similarity = watched @ watched.T
    candidates = []
    for user, history in enumerate(histories):
        seen, votes = set(history.tolist()), Counter()
        alike = np.argsort(-similarity[user], kind="stable")[:n_users]
        # Shares, not counts, as in the released script: their rounding decides ties at the edge of a set.
        shares = similarity[user, alike] / similarity[user, alike].sum()
        for other, share in zip(alike, shares, strict=True):
            for item in histories[other].tolist():
                if item not in seen:
                    votes[item] += float(share)
        candidates.append([item for item, _ in votes.most_common(n_candidates)])
    return candidates


def by_items(
    histories: Sequence[np.ndarray], *, n_items: int, n_candidates: int, n_neighbours: int
) -> list[list[int]]:
    """Item filtering: items most often watched by the same users as the items of the history.

    Args:
        histories: item ids of every user, oldest first.
        n_items: number of items. n_candidates: items a user gets at most.
        n_neighbours: items most often watched together with an item, that item included, equal ones
            by lowest id; each adds the number of times to its score.

    Returns:
        As :func:`by_users`.
    """
    watched = counts(histories, n_items)
    together = watched.T @ watched
    neighbours = np.argsort(-together, axis=1, kind="stable")[:, :n_neighbours]
    candidates = []
    for history in histories:
        seen, votes = set(history.tolist()), Counter()
        for item in history.tolist():
            for other in neighbours[item].tolist():
                if other not in seen and together[item, other]:
                    votes[other] += int(together[item, other])
        candidates.append([item for item, _ in votes.most_common(n_candidates)])
    return candidates

"""What the LSTM can learn from events, and the training histories that are replayed beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from dualrec_utils.content.features import PADDING
from dualrec_utils.core.catalog import Catalog
from dualrec_utils.models.lstm.sequences import IGNORED, Sequences, every_position
from dualrec_utils.service.online.events import REMOVED, Event, EventLog, history

# An event, and the item ids that its user had before it.
Lesson = tuple[Event, list[int]]


def taught(events: Sequence[Event], log: EventLog, known: Mapping[int, Sequence[int]]) -> list[Lesson]:
    """What events of a log teach: each item that is new to its user, after what the user had until then.

    Args:
        known: user -> item ids before the first event.

    Returns:
        (event, history) of those that teach, by sequence; histories are item ids, oldest first, at least
        one. A removal, an item that the history has already, and a first item teach nothing.
    """
    lessons, of_user = [], {user: log.of_user(user) for user in {event.user for event in events}}
    for event in events:
        earlier = [before for before in of_user[event.user] if before.sequence < event.sequence]
        items = history(known.get(event.user, ()), earlier)
        if event.kind != REMOVED and items and event.item not in items:
            lessons.append((event, items))
    return lessons


def as_sequences(lessons: Sequence[Lesson], catalog: Catalog, *, length: int) -> Sequences:
    """A row a lesson: the last `length` items of its history, with one target, the event's item.

    Raises:
        StudyError: naming an item that the catalog does not have.
    """
    rows = np.full((len(lessons), length), PADDING, dtype=np.int64)
    targets = np.full(rows.shape, IGNORED, dtype=np.int64)
    for i, (event, items) in enumerate(lessons):
        read = catalog.rows(items[-length:])
        rows[i, : len(read)] = read
        targets[i, len(read) - 1] = catalog.columns([event.item])[0]
    return Sequences(rows, targets)


def drawn(histories: Sequence[np.ndarray], draw: np.random.Generator, *, n: int, length: int) -> Sequences:
    """A piece of each of `n` histories that are drawn: up to `length` items, each with the one after it.

    Args:
        histories: rows of items, oldest first, at least two each.
    """
    pieces = []
    for chosen in draw.integers(len(histories), size=n):
        start = draw.integers(max(1, len(histories[chosen]) - length))
        pieces.append(histories[chosen][start : start + length + 1])
    return every_position(pieces, length=length)

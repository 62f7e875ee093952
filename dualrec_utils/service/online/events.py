"""What users do, as it happens: a log that survives kill -9, and what it makes of histories and ratings."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

from dualrec_utils.core.errors import StudyError
from dualrec_utils.service.online.sqlite_file import SqliteFile

SAW, RATED, REMOVED = KINDS = ("saw", "rated", "removed")
# AUTOINCREMENT: a number is never given twice, not even after its row was deleted.
_TABLES = """
CREATE TABLE events (
    event_id TEXT NOT NULL UNIQUE, user INTEGER NOT NULL, item INTEGER NOT NULL, kind TEXT NOT NULL,
    rating REAL, sequence INTEGER PRIMARY KEY AUTOINCREMENT, seconds REAL NOT NULL
);
CREATE INDEX by_user ON events (user, sequence);
CREATE TABLE users (user INTEGER PRIMARY KEY AUTOINCREMENT);
"""
_NUMBER = 0x44524C31


class Conflict(StudyError):
    """Two events have one id."""


@dataclass(frozen=True)
class Event:
    """Something a user did.

    Attributes:
        event_id: the client's name of it.
        user, item: ids.
        kind: one of :data:`KINDS`.
        rating: stars, of kind `rated` alone.
        sequence: place in the log, from 1; never given to another event.
        seconds: when it arrived, since 1970.
    """

    event_id: str
    user: int
    item: int
    kind: str
    rating: float | None
    sequence: int
    seconds: float


def history(known: Sequence[int], events: Sequence[Event]) -> list[int]:
    """Items of a user, each once, oldest first.

    Args:
        known: items before the first event, oldest first, each once.
        events: of this user, by sequence. Seen or rated, an item comes to the end; removed, it goes.
    """
    items = dict.fromkeys(map(int, known))
    for event in events:
        items.pop(event.item, None)
        if event.kind != REMOVED:
            items[event.item] = None
    return list(items)


def ratings(known: Mapping[int, float], events: Sequence[Event]) -> dict[int, float]:
    """Item -> latest stars, without removed items; arguments as :func:`history`."""
    stars = dict(known)
    for event in events:
        if event.kind == RATED:
            stars[event.item] = event.rating
        elif event.kind == REMOVED:
            stars.pop(event.item, None)
    return stars


class EventLog:
    """Events in one file, for any number of threads and processes of one machine.

    Args:
        path: the file; made if missing.
        first_user: lowest id that :meth:`new_user` gives: above those of the data set.

    Raises:
        StudyError: here and in every method, where the file is damaged, of another program, or cannot be
            read or written.
    """

    def __init__(self, path: Path, *, first_user: int = 1) -> None:
        self._file = SqliteFile(Path(path), tables=_TABLES, number=_NUMBER)
        self._first_user = first_user

    def append(
        self, user: int, item: int, kind: str, *, rating: float | None = None, event_id: str
    ) -> tuple[Event, bool]:
        """Log an event; it is on disk when this returns.

        Args:
            user, item: ids; the caller sees that they exist.
            kind: one of :data:`KINDS`.
            rating: stars of kind `rated`; None for any other.
            event_id: the client's name of the event, so that it can be sent again.

        Returns:
            (event, True); of an event that was sent before (the first one, False), and nothing is logged.

        Raises:
            Conflict: when another event has this id.
            StudyError: on a kind, rating or id that is none.
        """
        if kind not in KINDS:
            raise StudyError(f"kind is {kind!r}; allowed: {', '.join(KINDS)}")
        if (rating is None) == (kind == RATED) or not math.isfinite(rating or 0):
            raise StudyError(
                f"rating is {rating} of an event of kind {kind}; `rated`, and no other, has stars"
            )
        if not event_id or not event_id.isprintable():
            raise StudyError(f"event_id is {event_id!r}; allowed: one printable character or more")
        # numpy's numbers would be kept as bytes.
        content = (event_id, int(user), int(item), kind, None if rating is None else float(rating))
        with self._file.writing() as db:
            if before := self._events("event_id = ?", event_id):
                if astuple(before[0])[: len(content)] != content:
                    raise Conflict(f"event_id {event_id!r} names another event; give a new event a new id")
                return before[0], False
            seconds = time.time()
            row = (*content, None, seconds)
            sequence = db.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?)", row).lastrowid
        return Event(*content, sequence, seconds), True

    def _events(self, where: str, value: object, *, limit: int = -1) -> list[Event]:
        query = f"SELECT * FROM events WHERE {where} ORDER BY sequence LIMIT ?"
        rows = self._file.read(query, value, limit)
        return [Event(*row) for row in rows]

    def of_user(self, user: int) -> list[Event]:
        """Events of a user, by sequence."""
        return self._events("user = ?", int(user))

    def since(self, sequence: int, *, limit: int = -1) -> list[Event]:
        """Events after a sequence (0: all), by sequence: all (-1), or the first `limit` of them."""
        return self._events("sequence > ?", int(sequence), limit=limit)

    def _last(self, table: str) -> int:
        rows = self._file.read("SELECT seq FROM sqlite_sequence WHERE name = ?", table)
        return rows[0][0] if rows else 0

    def last_sequence(self) -> int:
        """Sequence of the last event that was logged, be it forgotten since; 0 before the first."""
        return self._last("events")

    def new_user(self) -> int:
        """The id of a new user, never given before."""
        with self._file.writing() as db:
            user = max(self._first_user, self._last("users") + 1)
            db.execute("INSERT INTO users VALUES (?)", (user,))
        return user

    def users(self) -> list[int]:
        """All whom :meth:`new_user` made or who have events, ascending."""
        rows = self._file.read("SELECT user FROM users UNION SELECT user FROM events ORDER BY 1")
        return [user for (user,) in rows]

    def forget(self, user: int) -> int:
        """Delete a user's events, so that no byte of them is left in the log's files; the id stays given.

        What was deleted may lie in the files until this ends: where it fails, call it again.

        Returns:
            Number of events deleted.
        """
        with self._file.writing() as db:
            n_events = db.execute("DELETE FROM events WHERE user = ?", (int(user),)).rowcount
        self._file.clean()
        return n_events

    def close(self) -> None:
        """Close the file; all events are on disk already."""
        self._file.close()

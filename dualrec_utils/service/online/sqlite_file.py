"""A SQLite file that threads and processes share, with one message for whatever is wrong with it."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dualrec_utils.core.errors import StudyError, first_line

# Seconds that a process waits for another one to finish writing.
_PATIENCE = 30


class SqliteFile:
    """Tables in one file in WAL mode: what a transaction wrote is on disk when it ends.

    Args:
        path: the file; made if missing.
        tables: statements that make the tables, each ended by a semicolon.
        number: kept in the file's head; it says that the file is ours, and of this layout.

    Raises:
        StudyError: here and in every method, where the file is damaged, of another program, or cannot be
            read or written.
    """

    def __init__(self, path: Path, *, tables: str, number: int) -> None:
        self._path = path
        # One connection: SQLite lets threads share it as long as they take turns.
        self._turn = threading.RLock()
        with self._usable():
            self._db = sqlite3.connect(
                path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False
            )
        try:
            with self._usable():
                self._db.execute("PRAGMA synchronous = FULL")
                self._db.execute("PRAGMA secure_delete = ON")
                self._make(tables, number)
                self._db.execute("PRAGMA journal_mode = WAL")
                if (damage := self._db.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
                    raise sqlite3.DatabaseError(damage)
        except StudyError:
            self._db.close()
            raise

    def _make(self, tables: str, number: int) -> None:
        """Make the tables in an empty file; change nothing in any other."""
        # In a transaction of its own: other processes may be opening the same new file.
        with self.writing() as db:
            (there,) = db.execute("PRAGMA application_id").fetchone()
            if there == number:
                return
            if there or db.execute("SELECT count(*) FROM sqlite_schema").fetchone() != (0,):
                raise sqlite3.DatabaseError("it is another program's database")
            for statement in (*tables.split(";"), f"PRAGMA application_id = {number}"):
                db.execute(statement)

    @contextmanager
    def _usable(self) -> Iterator[None]:
        """Within it it is this thread's turn, and an error of SQLite ends in one message."""
        with self._turn:
            try:
                yield
            except sqlite3.OperationalError as error:
                raise StudyError(
                    f"{self._path} cannot be read or written ({first_line(error)}): see that its folder is"
                    " there and may be written, that the disk has room, and that no other program holds it"
                ) from error
            except sqlite3.Error as error:
                raise StudyError(
                    f"{self._path} is damaged or another program's ({first_line(error)}): bring back a copy"
                    " of it, or move it away to begin anew"
                ) from error

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction, alone among all threads and processes: kept at the end, undone by an exception."""
        with self._usable():
            self._db.execute("BEGIN IMMEDIATE")
            with self._db:
                yield self._db

    def read(self, query: str, *values: object) -> list[tuple]:
        """Rows of a query, as they are at this moment or within the thread's transaction."""
        with self._usable():
            return self._db.execute(query, values).fetchall()

    def clean(self) -> None:
        """Write the file anew, so that nothing of what was deleted is left in it or in its WAL."""
        with self._usable():
            # Overwriting deleted rows leaves what SQLite has moved about inside the file.
            self._db.execute("VACUUM")
            if self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
                raise sqlite3.OperationalError("another process is reading what was deleted; try again")

    def close(self) -> None:
        """Close the file."""
        with self._turn:
            self._db.close()

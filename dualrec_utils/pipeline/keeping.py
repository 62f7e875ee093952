"""Keep on a second disk, such as Google Drive, what a lost machine would have to do again.

The run itself works on the machine's own disk: databases, locks and links do not get along with a mounted
drive. A :class:`Keeper` brings back what the drive has, then copies what is new every minute. After it
`dvc checkout` lays out what finished stages left; one that was in the middle goes on from its checkpoints
and answers.
"""

from __future__ import annotations

import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from dualrec_utils.core import files
from dualrec_utils.core.errors import StudyError, explained

# Of the repository: data as fetched. Of a profile: answers that were paid for, checkpoints, what finished
# stages left (DVC has the large part in its cache, and its lock says what belongs together).
_FETCHED = "data/raw/ml-*"
_OF_A_PROFILE = ("data/answers", "data/*/checkpoints", ".dvc/cache", "reports", "dvc.lock")
# A database writes beside itself what belongs into it.
_DATABASE, _BESIDE = ".db", ("-wal", "-shm", "-journal")
SECONDS = 60.0


class Keeper:
    """Copies a profile's lasting files to a shelf and back.

    Args:
        repository: the study's folder on this machine.
        shelf: the folder on the drive; made where it is missing.
        profile: whose run is kept; empty for the default one.

    Raises:
        StudyError: when the shelf cannot be written.
    """

    def __init__(self, repository: Path, shelf: Path, *, profile: str) -> None:
        self.repository, self.shelf = Path(repository), Path(shelf)
        home = f"profiles/{profile}/" if profile else ""
        self._patterns = [_FETCHED, *(f"{home}{place}" for place in _OF_A_PROFILE)]
        # What the shelf has: path -> size and time of the file here when it was copied.
        self._kept: dict[Path, tuple[int, ...] | None] = {}
        try:
            files.write_text(
                "What `make repro` keeps here, a run on another machine goes on from.\n",
                self.shelf / "README.txt",
            )
        except OSError as error:
            raise StudyError(f"nothing can be kept in {self.shelf}: {explained(error)}") from None

    def restore(self) -> int:
        """Bring back what the shelf has and this machine lacks; returns how many files."""
        n = 0
        for path, kept in self._files(self.shelf).items():
            here = self.repository / path
            if not here.exists():
                with files.replacing(here) as temporary:
                    shutil.copyfile(kept, temporary)
                n += 1
                self._kept[path] = _mark(here)
                continue
            # Where both have it, the file here counts; it is saved again unless the shelf's is its copy.
            mine, its = here.stat(), kept.stat()
            if mine.st_size == its.st_size and mine.st_mtime <= its.st_mtime:
                self._kept[path] = _mark(here)
        return n

    def save(self) -> int:
        """Copy what is new or changed here to the shelf, and take from it what is gone; returns how many.

        Files go in the order in which they were written: the one that says that a checkpoint is complete
        comes last.
        """
        there = self._files(self.repository)
        marks = {path: mark for path, here in there.items() if (mark := _mark(here)) is not None}
        new = [path for path in marks if self._kept.get(path) != marks[path]]
        for path in sorted(new, key=lambda one: marks[one][-1]):
            try:
                with files.replacing(self.shelf / path) as temporary:
                    _copy(there[path], temporary)
            except FileNotFoundError:
                if there[path].exists():
                    raise
                continue  # the run has deleted it meanwhile
            self._kept[path] = marks[path]
        gone = [path for path in self._kept if path not in marks]
        for path in gone:
            (self.shelf / path).unlink(missing_ok=True)
            del self._kept[path]
        return len(new) + len(gone)

    def _files(self, top: Path) -> dict[Path, Path]:
        """Path below `top` -> file, without what is still being written."""
        paths = (
            path
            for pattern in self._patterns
            for place in top.glob(pattern)
            for path in ([place] if place.is_file() else place.rglob("*"))
            if not any(part.startswith(".") for part in path.relative_to(place).parts)
            and not path.name.endswith((".tmp", *_BESIDE))
        )
        return {path.relative_to(top): path for path in paths if path.is_file()}


def _mark(path: Path) -> tuple[int, ...] | None:
    """Changes when the file does: sizes and last time of it and of what a database writes beside it."""
    parts = [path, path.with_name(path.name + _BESIDE[0])] if path.suffix == _DATABASE else [path]
    try:
        stats = [part.stat() for part in parts if part.exists()]
    except FileNotFoundError:
        return None
    return (*(one.st_size for one in stats), max(one.st_mtime_ns for one in stats)) if stats else None


def _copy(source: Path, target: Path) -> None:
    if source.suffix != _DATABASE:
        shutil.copyfile(source, target)
        return
    # A copy of a database that is being written would be torn; it makes whole ones itself.
    whole = source.with_name(f".{source.name}.whole")
    try:
        # Read and written, not made: the run may have deleted it meanwhile.
        with (
            closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=rw", uri=True)) as live,
            closing(sqlite3.connect(whole)) as copy,
        ):
            live.backup(copy)
        shutil.copyfile(whole, target)
    finally:
        whole.unlink(missing_ok=True)


@contextmanager
def kept(repository: Path, shelf: Path, *, profile: str, seconds: float = SECONDS) -> Iterator[Keeper]:
    """Restore, then save again and again while the block runs, and once more at its end.

    A save that fails is said and tried again: a full or lost drive stops no run.

    Args:
        repository, shelf, profile: as :class:`Keeper`.
        seconds: from one save to the next.
    """
    keeper, ended = Keeper(repository, shelf, profile=profile), threading.Event()
    print(f"keeping: {keeper.restore()} files of earlier runs brought back from {shelf}", flush=True)

    def save() -> None:
        try:
            keeper.save()
        except (OSError, sqlite3.Error) as error:
            print(f"keeping: not saved to {shelf}: {explained(error)}", flush=True)

    def save_again() -> None:
        while not ended.wait(seconds):
            save()

    thread = threading.Thread(target=save_again, daemon=True, name="dualrec-keeping")
    thread.start()
    try:
        yield keeper
    finally:
        ended.set()
        thread.join()
        save()

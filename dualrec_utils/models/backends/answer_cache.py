"""Answers that were paid for, kept on disk by what was asked.

The store lies outside every stage's outputs (DVC deletes those before a run), drops nothing by itself,
and takes each answer in a transaction of its own, so that a killed run has lost none of them.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import diskcache

from dualrec_utils.core import config
from dualrec_utils.core.errors import StudyError


class _JsonText(diskcache.Disk):
    """Keeps text alone. diskcache would otherwise unpickle, that is run, what lies in its folder."""

    def store(self, value: Any, read: bool, key: Any = diskcache.UNKNOWN) -> tuple:
        return super().store(json.dumps(value, allow_nan=False, sort_keys=True), read, key=key)

    def fetch(self, mode: int, filename: str | None, value: Any, read: bool) -> Any:
        if mode == diskcache.core.MODE_PICKLE:
            raise StudyError(
                f"{self._directory} holds an entry that this study did not write: move that folder away"
            )
        return json.loads(super().fetch(mode, filename, value, read))


def answers_dir(host: str) -> Path:
    """Folder of the answers of one provider: `data/answers/<host>`."""
    return config.ROOT / "data" / "answers" / host


def open_cache(folder: Path) -> diskcache.Cache:
    """The store in `folder`, made if missing; threads may share it. Keys are text, values JSON.

    Raises:
        StudyError: when the folder cannot be used.
    """
    with usable(folder):
        folder.mkdir(parents=True, exist_ok=True)
        # No eviction: by default diskcache drops the oldest entries beyond 1 GB.
        return diskcache.Cache(folder, disk=_JsonText, eviction_policy="none")


@contextmanager
def usable(folder: Path) -> Iterator[None]:
    """Within it, a store that is broken or cannot be read or written ends in one message, a StudyError."""
    try:
        yield
    except (OSError, sqlite3.Error, diskcache.Timeout) as error:
        raise StudyError(
            f"the answers in {folder} cannot be used ({type(error).__name__}: {error}): make the folder"
            " writable and room on its disk, or move it away to ask again"
        ) from None


def key_of(request: Mapping[str, Any]) -> str:
    """SHA-256 of a request's canonical JSON: model, messages, sampling parameters."""
    text = json.dumps(request, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()

"""Write files whole or not at all: to a temporary name beside the target, then moved."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from dualrec_utils.core.errors import StudyError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path that becomes `path` when the block ends without an exception.

    Args:
        path: final place; its folder is made if missing.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """As :func:`replacing`, for a folder: what `path` held before is gone when the block ends well.

    Args:
        path: final place; the folder above it is made if missing.
    """
    path = Path(path)
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        shutil.rmtree(path, ignore_errors=True)
        os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_text(text: str, path: Path) -> Path:
    """Write `text` (UTF-8) to `path` and return it."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def write_json(value: Any, path: Path) -> Path:
    """Write `value` as indented JSON with sorted keys, the same bytes for the same value."""
    return write_text(json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n", path)


def read_json(path: Path) -> Any:
    """Read a JSON file."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


@contextmanager
def timed(path: Path, **facts: Any) -> Iterator[None]:
    """Write as JSON how long a block took (`fit_seconds`), with facts beside it; nothing if it fails."""
    started = time.perf_counter()
    yield
    write_json({"fit_seconds": round(time.perf_counter() - started, 1), **facts}, path)


def write_jsonl(rows: Iterable[dict], path: Path) -> Path:
    """Write one JSON object a line."""
    return write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), path)


def read_jsonl(path: Path) -> list[dict]:
    """Read a file of one JSON object a line. Texts may hold line separators other than a line feed."""
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").split("\n") if line]


def write_parquet(frame: pd.DataFrame, path: Path) -> Path:
    """Write a frame without its index."""
    with replacing(path) as temporary:
        frame.to_parquet(temporary, index=False)
    return path


def write_csv(frame: pd.DataFrame, path: Path, *, index: bool = False) -> Path:
    """Write a frame as CSV with lines that end in a line feed on every system."""
    with replacing(path) as temporary:
        frame.to_csv(temporary, index=index, lineterminator="\n")
    return path


def read_parquet_of(stage: str, path: Path) -> pd.DataFrame:
    """Read a frame that a stage of the pipeline wrote.

    Raises:
        StudyError: when it is not there, naming the stage to run.
    """
    if not Path(path).is_file():
        raise StudyError(f"{path} is not there: run `dvc repro {stage}` first")
    return pd.read_parquet(path)


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_of_all(paths: Iterable[Path]) -> str:
    """One SHA-256 of some files, their names and their folders' names, in the order given."""
    together = json.dumps([(path.parent.name, path.name, sha256(path)) for path in paths])
    return hashlib.sha256(together.encode()).hexdigest()

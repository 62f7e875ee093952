"""Write files whole or not at all: to a temporary name beside the target, then moved."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import reprlib
import shutil
import time
import tokenize
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dualrec_utils.core import errors
from dualrec_utils.core.errors import StudyError


@dataclass(frozen=True)
class Timing:
    """What `reports/timings/<stage>.json` says of a stage's last run; nothing where it has not run.

    Attributes:
        seconds, budget_seconds: taken, and allowed on two cores.
        peak_memory_mb: of the stage's process and its children.
        machine: as :func:`pipeline.stages.machine`.
    """

    seconds: float | None = None
    budget_seconds: int | None = None
    peak_memory_mb: float | None = None
    machine: dict[str, str | int] = field(default_factory=dict)


@dataclass(frozen=True)
class Fit:
    """How long a training took, as :func:`timed` writes it."""

    fit_seconds: float


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path that becomes `path` when the block ends without an exception.

    Args:
        path: final place, of a file or a folder; the folder above it is made if missing.

    Raises:
        OSError: naming `path` where a write failed.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        _remove(temporary)
        yield temporary
        if temporary.is_dir() and path.is_dir():
            shutil.rmtree(path)
        os.replace(str(temporary), path)
    except Exception as error:
        if isinstance(error, StudyError) or getattr(error, "filename", None) not in (None, str(temporary)):
            raise
        # Some libraries say no more than that they wrote less than they should have.
        full = shutil.disk_usage(path.parent).free < 4096
        if code := errors.number(error) or (errno.ENOSPC if full else None):
            raise OSError(code, os.strerror(code), str(path)) from error
        if isinstance(error, OSError):
            raise OSError(errno.EIO, str(error), str(path)) from error
        raise
    finally:
        _remove(temporary)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """As :func:`replacing`, for a folder: what `path` held before is gone when the block ends well."""
    with replacing(path) as temporary:
        temporary.mkdir()
        yield temporary


def write_text(text: str, path: Path) -> Path:
    """Write `text` (UTF-8) to `path` and return it."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def write_json(value: Any, path: Path) -> Path:
    """Write `value` as indented JSON with sorted keys, the same bytes for the same value."""
    return write_text(json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n", path)


def read_json(path: Path, kind: Any = dict[str, Any], *, missing: Any = None) -> Any:
    """Read a JSON file.

    Args:
        path: the file.
        kind: the type of what it holds, as an annotation would say it.
        missing: what is returned where there is no such file, if anything.

    Raises:
        StudyError: when the file is no JSON or holds anything else.
        FileNotFoundError: when there is no file and `missing` is not given.
    """
    # Imported here: pydantic takes a tenth of a second.
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(kind).validate_python(json.loads(Path(path).read_text(encoding="utf-8")))
    except FileNotFoundError:
        if missing is None:
            raise
        return missing
    except (ValueError, RecursionError) as error:
        reason = str(error)
        if isinstance(error, ValidationError):
            first = error.errors(include_url=False)[0]
            reason = f"{'.'.join(map(str, first['loc']))} is {reprlib.repr(first['input'])}: {first['msg']}"
        raise _unreadable(path, reason) from error


def _unreadable(path: Path, reason: str) -> StudyError:
    return StudyError(
        f"{path} is cut short, damaged or another file ({reason}): bring it back (`git checkout`), or"
        " delete it and run again what writes it"
    )


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
    """Read a file of one JSON object a line. Texts may hold line separators other than a line feed.

    Raises:
        StudyError: naming the first line that is none.
    """
    rows = []
    for number, line in enumerate(Path(path).read_bytes().split(b"\n"), start=1):
        try:
            rows += [json.loads(line)] if line else []
        except (ValueError, RecursionError) as error:
            raise _unreadable(path, f"line {number}: {error}") from error
    return rows


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


def read_parquet_of(stage: str, path: Path, columns: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Read a frame that a stage of the pipeline wrote.

    Args:
        stage: to name where something is wrong.
        columns: name -> type of those it must have; None takes it as it is.

    Raises:
        StudyError: when it is not there, cannot be read or has other columns, naming the stage to run.
    """
    with _of_stage(stage, path, ValueError, TypeError):  # pyarrow's exceptions are ValueErrors
        frame = pd.read_parquet(path)
        if missing := [name for name in columns or () if name not in frame]:
            raise ValueError(f"it lacks the columns {missing}")
        return frame.astype(dict(columns)) if columns else frame


def read_array_of(stage: str, path: Path) -> np.ndarray:
    """Read an array that a stage of the pipeline wrote.

    Raises:
        StudyError: as :func:`read_parquet_of`.
    """
    with _of_stage(stage, path, ValueError, EOFError, tokenize.TokenError):
        return np.load(path)


@contextmanager
def _of_stage(stage: str, path: Path, *damaged: type[Exception]) -> Iterator[None]:
    """Name the stage to run where its file is missing, or where reading it raises one of `damaged`."""
    if not Path(path).is_file():
        raise StudyError(f"{path} is not there: run `dvc repro {stage}` first")
    try:
        yield
    except damaged as error:
        raise StudyError(f"{path} cannot be read ({error}): run `dvc repro -f {stage}`") from error


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_of_all(paths: Iterable[Path]) -> str:
    """One SHA-256 of some files, their names and their folders' names, in the order given."""
    together = json.dumps([(path.parent.name, path.name, sha256(path)) for path in paths])
    return hashlib.sha256(together.encode()).hexdigest()

"""Run one stage: alone, watched, timed, and gone when the pipeline above it is gone.

Nothing here changes a result, so no stage depends on this module.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import filelock
import psutil

from dualrec_utils.core import config, files
from dualrec_utils.core.errors import StudyError
from dualrec_utils.pipeline import stages
from dualrec_utils.pipeline.notebook import RUN_BY_PIPELINE

# An orphan of a killed run is gone within two polls; a lock held for longer belongs to a live run.
LOCK_SECONDS = 15
POLL_SECONDS = 0.5


def pipeline_above(process: psutil.Process) -> list[psutil.Process]:
    """The processes between `process` and the outermost `dvc` or `make` above it, those included.

    Empty where a stage was started by hand: then nothing has to outlive it.
    """
    above = process.parents()
    ends = [place for place, ancestor in enumerate(above) if _is_pipeline(ancestor)]
    return above[: ends[-1] + 1] if ends else []


def _is_pipeline(process: psutil.Process) -> bool:
    try:
        words = [Path(word).name for word in process.cmdline()[:3]]
    except psutil.Error:
        return False
    return "dvc" in words or (bool(words) and words[0] in ("make", "gmake"))


def _is_dead(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


class _Watch(threading.Thread):
    """Samples the memory of this process and its children; ends them all when the pipeline is gone."""

    def __init__(self, above: list[psutil.Process]) -> None:
        super().__init__(daemon=True, name="dualrec-watch")
        self.this_process = psutil.Process()
        self.above = above
        self.peak_bytes = 0
        self.stopped = threading.Event()

    def run(self) -> None:
        while not self.stopped.wait(POLL_SECONDS):
            if any(_is_dead(process) for process in self.above):
                self.end_all()
            self.sample()

    def sample(self) -> None:
        total = 0
        for process in [self.this_process, *self._children()]:
            try:
                total += process.memory_info().rss
            except psutil.Error:  # it ended between the two calls
                continue
        self.peak_bytes = max(self.peak_bytes, total)

    def end_all(self) -> None:
        """Kill the children first: the lock is let go only with this process, after them."""
        children = self._children()
        for process in children:
            try:
                process.kill()
            except psutil.Error:
                continue
        psutil.wait_procs(children, timeout=5)
        self.this_process.kill()

    def _children(self) -> list[psutil.Process]:
        try:
            return self.this_process.children(recursive=True)
        except psutil.Error:
            return []


@contextmanager
def _locked(stage: stages.Stage) -> Iterator[None]:
    """Hold the stage's lock, so that no two processes work at it."""
    config.STATE.mkdir(parents=True, exist_ok=True)
    holder = config.STATE / f"{stage.name}.pid"
    lock = filelock.FileLock(config.STATE / f"{stage.name}.lock")
    try:
        lock.acquire(timeout=LOCK_SECONDS)
    except filelock.Timeout:
        pid = holder.read_text(encoding="utf-8").strip() if holder.is_file() else "unknown"
        raise StudyError(
            f"another process (pid {pid}) is running this stage; wait for it, or end it with `kill {pid}`"
        ) from None
    try:
        files.write_text(f"{os.getpid()}\n", holder)
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def _started_by() -> list[psutil.Process]:
    """The pipeline above this process, which must still be there if dvc started it."""
    above = pipeline_above(psutil.Process())
    if "DVC_STAGE" in os.environ and not above:
        raise StudyError("the dvc that started this stage is gone; run `dvc repro` again")
    return above


def _terminated(signum: int, frame: object) -> None:
    """Turn SIGTERM into an exception, so that the kernel is shut down and the lock let go."""
    raise SystemExit(128 + signum)


@contextmanager
def supervised(name: str) -> Iterator[None]:
    """Run the block as the stage `name`: locked, watched, timed.

    Prints a line before and after, and on success writes `reports/timings/<name>.json` (but for the
    report): `seconds`, `budget_seconds`, `peak_memory_mb` (this process and its children) and
    :func:`stages.machine`.

    Raises:
        StudyError: when the stage is unknown, another live process holds it, or the dvc that started
            it is gone already.
    """
    stage = stages.find(name)
    above = _started_by()
    os.environ.update(stages.ENVIRONMENT | {RUN_BY_PIPELINE: stage.name})
    signal.signal(signal.SIGTERM, _terminated)
    with _locked(stage):
        print(stages.headline(stage), flush=True)
        watch = _Watch(above)
        watch.start()
        started = time.perf_counter()
        try:
            yield
        finally:
            watch.stopped.set()
        seconds = time.perf_counter() - started
        watch.sample()
        megabytes, allowed = watch.peak_bytes / 2**20, stages.budget(stage)
        taken = files.Timing(round(seconds, 1), allowed, round(megabytes), stages.machine())
        # The page shows the times and depends on them: with its own it would never be up to date.
        if stage.name != "report":
            files.write_json(asdict(taken), config.TIMINGS / f"{stage.name}.json")
        over = " (OVER BUDGET)" if seconds > allowed else ""
        print(
            f"{stage.name}: {seconds:.0f} s of {allowed} s{over}, peak memory {megabytes:.0f} MB",
            flush=True,
        )

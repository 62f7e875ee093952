"""Run one stage: alone, watched, timed, and gone when the pipeline above it is gone.

Nothing here changes a result, so no stage depends on this module.
"""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import filelock
import psutil

from dualrec_utils import config, files
from dualrec_utils.errors import StudyError

# An orphan of a killed run is gone within two polls; a lock held for longer belongs to a live run.
LOCK_SECONDS = 15
POLL_SECONDS = 0.5
BUDGETS = "budgets.json"
# What the notebook kernels and the stages run with. Two programs that spin while they wait for each
# other's threads make a 2-core machine ten times slower, hence PASSIVE.
ENVIRONMENT = {
    "OMP_WAIT_POLICY": "PASSIVE",
    "PYTHONHASHSEED": "0",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "KERAS_BACKEND": "torch",
}


@dataclass(frozen=True)
class Stage:
    """One stage: its name (as in `dvc.yaml` and `params.yaml`), notebook number and time budget.

    Attributes:
        name: of the DVC stage and its section.
        number: of its notebook, None for a stage without one.
        budget_seconds: on 2 CPU cores, default profile.
    """

    name: str
    number: int | None
    budget_seconds: int

    @property
    def notebook(self) -> str | None:
        """File name of the notebook, e.g. `02_lstm.ipynb`."""
        return None if self.number is None else f"{self.number:02d}_{self.name}.ipynb"


STAGES = (
    Stage("data", None, 60),
    Stage("eda", 1, 60),
    Stage("lstm", 2, 300),
    Stage("baselines", 3, 700),
    Stage("movielm", None, 360),
    Stage("zero_shot_llm", 4, 240),
    Stage("lora_finetuning", 5, 180),
    Stage("rerank_ablation", 6, 120),
    Stage("results", 7, 90),
    Stage("audit", 8, 400),
    Stage("report", None, 30),
)
NAMES = tuple(stage.name for stage in STAGES)


def find(name: str) -> Stage:
    """The stage of that name.

    Raises:
        StudyError: naming the known stages.
    """
    for stage in STAGES:
        if stage.name == name:
            return stage
    raise StudyError(f"there is no stage {name!r}; stages: {', '.join(NAMES)}")


def budget(stage: Stage) -> int:
    """Seconds that a stage may take on 2 CPU cores with the parameters at hand.

    A profile whose stages work longer says so in a file of its own, :data:`BUDGETS` beside its
    `params.yaml`: stage -> seconds. Stages it does not name have the default profile's budget.

    Raises:
        StudyError: when that file names a stage that does not exist.
    """
    path = config.ROOT / BUDGETS
    own = files.read_json(path) if path.is_file() else {}
    for name in own:
        find(name)
    return own.get(stage.name, stage.budget_seconds)


def machine() -> dict[str, str | int]:
    """What the last digits of a result can hang on: processor, cores, Python and torch."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count() or 1,
        "python": platform.python_version(),
        "torch": importlib.metadata.version("torch"),
    }


def _cpu_model() -> str:
    described = Path("/proc/cpuinfo")
    if described.is_file():
        for line in described.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def last_seconds(stage: Stage) -> float | None:
    """Seconds that the stage took when it last succeeded, or None."""
    path = config.TIMINGS / f"{stage.name}.json"
    return float(files.read_json(path)["seconds"]) if path.is_file() else None


def headline(stage: Stage) -> str:
    """`[3/10] lstm: budget 300 s, last time 142 s; at most 11 min left of the whole run`.

    What is left counts this stage and the ones after it with their last times, or their budgets where
    none is known; DVC may skip some of them.
    """
    place = STAGES.index(stage)
    last = last_seconds(stage)
    left = 0.0
    for one in STAGES[place:]:
        taken = last_seconds(one)
        left += budget(one) if taken is None else taken
    before = "not run here before" if last is None else f"last time {last:.0f} s"
    rest = f"{left / 60:.0f} min" if left >= 90 else f"{left:.0f} s"
    return (
        f"[{place + 1}/{len(STAGES)}] {stage.name}: budget {budget(stage)} s, {before};"
        f" at most about {rest} left of the whole run"
    )


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
        self.own = psutil.Process()
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
        for process in [self.own, *self._children()]:
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
        self.own.kill()

    def _children(self) -> list[psutil.Process]:
        try:
            return self.own.children(recursive=True)
        except psutil.Error:
            return []


@contextmanager
def _locked(stage: Stage) -> Iterator[None]:
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
def running(name: str) -> Iterator[None]:
    """Run the block as the stage `name`: locked, watched, timed.

    Prints a line before and after, and on success writes `reports/timings/<name>.json`: `seconds`,
    `budget_seconds`, `peak_memory_mb` (this process and its children) and :func:`machine`.

    Raises:
        StudyError: when the stage is unknown, another live process holds it, or the dvc that started
            it is gone already.
    """
    stage = find(name)
    above = _started_by()
    os.environ.update(ENVIRONMENT)
    # A notebook that calls `make` hands down its own; each kernel sets the right one itself.
    os.environ.pop("MPLBACKEND", None)
    signal.signal(signal.SIGTERM, _terminated)
    with _locked(stage):
        print(headline(stage), flush=True)
        watch = _Watch(above)
        watch.start()
        started = time.perf_counter()
        try:
            yield
        finally:
            watch.stopped.set()
        seconds = time.perf_counter() - started
        watch.sample()
        megabytes = watch.peak_bytes / 2**20
        files.write_json(
            {
                "seconds": round(seconds, 1),
                "budget_seconds": budget(stage),
                "peak_memory_mb": round(megabytes),
                "machine": machine(),
            },
            config.TIMINGS / f"{stage.name}.json",
        )
        over = " (OVER BUDGET)" if seconds > budget(stage) else ""
        print(
            f"{stage.name}: {seconds:.0f} s of {budget(stage)} s{over}, peak memory {megabytes:.0f} MB",
            flush=True,
        )


def reported(name: str) -> Callable[[Callable[[], int | None]], Callable[[], int]]:
    """Decorator: what a command's function becomes, so that it returns the exit status.

    That is 2 after a :class:`StudyError`, printed as one clear message that begins with the command's
    `name`; else what the function returns, 0 for None. Every other exception goes its way, traceback
    and all.
    """

    def decorate(work: Callable[[], int | None]) -> Callable[[], int]:
        @functools.wraps(work)
        def command() -> int:
            try:
                return work() or 0
            except StudyError as error:
                print(f"dualrec: {name}: {error}", file=sys.stderr, flush=True)
                return 2

        return command

    return decorate


def carry_out(name: str, work: Callable[[], None]) -> int:
    """Do `work` as the stage `name` and return the exit status.

    That is as :func:`reported` has it, and 130 after Ctrl-C, printed as one clear message too.
    """

    @reported(name)
    def stage() -> None:
        with running(name):
            work()

    try:
        return stage()
    except KeyboardInterrupt:
        print(f"dualrec: {name}: interrupted; `dvc repro` takes it up again", file=sys.stderr, flush=True)
        return 130

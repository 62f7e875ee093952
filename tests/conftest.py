"""A tiny MovieLens of our own making, in MovieLens' own file formats, and folders to work in."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from hypothesis import settings

from dualrec_utils.core import closure, config, files, predictions, splits
from dualrec_utils.core.catalog import load_catalog
from dualrec_utils.core.config import CASE, ITEM, RANK, SCORE, SEED, TEXT, USER
from dualrec_utils.core.predictions import Scope
from dualrec_utils.datasets import known, prepare
from dualrec_utils.models import handoff

# numba would compile ranx for a minute, to compare metrics of lists that need a moment without.
os.environ["NUMBA_DISABLE_JIT"] = "1"

# No deadline: a busy machine is no fault of the code. The same examples on every run.
settings.register_profile("study", deadline=None, derandomize=True, max_examples=30)
settings.load_profile("study")

# Settings of stage `data` that fit the tiny data set.
TINY = {
    "dataset": "ml-100k",
    "seed": 7,
    "order_seed": 0,
    "n_items": 24,
    "min_interactions": 9,
    "train_share": 0.7,
    "validation_share": 0.15,
    "cases_per_user": 3,
}
N_USERS, N_MOVIES = 40, 30


@pytest.fixture(scope="module")
def one_thread():
    """Tiny matrices gain nothing from threads, which fight with whatever else runs."""
    # Imported here: most tests do without torch.
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def free_algorithms():
    """Another test may have left torch deterministic: the LSTM turns it on for its whole process."""
    import torch

    torch.use_deterministic_algorithms(False)


@pytest.fixture
def figures_closed():
    """Figures that a test leaves open are closed after it."""
    # Imported here: most tests do without pyplot.
    import matplotlib.pyplot as plt

    yield
    plt.close("all")


def item_line(item: int, title: str, genres: set[str]) -> str:
    """One line of u.item: id, title, dates, address, then nineteen flags, "unknown" first."""
    flags = "|".join("1" if genre in genres else "0" for genre in ("unknown", *config.GENRES))
    return f"{item}|{title}|01-Jan-1995||http://example.org|{flags}"


def tiny_files() -> dict[str, bytes]:
    """`u.data` and `u.item` of 40 users and 30 movies, 29 and 30 being the same movie."""
    rng = np.random.default_rng(0)
    titles = [f"Film {i:02d} ({1960 + i})" for i in range(1, N_MOVIES)] + [f"Film 29 ({1960 + 29})"]
    genres = [{config.GENRES[i % 18], config.GENRES[(3 * i) % 18]} for i in range(N_MOVIES)]
    items = [item_line(i + 1, titles[i], genres[i]) for i in range(N_MOVIES)]
    ratings = []
    for user in range(1, N_USERS + 1):
        chosen = rng.choice(N_MOVIES, size=rng.integers(16, 22), replace=False) + 1
        # Whole minutes, drawn with repeats: equal timestamps occur.
        times = 880_000_000 + 60 * rng.integers(0, 12, size=len(chosen))
        rows = zip(chosen, rng.integers(1, 6, size=len(chosen)), times, strict=True)
        ratings += [f"{user}\t{item}\t{stars}\t{time}" for item, stars, time in rows]
    return {
        "u.data": ("\n".join(ratings) + "\n").encode(),
        "u.item": ("\n".join(items) + "\n").encode("latin-1"),
    }


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that takes the place of the repository for everything written."""
    use_root(tmp_path / "root", monkeypatch)
    # What the repository holds for all profiles.
    monkeypatch.setattr(config, "STUDIES", config.REPORTS / "studies")
    return config.ROOT


def use_root(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every path of :mod:`core.config` begin at `folder`."""
    monkeypatch.setattr(config, "ROOT", folder)
    monkeypatch.setattr(config, "REPORTS", folder / "reports")
    for name in ("figures", "tables", "metrics", "timings"):
        monkeypatch.setattr(config, name.upper(), folder / "reports" / name)
    monkeypatch.setattr(config, "RAW", folder / "data" / "raw")
    monkeypatch.setattr(config, "STATE", folder / "data" / ".state")


def use_downloads(
    folder: Path, dataset: str, contents: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Make `folder` a DUALREC_DATA with a data set's files; their checksums are the expected ones."""
    for name, content in contents.items():
        path = folder / dataset / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        monkeypatch.setitem(known.find(dataset).sha256, name, files.sha256(path))
    monkeypatch.setenv("DUALREC_DATA", str(folder))


def write_hints(hints: Mapping[str, int], scope: Scope) -> None:
    """Let the LSTM's lists for the cases of a scope begin with these movies: case -> movie."""
    first = pd.DataFrame({CASE: list(hints), RANK: 1, ITEM: list(hints.values())})
    first = first.assign(**{SCORE: 0.0, TEXT: None, SEED: 0})
    path = predictions.path_of("lstm", scope.replace(stage="lstm"))
    files.write_parquet(first.astype(predictions.COLUMNS), path)


def edit_code(monkeypatch: pytest.MonkeyPatch, folder: Path, *names: str) -> None:
    """The package with a statement more in some modules, in the place of the one at hand."""
    package = folder / "dualrec_utils"
    shutil.copytree(config.PACKAGE_ROOT / "dualrec_utils", package, symlinks=True)
    for name in names:
        with open(package / name, "a", encoding="utf-8") as stream:
            stream.write("CHANGED = True\n")
    monkeypatch.setattr(config, "PACKAGE_ROOT", folder)
    # Its default was bound when it was defined.
    monkeypatch.setitem(closure.digest.__kwdefaults__, "root", folder)


@pytest.fixture
def lora_section(tiny: dict, tmp_path: Path) -> dict:
    """Section `lora_finetuning` of a run on the tiny data set, and the hints that stage `lstm` leaves.

    They are one movie each: the catalog's first for training users (in sample: its second), its third for
    validation users.
    """
    # Imported here: most tests do without torch.
    import tiny_models

    first, second, third = load_catalog("ml-100k").ids[:3]
    for split, named in (
        ("train", {ITEM: first, handoff.IN_SAMPLE: second}),
        ("validation", {ITEM: third}),
    ):
        hints = pd.DataFrame({USER: sorted(splits.load_earlier("ml-100k", split))}).assign(**named)
        files.write_parquet(hints, config.handoff_dir("ml-100k", "lstm") / f"hints_lora_{split}.parquet")
    base = str(tiny_models.tiny_mistral(tmp_path / "base", chat=True, n_layers=1))
    model = {"model": base, "revision": None, "dtype": "float32", "quantization": "none"}
    schedule = {"n_epochs": 1, "batch_size": 2, "accumulation": 4, "learning_rate": 0.01}
    schedule |= {"precision": "auto", "gradient_checkpointing": False, "checkpoint_steps": 50}
    shape = {"rank": 2, "alpha": 4, "dropout": 0.1, "max_tokens": 1024, "n_recent": 3, "n_titles": 3}
    shape |= {"n_users": None}
    return {"dataset": "ml-100k", "seed": 4, "models": {"small": model}, **schedule, **shape}


@pytest.fixture
def tiny_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for DUALREC_DATA that holds the tiny data set."""
    use_downloads(tmp_path / "downloads", "ml-100k", tiny_files(), monkeypatch)
    return tmp_path / "downloads"


@pytest.fixture
def tiny(root: Path, tiny_folder: Path) -> dict:
    """The tiny data set prepared under :func:`root`; the fixture is what `prepare` returns."""
    return prepare.prepare(**TINY)


class Visit(NamedTuple):
    """A page once it is loaded: its tab, what its console holds, and the addresses it asked for."""

    tab: Any
    complaints: list[str]
    requests: list[str]


@pytest.fixture(scope="module")
def chromium():
    """A Chromium without a window, of those that the machine has; without one the test is skipped.

    Of one module, because nothing else in the process may run asyncio meanwhile.
    """
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("Chromium is not installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])


@pytest.fixture
def visit(chromium) -> Iterator[Callable[..., Visit]]:
    """Opens a file in a tab of its own; keywords are those of Playwright's `new_context`."""
    contexts = []

    def open_file(path: Path, **screen: Any) -> Visit:
        contexts.append(chromium.new_context(**screen))
        visit = Visit(contexts[-1].new_page(), [], [])
        visit.tab.on("console", lambda message: visit.complaints.append(message.text))
        visit.tab.on("pageerror", lambda error: visit.complaints.append(error.message))
        visit.tab.on("request", lambda request: visit.requests.append(request.url))
        visit.tab.goto(path.as_uri())
        # What lies inside the page (data:) is asked of nobody.
        visit.requests[:] = [url for url in visit.requests if not url.startswith("data:")]
        return visit

    yield open_file
    for context in contexts:
        context.close()


@pytest.fixture(scope="session")
def toy_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of a run in small, see :mod:`toy_run`."""
    import toy_run

    with pytest.MonkeyPatch.context() as monkeypatch:
        return toy_run.build(tmp_path_factory.mktemp("run"), monkeypatch)


@pytest.fixture
def toy_copy(toy_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it with `params.yaml`, which processes that the test starts find too."""
    root = tmp_path / "root"
    shutil.copytree(toy_run, root)
    shutil.copy(config.PACKAGE_ROOT / "params.yaml", root)
    monkeypatch.setenv("DUALREC_ROOT", str(root))
    use_root(root, monkeypatch)
    return root


@pytest.fixture(scope="session")
def engines(toy_run: Path):
    """What the service loads of it."""
    from dualrec_utils.service.web import loading

    with pytest.MonkeyPatch.context() as monkeypatch:
        use_root(toy_run, monkeypatch)
        return loading.load()

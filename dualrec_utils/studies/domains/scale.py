"""Time and memory as users grow, on video games with their whole catalog: `dualrec study domains scale`.

Each measurement is a process of its own, whose peak memory is the whole program's. Measured is what a run
does with each: stage `data`; one pass of the LSTM over all positions; EASE-R and item-kNN, fitted and asked
for :data:`N_LISTED` users; and lists of ten titles by movielm, exact and by a beam. Lists are made one user
by one: a few hundred say what any number takes, and no more are made.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import shutil
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pandas as pd

from dualrec_utils.core import config, files
from dualrec_utils.core.config import ITEM, USER
from dualrec_utils.core.errors import StudyError
from dualrec_utils.datasets import known, movielens, sources
from dualrec_utils.pipeline import params, stages
from dualrec_utils.studies.domains.settings import folder_of, path_of

DATASET = "amazon-games"
N_USERS = (1_000, 10_000, 50_000)
N_LISTED = 1_000
# Least items of a user under stage `data`.
LEAST = 6
# movielm learns from so many users before it is asked: what is measured is the asking, of some of them.
_N_TAUGHT, _N_LISTS = 2_000, 200
# Of the LSTM: histories a step, and items of a piece. A step encodes every title of the catalog once, and
# padding takes as long as items: few large steps of short pieces fit 16,000 items and short histories.
_BATCH_SIZE, _PIECE = 256, 20
_TABLE = "scale"


def _scratch():
    """Where stage `data` writes here; the profile's own data stay as they are."""
    return config.PACKAGE_ROOT / "data" / "scale"


def write_table() -> None:
    """Measure everything, write `scale.csv` after each measurement and print it.

    Raises:
        StudyError: where the data are not to be had, or a measurement runs out of memory.
    """
    settings = folder_of(DATASET) / "params.yaml"
    whole = params.load(settings)
    jobs = [("data", LEAST)]
    jobs += [(name, n) for name in ("item_knn", "ease", "lstm") for n in N_USERS]
    jobs += [(f"movielm, {method}", _N_TAUGHT) for method in ("exact", "beam")]
    rows = []
    for name, n_users in jobs:
        print(f"domains: scale: {name}, {n_users:,}", flush=True)
        rows.append(_apart(name, n_users, whole.model_dump()))
        print(f"domains: scale: {rows[-1]}", flush=True)
        table = pd.DataFrame(rows).assign(cores=stages.machine()["cores"])
        files.write_csv(table, path_of(_TABLE))
    shutil.rmtree(_scratch(), ignore_errors=True)
    print(table.to_string(index=False), flush=True)


def _apart(name: str, n_users: int, whole: dict) -> dict[str, float | str | int]:
    """One measurement in a new process."""
    os.environ["DUALREC_ROOT"] = str(_scratch())
    try:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            return pool.submit(measure, name, n_users, whole).result()
    except RuntimeError as error:
        raise StudyError(f"{name} with {n_users:,} users: {error}; it may want more memory") from None
    finally:
        del os.environ["DUALREC_ROOT"]


def measure(name: str, n_users: int, whole: dict) -> dict[str, float | str | int]:
    """One row of the table, measured in this process.

    Args:
        name: of what is measured.
        n_users: to learn from; of stage `data` the least items of a user.
        whole: all values of the profile.

    Returns:
        `what`, `n_users`, `n_items`, `n_interactions`, `seconds`, `users_per_minute` (asked; missing where
        none is), `peak_memory_mb`.
    """
    if name == "data":
        row = _data(n_users, whole)
    else:
        histories, catalog = _load(n_users)
        row = {"n_users": len(histories), "n_items": len(catalog)}
        row["n_interactions"] = sum(map(len, histories))
        row |= _MEASURES[name](histories, catalog, whole)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    row["peak_memory_mb"] = round(peak / (2**20 if sys.platform == "darwin" else 2**10))
    return {"what": name, **row}


def _data(least: int, whole: dict) -> dict[str, float | int]:
    from dualrec_utils.core.domain import Domain
    from dualrec_utils.datasets import prepare

    sections = whole["data"] | {"min_interactions": least, "n_items": _n_items()}
    started = time.perf_counter()
    summary = prepare.prepare(
        dataset=DATASET,
        seed=whole["seed"],
        order_seed=whole["order_seed"],
        domain=Domain(**whole["domain"]),
        **sections,
    )
    row = {"n_users": summary["n_users"], "n_items": summary["n_items"]}
    return row | {
        "n_interactions": summary["n_interactions"],
        "seconds": time.perf_counter() - started,
        "users_per_minute": np.nan,
    }


def _n_items() -> int:
    """All items of the data set, those of one title counted once."""
    parsed = known.parse(DATASET, sources.fetch(DATASET).paths[0])
    kept, _, _ = movielens.merge_duplicates(parsed.ratings, parsed.items)
    return kept[ITEM].nunique()


def _load(n_users: int):
    """Histories of so many users, or of all where there are fewer, and the catalog."""
    from dualrec_utils.core import splits
    from dualrec_utils.core.catalog import load_catalog

    interactions = splits.load_interactions(DATASET)
    histories = [items.to_numpy() for _, items in interactions.groupby(USER)[ITEM]]
    order = np.random.default_rng(0).permutation(len(histories))[:n_users]
    return [histories[place] for place in order], load_catalog(DATASET)


def _timed(
    fit: Callable[[], object], ask: Callable[[], object] | None = None, *, n_lists: int = 0
) -> dict[str, float]:
    started = time.perf_counter()
    fit()
    fitted = time.perf_counter()
    if ask:
        ask()
    speed = 60 * n_lists / (time.perf_counter() - fitted) if ask else np.nan
    return {"seconds": fitted - started, "users_per_minute": speed}


def _baseline(name: str) -> Callable:
    def run(histories, catalog, whole: dict) -> dict[str, float]:
        from dualrec_utils.models import baselines

        model = baselines.build(name, catalog.ids, seed=0, **whole["baselines"]["models"][name])
        some = [history[:-1] for history in histories[:N_LISTED]]
        return _timed(lambda: model.fit(histories), lambda: model.score(some), n_lists=len(some))

    return run


def _lstm(histories, catalog, whole: dict) -> dict[str, float]:
    from dualrec_utils.content.features import item_features
    from dualrec_utils.models.lstm import sequences, training

    section = whole["lstm"]
    features = item_features(
        catalog, title_vocabulary=section["title_vocabulary"], title_length=section["title_length"]
    )
    rows = [catalog.rows(history) for history in histories]
    pieces = sequences.every_position(rows, length=_PIECE)
    learning = {"epochs": 1, "batch_size": _BATCH_SIZE, "learning_rate": section["learning_rate"]}
    return _timed(lambda: training.train(features, pieces, seed=0, dropout=section["dropout"], **learning))


def _movielm(method: str) -> Callable:
    def run(histories, catalog, whole: dict) -> dict[str, float]:
        from dualrec_utils.core.config import CASE, HISTORY
        from dualrec_utils.models.language import constrained, prompts
        from dualrec_utils.models.movielm import model as movielm

        # Some titles of the whole catalog are a paragraph long.
        section = whole["movielm"] | {"n_epochs": 1, "max_tokens": 512}
        shown = dict(enumerate(histories))
        before = [history[:-1] for history in histories[:_N_LISTS]]
        cases = pd.DataFrame({CASE: list(map(str, range(len(before)))), HISTORY: before})
        settings, trained = whole["zero_shot_llm"], []
        texts = prompts.build_history_prompts(cases, catalog, n_recent=settings["n_history"], genres=False)
        searching = {"k": settings["n_ranked"], "width": settings["beam_width"], "method": method}
        return _timed(
            lambda: trained.extend(movielm.train(shown, {0: shown[0]}, catalog, seed=0, **section)[:2]),
            lambda: constrained.rank_titles(
                trained[0], trained[1], texts, catalog, excluded=before, label="lists", **searching
            ),
            n_lists=len(before),
        )

    return run


_MEASURES = {name: _baseline(name) for name in ("item_knn", "ease")} | {
    "lstm": _lstm,
    "movielm, exact": _movielm("exact"),
    "movielm, beam": _movielm("beam"),
}

"""What the language side's shortcuts are worth, measured side by side in one process."""

from __future__ import annotations

import statistics
import time

import numpy as np
import pandas as pd

from dualrec_utils.core import predictions
from dualrec_utils.core.catalog import load_catalog
from dualrec_utils.core.errors import StudyError
from dualrec_utils.core.predictions import Scope
from dualrec_utils.models import handoff
from dualrec_utils.models.language import constrained, generation, loading, prompts
from dualrec_utils.pipeline import stages

REPEATS = 5
ONE_BY_ONE, BATCHED = "one by one", "batched"


def bench_generation(
    dataset: str,
    *,
    model: str = "movielm",
    dtype: str = "float32",
    n_prompts: int = 128,
    batch_size: int = 64,
    max_new_tokens: int = 60,
    n_recent: int = 5,
    n_titles: int = 3,
    repeats: int = REPEATS,
) -> dict:
    """Free-text answers to the same prompts, one by one and in batches, in turn; medians of the repeats.

    The prompts are those of notebook 04, of validation users evenly spread over the cases.

    Args:
        dataset: whose prompts, and whose `movielm`.
        model, dtype: as in `params.yaml`.
        n_prompts: prompts answered in one repeat.
        batch_size, max_new_tokens: of generation. n_recent, n_titles: of the prompts.
        repeats: rounds that count, after one that warms up.

    Returns:
        `n_prompts`, `batch_size`, `prompts_per_second` of both ways, their `ratio` with the lowest and the
        highest of the repeats, `n_different` answers (rounding can turn a near tie), `machine`.

    Raises:
        StudyError: when the data set has fewer cases, or the model is missing.
    """
    texts = _prompts(dataset, n_prompts=n_prompts, n_recent=n_recent, n_titles=n_titles)
    language_model, tokenizer = loading.load_model(loading.locate(model, dataset=dataset), dtype=dtype)
    sizes = {ONE_BY_ONE: 1, BATCHED: batch_size}
    speeds: dict[str, list[float]] = {name: [] for name in sizes}
    answers: dict[str, list[str]] = {}
    for repeat in range(repeats + 1):
        for name, size in sizes.items():
            started = time.perf_counter()
            answers[name] = generation.generate(
                language_model,
                tokenizer,
                texts,
                max_new_tokens=max_new_tokens,
                batch_size=size,
                n_lines=n_titles,
                label=name if repeat else f"{name}: warm-up",
            )
            if repeat:
                speeds[name].append(n_prompts / (time.perf_counter() - started))
    ratios = [fast / slow for fast, slow in zip(speeds[BATCHED], speeds[ONE_BY_ONE], strict=True)]
    return {
        "dataset": dataset,
        "model": model,
        "machine": stages.machine(),
        "n_prompts": n_prompts,
        "batch_size": batch_size,
        "prompts_per_second": {name: statistics.median(values) for name, values in speeds.items()},
        "ratio": statistics.median(ratios),
        "ratio_lowest": min(ratios),
        "ratio_highest": max(ratios),
        "n_different": sum(
            one != many for one, many in zip(answers[ONE_BY_ONE], answers[BATCHED], strict=True)
        ),
    }


def generation_table(outcome: dict) -> pd.DataFrame:
    """The outcome of :func:`bench_generation`, one row a way of answering."""
    return pd.DataFrame(
        {
            "answering": name if name == ONE_BY_ONE else f"{name}, {outcome['batch_size']} at once",
            "prompts": outcome["n_prompts"],
            "prompts/s": round(speed, 1),
            "times as fast": 1.0 if name == ONE_BY_ONE else round(outcome["ratio"], 1),
        }
        for name, speed in outcome["prompts_per_second"].items()
    )


def bench_constrained(
    dataset: str,
    *,
    model: str = "movielm",
    dtype: str = "float32",
    n_prompts: int = 256,
    n_exact: int = 256,
    n_scored: int = 32,
    k: int = 10,
    width: int = 20,
    batch_size: int = 64,
    n_recent: int = 5,
) -> dict:
    """Lists of k catalog items, seen ones excluded: beam, exact search and every title scored.

    After the paper's prompt, whose lines carry genres, titles are scored with theirs; after the bare
    history alone, as `movielm` was trained on it.

    Args:
        dataset, model, dtype, n_recent: as :func:`bench_generation`.
        n_prompts: prompts of each kind. n_exact: how many of them exact search gets, which is slower.
        n_scored: after how many of these histories every title is scored.
        k: items wanted. width: of the beam, at least k. batch_size: prompts searched at once.

    Returns:
        `rows`: one dict a way with `prompt`, `way`, `n_prompts`, `users_per_minute` and `overlap` (with
        the exact k best of the same prompts, 0 to 1); `k`, `width`, `machine`.
    """
    n_exact = min(n_exact, n_prompts)
    n_scored = min(n_scored, n_exact)
    catalog = load_catalog(dataset)
    cases = cases_of(dataset, n_prompts)
    language_model, tokenizer = loading.load_model(loading.locate(model, dataset=dataset), dtype=dtype)
    seen = constrained.seen_items(cases)
    unseen = [np.setdiff1d(catalog.ids, items) for items in seen]
    both, shared = (language_model, tokenizer), {"batch_size": batch_size, "k": k, "width": width}
    paper_prompts = prompts.build_prompts(
        cases, catalog, hints=handoff.load_hints(_scope(dataset)), n_recent=n_recent
    )
    histories = prompts.build_history_prompts(cases, catalog, n_recent=n_recent, genres=False)

    def search(texts: list[str], method: str, *, genres: bool) -> tuple[np.ndarray, float]:
        settings = {"method": method, "label": method, "genres": genres, **shared}
        started = time.perf_counter()
        scores = constrained.rank_titles(*both, texts, catalog, excluded=seen[: len(texts)], **settings)
        return scores, 60 * len(texts) / (time.perf_counter() - started)

    # The first round warms up.
    search(histories, "beam", genres=False)
    rows = []
    for prompt, texts, genres in (("the paper's", paper_prompts, True), ("history only", histories, False)):
        beam, beam_speed = search(texts, "beam", genres=genres)
        exact, exact_speed = search(texts[:n_exact], "exact", genres=genres)
        shared_items = constrained.overlap(beam[:n_exact], exact, k=k)
        rows.append((prompt, "beam", len(beam), beam_speed, shared_items))
        rows.append((prompt, "exact search", len(exact), exact_speed, 1.0))
    started = time.perf_counter()
    every = constrained.score_titles(
        *both, histories[:n_scored], catalog, candidates=unseen[:n_scored], label="every title"
    )
    speed = 60 * n_scored / (time.perf_counter() - started)
    agreement = constrained.overlap(exact[:n_scored], every, k=k)
    rows.append(("history only", "every title", n_scored, speed, agreement))
    names = ("prompt", "way", "n_prompts", "users_per_minute", "overlap")
    return {
        "dataset": dataset,
        "model": model,
        "machine": stages.machine(),
        "k": k,
        "width": width,
        "rows": [dict(zip(names, row, strict=True)) for row in rows],
    }


def constrained_table(outcome: dict) -> pd.DataFrame:
    """The outcome of :func:`bench_constrained`, one row a prompt and way."""
    table = pd.DataFrame(outcome["rows"])
    table["users_per_minute"] = table["users_per_minute"].round().astype(int)
    overlap = table.pop("overlap").round(3)
    return table.rename(columns={"n_prompts": "prompts", "users_per_minute": "users/min"}).assign(
        **{f"overlap@{outcome['k']}": overlap}
    )


def _prompts(dataset: str, *, n_prompts: int, n_recent: int, n_titles: int) -> list[str]:
    return prompts.build_prompts(
        cases_of(dataset, n_prompts),
        load_catalog(dataset),
        hints=handoff.load_hints(_scope(dataset)),
        n_recent=n_recent,
        n_titles=n_titles,
    )


def _scope(dataset: str) -> Scope:
    return Scope(dataset, "bench", "next_item", "validation")


def cases_of(dataset: str, n_prompts: int) -> pd.DataFrame:
    """Validation cases evenly spread over the users.

    Raises:
        StudyError: where there are fewer.
    """
    cases = predictions.load_cases(_scope(dataset))
    if len(cases) < n_prompts:
        raise StudyError(f"{dataset} has {len(cases)} validation cases; n_prompts is {n_prompts}: lower it")
    return cases.iloc[:: len(cases) // n_prompts].head(n_prompts)

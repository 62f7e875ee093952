"""What the language side's shortcuts are worth, measured side by side in one process."""

from __future__ import annotations

import statistics
import time

import pandas as pd

from dualrec_utils import generation, loading, predictions, prompts, responses, stages
from dualrec_utils.errors import StudyError

REPEATS = 3
ONE_BY_ONE, BATCHED = "one by one", "batched"


def bench_generation(
    dataset: str,
    *,
    model: str = "movielm",
    n_prompts: int = 128,
    batch_size: int = 64,
    max_new_tokens: int = 60,
    n_recent: int = 5,
    n_titles: int = 3,
) -> dict:
    """Free-text answers to the same prompts, one by one and in batches, in turn; medians of the repeats.

    The prompts are those of notebook 04, of validation users evenly spread over the cases.

    Args:
        dataset: whose prompts, and whose `movielm`.
        model: as in `params.yaml`.
        n_prompts: prompts answered in one repeat.
        batch_size, max_new_tokens: of generation. n_recent, n_titles: of the prompts.

    Returns:
        `n_prompts`, `batch_size`, `prompts_per_second` of both ways, their `ratio` with the lowest and the
        highest of the repeats, `n_different` answers (rounding can turn a near tie), `machine`.

    Raises:
        StudyError: when the data set has fewer cases, or the model is missing.
    """
    texts = _prompts(dataset, n_prompts=n_prompts, n_recent=n_recent, n_titles=n_titles)
    language_model, tokenizer = loading.load_model(loading.locate(model, dataset=dataset))
    sizes = {ONE_BY_ONE: 1, BATCHED: batch_size}
    speeds: dict[str, list[float]] = {name: [] for name in sizes}
    answers: dict[str, list[str]] = {}
    for repeat in range(REPEATS + 1):
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


def generation_table(found: dict) -> pd.DataFrame:
    """The outcome of :func:`bench_generation`, one row a way of answering."""
    return pd.DataFrame(
        {
            "answering": name if name == ONE_BY_ONE else f"{name}, {found['batch_size']} at once",
            "prompts": found["n_prompts"],
            "prompts/s": round(speed, 1),
            "times as fast": 1.0 if name == ONE_BY_ONE else round(found["ratio"], 1),
        }
        for name, speed in found["prompts_per_second"].items()
    )


def _prompts(dataset: str, *, n_prompts: int, n_recent: int, n_titles: int) -> list[str]:
    cases = predictions.load_cases(dataset, "next_item", "validation")
    if len(cases) < n_prompts:
        raise StudyError(f"{dataset} has {len(cases)} validation cases; n_prompts is {n_prompts}: lower it")
    cases = cases.iloc[:: len(cases) // n_prompts].head(n_prompts)
    return prompts.build_prompts(
        cases,
        predictions.load_items(dataset),
        hints=responses.load_hints(dataset, "next_item", "validation"),
        n_recent=n_recent,
        n_titles=n_titles,
    )

"""`dualrec bench`: what the study's own shortcuts are worth, measured side by side.

One function a section; each prints a table and writes `reports/studies/bench/<section>.json`. Only numbers
taken in one run on one machine are comparable.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from dualrec_utils.core import config, files
from dualrec_utils.core.catalog import load_catalog
from dualrec_utils.core.errors import StudyError
from dualrec_utils.pipeline import params, stages

REPEATS = 5
# Steps timed in one repeat: a second or two of work for each side.
N_WINDOWS, N_PIECES = 1_024, 512
# The paper names neither; 128 is what its released code takes (SatoSakula/DUALRec at
# 02b4cce, code/thesis_duip_final_code.py:424), 1e-3 is Keras' default for Adam.
WINDOW_BATCH, WINDOW_LEARNING_RATE = 128, 1.0e-3
SHORT_PASSES = 1


@dataclass(frozen=True)
class _Side:
    """One way of training: how its network is built, its sequences and its settings."""

    build: Callable
    sequences: Any
    batch_size: int
    learning_rate: float
    n_timed: int


def bench_lstm(settings: dict, *, short: bool) -> dict:
    """A target at every position against windows of 30 through Keras' own LSTM layer.

    Args:
        settings: section `lstm` of `params.yaml`.
        short: train for one pass over the targets, not for all of the section's epochs (which takes
            about a quarter of an hour on two cores).

    Returns:
        What `reports/studies/bench/lstm.json` holds.
    """
    sides, validation = _lstm_sides(settings)
    speeds = _lstm_speeds(sides, seed=settings["seed"])
    ratios = [fast / slow for fast, slow in zip(speeds["every_position"], speeds["windows"], strict=True)]
    passes = SHORT_PASSES if short else settings["epochs"]
    return {
        "dataset": settings["dataset"],
        "passes_over_targets": passes,
        "machine": stages.machine(),
        "n_targets": {name: side.sequences.n_targets for name, side in sides.items()},
        "targets_per_second": {name: statistics.median(values) for name, values in speeds.items()},
        "ratio": statistics.median(ratios),
        "ratio_lowest": min(ratios),
        "ratio_highest": max(ratios),
        "validation_loss_on_windows": _lstm_losses(sides, validation, passes=passes, seed=settings["seed"]),
    }


def _lstm_sides(settings: dict) -> tuple[dict[str, _Side], Any]:
    """Both sides, and the validation users' windows."""
    # Only this section needs torch and Keras.
    from dualrec_utils.content.features import item_features
    from dualrec_utils.core import splits
    from dualrec_utils.models.lstm import network, sequences

    catalog = load_catalog(settings["dataset"])
    words = {name: settings[name] for name in ("title_vocabulary", "title_length")}
    features, dropout = item_features(catalog, **words), settings["dropout"]
    known, others = (
        [catalog.rows(history) for history in splits.load_histories(settings["dataset"], part).values()]
        for part in ("train", "validation")
    )
    pieces = sequences.every_position(known, length=settings["chunk_length"])
    windows = sequences.windows(known, window=settings["window"])
    ours = (settings["batch_size"], settings["learning_rate"], N_PIECES)
    theirs = (WINDOW_BATCH, WINDOW_LEARNING_RATE, N_WINDOWS)
    sides = {
        "windows": _Side(lambda: keras_lstm(features, dropout), windows, *theirs),
        "every_position": _Side(lambda: network.build_model(features, dropout=dropout), pieces, *ours),
    }
    return sides, sequences.windows(others, window=settings["window"])


def _lstm_speeds(sides: dict[str, _Side], *, seed: int) -> dict[str, list[float]]:
    """Distinct real targets a second, both sides in turn; the first round warms up and is not kept."""
    from dualrec_utils.models.lstm import training
    from dualrec_utils.models.lstm.sequences import Sequences

    ready = {}
    for name, side in sides.items():
        training.make_deterministic(seed)
        model = side.build()
        training.compile_model(model, training.keras.optimizers.Adam(side.learning_rate))
        timed = np.random.default_rng(seed).permutation(len(side.sequences.rows))[: side.n_timed]
        ready[name] = (model, Sequences(side.sequences.rows[timed], side.sequences.targets[timed]))
    speeds: dict[str, list[float]] = {name: [] for name in sides}
    for repeat in tqdm(range(REPEATS + 1), desc="speed", unit="round"):
        for name, (model, some) in ready.items():
            started = time.perf_counter()
            model.fit(some.rows, some.targets, batch_size=sides[name].batch_size, verbose=0)
            if repeat:
                speeds[name].append(some.n_targets / (time.perf_counter() - started))
    return speeds


def _lstm_losses(sides: dict[str, _Side], validation, *, passes: int, seed: int) -> dict[str, float]:
    """Validation loss (nats) on windows, after each side has passed so often over its targets."""
    from dualrec_utils.models.lstm import training

    losses = {}
    for name, side in sides.items():
        training.make_deterministic(seed)
        model = side.build()
        training.fit(
            model,
            side.sequences,
            epochs=passes,
            batch_size=side.batch_size,
            learning_rate=side.learning_rate,
            label=name,
        )
        losses[name] = training.measure(model, validation)["loss"]
    return losses


def keras_lstm(features, dropout: float):
    """The paper's network as Keras writes it: its own LSTM layers, one prediction after a window."""
    import keras

    from dualrec_utils.models.lstm import network

    rows = keras.Input((None,), dtype="int64")
    state = network.MovieEncoder(features)(rows)
    first, second = network.LSTM_UNITS
    state = keras.layers.Dropout(dropout)(keras.layers.LSTM(first, return_sequences=True)(state))
    state = keras.layers.Dropout(dropout)(keras.layers.LSTM(second)(state))
    logits = keras.layers.Dense(len(features.tokens) - 1)(state)
    return keras.Model(rows, logits[:, None])


def lstm_table(outcome: dict) -> pd.DataFrame:
    """The outcome of :func:`bench_lstm`, one row a side."""
    names = {"windows": "windows, keras.layers.LSTM", "every_position": "every position, torch's LSTM"}
    return pd.DataFrame(
        {
            "training": names[side],
            "targets": outcome["n_targets"][side],
            "targets/s": round(outcome["targets_per_second"][side]),
            f"validation loss after {outcome['passes_over_targets']} passes": round(
                outcome["validation_loss_on_windows"][side], 3
            ),
        }
        for side in names
    )


def _run_lstm(*, short: bool) -> None:
    outcome = bench_lstm(params.section("lstm"), short=short)
    path = files.write_json(outcome, config.study_dir("bench") / "lstm.json")
    print(lstm_table(outcome).to_string(index=False))
    print(
        f"every position is {outcome['ratio']:.1f} times as fast per distinct target (repeats:"
        f" {outcome['ratio_lowest']:.1f} to {outcome['ratio_highest']:.1f}); written to {path}"
    )
    if short:
        print("the losses after so few passes say little; without `--short` both sides train to the end")


def _run_generation(*, short: bool) -> None:
    from dualrec_utils.studies.bench import language

    settings = params.section("zero_shot_llm")
    shape = {name: settings[name] for name in ("batch_size", "max_new_tokens", "n_recent", "n_titles")}
    outcome = language.bench_generation(settings["dataset"], **shape)
    path = files.write_json(outcome, config.study_dir("bench") / "generation.json")
    print(language.generation_table(outcome).to_string(index=False))
    print(
        f"batched is {outcome['ratio']:.1f} times as fast (repeats: {outcome['ratio_lowest']:.1f} to"
        f" {outcome['ratio_highest']:.1f}); {outcome['n_different']} answers differ; written to {path}"
    )


def _run_constrained(*, short: bool) -> None:
    from dualrec_utils.studies.bench import language

    settings = params.section("zero_shot_llm")
    shape = {"k": settings["n_ranked"], "width": settings["beam_width"], "n_recent": settings["n_recent"]}
    outcome = language.bench_constrained(settings["dataset"], **shape)
    path = files.write_json(outcome, config.study_dir("bench") / "constrained.json")
    print(language.constrained_table(outcome).to_string(index=False))
    print(f"lists of {outcome['k']} catalog items, beams of {outcome['width']}; written to {path}")


def _run_pretrained(*, short: bool) -> None:
    from dualrec_utils.studies.bench import pretrained

    sections = {"zero_shot": params.section("zero_shot_llm"), "tuning": params.section("lora_finetuning")}
    dataset, measured = sections["zero_shot"]["dataset"], []
    for name in (*pretrained.MODELS, *pretrained.ONLY_TUNED):
        measured.append(pretrained.bench_pretrained(name, dataset=dataset, **sections))
        rows = [pretrained.in_short(one) for one in measured]
        whole = {"in_short": rows, "models": measured}
        path = files.write_json(whole, config.study_dir("bench") / "pretrained.json")
    print(pd.DataFrame(rows).round(3).T.to_string(header=False))
    print(f"on {stages.machine()['cores']} cores in {pretrained.DTYPE}; written to {path}")


SECTIONS: dict[str, Callable[..., None]] = {
    "lstm": _run_lstm,
    "generation": _run_generation,
    "constrained": _run_constrained,
    "pretrained": _run_pretrained,
}


def run_sections(sections: Sequence[str], *, short: bool) -> None:
    """Measure, print and write the named sections; all of them where none is named.

    Args:
        sections: of :data:`SECTIONS`.
        short: train the LSTM for one pass, not for all epochs.

    Raises:
        StudyError: for an unknown section, before any is measured.
    """
    unknown = [name for name in sections if name not in SECTIONS]
    if unknown:
        raise StudyError(f"bench has no section {unknown[0]!r}; sections: {', '.join(SECTIONS)}")
    for name in sections or SECTIONS:
        SECTIONS[name](short=short)

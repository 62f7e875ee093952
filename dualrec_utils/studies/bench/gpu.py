"""`dualrec bench-gpu`: what LoRA, answers and rankings of the catalog cost on this GPU.

The models have the shapes of Mistral-7B-Instruct-v0.3 and of Qwen2.5 in 1.5B and 0.5B, and random weights:
nothing is downloaded, and speed and memory do not depend on what the weights are; only the length of a
search does. Each is written to a temporary folder (15 GB for the largest) and loaded from there, as a
user's model would be.
"""

from __future__ import annotations

import gc
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from transformers import AutoModelForCausalLM, MistralConfig, PreTrainedTokenizerBase

from dualrec_utils.core import config, files
from dualrec_utils.core.catalog import Catalog, load_catalog
from dualrec_utils.core.config import CASE, HISTORY
from dualrec_utils.core.errors import StudyError
from dualrec_utils.models.finetuning import examples as instructions, lora, training as lora_training
from dualrec_utils.models.language import constrained, loading, prompts
from dualrec_utils.models.movielm import documents as movielm_data
from dualrec_utils.pipeline import params, stages

# vocabulary, width, inner width, layers, heads, key-value heads, whether input and output share their
# embeddings; as in the models' config.json.
SHAPES = {
    "7b": (32_768, 4_096, 14_336, 32, 32, 8, False),
    "1.5b": (151_936, 1_536, 8_960, 28, 12, 2, True),
    "0.5b": (151_936, 896, 4_864, 24, 14, 2, True),
    "tiny": (4_096, 32, 64, 2, 4, 2, False),
}
# Tokens of the study's prompts and answers, roughly.
PROMPT, ANSWER = 200, 45
# Items of a prompt after which the catalog is ranked, items listed, and the beam that is searched.
N_HISTORY, K, WIDTH = 20, 10, 20
# The paper's adapter and batch (section 4.2.3).
LORA: dict[str, Any] = {"rank": 8, "alpha": 16, "dropout": 0.1, "seed": 0}
SCHEDULE: dict[str, Any] = {
    "seed": 0,
    "n_epochs": 1,
    "batch_size": 2,
    "accumulation": 4,
    "learning_rate": 2.0e-4,
}
GIB = 2**30


@dataclass(frozen=True)
class Setting:
    """A model's shape, memory allowed (GiB), how it is loaded, whether activations are computed twice."""

    scale: str
    cap_gib: int
    quantization: str
    gradient_checkpointing: bool


SETTINGS = (
    Setting("7b", 40, "none", False),
    Setting("7b", 16, "nf4", True),
    Setting("1.5b", 16, "none", False),
    Setting("0.5b", 16, "none", False),
)


def bench(
    settings: Sequence[Setting], catalog: Catalog, *, dtype: str, n_steps: int, n_prompts: int, n_new: int
) -> pd.DataFrame:
    """Answer, rank and train with every setting in turn.

    Args:
        settings: on a CPU their caps mean nothing.
        catalog: items that are ranked, and whose titles make the tokenizer.
        dtype: of the weights.
        n_steps: LoRA steps measured, after one that is not. n_prompts: prompts answered at once, and as
            many histories after which the catalog is ranked.
        n_new: tokens of every answer.

    Returns:
        A row a setting: its fields, `{generation,training}_tokens_per_second` (answers; prompts and
        answers), `prompts_per_second`, `rankings_per_minute`, `{generation,ranking,training}_peak_gib`
        (missing on a CPU), `note`: empty, or why not run.
    """
    rows = []
    for setting in settings:
        row = asdict(setting) | {"note": ""}
        with tempfile.TemporaryDirectory() as scratch:
            tokenizer = _write_model(Path(scratch), catalog, scale=setting.scale, dtype=dtype)
            try:
                _cap(setting.cap_gib)
                model, _ = loading.load_model(scratch, dtype=dtype, quantization=setting.quantization)
                row |= _generation(model, n_prompts=n_prompts, n_new=n_new)
                row |= _ranking(model, tokenizer, catalog, n_prompts=n_prompts)
                row |= _training(model, tokenizer, n_steps=n_steps, twice=setting.gradient_checkpointing)
            except (StudyError, torch.OutOfMemoryError) as error:
                row["note"] = f"not run: {str(error).splitlines()[0]}"
            model = None  # the next one needs its memory
            gc.collect()
        rows.append(row)
    return pd.DataFrame(rows)


def _cap(gib: int | None) -> None:
    """Let torch use at most so much of the GPU's memory, with None all of it."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        total = torch.cuda.get_device_properties(0).total_memory
        if gib is None:
            torch.cuda.set_per_process_memory_fraction(1.0)
            return
        if gib * GIB > total:
            raise StudyError(f"the GPU has {total / GIB:.0f} GiB, less than {gib}")
        torch.cuda.set_per_process_memory_fraction(gib * GIB / total)


def _write_model(folder: Path, catalog: Catalog, *, scale: str, dtype: str) -> PreTrainedTokenizerBase:
    """Save a model of random weights, drawn on the GPU if there is one, and a tokenizer of the titles."""
    names = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    names = (*names, "num_key_value_heads", "tie_word_embeddings")
    shape = dict(zip(names, SHAPES[scale], strict=True))
    # The cap of the setting before would stop it.
    _cap(None)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = AutoModelForCausalLM.from_config(
            MistralConfig(**shape, sliding_window=None), dtype=getattr(torch, dtype)
        )
    model.save_pretrained(folder)
    tokenizer = movielm_data.train_tokenizer(catalog, vocabulary=SHAPES["tiny"][0])
    tokenizer.save_pretrained(folder)
    return tokenizer


def _measured(name: str, work: Callable[[], object]) -> tuple[float, dict[str, float]]:
    """Seconds that it takes, and the most memory held meanwhile as `<name>_peak_gib`."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        torch.cuda.synchronize()
    started, peak = time.perf_counter(), np.nan
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        peak = torch.cuda.max_memory_allocated() / GIB
    return time.perf_counter() - started, {f"{name}_peak_gib": peak}


def _generation(model, *, n_prompts: int, n_new: int) -> dict[str, float]:
    ids = torch.from_numpy(np.random.default_rng(0).integers(10, 300, (n_prompts, PROMPT))).to(model.device)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "do_sample": False}
    model.generate(**inputs, max_new_tokens=2)
    whole = {"min_new_tokens": n_new, "max_new_tokens": n_new}
    seconds, peak = _measured("generation", lambda: model.generate(**inputs, **whole))
    speeds = {"generation_tokens_per_second": n_prompts * n_new, "prompts_per_second": n_prompts}
    return {name: n / seconds for name, n in speeds.items()} | peak


def _ranking(model, tokenizer, catalog: Catalog, *, n_prompts: int) -> dict[str, float]:
    """The catalog after bare histories drawn at random, by a beam; the first history warms up."""
    rng = np.random.default_rng(2)
    drawn = [rng.choice(catalog.ids, min(N_HISTORY, len(catalog.ids))) for _ in range(n_prompts + 1)]
    cases = pd.DataFrame({CASE: range(len(drawn)), HISTORY: drawn})
    texts = prompts.build_history_prompts(cases, catalog, n_recent=N_HISTORY, genres=False)

    def rank(some: list[str]) -> None:
        how = {"k": K, "method": "beam", "width": WIDTH, "batch_size": n_prompts, "label": "ranking"}
        constrained.rank_titles(model, tokenizer, some, catalog, **how)

    rank(texts[:1])
    seconds, peak = _measured("ranking", lambda: rank(texts[1:]))
    return {"rankings_per_minute": 60 * n_prompts / seconds} | peak


def _training(model, tokenizer, *, n_steps: int, twice: bool) -> dict[str, float]:
    a_step = SCHEDULE["batch_size"] * SCHEDULE["accumulation"]
    rng, made = np.random.default_rng(1), []
    for length in rng.integers(PROMPT - 40, PROMPT + 41, a_step * (n_steps + 1)).tolist():
        ids = rng.integers(10, 300, length + ANSWER).tolist()
        labels = [instructions.IGNORED] * length + ids[length:]
        made.append({"input_ids": ids, "attention_mask": [1] * len(ids), "labels": labels})
    adapted = lora.attach(model, **LORA)

    def train(examples: list[dict], label: str) -> None:
        settings = SCHEDULE | {"gradient_checkpointing": twice, "label": label}
        lora_training.train(adapted, tokenizer, examples, examples[:1], **settings)

    train(made[:a_step], "warm-up")
    timed = made[a_step:]
    seconds, peak = _measured("training", lambda: train(timed, "LoRA"))
    n_tokens = sum(len(one["input_ids"]) for one in timed)
    return {"training_tokens_per_second": n_tokens / seconds} | peak


def run_bench(dtype: str) -> None:
    """Measure, print the table and write `reports/studies/bench/gpu_<device>.json`; nothing without a GPU.

    Args:
        dtype: of the weights; `float16` on a GPU without bfloat16.

    Raises:
        StudyError: for an unknown dtype, or when there is no data set yet.
    """
    if dtype not in loading.DTYPES:
        raise StudyError(f"dtype is {dtype!r}; allowed: {', '.join(loading.DTYPES)}")
    if not torch.cuda.is_available():
        print("not run: no GPU")
        return
    device = torch.cuda.get_device_name(0)
    catalog = load_catalog(params.load().dataset)
    table = bench(SETTINGS, catalog, dtype=dtype, n_steps=10, n_prompts=16, n_new=60)
    rows = table.astype(object).where(table.notna(), None).to_dict("records")
    path = config.study_dir("bench") / f"gpu_{device.lower().replace(' ', '_')}.json"
    files.write_json({"device": device, "dtype": dtype, "machine": stages.machine(), "rows": rows}, path)
    print(f"{table.round(1).to_string(index=False)}\n{device}; written to {path}")

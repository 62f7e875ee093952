"""`dualrec bench-gpu`: what LoRA and generation with 7 billion weights cost on this GPU.

The model has the shape of Mistral-7B-Instruct-v0.3 and random weights: nothing is downloaded, and speed
and memory do not depend on what the weights are. It is written to a temporary folder (15 GB) and loaded
from there, as a user's model would be.
"""

from __future__ import annotations

import gc
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from transformers import AutoModelForCausalLM, MistralConfig, PreTrainedTokenizerBase

from dualrec_utils.core import config, files
from dualrec_utils.core.catalog import Catalog
from dualrec_utils.core.errors import StudyError
from dualrec_utils.models.finetuning import examples as instructions, lora, training as lora_training
from dualrec_utils.models.language import loading
from dualrec_utils.models.movielm import documents as movielm_data
from dualrec_utils.pipeline import stages

# vocabulary, width, inner width, layers, heads, key-value heads; the first as in the model's config.json.
SHAPES = {"7b": (32_768, 4_096, 14_336, 32, 32, 8), "tiny": (512, 32, 64, 2, 4, 2)}
# Tokens of the study's prompts and answers, roughly.
PROMPT, ANSWER = 200, 45
# The paper's adapter and batch (section 4.2.3).
LORA = {"rank": 8, "alpha": 16, "dropout": 0.1, "seed": 0}
SCHEDULE = {"seed": 0, "n_epochs": 1, "batch_size": 2, "accumulation": 4, "learning_rate": 2.0e-4}
GIB = 2**30


@dataclass(frozen=True)
class Setting:
    """Memory allowed (GiB), how the base is loaded, whether activations are computed twice."""

    cap_gib: int
    quantization: str
    gradient_checkpointing: bool


SETTINGS = (Setting(40, "none", False), Setting(16, "nf4", True))


def bench(
    settings: Sequence[Setting], *, scale: str, dtype: str, n_steps: int, n_prompts: int, n_new: int
) -> pd.DataFrame:
    """Generate and train with every setting in turn.

    Args:
        settings: on a CPU their caps mean nothing.
        scale: of :data:`SHAPES`. dtype: of the weights.
        n_steps: LoRA steps measured, after one that is not. n_prompts: prompts answered at once.
        n_new: tokens of every answer.

    Returns:
        A row a setting: its fields, `{generation,training}_tokens_per_second` (answers; prompts and
        answers), `{generation,training}_peak_gib` (missing on a CPU), `note`: empty, or why not run.
    """
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        tokenizer = _write_model(Path(scratch), scale=scale, dtype=dtype)
        for setting in settings:
            row = asdict(setting) | {"note": ""}
            try:
                _cap(setting.cap_gib)
                model, _ = loading.load_model(scratch, dtype=dtype, quantization=setting.quantization)
                row |= _generation(model, n_prompts=n_prompts, n_new=n_new)
                row |= _training(model, tokenizer, n_steps=n_steps, twice=setting.gradient_checkpointing)
            except (StudyError, torch.OutOfMemoryError) as error:
                row["note"] = f"not run: {str(error).splitlines()[0]}"
            model = None  # the next one needs its memory
            gc.collect()
            rows.append(row)
    return pd.DataFrame(rows)


def _cap(gib: int) -> None:
    """Let torch use at most so much of the GPU's memory."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        total = torch.cuda.get_device_properties(0).total_memory
        if gib * GIB > total:
            raise StudyError(f"the GPU has {total / GIB:.0f} GiB, less than {gib}")
        torch.cuda.set_per_process_memory_fraction(gib * GIB / total)


def _write_model(folder: Path, *, scale: str, dtype: str) -> PreTrainedTokenizerBase:
    """Save a model of random weights, drawn on the GPU where there is one, with some tokenizer."""
    names = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    shape = dict(zip((*names, "num_key_value_heads"), SHAPES[scale], strict=True))
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = AutoModelForCausalLM.from_config(
            MistralConfig(**shape, sliding_window=None), dtype=getattr(torch, dtype)
        )
    model.save_pretrained(folder)
    items = pd.DataFrame({"title": [f"Film {i}" for i in range(50)]})
    items = items.assign(item_id=range(50), year=1990, genres=[["Drama"]] * 50)
    tokenizer = movielm_data.train_tokenizer(Catalog.of(items), vocabulary=400)
    tokenizer.save_pretrained(folder)
    return tokenizer


def _measured(name: str, n_tokens: int, work: Callable[[], object]) -> dict[str, float]:
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        torch.cuda.synchronize()
    started, peak = time.perf_counter(), np.nan
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        peak = torch.cuda.max_memory_allocated() / GIB
    return {
        f"{name}_tokens_per_second": n_tokens / (time.perf_counter() - started),
        f"{name}_peak_gib": peak,
    }


def _generation(model, *, n_prompts: int, n_new: int) -> dict[str, float]:
    ids = torch.from_numpy(np.random.default_rng(0).integers(10, 300, (n_prompts, PROMPT))).to(model.device)
    asked = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "do_sample": False}
    model.generate(**asked, max_new_tokens=2)
    whole = {"min_new_tokens": n_new, "max_new_tokens": n_new}
    return _measured("generation", n_prompts * n_new, lambda: model.generate(**asked, **whole))


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
    own = made[a_step:]
    return _measured("training", sum(len(one["input_ids"]) for one in own), lambda: train(own, "LoRA"))


def run_bench(dtype: str) -> None:
    """Measure, print the table and write `reports/studies/bench/gpu_<device>.json`; nothing without a GPU.

    Args:
        dtype: of the weights; `float16` on a GPU without bfloat16.

    Raises:
        StudyError: for an unknown dtype.
    """
    if dtype not in loading.DTYPES:
        raise StudyError(f"dtype is {dtype!r}; allowed: {', '.join(loading.DTYPES)}")
    if not torch.cuda.is_available():
        print("not run: no GPU")
        return
    device = torch.cuda.get_device_name(0)
    found = bench(SETTINGS, scale="7b", dtype=dtype, n_steps=10, n_prompts=16, n_new=60)
    rows = found.astype(object).where(found.notna(), None).to_dict("records")
    path = config.study_dir("bench") / f"gpu_{device.lower().replace(' ', '_')}.json"
    files.write_json({"device": device, "dtype": dtype, "machine": stages.machine(), "rows": rows}, path)
    print(f"{found.round(1).to_string(index=False)}\n{device}; written to {path}")

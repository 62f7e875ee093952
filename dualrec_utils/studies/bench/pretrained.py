"""`dualrec bench pretrained`: how fast small pretrained models answer, rank and learn on this processor."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from dualrec_utils.core.catalog import Catalog, load_catalog
from dualrec_utils.models.finetuning import adapters, examples, lora, training
from dualrec_utils.models.language import chat, constrained, loading, plain, pretrained, prompts
from dualrec_utils.models.language.prompts import format_answer
from dualrec_utils.pipeline import stages
from dualrec_utils.studies.bench import language

MODELS = ("smollm2", "qwen")
# Asking this one in every way would take an hour.
ONLY_TUNED = ("qwen_1_5b",)
DTYPE = "bfloat16"
# Prompts of the paper answered in each of so many rounds.
N_PROMPTS, N_ROUNDS = 32, 3
# Prompts after which the catalog is ranked by the beam, those of them that exact search gets, those after
# which every title is scored, and those whose scores are compared with plain reading and with float32.
N_RANKED, N_EXACT, N_SCORED, N_COMPARED = 32, 4, 2, 4
# Training users that LoRA is timed on; those before them warm up.
N_TAUGHT, N_WARM_UP = 64, 8
_BATCH_SIZE = 8
_PRODUCT = 2_048


def bench_pretrained(name: str, *, dataset: str, zero_shot: dict[str, Any], tuning: dict[str, Any]) -> dict:
    """Measure one pretrained model in bfloat16.

    Args:
        name: of :data:`datasets.weights.MODELS`; fetched where it is not there yet.
        dataset: whose prompts and examples.
        zero_shot, tuning: the sections `zero_shot_llm` and `lora_finetuning` of `params.yaml`.

    Returns:
        `lora` (:func:`taught`), `model`, `dtype`, `machine`, and for a model that is not of
        :data:`ONLY_TUNED` `answers` (:func:`language.bench_generation`), `rankings`
        (:func:`language.bench_constrained`), `scores` (:func:`compared`).

    Raises:
        StudyError: as :func:`models.language.pretrained.written_out`, or for a data set with too few users.
    """
    pretrained.written_out(name)
    loaded = {"model": name, "dtype": DTYPE}
    measured = loaded | {
        "machine": stages.machine(),
        "lora": taught(name, dataset=dataset, tuning=tuning),
    }
    if name in ONLY_TUNED:
        return measured
    asking = {key: zero_shot[key] for key in ("max_new_tokens", "n_recent", "n_titles")}
    shape = {
        "k": zero_shot["n_ranked"],
        "width": zero_shot["beam_width"],
        "n_recent": zero_shot["n_recent"],
    }
    return measured | {
        "answers": language.bench_generation(
            dataset, **loaded, n_prompts=N_PROMPTS, batch_size=N_PROMPTS, repeats=N_ROUNDS, **asking
        ),
        "rankings": language.bench_constrained(
            dataset,
            **loaded,
            n_prompts=N_RANKED,
            n_exact=N_EXACT,
            n_scored=N_SCORED,
            batch_size=N_RANKED,
            **shape,
        ),
        "scores": compared(name, dataset=dataset, n_history=zero_shot["n_history"], **shape),
    }


def compared(name: str, *, dataset: str, n_history: int, k: int, width: int, n_recent: int) -> dict:
    """How far title scores along the tree are from plain reading, and bfloat16 from float32.

    Args:
        name: a model as in `params.yaml`. n_history: items of a prompt. Others as the language benchmarks.

    Returns:
        Of the prompts compared: `off_float32`, `off_bfloat16` (largest difference of a best title's score
        from plain reading in the same precision, nats), `off_between` (of a score in bfloat16 from one in
        float32, nats), `overlap` (of the k best of the two precisions, 0 to 1), `n_prompts`.
    """
    catalog, cases = load_catalog(dataset), language.cases_of(dataset, N_COMPARED)
    texts = prompts.build_history_prompts(cases, catalog, n_recent=n_history, genres=False)
    scores, off = {}, {}
    for dtype in ("float32", DTYPE):
        model, tokenizer = loading.load_model(loading.locate(name, dataset=dataset), dtype=dtype)
        settings = {"excluded": constrained.seen_items(cases), "k": k, "method": "beam", "width": width}
        scores[dtype] = constrained.rank_titles(model, tokenizer, texts, catalog, **settings, label=dtype)
        off[f"off_{dtype}"] = _off(model, tokenizer, texts, scores[dtype], catalog)
    both = np.isfinite(scores["float32"]) & np.isfinite(scores[DTYPE])
    return off | {
        "n_prompts": len(texts),
        "off_between": float(np.abs(scores["float32"][both] - scores[DTYPE][both]).max()),
        "overlap": constrained.overlap(scores[DTYPE], scores["float32"], k=k),
    }


@torch.inference_mode()
def _off(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    scores: np.ndarray,
    catalog: Catalog,
) -> float:
    """Largest difference of a best title's score from reading prompt and title in one pass."""
    names, largest = list(catalog.names.values()), 0.0
    for text, row in zip(texts, scores, strict=True):
        best = int(np.argmax(row))
        start = chat.prompt_ids(tokenizer, text)
        ids = chat.prompt_ids(tokenizer, text, prefix=format_answer([names[best]]))
        line = ids[len(start) :]
        read = plain.log_probabilities(model, ids)[len(start) - 1 : -1]
        largest = max(largest, abs(float(read[range(len(line)), line].sum()) - row[best]))
    return largest


def taught(name: str, *, dataset: str, tuning: dict[str, Any]) -> dict:
    """Tokens a second of LoRA's training, beside what the processor's products allow.

    A token costs four operations a weight: two forwards, two for the gradient through the frozen weights.

    Args:
        name: a model as in `params.yaml`. tuning: section `lora_finetuning`.

    Returns:
        `tokens_per_second`, `product` (operations a second of a square product in the same precision),
        `share` of it that training reaches, `n_weights`.
    """
    wording = {key: tuning[key] for key in ("n_recent", "n_titles")}
    lesson = adapters.lessons(dataset, seed=0, n_users=N_WARM_UP + N_TAUGHT, **wording)[adapters.LORA]
    model, tokenizer = loading.load_model(loading.locate(name, dataset=dataset), dtype=DTYPE)
    n_weights = model.num_parameters()
    encoded = examples.encode(lesson[adapters.TRAIN], tokenizer, max_tokens=tuning["max_tokens"])
    adapted = lora.attach(model, **{key: tuning[key] for key in ("rank", "alpha", "dropout")}, seed=0)
    teaching = {
        "seed": 0,
        "n_epochs": 1,
        "batch_size": _BATCH_SIZE,
        "accumulation": 1,
        "learning_rate": 1e-4,
    }
    for some in (encoded[:N_WARM_UP], encoded[N_WARM_UP:]):
        started = time.perf_counter()
        training.train(adapted, tokenizer, some, some[:1], label=name, **teaching)
        seconds = time.perf_counter() - started
    speed = sum(len(one["input_ids"]) for one in some) / seconds
    product = _product()
    return {
        "tokens_per_second": speed,
        "product": product,
        "share": 4 * n_weights * speed / product,
        "n_weights": n_weights,
    }


def _product() -> float:
    left = torch.ones(_PRODUCT, _PRODUCT, dtype=getattr(torch, DTYPE))
    # The first product warms up.
    left @ left
    started = time.perf_counter()
    for _ in range(5):
        left @ left
    return 5 * 2 * _PRODUCT**3 / (time.perf_counter() - started)


def in_short(measured: dict) -> dict[str, float | str]:
    """What :func:`bench_pretrained` measured as one row of a table for readers."""
    tuned = {
        "model": measured["model"],
        "LoRA tokens a second": measured["lora"]["tokens_per_second"],
        "share of the processor's product": measured["lora"]["share"],
    }
    if measured["model"] in ONLY_TUNED:
        return tuned
    speeds = measured["answers"]["prompts_per_second"]
    rows = measured["rankings"]["rows"]
    ranked = {row["way"]: row for row in rows if row["prompt"] == "history only"}
    return tuned | {
        "answers a minute, one by one": 60 * speeds[language.ONE_BY_ONE],
        "answers a minute, batched": 60 * speeds[language.BATCHED],
        "times as fast": measured["answers"]["ratio"],
        "rankings a minute, beam": ranked["beam"]["users_per_minute"],
        "rankings a minute, exact": ranked["exact search"]["users_per_minute"],
        "overlap of the beam": ranked["beam"]["overlap"],
        "overlap with float32": measured["scores"]["overlap"],
    }

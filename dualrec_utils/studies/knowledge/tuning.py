"""Pretrained language models: tuned with LoRA on histories as lists, and asked for lists of real items.

A training user's items are the lesson: shown the last `n_history` items so far, the model is to write the
next ones, so that each item but a user's first is an answer once. This is the form in which it is asked
(the bare history, notebook 04) and in which movielm is trained.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from dualrec_utils.core.catalog import Catalog
from dualrec_utils.core.config import HISTORY, USER
from dualrec_utils.datasets import weights
from dualrec_utils.models.finetuning import examples, lora, training
from dualrec_utils.models.language import constrained, loading, plain, pretrained
from dualrec_utils.models.language.prompts import build_history_prompts, format_answer
from dualrec_utils.pipeline.schemas import LanguageModel, LoraFinetuning
from dualrec_utils.studies.knowledge.fitting import LENGTH, Learning, passes
from dualrec_utils.studies.knowledge.material import HIDDEN
from dualrec_utils.studies.knowledge.plan import Job
from dualrec_utils.studies.knowledge.settings import Settings, pieces_dir

WIDTH = 20
# Prompts searched at once: exact search holds many more beginnings of each.
_BEAM_BATCH, _EXACT_BATCH = 64, 16
# Validation users whose end is measured: a loss to look at, which decides nothing.
_N_VALIDATION = 16


def lessons(
    histories: Mapping[int, np.ndarray], catalog: Catalog, *, n_history: int, n_learned: int
) -> pd.DataFrame:
    """Examples for :func:`models.finetuning.examples.encode`.

    Args:
        histories: user -> item ids, oldest first; who has one item only gives no example.
        n_history: items of a prompt at most, and items of an answer at most.
        n_learned: last items of a history that are read.

    Returns:
        `user_id`, `prompt` (a bare history), `answer` (the items that follow it, one a line).
    """
    rows = []
    for user, whole in histories.items():
        history = whole[-n_learned:]
        for start in range(1, len(history), n_history):
            answer = [catalog.names[item] for item in history[start : start + n_history]]
            rows.append((user, history[max(0, start - n_history) : start], format_answer(answer)))
    frame = pd.DataFrame(rows, columns=[USER, HISTORY, examples.ANSWER])
    shown = build_history_prompts(frame, catalog, n_recent=n_history, genres=False)
    return frame.assign(**{examples.PROMPT: shown})


def with_random_weights(model: PreTrainedModel, *, seed: int) -> PreTrainedModel:
    """A model of the same architecture, type and device whose weights are drawn as before any training."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh = type(model)(model.config)
    fresh.generation_config = model.generation_config
    loading.share_head(fresh)
    return fresh.to(model.device, model.dtype).eval()


def opened(
    job: Job, entry: LanguageModel, *, dataset: str
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A pretrained model as a job wants it, before it is tuned; fetched where it is not there yet.

    Args:
        entry: of the model, in the study's settings.

    Raises:
        StudyError: as :func:`models.language.pretrained.written_out` and
            :func:`models.language.loading.load_model`.
    """
    if entry.model in weights.MODELS:
        pretrained.written_out(entry.model)
    model, tokenizer = loading.load_model(
        loading.locate(entry.model, dataset=dataset),
        **entry.model_dump(include={"revision", "dtype", "quantization"}),
    )
    return (with_random_weights(model, seed=job.draw) if job.random_weights else model), tokenizer


def tuned(
    job: Job,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    given: Learning,
    *,
    settings: Settings,
    section: LoraFinetuning,
    n_history: int,
    dataset: str,
) -> PreTrainedModel:
    """Train the job's adapter, or go on with it; one that is finished is taken as it is.

    Args:
        section: what the study's settings do not name.
    """
    teaching = {"n_history": n_history, "n_learned": settings.n_learned}
    ends = dict(list(given.validation.items())[:_N_VALIDATION])
    encoded, validation = (
        examples.encode(
            lessons(histories, given.catalog, **teaching),
            tokenizer,
            max_tokens=plain.positions(model.config),
        )
        for histories in (given.train, {user: history[-n_history:] for user, history in ends.items()})
    )
    shape = section.model_dump(include={"rank", "alpha", "dropout"})
    adapted = lora.attach(model, **shape, seed=job.draw)
    training.train(
        adapted,
        tokenizer,
        encoded,
        validation,
        seed=job.draw,
        label=job.name,
        n_epochs=passes(settings.n_epochs, job.share),
        accumulation=1,
        checkpoints=pieces_dir(dataset) / "adapters" / job.name,
        **settings.model_dump(include={"batch_size", "learning_rate"}),
        **section.model_dump(include={"precision", "gradient_checkpointing", "checkpoint_steps"}),
    )
    return adapted


def ranked(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    posed: pd.DataFrame,
    catalog: Catalog,
    *,
    n_history: int,
    seed: int,
    label: str,
    exact: bool = False,
    folder: Path | None = None,
) -> pd.DataFrame:
    """Lists by catalog decoding after the bare history, with a beam of :data:`WIDTH` where not `exact`.

    Args:
        posed: from :func:`material.questions`.
        n_history: items of a prompt.
        seed: written into the lists.
        label: shown beside the progress bar.
        exact: whether the search ends only when nothing better is left.
        folder: keeps what is ranked so far, so that a stopped run goes on; None keeps nothing.
    """
    texts = build_history_prompts(posed, catalog, n_recent=n_history, genres=False)
    hidden = list(posed[HIDDEN])
    method, batch_size = ("exact", _EXACT_BATCH) if exact else ("beam", _BEAM_BATCH)
    scores = constrained.rank_titles(
        model, tokenizer, texts, catalog, excluded=hidden, k=LENGTH, method=method, width=WIDTH,
        batch_size=batch_size, label=label, kept=folder,
    )  # fmt: skip
    shape = {"seed": seed, "exclude_seen": False, "length": LENGTH}
    return constrained.ranked_lists(scores, posed, catalog, **shape)

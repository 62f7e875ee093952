"""The audit's fine-tuned variants and prompts: notebook 05's adapter with one thing changed at a time.

Everything else (data, seed, schedule, decoding, matching) is that of notebook 05, read from the section
`lora_finetuning` of `params.yaml`, with which its own adapter was made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from dualrec_utils.core import config, splits
from dualrec_utils.core.catalog import Catalog, load_catalog
from dualrec_utils.core.config import CASE, HISTORY, ITEM
from dualrec_utils.core.errors import StudyError
from dualrec_utils.models import handoff
from dualrec_utils.models.finetuning import (
    adapters as finetune,
    examples as instructions,
    lora,
    training as lora_training,
)
from dualrec_utils.models.language import chat, generation, loading, prompts
from dualrec_utils.pipeline import params

Q_AND_V, IN_SAMPLE, EVERYWHERE = "q_and_v_only", "in_sample_hints", "loss_everywhere"
VARIANTS = (Q_AND_V, IN_SAMPLE, EVERYWHERE)
_IN_SAMPLE_COLUMN = "in_sample_item_id"


def settings_of(model: str) -> tuple[dict, dict]:
    """Section `lora_finetuning` with `dataset` and `seed`, and its entry of one model.

    Raises:
        StudyError: when the section does not fine-tune that model.
    """
    settings = params.section("lora_finetuning")
    if model not in settings["models"]:
        known = ", ".join(settings["models"])
        raise StudyError(f"audit.model is {model!r}; lora_finetuning.models has {known}")
    return settings, settings["models"][model]


def load(model: str, *, adapter: str | None = None) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The base model of notebook 05, with one of its adapters (`lora`, ...) or without.

    Args:
        model: entry of `lora_finetuning.models`.
        adapter: ending of the adapter's name; None for the base alone.
    """
    settings, base = settings_of(model)
    dataset = settings["dataset"]
    folder = None
    if adapter is not None:
        folder = config.adapters_dir(dataset, finetune.STAGE) / f"{model}_{adapter}"
    return loading.load_model(
        loading.locate(base["model"], dataset=dataset),
        revision=base["revision"],
        dtype=base["dtype"],
        quantization=base["quantization"],
        adapter=folder,
    )


def lesson(variant: str, settings: Mapping) -> dict[str, pd.DataFrame]:
    """What a variant is taught: `train` and `validation` examples.

    Args:
        variant: one of :data:`VARIANTS`; only :data:`IN_SAMPLE` differs from notebook 05's: its training
            hints come from the LSTM that was trained on these very users.
        settings: section `lora_finetuning` with `dataset` and `seed`.
    """
    asked = {key: settings[key] for key in ("seed", "n_recent", "n_titles")}
    taught = finetune.lessons(settings["dataset"], **asked)[finetune.LORA]
    if variant != IN_SAMPLE:
        return taught
    dataset = settings["dataset"]
    train = instructions.instruction_data(
        splits.load_histories(dataset, "train"),
        load_catalog(dataset),
        splits.load_splits(dataset),
        hints=handoff.load_training_hints(dataset)[_IN_SAMPLE_COLUMN],
        **asked,
    )
    return taught | {finetune.TRAIN: train}


def padded_everywhere(
    encoded: Sequence[Mapping[str, list[int]]], *, pad: int
) -> list[dict[str, list[int]]]:
    """Examples padded on the right to the longest, loss on every token: prompt, answer and padding.

    The paper's released code does so (labels = input ids) at 512 tokens; the longest example spares time
    and leaves all but the amount of padding as it is.

    Args:
        encoded: from :func:`models.finetuning.examples.encode`.
        pad: id of the padding token.
    """
    made, length = [], max(len(example["input_ids"]) for example in encoded)
    for example in encoded:
        n_pad = length - len(example["input_ids"])
        ids = [*example["input_ids"], *[pad] * n_pad]
        mask = [*example["attention_mask"], *[0] * n_pad]
        made.append({"input_ids": ids, "attention_mask": mask, "labels": list(ids)})
    return made


def keep_q_and_v(model: PeftModel) -> None:
    """Freeze the adapter's matrices on other projections than q_proj and v_proj, in place.

    Their B is zero before training and stays so: they change nothing, as if they were not there.
    """
    for name, weight in model.named_parameters():
        if "lora_" in name and not any(f".{part}." in name for part in ("q_proj", "v_proj")):
            weight.requires_grad_(False)


def train_variant(variant: str, *, model: str) -> tuple[PeftModel, PreTrainedTokenizerBase, pd.DataFrame]:
    """Train one variant of notebook 05's adapter.

    Args:
        variant: one of :data:`VARIANTS`.
        model: entry of `lora_finetuning.models`.

    Returns:
        (model with its adapter, tokenizer, losses as from :func:`models.finetuning.training.train`; the
        validation loss is on the answer alone for every variant).

    Raises:
        StudyError: for another variant.
    """
    if variant not in VARIANTS:
        raise StudyError(f"audit.adapters names {variant!r}; known: {', '.join(VARIANTS)}")
    settings, _ = settings_of(model)
    base, tokenizer = load(model)
    encoded = {
        split: instructions.encode(own, tokenizer, max_tokens=settings["max_tokens"])
        for split, own in lesson(variant, settings).items()
    }
    if variant == EVERYWHERE:
        encoded[finetune.TRAIN] = padded_everywhere(encoded[finetune.TRAIN], pad=tokenizer.pad_token_id)
    shape = {key: settings[key] for key in ("rank", "alpha", "dropout", "seed")}
    adapted = lora.attach(base, **shape)
    if variant == Q_AND_V:
        keep_q_and_v(adapted)
    schedule = ("n_epochs", "batch_size", "accumulation", "learning_rate")
    means = ("precision", "gradient_checkpointing")
    curve = lora_training.train(
        adapted,
        tokenizer,
        encoded[finetune.TRAIN],
        encoded[finetune.VALIDATION],
        seed=settings["seed"],
        label=variant,
        **{key: settings[key] for key in (*schedule, *means)},
    )
    return adapted, tokenizer, curve


def fitting_prompts(
    cases: pd.DataFrame,
    catalog: Catalog,
    tokenizer: PreTrainedTokenizerBase,
    *,
    hints: pd.Series,
    n_titles: int,
    n_tokens: int,
) -> tuple[list[str], list[int]]:
    """Prompts with as much of the history as fits, the last movies first to be kept.

    Args:
        cases, catalog, hints, n_titles: as :func:`models.language.prompts.build_prompts`.
        n_tokens: most tokens of a prompt.

    Returns:
        (one prompt a case, the movies of each history that it holds).
    """
    lines = prompts.lines_of(catalog)
    # Counted line by line: joined, lines may take fewer tokens, hardly more.
    length = {
        item: len(tokenizer(line + "\n", add_special_tokens=False)["input_ids"])
        for item, line in lines.items()
    }
    texts, counts = [], []
    for row, history in enumerate(cases[HISTORY]):
        one = cases.iloc[[row]]
        kept = len(history)
        asked = {"hints": hints, "n_titles": n_titles}
        bare = prompts.build_prompts(one, catalog, n_recent=1, **asked)[0]
        room = n_tokens - len(chat.prompt_ids(tokenizer, bare)) + length[history[-1]]
        total = 0
        for place, item in enumerate(reversed(history)):
            total += length[item]
            if total > room:
                kept = max(place, 1)
                break
        texts += prompts.build_prompts(one, catalog, n_recent=kept, **asked)
        counts.append(kept)
    return texts, counts


def answers(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    cases: pd.DataFrame,
    *,
    settings: Mapping,
    label: str,
) -> pd.Series:
    """Greedy answers as in notebook 05: `case_id` -> text.

    Args:
        texts: one prompt a case.
        settings: section `lora_finetuning`.
        label: of the progress bar.
    """
    written = generation.generate(
        model,
        tokenizer,
        texts,
        max_new_tokens=settings["max_new_tokens"],
        batch_size=settings["generation_batch_size"],
        n_lines=settings["n_titles"],
        label=label,
    )
    return pd.Series(written, index=pd.Index(cases[CASE], name=CASE))


def hint_shares(dataset: str) -> pd.Series:
    """Share of training users whose hint is one of their next five movies, by kind of hint."""
    hints, histories = handoff.load_training_hints(dataset), splits.load_histories(dataset, "train")
    kinds = {"out of sample": hints[ITEM], "in sample": hints[_IN_SAMPLE_COLUMN]}
    return pd.Series(
        {
            kind: sum(own[user] in movies[-splits.WINDOW :] for user, movies in histories.items())
            / len(histories)
            for kind, own in kinds.items()
        }
    )

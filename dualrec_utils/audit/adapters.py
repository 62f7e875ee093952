"""The audit's fine-tuned variants and prompts: notebook 05's adapter with one thing changed at a time.

Everything else (data, seed, schedule, decoding, matching) is that of notebook 05, read from the section
`lora_finetuning` of `params.yaml`, with which its own adapter was made. A trained variant lies under
`data/<dataset>/checkpoints/audit/`, outside of what DVC clears before a run, and is used again until
something that it depends on changes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pandas as pd
from peft import PeftModel
from transformers import PreTrainedTokenizerBase

from dualrec_utils.audit import released
from dualrec_utils.audit.material import STAGE, Material, tuning_of
from dualrec_utils.audit.steps import Key, Measured
from dualrec_utils.core.config import CASE, ITEM
from dualrec_utils.core.errors import StudyError
from dualrec_utils.models import handoff
from dualrec_utils.models.finetuning import adapters
from dualrec_utils.models.language import prompts
from dualrec_utils.models.language.generation import LoadedModel

Q_AND_V, IN_SAMPLE, EVERYWHERE = "q_and_v_only", "in_sample_hints", "loss_everywhere"
# The step that each variant belongs to.
STEPS = {Q_AND_V: "lora_modules", IN_SAMPLE: "lora_hints", EVERYWHERE: "lora_loss"}


def padded_everywhere(
    encoded: Sequence[Mapping[str, list[int]]], *, pad: int
) -> list[dict[str, list[int]]]:
    """Examples padded on the right to the longest, loss on every token: prompt, answer and padding.

    The paper's released code does so at 512 tokens (labels = input ids; code/finetune_lora.py:101-105, see
    :mod:`audit.released`); the longest example spares time and leaves all but the amount of padding as it
    is.

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
    """Train one variant of notebook 05's adapter, or take the one that was trained before.

    A variant trained before counts as long as its settings, seed, examples, base model, and the code and
    libraries that train it are the same (:func:`models.finetuning.checkpoints.settings_of`); a stopped
    training goes on.

    Args:
        variant: a key of :data:`STEPS`. The training hints of :data:`IN_SAMPLE` come from the LSTM that was
            trained on these very users.
        model: entry of `lora_finetuning.models`.

    Returns:
        (model with its adapter, tokenizer, losses as from :func:`models.finetuning.training.train`; the
        validation loss is on the answer alone for every variant).

    Raises:
        StudyError: for another variant.
    """
    if variant not in STEPS:
        raise StudyError(f"audit.adapters names {variant!r}; known: {', '.join(STEPS)}")
    settings = tuning_of(model)
    lessons = adapters.lessons(
        settings["dataset"],
        **{key: settings[key] for key in ("seed", "n_recent", "n_titles", "n_users")},
        training_hints=handoff.IN_SAMPLE if variant == IN_SAMPLE else ITEM,
    )

    def adjust(adapted: PeftModel, tokenizer: PreTrainedTokenizerBase, encoded: list[dict]) -> list[dict]:
        if variant == Q_AND_V:
            keep_q_and_v(adapted)
        return padded_everywhere(encoded, pad=tokenizer.pad_token_id) if variant == EVERYWHERE else encoded

    return adapters.train_adapter(
        lessons[adapters.LORA],
        name=f"{model}_{variant}",
        base=settings["models"][model],
        settings=settings,
        stage=STAGE,
        adjust=adjust,
    )


def answers(speaker: LoadedModel, texts: Sequence[str], cases: pd.DataFrame, *, label: str) -> pd.Series:
    """Greedy answers to one prompt a case: `case_id` -> text."""
    return pd.Series(speaker.answer(texts, label=label), index=pd.Index(cases[CASE], name=CASE))


def _decoding(data: Material) -> dict[str, int]:
    """How notebook 05 asks its models."""
    names = {
        "max_new_tokens": "max_new_tokens",
        "batch_size": "generation_batch_size",
        "n_lines": "n_titles",
    }
    return {name: data.tuning[key] for name, key in names.items()}


def load(data: Material, *, adapter: str | None = None) -> LoadedModel:
    """The base model of notebook 05, with one of its adapters or without."""
    base = data.tuning["models"][data.model]
    return adapters.load(base, dataset=data.dataset, decoding=_decoding(data), adapter=adapter)


def as_released(data: Material) -> pd.Series:
    """The fine-tuned model's answers for `window_of_five`, asked as the released code asks.

    The prompt shows three items, and answers are not stopped after the titles asked for
    (:mod:`audit.released`).

    Returns:
        `case_id` -> text.
    """
    speaker, cases = load(data, adapter=data.lora), data.cases["window_of_five"]
    freely = {"max_new_tokens": released.MAX_NEW_TOKENS, "n_lines": released.LONGEST}
    speaker = replace(speaker, decoding=speaker.decoding | freely)
    texts = _prompts(data, cases, "window_of_five", n_recent=released.N_RECENT)
    return answers(speaker, texts, cases, label="as released")


def _prompts(data: Material, cases: pd.DataFrame, protocol: str, *, n_recent: int) -> list[str]:
    """Notebook 05's prompts for some test cases, with another number of items."""
    return prompts.build_prompts(
        cases, data.catalog, hints=data.hints[protocol], n_recent=n_recent, n_titles=data.tuning["n_titles"]
    )


def variants(
    data: Material, names: Sequence[str], *, n_cases: int
) -> tuple[Measured, dict[str, pd.DataFrame]]:
    """Notebook 05's adapter once more, one thing changed at a time.

    Args:
        names: the variants, keys of :data:`STEPS`; they are trained in its order.
        n_cases: last cases of every test user.

    Returns:
        (measured, losses of each variant as from :func:`train_variant`).
    """
    some = data.last_cases(n_cases)
    texts = _prompts(data, some, "next_item", n_recent=data.tuning["n_recent"])
    usual = data.judged_answers(data.answers(data.lora), some)
    measured, curves = {}, {}
    for variant in (name for name in STEPS if name in names):
        model, tokenizer, curves[variant] = train_variant(variant, model=data.model)
        speaker = LoadedModel(model, tokenizer, _decoding(data), about={})
        written = answers(speaker, texts, some, label=variant)
        # The next one needs the memory.
        del model, speaker
        measured[Key(STEPS[variant], data.lora, "as in notebook 05", "next_item")] = usual
        measured[Key(STEPS[variant], data.lora, variant, "next_item")] = data.judged_answers(written, some)
    return measured, curves


def untrained(names: Sequence[str]) -> list[str]:
    """Steps whose variant is not among those named."""
    return [step for variant, step in STEPS.items() if variant not in names]


def last_losses(curves: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Loss on validation users' answers at the end of training: `variant`, `nats a token`."""
    ends = {name: curve["validation_loss"].iloc[-1] for name, curve in curves.items()}
    losses = pd.Series(ends, name="nats a token", dtype=float)
    return losses.rename_axis("variant").reset_index()


def flatten_hints(shares: pd.Series) -> dict[str, float]:
    """Flat metric keys: `audit/lora_hints/<kind of hint>/hint_is_right`.

    Args:
        shares: from :func:`hint_shares`.
    """
    return {
        f"audit/lora_hints/{kind.replace(' ', '_')}/hint_is_right": float(share)
        for kind, share in shares.items()
    }


def hint_shares(dataset: str) -> pd.Series:
    """Share of training users whose hint is one of their next five items, by kind of hint."""
    shares = adapters.right_hints(dataset)
    return pd.Series(shares.iloc[:2].to_numpy(), index=["out of sample", "in sample"])

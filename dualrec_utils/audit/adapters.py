"""The audit's fine-tuned variants and prompts: notebook 05's adapter with one thing changed at a time.

Everything else (data, seed, schedule, decoding, matching) is that of notebook 05, read from the section
`lora_finetuning` of `params.yaml`, with which its own adapter was made. A trained variant lies under
`data/<dataset>/checkpoints/audit/`, outside of what DVC clears before a run, and is used again until
something that it depends on changes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from dualrec_utils.audit.material import Material, tuning_of
from dualrec_utils.audit.steps import Key, Measured
from dualrec_utils.core import config, splits
from dualrec_utils.core.catalog import Catalog, load_catalog
from dualrec_utils.core.config import CASE, HISTORY, ITEM
from dualrec_utils.core.errors import StudyError
from dualrec_utils.models import handoff
from dualrec_utils.models.finetuning import adapters, examples, lora, training
from dualrec_utils.models.language import chat, generation, loading, prompts

Q_AND_V, IN_SAMPLE, EVERYWHERE = "q_and_v_only", "in_sample_hints", "loss_everywhere"
# The step that each variant belongs to.
STEPS = {Q_AND_V: "lora_modules", IN_SAMPLE: "lora_hints", EVERYWHERE: "lora_loss"}
_STAGE, _IN_SAMPLE_COLUMN = "audit", "in_sample_item_id"
# Beside prompt and answer, for what a chat template may add.
_SPARE_TOKENS = 8


def load(model: str, *, adapter: str | None = None) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The base model of notebook 05, with one of its adapters (`lora`, ...) or without.

    Args:
        model: entry of `lora_finetuning.models`.
        adapter: ending of the adapter's name; None for the base alone.
    """
    tuning = tuning_of(model)
    base, dataset = tuning["models"][model], tuning["dataset"]
    folder = None
    if adapter is not None:
        folder = config.adapters_dir(dataset, adapters.STAGE) / f"{model}_{adapter}"
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
        variant: a key of :data:`STEPS`; only :data:`IN_SAMPLE` differs from notebook 05's: its training
            hints come from the LSTM that was trained on these very users.
        settings: section `lora_finetuning` with `dataset` and `seed`.
    """
    prompting = {key: settings[key] for key in ("seed", "n_recent", "n_titles")}
    taught = adapters.lessons(settings["dataset"], **prompting)[adapters.LORA]
    if variant != IN_SAMPLE:
        return taught
    dataset = settings["dataset"]
    train = examples.instruction_data(
        splits.load_histories(dataset, "train"),
        load_catalog(dataset),
        splits.load_splits(dataset),
        hints=handoff.load_training_hints(dataset)[_IN_SAMPLE_COLUMN],
        **prompting,
    )
    return taught | {adapters.TRAIN: train}


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
    """Train one variant of notebook 05's adapter, or take the one that was trained before.

    A variant trained before counts as long as its settings, seed, examples, base model, and the code and
    libraries that train it are the same (:func:`models.finetuning.checkpoints.settings_of`); a stopped
    training goes on.

    Args:
        variant: a key of :data:`STEPS`.
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
    base, tokenizer = load(model)
    encoded = {
        split: examples.encode(taught, tokenizer, max_tokens=settings["max_tokens"])
        for split, taught in lesson(variant, settings).items()
    }
    if variant == EVERYWHERE:
        encoded[adapters.TRAIN] = padded_everywhere(encoded[adapters.TRAIN], pad=tokenizer.pad_token_id)
    shape = {key: settings[key] for key in ("rank", "alpha", "dropout", "seed")}
    adapted = lora.attach(base, **shape)
    if variant == Q_AND_V:
        keep_q_and_v(adapted)
    schedule = ("n_epochs", "batch_size", "accumulation", "learning_rate")
    means = ("precision", "gradient_checkpointing", "checkpoint_steps")
    curve = training.train(
        adapted,
        tokenizer,
        encoded[adapters.TRAIN],
        encoded[adapters.VALIDATION],
        seed=settings["seed"],
        label=variant,
        checkpoints=config.checkpoints_dir(settings["dataset"], _STAGE) / f"{model}_{variant}",
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
        wording = {"hints": hints, "n_titles": n_titles}
        bare = prompts.build_prompts(one, catalog, n_recent=1, **wording)[0]
        left = n_tokens - len(chat.prompt_ids(tokenizer, bare)) + length[history[-1]]
        total = 0
        for place, item in enumerate(reversed(history)):
            total += length[item]
            if total > left:
                kept = max(place, 1)
                break
        texts += prompts.build_prompts(one, catalog, n_recent=kept, **wording)
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


def _prompts(data: Material, cases: pd.DataFrame, protocol: str, *, n_recent: int) -> list[str]:
    """Notebook 05's prompts for some test cases, with another number of movies."""
    return prompts.build_prompts(
        cases, data.catalog, hints=data.hints[protocol], n_recent=n_recent, n_titles=data.tuning["n_titles"]
    )


def shown_three(data: Material, *, n_cases: int) -> dict[str, pd.Series]:
    """The fine-tuned model's answers where its prompt shows three movies, as in the released code.

    Args:
        n_cases: last cases of every test user under `next_item`; under `window_of_five` there is one.

    Returns:
        Protocol -> answers.
    """
    model, tokenizer = load(data.model, adapter=adapters.LORA)
    cases = {"next_item": data.last_cases(n_cases), "window_of_five": data.cases["window_of_five"]}
    return {
        protocol: answers(
            model,
            tokenizer,
            _prompts(data, some, protocol, n_recent=3),
            some,
            settings=data.tuning,
            label=f"LoRA, three movies, {protocol}",
        )
        for protocol, some in cases.items()
    }


def without_adapter(data: Material, *, n_cases: int) -> tuple[pd.Series, pd.Series, pd.Series]:
    """The base model's answers to three movies, and to as much of the history as its context holds.

    Args:
        n_cases: last cases of every test user under `next_item`; of the long prompts the very last alone.

    Returns:
        (answers to three movies, answers to long prompts, number of movies in each long prompt by
        `case_id`).
    """
    model, tokenizer = load(data.model)
    some, last = data.last_cases(n_cases), data.last_cases(1)
    three = answers(
        model,
        tokenizer,
        _prompts(data, some, "next_item", n_recent=3),
        some,
        settings=data.tuning,
        label="zero-shot, three movies",
    )
    context = generation.context_length(model.config, tokenizer)
    longest_prompt = context - data.tuning["max_new_tokens"] - _SPARE_TOKENS
    texts, held = fitting_prompts(
        last,
        data.catalog,
        tokenizer,
        hints=data.hints["next_item"],
        n_titles=data.tuning["n_titles"],
        n_tokens=longest_prompt,
    )
    # The longer a model can read, the fewer such prompts fit into memory at once.
    at_once = max(1, min(data.tuning["generation_batch_size"], 2**17 // longest_prompt))
    settings = data.tuning | {"generation_batch_size": at_once}
    longest = answers(model, tokenizer, texts, last, settings=settings, label="long prompts")
    return three, longest, pd.Series(held, index=longest.index)


def prompt_history(
    data: Material, three: Mapping[str, pd.Series], longest: pd.Series, *, n_cases: int
) -> Measured:
    """The prompt shows five movies (stored answers), three, or all that the model can read.

    Args:
        three: system -> answers to three movies.
        longest: the base model's answers to long prompts, for the last case of every user.
        n_cases: as :func:`shown_three`.
    """
    step, some, usual = "prompt_history", data.last_cases(n_cases), f"{data.tuning['n_recent']} movies"
    measured = {}
    for name, written in three.items():
        for setting, texts in ((usual, data.answers(name)), ("3 movies", written)):
            measured[Key(step, name, setting, "next_item")] = data.judged_answers(texts, some)
    for setting, texts in ((usual, data.answers(data.zero_shot)), ("all that fits", longest)):
        frame = data.judged_answers(texts, data.last_cases(1))
        measured[Key(step, data.zero_shot, setting, "next_item, last case")] = frame
    return measured


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
        written = answers(model, tokenizer, texts, some, settings=data.tuning, label=variant)
        # The next one needs the memory.
        del model
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
    """Share of training users whose hint is one of their next five movies, by kind of hint."""
    hints, histories = handoff.load_training_hints(dataset), splits.load_histories(dataset, "train")
    kinds = {"out of sample": hints[ITEM], "in sample": hints[_IN_SAMPLE_COLUMN]}
    return pd.Series(
        {
            kind: sum(hint[user] in movies[-splits.WINDOW :] for user, movies in histories.items())
            / len(histories)
            for kind, hint in kinds.items()
        }
    )

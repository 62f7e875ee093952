"""Teach a language model the answers with LoRA (paper section 4.2.3): instruction data, training, saving.

One example a user: the prompt of Stage 2 made from the history without its last five movies, and three
of those five as the answer. Loss is taken on the answer alone, as the paper's objective says ("the model
learning to generate the output text ... as a continuation of the prompt").
"""

from __future__ import annotations

import copy
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from tqdm import tqdm
from transformers import (
    DataCollatorForSeq2Seq,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from dualrec_utils import files
from dualrec_utils.config import CASE, HISTORY, USER
from dualrec_utils.errors import StudyError
from dualrec_utils.prompts import ANSWER_PREFIX, build_prompts, format_answer, names_of
from dualrec_utils.splits import WINDOW, check_apart

PROMPT, ANSWER, ANSWER_ITEMS, TARGET_USER = "prompt", "answer", "answer_items", "answer_of_user"
# Paper section 4.2.3: "the attention projection layers".
TARGET_MODULES = ("k_proj", "o_proj", "q_proj", "v_proj")
_IGNORED = -100


def instruction_data(
    histories: Mapping[int, np.ndarray],
    items: pd.DataFrame,
    splits: pd.DataFrame,
    *,
    hints: pd.Series | None,
    seed: int,
    n_recent: int = 5,
    n_titles: int = 3,
    split: str = "train",
) -> pd.DataFrame:
    """One example a user: prompt from the earlier history, answer from the last five movies.

    The three movies of the answer are drawn from the five by the seed and stand in the order watched:
    the paper says both "three titles are randomly selected" and "the next three movies the user
    actually watched".

    Args:
        histories: user -> item ids, oldest first, from :func:`dualrec_utils.splits.load_histories`.
        items: the catalog.
        splits: frame `user_id`, `split`.
        hints: user -> the LSTM's movie for the history without its last five; None leaves the line out.
        seed: of the draw; a user's draw hangs on seed and user alone.
        n_recent: movies of the history in the prompt. n_titles: movies of the answer, 1 to 5.
        split: the part that all users must belong to, `train` or `validation`.

    Returns:
        Frame sorted by user: `user_id`, `prompt`, `answer`, `answer_items`, `answer_of_user` (the same
        user here, another one after :func:`permute_answers`).

    Raises:
        StudyError: when a user belongs to another part, the part is test, or a hint is missing.
    """
    if split == "test":
        raise StudyError("examples of split 'test' would show a model the answers; use its cases")
    check_apart(histories, splits, split=split)
    users = sorted(histories)
    short = [user for user in users if len(histories[user]) <= WINDOW]
    if short:
        raise StudyError(f"user {short[0]} has no movie before the last {WINDOW}: raise min_interactions")
    contexts = pd.DataFrame({CASE: users, HISTORY: [histories[user][:-WINDOW] for user in users]})
    names, answers = names_of(items), []
    for user in users:
        chosen = np.random.default_rng([seed, user]).choice(WINDOW, size=n_titles, replace=False)
        answers.append([int(item) for item in histories[user][-WINDOW:][np.sort(chosen)]])
    return pd.DataFrame(
        {
            USER: users,
            PROMPT: build_prompts(contexts, items, hints=hints, n_recent=n_recent, n_titles=n_titles),
            ANSWER: [format_answer([names[item] for item in answer]) for answer in answers],
            ANSWER_ITEMS: answers,
            TARGET_USER: users,
        }
    )


def permute_answers(examples: pd.DataFrame, *, seed: int) -> pd.DataFrame:
    """The same prompts, each with the answer of another user: what is left to learn is format.

    Users are put on one circle in an order drawn from the seed and each gets the next one's answer, so
    that nobody keeps their own.

    Args:
        examples: from :func:`instruction_data`, at least two rows.
        seed: of the order.
    """
    if len(examples) < 2:
        raise StudyError(f"{len(examples)} example cannot be permuted between users; at least 2 are needed")
    circle = np.random.default_rng(seed).permutation(len(examples))
    giver = np.empty_like(circle)
    giver[circle] = np.roll(circle, -1)
    columns = [ANSWER, ANSWER_ITEMS, TARGET_USER]
    given = {column: examples[column].to_numpy()[giver] for column in columns}
    return examples.assign(**given)


def encode(
    examples: pd.DataFrame, tokenizer: PreTrainedTokenizerBase, *, max_tokens: int
) -> list[dict[str, list[int]]]:
    """Token ids and labels of every example; labels are -100 where no loss is taken.

    Generation gives every model the prompt and the first bullet, so these carry no loss; what follows
    and the end-of-text token do.

    Args:
        examples: from :func:`instruction_data`.
        tokenizer: of the model.
        max_tokens: longest example (paper section 4.2.3: 512).

    Returns:
        One dict an example with `input_ids`, `attention_mask` and `labels`, equally long.

    Raises:
        StudyError: when an example is longer, or the tokenizer joins the first bullet to what follows,
            so that training and generation would see different tokens.
    """
    encoded = []
    for user, prompt, answer in zip(examples[USER], examples[PROMPT], examples[ANSWER], strict=True):
        start = tokenizer(prompt + ANSWER_PREFIX)["input_ids"]
        ids = [*tokenizer(prompt + answer)["input_ids"], tokenizer.eos_token_id]
        if ids[: len(start)] != start:
            raise StudyError(
                f"the tokenizer cuts prompt and answer of user {user} differently together and apart:"
                f" begin answers with another prefix than {ANSWER_PREFIX!r}"
            )
        if len(ids) > max_tokens:
            raise StudyError(
                f"the example of user {user} has {len(ids)} tokens, max_tokens is {max_tokens}:"
                " raise it or lower n_recent"
            )
        labels = [_IGNORED] * len(start) + ids[len(start) :]
        encoded.append({"input_ids": ids, "attention_mask": [1] * len(ids), "labels": labels})
    return encoded


def attach(model: PreTrainedModel, *, rank: int, alpha: int, dropout: float, seed: int) -> PeftModel:
    """Put a fresh adapter on the four attention projections; the base weights are frozen.

    W x becomes W x + (alpha / rank) B A x. B starts at zero, so a fresh adapter changes nothing.

    Args:
        model: a model loaded for this adapter alone, since peft places the new matrices inside it.
        rank: rows of A and columns of B (paper: 8). alpha: scale (paper: 16).
        dropout: share of inputs of A dropped in training (paper: 0.1).
        seed: of A.
    """
    settings = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=list(TARGET_MODULES),
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return get_peft_model(model, settings)


def _collator(tokenizer: PreTrainedTokenizerBase) -> DataCollatorForSeq2Seq:
    """Pads to the longest example of a batch, on the right, labels with -100."""
    right = copy.copy(tokenizer)
    right.padding_side = "right"
    return DataCollatorForSeq2Seq(right, padding="longest", label_pad_token_id=_IGNORED)


@torch.inference_mode()
def answer_loss(
    model: PreTrainedModel | PeftModel,
    encoded: Sequence[Mapping],
    tokenizer: PreTrainedTokenizerBase,
    *,
    batch_size: int = 32,
) -> float:
    """Mean negative log-likelihood in nats over all tokens that carry loss, without dropout.

    Args:
        model: with or without an adapter; its training mode is put back afterwards.
        encoded: from :func:`encode`.
        tokenizer: of the model.
        batch_size: examples at once.
    """
    collate, was_training = _collator(tokenizer), model.training
    model.eval()
    ordered = sorted(encoded, key=lambda example: len(example["input_ids"]))
    total, count = 0.0, 0
    for first in range(0, len(ordered), batch_size):
        batch = collate([dict(example) for example in ordered[first : first + batch_size]]).to(model.device)
        counted = int((batch["labels"][:, 1:] != _IGNORED).sum())
        total += float(model(**batch).loss) * counted
        count += counted
    model.train(was_training)
    return total / count


class _Progress(TrainerCallback):
    """A bar on stderr, and the validation loss before the first and after every epoch."""

    def __init__(self, label: str, model, validation, tokenizer):
        self.label, self.model, self.validation, self.tokenizer = label, model, validation, tokenizer
        self.losses: list[float] = []

    def _validate(self) -> None:
        self.losses.append(answer_loss(self.model, self.validation, self.tokenizer))

    def on_train_begin(self, args, state, control, **kwargs):
        self.bar = tqdm(total=state.max_steps, desc=self.label, unit="step")
        self._validate()

    def on_step_end(self, args, state, control, **kwargs):
        self.bar.update()

    def on_epoch_end(self, args, state, control, **kwargs):
        self._validate()
        self.bar.set_postfix(validation=f"{self.losses[-1]:.3f}")

    def on_train_end(self, args, state, control, **kwargs):
        self.bar.close()


def train(
    model: PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    encoded: Sequence[Mapping],
    validation: Sequence[Mapping],
    *,
    seed: int,
    n_epochs: int,
    batch_size: int,
    accumulation: int,
    learning_rate: float,
    label: str,
) -> pd.DataFrame:
    """Train the adapter of `model` in place; the same arguments give the same adapter on one machine.

    AdamW without weight decay, learning rate falling linearly to zero, gradients clipped at norm 1.

    Args:
        model: from :func:`attach`.
        tokenizer: of the model.
        encoded: training examples, from :func:`encode`.
        validation: likewise of validation users; only a loss is computed on them.
        seed: of order and dropout.
        n_epochs: passes over the examples (paper: 3).
        batch_size: examples at once (paper: 2). accumulation: batches a step, at least 1.
        learning_rate: of the first step.
        label: shown beside the progress bar.

    Returns:
        One row an epoch, from 0 (before training): `epoch`, `train_loss` (mean over the epoch, with
        dropout; missing at 0), `validation_loss`; nats a token of the answer.
    """
    progress = _Progress(label, model, validation, tokenizer)
    was_deterministic = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    with tempfile.TemporaryDirectory() as scratch, torch.random.fork_rng(devices=[]):
        arguments = TrainingArguments(
            output_dir=scratch,
            num_train_epochs=n_epochs,
            per_device_train_batch_size=batch_size,
            gradient_accumulation_steps=accumulation,
            learning_rate=learning_rate,
            lr_scheduler_type="linear",
            logging_strategy="epoch",
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            dataloader_pin_memory=False,
            seed=seed,
        )
        trainer = Trainer(
            model=model,
            args=arguments,
            train_dataset=list(encoded),
            data_collator=_collator(tokenizer),
            callbacks=[progress],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    torch.use_deterministic_algorithms(was_deterministic)
    model.eval()
    logged = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return pd.DataFrame(
        {
            "epoch": range(n_epochs + 1),
            "train_loss": [np.nan, *logged],
            "validation_loss": progress.losses,
        }
    )


def save(model: PeftModel, folder: Path, *, base: str) -> Path:
    """Write the adapter to `folder`, whole or not at all: its weights and its settings.

    Args:
        model: with a trained adapter.
        folder: `data/models/<dataset>/lora_finetuning/<name>`; what it held is replaced.
        base: name of the base model written into the settings, in place of this machine's path.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{os.getpid()}.{folder.name}")
    try:
        model.save_pretrained(temporary)
        # peft adds a model card that names the base model's path on this machine.
        (temporary / "README.md").unlink(missing_ok=True)
        settings = files.read_json(temporary / "adapter_config.json")
        settings |= {"base_model_name_or_path": base, "target_modules": sorted(settings["target_modules"])}
        files.write_json(settings, temporary / "adapter_config.json")
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder

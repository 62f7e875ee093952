"""Adapters with LoRA: put on a model, trained on the answers of instruction examples, saved.

Settings as in the paper's section 4.2.3; the examples come from :mod:`dualrec_utils.instructions`.
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
from dualrec_utils.instructions import IGNORED

# Paper section 4.2.3: "the attention projection layers".
TARGET_MODULES = ("k_proj", "o_proj", "q_proj", "v_proj")


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
    return DataCollatorForSeq2Seq(right, padding="longest", label_pad_token_id=IGNORED)


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
        encoded: from :func:`dualrec_utils.instructions.encode`.
        tokenizer: of the model.
        batch_size: examples at once.
    """
    collate, was_training = _collator(tokenizer), model.training
    model.eval()
    ordered = sorted(encoded, key=lambda example: len(example["input_ids"]))
    total, count = 0.0, 0
    for first in range(0, len(ordered), batch_size):
        batch = collate([dict(example) for example in ordered[first : first + batch_size]]).to(model.device)
        counted = int((batch["labels"][:, 1:] != IGNORED).sum())
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
        encoded: training examples, from :func:`dualrec_utils.instructions.encode`.
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

"""Adapters with LoRA: put on a model, checked, measured, saved.

:mod:`models.finetuning.training` trains them.
Settings as in the paper's section 4.2.3; the examples come from :mod:`models.finetuning.examples`. Only
answers carry loss, so examples are padded on the left and logits are computed for answers alone.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model, prepare_model_for_kbit_training
from transformers import DataCollatorForSeq2Seq, PreTrainedModel, PreTrainedTokenizerBase

from dualrec_utils.core import files
from dualrec_utils.core.errors import StudyError
from dualrec_utils.models.finetuning import checkpoints
from dualrec_utils.models.finetuning.examples import IGNORED

# Paper section 4.2.3: "the attention projection layers".
TARGET_MODULES = ("k_proj", "o_proj", "q_proj", "v_proj")


def configuration(*, rank: int, alpha: int, dropout: float) -> LoraConfig:
    """The paper's adapter: W x becomes W x + (alpha / rank) B A x on the four attention projections.

    W stays as it is; A (rank x inputs) and B (outputs x rank) are trained. B starts at zero.

    Args:
        rank: rows of A and columns of B (paper: 8). alpha: scale (paper: 16).
        dropout: share of inputs of A dropped in training (paper: 0.1).
    """
    return LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=list(TARGET_MODULES),
        task_type="CAUSAL_LM",
    )


def attach(model: PreTrainedModel, *, rank: int, alpha: int, dropout: float, seed: int) -> PeftModel:
    """Put a fresh adapter on the four attention projections; the base weights are frozen.

    A fresh adapter changes nothing. A and B are single precision whatever the base is; a base in 4 bits
    gets its other weights in single precision too.

    Args:
        model: a model loaded for this adapter alone, since peft places the new matrices inside it.
        rank, alpha, dropout: as :func:`configuration`.
        seed: of A.

    Raises:
        StudyError: when the model has no modules of these names.
    """
    # GPT-2 calls its matrices Conv1D; they are named here so that the message can list them.
    linear = {
        name.rpartition(".")[2]
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) or type(module).__name__ == "Conv1D"
    }
    missing = sorted(set(TARGET_MODULES) - linear)
    if missing:
        raise StudyError(
            f"{type(model).__name__} has no modules {', '.join(missing)} for LoRA; it has"
            f" {', '.join(sorted(linear))}: choose a model of the Llama, Mistral or Qwen2 family"
        )
    if getattr(model, "is_loaded_in_4bit", False):
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    settings = configuration(rank=rank, alpha=alpha, dropout=dropout)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return get_peft_model(model, settings)


def check_fresh(model: PeftModel, encoded: Sequence[Mapping], tokenizer: PreTrainedTokenizerBase) -> float:
    """Make sure that an adapter not yet trained changes nothing; returns the loss with and without it.

    Args:
        model: from :func:`attach`.
        encoded: a few examples. tokenizer: of the model.

    Raises:
        StudyError: when the loss moves, even in its last digit.
    """
    fresh = answer_loss(model, encoded, tokenizer)
    with model.disable_adapter():
        without = answer_loss(model, encoded, tokenizer)
    if fresh != without:
        raise StudyError(
            f"a fresh adapter moves the loss from {without!r} to {fresh!r}: it was trained already, or the"
            " versions of peft and transformers do not fit each other (requirements.txt has those that do)"
        )
    return fresh


def collator(tokenizer: PreTrainedTokenizerBase, *, multiple: int | None = None) -> Callable:
    """Pads to the longest example of a batch, on the left, and asks for logits at its end only.

    Answers then end together: with `k` the most tokens of an answer in the batch, labels and logits are
    those of the last `k + 1` places.

    Args:
        multiple: lengths are rounded up to one of it; tensor cores like 8.
    """
    left = copy.copy(tokenizer)
    left.padding_side = "left"
    pad = DataCollatorForSeq2Seq(
        left, padding="longest", label_pad_token_id=IGNORED, pad_to_multiple_of=multiple
    )

    def collate(examples: Sequence[Mapping]):
        batch = pad([dict(example) for example in examples])
        kept = 1 + int((batch["labels"] != IGNORED).sum(dim=1).max())
        batch["labels"] = batch["labels"][:, -kept:]
        batch["logits_to_keep"] = kept
        return batch

    return collate


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
        encoded: from :func:`models.finetuning.examples.encode`.
        batch_size: examples at once.
    """
    collate, was_training = collator(tokenizer), model.training
    model.eval()
    ordered = sorted(encoded, key=lambda example: len(example["input_ids"]))
    total, count = 0.0, 0
    for first in range(0, len(ordered), batch_size):
        batch = collate(ordered[first : first + batch_size]).to(model.device)
        counted = int((batch["labels"][:, 1:] != IGNORED).sum())
        total += float(model(**batch).loss) * counted
        count += counted
    model.train(was_training)
    return total / count


def save(model: PeftModel, folder: Path, *, base: str) -> Path:
    """Write the adapter to `folder`, whole or not at all: its weights and its settings.

    Args:
        model: with a trained adapter.
        folder: `data/<dataset>/lora_finetuning/adapters/<name>`; what it held is replaced.
        base: name of the base model written into the settings, in place of this machine's path.
    """
    state = checkpoints.processes()
    if state.is_main_process:
        with files.replacing_folder(folder) as temporary:
            model.save_pretrained(temporary)
            # peft adds a model card that names the base model's path on this machine.
            (temporary / "README.md").unlink(missing_ok=True)
            written = temporary / "adapter_config.json"
            settings = files.read_json(written) | {"base_model_name_or_path": base}
            files.write_json(settings | {"target_modules": sorted(settings["target_modules"])}, written)
    state.wait_for_everyone()
    return folder

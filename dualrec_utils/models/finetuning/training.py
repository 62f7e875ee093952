"""Training of LoRA adapters: order, precision, memory, checkpoints, several GPUs.

The optimisation is the Trainer's of transformers, with the settings of the paper's section 4.2.3.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from peft import PeftModel, load_peft_weights, set_peft_model_state_dict
from tqdm import tqdm
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)
from transformers.trainer_pt_utils import get_length_grouped_indices

from dualrec_utils.core.errors import StudyError
from dualrec_utils.core.reproducible import reproducible
from dualrec_utils.models.finetuning import lora
from dualrec_utils.models.finetuning.checkpoints import begin, is_finished, read_state, settings_of
from dualrec_utils.models.language import loading

PRECISIONS = ("auto", "float32", "bfloat16", "float16")
_VALIDATION = "validation_loss"
# Training losses of a curve at least, where there are as many steps.
_POINTS = 20
_SMALLER = (
    "lower batch_size (and raise accumulation by as much), set gradient_checkpointing to true, or"
    " quantization to nf4"
)


class _Examples(torch.utils.data.Dataset):
    """Examples in an order drawn anew for every epoch; those that share a batch are of like length."""

    def __init__(self, encoded: Sequence[Mapping], *, batch_size: int, seed: int):
        self.encoded, self.batch_size, self.seed = list(encoded), batch_size, seed
        self.lengths = [len(example["input_ids"]) for example in encoded]
        self.start_epoch(0)

    def start_epoch(self, epoch: int) -> None:
        # The order depends on seed and epoch alone, so that a resumed run meets the same batches.
        drawn = torch.Generator().manual_seed(self.seed + epoch)
        places = get_length_grouped_indices(self.lengths, self.batch_size, generator=drawn)
        batches = [places[i : i + self.batch_size] for i in range(0, len(places), self.batch_size)]
        # These come sorted, long before short, which teaches less well; an incomplete one stays last.
        complete = len(places) // self.batch_size
        shuffled = [batches[i] for i in torch.randperm(complete, generator=drawn).tolist()]
        self.order = [place for batch in (*shuffled, *batches[complete:]) for place in batch]

    def __len__(self) -> int:
        return len(self.encoded)

    def __getitem__(self, place: int) -> dict:
        return self.encoded[self.order[place]]


class _Course(TrainerCallback):
    """What happens around the steps: order, bar, validation, checkpoints between epochs.

    Losses go into the Trainer's log, which its checkpoints hold.
    """

    def __init__(
        self, model, examples: _Examples, validation, tokenizer, *, label: str, save_steps: int | None
    ):
        self.model, self.examples, self.validation, self.tokenizer = model, examples, validation, tokenizer
        self.label, self.save_steps = label, save_steps

    def _validate(self, state, epoch: int) -> None:
        loss = _finite(
            lora.answer_loss(self.model, self.validation, self.tokenizer), step=state.global_step
        )
        state.log_history.append({"epoch": epoch, _VALIDATION: loss})
        self.bar.set_postfix(validation=f"{loss:.3f}")

    def on_train_begin(self, args, state, control, **kwargs):
        hidden = not state.is_world_process_zero
        self.bar = tqdm(
            total=state.max_steps, initial=state.global_step, desc=self.label, unit="step", disable=hidden
        )
        if state.global_step == 0:
            self._validate(state, 0)

    def on_epoch_begin(self, args, state, control, **kwargs):
        self.examples.start_epoch(int(state.epoch))

    def on_step_end(self, args, state, control, **kwargs):
        self.bar.update()
        # The end of an epoch is saved by the Trainer itself, after validation.
        ends_epoch = state.global_step % (state.max_steps // args.num_train_epochs) == 0
        if self.save_steps and state.global_step % self.save_steps == 0 and not ends_epoch:
            control.should_save = True

    def on_log(self, args, state, control, logs=None, **kwargs):
        if "loss" in logs:
            _finite(logs["loss"], step=state.global_step)

    def on_epoch_end(self, args, state, control, **kwargs):
        self._validate(state, round(state.epoch))

    def on_train_end(self, args, state, control, **kwargs):
        self.bar.close()


def _finite(loss: float, *, step: int) -> float:
    if not np.isfinite(loss):
        raise StudyError(
            f"the loss is {loss} at step {step}: lower learning_rate, or train in another precision than"
            " float16 (dtype float32, or bfloat16 where the GPU has it)"
        )
    return loss


def precision_of(model: PreTrainedModel | PeftModel, wanted: str) -> str:
    """The precision that a model is trained in: `float32`, `bfloat16` or `float16` (with scaled losses).

    Args:
        model: on the device where it will be trained.
        wanted: one of `auto`, `float32`, `bfloat16`, `float16`. `auto` takes what half-precision weights
            have, or 4-bit weights are computed in; else float32 on a CPU, and on a GPU bfloat16 where it
            computes in it, float16 (the paper's, section 4.2.3) where not.

    Raises:
        StudyError: for another name, or float16 on a CPU, where gradients cannot be scaled.
    """
    if wanted not in PRECISIONS:
        raise StudyError(f"precision {wanted!r} is unknown; allowed: {', '.join(PRECISIONS)}")
    # Weights in 4 bits say elsewhere what they are computed in.
    computed = getattr(
        getattr(model.config, "quantization_config", None), "bnb_4bit_compute_dtype", model.dtype
    )
    on_gpu, weights = model.device.type == "cuda", str(computed).removeprefix("torch.")
    precision = wanted
    if wanted == "auto" and weights in ("bfloat16", "float16"):
        precision = weights
    elif wanted == "auto":
        native = on_gpu and torch.cuda.is_bf16_supported(including_emulation=False)
        precision = ("bfloat16" if native else "float16") if on_gpu else "float32"
    if precision == "float16" and not on_gpu:
        raise StudyError("float16 trains on a GPU only: set dtype to float32 or bfloat16 on a CPU")
    return precision


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
    precision: str = "auto",
    gradient_checkpointing: bool = False,
    checkpoints: Path | None = None,
    checkpoint_steps: int = 50,
) -> pd.DataFrame:
    """Train the adapter of `model` in place; the same arguments give the same adapter on one machine.

    AdamW without weight decay, learning rate falling linearly to zero, gradients clipped at norm 1.
    Under `accelerate launch` every process takes its share of each step, `batch_size * accumulation *
    processes` examples, and the first one writes.

    Args:
        model: from :func:`models.finetuning.lora.attach`.
        encoded: training examples, from :func:`models.finetuning.examples.encode`.
        validation: likewise of validation users; only a loss is computed on them.
        seed: of order and dropout.
        n_epochs: passes over the examples (paper: 3).
        batch_size: examples at once (paper: 2). accumulation: batches a step, at least 1.
        learning_rate: of the first step.
        label: shown beside the progress bar.
        precision: see :func:`precision_of`.
        gradient_checkpointing: compute activations twice instead of keeping them: less memory, more time,
            the same adapter.
        checkpoints: folder to go on from and to save to; None saves nothing. One of a finished run
            gives its adapter at once.
        checkpoint_steps: steps from one checkpoint to the next; the end of an epoch is one always.

    Returns:
        Rows from epoch 0 (before training) to the last one, at least :data:`_POINTS` after it unless there
        are fewer steps: `epoch` (with fractions), `train_loss` (mean over the steps since the row before,
        with dropout; missing at 0), `validation_loss` (missing within an epoch); nats a token of the
        answer.

    Raises:
        StudyError: for a loss that is not finite, too little memory, several GPUs without
            `accelerate launch`, and as :func:`precision_of`.
    """
    precision = precision_of(model, precision)
    schedule = {"seed": seed, "n_epochs": n_epochs, "batch_size": batch_size, "accumulation": accumulation}
    schedule |= {"learning_rate": learning_rate, "precision": precision}
    resumed = None
    if checkpoints is not None:
        shape = {
            name: getattr(model.peft_config["default"], name)
            for name in ("r", "lora_alpha", "lora_dropout")
        }
        settings = settings_of(model, encoded, validation, **schedule, **shape)
        resumed = begin(checkpoints, settings, label=label)
    if is_finished(resumed):
        set_peft_model_state_dict(model, load_peft_weights(str(resumed), device="cpu"))
        model.eval()
        return _curve(read_state(resumed))
    examples = _Examples(encoded, batch_size=batch_size, seed=seed)
    with tempfile.TemporaryDirectory() as scratch, reproducible(), loading.memory_errors(_SMALLER):
        arguments = TrainingArguments(
            output_dir=str(checkpoints or scratch),
            num_train_epochs=n_epochs,
            per_device_train_batch_size=batch_size,
            gradient_accumulation_steps=accumulation,
            learning_rate=learning_rate,
            lr_scheduler_type="linear",
            train_sampling_strategy="sequential",
            bf16=precision == "bfloat16",
            fp16=precision == "float16",
            activation_checkpointing=gradient_checkpointing,
            logging_strategy="steps",
            logging_steps=1,
            logging_nan_inf_filter=False,
            save_strategy="no" if checkpoints is None else "epoch",
            save_total_limit=2,
            report_to=[],
            disable_tqdm=True,
            ddp_find_unused_parameters=False,
            dataloader_pin_memory=False,
            use_cpu=model.device.type == "cpu",
            seed=seed,
        )
        if arguments.n_gpu > 1:
            raise StudyError(
                f"{arguments.n_gpu} GPUs are in sight of one process: choose one with"
                " CUDA_VISIBLE_DEVICES=0, or use all by `accelerate launch`"
            )
        course = _Course(
            model, examples, validation, tokenizer, label=label, save_steps=checkpoints and checkpoint_steps
        )
        trainer = Trainer(
            model=model,
            args=arguments,
            train_dataset=examples,
            data_collator=lora.collator(tokenizer, multiple=None if precision == "float32" else 8),
            callbacks=[course],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train(resume_from_checkpoint=None if resumed is None else str(resumed))
        # What follows is computed as it would be after loading the adapter.
        trainer.accelerator.unwrap_model(model, keep_fp32_wrapper=False)
        if gradient_checkpointing:
            model.activation_checkpointing_disable()
    model.eval()
    return _curve(vars(trainer.state))


def _curve(state: Mapping) -> pd.DataFrame:
    """What :func:`train` returns, from the state of the Trainer or of its last checkpoint."""
    log = state["log_history"]
    validation = pd.Series({entry["epoch"]: entry[_VALIDATION] for entry in log if _VALIDATION in entry})
    steps = [(entry["step"], entry["loss"]) for entry in log if "loss" in entry]
    n_epochs = state["num_train_epochs"]
    per_epoch = state["max_steps"] // n_epochs
    pieces = min(per_epoch, math.ceil(_POINTS / n_epochs))
    # Steps that end a piece of training; an epoch's last one is among them.
    ends = np.unique(np.linspace(0, per_epoch, pieces + 1).round().astype(int))[1:]
    ends = np.concatenate([epoch * per_epoch + ends for epoch in range(n_epochs)])
    numbers, values = zip(*steps, strict=True)
    losses = pd.Series(values).groupby(ends[np.searchsorted(ends, numbers)] / per_epoch).mean()
    curve = pd.DataFrame({"train_loss": losses, _VALIDATION: validation}).rename_axis("epoch")
    return curve.reset_index()

"""Checkpoints of adapters in training: a stopped run goes on to the adapter it would have reached.

They lie outside every stage's outputs, which DVC deletes before it runs the stage again.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import torch
from accelerate import PartialState
from tqdm import tqdm
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from dualrec_utils.core import closure, config, files
from dualrec_utils.core.errors import StudyError
from dualrec_utils.models.language.loading import weights_digest

_SETTINGS = "settings.json"
# What a finished adapter does not depend on any more.
_PROCESSES = "n_processes"


def processes() -> PartialState:
    """This process among those of `accelerate launch`; alone where nothing was launched."""
    # On a CPU accelerate looks for other processes only when told that it is one.
    return PartialState(cpu=not torch.cuda.is_available())


def forget(dataset: str) -> None:
    """Delete the checkpoints of all adapters of a data set: to be called once the stage has written all."""
    shutil.rmtree(config.checkpoints_dir(dataset, "lora_finetuning"), ignore_errors=True)


def settings_of(
    model: torch.nn.Module, encoded: Sequence[Mapping], validation: Sequence[Mapping], **schedule
) -> dict:
    """All that decides which adapter comes out, as it can be written to JSON.

    Args:
        model: with its fresh adapter. Every weight counts, and which of them are trained.
        encoded: training examples. validation: likewise of validation users.
        schedule: what else is set, by name; values that JSON knows.

    Returns:
        `schedule`, the versions of the libraries, the number of processes, and digests: `model`,
        `examples`, `validation`, and `code` of the modules that train.
    """
    whole = {
        "model": weights_digest(model),
        "examples": _digest(list(map(dict, encoded))),
        "validation": _digest(list(map(dict, validation))),
        "code": closure.digest(closure.closure(f"import {__package__}.training", by_name=False)),
    }
    digests = {name: digest[:16] for name, digest in whole.items()}
    versions = {name: version(name) for name in ("torch", "transformers", "peft", "accelerate")}
    return digests | schedule | versions | {_PROCESSES: processes().num_processes}


def _digest(value: object) -> str:
    """Of a value that JSON knows."""
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def begin(folder: Path, settings: Mapping, *, label: str) -> Path | None:
    """The checkpoint to go on from. Where there is none, `folder` is emptied for a new run.

    A checkpoint made with other settings is thrown away, which is said on stderr. In a run of several
    processes the first one does so while the others wait.

    Args:
        folder: of this adapter's checkpoints.
        settings: from :func:`settings_of`.
        label: of the adapter, for the message.
    """
    state = processes()
    if state.is_main_process:
        there = files.read_json(folder / _SETTINGS, missing={})
        differing = sorted(name for name in {*there, *settings} if there.get(name) != settings.get(name))
        if differing == [_PROCESSES] and is_finished(last_complete(folder)):
            differing = []
        if differing:
            if there:
                words = [f"{name} was {there.get(name)}, is {settings.get(name)}" for name in differing]
                reason = f"its checkpoints were made otherwise ({'; '.join(words)})"
                tqdm.write(f"{label}: {reason}: training starts anew", file=sys.stderr)
            shutil.rmtree(folder, ignore_errors=True)
            files.write_json(dict(settings), folder / _SETTINGS)
    state.wait_for_everyone()
    latest = last_complete(folder)
    if latest is not None and state.is_main_process:
        step = read_state(latest)["global_step"]
        tqdm.write(f"{label}: goes on from the checkpoint of step {step}", file=sys.stderr)
    return latest


def last_complete(folder: Path) -> Path | None:
    """The newest checkpoint under `folder` that was written to its end, or None."""
    prefix = f"{PREFIX_CHECKPOINT_DIR}-"
    numbered = {int(path.name.removeprefix(prefix)): path for path in folder.glob(f"{prefix}[0-9]*")}
    for _, path in sorted(numbered.items(), reverse=True):
        # The Trainer writes this file last.
        if (path / TRAINER_STATE_NAME).is_file():
            try:
                read_state(path)
            except StudyError:
                continue
            return path
    return None


def read_state(checkpoint: Path) -> dict:
    """The Trainer's state in a checkpoint: steps, log, and the rest."""
    return files.read_json(checkpoint / TRAINER_STATE_NAME)


def is_finished(checkpoint: Path | None) -> bool:
    """Whether a checkpoint was made after the last step of its run."""
    if checkpoint is None:
        return False
    state = read_state(checkpoint)
    return state["global_step"] >= state["max_steps"]

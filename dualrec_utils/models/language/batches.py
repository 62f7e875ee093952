"""Work on prompts in batches, each kept on disk where that is wanted: a stopped run goes on with the next.

What is kept lies outside every stage's outputs, which DVC deletes before it runs the stage again, and holds
until the model, the prompts, the settings, the code or the libraries change.
"""

from __future__ import annotations

import glob
import hashlib
import json
import re
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm
from transformers import PreTrainedModel

from dualrec_utils.core import closure, config, files
from dualrec_utils.core.errors import StudyError
from dualrec_utils.core.predictions import Scope
from dualrec_utils.models.language.loading import weights_digest

_SETTINGS = "settings.json"
_LIBRARIES = ("torch", "transformers", "tokenizers", "peft")
# Of the folder of a piece of work: the label, cut off, and digits of the digest of all that decides it.
_LONGEST_NAME, _DIGITS = 120, 12


@dataclass(frozen=True)
class Keeping:
    """Where results of batches are kept, and all that decides them besides the prompts.

    Attributes:
        folder: holds a folder of its own for every piece of work.
        model: in evaluation mode. Every weight counts, its configuration, and the scale of its adapters.
        settings: what else decides the results; values that JSON knows.
    """

    folder: Path
    model: PreTrainedModel
    settings: Mapping[str, Any] = field(default_factory=dict)


def folder_of(scope: Scope) -> Path:
    """Where a stage keeps the batches of its language models."""
    return config.checkpoints_dir(scope.dataset, scope.stage) / "batches"


def by_length(lengths: Sequence[int], *, size: int) -> list[list[int]]:
    """Prompts of like length together: numbers of prompts, the shortest first, `size` or fewer a batch."""
    order = sorted(range(len(lengths)), key=lambda row: (lengths[row], row))
    return [order[first : first + size] for first in range(0, len(order), size)]


def run(
    encoded: Sequence[Sequence[int]],
    work: Callable[[list[int]], list],
    *,
    batch_size: int,
    label: str,
    keeping: Keeping | None = None,
) -> list:
    """Do `work` on batches of prompts of like length.

    Args:
        encoded: tokens of each prompt.
        work: gets the numbers of a batch's prompts; returns a result for each, which JSON must know if it
            is to be kept.
        batch_size: prompts of a batch.
        label: shown beside the progress bar; what is kept carries it.
        keeping: None keeps nothing.

    Returns:
        The results in the order of the prompts.

    Raises:
        StudyError: as `work` does, or where a kept file is damaged.
        OSError: where nothing can be written.
    """
    parts = by_length([len(ids) for ids in encoded], size=batch_size)
    folder = None if keeping is None else _begin(keeping, encoded, batch_size=batch_size, label=label)
    results: list = [None] * len(encoded)
    with torch.inference_mode(), tqdm(total=len(encoded), desc=label, unit="prompt") as bar:
        for number, rows in enumerate(parts):
            path = folder and folder / f"{number:05}.json"
            if path and path.is_file():
                done = files.read_json(path, list)
                if len(done) != len(rows):
                    raise StudyError(f"{path} is damaged ({len(done)} of {len(rows)} results): delete it")
            else:
                done = work(rows)
                if path:
                    files.write_json(done, path)
            for row, result in zip(rows, done, strict=True):
                results[row] = result
            bar.update(len(rows))
    return results


def _begin(keeping: Keeping, encoded: Sequence[Sequence[int]], *, batch_size: int, label: str) -> Path:
    """The folder of a piece of work; one of the same label that was made otherwise is deleted.

    Its name holds all that decides the results: two runs at once never take each other's.
    """
    settings = {
        "label": label,
        "model": weights_digest(keeping.model),
        "configuration": _configuration(keeping.model),
        "device": _device(keeping.model),
        "prompts": _digest([list(ids) for ids in encoded]),
        "batch_size": batch_size,
        "code": _code(),
        **{name: version(name) for name in _LIBRARIES},
        **keeping.settings,
    }
    name = re.sub(r"\W+", "_", label)[:_LONGEST_NAME]
    folder = keeping.folder / f"{name}-{_digest(settings)[:_DIGITS]}"
    for other in keeping.folder.glob(f"{glob.escape(name)}-{'?' * _DIGITS}"):
        if other != folder:
            before = files.read_json(other / _SETTINGS, missing={})
            here = json.loads(json.dumps(settings))
            differing = sorted(n for n in {*before, *here} if before.get(n) != here.get(n))
            tqdm.write(f"{label}: begins anew, changed: {', '.join(differing)}", file=sys.stderr)
            shutil.rmtree(other, ignore_errors=True)
    n_kept = len(list(folder.glob("[0-9]*.json")))
    if n_kept:
        tqdm.write(f"{label}: {n_kept} of its batches are done already", file=sys.stderr)
    files.write_json(settings, folder / _SETTINGS)
    return folder


def _digest(value: object) -> str:
    """SHA-256 of a value that JSON knows."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _configuration(model: PreTrainedModel) -> dict[str, Any]:
    """What decides a model's answers and is no weight: its configuration, and how adapters are scaled."""
    values = json.loads(model.config.to_json_string())
    # Training leaves it switched off; no result depends on it.
    values.pop("use_cache", None)
    adapters = getattr(model, "peft_config", {})
    return values | {"adapters": {name: [one.r, one.lora_alpha] for name, one in adapters.items()}}


def _device(model: PreTrainedModel) -> str:
    """What computes, as far as digits depend on it."""
    device = next(model.parameters()).device
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} {torch.backends.cpu.get_cpu_capability()}"


@cache
def _code() -> str:
    """Digest of the modules that answer and search."""
    source = "\n".join(f"import {__package__}.{name}" for name in ("generation", "constrained"))
    return closure.digest(closure.closure(source, by_name=False))

"""Every language model behind one small interface: prompts in, answers out, in order."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch

from dualrec_utils.errors import StudyError


class Backend(Protocol):
    """What answers: `about` says what it is and how it was asked, as it can be written to JSON."""

    about: dict[str, Any]

    def answer(self, prompts: Sequence[str], *, label: str) -> list[str]:
        """One answer a prompt, in order, with a progress bar named `label`."""


def why_not(spec: Mapping[str, Any], *, key_variable: str) -> str | None:
    """Why this machine cannot run a language model, None where it can.

    Args:
        spec: one entry of `models` in `params.yaml`.
        key_variable: environment variable that holds the hosted models' key.

    Returns:
        The reason, as the tables say it after "not run": a hosted model without a key, a model in half
        precision or 4 bits without a GPU. All else that is wrong with a model is an error, raised when it
        is opened.
    """
    if spec["backend"] == "hosted" and not os.environ.get(key_variable, "").strip():
        return f"hosted model, needs a key in {key_variable}"
    needs_gpu = spec["dtype"] != "float32" or spec["quantization"] == "nf4"
    if spec["backend"] == "local" and needs_gpu and not torch.cuda.is_available():
        return "needs a GPU, this machine has none"
    return None


def runnable(
    models: Mapping[str, Mapping[str, Any]], *, key_variable: str
) -> tuple[list[str], dict[str, str]]:
    """Names of the models that this machine can run, and of the others the reason why not.

    Raises:
        StudyError: when the first one cannot run: the notebooks follow it from prompt to movie.
    """
    reasons = {name: why_not(spec, key_variable=key_variable) for name, spec in models.items()}
    first = next(iter(models))
    if reasons[first] is not None:
        raise StudyError(
            f"the first language model, {first}, cannot run: {reasons[first]}. Name one that can first"
        )
    able = [name for name, reason in reasons.items() if reason is None]
    return able, {name: reason for name, reason in reasons.items() if reason is not None}


def open_backend(
    spec: Mapping[str, Any],
    *,
    dataset: str,
    seed: int,
    decoding: Mapping[str, int],
    hosted: Mapping[str, Any],
) -> Backend:
    """Make a language model ready to answer.

    Args:
        spec: one entry of `models` in `params.yaml`: `backend` and what it asks for.
        dataset: whose `movielm` is meant.
        seed: handed to hosted models; local ones answer greedily.
        decoding: `max_new_tokens`, `batch_size`, `n_lines`, `max_thinking_tokens`, as
            :class:`dualrec_utils.local.LocalBackend` has them.
        hosted: section `hosted` of `params.yaml`.

    Raises:
        StudyError: as the backends do.
    """
    # Each brings libraries of its own, which the others do not need.
    if spec["backend"] == "hosted":
        from dualrec_utils.hosted import HostedBackend, HostedSettings

        longest = decoding["max_new_tokens"] + decoding["max_thinking_tokens"]
        settings = HostedSettings(**hosted)
        return HostedBackend(spec["model"], settings=settings, max_tokens=longest, seed=seed)
    if spec["backend"] == "replay":
        from dualrec_utils.recordings import ReplayBackend

        return ReplayBackend(spec["model"])
    from dualrec_utils.local import LocalBackend

    loaded = {name: spec[name] for name in ("model", "revision", "dtype", "quantization")}
    return LocalBackend(**loaded, dataset=dataset, **decoding)

"""Open the language model that `params.yaml` names, wherever it runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dualrec_utils.models.backends.backend import Backend


def open_backend(
    spec: Mapping[str, Any],
    *,
    dataset: str,
    seed: int,
    decoding: Mapping[str, int],
    hosted: Mapping[str, Any],
) -> Backend:
    """Make a language model ready to answer; who opens it closes it.

    Args:
        spec: one entry of `models` in `params.yaml`: `backend` and what it asks for.
        dataset: whose `movielm` is meant.
        seed: handed to hosted models; local ones answer greedily.
        decoding: `max_new_tokens`, `batch_size`, `n_lines`, `max_thinking_tokens`, as
            :class:`models.backends.local.LocalBackend` has them.
        hosted: section `hosted` of `params.yaml`.

    Raises:
        StudyError: as the backends do.
    """
    # Each brings libraries of its own, which the others do not need.
    if spec["backend"] == "hosted":
        from dualrec_utils.models.backends.hosted import HostedBackend, HostedSettings

        longest = decoding["max_new_tokens"] + decoding["max_thinking_tokens"]
        settings = HostedSettings(**hosted)
        return HostedBackend(spec["model"], settings=settings, max_tokens=longest, seed=seed)
    if spec["backend"] == "replay":
        from dualrec_utils.models.backends.replay import ReplayBackend

        return ReplayBackend(spec["model"])
    from dualrec_utils.models.backends.local import LocalBackend

    loaded = {name: spec[name] for name in ("model", "revision", "dtype", "quantization")}
    return LocalBackend(**loaded, dataset=dataset, **decoding)

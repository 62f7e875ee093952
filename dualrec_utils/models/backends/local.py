"""Language models on this machine, behind the interface that hosted and recorded ones share."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch

from dualrec_utils.core.errors import StudyError
from dualrec_utils.models.backends import vllm_engine
from dualrec_utils.models.backends.backend import Backend
from dualrec_utils.models.language import generation
from dualrec_utils.models.language.loading import load_model, locate, quantized

ENGINES = ("transformers", "vllm")


class LocalBackend(Backend):
    """Loads once, answers often.

    Attributes:
        about: what answers, as it can be written to JSON: `model`, `revision` (the commit, for a Hub
            model), `dtype`, `quantization` (`none` or `nf4`, as used), `adapter`, `engine`, `device`,
            and the settings of generation.
        model, tokenizer: from :func:`models.language.loading.load_model`, for constrained decoding and
            training; with vLLM `model` is its engine, which serves free text alone.
    """

    def __init__(
        self,
        model: str,
        *,
        dataset: str,
        revision: str | None = None,
        dtype: str = "float32",
        quantization: str = "none",
        adapter: str | Path | None = None,
        merge: bool = False,
        engine: str = "transformers",
        max_new_tokens: int,
        batch_size: int,
        n_lines: int = 3,
        max_thinking_tokens: int = 0,
    ):
        """Load the model.

        Args:
            model: `movielm` (the one trained on `dataset`), a folder or a Hub id.
            engine: `transformers`, or `vllm` where that is installed, for base models.
            revision, dtype, quantization, adapter, merge: as :func:`load_model`.
            max_new_tokens, batch_size, n_lines, max_thinking_tokens: as
                :func:`models.language.generation.generate`; vLLM makes its own batches.

        Raises:
            StudyError: as :func:`load_model`, for an unknown engine, or as
                :func:`models.backends.vllm_engine.load`.
        """
        if engine not in ENGINES:
            raise StudyError(f"engine {engine!r} is unknown; allowed: {', '.join(ENGINES)}")
        place = locate(model, dataset=dataset)
        weights = {"revision": revision, "dtype": dtype}
        if engine == "vllm":
            if adapter is not None:
                raise StudyError("vllm serves base models here: set engine to transformers for an adapter")
            self.model, self.tokenizer, settings = vllm_engine.load(
                place, **weights, quantization=quantization
            )
            self._complete = partial(vllm_engine.complete, self.model, self.tokenizer)
        else:
            self.model, self.tokenizer = load_model(
                place, **weights, quantization=quantization, adapter=adapter, merge=merge
            )
            settings = self.model.config
            self._complete = partial(generation.complete, self.model, self.tokenizer, batch_size=batch_size)
        self._context = generation.context_length(settings, self.tokenizer)
        self._limits = {
            "max_new_tokens": max_new_tokens,
            "n_lines": n_lines,
            "max_thinking_tokens": max_thinking_tokens,
        }
        self.about = {
            "model": model,
            # A branch moves on; the commit it stood at does not.
            "revision": getattr(settings, "_commit_hash", None) or revision,
            "dtype": dtype,
            "quantization": "nf4" if quantized(quantization) else "none",
            "adapter": None if adapter is None else Path(adapter).name,
            "engine": engine,
            "device": torch.cuda.get_device_name(0) if torch.cuda.is_available() else "cpu",
            "batch_size": batch_size,
            **self._limits,
        }

    def close(self) -> None:
        """Let go of the weights, so that the next model finds the memory."""
        self.model = self.tokenizer = self._complete = None

    def answer(self, prompts: Sequence[str], *, label: str) -> list[str]:
        """One answer a prompt, in order, with a progress bar named `label`.

        Raises:
            StudyError: as :func:`models.language.generation.generate`.
        """
        return generation.answer(
            self._complete, self.tokenizer, prompts, context=self._context, label=label, **self._limits
        )

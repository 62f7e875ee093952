"""Language models on this machine, behind the interface that hosted and recorded ones share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from dualrec_utils.models.backends.backend import Backend
from dualrec_utils.models.language import chat, generation
from dualrec_utils.models.language.loading import load_model, locate, quantized


class LocalBackend(Backend):
    """Loads once, answers often.

    Attributes:
        about: what answers, as it can be written to JSON: `model`, `revision` (the commit, for a Hub
            model), `dtype`, `quantization` (`none` or `nf4`, as used), `adapter`, `device`, `date` (which
            chat templates print) and the settings of generation.
        model, tokenizer: from :func:`models.language.loading.load_model`, for constrained decoding and
            training.
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
        max_new_tokens: int,
        batch_size: int,
        n_lines: int = 3,
        max_thinking_tokens: int = 0,
    ):
        """Load the model.

        Args:
            model: `movielm` (the one trained on `dataset`), a folder, a GGUF file or a Hub id.
            revision, dtype, quantization, adapter: as :func:`load_model`.
            max_new_tokens, batch_size, n_lines, max_thinking_tokens: as
                :func:`models.language.generation.generate`.

        Raises:
            StudyError: as :func:`load_model`.
        """
        weights = {"dtype": dtype, "quantization": quantization, "adapter": adapter}
        self.model, self.tokenizer = load_model(
            locate(model, dataset=dataset), revision=revision, **weights
        )
        self._decoding = {
            "batch_size": batch_size,
            "max_new_tokens": max_new_tokens,
            "n_lines": n_lines,
            "max_thinking_tokens": max_thinking_tokens,
        }
        self.about = {
            "model": model,
            # A branch moves on; the commit it stood at does not.
            "revision": getattr(self.model.config, "_commit_hash", None) or revision,
            "dtype": dtype,
            "quantization": "nf4" if quantized(quantization) else "none",
            "adapter": None if adapter is None else Path(adapter).name,
            "device": torch.cuda.get_device_name(0) if torch.cuda.is_available() else "cpu",
            "date": str(chat.DATE),
            **self._decoding,
        }

    def close(self) -> None:
        """Let go of the weights, so that the next model finds the memory."""
        self.model = self.tokenizer = None

    def answer(self, prompts: Sequence[str], *, label: str, kept: Path | None = None) -> list[str]:
        """One answer a prompt, in order; `label` and `kept` as :func:`models.language.generation.generate`.

        Raises:
            StudyError: as there.
        """
        options = {"label": label, "kept": kept, **self._decoding}
        return generation.generate(self.model, self.tokenizer, prompts, **options)

"""vLLM in the place of transformers' own generation, where it is installed; it needs a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoTokenizer, PretrainedConfig, PreTrainedTokenizerBase

from dualrec_utils.core.errors import StudyError
from dualrec_utils.models.language.loading import check_folder, loading_errors, quantized


def load(
    path_or_id: str | Path, *, revision: str | None, dtype: str, quantization: str
) -> tuple[Any, PreTrainedTokenizerBase, PretrainedConfig]:
    """vLLM's engine, the tokenizer and the configuration of a model.

    Args:
        All as :func:`models.language.loading.load_model`.

    Raises:
        StudyError: when vLLM is not installed, or the model cannot be loaded.
    """
    if find_spec("vllm") is None:
        raise StudyError(
            "engine vllm needs vLLM, which is not installed: run `pip install vllm` on a machine with a"
            " GPU, or set engine to transformers"
        )
    check_folder(path_or_id)
    with loading_errors(path_or_id, revision):
        settings = AutoConfig.from_pretrained(path_or_id, revision=revision, trust_remote_code=False)
        tokenizer = AutoTokenizer.from_pretrained(path_or_id, revision=revision, trust_remote_code=False)
        # Installed by the user, on machines that can run it.
        from vllm import LLM

        engine = LLM(
            model=str(path_or_id),
            revision=revision,
            tokenizer_revision=revision,
            dtype=dtype,
            quantization="bitsandbytes" if quantized(quantization) else None,
            seed=0,
        )
    return engine, tokenizer, settings


def complete(
    engine: Any,
    tokenizer: PreTrainedTokenizerBase,
    ids: Sequence[list[int]],
    *,
    max_new_tokens: int,
    label: str,
    n_lines: int | None = None,
    stop_token: int | None = None,
) -> list[list[int]]:
    """As :func:`models.language.generation.complete`, in batches of vLLM's making.

    vLLM cannot count lines: it writes on to `max_new_tokens`, and
    :func:`models.language.generation.answer` cuts the text.

    Args:
        engine, tokenizer: from :func:`load`.
        label: said before vLLM's own progress bar.
    """
    from vllm import SamplingParams

    stops = [] if stop_token is None else [stop_token]
    settings = SamplingParams(temperature=0.0, max_tokens=max_new_tokens, stop_token_ids=stops)
    print(label)
    outputs = engine.generate([{"prompt_token_ids": row} for row in ids], settings, use_tqdm=True)
    written = []
    for output in outputs:
        new = list(output.outputs[0].token_ids)
        # vLLM keeps the token that ended an answer.
        if new and new[-1] in (*stops, tokenizer.eos_token_id):
            new.pop()
        written.append(new)
    return written

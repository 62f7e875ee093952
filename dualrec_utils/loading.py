"""Load any Hugging Face causal language model with its tokenizer and, if wanted, a LoRA adapter."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from dualrec_utils import config
from dualrec_utils.errors import StudyError

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json")


def load_model(
    path_or_id: str | Path,
    *,
    revision: str | None = None,
    dtype: str = "float32",
    adapter: str | Path | None = None,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a causal language model and its tokenizer, ready to generate (padding on the left).

    Args:
        path_or_id: folder, or id on the Hugging Face Hub.
        revision: Hub commit, tag or branch; None for a folder or the newest.
        dtype: `float32`, `bfloat16` or `float16`.
        adapter: folder of a LoRA adapter to put on top.

    Returns:
        (model in evaluation mode, on the GPU if there is one; tokenizer).

    Raises:
        StudyError: for an unknown dtype, a folder without model or tokenizer, an id that the Hub does
            not have or that cannot be reached, an adapter folder without adapter.
    """
    if dtype not in ("float32", "bfloat16", "float16"):
        raise StudyError(f"dtype {dtype!r} is unknown; allowed: float32, bfloat16, float16")
    folder = Path(path_or_id)
    if folder.is_absolute() or folder.exists():
        _check_folder(folder)
    try:
        tokenizer = AutoTokenizer.from_pretrained(path_or_id, revision=revision, padding_side="left")
        model = AutoModelForCausalLM.from_pretrained(
            path_or_id, revision=revision, dtype=getattr(torch, dtype)
        )
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise StudyError(
            f"no language model {str(path_or_id)!r} (revision {revision}): {reason}. Give a folder that"
            " holds model and tokenizer, or the id of a model on the Hugging Face Hub while online"
        ) from error
    if adapter is not None:
        model = _with_adapter(model, Path(adapter))
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return model.to("cuda" if torch.cuda.is_available() else "cpu").eval(), tokenizer


def locate(name: str, *, dataset: str) -> str:
    """What a parameter `model` stands for: `movielm` is the study's own model, else a folder or Hub id."""
    return str(config.model_dir(dataset, "movielm")) if name == "movielm" else name


def _check_folder(folder: Path) -> None:
    if not (folder / "config.json").is_file():
        raise StudyError(
            f"{folder} holds no language model (no config.json): run `dvc repro movielm` first"
        )
    if not any((folder / name).is_file() for name in _TOKENIZER_FILES):
        raise StudyError(
            f"{folder} holds a model without its tokenizer (none of {list(_TOKENIZER_FILES)}):"
            " save the tokenizer there too"
        )


def _with_adapter(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    if not (folder / "adapter_config.json").is_file():
        raise StudyError(f"{folder} holds no adapter: run `dvc repro lora_finetuning` first")
    # peft takes seconds to import and only adapters need it.
    from peft import PeftModel

    return PeftModel.from_pretrained(model, folder)

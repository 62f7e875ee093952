"""Load any Hugging Face causal language model with its tokenizer and, if wanted, a LoRA adapter."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    GenerationConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from dualrec_utils.core import config, files
from dualrec_utils.core.errors import StudyError, first_line
from dualrec_utils.models.language import chat

DTYPES = ("float32", "bfloat16", "float16")
QUANTIZATIONS = ("none", "nf4", "auto")
# What transformers reads quantised checkpoints with.
_LIBRARIES = {
    "bitsandbytes": ("bitsandbytes",),
    "gptq": ("gptqmodel", "optimum"),
    "awq": ("gptqmodel",),
    "compressed-tensors": ("compressed-tensors",),
    "aqlm": ("aqlm",),
}
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json")
# The models of datasets.weights, which is not imported: another mirror must not run the stages again.
PRETRAINED = ("smollm2", "qwen", "qwen_1_5b")
# Folder of weights that were written out, within a folder of the model's name.
_WRITTEN = "model"
# Cards sold with 24 GB show 22 GiB or more.
_SMALL_GPU = 22 * 2**30
# Bytes a weight: four bits and their scales, with embeddings and norms left in 16 bits.
_NF4_BYTES = 0.6


def load_model(
    path_or_id: str | Path,
    *,
    revision: str | None = None,
    dtype: str = "float32",
    quantization: str = "none",
    adapter: str | Path | None = None,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a causal language model and its tokenizer, ready to generate (padding on the left).

    Sampling settings that a checkpoint brings (temperature, repetition penalty) are dropped: the
    study's answers are greedy. No code of a checkpoint is run.

    Args:
        path_or_id: folder, GGUF file or a folder with one, or id on the Hugging Face Hub; `~` is the home.
        revision: Hub commit, tag or branch; None for a folder or the newest.
        dtype: `float32`, `bfloat16` or `float16`.
        quantization: `none`; `nf4`, 4-bit NormalFloat by bitsandbytes, computing in `dtype`; `auto`,
            which is nf4 on a GPU with under 24 GB.
        adapter: folder of a LoRA adapter to put on top.

    Returns:
        (model in evaluation mode, on the GPU if there is one; tokenizer).

    Raises:
        StudyError: for an unknown dtype or quantization, 4 bits without a GPU, a missing library, a folder
            without model or tokenizer, weights that do not fit the architecture or the memory, an id
            that the Hub does not have or that cannot be reached, a folder without adapter, an adapter
            of another model, a tokenizer without end-of-text token or with tokens beyond the embeddings, a
            chat template that fails.
    """
    if dtype not in DTYPES:
        raise StudyError(f"dtype {dtype!r} is unknown; allowed: {', '.join(DTYPES)}")
    name, nf4 = os.path.expanduser(path_or_id), quantized(quantization)
    source = {"pretrained_model_name_or_path": name, "revision": revision, "trust_remote_code": False}
    packed = _gguf_file(Path(name))
    if packed is None:
        _check_folder(name)
    else:
        source |= {"pretrained_model_name_or_path": packed.parent, "gguf_file": packed.name}
    with _loading_errors(name, revision):
        settings = AutoConfig.from_pretrained(**source)
        already = _check_quantization(settings, name=name)
        check_memory(settings, name=name, dtype=dtype, nf4=nf4 or already)
        tokenizer = AutoTokenizer.from_pretrained(**source, padding_side="left")
        model, report = AutoModelForCausalLM.from_pretrained(
            **source,
            config=settings,
            dtype=getattr(torch, dtype),
            # Straight onto the GPU: 7 billion weights need not fit into the computer's own memory too.
            device_map={"": torch.cuda.current_device()} if torch.cuda.is_available() else None,
            quantization_config=_nf4_settings(dtype) if nf4 else None,
            output_loading_info=True,
        )
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise StudyError(
            f"{name} lacks {len(missing)} weights of its architecture, {missing[0]} first:"
            " random ones would answer in their place; fetch or save the model again"
        )
    if tokenizer.eos_token is None:
        raise StudyError(f"the tokenizer of {name} names no end-of-text token: set its eos_token")
    # Some tokenizers bring a padding token that the model has no embedding for.
    if tokenizer.pad_token is None or tokenizer.pad_token_id >= model.get_input_embeddings().num_embeddings:
        tokenizer.pad_token = tokenizer.eos_token
    _check_tokens(tokenizer, model, name=name)
    model.generation_config = GenerationConfig(
        eos_token_id=sorted(end_tokens(model, tokenizer)), pad_token_id=tokenizer.pad_token_id
    )
    share_head(model)
    if adapter is not None:
        model = _with_adapter(model, Path(adapter), base=name)
    return model.eval(), tokenizer


def share_head(model: PreTrainedModel) -> None:
    """Make a model's head read a batch at one place in memory; its values stay the same.

    Where the weights are frozen, torch copies the head's for every text of a batch whose positions do not
    lie side by side, as the last ones of a batch do not: 17 GB for 64 texts and Qwen's vocabulary.
    """
    model.get_output_embeddings().register_forward_pre_hook(lambda head, given: (given[0].contiguous(),))


def end_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """The tokens that end a text by the tokenizer, the configuration or the generation settings."""
    ends = {tokenizer.eos_token_id}
    for settings in (model.config, model.config.get_text_config(), model.generation_config):
        named = getattr(settings, "eos_token_id", None)
        ends |= set(named) if isinstance(named, list | tuple) else {named}
    return ends - {None}


def _check_tokens(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, *, name: str) -> None:
    """Refuse a tokenizer that writes tokens the model has no embedding for."""
    rows = model.get_input_embeddings().num_embeddings
    special = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    # Special tokens that no text brings in may lie beyond: images', a pad token's.
    written = {number for number in tokenizer.get_vocab().values() if number not in special}
    for thinking in (False, True):
        written |= set(chat.prompt_ids(tokenizer, "Hello", thinking=thinking))
    beyond = sorted(number for number in written | {tokenizer.eos_token_id} if number >= rows)
    if beyond:
        tokens = ", ".join(map(repr, tokenizer.convert_ids_to_tokens(beyond[:3])))
        raise StudyError(
            f"the tokenizer or chat template of {name} writes {len(beyond)} tokens that the model has no"
            f" embedding for ({rows} rows), {tokens} first: give the tokenizer that belongs to the model"
        )


def locate(name: str, *, dataset: str) -> str:
    """What a parameter `model` stands for.

    `movielm` is the study's own model; a model that :mod:`models.language.pretrained` writes out goes by
    its name there; anything else is a folder, a GGUF file or an id on the Hub.

    Raises:
        StudyError: for a model of :data:`PRETRAINED` that is not written out yet.
    """
    if name == "movielm":
        return str(config.stage_dir(dataset, "movielm"))
    if name not in PRETRAINED:
        return name
    written = written_folder(name)
    if not written.is_dir():
        raise StudyError(
            f"{name}, the study's copy, is not written out yet: run `dualrec weights {name}` (a folder of"
            f" that name is written ./{name})"
        )
    return str(written)


def written_folder(name: str) -> Path:
    """Where a pretrained model of that name lies once it is written out."""
    return config.raw_dir(name) / _WRITTEN


def quantized(quantization: str) -> bool:
    """Whether `quantization` (`none`, `nf4` or `auto`) means 4 bits on this machine.

    Raises:
        StudyError: for another value, or where 4 bits are wanted and cannot be had.
    """
    if quantization not in QUANTIZATIONS:
        raise StudyError(f"quantization {quantization!r} is unknown; allowed: {', '.join(QUANTIZATIONS)}")
    gpu = torch.cuda.is_available()
    if quantization == "none" or (quantization == "auto" and not _is_small(gpu)):
        return False
    if not gpu:
        raise StudyError("quantization nf4 needs a CUDA GPU and there is none: set it to none or auto")
    if find_spec("bitsandbytes") is None:
        raise StudyError(
            f"quantization {quantization} needs bitsandbytes, which is not installed:"
            " run `pip install bitsandbytes`, or set quantization to none"
        )
    return True


def _gguf_file(path: Path) -> Path | None:
    """The GGUF file that is meant: this one, or the only one of a folder without other weights."""
    if path.suffix.lower() == ".gguf" and path.is_file():
        files_there = [path]
    else:
        files_there = sorted(path.glob("*.gguf")) if not list(path.glob("*.safetensors")) else []
    if not files_there:
        return None
    if len(files_there) > 1:
        names = ", ".join(one.name for one in files_there[:5])
        raise StudyError(f"{path} holds {len(files_there)} GGUF files: name one of them ({names})")
    if find_spec("gguf") is None:
        raise StudyError(f"{files_there[0]} needs the package gguf: run `pip install gguf`")
    return files_there[0]


def _check_quantization(settings: PretrainedConfig, *, name: str) -> bool:
    """Whether a checkpoint is quantised already; refused where a library that reads it is missing."""
    scheme = getattr(settings, "quantization_config", None)
    if not scheme:
        return False
    scheme = scheme if isinstance(scheme, dict) else scheme.to_dict()
    # Older bitsandbytes checkpoints do not name their method.
    method = str(scheme.get("quant_method", "bitsandbytes")).replace("_", "-")
    libraries = _LIBRARIES.get(method.removesuffix("-4bit").removesuffix("-8bit"), ())
    missing = [library for library in libraries if find_spec(library.replace("-", "_")) is None]
    if missing:
        raise StudyError(
            f"{name} is quantised with {method} and needs {' and '.join(missing)}, not installed here: run"
            f" `pip install {' '.join(missing)}`, or name the model's unquantised folder"
        )
    return True


def check_memory(settings: PretrainedConfig, *, name: str, dtype: str, nf4: bool) -> None:
    """Refuse a model whose weights alone exceed the free memory, before they are fetched or read.

    Args:
        settings: the model's configuration. name: for the message.
        dtype: of the weights. nf4: whether they are held in 4 bits.

    Raises:
        StudyError: with what is needed and what is free.
    """
    with torch.device("meta"):
        weights = AutoModelForCausalLM.from_config(settings, trust_remote_code=False).parameters()
    needed = sum(weight.numel() for weight in weights) * (
        _NF4_BYTES if nf4 else getattr(torch, dtype).itemsize
    )
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        free, where = torch.cuda.mem_get_info()[0], "the GPU"
    else:
        free, where = psutil.virtual_memory().available, "this computer"
    if needed > free:
        raise StudyError(
            f"the weights of {name} take {needed / 1e9:.1f} GB"
            f" ({'4 bits' if nf4 else dtype}); {where} has {free / 1e9:.1f} GB free: set dtype to bfloat16,"
            " quantization to nf4 (on a GPU), or choose a smaller model"
        )


@contextmanager
def memory_errors(advice: str) -> Iterator[None]:
    """Turn running out of memory, on a GPU or not, into a StudyError that ends with `advice`."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        # torch has a class of its own for GPUs alone.
        if isinstance(error, RuntimeError) and not is_out_of_memory(error):
            raise
        place = "GPU memory" if torch.cuda.is_available() else "memory"
        raise StudyError(f"out of {place}: {advice}") from error


def is_out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _is_small(gpu: bool) -> bool:
    return gpu and torch.cuda.get_device_properties(0).total_memory < _SMALL_GPU


def _nf4_settings(dtype: str) -> BitsAndBytesConfig:
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=getattr(torch, dtype),
    )


@contextmanager
def _loading_errors(path_or_id: str | Path, revision: str | None) -> Iterator[None]:
    """Turn what libraries raise while they load a model into one StudyError that names it."""
    try:
        with memory_errors(
            "set dtype to bfloat16, quantization to nf4 (on a GPU), or choose a smaller model"
        ):
            yield
    except StudyError:
        raise
    # Every file format and architecture fails in its own way.
    except Exception as error:
        reason = first_line(error)
        raise StudyError(
            f"no language model {str(path_or_id)!r} (revision {revision}): {reason}. Give a folder that"
            " holds model and tokenizer, or the id of a model on the Hugging Face Hub while online"
        ) from error


def _check_folder(path_or_id: str | Path) -> None:
    """Refuse a folder without model or tokenizer; what may be a Hub id passes.

    Raises:
        StudyError: naming the folder and what it lacks.
    """
    folder = Path(path_or_id)
    if not folder.is_absolute() and not folder.exists():
        return
    if not (folder / "config.json").is_file():
        advice = (
            "run `dvc repro movielm` first" if folder.name == "movielm" else "name a folder with a model"
        )
        raise StudyError(f"{folder} holds no language model (no config.json): {advice}")
    if not any((folder / name).is_file() for name in _TOKENIZER_FILES):
        raise StudyError(
            f"{folder} holds a model without its tokenizer (none of {list(_TOKENIZER_FILES)}):"
            " save the tokenizer there too"
        )


def _with_adapter(model: PreTrainedModel, folder: Path, *, base: str) -> PreTrainedModel:
    """The model with an adapter of its own; compared by name, by shape, and by the layers it has."""
    if not (folder / "adapter_config.json").is_file():
        raise StudyError(f"{folder} holds no adapter: run `dvc repro lora_finetuning` first")
    # peft takes seconds to import and only adapters need it.
    from peft import PeftModel, get_peft_model_state_dict, load_peft_weights
    from peft.utils import SAFETENSORS_WEIGHTS_NAME, WEIGHTS_NAME

    if not any((folder / name).is_file() for name in (SAFETENSORS_WEIGHTS_NAME, WEIGHTS_NAME)):
        raise StudyError(
            f"{folder} holds an adapter without its weights (no {SAFETENSORS_WEIGHTS_NAME}): copy them"
            " there too, or train it again"
        )
    advice = "name the model it was trained on, or train an adapter for this one"
    trained_on = files.read_json(folder / "adapter_config.json").get("base_model_name_or_path")
    if not isinstance(trained_on, str | None):
        raise StudyError(
            f"{folder / 'adapter_config.json'}: base_model_name_or_path is {trained_on!r}; it must be a"
            " model's name or folder, or null"
        )
    if trained_on and _name_of(trained_on) != _name_of(base):
        raise StudyError(
            f"the adapter in {folder} belongs to {trained_on}, the model is {_name_of(base)}: {advice}"
        )
    try:
        adapted = PeftModel.from_pretrained(model, folder)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        lines = [line.strip() for line in str(error).strip().splitlines()]
        raise StudyError(f"the adapter in {folder} does not fit {base}: {lines[-1]}: {advice}") from error
    # Every setting that peft cannot use, and every damaged file, fails in its own way.
    except Exception as error:
        raise StudyError(
            f"the adapter in {folder} cannot be read ({type(error).__name__}: {first_line(error)}): correct"
            " its adapter_config.json, or train it again"
        ) from error
    # peft only warns about layers that one side lacks.
    there, wanted = (
        set(load_peft_weights(str(folder), device="cpu")),
        set(get_peft_model_state_dict(adapted, save_embedding_layers=False)),
    )
    if there != wanted:
        differing = sorted(there ^ wanted)
        raise StudyError(
            f"the adapter in {folder} does not fit {base}: {len(differing)} matrices are on one side only,"
            f" {differing[0]} first: {advice}"
        )
    return adapted


def _name_of(path_or_id: str) -> str:
    """What tells models apart: a Hub id's last part, a folder's name.

    >>> _name_of("Qwen/Qwen2.5-0.5B"), _name_of("data/raw/qwen/model"), _name_of("qwen")
    ('Qwen2.5-0.5B', 'qwen', 'qwen')
    """
    path = Path(path_or_id)
    # As models.language.pretrained writes them out.
    return path.parent.name if path.name == _WRITTEN else path.name


def why_not(spec: Mapping[str, Any], *, key_variable: str) -> str | None:
    """Why this machine cannot run a language model, None where it can.

    Args:
        spec: one entry of `models` in `params.yaml`.
        key_variable: environment variable that holds the hosted models' key.

    Returns:
        The reason, as the tables say it after "not run": a hosted model without a key, a model in half
        precision or 4 bits without a GPU; in bfloat16 a processor that computes in it will do. All else
        that is wrong with a model is an error, raised when it is opened.
    """
    if spec["backend"] == "hosted" and not os.environ.get(key_variable, "").strip():
        return f"hosted model, needs a key in {key_variable}"
    if spec["backend"] != "local" or torch.cuda.is_available():
        return None
    if spec["dtype"] == "bfloat16" and spec["quantization"] != "nf4":
        lacks = "needs a GPU or a processor that computes in bfloat16, this machine has neither"
        return None if processor_has_bfloat16() else lacks
    needs_gpu = spec["dtype"] != "float32" or spec["quantization"] == "nf4"
    return "needs a GPU, this machine has none" if needs_gpu else None


def processor_has_bfloat16() -> bool:
    """Whether the processor multiplies in bfloat16; others do so many times slower than in float32."""
    return any(there for name, there in torch.cpu.get_capabilities().items() if name.endswith("bf16"))


def runnable(
    models: Mapping[str, Mapping[str, Any]], *, key_variable: str
) -> tuple[list[str], dict[str, str]]:
    """Names of the models that this machine can run, and of the others the reason why not.

    Raises:
        StudyError: when the first one cannot run: the notebooks follow it from prompt to item.
    """
    reasons = {name: why_not(spec, key_variable=key_variable) for name, spec in models.items()}
    first = next(iter(models))
    if reasons[first] is not None:
        raise StudyError(
            f"the first language model, {first}, cannot run: {reasons[first]}. Name one that can first"
        )
    able = [name for name, reason in reasons.items() if reason is None]
    return able, {name: reason for name, reason in reasons.items() if reason is not None}


def roster(models: Mapping[str, Mapping[str, Any]], not_run: Mapping[str, str]) -> pd.DataFrame:
    """The language models as a table: `name`, the settings of each, and `here`: whether it runs.

    Args:
        models: `models` of a section of `params.yaml`.
        not_run: from :func:`runnable`.
    """
    here = [f"not run: {not_run[name]}" if name in not_run else "runs" for name in models]
    return pd.DataFrame(models).T.assign(here=here).rename_axis("name").reset_index()


def weights_digest(model: torch.nn.Module) -> str:
    """SHA-256 of the bytes of all weights, their names, and which of them are trained."""
    digest = hashlib.sha256()
    for name, weight in model.named_parameters():
        digest.update(f"{name} {weight.requires_grad} {weight.dtype} {tuple(weight.shape)}".encode())
        digest.update(weight.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()

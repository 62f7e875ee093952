"""`dualrec study shards movielm`: a model's answers of notebook 04, by workers on several machines.

The prompts of a part of notebook 04 (a protocol, a split, with or without the LSTM's line) are sorted by
length and cut into shards of one batch, the batches of :mod:`models.language.generation`. So whoever
answers a shard, and how many workers there are, the answers are those of notebook 04 on such a machine;
only of a model that thinks are the batches others once its thoughts are written. Ray Data hands the shards
to its workers, each of which has loaded the model; it runs on one machine or on a cluster.

The name of the folder of pieces stands for all that answers depend on: prompts, settings and the model's
files.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from dualrec_utils.core import config, files
from dualrec_utils.core.errors import StudyError, first_line
from dualrec_utils.core.predictions import scopes
from dualrec_utils.models import handoff
from dualrec_utils.models.language import batches
from dualrec_utils.models.language.answers import PromptSet
from dualrec_utils.pipeline import params, stages
from dualrec_utils.studies.shards import on_ray, pieces
from dualrec_utils.studies.shards.pieces import Piece

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


def digest(parts: Iterable[Part], opening: Mapping[str, Any]) -> str:
    """Short name of all that the answers depend on: prompts in their shards, settings, the model's files.

    Args:
        parts: from :func:`parts_of`.
        opening: from :func:`opening_of`.
    """
    place = Path(opening["spec"]["model"])
    weights = files.sha256_of_all(sorted(path for path in place.rglob("*") if path.is_file()))
    questions = [[part.system, part.posed.scope.label, part.posed.texts, part.shards] for part in parts]
    written = json.dumps([questions, dict(opening), weights], sort_keys=True)
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
    catalog, parts = load_catalog(settings["dataset"]), []
    for ending in ("", "_no_hint"):
        posed_for = scopes(settings["dataset"], f"{STUDY}/{name}")
        wording = {"n_recent": settings["n_recent"], "n_titles": settings["n_titles"]}
        for posed in answers.pose(posed_for, catalog, with_hint=not ending, **wording):
            lengths = [len(chat.prompt_ids(tokenizer, text, thinking=thinking)) for text in posed.texts]
            shards = batches.by_length(lengths, size=decoding["batch_size"])
            parts.append(Part(f"{name}_zero_shot{ending}", posed, shards))
    return parts


def save(parts: Iterable[Part], answered: Sequence[Piece], *, name: str, model: str) -> list[Path]:
    """Write the answers as notebook 04 does, and as `backend: replay` reads them.

    Args:
        parts: from :func:`parts_of`.
        answered: of all shards of all parts.
        name, model: of the model in `params.yaml`, and what it stands for.

    Returns:
        `data/<dataset>/shards/<name>/generations/<system>_<protocol>_<split>.jsonl`, one a part.
    """
    coming, written = iter(answered), []
    for part in parts:
        some = [next(coming) for _ in part.shards]
        posed, about = part.posed, some[0].about | {"model": model}
        texts = pieces.join(part.shards, [piece.answers for piece in some])
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
    with on_ray.cluster() as machines:
        n_cores, n_gpus = on_ray.cores_each(machines, max(numbers))
        for n_workers in numbers:
            ask = on_ray.ask_ray(opening, n_workers=n_workers, n_cores=n_cores, n_gpus=n_gpus)
            label = f"{model}, workers: {n_workers}"
            folder = place / f"workers_{n_workers}_cores_{n_cores}"
            answered = pieces.answer(prompts, folder, ask, label=label)
            paths = save(parts, answered, name=model, model=settings["models"][model]["model"])
            written, seconds = [piece.answers for piece in answered], pieces.busy_seconds(answered)
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
                    "device": answered[0].about["device"],
                }
            )
    table = pd.DataFrame(rows)
    path = files.write_csv(table, config.study_dir(STUDY) / f"{settings['dataset']}.csv")
    print(f"{table.to_string(index=False)}\nwritten to {path}; answers in {paths[0].parent}")

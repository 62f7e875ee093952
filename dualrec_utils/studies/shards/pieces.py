"""Shards of prompts and the files of their answers: cut, answered by whoever is there, taken up, joined.

Every shard that comes back is written as a file, so that a stopped run goes on where it stopped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from dualrec_utils.core import files


@dataclass(frozen=True)
class Piece:
    """A shard's answers in the order of its prompts, when they were written (Unix time), and by what."""

    answers: list[str]
    began: float
    ended: float
    about: dict[str, Any]


# Gets shard -> prompts, yields (shard, piece) in the order in which they are done.
Ask = Callable[[Mapping[int, Sequence[str]]], Iterable[tuple[int, Piece]]]


def join(shards: Sequence[Sequence[int]], answers: Sequence[Sequence[str]]) -> list[str]:
    """The answers in the order of the prompts.

    Args:
        shards: from :func:`models.language.batches.by_length`.
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

"""Recorded answers in the place of a language model: what was asked and said once, said again.

A recording is a JSONL file as :func:`models.handoff.save_generations` writes it: rows with
`prompt` and `answer`, and `model` and `revision` where they are known.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from tqdm import tqdm

from dualrec_utils.core import files
from dualrec_utils.core.errors import StudyError
from dualrec_utils.models.backends.backend import Backend

_NEEDED = "every line needs a JSON object with the texts `prompt` and `answer`"


class _Recording(BaseModel):
    """What is read of a line; a lone surrogate, which no file can hold, is not JSON here."""

    prompt: str
    answer: str
    model: str | None = None
    revision: str | None = None


def read_recordings(path: Path) -> list[dict[str, Any]]:
    """The rows of a file, or of all `*.jsonl` files of a folder in the order of their names.

    Returns:
        The rows, each with `file` and `line` (from 1) added.

    Raises:
        StudyError: when nothing is there, or a line is no recording, named by file and line.
    """
    path = Path(path)
    source, rows = path, []
    try:
        for source in sorted(path.glob("[!.]*.jsonl")) or [path]:
            lines = source.read_text(encoding="utf-8").split("\n")
            rows += [_row(line, source, number) for number, line in enumerate(lines, 1) if line.strip()]
    except UnicodeDecodeError:
        raise StudyError(f"{source} is not UTF-8 text; {_NEEDED}") from None
    except (OSError, ValueError) as error:
        raise StudyError(
            f"there are no recorded answers at {source} ({error}): name a .jsonl file, or a folder that"
            " holds some"
        ) from None
    if not rows:
        raise StudyError(f"{path} holds no recorded answer; {_NEEDED}")
    return rows


def _row(line: str, source: Path, number: int) -> dict[str, Any]:
    try:
        row = _Recording.model_validate_json(line)
    except ValidationError as error:
        reason = error.errors(include_url=False, include_input=False)[0]["msg"]
        raise StudyError(f"{source}, line {number} is no recorded answer ({reason}); {_NEEDED}") from None
    return row.model_dump() | {"file": source, "line": number}


class ReplayBackend(Backend):
    """Answers prompts from recordings, by the prompt's exact text.

    Args:
        path: a JSONL file, or a folder of them.

    Raises:
        StudyError: as :func:`read_recordings`; when one prompt has two different answers; when the rows
            name more than one model or revision.
    """

    def __init__(self, path: Path):
        self._path = Path(path).expanduser()
        rows = read_recordings(self._path)
        first: dict[str, dict[str, Any]] = {}
        for row in rows:
            known = first.setdefault(row["prompt"], row)
            if known["answer"] != row["answer"]:
                raise StudyError(
                    f"one prompt has two answers, in {known['file']} line {known['line']} and in"
                    f" {row['file']} line {row['line']}: name the one file to replay"
                )
        named = {(row["model"], row["revision"]) for row in rows}
        if len(named) > 1:
            raise StudyError(
                f"{path} holds answers of several models, {sorted(map(str, named))}: name the one file"
                " to replay"
            )
        model, revision = named.pop()
        self._answers = {prompt: row["answer"] for prompt, row in first.items()}
        sources = sorted({row["file"] for row in rows})
        self.about = {
            "model": self._path.stem if model is None else model,
            "revision": revision,
            "backend": "replay",
            "recordings": {source.name: files.sha256(source) for source in sources},
        }

    def answer(self, prompts: Sequence[str], *, label: str, kept: Path | None = None) -> list[str]:
        """The recorded answer to every prompt, in order.

        Args:
            prompts: their exact text is looked up.
            label: shown beside the progress bar.
            kept: not used: nothing is computed.

        Raises:
            StudyError: when a prompt was not recorded.
        """
        missing = [prompt for prompt in prompts if prompt not in self._answers]
        if missing:
            raise StudyError(
                f"{self._path} has no answer to {len(missing):,} of {len(prompts):,} prompts; the first"
                f" begins {missing[0][:120]!r}. Recordings answer only the prompts they were made with:"
                " same dataset, seed, LSTM and prompt settings."
            )
        return [self._answers[prompt] for prompt in tqdm(prompts, desc=label, unit="prompt")]

    def close(self) -> None:
        """Let go of the answers."""
        self._answers = {}

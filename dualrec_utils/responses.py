"""A language model's answers: made into predictions, counted, and stored beside their prompts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from dualrec_utils import config, files, predictions
from dualrec_utils.config import CASE, HISTORY, ITEM, RANK, SCORE, SEED, TEXT
from dualrec_utils.errors import StudyError
from dualrec_utils.matching import TitleMatcher
from dualrec_utils.prompts import parse_titles


def answers_to_predictions(
    answers: Sequence[str],
    cases: pd.DataFrame,
    matcher: TitleMatcher,
    *,
    seed: int,
    limit: int = 3,
    hints: pd.Series | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read answers as ranked lists; nothing is dropped, so movies of the history are still there.

    Args:
        answers: one text a case, in the order of `cases`.
        cases: frame with `case_id`, `history`.
        matcher: text to movie.
        seed: written into the `seed` column.
        limit: titles read of each answer.
        hints: `case_id` -> movie the prompt suggested, to count copies of it.

    Returns:
        (predictions, diagnostics). Predictions are in the shape of :mod:`dualrec_utils.predictions`:
        `text` is the title as written, `item_id` null where it matches no movie, score 1 / rank; a
        repeated title keeps its place. Diagnostics have one row a case: `case_id`, `n_titles` read,
        `n_unparsable` (titles asked for and not found in the answer), `n_unmatched`, `n_seen` (in the
        history), `n_repeated` (matching a movie named before), `copies_hint` (names the suggested
        movie; False without hints).

    Raises:
        ValueError: when answers and cases are not equally many.
    """
    rows, counts = [], []
    for answer, case, history in zip(answers, cases[CASE], cases[HISTORY], strict=True):
        titles = parse_titles(answer, limit=limit)
        items = [matcher.match(title) for title in titles]
        matched = [item for item in items if item is not None]
        seen = set(history)
        rows += [
            (case, rank, item, 1 / rank, title, seed)
            for rank, (title, item) in enumerate(zip(titles, items, strict=True), start=1)
        ]
        counts.append(
            {
                CASE: case,
                "n_titles": len(titles),
                "n_unparsable": limit - len(titles),
                "n_unmatched": len(titles) - len(matched),
                "n_seen": sum(item in seen for item in matched),
                "n_repeated": len(matched) - len(set(matched)),
                "copies_hint": hints is not None and hints[case] in matched,
            }
        )
    frame = pd.DataFrame(rows, columns=[CASE, RANK, ITEM, SCORE, TEXT, SEED])
    return frame.astype(predictions.COLUMNS), pd.DataFrame(counts)


def load_generations(system: str, *, dataset: str, stage: str, protocol: str, split: str) -> pd.DataFrame:
    """What :func:`save_generations` wrote of a system, by `case_id`: `prompt`, `answer` and settings.

    Raises:
        StudyError: when the stage has not written it.
    """
    path = _generations_of(system, dataset=dataset, stage=stage, protocol=protocol, split=split)
    if not path.is_file():
        raise StudyError(f"{path} is not there: run `dvc repro {stage}` first")
    return pd.DataFrame(files.read_jsonl(path)).set_index(CASE)


def load_hints(dataset: str, protocol: str, split: str) -> pd.Series:
    """The LSTM's best movie not yet seen for every case: `case_id` -> `item_id`.

    Raises:
        StudyError: when the LSTM has not written them.
    """
    path = config.model_dir(dataset, "lstm") / f"hints_{protocol}_{split}.parquet"
    return files.read_parquet_of("lstm", path).set_index(CASE)[ITEM]


def write_both(
    lists: pd.DataFrame,
    cases: pd.DataFrame,
    system: str,
    *,
    dataset: str,
    stage: str,
    protocol: str,
    split: str,
) -> None:
    """Write a system's headline lists (movies of the history dropped) and, beside them, all it named.

    Args:
        lists: predictions with seen movies kept, from :func:`answers_to_predictions`.
        cases: the cases answered.
        system: name of the headline lists; the others get the suffix `_seen_kept`.
    """
    place = {"dataset": dataset, "stage": stage, "protocol": protocol, "split": split}
    predictions.write(lists, system + predictions.SEEN_KEPT, **place)
    # Without any readable answer there is nothing to drop: every case is a miss.
    predictions.write(lists if lists.empty else predictions.drop_seen(lists, cases), system, **place)


def save_generations(
    answers: Sequence[str],
    prompts: Sequence[str],
    cases: pd.DataFrame,
    system: str,
    *,
    dataset: str,
    stage: str,
    protocol: str,
    split: str,
    model: str,
    revision: str | None,
    parameters: dict,
) -> Path:
    """Write every prompt and raw answer as one JSON object a line.

    Args:
        answers, prompts: in the order of `cases`.
        model, revision: what answered; a folder's name, or a Hub id with its revision.
        parameters: of prompt and generation, e.g. `max_new_tokens`, `batch_size`.

    Returns:
        `data/generations/<dataset>/<stage>/<system>_<protocol>_<split>.jsonl`.
    """
    about = {"model": model, "revision": revision, "parameters": parameters}
    rows = [
        {CASE: case, "prompt": prompt, "answer": answer, **about}
        for case, prompt, answer in zip(cases[CASE], prompts, answers, strict=True)
    ]
    path = _generations_of(system, dataset=dataset, stage=stage, protocol=protocol, split=split)
    return files.write_jsonl(rows, path)


def _generations_of(system: str, *, dataset: str, stage: str, protocol: str, split: str) -> Path:
    return config.generations_dir(dataset, stage) / f"{system}_{protocol}_{split}.jsonl"

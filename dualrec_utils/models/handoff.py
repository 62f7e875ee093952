"""What a stage leaves for later ones: score matrices, the LSTM's hints, language models' answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from dualrec_utils.core import config, files, predictions
from dualrec_utils.core.catalog import Catalog, load_catalog
from dualrec_utils.core.config import CASE, ITEM, USER
from dualrec_utils.core.errors import StudyError
from dualrec_utils.core.predictions import Scope

# The LSTM of notebook 02, and a second one trained from another seed.
LSTM, LSTM_AGAIN = "lstm", "lstm_again"
# Baselines whose scores stage `baselines` leaves, to be fused with the LSTM's in notebook 06.
SCORED_BASELINES = ("gru4rec", "ease")
# Column of a language model's title scores in files (nats).
LOG_PROBABILITY = "log_probability"
# Column of the hints for training users from the LSTM that was trained on them.
IN_SAMPLE = "in_sample_item_id"


def scores_path(name: str, scope: Scope) -> Path:
    """Where a model's scores for the cases of a scope lie.

    Args:
        name: :data:`LSTM`, :data:`LSTM_AGAIN` or a baseline.
        scope: whose stage plays no part.
    """
    stage = LSTM if name in (LSTM, LSTM_AGAIN) else "baselines"
    return config.handoff_dir(scope.dataset, stage) / f"scores_{name}_{scope.label}.npy"


def save_scores(scores: np.ndarray, name: str, scope: Scope) -> np.ndarray:
    """Write a model's scores for the cases of a scope.

    Args:
        scores: shape (n_cases, n_items), finite, higher is better.

    Returns:
        The scores as written, float32: whoever ranks these has the order that later stages have.
    """
    scores = scores.astype(np.float32)
    with files.replacing(scores_path(name, scope)) as temporary, open(temporary, "wb") as out:
        np.save(out, scores)
    return scores


def load_scores(name: str, scope: Scope) -> np.ndarray:
    """A model's scores for the cases of a scope; of the LSTMs, log-probabilities.

    Args:
        name, scope: as :func:`scores_path`.

    Returns:
        float64, shape (n_cases, n_items): rows as :func:`predictions.load_cases`, columns as
        :class:`core.catalog.Catalog`.

    Raises:
        StudyError: when the file is not there, is damaged or belongs to other cases or another catalog.
    """
    path = scores_path(name, scope)
    stage = path.parent.parent.name
    scores = files.read_array_of(stage, path).astype(np.float64)
    wanted = (len(predictions.load_cases(scope)), len(load_catalog(scope.dataset)))
    if scores.shape != wanted:
        raise StudyError(
            f"{path} has shape {scores.shape}, expected {wanted}: run `dvc repro {stage}` anew"
        )
    return scores


def note_scored(names: Sequence[str], dataset: str) -> Path:
    """Write which baselines have left scores: a folder without a file would be none to DVC."""
    return files.write_json({"models": list(names)}, _scored_file(dataset))


def scored_baselines(dataset: str) -> list[str]:
    """The baselines of :data:`SCORED_BASELINES` that a run has fitted: `load_scores` has their scores.

    Raises:
        StudyError: before stage `baselines`.
    """
    path = _scored_file(dataset)
    if not path.is_file():
        raise StudyError(f"{path} is not there: run `dvc repro baselines` first")
    return files.read_json(path)["models"]


def _scored_file(dataset: str) -> Path:
    return config.handoff_dir(dataset, "baselines") / "scored.json"


def title_scores_path(model: str, scope: Scope) -> Path:
    """Where stage `zero_shot_llm` writes a language model's title scores for the cases of a scope.

    Args:
        model: its name in `params.yaml`.
        scope: whose stage plays no part.
    """
    folder = config.handoff_dir(scope.dataset, "zero_shot_llm")
    return folder / f"title_scores_{model}_{scope.label}.parquet"


def load_title_scores(model: str, scope: Scope) -> pd.DataFrame:
    """A language model's title scores: `case_id`, `item_id`, `log_probability` (nats).

    Raises:
        StudyError: when that model has none or they are damaged, and what to do.
    """
    path = title_scores_path(model, scope)
    if not path.is_file():
        raise StudyError(
            f"{path} is not there: run `dvc repro zero_shot_llm` first; {model} must be a local model of"
            " zero_shot_llm.models that this machine can run"
        )
    return files.read_parquet_of("zero_shot_llm", path)


def candidates_of(
    lstm: np.ndarray, cases: pd.DataFrame, catalog: Catalog, *, n_candidates: int, seed: int
) -> list[np.ndarray]:
    """The LSTM's best items of every case: the first of the whole catalog and the first not yet seen.

    Args:
        lstm: shape (n_cases, n_items), from :func:`load_scores`.
        cases: frame with `case_id` and `history`, row i belonging to row i of `lstm`.
        catalog: the items.
        n_candidates: items of each of the two lists, 1 to 100.
        seed: of equal scores.

    Returns:
        Sorted item ids, at least `n_candidates` a case where the catalog has as many.
    """
    lists = [
        predictions.from_scores(
            lstm, cases, catalog.ids, seed=seed, exclude_seen=excluded, length=n_candidates
        )
        for excluded in (True, False)
    ]
    both = pd.concat(lists).groupby(CASE)[ITEM].unique()
    return [np.sort(both[case].astype(np.int64)) for case in cases[CASE]]


def load_generations(system: str, scope: Scope) -> pd.DataFrame:
    """What :func:`save_generations` wrote of a system, by `case_id`: `prompt`, `answer` and settings.

    Raises:
        StudyError: when the stage has not written it.
    """
    path = _generations_of(system, scope)
    if not path.is_file():
        raise StudyError(f"{path} is not there: run `dvc repro {scope.stage}` first")
    return pd.DataFrame(files.read_jsonl(path)).set_index(CASE)


def load_hints(scope: Scope) -> pd.Series:
    """The LSTM's best item not yet seen for every case of a scope, whatever its stage: its list's first.

    Returns:
        `case_id` -> `item_id`.

    Raises:
        StudyError: when the LSTM has not written its lists.
    """
    return predictions.first_items(predictions.read("lstm", scope.replace(stage="lstm"))).astype("int64")


def save_generations(
    answers: Sequence[str],
    prompts: Sequence[str],
    cases: pd.DataFrame,
    system: str,
    scope: Scope,
    *,
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
        `data/<dataset>/<stage>/generations/<system>_<protocol>_<split>.jsonl`.
    """
    about = {"model": model, "revision": revision, "parameters": parameters}
    rows = [
        {CASE: case, "prompt": prompt, "answer": answer, **about}
        for case, prompt, answer in zip(cases[CASE], prompts, answers, strict=True)
    ]
    return files.write_jsonl(rows, _generations_of(system, scope))


def _generations_of(system: str, scope: Scope) -> Path:
    return config.generations_dir(scope.dataset, scope.stage) / f"{system}_{scope.label}.jsonl"


def load_example_hints(dataset: str, split: str) -> pd.DataFrame:
    """The LSTM's best unseen item for the users that fine-tuning's examples are made of, given what comes
    before the second of their last five items.

    Args:
        split: `train` or `validation`.

    Returns:
        Frame indexed by user: `item_id` from an LSTM that was not trained on that user (at test time it
        is not, either); of training users also `in_sample_item_id`, from the one that was.

    Raises:
        StudyError: when the LSTM has not written them.
    """
    path = config.handoff_dir(dataset, "lstm") / f"hints_lora_{split}.parquet"
    return files.read_parquet_of("lstm", path).set_index(USER)

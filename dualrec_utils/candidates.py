"""Which movies LSTM and language model both score, so that their opinions can be combined."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from dualrec_utils import config, predictions
from dualrec_utils.config import CASE, ITEM
from dualrec_utils.errors import StudyError

# Column of a language model's title scores in files (nats).
LOG_PROBABILITY = "log_probability"


def load_lstm_scores(dataset: str, protocol: str, split: str) -> np.ndarray:
    """The LSTM's log-probabilities, written by stage `lstm`.

    Returns:
        float64, shape (n_cases, n_items): rows as :func:`predictions.load_cases`, columns as
        :func:`predictions.load_items`.

    Raises:
        StudyError: when the file is not there or belongs to other cases or another catalog.
    """
    path = config.model_dir(dataset, "lstm") / f"scores_{protocol}_{split}.npy"
    if not path.is_file():
        raise StudyError(f"{path} is not there: run `dvc repro lstm` first")
    scores = np.load(path).astype(np.float64)
    wanted = (
        len(predictions.load_cases(dataset, protocol, split)),
        len(predictions.load_items(dataset)),
    )
    if scores.shape != wanted:
        raise StudyError(f"{path} has shape {scores.shape}, expected {wanted}: run `dvc repro lstm` anew")
    return scores


def title_scores_path(model: str, *, dataset: str, protocol: str, split: str) -> Path:
    """Where stage `zero_shot_llm` writes a language model's title scores; `model` as in `params.yaml`."""
    return config.model_dir(dataset, "zero_shot_llm") / f"title_scores_{model}_{protocol}_{split}.parquet"


def load_title_scores(model: str, *, dataset: str, protocol: str, split: str) -> pd.DataFrame:
    """A language model's title scores: `case_id`, `item_id`, `log_probability` (nats).

    Raises:
        StudyError: when that model has none, and what to do.
    """
    path = title_scores_path(model, dataset=dataset, protocol=protocol, split=split)
    if not path.is_file():
        raise StudyError(
            f"{path} is not there: run `dvc repro zero_shot_llm` first; {model} must be a local model of"
            " zero_shot_llm.models that this machine can run"
        )
    return pd.read_parquet(path)


def candidates_of(
    lstm: np.ndarray, cases: pd.DataFrame, items: pd.DataFrame, *, n_candidates: int
) -> list[np.ndarray]:
    """The LSTM's best movies of every case: the first of the whole catalog and the first not yet seen.

    Args:
        lstm: shape (n_cases, n_items), from :func:`load_lstm_scores`.
        cases: frame with `case_id` and `history`, row i belonging to row i of `lstm`.
        items: the catalog.
        n_candidates: movies of each of the two lists, 1 to 100.

    Returns:
        Sorted item ids, at least `n_candidates` a case where the catalog has as many.
    """
    lists = [
        predictions.from_scores(
            lstm, cases, items[ITEM].to_numpy(), seed=0, exclude_seen=excluded, length=n_candidates
        )
        for excluded in (True, False)
    ]
    both = pd.concat(lists).groupby(CASE)[ITEM].unique()
    return [np.sort(both[case].astype(np.int64)) for case in cases[CASE]]

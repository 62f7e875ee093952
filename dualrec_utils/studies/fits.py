"""Fits outside of the pipeline: LSTM and movielm on any histories, and what a fit depends on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dualrec_utils.core import closure, config, files
from dualrec_utils.core.catalog import Catalog
from dualrec_utils.core.config import CASE, HISTORY
from dualrec_utils.models import baselines

# Histories (item ids, oldest first).
Histories = Sequence[np.ndarray]

LSTM, MOVIELM = "lstm", "movielm"
_MODULES = {LSTM: "dualrec_utils.models.lstm.training", MOVIELM: "dualrec_utils.models.movielm.model"}
_MEASURED_BY = tuple(
    f"dualrec_utils.core.{name}" for name in ("evaluation", "order", "predictions", "splits")
)


def digest(name: str, about: Any, *, dataset: str, study: Iterable[str]) -> str:
    """A key of a fit: another one once settings, data, or what model, measure and study do change.

    Args:
        name: :data:`LSTM`, :data:`MOVIELM` or a baseline.
        about: settings and seeds, as JSON takes them.
        dataset: whose summary, with the hash of its order, is part of the key.
        study: files of the study's own code.
    """
    module = _MODULES.get(name) or baselines.model_class(name).__module__
    source = "\n".join(f"import {part}" for part in (module, *_MEASURED_BY))
    code = closure.closure(source, without=frozenset({"models.baselines"}), by_name=False)
    code = {*code, *(str(Path(path).relative_to(config.PACKAGE_ROOT)) for path in (__file__, *study))}
    summary = files.read_json(config.processed_dir(dataset) / "summary.json")
    text = json.dumps([name, about, summary, closure.digest(code)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def lstm_scorer(
    histories: Histories, catalog: Catalog, settings: Mapping[str, Any], *, seed: int
) -> Callable[[Histories], np.ndarray]:
    """Train notebook 02's network, by the functions that the notebook calls.

    Args:
        histories: what is trained on.
        settings: section `lstm` of `params.yaml`; keys that no training reads are left aside.

    Returns:
        From histories to scores of the catalog, shape (n_histories, n_items).
    """
    # Only this model needs Keras.
    from dualrec_utils.content.features import item_features
    from dualrec_utils.models.lstm import training
    from dualrec_utils.models.lstm.sequences import training_sequences

    words, cut, learn = (
        {name: settings[name] for name in names}
        for names in (
            ("title_vocabulary", "title_length"),
            ("training", "chunk_length", "window"),
            ("epochs", "batch_size", "learning_rate", "dropout"),
        )
    )
    sequences = training_sequences([catalog.rows(history) for history in histories], **cut)
    model, _ = training.train(item_features(catalog, **words), sequences, seed=seed, **learn)

    def score(queries: Histories) -> np.ndarray:
        rows = [catalog.rows(history) for history in queries]
        return training.log_probabilities(model, rows, max_history=settings["max_history"])

    return score


def movielm_ranker(
    histories: Mapping[int, np.ndarray],
    validation: Mapping[int, np.ndarray],
    catalog: Catalog,
    section: Mapping[str, Any],
    *,
    n_history: int,
    seed: int,
) -> Callable[..., np.ndarray]:
    """Train movielm, and rank the catalog after the bare history, as notebook 04 does.

    Args:
        histories, validation: as :func:`models.movielm.model.train`; so is `section`.
        n_history: items of a prompt.

    Returns:
        From histories, `excluded` (items of each that must not be listed) and `k` to title scores, as
        :func:`models.language.constrained.rank_titles`.
    """
    # Only this model needs transformers.
    from dualrec_utils.models.language.constrained import rank_titles
    from dualrec_utils.models.language.prompts import build_history_prompts
    from dualrec_utils.models.movielm.model import train

    model, tokenizer, _ = train(histories, validation, catalog, seed=seed, **section)
    model.eval()

    def rank(queries: Histories, *, excluded: Histories, k: int) -> np.ndarray:
        cases = pd.DataFrame({CASE: range(len(queries)), HISTORY: list(queries)})
        texts = build_history_prompts(cases, catalog, n_recent=n_history, genres=False)
        return rank_titles(model, tokenizer, texts, catalog, excluded=list(excluded), k=k, label="movielm")

    return rank

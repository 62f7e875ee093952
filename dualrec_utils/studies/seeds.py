"""`dualrec study seeds lstm gru4rec`: how far results move with the seed of the training.

The run itself has one seed. Here a model is trained again, with the run's own settings, from other seeds:
weights, dropout and order of the batches change; users, cases and catalog stay. One table a model,
`reports/tables/seeds/<model>.csv`, is written after each training, and a second run trains what is missing.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import pandas as pd

from dualrec_utils.core import closure, config, evaluation, files, predictions, splits
from dualrec_utils.core.catalog import load_catalog
from dualrec_utils.core.config import HISTORY, SEED, USER
from dualrec_utils.core.errors import StudyError
from dualrec_utils.core.predictions import Scope
from dualrec_utils.models import baselines
from dualrec_utils.models.baselines import experiment
from dualrec_utils.pipeline import params, stages
from dualrec_utils.show import tables

STAGE, LSTM = "seeds", "lstm"
# After the run's own seed.
N_MORE = 2
METRICS = ("hit_rate@1", "hit_rate@5", "ndcg@5")
_MADE_FROM = "made_from"

# From histories (item ids, oldest first) to scores (n, n_items).
Scorer = Callable[[list[np.ndarray]], np.ndarray]


def train_lstm(settings: dict, *, dataset: str, seed: int) -> Scorer:
    """Train notebook 02's network from a seed, with as many threads as torch takes, as the notebook does.

    Args:
        settings: section `lstm` of `params.yaml`.
    """
    # Only this model needs Keras.
    from dualrec_utils.content.features import item_features
    from dualrec_utils.models.lstm.sequences import training_sequences
    from dualrec_utils.models.lstm.training import log_probabilities, train

    catalog = load_catalog(dataset)
    words = {name: settings[name] for name in ("title_vocabulary", "title_length")}
    cut = {name: settings[name] for name in ("training", "chunk_length", "window")}
    learn = {name: settings[name] for name in ("epochs", "batch_size", "learning_rate", "dropout")}
    known = [catalog.rows(history) for history in splits.load_histories(dataset, "train").values()]
    sequences = training_sequences(known, **cut)
    model, _ = train(
        item_features(catalog, **words), sequences, seed=seed, label=f"lstm, seed {seed}", **learn
    )

    def score(histories: list[np.ndarray]) -> np.ndarray:
        rows = [catalog.rows(history) for history in histories]
        # Half precision, as notebook 02 saves and ranks them.
        found = log_probabilities(model, rows, max_history=settings["max_history"])
        return found.astype(np.float16)

    return score


def train_baseline(name: str, settings: dict, *, dataset: str, seed: int) -> Scorer:
    """Train a baseline of notebook 03 from a seed; `settings` are its hyperparameters."""
    catalog = load_catalog(dataset)
    model = baselines.build(name, catalog.ids, seed=seed, catalog=catalog, **settings)
    histories = list(splits.load_histories(dataset, "train").values())
    with experiment.one_thread(name):
        model.fit(histories, validate=experiment.validation_score(dataset, seed=seed))

    def score(cases: list[np.ndarray]) -> np.ndarray:
        with experiment.one_thread(name):
            return model.score(cases)

    return score


def measured(score: Scorer, *, dataset: str, seed: int) -> dict[str, float]:
    """:data:`METRICS` on the test cases of `next_item`, seen movies left out: means over users."""
    scope = Scope(dataset, STAGE, "next_item", "test")
    cases, ids = predictions.load_cases(scope), load_catalog(dataset).ids
    lists = predictions.from_scores(score(list(cases[HISTORY])), cases, ids, seed=seed)
    return _means(evaluation.score(lists, scope))


def of_the_run(name: str, *, dataset: str) -> dict[str, float]:
    """The same of the run itself, from the predictions that it wrote.

    Raises:
        StudyError: as :func:`core.predictions.read`, when the run has none.
    """
    stage = LSTM if name == LSTM else "baselines"
    return _means(evaluation.per_case(name, Scope(dataset, stage, "next_item", "test")))


def _means(scored: pd.DataFrame) -> dict[str, float]:
    return scored.groupby(USER)[list(METRICS)].mean().mean().to_dict()


def run(name: str, *, n_more: int = N_MORE) -> pd.DataFrame:
    """Train a model from the `n_more` seeds after the run's, or keep what is there.

    Args:
        name: `lstm`, or a baseline of `params.yaml` that is trained.

    Returns:
        One row a seed, the run's first, as the run found it: `seed`, :data:`METRICS`, `seconds` of
        training (none for the run's), `device`, and `made_from`, a digest of settings, the run's seed,
        data and code: rows made from others are made again.

    Raises:
        StudyError: for a model that the run does not have, or that no seed touches, and before the run.
    """
    settings, own = _settings(name)
    dataset, first = own["dataset"], own["seed"]
    made_from, machine = _digest(name, settings, **own), stages.machine()
    device = machine.get("gpu", f"{machine['cpu']}, {machine['cores']} cores")
    path = config.TABLES / STAGE / f"{name}.csv"
    kept = pd.read_csv(path) if path.is_file() else pd.DataFrame(columns=[SEED, _MADE_FROM])
    rows = kept[(kept[_MADE_FROM] == made_from) & (kept[SEED] != first)].to_dict("records")
    rows.append({SEED: first} | of_the_run(name, dataset=dataset) | {_MADE_FROM: made_from})
    for seed in range(first + 1, first + n_more + 1):
        if seed in [row[SEED] for row in rows]:
            continue
        started = time.perf_counter()
        train = train_lstm if name == LSTM else partial(train_baseline, name)
        score = train(settings, dataset=dataset, seed=seed)
        seconds = round(time.perf_counter() - started, 1)
        found = measured(score, dataset=dataset, seed=seed)
        about = {"seconds": seconds, "device": device, _MADE_FROM: made_from}
        rows.append({SEED: seed} | found | about)
        tables.save_table(pd.DataFrame(rows).sort_values(SEED), name, stage=STAGE)
    table = pd.DataFrame(rows).sort_values(SEED, ignore_index=True)
    # Without a training too: the run's own row may be another than last time.
    tables.save_table(table, name, stage=STAGE)
    return table


def spread(table: pd.DataFrame) -> pd.DataFrame:
    """Mean, standard deviation (n - 1) and range over seeds: one row a metric."""
    values = table[list(METRICS)]
    frame = values.agg(["mean", "std", "min", "max"]).T.rename_axis("metric").reset_index()
    return frame.assign(n_seeds=len(table))


def _settings(name: str) -> tuple[dict, dict]:
    """A model's own settings, and `dataset` and `seed` of the run."""
    section = params.section(LSTM if name == LSTM else "baselines")
    own = {key: section.pop(key) for key in ("dataset", "seed")}
    if name == LSTM:
        return section, own
    trained = {model: given for model, given in section["models"].items() if "max_epochs" in given}
    if name not in trained:
        raise StudyError(f"no seed touches {name!r} in this run; models: {LSTM}, {', '.join(trained)}")
    return trained[name], own


def _digest(name: str, settings: dict, *, dataset: str, seed: int) -> str:
    """Settings, data and the code that trains and measures, as :mod:`models.baselines.pieces` follows it.

    The run's seed is part of it: it draws the split of users, which no count in the summary shows.
    """
    summary = files.read_json(config.processed_dir(dataset) / "summary.json")
    module = (
        "dualrec_utils.models.lstm.training" if name == LSTM else baselines.model_class(name).__module__
    )
    source = f"import {module}\nimport {experiment.__name__}"
    code = sorted(closure.closure(source, without=frozenset({"models.baselines"}), by_name=False))
    hashes = {path: files.sha256(config.PACKAGE_ROOT / path) for path in code}
    about = json.dumps([settings, seed, summary, hashes], sort_keys=True)
    return hashlib.sha256(about.encode()).hexdigest()[:12]


def run_all(models: Sequence[str]) -> None:
    """Train the named models from more seeds, and print their tables and the spread.

    Raises:
        StudyError: as :func:`run`.
    """
    for name in models:
        table = run(name)
        print(name, table.to_string(index=False), spread(table).round(4).to_string(index=False), sep="\n")

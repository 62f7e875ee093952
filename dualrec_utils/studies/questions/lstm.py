"""How much do learning rate, optimizer and batch size of the Stage 1 LSTM matter (the paper names none),
and what does a target at every position change, where the paper has one a window (section 4.2.1)?

`dualrec study questions lstm <setting>` trains the LSTM of notebook 02 with one thing changed and
measures it on validation users; test users stay out, so that nothing is chosen on them. A setting is a
piece of its own under `data/questions/lstm/`, so that a stopped run goes on where it stopped. The setting
that changes nothing is not trained again: it is notebook 02's own network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import keras

from dualrec_utils.content.features import item_features
from dualrec_utils.core import config, evaluation, files, predictions, splits
from dualrec_utils.core.catalog import Catalog, load_catalog
from dualrec_utils.core.config import HISTORY
from dualrec_utils.core.errors import StudyError
from dualrec_utils.core.predictions import Scope
from dualrec_utils.models.lstm import tables, training
from dualrec_utils.models.lstm.network import build_model
from dualrec_utils.models.lstm.sequences import Sequences, training_sequences, windows
from dualrec_utils.pipeline import params
from dualrec_utils.studies.questions.settings import STAGE, pieces_dir, read_settings

SECTION = "lstm"
OPTIMIZERS: dict[str, Callable] = {
    "adam": keras.optimizers.Adam,
    # Without its own weight decay, which a setting names.
    "adamw": partial(keras.optimizers.AdamW, weight_decay=0.0),
    "rmsprop": keras.optimizers.RMSprop,
    "sgd": partial(keras.optimizers.SGD, momentum=0.9),
}
# What a setting may change; the rest is section `lstm` of the default run's params.yaml.
CHANGEABLE = ("training", "optimizer", "weight_decay", "learning_rate", "batch_size", "epochs")
METRICS = ("hit_rate@1", "hit_rate@5", "ndcg@5")


def complete(changes: Mapping, base: Mapping) -> dict:
    """All values of one setting: those of the default run with its changes.

    Args:
        changes: some of :data:`CHANGEABLE`.
        base: section `lstm` of `params.yaml`.

    Raises:
        StudyError: for a name that cannot be changed, an unknown optimizer, or weight decay without AdamW.
    """
    unknown = sorted(set(changes) - set(CHANGEABLE))
    if unknown:
        raise StudyError(f"a setting cannot change {', '.join(unknown)}; it can {', '.join(CHANGEABLE)}")
    settings = {"optimizer": "adam", "weight_decay": 0.0, **base, **changes}
    name = settings["optimizer"]
    if name not in OPTIMIZERS:
        raise StudyError(f"optimizer is {name!r}; allowed: {' | '.join(OPTIMIZERS)}")
    if settings["weight_decay"] and name != "adamw":
        raise StudyError(f"weight_decay is {settings['weight_decay']} with {name}; only adamw takes one")
    return settings


def fit(model: keras.Model, sequences: Sequences, *, validation: Sequences, settings: Mapping, label: str):
    """Train a network in place as :func:`models.lstm.training.fit` does, with any optimizer.

    Args:
        settings: from :func:`complete`.

    Returns:
        One row an epoch: `epoch`, `train_loss` (dropout on), `validation_loss`, nats a target.
    """
    optimizer = OPTIMIZERS[settings["optimizer"]]
    if settings["optimizer"] == "adamw":
        optimizer = partial(optimizer, weight_decay=settings["weight_decay"])
    learning = {key: settings[key] for key in ("epochs", "batch_size", "learning_rate")}
    curves = training.fit(
        model, sequences, validation=validation, label=label, optimizer=optimizer, **learning
    )
    return tables.by_epoch(curves)[["epoch", "train_loss", "validation_loss"]]


def validation_cases(model: keras.Model, catalog: Catalog, *, dataset: str, settings: Mapping):
    """Per-case values under `next_item` on validation users, seen items left out, as in notebook 02."""
    scope = Scope(dataset, STAGE, "next_item", "validation")
    cases = predictions.load_cases(scope)
    rows = [catalog.rows(history) for history in cases[HISTORY]]
    scores = training.log_probabilities(model, rows, max_history=settings["max_history"])
    # Ranked as notebook 02 saves them.
    lists = predictions.from_scores(scores, cases, catalog.ids, seed=settings["seed"])
    return evaluation.score(lists, scope)


def run(name: str, settings: Mapping, *, folder: Path, weights: Path | None = None) -> dict[str, float]:
    """Train and measure one setting; write `cases.parquet`, `measured.json` and, where it was trained,
    `curve.csv` to `folder`.

    Args:
        name: of the setting, for the progress bar.
        weights: of a network trained before with this setting; None trains one.
        settings: from :func:`complete`, with `dataset` and `seed`.

    Returns:
        What `measured.json` holds: `loss` (nats), `accuracy` and `top5_accuracy` on the windows of
        validation users (paper section 6.1: windows of 30), `n_targets` of training, `steps` of the
        optimizer, and the setting's own values.
    """
    dataset = settings["dataset"]
    catalog = load_catalog(dataset)
    words = {key: settings[key] for key in ("title_vocabulary", "title_length")}
    cut = {key: settings[key] for key in ("training", "chunk_length", "window")}
    known, others = (
        [catalog.rows(history) for history in splits.load_histories(dataset, part).values()]
        for part in ("train", "validation")
    )
    sequences = training_sequences(known, **cut)
    training.make_deterministic(settings["seed"])
    model = build_model(item_features(catalog, **words), dropout=settings["dropout"])
    if weights is None:
        about = {"settings": settings, "label": name}
        curve = fit(model, sequences, validation=training_sequences(others, **cut), **about)
        files.write_csv(curve, folder / "curve.csv")
    else:
        model.load_weights(weights)
    cases = validation_cases(model, catalog, dataset=dataset, settings=settings)
    measured = training.measure(model, windows(others, window=settings["window"]))
    measured |= {key: settings[key] for key in CHANGEABLE}
    steps = -(-len(sequences.rows) // settings["batch_size"]) * settings["epochs"]
    measured |= {"n_targets": sequences.n_targets, "steps": steps}
    files.write_parquet(cases, folder / "cases.parquet")
    files.write_json(measured, folder / "measured.json")
    return measured


def run_setting(setting: str) -> None:
    """Train and measure one setting of the study's `params.yaml`, and print its loss.

    Raises:
        StudyError: for a setting that the study does not have, and as :func:`complete`.
    """
    known = read_settings(SECTION)
    if setting not in known:
        raise StudyError(f"there is no LSTM setting {setting!r}; settings: {', '.join(known)}")
    settings = complete(known[setting], params.section("lstm"))
    weights = None
    if not known[setting]:
        weights = config.stage_dir(settings["dataset"], "lstm") / "lstm.weights.h5"
    measured = run(setting, settings, folder=pieces_dir(SECTION) / setting, weights=weights)
    loss, accuracy = measured["loss"], measured["top5_accuracy"]
    print(f"{setting}: loss {loss:.3f}, top-5 accuracy {accuracy:.3f}", flush=True)

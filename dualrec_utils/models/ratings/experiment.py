"""Fit rating models on every fold, predict what the fold holds, and keep both until anything changes.

What a system leaves of one fold is a piece: it lies under
`data/<dataset>/checkpoints/rating_hybrids/<system>/`, outside what DVC clears before a run, so that a new
model fits one model and a killed run goes on where it stopped.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from dualrec_utils.core import config, ratings as rules
from dualrec_utils.core.config import ITEM, RANK, SCORE, USER
from dualrec_utils.core.errors import StudyError
from dualrec_utils.core.predictions import best
from dualrec_utils.core.ratings import FOLD, N_FOLDS
from dualrec_utils.models import ratings as models
from dualrec_utils.models.ratings import pieces
from dualrec_utils.models.ratings.base import Known, RatingModel
from dualrec_utils.models.ratings.text_model import TextModel

STAGE = "rating_hybrids"
# Settings of a system that are not the model's: its class; whose ratings the users' texts are made from;
# the folds that are fitted; the share of the training ratings, drawn by the seed, that it learns from.
MODEL, PROFILES, FOLDS, SHARE = "model", "profiles", "folds", "share"
OF_TRAINING, OF_ALL = "training", "all"
ALL_FOLDS = tuple(range(1, N_FOLDS + 1))
# The fold of which lists are kept too: one is enough to see how varied they are.
LISTS_OF = 1
# Users whose every item is predicted at once, to keep memory small.
_USERS_AT_ONCE = 50


@dataclass(frozen=True)
class Piece:
    """What a system leaves, of one fold or of all that it was fitted on.

    Attributes:
        predictions: as :func:`core.ratings.as_predictions`.
        cost: `fit_seconds`, `predict_seconds` (of the fold's pairs), a row a fold.
        curves: `fold`, `epoch` (from 1), `loss` (of training) and, where there is a validation part,
            `rmse` on it; empty for models that are not trained in epochs.
        lists: of fold 1 the items predicted highest of those without a training rating by the user:
            `user_id`, `rank`, `item_id`, `score`, at most `list_length` each; empty without that fold.
    """

    predictions: pd.DataFrame
    cost: pd.DataFrame
    curves: pd.DataFrame
    lists: pd.DataFrame


def folds_of(n_ratings: int, *, dataset: str, seed: int) -> np.ndarray:
    """Fold of each rating: GroupLens' u1 to u5 of ml-100k; of other data sets folds drawn by the seed."""
    if dataset == "ml-100k":
        return rules.consecutive_folds(n_ratings)
    return rules.random_folds(n_ratings, seed=seed)


@dataclass(frozen=True)
class Recipe:
    """A system's settings taken apart.

    Attributes:
        model: a key of :data:`models.ratings.REGISTRY`.
        settings: of the model, where they are not its defaults.
        profiles: "training" (texts of users are made from the ratings that the model is fitted on) or
            "all" (from all ratings, those to be predicted among them: the leak of the published code).
        folds: that are fitted.
        share: of the training ratings that the model learns from, above 0 and at most 1.
    """

    model: str
    settings: Mapping[str, Any]
    profiles: str
    folds: tuple[int, ...]
    share: float


def read(settings: Mapping[str, Any]) -> Recipe:
    """Take a system's settings apart: `model`, the model's own, and perhaps `profiles`, `folds`, `share`.

    Raises:
        StudyError: on a value that cannot be used, or without a model.
    """
    choices = dict(settings)
    if MODEL not in choices:
        raise StudyError(f"a system names no {MODEL}; it can be {', '.join(models.REGISTRY)}")
    model, profiles = choices.pop(MODEL), choices.pop(PROFILES, OF_TRAINING)
    folds, share = choices.pop(FOLDS, ALL_FOLDS), choices.pop(SHARE, 1.0)
    if profiles not in (OF_TRAINING, OF_ALL):
        raise StudyError(f"{PROFILES} is {profiles!r}; it can be {OF_TRAINING} or {OF_ALL}")
    if not isinstance(folds, Sequence) or not folds or len(set(folds) & set(ALL_FOLDS)) != len(folds):
        raise StudyError(f"{FOLDS} is {folds!r}; it is a list of some of {', '.join(map(str, ALL_FOLDS))}")
    if not isinstance(share, (int, float)) or not 0 < share <= 1:
        raise StudyError(f"{SHARE} is {share!r}; it must be above 0 and at most 1")
    return Recipe(model, choices, profiles, tuple(folds), float(share))


def build(settings: Mapping[str, Any], known: Known, ratings: pd.DataFrame, *, seed: int) -> RatingModel:
    """Make the unfitted model of a system.

    Args:
        settings: as :func:`read`.
        ratings: all of them; read for the leak alone.

    Raises:
        StudyError: as :func:`read`; for `profiles: all` of a model that reads no text; as
            :func:`models.ratings.build`.
    """
    recipe = read(settings)
    model = models.build(recipe.model, known, seed=seed, **recipe.settings)
    if recipe.profiles == OF_TRAINING:
        return model
    if not isinstance(model, TextModel):
        raise StudyError(f"{PROFILES}: {OF_ALL} is for models that read texts; {recipe.model} reads none")
    said = model.texts_of(ratings)
    return models.build(recipe.model, known, seed=seed, user_texts=said, **recipe.settings)


def fit_fold(
    settings: Mapping[str, Any],
    ratings: pd.DataFrame,
    folds: np.ndarray,
    *,
    known: Known,
    fold: int,
    seed: int,
    list_length: int,
) -> Piece:
    """Fit a model on four folds and predict the fifth.

    Args:
        settings: as :func:`build`.
        ratings: of :func:`core.ratings.load`.
        folds: fold of each of them.
        known: what the model may know beside ratings.
        list_length: of the lists that are kept.
    """
    training, pairs = rules.parts(ratings, folds, fold)
    if (share := read(settings).share) < 1:
        training = training.sample(frac=share, random_state=seed).sort_index()
    # Sums over several threads differ in the last digits.
    with threadpool_limits(1):
        started = time.perf_counter()
        model = build(settings, known, ratings, seed=seed).fit(training)
        fitted = time.perf_counter()
        values = model.predict(pairs)
        predicted = time.perf_counter()
        lists = (
            top_lists(model, training, length=list_length, seed=seed) if fold == LISTS_OF else _no_lists()
        )
    cost = pd.DataFrame(
        {FOLD: [fold], "fit_seconds": fitted - started, "predict_seconds": predicted - fitted}
    )
    curve = getattr(model, "curve", pd.DataFrame({"epoch": [], "loss": []}))
    predictions = rules.as_predictions(pairs, values, fold=fold, seed=seed)
    return Piece(predictions, cost, curve.assign(**{FOLD: fold}), lists)


def top_lists(model: RatingModel, training: pd.DataFrame, *, length: int, seed: int) -> pd.DataFrame:
    """The items that a fitted model predicts highest for each user of the training ratings.

    Args:
        training: `user_id`, `item_id`: what a user rated there is not listed.
        length: items of a list.
        seed: of the draw among equal predictions.

    Returns:
        `user_id`, `rank` (from 1), `item_id`, `score`.
    """
    seen = training.groupby(USER)[ITEM].agg(set)
    item_ids, parts = model.item_ids, []
    for start in range(0, len(seen), _USERS_AT_ONCE):
        some = seen.iloc[start : start + _USERS_AT_ONCE]
        pairs = pd.MultiIndex.from_product([some.index, item_ids], names=[USER, ITEM]).to_frame(index=False)
        scores = model.predict(pairs).reshape(len(some), len(item_ids))
        for row, items in zip(scores, some, strict=True):
            row[np.isin(item_ids, list(items))] = -np.inf
        order = best(scores, some.index.tolist(), seed=seed, k=length)
        highest = np.take_along_axis(scores, order, axis=1)
        rows, columns = np.nonzero(np.isfinite(highest))
        parts.append(
            pd.DataFrame(
                {
                    USER: some.index.to_numpy()[rows],
                    RANK: columns + 1,
                    ITEM: item_ids[order[rows, columns]],
                    SCORE: highest[rows, columns],
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def _no_lists() -> pd.DataFrame:
    return pd.DataFrame(columns=[USER, RANK, ITEM, SCORE])


def obtain_all(
    systems: Mapping[str, Mapping[str, Any]],
    *,
    dataset: str,
    known: Known,
    seeds: Sequence[int],
    split_seed: int,
    list_length: int = 10,
    n_jobs: int | None = None,
) -> dict[str, Piece]:
    """What every system leaves of its folds, fitted anew only where needed.

    As many pieces are made at once as there are cores, each with one thread, so that the digits do not
    depend on the number of cores.

    Args:
        systems: name -> settings as :func:`build`, with `folds`, those that are fitted (default all five).
        seeds: of the models; every fold is fitted once for each.
        split_seed: of the folds where they are drawn.
        list_length: of the lists that are kept.
        n_jobs: pieces at once; None for as many as there are cores.

    Returns:
        System -> :class:`Piece` of all its folds and seeds, in the order given; lists and curves are those
        of the first seed.
    """
    ratings = rules.load(dataset)
    folds = folds_of(len(ratings), dataset=dataset, seed=split_seed)
    data = pieces.data_of(known, ratings.assign(**{FOLD: folds}))
    home = config.checkpoints_dir(dataset, STAGE)
    tasks = [(name, fold, seed) for name in systems for fold in read(systems[name]).folds for seed in seeds]
    codes = {name: _about(settings) for name, settings in systems.items()}
    calls = [
        (
            (
                home / name / f"{pieces.digest([codes[name], seed, data, list_length])}-{fold}",
                systems[name],
                ratings,
                folds,
            ),
            {"known": known, "fold": fold, "seed": seed, "list_length": list_length},
        )
        for name, fold, seed in tasks
    ]
    left = pieces.side_by_side(_obtain, calls, label="rating models", n_jobs=n_jobs)
    fits = dict(zip(tasks, left, strict=True))
    return {
        name: _joined([(piece, seed) for (of, _, seed), piece in fits.items() if of == name], seeds[0])
        for name in systems
    }


def _joined(fits: Sequence[tuple[Piece, int]], first: int) -> Piece:
    """Pieces of one system, each with its seed, as one."""
    of_first = [piece for piece, seed in fits if seed == first]
    return Piece(
        pd.concat([piece.predictions for piece, _ in fits], ignore_index=True),
        pd.concat([piece.cost for piece, _ in fits], ignore_index=True),
        pd.concat([piece.curves for piece in of_first], ignore_index=True),
        next((piece.lists for piece in of_first if len(piece.lists)), _no_lists()),
    )


def _obtain(path: Path, settings: Mapping[str, Any], *args: Any, **keywords: Any) -> Piece:
    return pieces.obtain(Piece, path, lambda: fit_fold(settings, *args, **keywords))


def _about(settings: Mapping[str, Any]) -> list[Any]:
    """What a piece depends on beside seed and data. Which other folds are fitted does not matter to it."""
    recipe = read(settings)
    system = [recipe.model, dict(recipe.settings), recipe.profiles, recipe.share]
    return [*system, *pieces.code_of(recipe.model, __name__)]

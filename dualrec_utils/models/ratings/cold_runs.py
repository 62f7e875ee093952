"""Fit rating models for the cold start and predict, and keep both until anything changes.

What a system says of held-out users, or of held-out items with so many ratings in training, is a piece. It
lies under `data/<dataset>/checkpoints/cold_start/<system>/`, outside what DVC clears before a run.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from dualrec_utils.core import config
from dualrec_utils.core.config import ITEM, SYSTEM, USER
from dualrec_utils.core.errors import StudyError
from dualrec_utils.core.ratings import FOLD, PREDICTION, RATING_ID, SEED
from dualrec_utils.models import ratings as models
from dualrec_utils.models.ratings import cold_start, pieces
from dualrec_utils.models.ratings.base import Known, NotSupported, RatingModel
from dualrec_utils.models.ratings.cold_start import (
    ALL,
    DEMOGRAPHICS,
    N_KNOWN,
    NOTHING,
    SAID,
    STAGE,
    TASTES,
    HeldOut,
)

MODEL, REASON = "model", "reason"
NO_TEXT_READ = "it reads no text of a user"
NO_TEXT_KNOWN = "the data set says nothing of its users"


@dataclass(frozen=True)
class Answers:
    """What systems say.

    Attributes:
        predictions: `system`, `text`, `n_known` (text: "0", "1", ..., "all"), `rating_id`, `user_id`,
            `item_id`, `prediction`, and `fold` and `seed` as rating predictions have them.
        not_possible: `system`, `text`, `n_known`, `reason`: what a system cannot answer.
        lists: `system`, `user_id`, `item_id`, `prediction`: every item for the users whose recommendations
            are explained, from all that is known of them.
        seconds: `system`, `fit_seconds`, `predict_seconds`; a row a fit, times of the processor.
    """

    predictions: pd.DataFrame
    not_possible: pd.DataFrame
    lists: pd.DataFrame
    seconds: pd.DataFrame


def conditions(counts: Sequence[int]) -> list[tuple[str, int | None]]:
    """What may be known of a new user: (text, number of ratings), None for all but the targets."""
    numbers = [*counts, None]
    return [
        *((NOTHING, n) for n in numbers),
        (DEMOGRAPHICS, 0),
        *((TASTES, n) for n in numbers),
    ]


def label(n_known: int | None) -> str:
    """A number of known ratings in a table."""
    return ALL if n_known is None else str(n_known)


def of_users(
    settings: Mapping[str, Any],
    held: HeldOut,
    *,
    known: Known,
    counts: Sequence[int],
    explained: Sequence[int],
    seed: int,
) -> Answers:
    """Fit a model without the held-out users, and predict their targets under each condition.

    A text that changes no prediction is not read: then the condition is not possible.

    Args:
        settings: `model`, a key of :data:`models.ratings.REGISTRY`, and some of its settings.
        counts: numbers of known ratings, 0 the first; all is added.
        explained: users of `lists`.
        seed: of the model.
    """
    wanted = conditions(counts)
    said = {text: cold_start.user_texts(held, known, text) for text, _ in wanted}
    given = {(text, n): cold_start.profiles(held, n_known=n, said=said[text]) for text, n in wanted}
    for of_condition in given.values():
        cold_start.check_users(held.others, of_condition, held)
    with threadpool_limits(1):
        model, fit_seconds = _fitted(settings, held.others, known, seed=seed)
        started, frames, reasons, plain, unread = time.process_time(), [], [], {}, set()
        pairs = held.targets[[RATING_ID, USER, ITEM]]
        for text, n in wanted:
            if text in unread:
                reasons.append((text, label(n), NO_TEXT_READ))
                continue
            try:
                values = model.predict(pairs, profiles=given[text, n])
            except NotSupported as error:
                reasons.append((text, label(n), str(error)))
                continue
            if text == NOTHING:
                plain[n] = values
            elif np.array_equal(values, plain[n]):
                reason = NO_TEXT_READ if any(said[text].values()) else NO_TEXT_KNOWN
                reasons.append((text, label(n), reason))
                # What is not read beside no ratings is not read beside some.
                unread |= {text} if n == 0 else set()
                continue
            frames.append(_frame(pairs, values, text=text, n_known=n, seed=seed))
        lists = _lists(model, given[TASTES, None], explained)
    seconds = {"fit_seconds": fit_seconds, "predict_seconds": time.process_time() - started}
    return Answers(_joined(frames), _reasons(reasons), lists, pd.DataFrame([seconds]))


def of_items(
    settings: Mapping[str, Any], held: HeldOut, *, known: Known, n_known: int | None, seed: int
) -> Answers:
    """Fit a model with so many ratings of each held-out item, and predict its targets.

    Args:
        settings, seed: as :func:`of_users`.
        n_known: None for all but the targets.
    """
    training = pd.concat([held.others, held.first(n_known)])
    cold_start.check_items(training, held, n_known=n_known)
    with threadpool_limits(1):
        model, fit_seconds = _fitted(settings, training, known, seed=seed)
        started = time.process_time()
        pairs = held.targets[[RATING_ID, USER, ITEM]]
        frame = _frame(pairs, model.predict(pairs), text=NOTHING, n_known=n_known, seed=seed)
    seconds = {"fit_seconds": fit_seconds, "predict_seconds": time.process_time() - started}
    return Answers(frame, _reasons([]), _no_lists(), pd.DataFrame([seconds]))


def _fitted(
    settings: Mapping[str, Any], training: pd.DataFrame, known: Known, *, seed: int
) -> tuple[RatingModel, float]:
    choices = dict(settings)
    model = models.build(choices.pop(MODEL), known, seed=seed, **choices)
    started = time.process_time()
    model.fit(training)
    return model, time.process_time() - started


def _frame(
    pairs: pd.DataFrame, values: np.ndarray, *, text: str, n_known: int | None, seed: int
) -> pd.DataFrame:
    if not np.isfinite(values).all():
        raise StudyError(f"a prediction from {label(n_known)} ratings is not a finite number")
    # There are no folds; the frames of rating predictions have the column.
    return pairs.assign(**{PREDICTION: values, SAID: text, N_KNOWN: label(n_known), FOLD: 1, SEED: seed})


def _joined(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    columns = [RATING_ID, USER, ITEM, PREDICTION, SAID, N_KNOWN, FOLD, SEED]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)


def _reasons(rows: Sequence[tuple[str, str, str]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=[SAID, N_KNOWN, REASON], dtype="str")


def _lists(model: RatingModel, given: Mapping, explained: Sequence[int]) -> pd.DataFrame:
    pairs = pd.MultiIndex.from_product([list(explained), model.item_ids], names=[USER, ITEM])
    frame = pairs.to_frame(index=False)
    try:
        return frame.assign(**{PREDICTION: model.predict(frame, profiles=given)}) if len(frame) else frame
    except NotSupported:
        return _no_lists()


def _no_lists() -> pd.DataFrame:
    return pd.DataFrame({USER: [], ITEM: [], PREDICTION: []}).astype({USER: "int64", ITEM: "int64"})


def obtain(
    systems: Mapping[str, Mapping[str, Any]],
    users: HeldOut,
    items: HeldOut,
    *,
    dataset: str,
    known: Known,
    counts: Sequence[int],
    item_systems: Sequence[str],
    explained: Sequence[int],
    seed: int,
    n_jobs: int | None = None,
) -> tuple[Answers, Answers]:
    """:func:`of_users` of every system and :func:`of_items` of some, fitted anew only where needed.

    As many are fitted at once as there are cores, each with one thread, so that the digits do not depend on
    the number of cores.

    Args:
        systems: name -> settings, those that take long first, so that the cores are busy to the end.
        users, items: held out.
        counts: numbers of known ratings; all but the targets is added. Items: a fit each.
        item_systems: names of those that are fitted without items.
        explained, seed: as :func:`of_users`.
        n_jobs: fits at once; None for as many as there are cores.

    Returns:
        What all say of the users, and what some say of the items.
    """
    of_all = {"known": known, "seed": seed}
    about_users = of_all | {"counts": list(counts), "explained": list(explained)}
    tasks = [(name, of_users, users, about_users) for name in systems]
    tasks += [
        (name, of_items, items, of_all | {"n_known": n}) for name in item_systems for n in (*counts, None)
    ]
    data = {
        held.by: pieces.data_of(known, held.others, held.known, held.targets) for held in (users, items)
    }
    calls = [
        (
            (
                _path_of(name, systems[name], work, keywords, dataset=dataset, data=data[held.by]),
                work,
                systems[name],
                held,
            ),
            keywords,
        )
        for name, work, held, keywords in tasks
    ]
    answers = list(pieces.side_by_side(_obtain, calls, label="cold start", n_jobs=n_jobs))
    names = [name for name, *_ in tasks]
    n = len(systems)
    return _stacked(answers[:n], names[:n]), _stacked(answers[n:], names[n:])


def _stacked(answers: Sequence[Answers], names: Sequence[str]) -> Answers:
    """The answers of several fits as one, each row with its system."""
    parts = []
    for part in (one.name for one in fields(Answers)):
        frames = [
            getattr(piece, part).assign(**{SYSTEM: name})
            for piece, name in zip(answers, names, strict=True)
        ]
        parts.append(pd.concat([frame for frame in frames if len(frame)] or frames[:1], ignore_index=True))
    return Answers(*parts)


def _obtain(path: Path, work: Any, settings: Mapping[str, Any], held: HeldOut, **keywords: Any) -> Answers:
    return pieces.obtain(Answers, path, lambda: work(settings, held, **keywords))


def _path_of(
    name: str, settings: Mapping, work: Any, keywords: Mapping[str, Any], *, dataset: str, data: str
) -> Path:
    """Where a piece lies: another folder once settings, code, data, libraries or seed change."""
    options = {key: value for key, value in keywords.items() if key != "known"}
    about = [dict(settings), work.__name__, options, data, *pieces.code_of(settings[MODEL], __name__)]
    return config.checkpoints_dir(dataset, STAGE) / name / pieces.digest(about)

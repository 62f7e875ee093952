"""Ways to keep up with a stream of events: a function that scores, and for some one that learns."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import keras
import numpy as np
import pandas as pd

from dualrec_utils.core.catalog import Catalog
from dualrec_utils.core.config import CASE, HISTORY, ITEM, USER
from dualrec_utils.service.online.events import EventLog
from dualrec_utils.service.online.learner import IncrementalLearner, Learning
from dualrec_utils.service.online.states import LstmStates
from dualrec_utils.studies.online.prequential import KNOWN, Learn, Score

# Histories (item ids, oldest first) -> a trained network.
Train = Callable[[Sequence[np.ndarray]], keras.Model]


def frozen(model: keras.Model, catalog: Catalog) -> Score:
    """Nothing is noticed: lists leave out what the stream brought, and the model does not read it."""
    kept = LstmStates(model, catalog)

    def score(cases: pd.DataFrame) -> np.ndarray:
        rows = zip(cases[USER], cases[HISTORY], cases[KNOWN], strict=True)
        return np.stack([kept.scores(user, history[:known]) for user, history, known in rows])

    return score


def states(model: keras.Model, catalog: Catalog) -> Score:
    """The model stays as it is; what it has read of each user moves on with every event."""
    return _reading(LstmStates(model, catalog))


def _reading(kept: LstmStates) -> Score:
    def score(cases: pd.DataFrame) -> np.ndarray:
        rows = zip(cases[USER], cases[HISTORY], strict=True)
        return np.stack([kept.scores(user, history) for user, history in rows])

    return score


def small_steps(
    model: keras.Model,
    events: pd.DataFrame,
    histories: Mapping[int, np.ndarray],
    catalog: Catalog,
    *,
    learning_rate: float,
    seed: int,
    shuffled: bool = False,
) -> tuple[Score, Learn]:
    """The service's learner: the events of a block go into a log, and it takes its steps on them.

    Args:
        model: as it was trained before the stream; the learner changes its weights.
        events: the whole stream, from :func:`prequential.stream`; only what users knew before it is read.
        histories: of the training users, which are replayed.
        learning_rate: of a step.
        seed: of the replay, and of the shuffling.
        shuffled: a control: users and items of a block are paired at random, so that how often items are
            met can be learnt, and not who likes what.
    """
    first = events.drop_duplicates(USER)
    known = {
        user: list(history[:n])
        for user, history, n in zip(first[USER], first[HISTORY], first[KNOWN], strict=True)
    }
    # Gone with the functions that use it.
    place = tempfile.TemporaryDirectory(prefix="dualrec-online-")
    log = EventLog(Path(place.name) / "events.sqlite")
    learner = IncrementalLearner(
        model,
        catalog,
        Path(place.name) / "versions",
        known=known,
        replay=list(histories.values()),
        settings=Learning(learning_rate=learning_rate, seed=seed),
    )
    now, draw = {"score": _reading(learner.states())}, np.random.default_rng(seed)

    def learn(block: pd.DataFrame) -> None:
        items = draw.permutation(block[ITEM]) if shuffled else block[ITEM]
        for case, user, item in zip(block[CASE], block[USER], items, strict=True):
            log.append(int(user), int(item), "saw", event_id=case)
        while learner.learn(log):
            pass
        now["score"] = _reading(learner.states())

    return lambda cases: now["score"](cases), learn


def popularity(catalog: Catalog, histories: Sequence[np.ndarray]) -> tuple[Score, Learn]:
    """How often each item has been met so far, training users and stream together: no model at all."""
    counts = np.bincount(catalog.columns(np.concatenate(histories)), minlength=len(catalog)).astype(float)

    def score(cases: pd.DataFrame) -> np.ndarray:
        return np.tile(counts, (len(cases), 1))

    def learn(block: pd.DataFrame) -> None:
        np.add.at(counts, catalog.columns(block[ITEM]), 1)

    return score, learn


def trained_anew(
    model: keras.Model,
    histories: Mapping[int, np.ndarray],
    catalog: Catalog,
    *,
    train: Train,
    every: int,
) -> tuple[Score, Learn]:
    """A network trained from nothing on all that has been seen, after every `every` events.

    Args:
        model: as it was trained before the stream.
        histories: of the training users.
        train: as before the stream.
    """
    now, seen = {"score": states(model, catalog)}, []

    def learn(block: pd.DataFrame) -> None:
        before = sum(map(len, seen)) // every
        seen.append(block)
        if sum(map(len, seen)) // every > before:
            grown = [*histories.values(), *map(np.asarray, seen_so_far(pd.concat(seen)).values())]
            now["score"] = states(train(grown), catalog)

    return lambda cases: now["score"](cases), learn


def seen_so_far(events: pd.DataFrame) -> dict[int, list[int]]:
    """What each user of the stream has done by now: the history before the first event, and the events."""
    histories = {}
    for user, part in events.groupby(USER, sort=True):
        known = part[HISTORY].iloc[0][: part[KNOWN].iloc[0]]
        histories[user] = [*known, *part[ITEM]]
    return histories


def memory(kept: LstmStates, histories: Mapping[int, np.ndarray]) -> pd.DataFrame:
    """What a user's state takes, by length of the history: `n_items`, `bytes`.

    Args:
        histories: user id -> items; the shortest, the middle and the longest are read.
    """
    by_length = sorted(histories.items(), key=lambda pair: len(pair[1]))
    rows = []
    for place in (0, len(by_length) // 2, len(by_length) - 1):
        user, history = by_length[place]
        kept.scores(user, history)
        rows.append({"n_items": len(history), "bytes": kept.bytes_of(user)})
    return pd.DataFrame(rows)

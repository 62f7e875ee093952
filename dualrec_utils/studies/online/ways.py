"""Ways to keep up with a stream of events: a function that scores, and for some one that learns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from dualrec_utils.core.catalog import Catalog
from dualrec_utils.core.config import HISTORY, ITEM, USER
from dualrec_utils.studies import fits
from dualrec_utils.studies.online.prequential import KNOWN, Learn, Score

# Histories (item ids) -> log-probabilities of the catalog, shape (n_histories, n_items).
Scorer = Callable[[Sequence[np.ndarray]], np.ndarray]


def frozen(scorer: Scorer) -> Score:
    """Nothing is noticed: lists leave out what the stream brought, and the model does not read it."""

    def score(cases: pd.DataFrame) -> np.ndarray:
        # A user's list is the same throughout.
        first = cases.drop_duplicates(USER)
        known = [history[:n] for history, n in zip(first[HISTORY], first[KNOWN], strict=True)]
        places = pd.Index(first[USER]).get_indexer(cases[USER])
        return scorer(known)[places]

    return score


def reading(scorer: Scorer) -> Score:
    """The model stays as it is and reads the history up to now."""
    return lambda cases: scorer(list(cases[HISTORY]))


def popularity(catalog: Catalog, histories: Sequence[np.ndarray]) -> tuple[Score, Learn]:
    """How often each item has been met so far, training users and stream together: no model at all."""
    counts = np.bincount(catalog.columns(np.concatenate(histories)), minlength=len(catalog)).astype(float)

    def score(cases: pd.DataFrame) -> np.ndarray:
        return np.tile(counts, (len(cases), 1))

    def learn(block: pd.DataFrame) -> None:
        np.add.at(counts, catalog.columns(block[ITEM]), 1)

    return score, learn


def retrained(
    histories: Mapping[int, np.ndarray],
    catalog: Catalog,
    settings: Mapping[str, Any],
    *,
    scorer: Scorer,
    every: int,
    seed: int,
) -> tuple[Score, Learn]:
    """Notebook 02's network, trained anew on all that has been seen, after every `every` events.

    Args:
        histories: of the training users.
        settings: section `lstm`.
        scorer: of the network as it was trained before the stream.
        seed: of every training.
    """
    now, seen = {"scorer": scorer}, []

    def score(cases: pd.DataFrame) -> np.ndarray:
        return now["scorer"](list(cases[HISTORY]))

    def learn(block: pd.DataFrame) -> None:
        before = sum(map(len, seen)) // every
        seen.append(block)
        if sum(map(len, seen)) // every == before:
            return
        grown = [*histories.values(), *map(np.asarray, seen_so_far(pd.concat(seen)).values())]
        now["scorer"] = fits.lstm_scorer(grown, catalog, settings, seed=seed)

    return score, learn


def seen_so_far(events: pd.DataFrame) -> dict[int, list[int]]:
    """What each user of the stream has done by now: the history before the first event, and the events."""
    histories = {}
    for user, part in events.groupby(USER, sort=True):
        known = part[HISTORY].iloc[0][: part[KNOWN].iloc[0]]
        histories[user] = [*known, *part[ITEM]]
    return histories

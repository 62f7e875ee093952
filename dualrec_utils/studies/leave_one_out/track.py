"""The field's own track: every user's last item, ranked among all items, after training on all users.

It stands beside the study's protocols for comparison with published figures and with other libraries, and
is never mixed with them: the users are known, the catalog is every item with five ratings or more, and
duplicate titles are left as the field's files have them. Later ratings of other users are in training.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dualrec_utils.core import evaluation, metrics, predictions
from dualrec_utils.core.config import ITEM, POSITION, TIMESTAMP, USER
from dualrec_utils.core.errors import StudyError
from dualrec_utils.core.order import order_hash
from dualrec_utils.datasets import sources
from dualrec_utils.datasets.movielens import FILE_ROW

STUDY = "leave_one_out"
# Those with published figures.
DATASETS = ("ml-100k", "ml-1m")
# Users and items with fewer ratings are dropped, as in the file published with SASRec (Kang and McAuley,
# ICDM 2018): counted once, before either is dropped.
MIN_RATINGS = 5
CUTOFFS = evaluation.CUTOFFS
METRICS = tuple(f"{name}@{k}" for name in ("hit_rate", "ndcg") for k in CUTOFFS)
# Users scored at once: bounds the memory of score matrices.
_CHUNK = 512
# Histories of item ids and `user_ids=` whose they are -> scores (n_users, n_items), higher is better.
Scorer = Callable[..., np.ndarray]


@dataclass(frozen=True)
class Track:
    """A data set as this track sees it.

    Attributes:
        dataset: its name.
        source: where the raw files came from.
        order_sha256: of the (user, item) pairs in order; other tie orders give other numbers.
        item_ids: shape (n_items,), the catalog, ascending.
        user_ids: shape (n_users,), ascending.
        histories: item ids of each user, whole, oldest first.
    """

    dataset: str
    source: str
    order_sha256: str
    item_ids: np.ndarray
    user_ids: np.ndarray
    histories: tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Cases:
    """One question a user: what follows the history.

    Attributes:
        user_ids: shape (n,).
        histories: item ids before the target, oldest first.
        targets: shape (n,), item ids. For :func:`evaluate` alone; no model gets them.
    """

    user_ids: np.ndarray
    histories: tuple[np.ndarray, ...]
    targets: np.ndarray


@dataclass(frozen=True)
class Split:
    """What models are fitted on, and the cases of both parts.

    Attributes:
        item_ids: shape (n_items,), the catalog, ascending.
        user_ids: shape (n_users,), of `training`.
        training: the histories to fit on.
        validation: the second last item of some users, for early stopping.
        test: the last item of every user.
    """

    item_ids: np.ndarray
    user_ids: np.ndarray
    training: tuple[np.ndarray, ...]
    validation: Cases
    test: Cases


def load(dataset: str) -> Track:
    """Fetch and parse a data set (or take what was fetched before) and keep what the track keeps.

    Raises:
        StudyError: on an unknown name, and as :func:`sources.load`.
    """
    source, ratings, _ = sources.load(dataset)
    return make_track(ratings, dataset=dataset, source=source)


def make_track(ratings: pd.DataFrame, *, dataset: str, source: str) -> Track:
    """Drop users and items with fewer than :data:`MIN_RATINGS` ratings, and put the rest in order.

    Args:
        ratings: frame of :func:`known.parse`.
        dataset, source: written into the track.

    Raises:
        StudyError: as :func:`as_track`.
    """
    of_users, of_items = (ratings.groupby(key)[key].transform("size") for key in (USER, ITEM))
    enough = (of_users >= MIN_RATINGS) & (of_items >= MIN_RATINGS)
    return as_track(published_order(ratings[enough]), dataset=dataset, source=source)


def published_order(ratings: pd.DataFrame) -> pd.DataFrame:
    """By user and time, inside one second as the source has it (ml-1m: the file's order), else by item id.

    This track stands beside published figures, whose data have that order; all other parts of the study
    draw it (:mod:`core.order`). `dualrec study loo ties` says what it is worth.
    """
    if POSITION in ratings:
        keys = [USER, POSITION]
    else:
        keys = [USER, TIMESTAMP, FILE_ROW if FILE_ROW in ratings else ITEM]
    return ratings.sort_values(keys, ignore_index=True)


def as_track(ordered: pd.DataFrame, *, dataset: str, source: str) -> Track:
    """The track that ratings are which have been chosen and put in order.

    Args:
        ordered: `user_id`, `item_id`, in order.
        dataset, source: written into the track.

    Raises:
        StudyError: when a user has fewer than three items (training, validation, test).
    """
    histories = ordered.groupby(USER)[ITEM].agg(np.array)
    short = histories[histories.map(len) < 3]
    if len(short) or not len(histories):
        who = f"user {short.index[0]} keeps {len(short.iloc[0])}" if len(short) else "nobody is left"
        raise StudyError(f"leave_one_out needs three items of every user with five ratings; {who}")
    return Track(
        dataset=dataset,
        source=source,
        order_sha256=order_hash(ordered),
        item_ids=np.unique(ordered[ITEM].to_numpy()),
        user_ids=histories.index.to_numpy(),
        histories=tuple(histories),
    )


def split(track: Track, *, n_validation: int, seed: int) -> Split:
    """Leave out the last item of every user, and the second last of those whom validation asks.

    Training histories are all but the last item; a validation user's, all but the last two. So no model
    needs a second fit: what one learns from lacks `n_validation` items and nothing else. Test histories
    are all but the last item of everyone.

    Args:
        track: of :func:`load`.
        n_validation: users asked in validation, 1 to all of them.
        seed: of their choice.

    Raises:
        StudyError: when `n_validation` is out of range.
    """
    n_users = len(track.user_ids)
    if not 1 <= n_validation <= n_users:
        raise StudyError(f"n_validation is {n_validation}; allowed: 1 to {n_users}, the users of the track")
    rows = np.sort(np.random.default_rng(seed).choice(n_users, size=n_validation, replace=False))
    in_validation = set(rows.tolist())
    before = tuple(history[:-1] for history in track.histories)
    validation = Cases(
        user_ids=track.user_ids[rows],
        histories=tuple(before[row][:-1] for row in rows),
        targets=np.array([before[row][-1] for row in rows]),
    )
    return Split(
        item_ids=track.item_ids,
        user_ids=track.user_ids,
        training=tuple(h[:-1] if row in in_validation else h for row, h in enumerate(before)),
        validation=validation,
        test=Cases(track.user_ids, before, np.array([history[-1] for history in track.histories])),
    )


def evaluate(score: Scorer, cases: Cases, item_ids: np.ndarray) -> pd.DataFrame:
    """Rank every user's target among all items of the catalog that he has not rated before.

    Args:
        score: handed histories and user ids, some hundred users at a time; never a target.
        cases: of a :class:`Split`.
        item_ids: shape (n_items,), the catalog, ascending.

    Returns:
        One row a user: `user_id`, `first_hit` (the target's rank, from 1) and the columns of
        :data:`METRICS`, each in [0, 1].

    Raises:
        StudyError: when scores have another shape, or one is not a number.
    """
    ranks = []
    for start in range(0, len(cases.user_ids), _CHUNK):
        part = slice(start, start + _CHUNK)
        histories = cases.histories[part]
        scores = score(histories, user_ids=cases.user_ids[part])
        # Equal scores: the same draw for every model and seed.
        draw = {"names": cases.user_ids[part], "seed": 0}
        ranks.append(predictions.target_ranks(scores, histories, cases.targets[part], item_ids, **draw))
    first_hit = np.concatenate(ranks)
    values = {f"hit_rate@{k}": metrics.hit_rate(first_hit, k) for k in CUTOFFS}
    values |= {f"ndcg@{k}": metrics.ndcg(first_hit, k) for k in CUTOFFS}
    return pd.DataFrame({USER: cases.user_ids, "first_hit": first_hit, **values})


class Validation:
    """What a model in training is asked after each epoch: its mean over the validation users.

    Args:
        split: whose validation cases it answers.
        metric: of :data:`METRICS`, the one early stopping looks at.
        clock: seconds, such as `time.perf_counter`; the first epoch begins here.

    Attributes:
        by_epoch: values of the metric, one an epoch.
        epoch_seconds: how long each epoch took, validation left out.
        seconds: how long validation took, over all epochs.
    """

    def __init__(self, split: Split, *, metric: str, clock: Callable[[], float]) -> None:
        self._split, self._metric, self._clock = split, metric, clock
        self.by_epoch: list[float] = []
        self.epoch_seconds: list[float] = []
        self.seconds = 0.0
        self._since = clock()

    def __call__(self, score: Scorer) -> float:
        started = self._clock()
        self.epoch_seconds.append(started - self._since)
        users = evaluate(score, self._split.validation, self._split.item_ids)
        self.by_epoch.append(float(users[self._metric].mean()))
        self._since = self._clock()
        self.seconds += self._since - started
        return self.by_epoch[-1]

"""Learning from events as they come: small, bounded steps on a copy of the LSTM, a version each call.

A step of plain gradient descent moves all weights together by `learning_rate` x `max_norm` at most:
however odd the events are, one call changes little.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import filelock
import keras
import numpy as np
import torch
from torch.nn import functional

from dualrec_utils.core.catalog import Catalog
from dualrec_utils.core.errors import StudyError
from dualrec_utils.core.reproducible import reproducible
from dualrec_utils.models.lstm.sequences import IGNORED
from dualrec_utils.service.online.events import EventLog
from dualrec_utils.service.online.lessons import Lesson, as_sequences, drawn, taught
from dualrec_utils.service.online.states import LstmStates
from dualrec_utils.service.online.versions import Version, Versions


@dataclass(frozen=True)
class Learning:
    """How :meth:`IncrementalLearner.learn` learns.

    Attributes:
        learning_rate: of gradient descent.
        max_norm: longest gradient of a step; a longer one is shortened.
        batch_size: events of a step.
        max_steps: of a call; events beyond wait for the next call.
        replay: training histories of a step, so that what was learnt before stays.
        max_history: items read before an event's item, and of a replayed history.
        seed: of the replay.
    """

    learning_rate: float = 0.1
    max_norm: float = 1.0
    batch_size: int = 16
    max_steps: int = 50
    replay: int = 16
    max_history: int = 30
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            may_be_0 = name in ("replay", "seed")
            if not (0 < value < math.inf or (value == 0 and may_be_0)):
                raise StudyError(f"{name} is {value}; allowed: {'from' if may_be_0 else 'above'} 0, finite")


class IncrementalLearner:
    """Learns from the events of a log; threads and processes take turns.

    Args:
        model: the trained network, from :func:`states.load_lstm`; it becomes the learner's, which changes
            its weights. What serves has its own.
        catalog: its items.
        folder: of the versions, `versions`; made if missing.
        known: user -> item ids before the first event, oldest first.
        replay: training histories of the data set, item ids. No event is ever among them.
        settings: of the learning.

    Raises:
        StudyError: here and in every method, where the current version is damaged or of another network.
    """

    def __init__(
        self,
        model: keras.Model,
        catalog: Catalog,
        folder: Path,
        *,
        known: Mapping[int, Sequence[int]],
        replay: Sequence[Sequence[int]],
        settings: Learning,
    ) -> None:
        self._model, self._catalog, self._known, self._settings = model, catalog, known, settings
        self._replay = [catalog.rows(items) for items in replay if len(items) > 1]
        if settings.replay and not self._replay:
            raise StudyError(
                "no training history has the two items that a replay needs; give some, or replay=0"
            )
        self._base = self._weights()
        digest = hashlib.sha256()
        for name, array in self._base.items():
            digest.update(f"{name} {array.shape}".encode() + array.tobytes())
        self._base_sha256 = digest.hexdigest()
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = filelock.FileLock(folder / ".lock")
        self._versions = Versions(folder)
        with self._lock:
            self._load(self.current())

    def _weights(self) -> dict[str, np.ndarray]:
        return {weight.path: weight.numpy().copy() for weight in self._model.weights}

    def _load(self, version: Version | None) -> None:
        """Put a version's weights into the network."""
        if version is not None and version.base_sha256 != self._base_sha256:
            raise StudyError(
                f"version {version.number} went on from another trained network: move the folder of"
                " versions away, to begin with the one at hand"
            )
        weights = self._base if version is None else self._versions.weights(version)
        for weight in self._model.weights:
            weight.assign(weights[weight.path])

    def current(self) -> Version | None:
        """The current version; None where it is the trained network."""
        return self._versions.current()

    def states(self, *, max_users: int = 10_000) -> LstmStates:
        """States under the current version's weights; no user's history has been read yet."""
        with self._lock:
            self._load(self.current())
            return LstmStates(self._model, self._catalog, max_users=max_users)

    def roll_back(self, number: int | None) -> None:
        """Make another version current (None: the trained network). No version is deleted, and events that
        any of them has learnt from are not learnt again.

        Raises:
            StudyError: where there is no such version.
        """
        with self._lock:
            self._versions.make_current(number)
            self._load(self.current())

    def forget(self, user: int) -> list[int]:
        """Delete every version that learnt from a user; the log must have forgotten them before.

        The nearest parent that stays becomes current; other users' events are learnt again.

        Returns:
            Numbers of the deleted versions.
        """
        with self._lock:
            deleted = self._versions.forget(user)
            self._load(self.current())
            return deleted

    def learn(self, log: EventLog) -> Version | None:
        """Learn from the next events that no version has learnt from, `max_steps` x `batch_size` at most.

        Returns:
            The new version, which is current; None where no event teaches anything.

        Raises:
            StudyError: when weights would not be finite; no version is written.
        """
        settings = self._settings
        with self._lock, reproducible():
            there = self._versions.all().values()
            begin = after = max((version.last for version in there), default=0)
            lessons: list[Lesson] = []
            while not lessons:
                events = log.since(after, limit=settings.max_steps * settings.batch_size)
                if not events:
                    return None
                lessons, after = taught(events, log, self._known), events[-1].sequence
            self._load(self.current())
            weights = [weight.value for weight in self._model.trainable_variables]
            descent = torch.optim.SGD(weights, lr=settings.learning_rate)
            for start in range(0, len(lessons), settings.batch_size):
                self._step(lessons[start : start + settings.batch_size], descent, weights)
            learnt = self._weights()
            if not all(np.isfinite(array).all() for array in learnt.values()):
                raise StudyError(
                    f"learning from events {begin + 1} to {after} gave weights that are not finite: lower"
                    " learning_rate, or roll back to an earlier version"
                )
            return self._versions.add(
                learnt,
                after=begin,
                last=after,
                users=tuple(sorted({event.user for event, _ in lessons})),
                settings=asdict(settings),
                base_sha256=self._base_sha256,
            )

    def _step(
        self, lessons: list[Lesson], descent: torch.optim.Optimizer, weights: list[torch.Tensor]
    ) -> None:
        """One step; the item of an event counts as much as a replayed history."""
        settings, length = self._settings, self._settings.max_history
        news = as_sequences(lessons, self._catalog, length=length)
        draw = np.random.default_rng([settings.seed, lessons[0][0].sequence])
        again = drawn(self._replay, draw, n=settings.replay, length=length)
        logits = self._model(np.concatenate([news.rows, again.rows]), training=False)
        targets = torch.from_numpy(np.concatenate([news.targets, again.targets])).to(logits.device)
        losses = functional.cross_entropy(
            logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="none"
        )
        of_rows = losses.view(targets.shape).sum(1) / (targets != IGNORED).sum(1)
        descent.zero_grad()
        of_rows.mean().backward()
        torch.nn.utils.clip_grad_norm_(weights, settings.max_norm)
        descent.step()

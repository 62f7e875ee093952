"""Learning from events as they come: small, bounded steps on a copy of the LSTM, a version each call.

A step of plain gradient descent moves all weights together by `learning_rate` x `max_norm` at most:
however odd the events are, one call changes little.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import filelock
import keras
import numpy as np
import torch
from torch.nn import functional

from dualrec_utils.content.features import PADDING
from dualrec_utils.core.catalog import Catalog
from dualrec_utils.core.errors import StudyError
from dualrec_utils.core.reproducible import reproducible
from dualrec_utils.models.lstm.sequences import IGNORED, every_position
from dualrec_utils.service.online.events import REMOVED, Event, EventLog, history
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
            least = 0 <= value if name in ("replay", "seed") else 0 < value
            if not least or not math.isfinite(value):
                raise StudyError(f"{name} is {value}; allowed: above 0 (replay and seed: from 0), finite")


def taught(
    events: Sequence[Event], log: EventLog, known: Mapping[int, Sequence[int]]
) -> list[tuple[Event, list[int]]]:
    """What events of a log teach: each item that is new to its user, after what the user had until then.

    Args:
        known: user -> item ids before the first event.

    Returns:
        (event, history) of those that teach, by sequence; histories are item ids, oldest first, at least
        one. A removal, an item that the history has already, and a first item teach nothing.
    """
    pairs, of_user = [], {user: log.of_user(user) for user in {event.user for event in events}}
    for event in events:
        earlier = [before for before in of_user[event.user] if before.sequence < event.sequence]
        items = history(known.get(event.user, ()), earlier)
        if event.kind != REMOVED and items and event.item not in items:
            pairs.append((event, items))
    return pairs


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
                f"version {version.number} went on from another trained network: move the folder of versions"
                " away, to begin with the one at hand"
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
            StudyError: when a gradient is not finite; no version is written.
        """
        settings = self._settings
        with self._lock, reproducible():
            there = self._versions.all().values()
            begin = after = max((version.last for version in there), default=0)
            pairs: list = []
            while not pairs:
                events = log.since(after, limit=settings.max_steps * settings.batch_size)
                if not events:
                    return None
                pairs, after = taught(events, log, self._known), events[-1].sequence
            self._load(self.current())
            weights = [weight.value for weight in self._model.trainable_variables]
            descent = torch.optim.SGD(weights, lr=settings.learning_rate)
            for start in range(0, len(pairs), settings.batch_size):
                self._step(pairs[start : start + settings.batch_size], descent, weights)
            return self._versions.add(
                self._weights(),
                after=begin,
                last=after,
                users=tuple(sorted({event.user for event, _ in pairs})),
                settings=asdict(settings),
                base_sha256=self._base_sha256,
            )

    def _step(self, pairs: list, descent: torch.optim.Optimizer, weights: list[torch.Tensor]) -> None:
        """One step; an event's item counts as much as a replayed history."""
        length = self._settings.max_history
        rows = np.full((len(pairs), length), PADDING, dtype=np.int64)
        targets = np.full(rows.shape, IGNORED, dtype=np.int64)
        for i, (event, items) in enumerate(pairs):
            read = self._catalog.rows(items[-length:])
            rows[i, : len(read)] = read
            targets[i, len(read) - 1] = self._catalog.columns([event.item])[0]
        again = every_position(self._replayed(pairs[0][0].sequence), length=length)
        logits = self._model(np.concatenate([rows, again.rows]), training=False)
        aims = torch.from_numpy(np.concatenate([targets, again.targets])).to(logits.device)
        losses = functional.cross_entropy(
            logits.flatten(0, 1), aims.flatten(), ignore_index=IGNORED, reduction="none"
        )
        of_history = losses.view(aims.shape).sum(1) / (aims != IGNORED).sum(1)
        descent.zero_grad()
        of_history.mean().backward()
        norm = torch.nn.utils.clip_grad_norm_(weights, self._settings.max_norm)
        if not torch.isfinite(norm):
            raise StudyError(
                f"learning from event {pairs[0][0].sequence} and those after it gave numbers that are not"
                " finite: lower learning_rate, or roll back to an earlier version"
            )
        descent.step()

    def _replayed(self, sequence: int) -> Iterator[np.ndarray]:
        """Pieces of training histories: rows of `max_history` items and the one after, or fewer."""
        draw = np.random.default_rng([self._settings.seed, sequence])
        length = self._settings.max_history
        for chosen in draw.integers(len(self._replay), size=self._settings.replay):
            rows = self._replay[chosen]
            start = draw.integers(max(1, len(rows) - length))
            yield rows[start : start + length + 1]

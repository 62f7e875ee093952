"""Cut histories into the sequences that the LSTM learns from.

Items are rows of :class:`content.features.ItemFeatures` (from 1; 0 is padding), targets are
columns of the catalog (from 0). The first item of a history is nobody's target: nothing precedes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dualrec_utils.content.features import PADDING
from dualrec_utils.core.errors import StudyError

# A position that carries no loss: padding.
IGNORED = -1


@dataclass(frozen=True)
class Sequences:
    """Training sequences.

    Attributes:
        rows: shape (n, length), items, padded at the end.
        targets: shape (n, length), the item after each, or :data:`IGNORED`; shape (n, 1) where only
            the item after the last one is asked.
    """

    rows: np.ndarray
    targets: np.ndarray

    @property
    def n_targets(self) -> int:
        """Number of real targets."""
        return int((self.targets != IGNORED).sum())


def training_sequences(
    histories: Iterable[np.ndarray], *, training: str, chunk_length: int, window: int
) -> Sequences:
    """Sequences for one of the two ways of training.

    Args:
        training: `every_position` (see :func:`every_position`) or `window`, the paper's
            (see :func:`windows`).
        chunk_length: targets of a piece. window: items before a target.

    Raises:
        StudyError: on another name, or when no history is long enough to give a target.
    """
    if training == "every_position":
        sequences, needed = every_position(histories, length=chunk_length), 2
    elif training == "window":
        sequences, needed = windows(histories, window=window), window + 1
    else:
        raise StudyError(f"lstm.training is {training!r}; allowed: every_position | window")
    if not len(sequences.rows):
        raise StudyError(f"no training history has the {needed} items that one target needs")
    return sequences


def every_position(histories: Iterable[np.ndarray], *, length: int) -> Sequences:
    """Every item but a history's first is a target exactly once, in pieces of `length` (1 or more).

    Args:
        histories: rows of items, oldest first.

    >>> pieces = every_position([np.array([1, 2, 3, 4])], length=2)
    >>> pieces.rows.tolist(), pieces.targets.tolist()
    ([[1, 2], [3, 0]], [[1, 2], [3, -1]])
    """
    pieces = [
        history[start : start + length + 1]
        for history in histories
        for start in range(0, len(history) - 1, length)
    ]
    rows = np.full((len(pieces), length), PADDING, dtype=np.int64)
    targets = np.full(rows.shape, IGNORED, dtype=np.int64)
    for i, piece in enumerate(pieces):
        rows[i, : len(piece) - 1] = piece[:-1]
        targets[i, : len(piece) - 1] = piece[1:] - 1
    return Sequences(rows, targets)


def windows(histories: Iterable[np.ndarray], *, window: int) -> Sequences:
    """The paper's sliding window: `window` items in a row and the next one (section 4.2.1).

    Histories of `window` items or fewer give none.

    >>> cut = windows([np.array([1, 2, 3, 4])], window=2)
    >>> cut.rows.tolist(), cut.targets.tolist()
    ([[1, 2], [2, 3]], [[2], [3]])
    """
    long = [history for history in histories if len(history) > window]
    if not long:
        return Sequences(np.empty((0, window), np.int64), np.empty((0, 1), np.int64))
    views = [np.lib.stride_tricks.sliding_window_view(history, window + 1) for history in long]
    both = np.concatenate(views).astype(np.int64)
    return Sequences(both[:, :-1].copy(), both[:, -1:] - 1)


def target_counts(parts: Mapping[str, list[np.ndarray]], *, window: int) -> pd.DataFrame:
    """What either way of training can learn from.

    Args:
        parts: name -> the histories of its users.
        window: items before a target of :func:`windows`.

    Returns:
        Frame `part`, `training`, `users` (with at least one target) and `targets`, two rows a part.
    """
    rows = []
    for part, histories in parts.items():
        lengths = np.array([len(history) for history in histories])
        rows += [
            (part, name, int((lengths > read).sum()), int(np.maximum(lengths - read, 0).sum()))
            for name, read in (("every position", 1), (f"windows of {window}", window))
        ]
    return pd.DataFrame(rows, columns=["part", "training", "users", "targets"])

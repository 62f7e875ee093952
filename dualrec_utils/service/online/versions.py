"""Versions of a network that learns on: a folder each, one of them current, each can be gone back to.

`versions/000001/` holds `weights.safetensors` and `about.json`; `versions/state.json` says which is current.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dualrec_utils.core import files
from dualrec_utils.core.errors import StudyError, first_line

WEIGHTS, ABOUT, STATE = "weights.safetensors", "about.json", "state.json"


@dataclass(frozen=True)
class Version:
    """What `about.json` says.

    Attributes:
        number: from 1; never given to another version.
        parent: number of the version that it went on from; None: the trained network.
        after, last: it learnt from events of the log with a sequence above `after`, up to `last`.
        users: whose events it learnt from, ascending; those of its parents are in theirs.
        settings: of the learning.
        base_sha256: of the trained network. weights_sha256: of its own file of weights.
    """

    number: int
    parent: int | None
    after: int
    last: int
    users: tuple[int, ...]
    settings: dict[str, Any]
    base_sha256: str
    weights_sha256: str


@dataclass(frozen=True)
class _State:
    """Attributes: current: number, None for the trained network; given: highest number ever given."""

    current: int | None = None
    given: int = 0


class Versions:
    """The versions in a folder; the caller sees that one process at a time changes them.

    Args:
        folder: made when the first version is.

    Raises:
        StudyError: in every method, where a file of the folder is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _of(self, number: int) -> Path:
        return self._folder / f"{number:06d}"

    def _state(self) -> _State:
        return files.read_json(self._folder / STATE, _State, missing=_State())

    def _keep(self, state: _State) -> None:
        files.write_json(asdict(state), self._folder / STATE)

    def all(self) -> dict[int, Version]:
        """Number -> version, ascending."""
        folders = sorted(path for path in self._folder.glob("[0-9]*") if path.is_dir())
        return {int(path.name): files.read_json(path / ABOUT, Version) for path in folders}

    def current(self) -> Version | None:
        """The current version; None where it is the trained network."""
        number = self._state().current
        return None if number is None else self._known(number)

    def _known(self, number: int) -> Version:
        there = self.all()
        if number not in there:
            raise StudyError(
                f"there is no version {number} in {self._folder}; there are: {list(there) or 'none'}"
            )
        return there[number]

    def weights(self, version: Version) -> dict[str, np.ndarray]:
        """Name -> weights of a version.

        Raises:
            StudyError: where they are not those that were written.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        path = self._of(version.number) / WEIGHTS
        try:
            if files.sha256(path) == version.weights_sha256:
                return load_file(path)
            reason = "its checksum is another one"
        except (OSError, SafetensorError) as error:
            reason = first_line(error)
        raise StudyError(
            f"{path} is damaged ({reason}): roll back to another version, or delete all of them"
        )

    def add(self, weights: Mapping[str, np.ndarray], **about: Any) -> Version:
        """Write a version that goes on from the current one, whole or not at all, and make it current.

        Args:
            weights: name -> array.
            about: the other values of :class:`Version`.
        """
        from safetensors.numpy import save

        state = self._state()
        # A process that was killed between the two steps has left a folder that nobody counted.
        number = max([state.given, *self.all()]) + 1
        with files.replacing_folder(self._of(number)) as temporary:
            # safetensors takes memory as it lies: the order of rows and columns must be the usual one.
            ordered = {name: np.asarray(array, order="C") for name, array in weights.items()}
            (temporary / WEIGHTS).write_bytes(save(ordered))
            version = Version(
                number, state.current, weights_sha256=files.sha256(temporary / WEIGHTS), **about
            )
            files.write_json(asdict(version), temporary / ABOUT)
        self._keep(_State(number, number))
        return version

    def make_current(self, number: int | None) -> None:
        """Go back, or forward, to a version (None: the trained network); no version is deleted.

        Raises:
            StudyError: where there is no such version.
        """
        if number is not None:
            self._known(number)
        self._keep(_State(number, self._state().given))

    def forget(self, user: int) -> list[int]:
        """Delete the versions that learnt from a user, directly or through a parent, and all half-written
        ones; where the current one goes, its nearest parent that stays takes its place.

        Returns:
            Numbers of the deleted versions.
        """
        there, tainted = self.all(), set()
        for number, version in there.items():
            # Parents have lower numbers.
            if user in version.users or version.parent in tainted:
                tainted.add(number)
        current = self._state().current
        while current in tainted:
            current = there[current].parent
        # First, so that whoever is killed meanwhile leaves a current version that is there.
        if there:
            self._keep(_State(current, max(self._state().given, *there)))
        for path in [*map(self._of, tainted), *self._folder.glob(".*.[0-9]*")]:
            shutil.rmtree(path)
        return sorted(tainted)

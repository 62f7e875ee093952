"""Every language model behind one small interface: prompts in, answers out, in order."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self


class Backend(ABC):
    """What answers: `about` says what it is and how it was asked, as it can be written to JSON.

    Closed by its owner, or at the end of a `with` block; it answers no more then.
    """

    about: dict[str, Any]

    @abstractmethod
    def answer(self, prompts: Sequence[str], *, label: str, kept: Path | None = None) -> list[str]:
        """One answer a prompt, in order.

        Args:
            label: shown beside the progress bar.
            kept: folder in which a model on this machine keeps finished batches for a run that is stopped;
                others need none.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of weights, connections and files; a second time does nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

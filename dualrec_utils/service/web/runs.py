"""The runs that one command serves: which they are, and whether each is finished."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dualrec_utils.core import config
from dualrec_utils.core.errors import StudyError

# Each is a server of its own, with its models in memory.
MOST_RUNS = 8


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        folder: that holds its `params.yaml`, `data/` and `reports/`, resolved.
        dataset: that is served.
    """

    folder: Path
    dataset: str

    @property
    def profile(self) -> str:
        """What to call it: `default`, or its folder's name."""
        return "default" if self.folder == config.PACKAGE_ROOT else self.folder.name


def find(also: Sequence[Path], *, dataset: str | None = None) -> list[Run]:
    """The run at hand, first, and others.

    Args:
        also: folders of the others; each serves the data set of its `params.yaml`.
        dataset: of the run at hand; default: that of its `params.yaml`.

    Raises:
        StudyError: for more than :data:`MOST_RUNS`, the same folder twice, or one without a finished run.
    """
    from dualrec_utils.pipeline import params

    if len(also) >= MOST_RUNS:
        raise StudyError(
            f"--also is given {len(also)} times; allowed: up to {MOST_RUNS - 1}, since each run is a server"
            " with its models in memory"
        )
    runs = [Run(config.ROOT.resolve(), dataset or params.load().dataset)]
    for given in also:
        folder = given.expanduser().resolve()
        if not (folder / "params.yaml").is_file():
            raise StudyError(
                f"--also {given}: there is no params.yaml in it; name the folder of a profile, such as"
                " profiles/ml-1m, or of another copy of the study"
            )
        if folder in [run.folder for run in runs]:
            raise StudyError(f"--also {given}: this folder is served already; name each one once")
        runs.append(Run(folder, params.load(folder / "params.yaml").dataset))
    for run in runs:
        check_finished(run.dataset, run.folder)
    return runs


def check_finished(dataset: str, folder: Path) -> None:
    """Refuse a run that lacks data or LSTM, before anything is loaded or trained.

    Raises:
        StudyError: naming the first file that is not there.
    """
    processed, lstm = config.processed_dir(dataset), config.stage_dir(dataset, "lstm")
    for path in (processed / "items.parquet", processed / "interactions.parquet", lstm / "lstm.weights.h5"):
        path = folder / path.relative_to(config.ROOT)
        if not path.is_file():
            raise StudyError(
                f"there is no finished run on {dataset} in {folder}: run `make repro` for it ({path} is not"
                " there)"
            )

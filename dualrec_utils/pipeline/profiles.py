"""Profiles: the same pipeline with other parameters, in a folder with data, lock and reports of its own.

A profile is a folder `profiles/<name>/` that holds a `params.yaml`. Its `dvc.yaml` is the default
profile's with the paths of code and notebooks led two folders up, written by
`python -m dualrec_utils.pipeline.profiles`. Each profile is a DVC project of its own (`dvc init --subdir`), so
that running one leaves the status of the others alone. `make repro PROFILE=<name>` runs it.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from dualrec_utils.core import config, files
from dualrec_utils.core.errors import StudyError

FOLDER = config.PACKAGE_ROOT / "profiles"
_ABOVE = "../../"
# What stages read that belongs to the repository and to no profile.
_TABLES = ("baseline_search", "leave_one_out", "movielm_trials.csv", "nir/", "questions")
_FILES = (
    "reports/bench/",
    "reports/peers/",
    "reports/figures/questions",
    *(f"reports/tables/{name}" for name in _TABLES),
)
_SHARED = ("dualrec_utils/", "notebooks/", *_FILES)
_HEADER = "# Written from the default profile's dvc.yaml by `python -m dualrec_utils.pipeline.profiles`: do not edit.\n"
# A profile's own DVC project is set up as the default one is.
_DVC_FILES = (".dvc/config", ".dvc/.gitignore", ".dvcignore")


def names() -> list[str]:
    """Names of all profiles besides the default one, sorted."""
    return sorted(path.parent.name for path in FOLDER.glob("*/params.yaml"))


def pipeline(default: str) -> str:
    """The `dvc.yaml` of a profile.

    Args:
        default: text of the default profile's `dvc.yaml`, in which code and notebooks are named from
            the repository's root.

    Returns:
        The same stages: code and notebooks two folders up, all else inside the profile's folder, which
        the commands name as the root of what they read and write. Only the default profile's report
        shows what others found.
    """
    shared = "|".join(map(re.escape, _SHARED))
    default = re.sub(r"^      - profiles/.*\n", "", default, flags=re.M)
    text = re.sub(rf"^(      - )({shared})", rf"\1{_ABOVE}\2", default, flags=re.M)
    return _HEADER + re.sub(r"^(    cmd: )(python )", r'\1DUALREC_ROOT="$PWD" \2', text, flags=re.M)


def write(name: str) -> list[Path]:
    """Write what DVC needs of a profile; the files are committed.

    Raises:
        StudyError: for a folder without `params.yaml`.
    """
    folder = FOLDER / name
    if not (folder / "params.yaml").is_file():
        raise StudyError(f"there is no profile {name!r}; profiles: {', '.join(names()) or 'none'}")
    texts = {
        place: (config.PACKAGE_ROOT / place).read_text(encoding="utf-8")
        for place in ("dvc.yaml", *_DVC_FILES)
    }
    texts["dvc.yaml"] = pipeline(texts["dvc.yaml"])
    return [files.write_text(text, folder / place) for place, text in texts.items()]


def main() -> int:
    """Write the pipeline of every profile; returns the exit status."""
    for name in names():
        print(*write(name), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

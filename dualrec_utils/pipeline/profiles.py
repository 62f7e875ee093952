"""Profiles: the same pipeline with other values, in a folder with data, lock and reports of its own.

A profile is a folder `profiles/<name>/` with a `params.yaml` that names what differs from the default run.
It is a DVC project of its own, so that running one leaves the status of the others alone. Pipeline, code
and notebooks are links to the default run's: the stages are defined once, and DVC leaves out of a linked
folder what `.dvcignore` names, which it does not outside of its project. `make repro PROFILE=<name>` runs
it.
"""

from __future__ import annotations

import os
from pathlib import Path

from dualrec_utils.core import config, files
from dualrec_utils.core.errors import StudyError

# A profile's own DVC project is set up as the default one is.
_DVC_FILES = (".dvc/config", ".dvc/.gitignore", ".dvcignore")
# Stage `results` depends on this folder, which the seeds study fills.
_SEEDS = "reports/tables/seeds/README.md"
# In the name of a folder that `make seeds` runs another seed in.
SEED_MARK = "-seed-"
_LINKS = ("dvc.yaml", "dualrec_utils", "notebooks", "reports/studies")


# What DVC must be told where there is no git. Its own file for one copy's settings: git ignores it.
NO_GIT = "[core]\n    no_scm = true\n"


def names() -> list[str]:
    """Names of all profiles besides the default one, sorted; without the folders of `make seeds`."""
    there = (path.parent.name for path in config.PROFILES.glob("*/params.yaml"))
    return sorted(name for name in there if SEED_MARK not in name)


def set_up(name: str) -> Path:
    """Give the folder of a profile what DVC needs: its own project, and the link to the pipeline.

    Returns:
        The profile's folder.

    Raises:
        StudyError: for a folder without `params.yaml`.
    """
    folder = config.PROFILES / name
    if not (folder / "params.yaml").is_file():
        raise StudyError(f"there is no profile {name!r}; profiles: {', '.join(names()) or 'none'}")
    for place in _DVC_FILES:
        files.write_text((config.PACKAGE_ROOT / place).read_text(encoding="utf-8"), folder / place)
    for place in _LINKS:
        link = folder / place
        if link.resolve() != config.PACKAGE_ROOT / place:
            link.parent.mkdir(parents=True, exist_ok=True)
            # It may lead to another copy, or be what an archive made of a link.
            link.unlink(missing_ok=True)
            link.symlink_to(Path(os.path.relpath(config.PACKAGE_ROOT / place, link.parent)))
    note = f"`make seeds PROFILE={name}` writes its tables here; stage `results` reads this folder.\n"
    files.write_text(note, folder / _SEEDS)
    return folder


def check_place() -> None:
    """Refuse to run the code of one copy of the study in a folder of another.

    PYTHONPATH, or a profile's link, may lead to another copy's. What this process starts runs this copy's.

    Raises:
        StudyError: naming both copies.
    """
    for folder in (Path.cwd(), *Path.cwd().parents):
        package = folder / "dualrec_utils"
        if not (package / "__init__.py").is_file():
            continue
        if package.resolve() != config.PACKAGE_ROOT / "dualrec_utils":
            raise StudyError(
                f"the code of {config.PACKAGE_ROOT} runs, but {package} is another copy's: unset PYTHONPATH"
                " and put the right copy's .venv/bin first in PATH; where a profile's link is wrong,"
                " `dualrec profile NAME` in the copy's own folder sets it"
            )
        if not package.is_symlink():
            break
    os.environ["PYTHONPATH"] = str(config.PACKAGE_ROOT)


def tell_dvc_of_git() -> None:
    """Let DVC do without git where there is none, as in a source archive, and no longer where there is one.

    That holds for the run's own DVC project and those of the studies.
    """
    for project in (config.ROOT, *(config.PACKAGE_ROOT / "dualrec_utils/studies").glob("*/")):
        local = project / ".dvc" / "config.local"
        if any((folder / ".git").exists() for folder in (project, *project.parents)):
            if local.is_file() and local.read_text(encoding="utf-8") == NO_GIT:
                local.unlink()
        elif local.parent.is_dir() and not local.exists():
            files.write_text(NO_GIT, local)

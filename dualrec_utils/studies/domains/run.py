"""`dualrec study domains [curve|scale]`: does what films taught carry to music, games and a shop?

Without a word: the curves of every run that is on this machine, `curves_<data set>`, then the tables that
are made of what all runs have committed, `facts`, `results` and `claims`, and notebook 13. `curve` does the
first of these for the run in whose folder it is started. `scale` measures time and memory on video games
with their whole catalog (:mod:`domains.scale`), a quarter of an hour on two cores.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

from dualrec_utils.core import config, files
from dualrec_utils.core.errors import StudyError
from dualrec_utils.pipeline import params
from dualrec_utils.studies import notebook
from dualrec_utils.studies.domains import curves, scale, tables, words
from dualrec_utils.studies.domains.settings import NOTEBOOK, RUNS, STUDY, folder_of, path_of

_PARTS = ("curve", "scale")


def run_all(parts: Sequence[str] = ()) -> int:
    """Run the named parts, by default everything but `scale`.

    Raises:
        StudyError: for a part that the study does not have, and as the parts.
    """
    if unknown := [name for name in parts if name not in _PARTS]:
        raise StudyError(f"the study has no part {unknown[0]!r}; it has {', '.join(_PARTS)}")
    for name in parts:
        {"curve": write_curve, "scale": scale.write_table}[name]()
    if parts:
        return 0
    for dataset in RUNS:
        draw_curve(dataset)
    tables.write_all()
    claimed = tables.all_claims()
    for name, table in (
        (tables.BY_CLAIM, words.by_claim(claimed)),
        (tables.USERS_NEEDED, words.users_needed(claimed)),
        ("answers", words.digest(claimed, tables.all_curves())),
    ):
        files.write_csv(table, path_of(name))
    return notebook.run_notebook(NOTEBOOK, STUDY)


def write_curve() -> None:
    """Write the curves of the run in whose folder this is started.

    Raises:
        StudyError: in a trial, in a run that the study does not know, and as :func:`curves.measure`.
    """
    whole = params.load()
    if whole.trial or folder_of(whole.dataset) != config.ROOT:
        raise StudyError(f"{config.ROOT} is no run of the study: a trial, another seed, or not in its list")
    intervals = {"seed": whole.seed} | whole.intervals.model_dump(exclude={"n_permutations"})
    path = path_of(f"{tables.CURVES}_{whole.dataset}")
    files.write_csv(curves.measure(whole.dataset, **intervals), path)
    print(f"{STUDY}: {whole.dataset}: curves in {path}", flush=True)


def draw_curve(dataset: str) -> None:
    """Have :func:`write_curve` done in the folder of a run, if its lists are on this machine.

    Raises:
        StudyError: when that fails.
    """
    folder = folder_of(dataset)
    if not (folder / "data" / dataset / "rerank_ablation" / "predictions").is_dir():
        print(f"{STUDY}: {dataset}: its lists are not here, the committed curves stay", flush=True)
        return
    command = [sys.executable, "-m", "dualrec_utils", "study", STUDY, "curve"]
    if subprocess.run(command, cwd=folder, check=False).returncode:
        raise StudyError(f"the curves of {dataset} stopped (above)")

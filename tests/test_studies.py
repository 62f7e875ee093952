"""The studies are DVC projects of their own, and each of their stages depends on what it runs."""

import shutil
import subprocess

import nbformat
import pytest
from ruamel.yaml import YAML

from dualrec_utils.core import closure, config
from dualrec_utils.studies.leave_one_out import run as leave_one_out_run, ties, track as leave_one_out
from dualrec_utils.studies.peers import settings as peers, surprise
from dualrec_utils.studies.questions import settings as questions, tables as questions_tables
from dualrec_utils.studies.search import search

ROOT = config.PACKAGE_ROOT
FOLDER = ROOT / "dualrec_utils" / "studies"
PROJECTS = sorted(path.parent.name for path in FOLDER.glob("*/dvc.yaml"))
BASELINES = "dualrec_utils.models.baselines"
# Words of a command after `study` -> modules that it runs.
ENTRIES = {
    "search": ("search.search",),
    "nir": ("nir.experiment", "nir.local"),
    "peers export": ("peers.recbole",),
    "peers report": ("peers.recbole",),
    "peers ours": ("peers.ours",),
    "peers folds": ("peers.surprise",),
    "peers ratings": ("peers.surprise",),
    "loo run": ("leave_one_out.run",),
    "loo ties": ("leave_one_out.ties",),
    "loo tables": ("leave_one_out.tables",),
    "questions lstm": ("questions.lstm",),
    "questions sizes": ("questions.sizes",),
    "questions suggestions": ("questions.suggestions",),
    "questions notebook": ("questions.settings",),
}
# Commands that take any baseline by its name.
_ANY_BASELINE = ("search", "peers ours")
# What starts a command and changes no result, and what notebook 03 alone runs of the baselines.
NOT_RUN = frozenset(
    {f"pipeline.{path.stem}" for path in (ROOT / "dualrec_utils/pipeline").glob("*.py")}
    | {"pipeline", "models.baselines.figures", "models.baselines.pieces"}
)


def stages(project):
    """Stage -> its definition; of `foreach`, what is under `do`."""
    defined = YAML(typ="safe").load((FOLDER / project / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    return {
        name: stage.get("do", stage) | {"foreach": stage.get("foreach")} for name, stage in defined.items()
    }


def in_python():
    """(project, stage) of all that run the package; the peers' runs have environments of their own."""
    return [
        (project, name)
        for project in PROJECTS
        for name, stage in stages(project).items()
        if stage["cmd"].startswith("python -m dualrec_utils study ")
    ]


def code_of(stage):
    """The files of this package that a stage's command reaches."""
    words = stage["cmd"].removeprefix("python -m dualrec_utils study ")
    command = next(known for known in ENTRIES if f"{words} ".startswith(f"{known} "))
    source = "".join(f"import dualrec_utils.studies.{module}\n" for module in ENTRIES[command])
    if command == "loo run":
        source += "".join(f"import {BASELINES}.{item['model']}\n" for item in stage["foreach"].values())
    if command == "loo ties":
        source += "".join(f"import {BASELINES}.{name}\n" for name in ties.MODELS)
    if command == "questions notebook":
        cells = nbformat.read(config.NOTEBOOKS / questions.NOTEBOOK, as_version=4).cells
        source += "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    return closure.closure(source, without=NOT_RUN, by_name=command in _ANY_BASELINE)


def listed(stage):
    """Dependency -> the modules it stands for: a file itself, a folder all in it."""
    names = [name for name in stage["deps"] if name.startswith("dualrec_utils")]
    if any("${item.model}" in name for name in names):
        models = [item["model"] for item in stage["foreach"].values()]
        names += [name.replace("${item.model}", model) for name in names for model in models]
        names = [name for name in names if "${" not in name]
    sources = {}
    for name in names:
        paths = (ROOT / name).rglob("*.py") if (ROOT / name).is_dir() else [ROOT / name]
        sources[name] = {path.relative_to(ROOT).as_posix() for path in paths if path.suffix == ".py"}
    return sources


@pytest.mark.parametrize(("project", "name"), in_python())
def test_a_stage_depends_on_the_code_it_runs_and_on_no_other_room(project, name):
    stage = stages(project)[name]
    needed, modules = code_of(stage), listed(stage)
    assert needed <= set().union(*modules.values()), "add these to deps"
    idle = [dep for dep, files in modules.items() if files and not files & needed]
    assert not idle, "take these from deps"


@pytest.mark.parametrize("project", PROJECTS)
def test_a_study_is_a_project_of_its_own_that_keeps_its_results_with_the_repository(project):
    assert (FOLDER / project / ".dvc" / "config").is_file(), "it would run with the default pipeline"
    assert (FOLDER / project / ".repository").resolve() == ROOT
    for stage in stages(project).values():
        assert stage["wdir"] == ".repository"
        for out in stage["outs"]:
            ((path, options),) = out.items()
            assert path.startswith((f"reports/studies/{project}", f"data/{project}/")), path
            assert options.pop("cache") is False and set(options) <= {"persist"}, path
        for dep in stage["deps"]:
            if dep.startswith(("dualrec_utils", "notebooks")):
                assert "${" in dep or (ROOT / dep).exists(), dep


def test_every_model_and_setting_of_the_studies_is_a_stage():
    assert stages("search")["search"]["foreach"] == list(search.read_settings(search.PARAMS)["models"])
    models = list(peers.read_settings()["models"])
    assert stages("peers")["ours"]["foreach"] == stages("peers")["recbole"]["foreach"] == models
    assert stages("peers")["surprise"]["foreach"] == list(surprise.read_settings()["models"])
    fitted = list(stages("leave_one_out")["fit"]["foreach"].values())
    for dataset in leave_one_out.DATASETS:
        dataset_models = leave_one_out_run.read_settings(leave_one_out_run.PARAMS, dataset)["models"]
        assert [item["model"] for item in fitted if item["dataset"] == dataset] == list(dataset_models)
    pieces = stages("questions")
    lstm, sizes = questions.read_settings("lstm"), questions.read_settings("sizes")["models"]
    assert {*pieces["lstm"]["foreach"], questions_tables.unchanged("lstm")} == set(lstm)
    assert set(pieces["size"]["foreach"]) == set(sizes)


@pytest.mark.skipif(shutil.which("dvc") is None, reason="dvc is not on the PATH")
def test_python_files_that_are_compiled_leave_a_study_as_it_is(tmp_path):
    """DVC hashes all that lies in a folder outside of a project, __pycache__ too: hence the link."""
    study, room = tmp_path / "studies" / "one", tmp_path / "core"
    shutil.copytree(FOLDER / "nir", study, ignore=lambda *_: ["dvc.lock", "dvc.yaml", ".repository"])
    (study / ".repository").symlink_to("../..")
    room.mkdir()
    (room / "a.py").write_text("x = 1\n")
    stage = "wdir: .repository, cmd: cp core/a.py b.py, deps: [core], outs: [b.py: {cache: false}]"
    (study / "dvc.yaml").write_text(f"stages: {{s: {{{stage}}}}}\n")

    def dvc(*words):
        command = ["dvc", *words, "--quiet"]
        return subprocess.run(command, cwd=study, capture_output=True, text=True, check=False).returncode

    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    assert dvc("repro") == 0
    (room / "__pycache__").mkdir()
    (room / "__pycache__" / "a.pyc").write_bytes(b"1")
    assert dvc("status") == 0
    (room / "a.py").write_text("x = 2\n")
    assert dvc("status") == 1

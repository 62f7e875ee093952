"""dvc.yaml, params.yaml and the notebooks tell one story, and each stage depends on what it imports."""

import ast
import re
import shutil
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import nbformat
import pytest
from ruamel.yaml import YAML

from dualrec_utils.core import closure as imports, config
from dualrec_utils.pipeline import params, stages
from dualrec_utils.studies.questions import settings as questions

ROOT = config.PACKAGE_ROOT
PIPELINE = ROOT / "dvc.yaml"
PACKAGE = "dualrec_utils"
# They start the stages and change no result.
RUNNERS = frozenset({"params", "schemas", "stages", "running", "run_notebook", "run_stage"})
# What run_stage calls for the stages without a notebook.
ENTRIES = {"data": "prepare", "movielm": "movielm", "report": "report"}


def closure(source, **place):
    """All modules that a piece of code reaches, runners apart, as paths relative to the root."""
    return imports.closure(source, without=RUNNERS, **place)


def source_of(stage):
    """The code that a stage runs: its notebook's cells, or an import of its module."""
    if stage.notebook is None:
        return f"import {PACKAGE}.{ENTRIES[stage.name]}"
    notebook = nbformat.read(config.NOTEBOOKS / stage.notebook, as_version=4)
    return "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")


def pipeline():
    return YAML(typ="safe").load(PIPELINE.read_text(encoding="utf-8"))["stages"]


def test_imports_are_followed_to_the_end(tmp_path):
    """A planted chain: notebook -> a -> b (inside a function) -> package c.d; a runner is not followed."""
    package = tmp_path / PACKAGE
    (package / "c").mkdir(parents=True)
    (package / "a.py").write_text(f"def f():\n    from {PACKAGE} import b, stages\n")
    (package / "b.py").write_text(f"from {PACKAGE}.c.d import thing\n")
    (package / "c/__init__.py").write_text("")
    (package / "c/d.py").write_text("thing = 1\n")
    (package / "stages.py").write_text(f"import {PACKAGE}.hidden\n")
    (package / "hidden.py").write_text("x = 1\n")
    found = closure(f"import pandas\nfrom {PACKAGE} import a\n", root=tmp_path)
    assert found == {f"{PACKAGE}/{name}.py" for name in ("a", "b", "c/d")}


def test_what_a_package_imports_by_name_is_followed(tmp_path):
    package = tmp_path / PACKAGE / "kinds"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("import importlib\nf = importlib.import_module\n")
    (package / "one.py").write_text(f"from {PACKAGE} import two\n")
    (tmp_path / PACKAGE / "two.py").write_text("x = 1\n")
    found = closure(f"from {PACKAGE} import kinds\n", root=tmp_path)
    assert found == {f"{PACKAGE}/{name}.py" for name in ("kinds/__init__", "kinds/one", "two")}


def test_a_relative_import_is_refused():
    with pytest.raises(ValueError, match="relative imports are not followed"):
        closure("from . import x")


def test_stages_sections_and_notebooks_are_the_same_list():
    in_pipeline = list(pipeline())
    in_notebooks = sorted(path.name for path in config.NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
    # Run by `make questions` (tests/test_questions.py).
    in_notebooks.remove(questions.NOTEBOOK)
    assert in_pipeline == list(stages.NAMES)
    assert list(params.SECTIONS) == list(stages.NAMES)
    assert in_notebooks == [stage.notebook for stage in stages.STAGES if stage.notebook]


@pytest.mark.parametrize("stage", stages.STAGES, ids=lambda stage: stage.name)
def test_a_stage_depends_on_exactly_the_code_it_runs(stage):
    defined = pipeline()[stage.name]
    listed = {str(Path(dep)) for dep in defined.get("deps", []) if str(dep).endswith((".py", ".ipynb"))}
    # A folder stands for the modules in it.
    for dep in defined.get("deps", []):
        if (ROOT / dep).is_dir() and str(dep).startswith(PACKAGE):
            listed |= {str(path.relative_to(ROOT)) for path in (ROOT / dep).rglob("*.py")}
    listed -= {f"{PACKAGE}/{name}.py" for name in RUNNERS}
    wanted = closure(source_of(stage))
    if stage.notebook:
        wanted.add(f"notebooks/{stage.notebook}")
    add, remove = sorted(wanted - listed), sorted(listed - wanted)
    lines = [f"+      - {path}" for path in add] + [f"-      - {path}" for path in remove]
    assert not lines, "\n".join([f"deps of stage {stage.name} in dvc.yaml:", *lines])


@pytest.mark.parametrize("stage", stages.STAGES, ids=lambda stage: stage.name)
def test_a_stage_runs_its_runner_with_its_own_parameters(stage):
    defined = pipeline()[stage.name]
    runner = "run_notebook" if stage.notebook else "run_stage"
    assert defined["cmd"] == f"python -m {PACKAGE}.{runner} {stage.name}"
    names = {name.split(".")[0] for name in defined["params"]}
    has_keys = bool(params.SECTIONS[stage.name].model_fields)
    assert names <= {"dataset", "seed", stage.name}, "another stage's parameters"
    assert {"dataset", "seed"} <= names
    assert stage.name in names or not has_keys


def test_only_the_report_depends_on_what_differs_from_run_to_run():
    """The page says how long this run took, even where every metric came out as before."""
    varies = re.compile(r"reports/(notebooks|timings|index)")
    varying = {
        name: {str(dep) for dep in defined.get("deps", []) if varies.match(str(dep))}
        for name, defined in pipeline().items()
    }
    timed = [stage.name for stage in stages.STAGES if stage.name != "report"]
    wanted = {f"reports/timings/{name}.json" for name in [*timed, "baselines_models", "lstm_training"]}
    assert varying.pop("report") == wanted
    assert not any(varying.values()), varying


def normal(name):
    """A distribution's name as package indexes compare it."""
    return re.sub(r"[-._]+", "-", name).lower()


def test_the_lock_pins_every_requirement_and_leaves_torch_apart():
    """One source of truth: requirements.in; conda reads the same locks."""
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pins = [line.split(";")[0].strip() for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.\-]+==[\w.]+", pin) for pin in pins), "a line is not name==version"
    locked = {f"{normal(pin.split('==')[0])}=={pin.split('==')[1]}" for pin in pins}
    wanted = (ROOT / "requirements.in").read_text(encoding="utf-8").splitlines()
    for line in wanted:
        if line and not line.startswith("#"):
            name, version = line.split("==")
            assert f"{normal(name)}=={version}" in locked, f"run `make lock`: {line}"
    assert not [pin for pin in locked if re.match(r"(torch|triton|nvidia-.*|cuda-.*)==", pin)]
    torch = (ROOT / "requirements-torch.txt").read_text(encoding="utf-8").split()
    assert torch and all(line.startswith("torch==") for line in torch)
    conda = YAML(typ="safe").load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    pip = next(entry["pip"] for entry in conda["dependencies"] if isinstance(entry, dict))
    assert pip == ["-r requirements-torch.txt", "-r requirements.txt", "-e ."]


def imported_packages(source):
    """Top-level names that a piece of code imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module.split(".")[0])
    return names


def cells_of(path):
    """A notebook's code, its shell commands left out."""
    cells = nbformat.read(path, as_version=4).cells
    code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    return re.sub(r"(?m)^(\s*)[!%].*", r"\1pass", code)


def test_whatever_is_imported_is_a_requirement_of_its_own():
    """What another package happens to pull in may be gone, or another version, with its next release."""
    modules = [*(ROOT / PACKAGE).rglob("*.py"), *(ROOT / "tests").glob("*.py")]
    sources = [path.read_text(encoding="utf-8") for path in modules]
    sources += [cells_of(path) for path in (ROOT / "notebooks").glob("*.ipynb")]
    own = {PACKAGE, *(path.stem for path in (ROOT / "tests").glob("*.py"))}
    # Optional: installed by hand where there is a GPU.
    own.add("vllm")
    found = set().union(*map(imported_packages, sources)) - set(sys.stdlib_module_names) - own
    required = set()
    for name in ("requirements.in", "requirements-torch.txt"):
        lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
        required |= {normal(line.split("==")[0]) for line in lines if "==" in line}
    brought = packages_distributions()
    missing = {name for name in found if not required & set(map(normal, brought.get(name, ())))}
    assert not missing, "add a line to requirements.in and run `make lock`"


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_alone_lists_every_target():
    listed = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in ["repro", "test", "lint", "lab", "report", "bench", "verify", "lock", "clean"]:
        assert re.search(rf"^  make {target} +\S", listed, re.M), target


def test_other_projects_are_their_own_and_only_their_files_are_named():
    """DVC runs what the same project makes of a dependency, and sees no folder of another project."""
    for folder in (ROOT / "optional").iterdir():
        assert (folder / ".dvc" / "config").is_file(), f"{folder.name} would run with the default pipeline"
    deps = [dep for stage in pipeline().values() for dep in stage["deps"] if dep.startswith("profiles/")]
    assert deps and all((ROOT / dep).is_file() for dep in deps)

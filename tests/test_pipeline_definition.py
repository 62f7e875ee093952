"""dvc.yaml, params.yaml and the notebooks tell one story, and each stage depends on what it imports."""

import ast
import re
import shutil
import subprocess
import sys
from importlib.metadata import packages_distributions

import nbformat
import pytest
from ruamel.yaml import YAML

from dualrec_utils.core import closure as imports, config
from dualrec_utils.pipeline import params, stages
from dualrec_utils.studies.domains import settings as domains
from dualrec_utils.studies.knowledge import settings as knowledge
from dualrec_utils.studies.questions import settings as questions

ROOT = config.PACKAGE_ROOT
PIPELINE = ROOT / "dvc.yaml"
PACKAGE = "dualrec_utils"
# The parts that start stages: they change no result.
STARTERS = ("pipeline", "__main__", "__init__")
# Parts on which a stage that trains need not depend: an edit there changes figures and tables alone.
DRAWING = ("show",)
# What the command calls for the stages without a notebook.
ENTRIES = {"data": "datasets.prepare", "movielm": "models.movielm.model", "report": "report.page"}


def modules_under(*rooms, root=ROOT):
    """Names of all modules of some folders, without the package's."""
    folder = root / PACKAGE
    paths = [path for room in rooms for path in [folder / f"{room}.py", *(folder / room).rglob("*.py")]]
    names = [".".join(path.relative_to(folder).with_suffix("").parts) for path in paths if path.is_file()]
    return frozenset(name.removesuffix(".__init__") for name in names)


def closure(source, **place):
    """All modules that a piece of code reaches, starters apart, as paths relative to the root."""
    without = modules_under(*STARTERS, root=place.get("root", ROOT))
    return imports.closure(source, without=without, **place)


def source_of(stage):
    """The code that a stage runs: its notebook's cells, or an import of its module."""
    if stage.notebook is None:
        return f"import {PACKAGE}.{ENTRIES[stage.name]}"
    notebook = nbformat.read(config.NOTEBOOKS / stage.notebook, as_version=4)
    return "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")


def pipeline():
    return YAML(typ="safe").load(PIPELINE.read_text(encoding="utf-8"))["stages"]


def code_deps(stage):
    return [dep for dep in pipeline()[stage]["deps"] if dep.startswith(f"{PACKAGE}/")]


def files_of(dep):
    """The modules that a dependency stands for: itself, or all of a folder."""
    path = ROOT / dep
    paths = path.rglob("*.py") if path.is_dir() else [path]
    return {str(one.relative_to(ROOT)) for one in paths if one.read_text(encoding="utf-8").strip()}


def reruns(path):
    """The stages that DVC runs anew after an edit of a file, by their own dependencies."""
    return {
        name
        for name, defined in pipeline().items()
        if any(path == dep or path.startswith(f"{dep}/") for dep in defined["deps"])
    }


def test_imports_are_followed_to_the_end(tmp_path):
    """A planted chain: notebook -> a -> b (inside a function) -> package c.d; a starter is not followed."""
    package = tmp_path / PACKAGE
    for room in ("c", "pipeline"):
        (package / room).mkdir(parents=True)
        (package / room / "__init__.py").write_text("")
    (package / "a.py").write_text(
        f"def f():\n    from {PACKAGE} import b\n    from {PACKAGE}.pipeline import run\n"
    )
    (package / "b.py").write_text(f"from {PACKAGE}.c.d import thing\n")
    (package / "c/d.py").write_text("thing = 1\n")
    (package / "pipeline/run.py").write_text(f"import {PACKAGE}.hidden\n")
    (package / "hidden.py").write_text("x = 1\n")
    reached = closure(f"import pandas\nfrom {PACKAGE} import a\n", root=tmp_path)
    assert reached == {f"{PACKAGE}/{name}.py" for name in ("a", "b", "c/d")}


def test_what_a_package_imports_by_name_is_followed(tmp_path):
    package = tmp_path / PACKAGE / "kinds"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("import importlib\nf = importlib.import_module\n")
    (package / "one.py").write_text(f"from {PACKAGE} import two\n")
    (tmp_path / PACKAGE / "two.py").write_text("x = 1\n")
    reached = closure(f"from {PACKAGE} import kinds\n", root=tmp_path)
    assert reached == {f"{PACKAGE}/{name}.py" for name in ("kinds/__init__", "kinds/one", "two")}


def test_a_relative_import_is_refused():
    with pytest.raises(ValueError, match="relative imports are not followed"):
        closure("from . import x")


def test_stages_sections_and_notebooks_are_the_same_list():
    in_pipeline = list(pipeline())
    in_notebooks = sorted(path.name for path in config.NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
    # Run by `make questions`, `make knowledge` and `make domains`.
    of_studies = [study.NOTEBOOK for study in (questions, knowledge, domains)]
    in_notebooks = [name for name in in_notebooks if name not in of_studies]
    assert in_pipeline == list(stages.NAMES)
    assert list(params.SECTIONS) == list(stages.NAMES)
    assert in_notebooks == [stage.notebook for stage in stages.STAGES if stage.notebook]


def test_the_pipeline_is_short_enough_to_read():
    assert len(PIPELINE.read_text(encoding="utf-8").splitlines()) < 200


@pytest.mark.parametrize("stage", stages.STAGES, ids=lambda stage: stage.name)
def test_a_stage_depends_on_the_rooms_it_runs_and_on_no_other(stage):
    deps = code_deps(stage.name)
    reached = closure(source_of(stage))
    listed = set().union(*map(files_of, deps))
    may_lack = {path for room in DRAWING for path in files_of(f"{PACKAGE}/{room}")}
    missing = sorted(reached - listed - may_lack)
    assert not missing, f"deps of stage {stage.name} in dvc.yaml lack {missing}"
    idle = [dep for dep in deps if not files_of(dep) & reached]
    assert not idle, f"stage {stage.name} runs nothing of {idle}"
    if stage.notebook:
        assert f"notebooks/{stage.notebook}" in pipeline()[stage.name]["deps"]


LANGUAGE = {"zero_shot_llm", "lora_finetuning"}


@pytest.mark.parametrize(
    ("edited", "stages_rerun"),
    [
        ("models/language/prompts.py", {"movielm", "audit", "cold_start"} | LANGUAGE),
        ("models/baselines/gru4rec.py", {"baselines", "audit"}),
        ("models/backends/hosted.py", {"zero_shot_llm", "cold_start"}),
        ("models/hybrids/fusion.py", {"rerank_ablation", "audit"}),
        ("models/finetuning/lora.py", {"lora_finetuning", "audit"}),
        ("datasets/prepare.py", {"data"}),
        ("datasets/another_parser.py", {"data"}),
        ("models/ratings/svdpp.py", {"rating_hybrids", "cold_start"}),
        (
            "show/charts.py",
            {"eda", "rerank_ablation", "results", "rating_hybrids", "cold_start", "online", "report"},
        ),
        ("service/online/states.py", {"online"}),
        ("studies/online/ways.py", {"online"}),
        ("analysis/verdict.py", {"results", "audit", "report"}),
        ("report/page.py", {"report"}),
        ("pipeline/running.py", set()),
        ("studies/seeds.py", set()),
        ("__main__.py", set()),
    ],
)
def test_an_edit_reruns_what_it_concerns_and_nothing_else(edited, stages_rerun):
    assert reruns(f"{PACKAGE}/{edited}") == stages_rerun


@pytest.mark.parametrize("stage", stages.STAGES, ids=lambda stage: stage.name)
def test_a_stage_runs_by_the_one_command(stage):
    assert pipeline()[stage.name]["cmd"] == f"python -m {PACKAGE} run {stage.name}"


def sections_read(stage):
    """Sections of params.yaml that the code of a stage names in a call of the package's params."""
    source = [source_of(stage)]
    source += [(ROOT / path).read_text(encoding="utf-8") for path in closure(source[0])]
    names = {"intervals"} if stage.notebook else set()
    for node in (node for text in source for node in ast.walk(ast.parse(text))):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("params.section", "notebook.begin"):
            first = ast.unparse(node.args[0])
            names |= (
                {name for name in params.SECTIONS if name == ast.literal_eval(first)}
                if first[0] in "'\""
                else {first}
            )
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "params.load":
            names.add("all")
    return names


@pytest.mark.parametrize("stage", stages.STAGES, ids=lambda stage: stage.name)
def test_every_section_that_a_stage_reads_is_declared(stage):
    """In the profile's own file and in the default run's, which a profile's values are laid over."""
    profile_sections, default = set(), set()
    whole = False
    for entry in pipeline()[stage.name]["params"]:
        for place, names in (entry if isinstance(entry, dict) else {"params.yaml": [entry]}).items():
            whole |= names is None
            (default if place.startswith("${repository}") else profile_sections).update(names or ())
    read = {name for name in sections_read(stage) if name in (*params.SECTIONS, "intervals", "all")}
    # The words of the data set, which stage data writes for all others.
    read |= {params.DOMAIN} if stage.name == "data" else set()
    read |= {stage.name} if params.SECTIONS[stage.name].model_fields else set()
    if whole:
        return
    assert "all" not in read
    assert {"dataset", "seed"} <= profile_sections
    # What else stage data draws is the order; all others draw with the seed of models.
    assert ("order_seed" if stage.name == "data" else "model_seed") in profile_sections
    assert read <= default and read - {"intervals"} <= profile_sections
    assert default <= read | {stage.name}, "a section that the stage does not read"


def test_only_the_report_depends_on_what_differs_from_run_to_run():
    """The page says how long this run took, even where every metric came out as before."""
    varying = {
        name: {dep for dep in defined["deps"] if re.match(r"reports/(notebooks|timings|index)", dep)}
        for name, defined in pipeline().items()
    }
    assert varying.pop("report") == {"reports/timings"}
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
    # They run in environments of their own.
    for name in ("recbole", "surprise"):
        modules.remove(ROOT / PACKAGE / f"studies/peers/run_{name}.py")
    sources = [path.read_text(encoding="utf-8") for path in modules]
    sources += [cells_of(path) for path in (ROOT / "notebooks").glob("*.ipynb")]
    ours = {PACKAGE, *(path.stem for path in (ROOT / "tests").glob("*.py"))}
    imported = set().union(*map(imported_packages, sources)) - set(sys.stdlib_module_names) - ours
    # google.colab is there on Colab alone, ray in the environment of `make shards`: imported there alone.
    imported -= {"google", "ray"}
    required = set()
    for name in ("requirements.in", "requirements-torch.txt"):
        lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
        required |= {normal(line.split("==")[0]) for line in lines if "==" in line}
    brought = packages_distributions()
    missing = {name for name in imported if not required & set(map(normal, brought.get(name, ())))}
    assert not missing, "add a line to requirements.in and run `make lock`"


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_alone_lists_every_target():
    listed = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in ["repro", "test", "lint", "lab", "report", "bench", "verify", "lock", "site", "clean"]:
        assert re.search(rf"^  make {target} +\S", listed, re.M), target

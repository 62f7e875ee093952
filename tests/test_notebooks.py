"""The notebooks keep the shape that makes them readable and runnable."""

import ast
import inspect
import re
from collections import Counter

import nbformat
import pytest

from dualrec_utils.core import config
from dualrec_utils.pipeline import notebooks, params, schemas, stages
from dualrec_utils.studies.domains import settings as domains
from dualrec_utils.studies.knowledge import settings as knowledge
from dualrec_utils.studies.questions import settings as questions

PATHS = sorted(config.NOTEBOOKS.glob("*.ipynb"))
# Notebooks of studies outside the pipeline -> where their settings come from.
OF_STUDIES = {study.NOTEBOOK: study.settings for study in (domains, knowledge, questions)}
NUMBERED = [path for path in PATHS if path.name[:2].isdigit()]
KERNELSPEC = {"name": "python3", "display_name": "Python 3", "language": "python"}
LONGEST_CELL = 20
# Of a profile's executed copies together, in bytes.
LARGEST_COPIES = 10_000_000
# A decimal in a sentence is a result typed by hand, unless the line says whose number it is.
DECIMAL = re.compile(r"(?<![\w.])\d+\.\d+(?![\w.]*\.(?:py|ipynb|json))")
SOURCED = re.compile(r"paper|figure|fig\.|table|section|arxiv|doi", re.I)

every = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
numbered = pytest.mark.parametrize("path", NUMBERED, ids=lambda path: path.stem)


def read(path):
    return nbformat.read(path, as_version=4)


def code_cells(path):
    return [cell for cell in read(path).cells if cell.cell_type == "code"]


def trees(path):
    """Syntax trees of the code cells; shell lines, which only colab.ipynb may have, read as `pass`."""
    return [
        ast.parse(re.sub(r"^(\s*)!.*$", r"\1pass", cell.source, flags=re.M)) for cell in code_cells(path)
    ]


def is_import(node):
    return isinstance(node, (ast.Import, ast.ImportFrom))


@every
def test_it_is_valid_and_committed_without_outputs(path):
    notebook = read(path)
    nbformat.validate(notebook)
    assert dict(notebook.metadata["kernelspec"]) == KERNELSPEC
    for place, cell in enumerate(notebook.cells):
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None, f"cell {place} has outputs"


@every
def test_it_has_at_least_as_many_words_as_code_and_short_cells(path):
    counts = Counter(cell.cell_type for cell in read(path).cells)
    assert counts["markdown"] >= counts["code"]
    for cell in code_cells(path):
        assert len(cell.source.splitlines()) <= LONGEST_CELL, f"a long cell:\n{cell.source}"


@every
def test_it_has_no_class(path):
    for tree in trees(path):
        assert not [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]


@numbered
def test_it_has_no_shell_commands(path):
    for cell in code_cells(path):
        assert not re.search(r"^\s*[!%]|sys\.path", cell.source, re.M), cell.source


@numbered
def test_it_opens_with_its_number_question_and_sources(path):
    first = read(path).cells[0]
    assert first.cell_type == "markdown" and re.match(rf"# {path.name[:2]} \w", first.source)
    for word in ("paper", "input", "output"):
        assert word in first.source.lower(), f"the first cell does not say {word}"


def settings_of(path):
    """Names that a notebook's settings have: those of its section, and of section `intervals`."""
    if path.name in OF_STUDIES:
        section = OF_STUDIES[path.name]()
    else:
        section = params.section(path.stem[3:], config.PACKAGE_ROOT / "params.yaml")
    return set(section)


@numbered
def test_its_settings_come_from_params_yaml(path):
    """No value of the default run stands in a notebook: its one tagged cell is empty."""
    tagged = [cell for cell in code_cells(path) if "parameters" in cell.metadata.get("tags", [])]
    assert [ast.unparse(ast.parse(cell.source)) for cell in tagged] == ["overrides = {}"]
    begins = [
        node
        for tree in trees(path)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "notebook.begin"
    ]
    assert len(begins) == 1 and ast.unparse(begins[0].args[0]) == "stage"
    assert f'stage = "{path.stem[3:]}"' in "\n".join(cell.source for cell in code_cells(path))


@numbered
def test_it_uses_every_setting_and_no_other(path):
    used = {
        node.attr
        for tree in trees(path)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "settings"
    }
    known = settings_of(path)
    assert known - used <= {"dataset", "seed"}, "settings that no cell uses"
    assert used - known <= {"intervals", *schemas.Intervals.model_fields}


@numbered
def test_its_imports_stand_in_one_early_cell_or_two(path):
    with_imports = [n for n, tree in enumerate(trees(path)) if any(is_import(x) for x in ast.walk(tree))]
    assert 1 <= len(with_imports) <= 2 and with_imports[-1] <= 2


@every
def test_no_title_of_a_catalog_is_typed(path):
    """Another catalog may not have it: examples are chosen from the data."""
    titles = re.compile(r"\((?:19|20)\d\d\)")
    for node in (node for tree in trees(path) for node in ast.walk(tree)):
        assert not (isinstance(node, ast.Constant) and titles.search(str(node.value))), node.value


@numbered
def test_what_it_calls_exists_and_takes_what_it_is_given(path):
    """Those of studies, unlike the others, are run by no test of the pipeline."""
    names = {}
    for tree in trees(path):
        imports = [node for node in tree.body if is_import(node)]
        exec(compile(ast.Module(imports, []), path.name, "exec"), names)
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and inspect.ismodule(of(node.value, names)):
                assert of(node, names) is not None, ast.unparse(node)
            if isinstance(node, ast.Call) and inspect.isfunction(called := of(node.func, names)):
                starred = any(isinstance(one, ast.Starred) for one in node.args)
                some = starred or any(one.arg is None for one in node.keywords)
                signature = inspect.signature(called)
                given = {one.arg: None for one in node.keywords if one.arg}
                bind = signature.bind_partial if some else signature.bind
                bind(*([] if starred else node.args), **given)


def of(node, names):
    """What a name or an attribute of imported names stands for; None where that is not known."""
    if isinstance(node, ast.Attribute):
        return getattr(of(node.value, names), node.attr, None)
    return names.get(node.id) if isinstance(node, ast.Name) else None


@numbered
def test_no_cell_shows_the_path_that_it_has_written(path):
    for cell, tree in zip(code_cells(path), trees(path), strict=True):
        last = tree.body[-1]
        if isinstance(last, ast.Expr) and not cell.source.rstrip().endswith(";"):
            assert not re.match(
                r"[\w.]*\b(save_figure|save_picture|write_(metrics|costs))\(", ast.unparse(last)
            )


@numbered
def test_no_path_is_typed(path):
    for tree in trees(path):
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert not re.match(r"(\.\./|~/|/home/|/tmp/|/content/|data/|reports/)", node.value), (
                    node.value
                )


@numbered
def test_no_result_is_typed_into_the_text(path):
    for cell in read(path).cells:
        if cell.cell_type == "markdown":
            header = ""
            for line in cell.source.splitlines():
                # The rows of a table take their source from its header.
                header = (header or line) if line.startswith("|") else ""
                assert SOURCED.search(header + line) or not DECIMAL.search(line), line


@numbered
def test_its_last_code_cell_writes_the_metrics_and_nothing_else(path):
    last = ast.parse(code_cells(path)[-1].source).body
    if "forget(" in ast.unparse(last[-1]):
        last.pop()
    assert "write_metrics(" in ast.unparse(last[-1])
    assert all(isinstance(line, (ast.Assign, ast.AugAssign, ast.If)) for line in last[:-1])


def test_checkpoints_go_when_everything_else_is_written():
    sources = [cell.source for cell in code_cells(config.NOTEBOOKS / "05_lora_finetuning.ipynb")]
    lines = [line for source in sources for line in source.splitlines()]
    places = [place for place, line in enumerate(lines) if "checkpoints.forget(" in line]
    assert places == [len(lines) - 1]
    assert any("write_metrics(" in line for line in lines)


def test_no_function_is_defined_twice():
    places = Counter(
        node.name
        for path in PATHS
        for tree in trees(path)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
    )
    assert not [name for name, n in places.items() if n > 1]


def test_every_numbered_notebook_is_a_stage_or_that_of_an_optional_study():
    known = {stage.notebook for stage in stages.STAGES} | set(OF_STUDIES)
    assert {path.name for path in NUMBERED} <= known


COPIES = sorted(
    path
    for place in ("reports/notebooks", "profiles/*/reports/notebooks")
    for path in config.PACKAGE_ROOT.glob(f"{place}/*.ipynb")
)


@pytest.mark.skipif(not COPIES, reason="no executed notebook is committed yet")
def test_executed_copies_have_the_cells_of_their_sources_and_are_small():
    for path in COPIES:
        source, copy = read(config.NOTEBOOKS / path.name), read(path)
        if copy.cells[1].source.startswith(notebooks.LEFT_OUT):
            continue
        assert [cell.source for cell in copy.cells if cell.cell_type == "code"] == [
            cell.source for cell in source.cells if cell.cell_type == "code"
        ], f"{path} was made from other cells: run its stage"
        text = "\n".join(cell.source for cell in copy.cells if cell.cell_type == "markdown")
        broken = [to for to in re.findall(r"\]\((\.[^)#]*)", text) if not (path.parent / to).exists()]
        assert not broken, f"{path} has links that lead nowhere"
    for folder in {path.parent for path in COPIES}:
        assert sum(path.stat().st_size for path in folder.glob("*.ipynb")) <= LARGEST_COPIES


@pytest.mark.parametrize(
    ("line", "typed"),
    [
        ("The LSTM reaches 0.231 on test users.", True),
        ("The paper reports 0.2214 (Figure 4).", False),
        ("We keep 1,000 movies.", False),
        ("See `02_lstm.ipynb`.", False),
    ],
)
def test_the_rule_for_typed_results(line, typed):
    assert bool(DECIMAL.search(line) and not SOURCED.search(line)) is typed

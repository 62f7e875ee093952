"""The runner: names checked, values typed, failures named, pages offline and the same every time."""

import os
import subprocess
import sys

import nbformat
import pytest

from dualrec_utils.core.errors import StudyError
from dualrec_utils.pipeline import export, notebooks as run_notebook

PARAMETERS = 'dataset = "ml-100k"  # the data\nseed = 1  # of everything\nshuffle = False'
SETTINGS = {"dataset": "ml-100k", "seed": 7, "shuffle": True}
KERNELSPEC = {"name": "python3", "display_name": "Python 3", "language": "python"}


def notebook(*sources, parameters=PARAMETERS):
    cells = [nbformat.v4.new_markdown_cell("# 01 Tiny")]
    cells.append(nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}))
    cells += [nbformat.v4.new_code_cell(source) for source in sources]
    return nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": KERNELSPEC})


def run(tmp_path, made, settings=SETTINGS, page="page.html"):
    source = tmp_path / "01_tiny.ipynb"
    nbformat.write(made, str(source))
    before = source.read_bytes()
    try:
        run_notebook.run(source, settings, page=tmp_path / page, cwd=tmp_path)
    finally:
        assert source.read_bytes() == before
    return (tmp_path / page).read_text(encoding="utf-8")


def test_the_page_is_whole_offline_and_the_same_every_time(tmp_path, monkeypatch, capfd):
    # A kernel of the same name in the user's home folder must not be taken.
    decoy = tmp_path / "home/.local/share/jupyter/kernels/python3"
    decoy.mkdir(parents=True)
    (decoy / "kernel.json").write_text(
        '{"argv": ["/bin/false"], "display_name": "Python 3", "language": "python"}'
    )
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "0")
    made = notebook(
        "import sys, os\nprint(sys.prefix, os.getcwd())\nprint(chr(116) + 'o stderr', file=sys.stderr)",
        "import matplotlib.pyplot as plt\nplt.plot([1, 2]);",
        "assert shuffle is True and seed == 7\nimport pandas as pd\npd.DataFrame({'column': [seed]})",
    )
    first = run(tmp_path, made, page="first.html")
    second = run(tmp_path, made, page="second.html")
    assert first == second
    assert f"{sys.prefix} {tmp_path}" in first
    assert "data:image/png;base64" in first and "<th>column</th>" in first
    assert "to stderr" not in first
    assert export.reaches_out(first) == []
    streams = capfd.readouterr()
    assert "to stderr" in streams.err and str(tmp_path) in streams.out


def test_parameters_are_shown_once_where_they_are_the_defaults(tmp_path):
    defaults = {"dataset": "ml-100k", "seed": 1, "shuffle": False}
    page = run(tmp_path, notebook("print(seed)"), settings=defaults)
    assert "# Parameters" not in page and "# of everything" in page
    assert "# Parameters" in run(tmp_path, notebook("print(seed)"))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (SETTINGS | {"n_itmes": 3}, "has no parameter n_itmes, which params.yaml sets"),
        ({"dataset": "ml-100k", "seed": 7}, "params.yaml does not set shuffle"),
    ],
)
def test_names_that_differ_are_refused_before_anything_runs(tmp_path, settings, words):
    with pytest.raises(StudyError, match=words):
        run(tmp_path, notebook("open('ran', 'w')"), settings=settings)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "parameters", ["import os\nseed = 1", "seed = 1 + len('a')", "seed =", "a, b = 1, 2"]
)
def test_the_parameters_cell_holds_only_plain_assignments(tmp_path, parameters):
    with pytest.raises(StudyError, match="may hold only `name = value` lines"):
        run(tmp_path, notebook(parameters=parameters), settings={"seed": 1})


def test_a_missing_notebook_is_named(tmp_path):
    source = tmp_path / "01_tiny.ipynb"
    with pytest.raises(StudyError, match=r"no notebook .*; restore it with `git checkout 01_tiny.ipynb`"):
        run_notebook.run(source, SETTINGS, page=tmp_path / "page.html", cwd=tmp_path)


def test_exactly_one_parameters_cell(tmp_path):
    made = notebook()
    made.cells[1].metadata = {}
    with pytest.raises(StudyError, match="has 0 cells tagged"):
        run(tmp_path, made)


def test_a_failing_cell_is_named_and_nothing_is_written(tmp_path, capfd):
    with pytest.raises(
        run_notebook.NotebookFailed, match=r"^cell 4 of 01_tiny.ipynb \(`1 / 0`\) failed: .*by zero$"
    ):
        run(tmp_path, notebook("seed", "1 / 0"))
    assert "ZeroDivisionError" in capfd.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["01_tiny.ipynb"]


def test_a_study_error_comes_out_as_itself(tmp_path):
    source = "from dualrec_utils.core.errors import StudyError\nraise StudyError('u.data is cut short')"
    with pytest.raises(StudyError, match=r"^u.data is cut short$"):
        run(tmp_path, notebook(source))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["01_tiny.ipynb"]


def test_a_dead_kernel_is_said_to_be_one(tmp_path):
    with pytest.raises(run_notebook.NotebookFailed, match=r"the kernel of 01_tiny.ipynb died"):
        run(tmp_path, notebook("import os\nos.kill(os.getpid(), 9)"))


@pytest.mark.parametrize(("runner", "stage"), [("run_notebook", "eda"), ("run_stage", "data")])
def test_the_commands_refuse_a_bad_params_file_with_status_two(tmp_path, runner, stage):
    (tmp_path / "params.yaml").write_text("dataset: ml-10m\nseed: 1\n")
    done = subprocess.run(
        [sys.executable, "-m", f"dualrec_utils.{runner}", stage],
        env=os.environ | {"DUALREC_ROOT": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"dualrec: {stage}: ")
    assert "dataset is 'ml-10m'; allowed: ml-100k | ml-1m" in done.stderr
    assert "Traceback" not in done.stderr

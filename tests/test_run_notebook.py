"""The runner: names checked, values typed, failures named, pages offline and the same every time."""

import base64
import io
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from conftest import use_root
from PIL import Image

from dualrec_utils.core import config, files
from dualrec_utils.core.errors import StudyError
from dualrec_utils.pipeline import export, notebook as notebook_start, notebooks as run_notebook, params
from dualrec_utils.show import charts

KERNELSPEC = {"name": "python3", "display_name": "Python 3", "language": "python"}


def notebook(*sources):
    cells = [nbformat.v4.new_markdown_cell("# 01 Tiny")]
    cells += [nbformat.v4.new_code_cell(source) for source in sources]
    return nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": KERNELSPEC})


def run(tmp_path, made, page="page.html"):
    source = tmp_path / "01_tiny.ipynb"
    nbformat.write(made, str(source))
    before = source.read_bytes()
    try:
        run_notebook.run(source, page=tmp_path / page, cwd=tmp_path)
    finally:
        assert source.read_bytes() == before
    return (tmp_path / page).read_text(encoding="utf-8")


MATPLOTLIBRC = (
    "text.usetex: True\nlines.linewidth: 9\nsavefig.dpi: 20\ntimezone: Asia/Tokyo\nbackend: svg\n"
)
# What a user may have in the home folder, or in the folder of the study.
HOME = {
    "home/.local/share/jupyter/kernels/python3/kernel.json": (
        '{"argv": ["/bin/false"], "display_name": "Python 3", "language": "python"}'
    ),
    "home/.local/share/jupyter/nbconvert/templates/lab/conf.json": '{"mimetypes": "broken"}',
    "home/.ipython/profile_default/ipython_kernel_config.py": (
        "get_config().InteractiveShell.ast_node_interactivity = 'all'\n"
    ),
    "home/.ipython/profile_default/startup/0.py": "import pandas\npandas.options.display.html.border = 7\n",
    "home/start.py": "import pandas\npandas.set_option('display.max_rows', 0)\n",
    "home/.config/matplotlib/matplotlibrc": MATPLOTLIBRC,
    "home/.keras/keras.json": '{"floatx": "float16", "backend": "jax", "epsilon": 0.1}',
    "matplotlibrc": MATPLOTLIBRC,
}


def use_a_home_full_of_settings(folder, monkeypatch):
    for name, text in HOME.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    for name, value in {
        "HOME": "home",
        "IPYTHONDIR": "home/.ipython",
        "JUPYTER_DATA_DIR": "home/.local/share/jupyter",
        "KERAS_HOME": "home/.keras",
        "MATPLOTLIBRC": "matplotlibrc",
        "PYTHONSTARTUP": "home/start.py",
    }.items():
        monkeypatch.setenv(name, str(folder / value))
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "0")


def test_the_page_is_whole_offline_and_the_same_whatever_the_users_settings(tmp_path, monkeypatch, capfd):
    made = notebook(
        "import sys, os\nprint(sys.prefix, os.getcwd())\nprint(chr(116) + 'o stderr', file=sys.stderr)",
        "import matplotlib.pyplot as plt\nfrom dualrec_utils.show import charts\n"
        "with charts.study_style():\n    plt.subplots()[1].plot([1, 2])",
        "import pandas as pd\n'shown in no page'\npd.DataFrame({'column': [1]})",
    )
    first = run(tmp_path, made, page="first.html")
    use_a_home_full_of_settings(tmp_path, monkeypatch)
    second = run(tmp_path, made, page="second.html")
    assert first == second
    # A folder of this machine is shown by its name alone.
    assert f">{Path(sys.prefix).name} {tmp_path.name}" in first and str(tmp_path) not in first
    assert "data:image/png;base64" in first and "<th>column</th>" in first
    assert "to stderr" not in first
    assert export.reaches_out(first) == []
    streams = capfd.readouterr()
    assert "to stderr" in streams.err and str(tmp_path) in streams.out


def _shown(path):
    """A path as a copy names it: relative to the study where it lies inside, else its last part."""
    return path.relative_to(config.PACKAGE_ROOT) if path.is_relative_to(config.PACKAGE_ROOT) else path.name


def test_the_committed_copy_has_the_sources_cells_and_the_same_bytes_after_every_run(tmp_path):
    made = notebook(
        "import matplotlib.pyplot as plt, os, pandas as pd, sys, time\nfrom tqdm.auto import tqdm\n"
        "for _ in tqdm(range(3)):\n"
        "    print('line', _)\n    sys.stdout.flush()\n    time.sleep(0.03 * (os.getpid() % 3))",
        "class Thing:\n    pass\nprint(Thing(), os.getcwd(), sys.executable)\nThing()",
        "print('half\\rwhole')\nplt.figure(figsize=(30, 3))\nplt.plot([1, 2]);",
        "pd.DataFrame({'column': ['/usr/lib/a.csv']})",
    )
    copies = []
    for name in ("first", "second"):
        run(tmp_path, made, page=f"{name}.html")
        copies.append((tmp_path / f"{name}.ipynb").read_bytes())
    assert copies[0] == copies[1]
    copy = nbformat.reads(copies[0].decode(), as_version=4)
    assert [(cell.cell_type, cell.source) for cell in copy.cells] == [
        (cell.cell_type, cell.source) for cell in made.cells
    ]
    assert all(cell.get("execution_count") is None for cell in copy.cells)
    printed, thing, drawn, frame = (cell.outputs for cell in copy.cells[1:])
    assert [output.text for output in printed if output.output_type == "stream"] == [
        "line 0\nline 1\nline 2\n"
    ]
    assert (
        thing[0].text == f"<__main__.Thing object at 0x…> {tmp_path.name} {_shown(Path(sys.executable))}\n"
    )
    assert thing[1].data == {"text/plain": "<__main__.Thing at 0x…>"} and thing[1].execution_count is None
    assert drawn[0].text == "whole\n" and list(drawn[1].data) == ["image/png"]
    assert Image.open(io.BytesIO(base64.b64decode(drawn[1].data["image/png"]))).width == export.WIDEST_IMAGE
    assert list(frame[0].data) == ["text/html"] and "<td>a.csv</td>" in frame[0].data["text/html"]
    for place in (str(tmp_path), str(config.PACKAGE_ROOT), str(Path.home()), sys.prefix):
        assert place not in copies[0].decode()


def test_an_image_too_large_to_be_committed_is_refused_and_nothing_is_written(tmp_path):
    noise = (
        "import matplotlib.pyplot as plt, numpy as np\nplt.figure(figsize=(9, 60)).add_axes((0, 0, 1, 1))\n"
    )
    noise += "plt.imshow(np.random.default_rng(0).random((6000, 900)), aspect='auto');"
    with pytest.raises(
        run_notebook.NotebookFailed, match=r"01_tiny shows an image of [\d,]+ bytes; at most"
    ):
        run(tmp_path, notebook(noise))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["01_tiny.ipynb"]


@pytest.mark.parametrize(
    ("text", "steady"),
    [
        (f"{config.PACKAGE_ROOT}/reports/a.csv and more", "reports/a.csv and more"),
        ("in /usr/lib/python3/x.py, line 3", "in x.py, line 3"),
        ("Action/Crime/Drama, 1/2/3, http://example.org/a/b", None),
        ("/no such/folder/here, </td></tr>, #E69F00, 0xff", None),
        ("at 0x7f3a5c0d1e50>", "at 0x…>"),
    ],
)
def test_what_is_taken_for_a_place_of_this_machine(text, steady):
    made = nbformat.v4.new_notebook(
        metadata={"kernelspec": KERNELSPEC, "language_info": {"name": "python"}}
    )
    made.cells = [nbformat.v4.new_code_cell("", outputs=[nbformat.v4.new_output("stream", text=text)])]
    copy = nbformat.reads(export.to_copy(made, "01_tiny"), as_version=4)
    assert copy.cells[0].outputs[0].text == (steady or text)


def test_a_command_reads_no_settings_of_the_user(tmp_path, monkeypatch):
    use_a_home_full_of_settings(tmp_path, monkeypatch)
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    monkeypatch.setenv("KERAS_MAX_EPOCHS", "1")
    monkeypatch.setenv("MPLBACKEND", "TkAgg")
    script = """
        import sys
        from dualrec_utils import __main__ as command

        def draw():
            from pathlib import Path
            import keras, matplotlib
            from dualrec_utils.show import charts
            with charts.study_style():
                figure, axes = charts.plt.subplots()
                axes.plot([1, 2], label="one")
                axes.legend()
            charts.save_picture(figure, Path(sys.argv[1]))
            keras_config = keras.backend.backend(), keras.config.floatx(), keras.config.epsilon()
            print(*keras_config, keras.config.max_epochs(), matplotlib.rcParams["timezone"])

        command.check_params = draw
        command.main(["params"])
    """
    code = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run([*code, "there.png"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "torch float32 1e-07 None UTC\n"
    with charts.study_style():
        figure, axes = charts.plt.subplots()
        axes.plot([1, 2], label="one")
        axes.legend()
    here = charts.save_picture(figure, tmp_path / "here.png")
    assert (tmp_path / "there.png").read_bytes() == here.read_bytes()


def test_a_missing_notebook_is_named(tmp_path):
    source = tmp_path / "01_tiny.ipynb"
    with pytest.raises(StudyError, match=rf"no notebook .*; restore it with `git checkout {source}`"):
        run_notebook.run(source, page=tmp_path / "page.html", cwd=tmp_path)


WHOLE = json.loads(nbformat.writes(notebook("1")))
DAMAGED = ["", '{"cells": [', "[]", "{}", "[" * 99_999]
DAMAGED += [json.dumps(WHOLE | {"cells": cells}) for cells in ([], 3)]


@pytest.mark.parametrize("content", DAMAGED, ids=range(len(DAMAGED)))
def test_a_damaged_notebook_is_named_and_nothing_is_written(tmp_path, monkeypatch, content):
    use_root(tmp_path, monkeypatch)
    source, page = tmp_path / "01_tiny.ipynb", tmp_path / "page.html"
    source.write_text(content)
    with pytest.raises(StudyError, match=rf"(?s){source} is damaged.*`git checkout {source}`"):
        run_notebook.run(source, page=page, cwd=tmp_path)
    with pytest.raises(StudyError, match=f"{source} is damaged"):
        run_notebook.leave_out(source, "no.", page=page, stage="rating_hybrids", dataset="toy")
    assert list(tmp_path.iterdir()) == [source]


def test_a_failing_cell_is_named_and_nothing_is_written(tmp_path, capfd):
    with pytest.raises(
        run_notebook.NotebookFailed, match=r"^cell 3 of 01_tiny.ipynb \(`1 / 0`\) failed: .*by zero$"
    ):
        run(tmp_path, notebook("2", "1 / 0"))
    assert "ZeroDivisionError" in capfd.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["01_tiny.ipynb"]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "from dualrec_utils.core.errors import StudyError\nraise StudyError('u.data is cut short')",
            "^u.data is cut short$",
        ),
        ("open('/dev/full', 'wb', 0).write(b'x')", "^No space left on device: .*free some"),
    ],
)
def test_what_a_user_can_act_on_comes_out_as_itself(tmp_path, source, message):
    with pytest.raises(StudyError, match=message):
        run(tmp_path, notebook(source))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["01_tiny.ipynb"]


@pytest.mark.parametrize("start", ["import os; os.kill(os.getpid(), 9)", ""], ids=["at once", "later"])
def test_a_dead_kernel_is_said_to_be_one(tmp_path, monkeypatch, start):
    (tmp_path / "sitecustomize.py").write_text(start)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(run_notebook.NotebookFailed, match=r"the kernel of 01_tiny.ipynb died"):
        run(tmp_path, notebook("import os\nos.kill(os.getpid(), 9)"))


def test_the_command_refuses_a_bad_params_file_with_status_two(tmp_path):
    (tmp_path / "params.yaml").write_text("dataset: ml_10m\nseed: 1\n")
    done = subprocess.run(
        [sys.executable, "-m", "dualrec_utils", "run", "eda"],
        env=os.environ | {"DUALREC_ROOT": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("dualrec: eda: ")
    assert "dataset is 'ml_10m'" in done.stderr
    assert "Traceback" not in done.stderr


def begun(tmp_path, monkeypatch, *, by_pipeline, overrides=None):
    """What a notebook's first cell gets, in a scratch folder with the repository's params.yaml."""
    use_root(tmp_path, monkeypatch)
    monkeypatch.setattr(config, "PARAMS_FILE", config.PACKAGE_ROOT / "params.yaml")
    monkeypatch.delenv(notebook_start.RUN_BY_PIPELINE, raising=False)
    monkeypatch.setenv(config.BY_HAND, "")
    if by_pipeline:
        monkeypatch.setenv(notebook_start.RUN_BY_PIPELINE, "lstm")
    return notebook_start.begin("lstm", overrides)


def test_a_notebook_reads_its_section_and_what_every_interval_needs(tmp_path, monkeypatch):
    settings = begun(tmp_path, monkeypatch, by_pipeline=True)
    whole = params.load(config.PACKAGE_ROOT / "params.yaml")
    assert (settings.dataset, settings.seed) == (whole.dataset, whole.model_seed)
    assert settings.epochs == whole.lstm.epochs
    assert settings.intervals == {
        "seed": whole.seed,
        "n_bootstrap": whole.intervals.n_bootstrap,
        "confidence": whole.intervals.confidence,
    }


def test_settings_are_shown_whole_with_their_meaning_one_row_a_model():
    settings = notebook_start.Settings(
        stage="zero_shot_llm",
        models={"small": {"dtype": "float32", "revision": None}, "large": {}},
        fusion_grid=[0.0, 0.5],
        n_recent=5,
        hosted={"extra_body": {"provider": {"zdr": True}}},
    )
    (table,) = pd.read_html(io.StringIO(settings._repr_html_()), keep_default_na=False)
    assert table.iloc[:, :2].to_numpy().tolist() == [
        ["models: small", "dtype: float32, revision: null"],
        ["models: large", "none"],
        ["fusion_grid", "0.0, 0.5"],
        ["n_recent", "5"],
        ["hosted: extra_body", "provider: zdr: true"],
    ]
    assert table["meaning"][3] == params.comments("zero_shot_llm")["n_recent"]
    assert max(table["meaning"].str.len()) > 50


def test_a_notebook_run_by_hand_says_so_and_leaves_the_pipelines_outputs(tmp_path, monkeypatch, capsys):
    begun(tmp_path, monkeypatch, by_pipeline=True)
    assert capsys.readouterr().out == ""
    pipeline = {config.stage_dir("d", "lstm"), config.metrics_file("lstm"), config.tables_dir("lstm")}
    settings = begun(tmp_path, monkeypatch, by_pipeline=False, overrides={"epochs": 1})
    assert settings.epochs == 1
    assert str(tmp_path / "data/by_hand") in capsys.readouterr().out
    for place in (config.stage_dir("d", "lstm"), config.metrics_file("lstm"), config.tables_dir("lstm")):
        assert place not in pipeline and place.is_relative_to(tmp_path / "data/by_hand")
    # What other stages left is read where the pipeline wrote it.
    assert config.stage_dir("d", "movielm") == tmp_path / "data/d/movielm"


def test_a_notebook_run_by_hand_goes_on_from_a_copy_of_the_pipelines_checkpoints(tmp_path, monkeypatch):
    dataset = begun(tmp_path, monkeypatch, by_pipeline=True).dataset
    kept = files.write_text("weights", config.checkpoints_dir(dataset, "lstm") / "step/file")
    assert kept == tmp_path / "data" / dataset / "checkpoints/lstm/step/file"
    begun(tmp_path, monkeypatch, by_pipeline=False)
    copy = config.checkpoints_dir(dataset, "lstm") / "step/file"
    assert copy.is_relative_to(tmp_path / "data/by_hand") and copy.read_text() == "weights"
    copy.write_text("changed by hand")
    # Once more, in the same kernel: what was done by hand goes on.
    notebook_start.begin("lstm")
    assert (copy.read_text(), kept.read_text()) == ("changed by hand", "weights")


def test_the_pipeline_takes_values_from_params_yaml_alone(tmp_path, monkeypatch):
    with pytest.raises(StudyError, match="epochs"):
        begun(tmp_path, monkeypatch, by_pipeline=True, overrides={"epochs": 1})


def test_a_notebook_that_is_left_out_leaves_the_same_page_and_copy_every_time(tmp_path, monkeypatch):
    use_root(tmp_path, monkeypatch)
    monkeypatch.setattr(run_notebook.evaluation, "write_metrics", lambda *_, **__: None)
    page, before = tmp_path / "11.html", []
    for _ in range(2):
        about = {"page": page, "stage": "rating_hybrids", "dataset": "toy"}
        run_notebook.leave_out(config.NOTEBOOKS / "11_rating_hybrids.ipynb", "no ratings.", **about)
        before.append((page.read_text(), page.with_suffix(".ipynb").read_text()))
    assert before[0] == before[1]
    assert "no ratings." in before[0][0] and run_notebook.LEFT_OUT in before[0][1]

"""Tests of show.charts."""

import matplotlib as mpl
import nbformat
import pandas as pd
from matplotlib import pyplot as plt
from nbclient import NotebookClient

from dualrec_utils.core import config
from dualrec_utils.pipeline.notebooks import KERNEL
from dualrec_utils.show import charts

DRAW = "with charts.study_style():\n    figure, axes = plt.subplots()"


def test_every_figure_of_a_notebook_is_shown_not_only_the_first(tmp_path):
    imports = "import matplotlib.pyplot as plt\nfrom dualrec_utils.show import charts"
    cells = [nbformat.v4.new_code_cell(source) for source in (imports, DRAW, DRAW, DRAW)]
    notebook = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(notebook, kernel_name=KERNEL).execute()
    for cell in notebook.cells[1:]:
        assert ["image/png" in output.get("data", {}) for output in cell.outputs] == [True]


def test_nothing_global_is_changed_and_open_figures_stay_open():
    before = dict(mpl.rcParams)
    other = plt.figure()
    with charts.study_style():
        ours, _ = plt.subplots()
        assert mpl.rcParams["legend.frameon"] is False
    assert dict(mpl.rcParams) == before
    assert plt.fignum_exists(other.number) and plt.fignum_exists(ours.number)
    plt.close("all")


@charts.study_style()
def test_a_name_with_dollars_is_drawn_as_it_is(figures_closed):
    figure, axes = plt.subplots()
    charts.label_rows(axes, ["$9.99 (2008)", "Ca$h$ \\frac (2010)"])
    charts.caption(figure, "$x$")
    figure.canvas.draw()
    texts = [*axes.get_yticklabels(), figure._supxlabel]
    assert [text.get_parse_math() for text in texts] == [False] * 3


def test_a_figure_is_saved_beside_its_data_with_the_same_bytes(root):
    data = pd.DataFrame({"x": [0, 1], "y": [0.5, 0.25]})
    contents = []
    for _ in range(2):
        with charts.study_style():
            figure, axes = plt.subplots()
            axes.plot(data["x"], data["y"])
        path = charts.save_figure(figure, data, "line", stage="a_stage")
        plt.close(figure)
        contents.append(path.read_bytes())
    assert path == config.FIGURES / "a_stage" / "line.png"
    assert contents[0] == contents[1]
    pd.testing.assert_frame_equal(pd.read_csv(path.with_suffix(".csv")), data)

import pandas as pd
import pytest

from dualrec_utils.models.lstm import figures as training

pytestmark = pytest.mark.usefixtures("figures_closed")


def test_each_metric_has_a_panel_with_both_parts_the_papers_lines_and_our_mark():
    rows = [
        (epoch, part, metric, value + epoch)
        for metric, value in (("loss", 5.0), ("accuracy", 0.1))
        for part in ("train", "validation")
        for epoch in (1, 2, 3)
    ]
    curves = pd.DataFrame(rows, columns=["epoch", "part", "metric", "value"])
    before = curves.copy()
    figure = training.epoch_curves(
        curves,
        note="n",
        paper={"loss": {"train": 4.8, "validation": 5.04}},
        marks={"loss": 4.5},
        marks_label="ours",
    )
    loss, accuracy = figure.axes
    heights = [list(line.get_ydata()) for line in loss.lines]
    assert [6.0, 7.0, 8.0] in heights
    assert [4.8, 4.8] in heights
    assert [4.5] in heights
    assert len(accuracy.lines) == 2
    pd.testing.assert_frame_equal(curves, before)

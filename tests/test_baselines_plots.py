import pandas as pd
import pytest

from dualrec_utils.models.baselines import figures as baselines

pytestmark = pytest.mark.usefixtures("figures_closed")


def test_each_model_has_a_panel_with_its_best_epoch_starred():
    rows = [
        (system, epoch, part, metric, value)
        for system in ("gru4rec", "narm", "stamp")
        for epoch, value in ((1, 0.1), (2, 0.3), (3, 0.2))
        for part, metric in (("train", "loss"), ("validation", "ndcg@5"))
    ]
    curves = pd.DataFrame(rows, columns=["system", "epoch", "part", "metric", "value"])
    before = curves.copy()
    figure = baselines.learning_curves(curves, note="n")
    panels = [axes for axes in figure.axes if axes.get_title(loc="left")]
    assert [axes.get_title(loc="left") for axes in panels] == ["GRU4Rec", "NARM", "STAMP"]
    stars = [line for axes in figure.axes for line in axes.lines if line.get_marker() == "*"]
    assert [(list(star.get_xdata()), list(star.get_ydata())) for star in stars] == [([2], [0.3])] * 3
    pd.testing.assert_frame_equal(curves, before)


def test_a_model_without_validation_has_no_star():
    curves = pd.DataFrame(
        [("fpmc", 1, "train", "loss", 0.7)], columns=["system", "epoch", "part", "metric", "value"]
    )
    figure = baselines.learning_curves(curves, note="n")
    assert len([axes for axes in figure.axes if axes.get_title(loc="left")]) == 1

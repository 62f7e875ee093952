"""Figures of notebooks 01 and 03 show the numbers they are given."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from dualrec_utils.core import config
from dualrec_utils.core.config import ITEM
from dualrec_utils.core.domain import MOVIES
from dualrec_utils.datasets import eda, figures
from dualrec_utils.models.baselines import figures as baseline_figures
from dualrec_utils.show.charts import save_figure


@pytest.fixture
def data(tiny, figures_closed):
    return eda.load("ml-100k")


@pytest.fixture
def profiles(data):
    return eda.user_profiles(data["interactions"], data["items"], data["splits"])


def saved(figure, table, name):
    """Save a figure and check that picture and data lie where the stage keeps them."""
    path = save_figure(figure, table, name, stage="eda")
    assert path == config.FIGURES / "eda" / f"{name}.png"
    assert path.read_bytes().startswith(b"\x89PNG")
    pd.testing.assert_index_equal(pd.read_csv(path.with_suffix(".csv")).columns, table.columns)


def test_popularity_marks_the_share_that_is_kept(data):
    table = eda.popularity(data["ratings_raw"], data["items"][ITEM].to_numpy())
    figure = figures.popularity_curve(table, domain=MOVIES, note="n")
    left, right = figure.axes
    assert np.array_equal(left.lines[0].get_ydata(), table["n"])
    assert any("of ratings" in text.get_text() for text in right.texts)
    saved(figure, table, "popularity")


def test_every_user_stands_in_one_bar(profiles):
    figure = figures.history_lengths(profiles, window=5, domain=MOVIES, note="n")
    assert sum(bar.get_height() for bar in figure.axes[0].patches) == len(profiles)
    saved(figure, profiles, "history_lengths")


def test_genres_are_named_once_each(data):
    table = eda.genre_shares(data["interactions"], data["items"], data["splits"])
    figure = figures.genres(table, domain=MOVIES, note="n")
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == table["genre"].tolist()
    saved(figure, table, "genres")


def test_rating_bars_have_the_height_of_their_share(data):
    table = eda.rating_counts(data["interactions"])
    figure = figures.rating_values(table, note="n")
    assert [bar.get_height() for bar in figure.axes[0].patches] == pytest.approx(table["share"].tolist())
    saved(figure, table, "rating_values")


def test_weeks_and_order_and_parts_are_drawn(data, profiles):
    interactions = data["interactions"]
    weeks = eda.weekly_counts(interactions)
    saved(figures.weeks(weeks, note="n"), weeks, "weeks")
    classes, spans = eda.gap_classes(eda.gaps(interactions)), eda.last_spans(interactions, last=6)
    figure = figures.order(classes, spans, last=6, note="n")
    widths = [bar.get_width() for bar in figure.axes[0].patches]
    assert widths == pytest.approx(classes["share"].tolist())
    saved(figure, classes, "order")
    figure = figures.parts(profiles, {"length": "movies", "year": "year"}, note="n")
    assert [len(axes.lines) for axes in figure.axes] == [3, 3]
    saved(figure, profiles, "parts")


def test_intervals_end_where_the_table_says():
    values = {"ease": 0.2, "b": 0.5}
    rows = [("next_item", name, "hit_rate@5", v, v - 0.1, v + 0.2) for name, v in values.items()]
    table = pd.DataFrame(rows, columns=["protocol", "system", "metric", "value", "low", "high"])
    figure = baseline_figures.with_intervals(
        table, metric="hit_rate@5", group="protocol", xlabel="HR@5", note="n"
    )
    (axes,) = figure.axes
    segments = axes.collections[0].get_segments()
    assert np.array([s[:, 0] for s in segments]) == pytest.approx(np.array([[0.1, 0.4], [0.4, 0.7]]))
    assert [text.get_text() for text in axes.texts] == ["0.200", "0.500"]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["EASE-R", "b"]
    assert axes.get_ylim()[0] > axes.get_ylim()[1]
    plt.close(figure)

"""Groups of cases, coverage and novelty, worked by hand on a catalog of six."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from toy_catalog import catalog_of

from dualrec_utils.analysis import breakdowns
from dualrec_utils.analysis.figures import breakdowns as plots
from dualrec_utils.core import predictions, splits
from dualrec_utils.core.catalog import load_catalog
from dualrec_utils.core.config import CASE, HISTORY, ITEM, RANK, USER
from dualrec_utils.core.domain import MOVIES

CATALOG = catalog_of(
    [1, 2, 3, 4, 5, 6], genres=[["Drama"], ["Drama", "War"], ["Comedy"], [], ["War"], ["Horror"]]
)
COUNTS = pd.Series([40, 30, 20, 15, 15, 0], index=pd.Index(CATALOG.ids, name=ITEM))
SETTINGS = {"seed": 1, "n_bootstrap": 200, "confidence": 0.9}


def cases(lengths):
    names = [f"c{i:02d}" for i in range(len(lengths))]
    histories = [np.arange(n) for n in lengths]
    return pd.DataFrame({CASE: names, USER: range(len(lengths)), HISTORY: histories})


def lists(rows):
    frame = pd.DataFrame(rows, columns=[CASE, RANK, ITEM]).assign(score=1.0, text=None, seed=1)
    return frame.astype(predictions.COLUMNS)


def test_classes_hold_a_third_of_the_ratings_each():
    # 120 ratings: before each movie stand 0, 40, 70, 90, 105 and 120 of them; cuts at 40 and 80.
    classes = breakdowns.popularity_classes(COUNTS)
    assert classes.tolist() == ["head", "middle", "middle", "tail", "tail", "tail"]
    # The order of the catalog does not matter, nor which of two equals comes first but for its id.
    assert breakdowns.popularity_classes(COUNTS[::-1]).equals(classes[::-1])


def test_groups_by_hand():
    frame = cases([1, 2, 3, 4, 5, 6])
    targets = pd.Series({case: [item] for case, item in zip(frame[CASE], [1, 2, 4, 6, 2, 3], strict=True)})
    groups = breakdowns.case_groups(frame, targets, CATALOG, COUNTS)
    members = groups.groupby(["by", "group"], sort=False)[CASE].agg(list).to_dict()
    assert members == {
        (breakdowns.POPULARITY, "head: 1 movies"): ["c00"],
        (breakdowns.POPULARITY, "middle: 2 movies"): ["c01", "c04", "c05"],
        (breakdowns.POPULARITY, "tail: 3 movies"): ["c02", "c03"],
        (breakdowns.LENGTH, "1 to 2 movies"): ["c00", "c01"],
        (breakdowns.LENGTH, "3 to 4 movies"): ["c02", "c03"],
        (breakdowns.LENGTH, "5 to 6 movies"): ["c04", "c05"],
        # The target of c02 has no genre; a target with two counts under both.
        (breakdowns.GENRE, "Comedy"): ["c05"],
        (breakdowns.GENRE, "Drama"): ["c00", "c01", "c04"],
        (breakdowns.GENRE, "Horror"): ["c03"],
        (breakdowns.GENRE, "War"): ["c01", "c04"],
    }


def test_a_group_averages_users_first_and_gives_no_interval_for_few():
    hits = [1, 1, 0, 1] + [0] * 11
    users = [1, 1, 1, 2, *range(3, 14)]
    frame = pd.DataFrame({CASE: [f"c{i}" for i in range(15)], USER: users, "hit_rate@5": hits}).astype(
        {"hit_rate@5": float}
    )
    groups = pd.DataFrame(
        {"by": "x", "group": ["few"] * 4 + ["all"] * 15, CASE: [*frame[CASE].head(4), *frame[CASE]]}
    )
    table = breakdowns.by_group({"a": frame, "b": frame}, groups, metric="hit_rate@5", **SETTINGS)
    assert table["system"].tolist() == ["a", "b"] * 2 and table["group"].tolist()[:2] == ["few", "few"]
    few, everyone = table.iloc[0], table.iloc[2]
    assert few["value"] == pytest.approx((2 / 3 + 1) / 2)
    assert (few["n_users"], few["n_cases"]) == (2, 4) and np.isnan([few["low"], few["high"]]).all()
    assert everyone["value"] == pytest.approx((2 / 3 + 1) / 13)
    assert everyone["low"] <= everyone["value"] <= everyone["high"]


def test_gains_are_paired_and_averaged_over_users_first():
    users = [1, 1, *range(2, 13)]
    ids = [f"c{i}" for i in range(13)]
    frame = pd.DataFrame({CASE: ids, USER: users})
    # The first user gains in one of two cases, the second loses in the only one; all others stay.
    lstm = frame.assign(**{"hit_rate@5": [0.0, 1, 1] + [1.0] * 10})
    fused = frame.assign(**{"hit_rate@5": [1.0, 1, 0] + [1.0] * 10}).iloc[::-1]
    groups = pd.DataFrame({"by": "x", "group": ["gain"] * 2 + ["all"] * 13, CASE: [*ids[:2], *ids]})
    both = {"lstm": lstm, "fused": fused}
    table = breakdowns.gains_by_group(both, groups, over="lstm", metric="hit_rate@5", **SETTINGS)
    assert table[["group", "system", "over"]].to_numpy().tolist() == [
        ["gain", "fused", "lstm"],
        ["all", "fused", "lstm"],
    ]
    assert table["value"].tolist() == pytest.approx([0.5, (0.5 - 1) / 12])
    assert table["n_users"].tolist() == [1, 12] and np.isnan(table["low"].iloc[0])
    assert table["low"].iloc[1] < table["value"].iloc[1] < table["high"].iloc[1]


def test_a_group_counts_for_a_system_only_where_its_interval_excludes_zero():
    rows = [("tail", 0.01, 0.2), ("head", -0.2, -0.1), ("middle", -0.1, 0.1), ("few", np.nan, np.nan)]
    table = pd.DataFrame(rows, columns=["group", "low", "high"])
    table = table.assign(by=breakdowns.POPULARITY, system="a")
    other = table.assign(by=breakdowns.GENRE)
    said = breakdowns.gains_in_words(pd.concat([table, other]))
    assert "of 3 groups" in said and "tail" in said and "head" in said
    assert "middle" not in said and "few" not in said
    assert said.index(", tail)") < said.index(", head)")
    assert breakdowns.gains_in_words(table.head(0)) == "" == breakdowns.helped(table, "another")
    assert "tail) of 3 groups" in breakdowns.helped(table, "a")
    # The last bit of a difference of equal shares is no gain.
    assert "tail" not in breakdowns.helped(table.replace({"low": {0.01: 1e-18}}), "a")


def test_self_information_in_bits():
    bits = breakdowns.self_information(pd.Series([80, 40, 10, 1, 0]), n_users=80)
    # All of 80 users; half; an eighth; one; none counts as one.
    assert bits.tolist() == pytest.approx([0, 1, 3, np.log2(80), np.log2(80)])


def test_a_system_that_names_no_movie_covers_nothing_and_has_no_novelty():
    lists = pd.DataFrame({CASE: ["c0"], ITEM: pd.array([None], dtype="Int64"), RANK: [1]})
    frame = pd.DataFrame({CASE: ["c0"], USER: [1]})
    row = breakdowns.coverage_and_novelty({"a": lists}, frame, pd.Series({1: 2.0}), **SETTINGS).iloc[0]
    assert (row["coverage"], row["n_users"], row["n_cases"]) == (0, 0, 0)
    assert np.isnan(row["novelty"]) and np.isnan(row["low"])
    # JSON knows no NaN.
    assert breakdowns.flatten(pd.DataFrame([row])) == {"next_item/a/coverage@5": 0}


def test_coverage_and_novelty_by_hand():
    frame = cases([1, 1, 1])
    information = pd.Series([0.0, 1, 2, 3, 4, 5], index=CATALOG.ids)
    ranked = lists(
        # An unmatched title names no movie; the sixth place is beyond the first five; c02 has no list.
        [("c00", 1, 1), ("c00", 2, None), ("c00", 3, 3), ("c00", 6, 6), ("c01", 1, 1)]
    )
    row = breakdowns.coverage_and_novelty({"a": ranked}, frame, information, **SETTINGS).iloc[0]
    assert row["coverage"] == pytest.approx(2 / 6)
    assert row["novelty"] == pytest.approx((1 + 0) / 2)
    assert (row["n_users"], row["n_cases"]) == (2, 2)
    targets = pd.Series({"c00": [2], "c01": [4], "c02": [6]})
    assert breakdowns.novelty_of_targets(frame, targets, information) == 3
    flat = breakdowns.flatten(pd.DataFrame([row]))
    assert flat["next_item/a/coverage@5"] == row["coverage"] and len(flat) == 4


def test_counts_are_of_training_users_alone(tiny):
    counts, n_users = breakdowns.training_counts("ml-100k")
    histories = splits.load_histories("ml-100k", "train")
    assert n_users == len(histories) == tiny["n_users_train"]
    assert counts.sum() == sum(map(len, histories.values()))
    movie = counts.idxmax()
    assert counts[movie] == sum(movie in history for history in histories.values())
    assert counts.index.tolist() == load_catalog("ml-100k").ids.tolist()


def test_figures_draw_every_row_and_leave_the_style_alone(tmp_path):
    frame = cases(range(10, 46))
    targets = pd.Series({case: [1 + i % 6] for i, case in enumerate(frame[CASE])})
    groups = breakdowns.case_groups(frame, targets, CATALOG, COUNTS)
    rng = np.random.default_rng(0)
    scored = {
        name: frame[[CASE, USER]].assign(**{"hit_rate@5": (rng.random(36) < 0.4).astype(float)})
        for name in ("most_popular", "lstm")
    }
    table = breakdowns.by_group(scored, groups, metric="hit_rate@5", **SETTINGS)
    before = dict(mpl.rcParams)
    figure, drawn = plots.draw_by_group(
        table, by=breakdowns.LENGTH, names=list(scored), note="thirds", lead="ml-100k"
    )
    assert len(figure.axes) == 3 and len(drawn) == 6
    figure.savefig(tmp_path / "one.png")
    gains = breakdowns.gains_by_group(scored, groups, over="lstm", metric="hit_rate@5", **SETTINGS)
    figure, drawn = plots.draw_gains(gains, names=["most_popular"], domain=MOVIES, lead="ml-100k")
    assert len(drawn) == 6 and set(drawn["by"]) == set(breakdowns.WHOM)
    figure.savefig(tmp_path / "gains.png")
    figure, drawn = plots.draw_by_genre(table, scored, names=list(scored), lead="ml-100k")
    # Six targets in turn: Drama and War have 12 cases; Comedy and Horror 6 and no interval.
    assert set(drawn["group"]) == {"Drama", "War"} and len(figure.axes) == 2
    dashed = [axes.lines[0].get_xdata()[0] for axes in figure.axes]
    of_users = [frame.groupby("user_id")["hit_rate@5"].mean() for frame in scored.values()]
    assert dashed == pytest.approx([values.mean() for values in of_users])
    figure.savefig(tmp_path / "two.png")
    catalog = pd.DataFrame(
        {"system": list(scored), "coverage": 0.5, "novelty": 2.0, "low": 1.5, "high": 2.5}
    )
    figure, drawn = plots.draw_catalog(
        catalog.assign(n_users=3, n_cases=9), targets=3.0, domain=MOVIES, lead="ml-100k"
    )
    assert len(drawn) == 2 and drawn["novelty"].tolist() == [2, 2]
    figure.savefig(tmp_path / "three.png")
    assert dict(mpl.rcParams) == before

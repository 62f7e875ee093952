"""The tables behind notebook 01, worked by hand."""

import numpy as np
import pandas as pd
import pytest

from dualrec_utils.core.config import ITEM, POSITION, RATING, SECOND, SPLIT, TIMESTAMP, USER
from dualrec_utils.datasets import eda

DAY = 86_400


def interactions(rows):
    frame = pd.DataFrame(rows, columns=[USER, ITEM, RATING, TIMESTAMP])
    frame[POSITION] = frame.groupby(USER).cumcount()
    return frame.astype({RATING: "Float64", TIMESTAMP: "Int64"})


# User 1 (training) rates three movies, user 2 (validation) one, user 3 (test) two.
OWN = interactions(
    [(1, 10, 5, 0), (1, 20, 4, 0), (1, 30, 4, 45), (2, 10, 1, 7), (3, 20, 4, 5 * DAY), (3, 10, 2, 7 * DAY)]
)
SPLITS = pd.DataFrame({USER: [1, 2, 3], SPLIT: ["train", "validation", "test"]})
ITEMS = pd.DataFrame(
    {
        ITEM: [10, 20, 30],
        "title": ["A", "B", "C"],
        "year": pd.array([1990, 1980, None], dtype="Int64"),
        "genres": [["Drama"], ["Drama", "War"], []],
    }
)


def test_dataset_table():
    table = eda.dataset_table({"all": OWN, "user 1": OWN[OWN[USER] == 1]}).set_index("step")
    assert table.loc["all"].tolist() == [3, 3, 6, 6 / 9, 2]
    assert table.loc["user 1"].tolist() == [1, 3, 3, 1.0, 3]


def test_duplicates_name_both_ids_and_their_raters():
    items = pd.DataFrame(
        {ITEM: [10, 20, 30, 40], "title": ["A", "A", "B (C)", "C"], "year": [1990, 1990, 1, 1]}
    )
    ratings = interactions([(1, 10, 3, 0), (1, 20, 3, 0), (2, 20, 3, 0), (1, 40, 3, 0)])
    merged = pd.DataFrame({ITEM: [40, 20], "into": [30, 10]})
    table = eda.duplicates(ratings, items, merged)
    assert table.to_numpy().tolist() == [
        ["A", 1990, "A", 10, 20, 1, 2, 1],
        ["B (C)", 1, "C", 30, 40, 0, 1, 0],
    ]


def test_popularity_ranks_with_ties_by_id():
    table = eda.popularity(OWN, np.array([10, 20]))
    assert table[ITEM].tolist() == [10, 20, 30]
    assert table["rank"].tolist() == [1, 2, 3]
    assert table["n"].tolist() == [3, 2, 1]
    assert table["cumulative_share"].tolist() == pytest.approx([3 / 6, 5 / 6, 1])
    assert table["kept"].tolist() == [True, True, False]


def test_user_profiles_count_popularity_among_training_users_only():
    table = eda.user_profiles(OWN, ITEMS, SPLITS).set_index(USER)
    assert table["length"].tolist() == [3, 1, 2]
    # Every movie has one training viewer, user 1, however many others watched it.
    assert table["popularity"].tolist() == [1, 1, 1]
    assert table["year"].tolist() == [1985, 1990, 1985]
    assert table[SPLIT].tolist() == ["train", "validation", "test"]


def test_a_movie_no_training_user_rated_has_popularity_zero():
    extra = pd.concat([OWN, interactions([(3, 40, 3, 8 * DAY)])])
    items = pd.concat([ITEMS, ITEMS.tail(1).assign(**{ITEM: 40})])
    assert eda.user_profiles(extra, items, SPLITS).set_index(USER).loc[3, "popularity"] == pytest.approx(
        2 / 3
    )


def test_parts_that_differ_are_told_from_parts_that_do_not():
    rng = np.random.default_rng(0)
    profiles = pd.DataFrame({SPLIT: np.repeat(["train", "validation", "test"], 100)})
    profiles["same"] = rng.normal(size=300)
    profiles["moved"] = profiles["same"] + (profiles[SPLIT] == "test") * 2
    table = eda.compare_parts(profiles, ("same", "moved")).set_index("measure")
    assert table.loc["same", "p"] > 0.05
    assert table.loc["moved", "p"] < 1e-6
    assert table.loc["moved", "test"] == pytest.approx(table.loc["moved", "train"] + 2, abs=0.5)


def test_genre_shares():
    table = eda.genre_shares(OWN, ITEMS, SPLITS).set_index("genre")
    assert set(table.index) == {name for genres in ITEMS["genres"] for name in genres}
    assert table.loc["Drama"].tolist() == pytest.approx([2 / 3, 2 / 3, 1, 1])
    assert table.loc["War"].tolist() == pytest.approx([1 / 3, 1 / 3, 0, 1 / 2])
    assert table["train"].is_monotonic_decreasing


def test_rating_counts():
    table = eda.rating_counts(OWN)
    assert table[RATING].tolist() == [1, 2, 4, 5]
    assert table["n"].tolist() == [1, 1, 3, 1]
    assert table["share"].sum() == pytest.approx(1)


def test_weeks_begin_on_monday():
    # Second 0 is Thursday, 1 January 1970; five days later it is Tuesday of the next week.
    table = eda.weekly_counts(OWN)
    assert table["week"].dt.strftime("%Y-%m-%d").tolist() == ["1969-12-29", "1970-01-05"]
    assert table["n"].tolist() == [4, 2]
    assert table["users"].tolist() == [2, 1]


def test_gaps_stay_within_a_user():
    table = eda.gaps(OWN)
    assert table.to_numpy().tolist() == [[1, 0, 2], [1, 45, 1], [3, 2 * DAY, 1]]


def test_gap_classes_put_edges_on_the_short_side():
    seconds = pd.DataFrame({"seconds": [0, 0, 1, 10, 11, 60, 61, 86_400, 86_401]})
    table = eda.gap_classes(seconds).set_index("gap")
    assert table["n"].tolist() == [2, 2, 2, 1, 0, 1, 1]
    assert list(table.index) == list(eda.GAP_CLASSES)
    assert table["share"].sum() == pytest.approx(1)


def test_last_spans_leave_short_histories_out():
    assert eda.last_spans(OWN, last=2).to_numpy().tolist() == [[1, 45], [3, 2 * DAY]]
    assert eda.last_spans(OWN, last=3).to_numpy().tolist() == [[1, 45]]


def test_facts_about_order_worked_by_hand():
    # User 1 rates in the same second, then 45 s later; user 3 two days later.
    facts = eda.order_facts(eda.gaps(OWN), eda.last_spans(OWN, last=2), last=2)
    assert facts == pytest.approx(
        {
            "share_of_ratings_tied_with_the_previous": 1 / 3,
            "share_of_last_ratings_tied_with_the_previous": 0,
            "share_of_very_last_ratings_tied": 0,
            "share_of_ratings_within_a_minute": 2 / 3,
            "share_of_ratings_over_a_day_later": 1 / 3,
            "median_seconds_of_last_ratings": (45 + 2 * DAY) / 2,
        }
    )


def test_a_cut_within_a_second_is_counted_once_a_user():
    # The last two movies of user 1 begin within a second, those of user 2 with one.
    rows = [(1, 0), (1, 0), (1, 1), (2, 0), (2, 1), (2, 2)]
    frame = pd.DataFrame(rows, columns=[USER, SECOND])
    assert eda.cut_within_second(frame, last=2) == 0.5


def test_windows_need_the_movie_after_them():
    table = eda.windows(OWN, SPLITS, window=2).set_index(SPLIT)
    assert table.loc["train"].tolist() == [1, 1, 1, 2]
    assert table.loc["test"].tolist() == [1, 0, 0, 1]
    assert eda.windows(OWN, SPLITS, window=1).set_index(SPLIT).loc["train", "windows"] == 2


def test_what_has_no_time_is_left_out_of_all_that_needs_one():
    untimed = OWN.assign(**{TIMESTAMP: OWN[TIMESTAMP].mask(OWN.index == 1)})
    assert eda.weekly_counts(untimed)["n"].tolist() == [3, 2]
    # Both neighbours of user 1's second rating are gone, and with it the user's last two.
    assert eda.gaps(untimed).to_numpy().tolist() == [[3, 2 * DAY, 1]]
    assert eda.last_spans(untimed, last=2).to_numpy().tolist() == [[3, 2 * DAY]]
    assert eda.last_spans(untimed, last=1)[USER].tolist() == [1, 2, 3]
    never = OWN.assign(**{TIMESTAMP: OWN[TIMESTAMP].mask(OWN[TIMESTAMP].notna())})
    assert eda.gaps(never).empty and eda.last_spans(never, last=1).empty


def test_no_table_changes_its_input(tiny):
    data = eda.load("ml-100k")
    before = {name: frame.copy(deep=True) for name, frame in data.items()}
    ratings, items, splits = data["interactions"], data["items"], data["splits"]
    eda.dataset_table({"kept": ratings})
    eda.duplicates(data["ratings_raw"], data["items_raw"], data["merged"])
    eda.popularity(data["ratings_raw"], items[ITEM].to_numpy())
    eda.compare_parts(eda.user_profiles(ratings, items, splits), ("length", "popularity", "year"))
    eda.genre_shares(ratings, items, splits)
    eda.rating_counts(ratings), eda.weekly_counts(ratings), eda.gap_classes(eda.gaps(ratings))
    eda.last_spans(ratings, last=6), eda.windows(ratings, splits, window=5)
    for name, frame in data.items():
        pd.testing.assert_frame_equal(frame, before[name])

"""The order of ratings: by second, inside one second drawn by a hash."""

import hashlib

import numpy as np
import pandas as pd
from hypothesis import given, settings, strategies as st

from dualrec_utils.core import order
from dualrec_utils.core.config import ITEM, POSITION, SECOND, TIMESTAMP, USER

# Few users, items and times: ties are common.
RATED = st.lists(
    st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(0, 3)),
    min_size=1,
    unique_by=lambda row: row[:2],
)


def ratings_of(rows):
    return pd.DataFrame(rows, columns=[USER, ITEM, TIMESTAMP]).astype({TIMESTAMP: "Int64"})


def test_seconds_come_first_and_inside_them_the_hash():
    ratings = ratings_of([(1, 9, 100), (2, 1, 50), (1, 4, 100), (1, 7, 99), (1, 2, 100)])
    before = ratings.copy()
    ordered = order.in_order(ratings, order_seed=5)
    tied = sorted([9, 4, 2], key=lambda item: hashlib.sha256(f"5 1 {item}".encode()).hexdigest())
    assert ordered[ITEM].tolist() == [7, *tied, 1]
    assert ordered[SECOND].tolist() == [0, 1, 1, 1, 0]
    pd.testing.assert_frame_equal(ratings, before)


@given(RATED, st.integers(0, 5), st.randoms(use_true_random=False))
def test_the_order_depends_on_no_row_order_and_no_other_user(rows, seed, random):
    ratings = ratings_of(rows)
    ordered = order.in_order(ratings, order_seed=seed)
    shuffled = order.in_order(ratings_of(random.sample(rows, len(rows))), order_seed=seed)
    pd.testing.assert_frame_equal(ordered, shuffled)
    user = rows[0][0]
    alone = order.in_order(ratings[ratings[USER] == user], order_seed=seed)
    pd.testing.assert_frame_equal(ordered[ordered[USER] == user].reset_index(drop=True), alone)


@given(RATED)
def test_times_never_go_back_and_seconds_are_counted_without_gaps(rows):
    ordered = order.in_order(ratings_of(rows), order_seed=0)
    for _, user_rows in ordered.groupby(USER):
        assert user_rows[TIMESTAMP].is_monotonic_increasing
        assert (
            user_rows[SECOND].tolist()
            == (user_rows[TIMESTAMP].rank(method="dense") - 1).astype(int).tolist()
        )


def test_another_seed_draws_another_order_of_ties_alone():
    ratings = ratings_of([(1, item, item // 5) for item in range(10)])
    drawn = [order.in_order(ratings, order_seed=seed) for seed in range(6)]
    assert len({tuple(frame[ITEM]) for frame in drawn}) > 1
    assert len({tuple(frame[ITEM][:5].sort_values()) for frame in drawn}) == 1


def test_no_place_in_a_second_is_bound_to_an_id():
    # 2,000 users rate the movies 1 and 2 in one second: a fair draw puts either first half of the time.
    ratings = ratings_of([(user, item, 0) for user in range(1, 2001) for item in (1, 2)])
    first = order.in_order(ratings, order_seed=0).drop_duplicates(USER)[ITEM]
    # Five standard deviations.
    assert abs((first == 1).mean() - 0.5) < 5 * 0.5 / np.sqrt(2000)


def test_a_rating_without_a_time_is_a_second_of_its_own_at_its_place():
    rows = [(1, 9, 100), (1, 4, 100), (1, 7, None), (1, 2, None), (1, 3, 101)]
    ratings = ratings_of(rows).assign(**{POSITION: range(5)})
    ordered = order.in_order(ratings, order_seed=0)
    assert ordered[SECOND].tolist() == [0, 0, 1, 2, 3]
    assert ordered[ITEM].tolist()[2:] == [7, 2, 3]


@settings(max_examples=10)
@given(RATED)
def test_the_hash_of_an_order_sees_order_and_nothing_else(rows):
    ordered = order.in_order(ratings_of(rows), order_seed=0)
    assert order.order_hash(ordered) == order.order_hash(ordered.assign(timestamp=1))
    if len(rows) > 1:
        assert order.order_hash(ordered) != order.order_hash(ordered.iloc[::-1])


def test_seconds_are_counted_anew_where_rows_have_gone():
    ordered = order.in_order(ratings_of([(1, 1, 0), (1, 2, 5), (1, 3, 5), (1, 4, 9)]), order_seed=0)
    kept = order.count_seconds(ordered[ordered[TIMESTAMP] != 5])
    assert kept[SECOND].tolist() == [0, 1]

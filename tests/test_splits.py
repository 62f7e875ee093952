"""The split, the cases, and planted leaks that the assertions must catch."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, strategies as st

from dualrec_utils.core import files, splits
from dualrec_utils.core.config import CASE, HISTORY, ITEM, SECOND, SPLIT, USER, processed_dir
from dualrec_utils.core.errors import StudyError

SHARES = {"train_share": 0.7, "validation_share": 0.15}


def sequences(lengths):
    """Users 1, 2, ... who rate items 100 * user, 100 * user + 1, ... in this order, a second each."""
    rows = [(user, 100 * user + i, i) for user, n in lengths.items() for i in range(n)]
    return pd.DataFrame(rows, columns=[USER, ITEM, SECOND])


def tied(seconds):
    """As :func:`sequences`, from the second of each movie of each user."""
    frame = sequences({user: len(times) for user, times in seconds.items()})
    return frame.assign(**{SECOND: [second for times in seconds.values() for second in times]})


def sides(**parts):
    rows = [(user, part) for part, users in parts.items() for user in users]
    return pd.DataFrame(rows, columns=[USER, SPLIT]).sort_values(USER, ignore_index=True)


def test_the_exact_users_of_each_part():
    # NumPy's default generator shuffles 1 ... 10 under seed 3 to 10 7 1 3 2 5 | 8 6 | 4 9.
    frame = splits.split_users(np.arange(10, 0, -1), seed=3, train_share=0.6, validation_share=0.2)
    parts = frame.groupby(SPLIT)[USER].agg(list).to_dict()
    assert parts == {"train": [1, 2, 3, 5, 7, 10], "validation": [6, 8], "test": [4, 9]}
    assert frame[USER].is_monotonic_increasing


def test_the_split_ignores_how_often_and_in_what_order_users_come():
    users = np.array([5, 3, 3, 9, 1, 7, 2, 8])
    one = splits.split_users(users, seed=1, **SHARES)
    two = splits.split_users(np.sort(np.unique(users)), seed=1, **SHARES)
    pd.testing.assert_frame_equal(one, two)
    assert not one.equals(splits.split_users(users, seed=2, **SHARES))


@given(n=st.integers(7, 300), seed=st.integers(0, 2**32 - 1))
def test_every_user_stands_in_exactly_one_part(n, seed):
    frame = splits.split_users(np.arange(n), seed=seed, **SHARES)
    assert frame[USER].tolist() == list(range(n))
    sizes = frame[SPLIT].value_counts()
    assert sizes["train"] == round(n * 0.7)
    assert sizes["validation"] == round(n * 0.15)


def test_too_few_users_are_refused_with_the_sizes():
    with pytest.raises(StudyError, match=r"3 users are too few for a 70%/15% split.*\(2, 0, 1\)"):
        splits.split_users(np.array([1, 2, 3]), seed=0, **SHARES)


def test_cases_of_next_item_by_hand():
    cases, targets = splits.make_cases(
        sequences({1: 4, 2: 4, 3: 4}), sides(train=[1], validation=[3], test=[2]),
        protocol="next_item", cases_per_user=2,
    )  # fmt: skip
    assert cases[CASE].tolist() == ["u00002_p0002", "u00002_p0003", "u00003_p0002", "u00003_p0003"]
    assert cases[SPLIT].tolist() == ["test", "test", "validation", "validation"]
    assert [list(history) for history in cases[HISTORY]] == [
        [200, 201], [200, 201, 202], [300, 301], [300, 301, 302]
    ]  # fmt: skip
    assert targets[ITEM].tolist() == [202, 203, 302, 303]
    assert HISTORY not in targets and ITEM not in cases


def test_a_second_gives_one_case_whose_history_is_older():
    # User 2 has the seconds 0 0 1 2 2 2: the first is never asked for; user 3 has one second and no case.
    interactions, users = tied({2: [0, 0, 1, 2, 2, 2], 3: [0] * 6}), sides(test=[2, 3])
    cases, targets = splits.make_cases(interactions, users, protocol="next_item", cases_per_user=8)
    assert cases[CASE].tolist() == ["u00002_p0002", "u00002_p0003"]
    assert [list(history) for history in cases[HISTORY]] == [[200, 201], [200, 201, 202]]
    assert targets[ITEM].tolist() == [202, 203]
    splits.check_cases(cases, targets, interactions, users, within_second=False)
    last, _ = splits.make_cases(interactions, users, protocol="next_item", cases_per_user=1)
    assert last[CASE].tolist() == ["u00002_p0003"]


@given(st.lists(st.integers(0, 3), min_size=6, max_size=20).map(sorted), st.integers(1, 5))
def test_there_are_as_many_cases_as_later_seconds_allow(seconds, most):
    interactions, users = tied({2: seconds}), sides(test=[2])
    cases, _ = splits.make_cases(interactions, users, protocol="next_item", cases_per_user=most)
    assert len(cases) == min(most, len(set(seconds)) - 1)


def test_a_history_with_a_movie_of_its_targets_second_is_caught():
    interactions, users = tied({2: [0, 0, 1, 2, 2, 2]}), sides(test=[2])
    cases, targets = splits.cut(interactions, users, starts=lambda seconds: [4])
    splits.check_cases(cases, targets, interactions, users, within_second=True)
    with pytest.raises(StudyError, match="case u00002_p0004: its history holds an item of its target's"):
        splits.check_cases(cases, targets, interactions, users, within_second=False)


def test_cases_of_window_of_five_by_hand():
    cases, targets = splits.make_cases(
        sequences({2: 7}), sides(test=[2]), protocol="window_of_five", cases_per_user=3
    )
    assert list(cases[HISTORY].iloc[0]) == [200, 201]
    assert targets[ITEM].tolist() == [202, 203, 204, 205, 206]
    assert targets["target_order"].tolist() == [0, 1, 2, 3, 4]


def test_an_unknown_protocol_is_refused():
    with pytest.raises(StudyError, match="unknown protocol 'next_itme'; known:"):
        splits.make_cases(sequences({2: 7}), sides(test=[2]), protocol="next_itme", cases_per_user=1)


@pytest.fixture
def honest():
    interactions, users = sequences({1: 9, 2: 9, 3: 9}), sides(train=[1], validation=[2], test=[3])
    cases, targets = splits.make_cases(interactions, users, protocol="next_item", cases_per_user=2)
    return {"cases": cases, "targets": targets, "interactions": interactions, "splits": users} | {
        "within_second": False
    }


def test_honest_cases_pass(honest):
    splits.check_cases(**honest)


def test_a_test_user_among_the_training_users_is_caught(honest):
    with pytest.raises(StudyError, match="leak: user 3 is 'test', not 'train'"):
        splits.check_apart([1, 3], honest["splits"])


def test_a_user_outside_the_split_is_caught(honest):
    with pytest.raises(StudyError, match="leak: user 99 is None"):
        splits.check_apart([99], honest["splits"])


def test_a_user_in_two_parts_is_caught(honest):
    both = pd.concat([honest["splits"], sides(train=[3])])
    with pytest.raises(StudyError, match="user 3 stands in two parts"):
        splits.check_apart([1], both)


def test_a_case_of_a_training_user_is_caught(honest):
    cases = honest["cases"].assign(**{USER: 1})
    with pytest.raises(StudyError, match="leak: user 1 is 'train', not 'validation'"):
        splits.check_cases(**honest | {"cases": cases})


def with_first_history(cases, change):
    """The cases, the first one's history changed."""
    first, *rest = cases[HISTORY]
    return cases.assign(**{HISTORY: [change(first), *rest]})


def test_a_history_that_skips_a_movie_is_caught(honest):
    cases = with_first_history(honest["cases"], lambda history: np.delete(history, 2))
    with pytest.raises(StudyError, match="case u00002_p0007: history and target are not consecutive"):
        splits.check_cases(**honest | {"cases": cases})


def test_a_history_that_holds_the_movie_after_it_is_caught(honest):
    cases = with_first_history(honest["cases"], lambda history: np.append(history, 207))
    with pytest.raises(StudyError, match="case u00002_p0007"):
        splits.check_cases(**honest | {"cases": cases})


def test_a_target_that_stands_in_its_own_history_is_caught(honest):
    # The order is kept, so only the check for the target itself can see this one.
    interactions = honest["interactions"].copy()
    interactions.loc[(interactions[USER] == 3) & (interactions[ITEM] == 308), ITEM] = 300
    cases, targets = splits.make_cases(
        interactions, honest["splits"], protocol="next_item", cases_per_user=1
    )
    leaky = {"cases": cases, "targets": targets, "interactions": interactions}
    with pytest.raises(StudyError, match="case u00003_p0008: a target stands in its own history"):
        splits.check_cases(**honest | leaky)


def test_histories_are_those_of_the_part_asked_for(tiny):
    users = splits.load_splits("ml-100k")
    for part in ("train", "validation"):
        histories = splits.load_histories("ml-100k", part)
        assert list(histories) == users.loc[users[SPLIT] == part, USER].tolist()
        assert all(len(items) == len(set(items)) for items in histories.values())


def test_earlier_histories_end_before_the_second_of_the_last_five(root):
    users = sides(train=[1, 2, 3], validation=[4], test=[5])
    rows = {1: [0, 1, 2, 3, 3, 4, 5, 6], 2: [0] * 7, 3: [0, 0, 1, 2, 3, 4, 5], 4: range(7), 5: range(7)}
    files.write_parquet(tied(rows), processed_dir("ml-100k") / "interactions.parquet")
    files.write_parquet(users, processed_dir("ml-100k") / "splits.parquet")
    earlier = splits.load_earlier("ml-100k", "train")
    # The fifth last movie of user 1 is the first of two of its second, of user 3 a second of its own.
    assert {user: list(items) for user, items in earlier.items()} == {1: [100, 101, 102], 3: [300, 301]}
    # A cut within a second: the movie before the fifth last shares its second and goes.
    files.write_parquet(
        tied(rows | {1: [0, 1, 2, 2, 3, 4, 5, 6]}), processed_dir("ml-100k") / "interactions.parquet"
    )
    assert list(splits.load_earlier("ml-100k", "train")[1]) == [100, 101]
    with pytest.raises(StudyError, match="histories of split 'test' are not for models"):
        splits.load_earlier("ml-100k", "test")


def test_histories_of_test_users_are_refused(tiny):
    with pytest.raises(StudyError, match="histories of split 'test' are not for models"):
        splits.load_histories("ml-100k", "test")


def test_loading_histories_notices_a_leak_planted_on_disk(tiny):
    path = processed_dir("ml-100k") / "splits.parquet"
    users = pd.read_parquet(path)
    tester = users.loc[users[SPLIT] == "test", USER].iloc[0]
    planted = pd.concat([users, pd.DataFrame({USER: [tester], SPLIT: ["train"]})])
    files.write_parquet(planted, path)
    with pytest.raises(StudyError, match=f"user {tester} stands in two parts"):
        splits.load_histories("ml-100k", "train")

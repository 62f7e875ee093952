"""Tests of studies.online: what is asked, when it may be learnt, and what comes out, worked by hand."""

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st
from toy_catalog import catalog_of

from dualrec_utils.studies.online import prequential, ways

INTERVALS = {"seed": 0, "n_bootstrap": 50}


def interactions(rows):
    """Rows (user, item, timestamp), as stage `data` writes them."""
    frame = pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"])
    frame["second"] = frame.groupby("user_id")["timestamp"].transform(
        lambda times: times.rank(method="dense") - 1
    )
    return frame.astype({"second": int})


ROWS = [(1, 10, 5), (1, 11, 7), (1, 12, 7), (1, 13, 9), (2, 10, 1), (2, 14, 8), (3, 10, 2), (3, 11, 6)]
SPLITS = pd.DataFrame({"user_id": [1, 2, 3], "split": ["test", "test", "train"]})


def test_the_stream_is_in_order_of_time_and_histories_end_before_the_second():
    events = prequential.stream(interactions(ROWS), SPLITS, n_known=1)
    assert events["item_id"].tolist() == [11, 12, 14, 13]
    assert [list(history) for history in events["history"]] == [[10], [10], [10], [10, 11, 12]]
    assert events["n_known"].tolist() == [1, 1, 1, 1]
    assert set(events["user_id"]) == {1, 2}


def test_an_event_without_a_time_stays_behind_the_one_before_it():
    # Users 1 and 3 lack some times, user 2 lacks all of them: it acts when the data begin.
    rows = [(1, 10, None), (1, 11, 7), (1, 12, None), (2, 13, None), (2, 14, None), (3, 10, 5), (3, 11, 6)]
    frame = pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"]).astype({"timestamp": "Int64"})
    frame["second"] = frame.groupby("user_id").cumcount()
    parts = pd.DataFrame({"user_id": [1, 2, 3], "split": "test"})
    events = prequential.stream(frame, parts, n_known=1)
    assert events["item_id"].tolist() == [14, 11, 11, 12]
    assert events["timestamp"].tolist() == [5, 6, 7, 7]
    assert [list(history) for history in events["history"]] == [[13], [10], [10], [10, 11]]
    assert len(list(prequential.blocks(events, size=3))) == 1


def test_the_model_sees_no_target_and_learns_a_block_after_it_was_asked():
    events = prequential.stream(interactions(ROWS), SPLITS, n_known=1)
    catalog, seen = catalog_of(range(10, 16)), []

    def score(cases):
        assert "item_id" not in cases
        seen.append(("score", list(cases["case_id"])))
        # The best unseen one is item 11, always.
        return np.tile([0.0, 5.0, 0.0, 0.0, 0.0, 0.0], (len(cases), 1))

    def learn(block):
        seen.append(("learn", list(block["case_id"])))

    scored = prequential.run(events, catalog, score, learn=learn, every=2, seed=0, label="toy")
    assert [kind for kind, _ in seen] == ["score", "learn"] * 2
    assert seen[0][1] == seen[1][1] == list(events["case_id"][:2])
    # Six items: every list of ten holds all that is unseen.
    assert scored["hit_rate@10"].tolist() == [1.0] * 4
    assert scored["ndcg@10"].iloc[0] == 1.0


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 3), st.integers(0, 6)), min_size=1, max_size=30), st.integers(1, 8)
)
def test_blocks_hold_everything_once_and_cut_no_second(pairs, size):
    events = pd.DataFrame(sorted(pairs, key=lambda pair: pair[::-1]), columns=["user_id", "timestamp"])
    parts = list(prequential.blocks(events, size=size))
    assert pd.concat(parts).index.tolist() == events.index.tolist()
    keys = [set(zip(part["user_id"], part["timestamp"], strict=True)) for part in parts]
    assert all(not one & other for one, other in itertools.pairwise(keys))


def test_popularity_counts_what_the_stream_brought_only_afterwards():
    catalog = catalog_of([10, 11, 12])
    score, learn = ways.popularity(catalog, [np.array([10, 11]), np.array([10])])
    cases = pd.DataFrame({"case_id": ["a"], "history": [[10]]})
    assert score(cases)[0].tolist() == [2, 1, 0]
    learn(pd.DataFrame({"item_id": [12, 12, 12]}))
    assert score(cases)[0].tolist() == [2, 1, 3]


def test_what_each_user_has_done_by_now():
    events = prequential.stream(interactions(ROWS), SPLITS, n_known=1)
    assert ways.seen_so_far(events.iloc[:3]) == {1: [10, 11, 12], 2: [10, 14]}


def test_differences_are_paired_and_zero_against_itself():
    frame = pd.DataFrame({"case_id": list("abcd"), "user_id": [1, 1, 2, 2], "hit_rate@10": [1.0, 0, 0, 0]})
    frame = frame.assign(**{"ndcg@10": 0.5})
    better = frame.assign(**{"hit_rate@10": 1.0})
    table = prequential.overall({"one": frame, "two": better}, against="one", **INTERVALS)
    table = table[table["metric"] == "hit_rate@10"].set_index("way")
    assert table.loc["one", "difference"] == 0
    assert table.loc["two", "difference"] == pytest.approx(0.75)  # users: 0.5 and 1.0
    assert table.loc["one", "value"] == pytest.approx(0.25)
    rows = prequential.over_time({"one": frame}, metric="hit_rate@10", **INTERVALS)
    assert rows["tenth"].tolist() == [1, 3, 6, 8] and rows["n_cases"].tolist() == [1] * 4

"""Tests of audit.windows: positions, weights, rungs and what is said of them."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, strategies as st

from dualrec_utils.audit import steps, windows
from dualrec_utils.core import evaluation
from dualrec_utils.core.errors import StudyError

STATS = {"seed": 3, "n_bootstrap": 300, "confidence": 0.95}
ITEMS = np.array([10, 20, 30, 40, 50])


def interactions_of(histories: dict[int, list[int]]) -> pd.DataFrame:
    """Every two movies share a second, which matters to nobody here."""
    rows = [(user, item, at // 2) for user, items in histories.items() for at, item in enumerate(items)]
    return pd.DataFrame(rows, columns=["user_id", "item_id", "second"])


INTERACTIONS = interactions_of({1: [30, 10, 20], 2: [10, 20], 3: [50, 40]})
SPLITS = pd.DataFrame({"user_id": [1, 2, 3], "split": ["test", "train", "test"]})


def test_every_movie_but_the_first_is_a_case_of_the_users_asked_for():
    cases, targets = windows.positions(INTERACTIONS, SPLITS)
    assert cases["user_id"].tolist() == [1, 1, 3]
    assert [list(history) for history in cases["history"]] == [[30], [30, 10], [50]]
    assert cases["n_known"].tolist() == [1, 2, 1] and cases["is_last"].tolist() == [False, True, True]
    assert targets[cases["case_id"]].tolist() == [10, 20, 40] and "item_id" not in cases
    with pytest.raises(StudyError, match="stands in two parts"):
        windows.positions(INTERACTIONS, pd.concat([SPLITS, SPLITS.replace("test", "train")]))


@pytest.mark.parametrize("at_once", [1, 2, 20_000])
def test_rated_movies_are_left_out_or_kept_and_parts_change_nothing(at_once, monkeypatch):
    monkeypatch.setattr(windows, "_AT_ONCE", at_once)
    cases, targets = windows.positions(INTERACTIONS, SPLITS)
    # The greater the id, the higher: of the targets 10, 20 and 40, those above are kept or rated.
    left_out, kept = windows.ranked(
        cases, targets, ITEMS, score=lambda histories: np.tile(np.arange(5.0), (len(histories), 1)), seed=0
    )
    assert kept["first_hit"].tolist() == [5, 4, 2] and left_out["first_hit"].tolist() == [4, 3, 1]
    assert left_out["n_known"].tolist() == [1, 2, 1] and kept["is_last"].tolist() == [False, True, True]


def hits_of(ranks: dict[int, list[float]]) -> pd.DataFrame:
    """A per-case frame from user -> ranks of their positions, oldest first."""
    rows = [
        (f"u{user}_p{place}", user, rank, place, place == len(user_ranks))
        for user, user_ranks in ranks.items()
        for place, rank in enumerate(user_ranks, start=1)
    ]
    frame = pd.DataFrame(rows, columns=["case_id", "user_id", "rank", "n_known", "is_last"])
    return steps.per_case(frame, frame["rank"]).assign(n_known=frame["n_known"], is_last=frame["is_last"])


MISS = np.inf
FRAME = hits_of({1: [1, MISS, MISS, MISS], 2: [1, 1]})


def test_users_weigh_alike_or_by_their_cases():
    by_case = windows.pooled(FRAME, **STATS).loc["hit_rate@1"]
    by_user = evaluation.summarise(FRAME, columns=steps.METRICS, **STATS).loc["hit_rate@1"]
    assert by_case["value"] == pytest.approx(3 / 6) and by_user["value"] == pytest.approx((1 / 4 + 1) / 2)
    # Of two users, some resamples hold one of them alone.
    for row in (by_case, by_user):
        assert (row["low"], row["high"]) == (1 / 4, 1.0) and (row["n_users"], row["n_cases"]) == (2, 6)


@given(st.lists(st.tuples(*[st.sampled_from([1, 3, 9])] * 3), min_size=2, max_size=6))
def test_where_users_have_as_many_cases_it_is_the_study_s_own_average(ranks):
    frame = hits_of(dict(enumerate(ranks)))
    ours = windows.pooled(frame, **STATS)
    study = evaluation.summarise(frame, columns=steps.METRICS, **STATS)
    columns = ["value", "low", "high", "n_users", "n_cases"]
    assert ours[columns].to_numpy() == pytest.approx(study.loc[ours.index, columns].to_numpy(float))


def test_the_rungs_by_hand():
    kept = hits_of({1: [1, 1, 1, MISS], 2: [MISS, 1]})
    of_five = {"any": hits_of({1: [1], 2: [1]}), "three": hits_of({1: [MISS], 2: [1]})}
    table = windows.rungs(kept, of_five, window=2, **STATS)
    first = table[table["metric"] == "hit_rate@1"]
    # After two movies or more: three positions of user 1, one of user 2.
    assert first["value"].tolist() == pytest.approx([3 / 4, (2 / 3 + 1) / 2, 1 / 2, 1 / 2, 1, 1 / 2])
    assert first["n_cases"].tolist() == [4, 4, 2, 2, 2, 2] and set(first["n_users"]) == {2}
    assert first["rung"].iloc[0] == "every window of 2, as Figure 3"
    assert first["protocol"].tolist() == ["one next movie"] * 4 + ["any of five"] * 2
    # A user with short histories alone joins on the rung that takes these in.
    late = windows.rungs(kept, of_five, window=3, **STATS)
    assert late.loc[late["metric"] == "hit_rate@1", "n_users"].tolist() == [1, 1, 1, 2, 2, 2]


def test_values_by_known_movies():
    table = windows.by_known(FRAME, edges=[1, 3], **STATS)
    assert table["movies known"].tolist() == ["1 to 1", "2 to 3", "4 or more"]
    assert table["value"].tolist() == pytest.approx([1, 1 / 2, 0])
    assert table["n_users"].tolist() == [2, 2, 1] and table["n_cases"].tolist() == [2, 3, 1]


def test_the_sentence_names_both_ends_and_the_largest_change():
    values = [0.07, 0.06, 0.10, 0.32, 0.22]
    table = pd.DataFrame({"rung": list("abcde"), "metric": "hit_rate@5", "value": values})
    table = table.assign(low=table["value"] - 0.01, high=table["value"] + 0.01)
    theirs = {"top5_accuracy": 0.142, "hit_rate@5": 0.2214}
    text = windows.sentence(table, theirs=theirs)
    assert "HR@5 0.2214 with the LSTM's top-5 accuracy on windows, 0.1420" in text
    assert "0.070 [0.060, 0.080] by the count on windows and 0.220 [0.210, 0.230] by that" in text
    assert text.endswith("between them: d (+22.0 points).")
    down = windows.sentence(table.iloc[[0, 3, 4]].assign(value=[0.2, 0.3, 0.1]), theirs=theirs)
    assert down.endswith("between them: e (-20.0 points).")

"""Tests of audit.steps and audit.claims: intervals, differences, sentences."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, strategies as st

from dualrec_utils.audit import claims, steps
from dualrec_utils.core import evaluation
from dualrec_utils.core.errors import StudyError

STATS = {"seed": 3, "n_bootstrap": 300, "confidence": 0.95}


def frame_of(hits: dict[int, list[float]]) -> pd.DataFrame:
    """A per-case frame from user -> ranks of the first hits of their cases."""
    rows = [
        (f"u{user}_p{place}", user, rank)
        for user, user_ranks in hits.items()
        for place, rank in enumerate(user_ranks)
    ]
    cases = pd.DataFrame(rows, columns=["case_id", "user_id", "rank"])
    return steps.per_case(cases, cases["rank"])


def test_per_case_by_hand():
    frame = frame_of({1: [1.0, 2.0], 2: [np.inf, 6.0]})
    assert frame["hit_rate@1"].tolist() == [1, 0, 0, 0]
    assert frame["hit_rate@5"].tolist() == [1, 1, 0, 0]
    assert frame["ndcg@5"].tolist() == pytest.approx([1, 1 / np.log2(3), 0, 0])


ranks = st.lists(st.sampled_from([1.0, 2.0, 7.0, np.inf]), min_size=1, max_size=3)


@given(st.dictionaries(st.integers(1, 9), st.tuples(ranks, st.integers(0, 99)), min_size=2, max_size=6))
def test_without_missing_users_the_difference_is_that_of_evaluation(users):
    one = frame_of({user: user_ranks for user, (user_ranks, _) in users.items()})
    shuffled = np.random.default_rng(1).permutation(one["first_hit"])
    other = steps.per_case(one, shuffled)
    gain = steps.difference(one, other, **STATS)
    for metric in steps.METRICS:
        paired = evaluation.paired_difference(one, other, metric=metric, **STATS)
        row = gain.loc[metric]
        assert row["difference"] == pytest.approx(paired["difference"], abs=1e-12)
        assert [row["low"], row["high"]] == pytest.approx([paired["low"], paired["high"]], abs=1e-12)
        assert row["n_users"] == paired["n_users"]


def test_a_side_without_some_users_is_the_mean_of_those_it_has():
    whole = frame_of({1: [1.0], 2: [np.inf], 3: [np.inf], 4: [1.0]})
    some = whole[whole["user_id"].isin([1, 2, 4])]
    row = steps.difference(some, whole, **STATS).loc["hit_rate@1"]
    assert row["difference"] == pytest.approx(2 / 3 - 1 / 2)
    assert row["low"] <= row["difference"] <= row["high"] and row["n_users"] == 4


def test_protocols_with_other_cases_of_the_same_users_are_paired():
    many = frame_of({1: [1.0, np.inf], 2: [1.0, 1.0]})
    one = frame_of({1: [1.0], 2: [np.inf]})
    assert steps.difference(many, one, **STATS).loc["hit_rate@1", "difference"] == pytest.approx(0.25)


def test_the_first_setting_is_what_the_others_are_held_against():
    good, bad = frame_of({1: [1.0], 2: [1.0]}), frame_of({1: [np.inf], 2: [1.0]})
    measured = {
        steps.Key("seen", "lstm", "left out", "next_item"): good,
        steps.Key("seen", "lstm", "kept", "next_item"): bad,
        steps.Key("seen", "ease", "left out", "next_item"): bad,
        steps.Key("seen", "ease", "kept", "next_item"): good,
    }
    gains = steps.differences(measured, **STATS).set_index(["system", "metric"])
    assert len(gains) == 2 * len(steps.METRICS)
    assert gains.loc[("lstm", "hit_rate@1"), "difference"] == -0.5
    assert gains.loc[("ease", "hit_rate@1"), ["difference", "against"]].tolist() == [0.5, "left out"]
    values = steps.summarise(measured, **STATS)
    flat = steps.flatten(values, gains.reset_index())
    assert flat["audit/seen/next_item/lstm/left_out/hit_rate@1"] == 1
    assert flat["audit/seen/difference/next_item/lstm/kept/hit_rate@1"] == -0.5
    assert flat["audit/seen/next_item/ease/kept/n_users"] == 2
    lines = steps.in_words(measured, "seen", metric="hit_rate@1", **STATS).splitlines()
    assert lines[0].startswith(
        "- LSTM alone (Stage 1) (next_item), kept minus left out, HR@1: -50.0 points ["
    )
    assert "higher" not in lines[0] and len(lines) == 2
    assert "points" not in steps.in_words(measured, "candidates", **STATS)
    beside = steps.side_by_side(measured, metric="hit_rate@1", **STATS)
    assert beside.index.tolist() == ["lstm", "ease"] and beside.columns.tolist() == ["left out", "kept"]
    assert beside.loc["ease", "kept"] == "1.000 [1.000, 1.000]"


def test_every_step_is_put_into_words_by_the_metric_that_tells_most_of_it():
    first, second = frame_of({1: [1.0], 2: [1.0]}), frame_of({1: [2.0], 2: [2.0]})
    measured = {
        steps.Key("seen", "lstm", "left out", "next_item"): first,
        steps.Key("seen", "lstm", "kept", "next_item"): second,
        steps.Key("reference", "lstm", "LSTM's title", "next_item"): second,
        steps.Key("reference", "lstm", "and the answers", "next_item"): first,
    }
    seen, reference = steps.in_words(measured, **STATS).splitlines()
    assert "HR@5: +0.0 points" in seen and "HR@1: +100.0 points" in reference
    assert steps.in_words(measured, "reference", **STATS) == reference


def test_protocols_are_compared_with_each_other_in_the_step_about_them_alone():
    frame = frame_of({1: [1.0], 2: [np.inf]})
    protocols = ("next_item", "window_of_five")
    measured = {steps.Key("ground_truth", "lstm", p, p): frame for p in protocols}
    measured |= {steps.Key("seen", "lstm", s, p): frame for p in protocols for s in ("left out", "kept")}
    gains = steps.differences(measured, **STATS)
    counted = gains[gains["metric"] == "ndcg@5"].groupby("step")["against"].agg(list).to_dict()
    assert counted == {"ground_truth": ["next_item"], "seen": ["left out", "left out"]}


def test_a_step_without_words_is_refused():
    with pytest.raises(StudyError, match="no step 'sean'"):
        steps.summarise({steps.Key("sean", "a", "b", "next_item"): frame_of({1: [1.0]})}, **STATS)


def test_a_setting_without_any_case_is_one_clear_error():
    key = steps.Key("seen", "lstm", "kept", "next_item")
    with pytest.raises(StudyError, match=r"step seen, lstm, setting 'kept' under next_item has no case"):
        steps.summarise({key: frame_of({1: [1.0]}).iloc[:0]}, **STATS)


def test_draws_are_averaged_case_by_case():
    one, two = frame_of({1: [1.0], 2: [1.0]}), frame_of({1: [np.inf], 2: [1.0]})
    mean = steps.mean_over_draws([one, two])
    assert mean.set_index("user_id")["hit_rate@1"].to_dict() == {1: 0.5, 2: 1.0}


def test_share_first_by_hand():
    frame = frame_of({1: [1.0], 2: [3.0], 3: [1.0], 4: [np.inf]})
    share = steps.share_first(frame, **STATS)
    assert share["value"] == pytest.approx(2 / 3) and 0 <= share["low"] <= share["high"] <= 1
    all_first = frame_of({1: [1.0], 2: [1.0], 3: [1.0], 4: [np.inf]})
    gain = steps.share_first(all_first, frame, **STATS)
    assert gain["value"] == pytest.approx(1 / 3) and gain["high"] <= 1
    assert np.isnan(steps.share_first(frame_of({1: [np.inf]}), **STATS)["value"])
    nobody = steps.share_first(frame.iloc[:0], **STATS)
    assert np.isnan(nobody["value"]) and nobody["n_users"] == 0


def test_the_papers_claims_carry_this_studys_answers():
    row = {"answer": "unclear", "difference": "+1.0 points", "compared": "a minus b", "settled": "9 users"}
    answers = {"1": row, "2/movielm": row, "2/qwen": row | {"answer": "yes", "settled": ""}}
    answers["5/movielm"] = {"answer": "not run", "difference": "", "compared": "", "settled": ""}
    table = claims.conclusions(answers, *SHARES_V, argument="The argument.")
    assert table["claim"].tolist() == ["i", "i", "i", "iv", "v"]
    first, second, argument, fourth, _ = table["sentence"]
    assert "movielm: unclear.**" in first and first.endswith("to settle it: 9 users.")
    assert "qwen: yes.**" in second and second.endswith("a minus b.") and argument == "The argument."
    assert fourth.endswith("movielm: not run.**")
    assert claims.flatten(*SHARES_V)["audit/share_first/leak"] == 0.2


def shares_of_lists():
    lists = ("without answers", "with answers", "short", "long", "alike", "varied")
    shares = {name: {"value": 0.5, "low": 0.4, "high": 0.6} for name in lists}
    shares["short"] = {"value": 0.57, "low": 0.5, "high": 0.6}
    gains = {
        "leak": {"value": 0.2, "low": 0.1, "high": 0.3},
        "length": {"value": 0.1, "low": -0.1, "high": 0.3},
        "diversity": {"value": -0.2, "low": -0.3, "high": -0.1},
    }
    return shares, gains


SHARES_V = shares_of_lists()


def test_the_sentence_of_the_fifth_claim_says_what_the_numbers_say():
    text = claims.sentence_v(*SHARES_V)
    assert "shown here, the ranking sees the answers;" in text
    assert "not shown here, lists are three titles long and lists lack diversity" in text
    assert "HR@1 is 50% [40, 60] of HR@5; cut to three titles, 57% [50, 60], and a cut" in text

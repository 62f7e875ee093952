"""Tests of audit.rules and audit.ladder: rules of hits, the leak, the rungs."""

import re

import numpy as np
import pandas as pd
import pytest
from toy_catalog import catalog_of
from toy_lists import directions, lists_of, order

from dualrec_utils.audit import ladder, released, rules
from dualrec_utils.core import predictions
from dualrec_utils.models.hybrids import rerank

CATALOG = catalog_of(
    [10, 20, 30, 40], titles=["Heat", "Die Hard", "Die Hard 2", "Babe"], years=[1995, 1988, 1990, 1995]
)
EMBEDDINGS = directions(
    {
        "Heat (1995)": 0,
        "Die Hard (1988)": 60,
        "Die Hard 2 (1990)": 90,
        "Babe (1995)": 180,
        "Hea (1995)": 20,
    }
)
CASES = pd.DataFrame(
    {"case_id": ["a", "b"], "user_id": [1, 2], "history": [np.array([40]), np.array([10])], "split": "test"}
)
TARGETS = pd.Series({"a": [30], "b": [40, 30]})
HINTS = pd.Series({"a": 10, "b": 20})


def listed(entries: dict[str, list]) -> pd.DataFrame:
    return lists_of(entries, names=CATALOG.names)


def test_a_title_like_the_target_hits_only_under_the_fuzzy_rule():
    lists = listed({"a": [10, 20], "b": ["Hea (1995)"]})
    fuzzy = rules.fuzzy_hits(lists, CASES, TARGETS, CATALOG, threshold=0.8)
    # Die Hard (1988) against Die Hard 2 (1990): 26 of 32 letters agree.
    assert fuzzy["first_hit"].tolist() == [2, np.inf]
    strict = rules.fuzzy_hits(lists, CASES, TARGETS, CATALOG, threshold=0.9)
    assert strict["first_hit"].tolist() == [np.inf, np.inf]
    wrong = rules.lookalikes(lists, TARGETS, CATALOG, threshold=0.8)
    assert wrong[["title", "target", "n"]].to_numpy().tolist() == [
        ["Die Hard (1988)", "Die Hard 2 (1990)", 1]
    ]


def test_a_list_of_movies_without_texts_is_compared_by_catalog_names():
    lists = listed({"a": [30]}).assign(text=None).astype(predictions.COLUMNS)
    assert rules.fuzzy_hits(lists, CASES, TARGETS, CATALOG, threshold=0.9)["first_hit"].tolist() == [
        1,
        np.inf,
    ]


def test_the_leak_moves_every_hit_to_the_head_and_the_lstm_s_title_alone_does_not():
    lists = listed({"a": [20, 40, 30], "b": [10, 20, 30]})
    hint_alone = rerank.by_similarity(lists, rerank.similarities(lists, HINTS, CATALOG, EMBEDDINGS))
    assert order(hint_alone, "a") == [20, 30, 40]
    likeness = rules.leaking_similarities(lists, HINTS, TARGETS, CATALOG, EMBEDDINGS)
    leaking = rerank.by_similarity(lists, likeness)
    assert order(leaking, "a")[0] == 30
    # The LSTM's own title has similarity 1 too and stood before the answer.
    assert order(leaking, "b")[:2] == [20, 30]
    # The best of several answers counts, not the first or the last one.
    assert likeness[lists["case_id"] == "b"].tolist() == pytest.approx([np.cos(np.deg2rad(60)), 1, 1])


def test_compaction_closes_the_gaps_of_unusable_titles():
    lists = listed({"a": ["Hea (1995)", 10, 10, 30]})
    closed = rules.compacted(lists)
    assert order(closed, "a") == [10, 30]
    assert closed["rank"].tolist() == [1, 2]
    assert len(lists) == 4


def test_the_first_target_alone():
    assert rules.first_target(TARGETS).to_dict() == {"a": [30], "b": [40]}


def rung(lists, **changes):
    settings = {"threshold": None, "reference": "hint", "seen": "left out"} | changes
    return ladder.rung(
        lists, CASES, TARGETS, CATALOG, hints=HINTS, embeddings=EMBEDDINGS, settings=settings
    )


def test_each_setting_of_a_rung_does_its_one_thing():
    lists = listed({"a": [40, 20, 30], "b": [10, "Hea (1995)"]})
    strict = rung(lists)
    # Movie 40 is seen in case a; towards Heat, 20 comes before the answer 30.
    assert strict["first_hit"].tolist() == [2, np.inf]
    assert rung(lists, reference="answers")["first_hit"].tolist() == [1, np.inf]
    assert rung(lists, threshold=0.8)["first_hit"].tolist() == [1, np.inf]
    far_first = listed({"a": [30, 40, 20], "b": [40]})
    kept = rung(far_first, seen="kept", reference="answers")
    assert kept["first_hit"].tolist() == [1, 1]


RELEASED = {"threshold": 0.8, "reference": "answers", "seen": "kept"}


def test_an_answer_without_a_readable_title_is_a_miss_and_nobody_is_left_out():
    alone = listed({"a": [30]})
    judged = rung(alone, **RELEASED)
    assert judged["case_id"].tolist() == ["a", "b"] and judged["first_hit"].tolist() == [1, np.inf]
    assert rung(alone.iloc[:0], **RELEASED)["first_hit"].tolist() == [np.inf, np.inf]


def test_a_title_outside_the_catalog_keeps_its_place_and_long_lists_are_not_cut():
    judged = rung(listed({"a": ["Hea (1995)", 10, 20, 30], "b": [10]}), reference="hint")
    # Towards Heat: Heat, Hea, Die Hard and, fourth, the answer Die Hard 2.
    assert judged["first_hit"].tolist() == [4, np.inf] and judged["hit_rate@5"].tolist() == [1, 0]


def test_the_answers_of_the_first_rung_in_words():
    lists = listed({"a": ["Hea (1995)", "Untitled", 10, 20]})
    text = ladder.answers_in_words(lists, CASES)
    assert "2 answers; 1 of them have no readable title" in text and "2.00 titles on average, 4 at" in text
    assert "Of all 4 titles, 2 are not in the catalog and 1 have no year" in text


def test_every_fact_about_the_released_code_names_file_and_lines():
    facts = released.facts()
    assert not facts["subject"].duplicated().any() and len(released.SOURCE.split()[-1]) == 40
    for place in facts["where"]:
        assert re.match(r"code/\w+\.py:\d+", place), place


def test_the_rungs_lead_from_the_released_setting_to_the_study_s():
    settings = dict(ladder.RELEASED)
    for name, change in ladder.RUNGS:
        assert set(change) <= set(settings), name
        assert not change or all(settings[key] != value for key, value in change.items()), name
        settings |= change
    assert settings == {
        "protocol": "next_item",
        "n_recent": 5,
        "length": "as asked for",
        "threshold": None,
        "reference": "hint",
        "seen": "left out",
    }


def test_both_ends_of_a_ladder_in_words_and_as_flat_keys():
    table = pd.DataFrame(
        [
            ("as released", "lstm", "hit_rate@1", 0.3, 0.2, 0.4),
            ("between", "lstm", "hit_rate@1", 0.2, 0.1, 0.3),
            ("last", "lstm", "hit_rate@1", 0.1, 0.0, 0.2),
            ("last", "lstm", "hit_rate@5", 0.5, 0.4, 0.6),
        ],
        columns=["rung", "system", "metric", "value", "low", "high"],
    )
    text = ladder.sentence(table, best=0.18472)
    assert (
        "0.300 as released and 0.100 on the last rung." in text and "0.1847" in text and "0.5" not in text
    )
    flat = ladder.flatten({"ladder": table})
    assert len(flat) == 12
    assert flat["audit/ladder/lstm/1/hit_rate@1/high"] == 0.3
    assert flat["audit/ladder/lstm/2/hit_rate@5"] == 0.5

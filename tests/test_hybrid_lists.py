"""Tests of models.hybrids.lists and models.hybrids.likeness."""

import numpy as np
import pandas as pd
import pytest
from toy_lists import lists_of

from dualrec_utils.core import config, evaluation, predictions
from dualrec_utils.core.catalog import load_catalog
from dualrec_utils.core.config import CASE, ITEM
from dualrec_utils.core.predictions import SEEN_KEPT, Scope, scopes
from dualrec_utils.models.hybrids import likeness, lists, rerank

NEXT = Scope("ml-100k", "toy", "next_item", "test")
NAMES = {10: "Heat (1995)", 20: "Fargo (1996)", 30: "Alien (1979)"}


def test_systems_come_from_the_stage_that_wrote_them_and_other_models_follow(tiny):
    for stage, names in (
        ("zero_shot_llm", ["a_zero_shot", "b_zero_shot", "a_zero_shot_no_hint", "lstm"]),
        ("lora_finetuning", ["a_lora", "a_lora_permuted", "b_lora", "b_lora_constrained"]),
    ):
        scope = NEXT.replace(stage=stage)
        for name in names:
            predictions.write(lists_of({}), name, scope)
    assert lists.stages_of_lists("ml-100k", "a") == {
        "a_zero_shot": "zero_shot_llm",
        "a_lora": "lora_finetuning",
        "a_lora_permuted": "lora_finetuning",
        "b_zero_shot": "zero_shot_llm",
        "b_lora": "lora_finetuning",
    }


def test_what_is_read_and_written_keeps_its_place(tiny):
    wanted = scopes("ml-100k", "toy", splits=("test",))
    for scope in wanted:
        case = predictions.load_cases(scope)[CASE].iloc[0]
        item = int(load_catalog("ml-100k").ids[0])
        for number, name in enumerate(predictions.with_seen_kept(["a", "b"])):
            made = lists_of({case: [item] * (number + 1)})
            predictions.write(made, name, scope.replace(stage=f"of_{name[0]}"))
    read = lists.read({"a": "of_a", "b": "of_b"}, wanted)
    names = ["a", "a" + SEEN_KEPT, "b", "b" + SEEN_KEPT]
    assert list(read) == [(scope, name) for scope in wanted for name in names]
    assert [len(frame) for frame in read.values()] == [1, 2, 3, 4] * 2
    predictions.write_all(
        {(scope, predictions.rename(name, "_x")): frame for (scope, name), frame in read.items()}
    )
    there = ["a_x", "a_x" + SEEN_KEPT, "b_x", "b_x" + SEEN_KEPT]
    assert predictions.systems(wanted[0]) == predictions.systems(wanted[1]) == there
    assert len(predictions.read("b_x" + SEEN_KEPT, NEXT)) == 4


def test_controls_are_made_of_one_system_headline_and_as_written():
    both = {(NEXT, name): lists_of({"a": [10, 20]}) for name in ("m", "m" + SEEN_KEPT, "other")}
    made = lists.controls(both, {NEXT: pd.Series({"a": 20})}, system="m", seed=1)
    endings = {name for _, name in made}
    assert endings == {n + k for n in ("m_lstm_first", "m_random_order") for k in ("", SEEN_KEPT)}
    first = made[NEXT, "m_lstm_first" + SEEN_KEPT].sort_values("rank")
    assert first[ITEM].tolist() == [20, 10]


@pytest.fixture
def moved():
    """Three cases: one whose order turns, one that stays, one that names a movie twice."""
    before = lists_of({"turns": [10, 20], "stays": [20, 10], "twice": [10, 10]})
    scores = pd.Series([0.1, 0.9, 0.9, 0.1, 0.1, 0.9], index=before.index)
    hints = pd.Series({"turns": 20, "stays": 30, "twice": 10, "without a list": 30})
    return before, rerank.by_similarity(before, scores), hints


def test_a_worked_example_turns_and_names_no_movie_twice(moved):
    before, after, hints = moved
    shown = lists.worked_example(before, after, hints, NAMES, seed=3, n_cases=2)
    assert shown["example"].tolist() == [1, 1] and set(shown["reference"]) == {"Fargo (1996)"}
    assert shown["title"].tolist() == ["Fargo (1996)", "Heat (1995)"]
    assert shown["before"].tolist() == [2, 1] and shown["after"].tolist() == [1, 2]
    assert shown["similarity"].tolist() == [0.9, 0.1]


def test_movement_by_hand(moved):
    before, after, hints = moved
    table = lists.movement({(NEXT, "m"): before}, {(NEXT, "m"): after}, {NEXT: hints})
    row = table.iloc[0]
    # Four cases, one without a list; `turns` and `twice` name the LSTM's movie.
    assert row["mean list length"] == 6 / 4
    assert row["first title changes"] == 1 / 4
    assert row["list names the LSTM's title"] == 2 / 4
    assert row["LSTM's title first, before"] == 1 / 4
    assert row["LSTM's title first, after"] == 2 / 4
    flat = evaluation.flat_keys(table.set_index(["protocol", "system"]))
    assert len(flat) == 5 and flat["next_item/m/first title changes"] == 0.25


def test_every_title_knows_its_cosine_and_whether_it_is_right(tiny):
    case = predictions.load_cases(NEXT).iloc[0]
    target = evaluation.load_targets("ml-100k", "next_item")[case[CASE]][0]
    hint = next(int(item) for item in load_catalog("ml-100k").ids if item != target)
    before = lists_of({case[CASE]: [hint, "no movie", target]})
    after = rerank.by_similarity(before, pd.Series([1.0, -0.5, 0.5], index=before.index))
    key = (NEXT, "m")
    titles = likeness.judged_titles(
        {key: before, (NEXT, "other"): before},
        {key: after},
        {NEXT: pd.Series({case[CASE]: hint})},
        system="m",
    )
    assert titles["cosine"].tolist() == [1.0, -0.5, 0.5]
    assert titles["is_hint"].tolist() == [True, False, False]
    assert titles["right"].tolist() == [0, 0, 1]
    assert set(titles["protocol"]) == {"next_item"} and set(titles[config.USER]) == {case[config.USER]}


def titles_of(rows: list[tuple]) -> pd.DataFrame:
    columns = [CASE, config.USER, "rank", "cosine", "is_hint", "right"]
    return pd.DataFrame(rows, columns=columns).assign(protocol="next_item")


def test_a_right_title_above_a_wrong_one_is_preferred_and_a_tie_is_chance():
    titles = titles_of(
        [
            # The right title is less like the reference, and written first.
            ("a", 1, 1, 0.1, False, 1.0),
            ("a", 1, 2, 0.2, False, 0.0),
            # Equal cosines; written second.
            ("b", 1, 1, 0.3, False, 0.0),
            ("b", 1, 2, 0.3, False, 1.0),
            # Another user: the LSTM's own title is left aside, so the right one is compared with one.
            ("c", 2, 1, 1.0, True, 0.0),
            ("c", 2, 2, 0.9, False, 1.0),
            ("c", 2, 3, 0.4, False, 0.0),
            # No right title: no pair.
            ("d", 2, 1, 0.9, False, 0.0),
        ]
    )
    table = likeness.right_preferred(titles, seed=1, n_bootstrap=100)
    table = table[table["protocol"] == "next_item"].set_index("order by")
    assert table.loc[likeness.BY_COSINE, "value"] == (0.25 + 1) / 2
    assert table.loc[likeness.AS_WRITTEN, "value"] == (0.5 + 1) / 2
    assert table["n_pairs"].tolist() == [3, 3] and table["n_users"].tolist() == [2, 2]
    flat = likeness.flat_preferred(table.reset_index())
    assert flat["next_item/right_preferred/cosine"] == 0.625 and len(flat) == 6


def test_bins_are_equally_filled_and_an_empty_one_has_no_share():
    rows = [(f"c{n}", n % 4, 1, n / 16, False, float(n >= 12)) for n in range(16)]
    table = likeness.right_by_cosine(titles_of(rows), seed=1, n_bootstrap=100)
    assert table["n"].tolist() == [4, 4, 4, 4, 0]
    assert table["share"].tolist()[:4] == [0, 0, 0, 1] and np.isnan(table["share"].iloc[4])
    assert table["bin"].iloc[4] == "LSTM's own"


def test_without_a_right_title_there_is_no_pair_and_no_value():
    titles = pd.DataFrame(
        {
            "protocol": ["next_item", "next_item", "window_of_five"],
            "case_id": ["a", "a", "b"],
            "user_id": [1, 1, 2],
            "rank": [1, 2, 1],
            likeness.COSINE: [0.1, 0.2, 0.3],
            likeness.RIGHT: [0, 1, 0],
            likeness.IS_HINT: False,
        }
    )
    table = likeness.right_preferred(titles, seed=1, n_bootstrap=100).set_index(["protocol", "order by"])
    assert table.loc["next_item", "value"].tolist() == [1.0, 0.0]
    assert table.loc["window_of_five", "value"].isna().all()
    assert table.loc["window_of_five", "n_pairs"].tolist() == [0, 0]
    keys = likeness.flat_preferred(table.reset_index())
    assert len(keys) == 6 and not [key for key in keys if key.startswith("window_of_five")]


def test_one_unmatched_title_in_place_of_another_is_a_change():
    before = lists_of({"a": ["Stranger", "Unknown"], "b": ["Stranger", 10]})
    after = rerank.by_similarity(before, pd.Series([0.1, 0.9, 0.9, 0.1], index=before.index))
    hints = pd.Series({"a": 10, "b": 10})
    table = lists.movement({(NEXT, "m"): before}, {(NEXT, "m"): after}, {NEXT: hints})
    assert table["first title changes"].tolist() == [1 / 2]

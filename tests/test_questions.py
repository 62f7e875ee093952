"""Re-ranking by group, replaced suggestions, tables and answers; and the project they stand in."""

import numpy as np
import pandas as pd
import pytest

from dualrec_utils.core import files, predictions
from dualrec_utils.core.catalog import Catalog
from dualrec_utils.core.config import CASE, GENRE_LIST, HISTORY, ITEM, RANK, TEXT, TITLE, USER, YEAR
from dualrec_utils.core.errors import StudyError
from dualrec_utils.models.language import prompts
from dualrec_utils.models.language.matching import TitleMatcher
from dualrec_utils.studies.questions import (
    answers as questions_answers,
    lstm as questions_lstm,
    rerank as questions_rerank,
    settings as questions,
    sizes as questions_sizes,
    suggestions as questions_suggestions,
    tables as questions_tables,
    verdict as questions_verdict,
)

STATS = {"seed": 1, "n_bootstrap": 200, "confidence": 0.95}
TITLES = ["Heat", "Fargo", "Alien", "Aliens", "Toy Story", "Casino", "Big Night", "Blue Angel, The"]
GENRES = [["Crime"], ["Crime", "Drama"], ["Sci-Fi"], ["Sci-Fi"], ["Comedy"], ["Crime"], ["Comedy"], ["War"]]
ITEMS = pd.DataFrame(
    {ITEM: range(1, 9), TITLE: TITLES, YEAR: pd.array([1990] * 8, dtype="Int64"), GENRE_LIST: GENRES}
)
CATALOG = Catalog.of(ITEMS)
NAMES = CATALOG.names
CASES = pd.DataFrame(
    {
        CASE: ["a", "b", "c"],
        USER: [1, 2, 3],
        HISTORY: [np.array([5, 7, 1]), np.array([5, 3]), np.array([1, 2, 3, 7])],
    }
)
TARGETS = pd.Series({"a": [2], "b": [6], "c": [4]})
HINTS = pd.Series({"a": 2, "b": 2, "c": 6})
SHAPE = {"n_recent": 2, "seed": 5}
MATCHER = TitleMatcher(ITEMS)


def as_lists(entries):
    rows = [
        (case, rank, item, 1 / rank, NAMES[item], 1)
        for case, items in entries.items()
        for rank, item in enumerate(items, start=1)
    ]
    columns = [CASE, RANK, ITEM, "score", TEXT, "seed"]
    return pd.DataFrame(rows, columns=columns).astype(predictions.COLUMNS)


# ------------------------------------------------------------------ re-ranking


def test_cases_are_grouped_by_what_the_suggestion_was():
    groups = questions_rerank.suggestion_groups(CASES, HINTS, TARGETS, CATALOG)
    # a: the movie itself; b: Fargo for Casino, both Crime; c: Casino for Aliens.
    assert groups.to_dict() == {
        "a": questions_rerank.RIGHT,
        "b": questions_rerank.ALIKE,
        "c": questions_rerank.UNLIKE,
    }


def orders_of(lists, cosines):
    return questions_rerank.in_orders(
        lists,
        CASES,
        TARGETS,
        CATALOG,
        similarity=pd.Series(cosines, index=lists.index),
        seed=3,
        n_random=30,
    )


def test_orders_worked_by_hand():
    """Re-ranked: the right movie comes first for a (it is the suggestion), falls to third for b."""
    lists = as_lists({"a": [3, 4, 2], "b": [6, 3, 4]})
    orders = orders_of(lists, [0.1, 0.2, 1.0, 0.1, 0.2, 0.3])
    by_case = {order: frame.set_index(CASE)["hit_rate@1"] for order, frame in orders.items()}
    assert by_case["as written"].to_dict() == {"a": 0, "b": 1, "c": 0}
    assert by_case["re-ranked"].to_dict() == {"a": 1, "b": 0, "c": 0}
    # Of thirty random orders about a third have it first; a case without a list stays a miss.
    assert 0.1 < by_case["random order"]["a"] < 0.6 and by_case["random order"]["c"] == 0
    for frame in orders.values():
        assert frame.set_index(CASE)["holds_target"].to_dict() == {"a": 1, "b": 1, "c": 0}


def test_groups_are_told_apart_and_their_sizes_said():
    lists = as_lists({"a": [3, 4, 2], "b": [6, 3, 4]})
    orders = orders_of(lists, [0.1, 0.2, 1.0, 0.1, 0.2, 0.3])
    groups = questions_rerank.suggestion_groups(CASES, HINTS, TARGETS, CATALOG)
    table = questions_rerank.by_group(orders, groups, metric="hit_rate@1", **STATS)
    gains = table[table["what"] == "re-ranked - as written"].set_index("group")
    assert gains["value"].to_dict() == {
        questions_rerank.ALL: 0,
        questions_rerank.RIGHT: 1,
        questions_rerank.ALIKE: -1,
        questions_rerank.UNLIKE: 0,
    }
    assert gains["n_cases"].tolist() == [3, 1, 1, 1]
    assert gains["n_lists_with_target"].tolist() == [2, 1, 1, 0]
    none_right = groups.replace(questions_rerank.RIGHT, questions_rerank.ALIKE)
    table = questions_rerank.by_group(orders, none_right, metric="hit_rate@1", **STATS)
    assert questions_rerank.RIGHT not in set(table["group"]), "a group without cases has a number"


# ------------------------------------------------------------------ suggestions

COUNTS = pd.Series({1: 90, 2: 80, 3: 70, 4: 60, 5: 50, 6: 40, 7: 2, 8: 1})


def suggested(kind, cases=CASES):
    return questions_suggestions.suggestions(kind, cases, CATALOG, hints=HINTS, counts=COUNTS, **SHAPE)


def test_each_kind_of_suggestion_is_what_it_says():
    assert suggested("lstm")[ITEM].tolist() == [2, 2, 6]
    assert suggested("none")[TEXT].isna().all()
    # The least popular quarter: 8 and 7; a and c have seen 7.
    rare = suggested("unpopular")
    assert rare[ITEM].tolist()[::2] == [8, 8] and rare[ITEM].iloc[1] in (7, 8)
    # a: recent 7 (Comedy), 1 (Crime), hint 2 (Crime, Drama): Sci-Fi or War share nothing.
    other = suggested("other_genres")
    assert other[ITEM].iloc[0] in (3, 4, 8)
    for case, history, item in zip(CASES[CASE], CASES[HISTORY], other[ITEM], strict=True):
        assert item not in history and item != HINTS[case]
    # Seen and not shown: 5 for a; b shows all it has, so any of them; 1 or 2 for c.
    seen = suggested("watched")[ITEM]
    assert seen[0] == 5 and seen[1] in (5, 3) and seen[2] in (1, 2)
    assert (suggested("typos")[TEXT] != pd.Series(["Fargo (1990)", "Fargo (1990)", "Casino (1990)"])).all()
    for kind in ("typos", "corrupted", "invented"):
        rows = suggested(kind)
        assert rows[ITEM].isna().all() and rows[TEXT].str.endswith("(1990)").all(), kind
    assert all(MATCHER.match(text) is None for text in suggested("invented")[TEXT])
    assert not suggested("corrupted")[TEXT].str.contains("argo|asino").any()


def test_a_draw_hangs_on_seed_kind_and_case_alone():
    for kind in questions_answers.KINDS:
        whole = suggested(kind).set_index(CASE)
        alone = suggested(kind, CASES.iloc[[2]]).set_index(CASE)
        pd.testing.assert_series_equal(whole.loc["c"], alone.loc["c"])
    with pytest.raises(StudyError, match="no kind of suggestion 'wrong'; kinds: lstm, none"):
        suggested("wrong")


def test_only_the_suggestions_line_of_the_prompt_changes():
    shape = {"hints": HINTS, "n_recent": 2, "n_titles": 3}
    usual = prompts.build_prompts(CASES, CATALOG, **shape)
    assert questions_suggestions.asked_with(suggested("lstm"), CASES, CATALOG, **shape) == usual
    bare = prompts.build_prompts(CASES, CATALOG, **{**shape, "hints": None})
    assert questions_suggestions.asked_with(suggested("none"), CASES, CATALOG, **shape) == bare
    rows = suggested("corrupted")
    changed = questions_suggestions.asked_with(rows, CASES, CATALOG, **shape)
    for before, after, text, hint in zip(usual, changed, rows[TEXT], HINTS, strict=True):
        assert after == before.replace(f"recommends: {NAMES[hint]}.", f"recommends: {text}.")
        assert after != before
    with pytest.raises(ValueError, match="not in the same order"):
        questions_suggestions.asked_with(rows.iloc[::-1], CASES, CATALOG, **shape)


def asked_frame(answers, kinds=("lstm", "none", "typos")):
    """`answers`: kind -> answer of case a; the other cases answer nothing."""
    frames = []
    for kind in kinds:
        rows = suggested(kind).assign(answer="-")
        rows.loc[0, "answer"] = answers[kind]
        frames.append(rows)
    return pd.concat(frames, ignore_index=True)


def judged(answers, **more):
    answered = asked_frame(answers, **more)
    values = questions_answers.judged(
        answered,
        CASES,
        TARGETS,
        CATALOG,
        hints=HINTS,
        matcher=TitleMatcher(ITEMS),
        seed=1,
        n_titles=3,
    )
    return values[values[CASE] == "a"].set_index("kind"), values


def test_answers_are_told_to_copy_to_correct_or_to_pass_over():
    """Case a, hint and target Fargo: as is it is copied second; the typos are corrected first."""
    typo = suggested("typos")[TEXT].iloc[0]
    answers = {
        "lstm": "- Alien (1990)\n- Fargo (1990)\n- Toy Story (1990)\n",
        "none": "- Casino (1990)\n- Nothing Of The Kind (1990)\n",
        "typos": "- Fargo (1990)\n- Alien (1990)\n",
    }
    values, whole = judged(answers)
    assert values["copied"].to_dict() == {"lstm": 1, "none": 0, "typos": 0}
    assert values["copied_first"].sum() == 0
    assert values["corrected"].to_dict() == {"lstm": 1, "none": 0, "typos": 1}
    assert (values["copied_anyway"] == 0).all()
    # Toy Story is in the history: it is a valid title and leaves the list.
    assert values["valid"].to_dict() == pytest.approx({"lstm": 1, "none": 1 / 3, "typos": 2 / 3})
    assert values["hit_rate@1"].to_dict() == {"lstm": 0, "none": 0, "typos": 1}
    assert values["hit_rate@5"].to_dict() == {"lstm": 1, "none": 0, "typos": 1}
    # Genres of Fargo are Crime, Drama: Alien 0, Fargo 1, Toy Story 0; Casino (Crime) one half.
    assert values.loc["lstm", "near"] == pytest.approx(1 / 3) and values.loc["none", "near"] == 0.5
    assert values.loc["lstm", "near_anyway"] == 0.5
    copied, _ = judged({**answers, "typos": f"- {typo}\n"})
    assert copied.loc["typos", "copied_first"] == 1 and copied.loc["typos", "corrected"] == 0
    table = questions_answers.summarise(whole, **STATS).set_index(["kind", "metric"])
    assert table.loc[("lstm", "copied"), "difference"] == pytest.approx(1 / 3)
    assert table.loc[("typos", "hit_rate@1"), "difference"] == pytest.approx(1 / 3)
    assert np.isnan(table.loc[("lstm", "hit_rate@1"), "difference"])
    assert table.loc[("none", "near"), "difference"] == 0


def test_what_has_not_been_asked_is_said(root):
    with pytest.raises(StudyError, match=r"zero_shot\.parquet is not there: run `make questions`"):
        questions_answers.read("zero_shot")
    with pytest.raises(StudyError, match="run `make questions`"):
        questions_tables.read_pieces("lstm", ["cases"])


def test_a_piece_that_has_not_been_run_is_named_and_the_others_are_read(root):
    names = list(questions.read_settings("sizes")["models"])
    usual = questions_tables.unchanged("sizes")
    folder = questions.pieces_dir("sizes") / usual
    files.write_json({"n_parameters": 1}, folder / "measured.json")
    files.write_parquet(pd.DataFrame({CASE: ["a"]}), folder / "history.parquet")
    assert list(questions_tables.read_pieces("sizes", ["history"])) == [usual]
    assert questions_tables.missing("sizes") == [name for name in names if name != usual]


# ------------------------------------------------------------------ tables and answers


def cases_of(hits):
    cases = [f"c{i}" for i in range(len(hits))]
    values = dict.fromkeys(("hit_rate@5", "ndcg@5", "valid"), hits)
    return pd.DataFrame({CASE: cases, USER: range(len(hits)), **values})


def lstm_piece(hits, **changes):
    usual = {"learning_rate": 0.01, "optimizer": "adam", "batch_size": 16, "steps": 9, "loss": 5.0}
    usual |= {"top5_accuracy": 0.1, "training": "every_position"}
    return {"measured": usual | changes, "cases": cases_of(hits)}


@pytest.fixture
def lstm_table():
    pieces = {
        "small": lstm_piece([0, 0, 0, 0], batch_size=128, loss=6.0),
        "slow": lstm_piece([1, 0, 1, 0], learning_rate=0.001),
        "usual": lstm_piece([1, 1, 1, 1]),
        "sgd": lstm_piece([1, 1, 1, 1], optimizer="sgd", learning_rate=1.0),
        "paper": lstm_piece([0, 0, 1, 1], training="window", batch_size=480),
    }
    return questions_tables.lstm_table(pieces, default="usual", **STATS)


def test_the_lstms_table_has_the_default_first_and_differences_to_it(lstm_table):
    table = lstm_table.set_index("setting")
    assert table.index.tolist() == ["usual", "slow", "sgd", "small", "paper"]
    assert table["factor"].tolist() == ["", "learning rate", "optimizer", "batch size", "targets"]
    gains = table["hit_rate@5_difference"]
    assert gains["small"] == -1 and gains["slow"] == -0.5
    assert np.isnan(gains["usual"])
    names = questions_tables.setting_names(lstm_table)
    assert names["usual"] == "default: adam, learning rate 0.01, batch size 16"
    assert (names["sgd"], names["small"]) == ("sgd, learning rate 1", "batch size 128")
    assert names["paper"] == "one target a window, batch size 480"


def sizes_pieces():
    def piece(n, hits):
        measured = {
            "hidden_size": n,
            "n_layers": 1,
            "n_parameters": 1000 * n,
            "loss_per_title": 7 - n / 100,
        }
        measured |= {"loss_per_token": 1.0, "train_loss_per_token": 0.9}
        return {"measured": measured, "history": cases_of(hits), "zero_shot": cases_of(hits)}

    return {"big": piece(64, [1, 1, 1, 1]), "little": piece(32, [0, 0, 0, 0])}


def all_metrics(lstm_table):
    lists = as_lists({"a": [3, 4, 2], "b": [6, 3, 4]})
    groups = questions_rerank.suggestion_groups(CASES, HINTS, TARGETS, CATALOG)
    reranked = questions_rerank.by_group(
        orders_of(lists, [0.1, 0.2, 1.0, 0.1, 0.2, 0.3]), groups, metric="hit_rate@1", **STATS
    ).assign(system="movielm_lora", metric="hit_rate@1")
    answers = dict.fromkeys(questions_answers.KINDS, "- Fargo (1990)\n")
    _, values = judged(answers, kinds=tuple(questions_answers.KINDS))
    followed = questions_answers.summarise(values, **STATS).assign(system="movielm_lora")
    sizes = questions_tables.sizes_table(sizes_pieces(), default="big", **STATS)
    return questions_tables.flatten(lstm_table, reranked, followed, sizes), sizes


def test_every_answer_is_built_from_the_metrics(lstm_table):
    flat, sizes = all_metrics(lstm_table)
    assert all(np.isfinite(value) for value in flat.values())
    assert not [key for key in flat if " " in key or "," in key]
    said = " ".join(questions_verdict.lstm(flat, lstm_table))
    # Two of the four users lose at the slow rate: [-1, 0] does not exclude zero.
    assert said.startswith("Sensitive to batch size; not shown for learning rate and optimizer.")
    assert "128 -100.0 points [-100.0, -100.0]" in said and "no difference shown: sgd" in said
    assert "Not run yet: slower." in questions_verdict.lstm(flat, lstm_table, not_run=["slower"])
    said = " ".join(questions_verdict.rerank(flat, ["movielm_lora"]))
    assert "wrong in 67% of 3 cases" in said and "helps no kind of list" in said
    assert "movielm LoRA, a genre in common -100.0 points" in said
    assert "the suggestion is right, HR@1 changes by: movielm LoRA +100.0 points" in said
    said = " ".join(questions_verdict.suggestions(flat, ["movielm_lora"], questions_answers.KINDS))
    assert "movielm LoRA does not correct typos" in said and "names the LSTM's movie in 33.3%" in said
    said = " ".join(questions_verdict.sizes(flat, sizes, default="big", not_run=questions_tables.NOT_RUN))
    assert "little -100.0 points" in said and "Mistral-7B-Instruct-v0.3: not run" in said
    # Planted values show.
    key = "questions/rerank/movielm_lora/wrong_alike/re-ranked_-_as_written/hit_rate@1"
    flat |= {key: 0.2, f"{key}/low": 0.1, f"{key}/high": 0.3}
    assert "helps some lists" in questions_verdict.rerank(flat, ["movielm_lora"])[0]
    flat["questions/lstm/small/difference/hit_rate@5"] = -0.123
    assert any("128 -12.3 points" in line for line in questions_verdict.lstm(flat, lstm_table))


def test_what_was_not_run_has_a_reason_and_no_number():
    sizes = questions_tables.sizes_table(sizes_pieces(), default="big", **STATS)
    table = questions_tables.with_not_run(sizes, "size", questions_tables.NOT_RUN).set_index("size")
    assert table.index.tolist()[:2] == ["little", "big"]
    for name in questions_tables.NOT_RUN:
        assert table.loc[name].drop("remark").isna().all()
        assert table.loc[name, "remark"].startswith("not run: ")


# ------------------------------------------------------------------ the project


def test_settings_of_the_project_are_usable():
    lstm = questions.read_settings("lstm")
    base = questions_lstm.params.section("lstm")
    for changes in lstm.values():
        questions_lstm.complete(changes, base)
    assert questions_tables.unchanged("lstm") in lstm
    movielm = questions_sizes.params.section("movielm")
    for changes in questions.read_settings("sizes")["models"].values():
        questions_sizes.complete(changes, movielm)
    with pytest.raises(StudyError, match="cannot change n_epochs"):
        questions_sizes.complete({"n_epochs": 1}, movielm)
    settings = questions.read_settings("suggestions")
    assert settings["kinds"] == list(questions_answers.KINDS)
    with pytest.raises(StudyError, match="no section 'lsmt'; it has lstm, "):
        questions.read_settings("lsmt")


def test_a_piece_that_the_settings_do_not_have_is_named():
    for run, what in (
        (questions_lstm.run_setting, "LSTM setting 'wrong'; settings: default"),
        (questions_sizes.run_size, "size 'wrong'; sizes: 32x1"),
        (questions_suggestions.run_system, "system 'wrong'; systems: zero_shot"),
    ):
        with pytest.raises(StudyError, match=what):
            run("wrong")

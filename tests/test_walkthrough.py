"""One user followed: the draw is blind to targets, every title's fate is told, every step agrees."""

from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest

from dualrec_utils.core import files, predictions
from dualrec_utils.core.config import CASE, ITEM, RANK, SCORE, SEED, TEXT
from dualrec_utils.core.domain import MOVIES
from dualrec_utils.core.predictions import Scope
from dualrec_utils.report import walkthrough

NAMES = {1: "Heat (1995)", 2: "Fargo (1996)", 3: "Big (1988)", 4: "Alien (1979)"}


def lists(rows):
    """Predictions from (case, rank, item, score, text)."""
    frame = pd.DataFrame(rows, columns=[CASE, RANK, ITEM, SCORE, TEXT]).assign(**{SEED: 0})
    return frame.astype(predictions.COLUMNS)


def test_the_draw_takes_a_case_with_two_movies_and_follows_the_seed():
    rows = [("a", 1, 1, 1.0, "x"), ("a", 2, 1, 0.5, "x"), ("b", 1, 1, 1.0, "x"), ("b", 2, None, 0.5, "y")]
    rows += [(case, rank, rank, 1 / rank, "z") for case in ("c", "d", "e") for rank in (1, 2)]
    drawn = {walkthrough.draw(lists(rows), seed=seed) for seed in range(40)}
    assert drawn == {"c", "d", "e"}
    assert walkthrough.draw(lists(rows), seed=3) == walkthrough.draw(lists(rows[::-1]), seed=3)
    assert walkthrough.draw(lists(rows[:4]), seed=1) is None


def test_every_title_written_has_a_fate():
    texts = ["Heat", "Gone (2050)", "Big", "Heat again"]
    rows = [
        ("a", rank, item, 1 / rank, text)
        for rank, (item, text) in enumerate(zip([1, None, 3, 1], texts, strict=True), 1)
    ]
    fates = walkthrough.fates(lists(rows), np.array([3, 4]), NAMES)
    assert [row["fate"].split(":")[0] for row in fates] == [
        "kept", "matches no item of the catalog", "rated before", "named before",
    ]  # fmt: skip
    assert [row["item"] for row in fates] == ["Heat (1995)", "", "Big (1988)", "Heat (1995)"]
    assert [row["written"] for row in fates] == texts


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run with one case: history 4, target 2, the answer names 1, 3 and 1 again."""
    from dualrec_utils.core import config

    monkeypatch.setattr(config, "ROOT", tmp_path)
    folder = config.processed_dir("ml-100k")
    items = pd.DataFrame({ITEM: list(NAMES), "title": ["Heat", "Fargo", "Big", "Alien"],
                          "year": [1995, 1996, 1988, 1979], "genres": [["Crime"]] * 4})  # fmt: skip
    files.write_parquet(items, folder / "items.parquet")
    files.write_json(asdict(MOVIES), folder / "domain.json")
    case = pd.DataFrame({CASE: ["a"], "user_id": [7], "split": ["test"], "history": [[4]]})
    files.write_parquet(case, folder / "cases_next_item.parquet")
    target = pd.DataFrame({CASE: ["a"], ITEM: [2], "target_order": [0]})
    files.write_parquet(target, folder / "targets_next_item.parquet")
    said = {CASE: "a", "prompt": "Watched: Alien\n\n", "answer": "- Heat\n- Big\n- Heat\n"}
    files.write_jsonl(
        [said], config.generations_dir("ml-100k", "lora_finetuning") / "m_lora_next_item_test.jsonl"
    )
    answer = [("a", 1, 1, 1.0, "Heat"), ("a", 2, 3, 0.5, "Big"), ("a", 3, 1, 0.3, "Heat")]
    after = [("a", 1, 3, 1.0, "Big"), ("a", 2, 1, 0.2, "Heat"), ("a", 3, 1, 0.2, "Heat")]
    ranked = [("a", rank, item, float(np.log(0.5 / rank)), None) for rank, item in enumerate([3, 2, 1], 1)]
    steps = dict(
        lstm=ranked, written=answer, kept=answer, reranked=after, language=ranked[:1], fused=ranked
    )
    for step, (stage, system) in walkthrough.sources("m").items():
        path = predictions.path_of(system, Scope("ml-100k", stage, "next_item", "test"))
        files.write_parquet(lists(steps[step]), path)
    return tmp_path


def test_the_steps_of_a_user_agree(run):
    steps = walkthrough.follow(dataset="ml-100k", seed=1, model="m")
    assert steps["missing"] == []
    assert (steps["n_rated"], steps["recent"], steps["hint"]) == (1, ["Alien (1979)"], "Big (1988)")
    assert (steps["prompt"], steps["answer"]) == ("Watched: Alien", "- Heat\n- Big\n- Heat")
    moves = [(row["title"], row["before"], row["after"]) for row in steps["reranked"]]
    assert moves == [("Big (1988)", 2, 1), ("Heat (1995)", 1, 2), ("Heat (1995)", 3, 3)]
    assert steps["rankings"]["lstm"][0] == {"title": "Big (1988)", "score": pytest.approx(0.5)}
    assert steps["fused"][1] == {"title": "Fargo (1996)", "lstm": 2, "language": None}
    assert steps["target"] == "Fargo (1996)"
    assert steps["found"] == {"lstm": 2, "kept": None, "reranked": None, "language": None, "fused": 2}


def test_what_was_not_run_is_named(run):
    (run / "data/ml-100k/rerank_ablation/predictions/next_item/test/dualrec_fusion.parquet").unlink()
    assert walkthrough.follow(dataset="ml-100k", seed=1, model="m") == {"missing": ["dualrec_fusion"]}


def test_an_answer_with_one_movie_twice_leaves_nothing_to_follow(run):
    path = run / "data/ml-100k/lora_finetuning/predictions/next_item/test/m_lora.parquet"
    files.write_parquet(lists([("a", 1, 1, 1.0, "Heat"), ("a", 2, 1, 0.5, "Heat")]), path)
    steps = walkthrough.follow(dataset="ml-100k", seed=1, model="m")
    assert steps == {"missing": ["no answer of m_lora names two items that its user has not rated"]}

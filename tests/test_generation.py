"""Generation with a real tiny model, and answers read into predictions."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from dualrec_utils import config, files, generation, loading, movielm, predictions, responses
from dualrec_utils.errors import StudyError
from dualrec_utils.matching import TitleMatcher

ITEMS = pd.DataFrame(
    {
        "item_id": [1, 2, 3, 4],
        "title": ["Alpha", "Bravo", "Charlie", "Delta"],
        "year": pd.array([1990, 1991, 1992, 1993], dtype="Int64"),
        "genres": [["Drama"]] * 4,
    }
)


pytestmark = pytest.mark.usefixtures("one_thread")


CASES = pd.DataFrame(
    {"case_id": ["a", "b", "c"], "history": [np.array([1, 2]), np.array([3]), np.array([4])]}
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, one_thread):
    """A toy model that has learned to go round Alpha, Bravo, Charlie, Delta."""
    histories = {user: np.array([(user + step) % 4 + 1 for step in range(20)]) for user in range(8)}
    model, tokenizer, curve = movielm.train(
        histories, histories, ITEMS, seed=1, vocabulary=350, hidden_size=32, n_layers=1, n_heads=2,
        max_tokens=120, genre_share=0.0, noise_share=0.0, n_epochs=40, batch_size=4, learning_rate=0.01,
        weight_decay=0.1, dropout=0.0,
    )  # fmt: skip
    return movielm.save(model, tokenizer, curve, tmp_path_factory.mktemp("model") / "toy")


def header(*titles):
    return "Below is a user's movie watching history:\n" + "".join(f"- {title}\n" for title in titles)


PROMPTS = [
    header("Alpha (1990)", "Bravo (1991)", "Charlie (1992)"),
    header("Charlie (1992)"),
    header("Charlie (1992)", "Delta (1993)"),
]


def answer_all(folder, prompts, batch_size=2):
    model, tokenizer = loading.load_model(folder)
    return generation.generate(
        model, tokenizer, prompts, max_new_tokens=60, batch_size=batch_size, label="test"
    )


def test_answers_continue_the_ring_in_the_order_asked(folder):
    answers = answer_all(folder, PROMPTS)
    # Three complete lines, then the answer ends, however many tokens are left.
    assert answers[0] == "- Delta (1993)\n- Alpha (1990)\n- Bravo (1991)\n"
    assert answers[1].startswith("- Delta (1993)\n")
    assert answers[2].startswith("- Alpha (1990)\n")
    assert answers == answer_all(folder, PROMPTS)
    assert answer_all(folder, PROMPTS[::-1])[::-1] == answers


def test_padding_on_the_left_does_not_change_an_answer(folder):
    assert answer_all(folder, PROMPTS, batch_size=3) == answer_all(folder, PROMPTS, batch_size=1)


def test_no_prompts_no_answers(folder):
    assert answer_all(folder, []) == []


def test_max_new_tokens_cuts_an_answer(folder):
    model, tokenizer = loading.load_model(folder)
    answers = generation.generate(
        model, tokenizer, PROMPTS[:1], max_new_tokens=3, batch_size=1, label="test"
    )
    n_new = len(tokenizer(answers[0], add_special_tokens=False)["input_ids"]) - 1
    assert n_new <= 3


def test_loading_says_what_is_wrong(folder, tmp_path):
    with pytest.raises(StudyError, match="holds no language model"):
        loading.load_model(tmp_path)
    with pytest.raises(StudyError, match="holds no language model"):
        loading.load_model(tmp_path / "missing")
    with pytest.raises(StudyError, match="dtype 'float8' is unknown; allowed"):
        loading.load_model(folder, dtype="float8")
    with pytest.raises(StudyError, match="holds no adapter"):
        loading.load_model(folder, adapter=tmp_path)
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    with pytest.raises(StudyError, match="without its tokenizer"):
        loading.load_model(tmp_path)


def test_a_hub_id_out_of_reach_says_so(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(StudyError, match="no language model 'nobody/no-such-model'"):
        loading.load_model("nobody/no-such-model")


def test_loaded_for_generation(folder):
    model, tokenizer = loading.load_model(folder)
    assert not model.training
    assert next(model.parameters()).dtype == torch.float32
    assert tokenizer.padding_side == "left"


def read(answers, hints=None, limit=3):
    matcher = TitleMatcher(ITEMS, threshold=85)
    return responses.answers_to_predictions(answers, CASES, matcher, seed=9, hints=hints, limit=limit)


def test_answers_become_lists_and_counts():
    lists, counts = read(
        ["- Delta (1993)\n- Nowhere (1950)\n- Alpha (1990)\n", "- Delta\n- Delta\n", ""],
        hints=pd.Series({"a": 4, "b": 1, "c": 1}),
    )
    assert lists["case_id"].tolist() == ["a", "a", "a", "b", "b"]
    assert lists["rank"].tolist() == [1, 2, 3, 1, 2]
    assert [None if pd.isna(item) else item for item in lists["item_id"]] == [4, None, 1, 4, 4]
    assert lists["score"].tolist() == [1, 1 / 2, 1 / 3, 1, 1 / 2]
    assert lists["text"].tolist()[:2] == ["Delta (1993)", "Nowhere (1950)"]
    wanted = pd.DataFrame(
        {
            "case_id": ["a", "b", "c"],
            "n_titles": [3, 2, 0],
            "n_unparsable": [0, 1, 3],
            "n_unmatched": [1, 0, 0],
            "n_seen": [1, 0, 0],
            "n_repeated": [0, 1, 0],
            "copies_hint": [True, False, False],
        }
    )
    pd.testing.assert_frame_equal(counts, wanted)
    predictions.check(lists, CASES, ITEMS["item_id"].to_numpy())
    headline = predictions.drop_seen(lists, CASES)
    # Alpha was in a's history; the unmatched title keeps rank 2.
    assert headline[headline["case_id"] == "a"]["rank"].tolist() == [1, 2]


def test_unusable_answers_give_an_empty_frame_of_the_right_shape():
    lists, counts = read(["", "??", "\n"])
    assert len(lists) == 0
    assert list(lists.columns) == list(predictions.COLUMNS)
    assert counts["n_unparsable"].tolist() == [3, 3, 3]
    assert not counts["copies_hint"].any()


def test_too_few_answers_are_refused():
    with pytest.raises(ValueError, match="argument 2 is longer"):
        read(["- Alpha"])


def test_hints_are_read_by_case_or_missed_loudly(tmp_path, monkeypatch):
    monkeypatch.setattr(config, "ROOT", tmp_path)
    with pytest.raises(StudyError, match="dvc repro lstm"):
        responses.load_hints("toy", "next_item", "test")
    hints = pd.DataFrame({"case_id": ["b", "a"], "item_id": [3, 4]})
    files.write_parquet(hints, tmp_path / "data/models/toy/lstm/hints_next_item_test.parquet")
    assert responses.load_hints("toy", "next_item", "test").to_dict() == {"b": 3, "a": 4}


def test_generations_are_saved_whole_and_alike(tmp_path, monkeypatch):
    monkeypatch.setattr(config, "ROOT", tmp_path)
    place = {"dataset": "toy", "stage": "s", "protocol": "next_item", "split": "test"}
    about = {"model": "movielm", "revision": None, "parameters": {"max_new_tokens": 8}}
    answers = ["- A\u2028B", "- Ü", "-"]
    path = responses.save_generations(answers, PROMPTS, CASES, "system", **place, **about)
    assert path == tmp_path / "data/generations/toy/s/system_next_item_test.jsonl"
    first = path.read_bytes()
    rows = files.read_jsonl(path)
    assert [row["answer"] for row in rows] == answers
    assert rows[1] == {"case_id": "b", "prompt": PROMPTS[1], "answer": "- Ü", **about}
    responses.save_generations(answers, PROMPTS, CASES, "system", **place, **about)
    assert path.read_bytes() == first
    assert json.loads(first.decode().split("\n")[0])["case_id"] == "a"

"""Generation with a real tiny model, and answers read into predictions."""

import copy
import json

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import write_hints
from tiny_models import tiny_mistral, tiny_qwen2

from dualrec_utils.core import config, files, predictions
from dualrec_utils.core.catalog import Catalog
from dualrec_utils.core.errors import StudyError
from dualrec_utils.core.predictions import Scope
from dualrec_utils.models import handoff
from dualrec_utils.models.language import answers as responses, chat, generation, loading
from dualrec_utils.models.language.matching import TitleMatcher
from dualrec_utils.models.movielm import model as movielm

ITEMS = pd.DataFrame(
    {
        "item_id": [1, 2, 3, 4],
        "title": ["Alpha", "Bravo", "Charlie", "Delta"],
        "year": pd.array([1990, 1991, 1992, 1993], dtype="Int64"),
        "genres": [["Drama"]] * 4,
    }
)
CATALOG = Catalog.of(ITEMS)


pytestmark = pytest.mark.usefixtures("one_thread")


CASES = pd.DataFrame(
    {"case_id": ["a", "b", "c"], "history": [np.array([1, 2]), np.array([3]), np.array([4])]}
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, one_thread):
    """A toy model that has learned to go round Alpha, Bravo, Charlie, Delta."""
    histories = {user: np.array([(user + step) % 4 + 1 for step in range(20)]) for user in range(8)}
    model, tokenizer, curve = movielm.train(
        histories, histories, CATALOG, seed=1, vocabulary=350, hidden_size=32, n_layers=1, n_heads=2,
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


@pytest.fixture(scope="module")
def tiny(tmp_path_factory, one_thread):
    """Name -> (model, tokenizer) of tiny checkpoints with random weights."""
    folder = tmp_path_factory.mktemp("tiny")
    written = {
        "mistral": tiny_mistral(folder / "mistral", chat=False),
        "mistral_chat": tiny_mistral(folder / "mistral_chat", chat=True),
        "qwen2_reasoning": tiny_qwen2(folder / "qwen2", reasoning=True),
    }
    return {name: loading.load_model(path) for name, path in written.items()}


SETTINGS = {"max_new_tokens": 24, "label": "test"}


@pytest.mark.parametrize("name", ["mistral", "mistral_chat", "qwen2_reasoning"])
@pytest.mark.parametrize("n_thoughts", [0, 9])
def test_batches_answer_as_prompts_alone_do(tiny, name, n_thoughts):
    texts = [*PROMPTS, header("Alpha (1990)"), "Short.\n\n", header(*["Delta (1993)"] * 20)]
    settings = SETTINGS | {"max_thinking_tokens": n_thoughts}
    alone = generation.generate(*tiny[name], texts, batch_size=1, **settings)
    assert len(set(alone)) > 1
    for batch_size in (2, 4):
        assert generation.generate(*tiny[name], texts, batch_size=batch_size, **settings) == alone


def test_answers_are_the_most_likely_tokens_one_after_another(tiny):
    model, tokenizer = tiny["mistral_chat"]
    ids = chat.prompt_ids(tokenizer, PROMPTS[0])
    new = []
    with torch.inference_mode():
        while len(new) < 10 and (not new or new[-1] != tokenizer.eos_token_id):
            new.append(int(model(torch.tensor([ids + new])).logits[0, -1].argmax()))
    written = generation.complete(model, tokenizer, [ids], max_new_tokens=10, batch_size=1, label="test")
    assert written == [[token for token in new if token != tokenizer.eos_token_id]]


@pytest.mark.parametrize("name", ["mistral", "qwen2_reasoning"])
def test_the_library_writes_the_same_tokens(tiny, name):
    model, tokenizer = tiny[name]
    ids = [chat.prompt_ids(tokenizer, text) for text in PROMPTS]
    written = generation.complete(model, tokenizer, ids, batch_size=3, **SETTINGS)
    for before, new in zip(ids, written, strict=True):
        output = model.generate(torch.tensor([before]), max_new_tokens=24)[0, len(before) :].tolist()
        assert new == output[: output.index(tokenizer.eos_token_id)] if len(new) < 24 else new == output


@pytest.fixture
def calls(monkeypatch):
    """What `complete` gets and gives."""
    calls, complete = [], generation.complete

    def recorded(model, tokenizer, ids, **limits):
        before = [list(row) for row in ids]
        calls.append((before, complete(model, tokenizer, ids, **limits)))
        return calls[-1][1]

    monkeypatch.setattr(generation, "complete", recorded)
    return calls


def test_thoughts_end_at_their_limit_and_an_answer_follows(tiny, calls):
    model, tokenizer = tiny["qwen2_reasoning"]
    settings = SETTINGS | {"batch_size": 3}
    answers = generation.generate(model, tokenizer, PROMPTS, max_thinking_tokens=7, **settings)
    (prompt_ids, thoughts), (closed, written) = calls
    assert prompt_ids == [chat.prompt_ids(tokenizer, text, thinking=True) for text in PROMPTS]
    assert max(map(len, thoughts)) == 7
    end = tokenizer("\n</think>\n\n-", add_special_tokens=False)["input_ids"]
    assert closed == [before + thought + end for before, thought in zip(prompt_ids, thoughts, strict=True)]
    for text, thought, new in zip(answers, thoughts, written, strict=True):
        inside = tokenizer.decode(thought, skip_special_tokens=True).rstrip()
        answer = tokenizer.decode(new, skip_special_tokens=True)
        assert text == f"<think>\n{inside}\n</think>\n\n-{answer}"
    at_once = generation.generate(model, tokenizer, PROMPTS, **settings)
    assert all(text.startswith("-") and "</think>" not in text for text in at_once)


def test_thoughts_end_where_the_model_ends_them(tiny):
    model, tokenizer = tiny["qwen2_reasoning"]
    close = tokenizer.convert_tokens_to_ids("</think>")
    bias = torch.zeros(len(tokenizer))
    bias[close] = 1e6
    hook = model.lm_head.register_forward_hook(
        lambda module, inputs, logits: logits + bias[: logits.shape[-1]]
    )
    try:
        ids = [chat.prompt_ids(tokenizer, text, thinking=True) for text in PROMPTS]
        settings = {"max_new_tokens": 9, "batch_size": 3, "label": "test"}
        assert generation.complete(model, tokenizer, ids, stop_token=close, **settings) == [[], [], []]
        assert generation.complete(model, tokenizer, ids, **settings) == [[close] * 9] * 3
    finally:
        hook.remove()


def test_models_that_do_not_reason_have_no_thoughts(tiny):
    model, tokenizer = tiny["mistral_chat"]
    settings = SETTINGS | {"batch_size": 3}
    assert generation.generate(
        model, tokenizer, PROMPTS, max_thinking_tokens=50, **settings
    ) == generation.generate(model, tokenizer, PROMPTS, **settings)


def test_a_prompt_longer_than_the_context_names_itself(tiny):
    model, tokenizer = tiny["qwen2_reasoning"]
    long = header(*["Alpha (1990)"] * 300)
    n_tokens = len(chat.prompt_ids(tokenizer, long))
    with pytest.raises(
        StudyError,
        match=f"prompt 2 of 3 has {n_tokens} tokens; with 24 of an answer that is more than the 1024 .*"
        "lower n_recent, max_new_tokens$",
    ):
        generation.generate(model, tokenizer, [PROMPTS[0], long, PROMPTS[1]], batch_size=1, **SETTINGS)
    with pytest.raises(StudyError, match=r"and 1005 of thoughts .* or max_thinking_tokens$"):
        generation.generate(
            model, tokenizer, PROMPTS[:1], batch_size=1, max_thinking_tokens=1000, **SETTINGS
        )


def test_the_longest_prompt_that_fits_is_answered(tiny):
    model, tokenizer = copy.copy(tiny["mistral"][0]), copy.copy(tiny["mistral"][1])
    n_tokens = len(chat.prompt_ids(tokenizer, "x" * 9))
    tokenizer.model_max_length = n_tokens + 24
    assert generation.generate(model, tokenizer, ["x" * 9], batch_size=1, **SETTINGS)[0].startswith("-")
    tokenizer.model_max_length -= 1
    with pytest.raises(StudyError, match="more than the"):
        generation.generate(model, tokenizer, ["x" * 9], batch_size=1, **SETTINGS)
    ids = [[5] * (1024 - 24)]
    assert len(generation.complete(model, tokenizer, ids, batch_size=1, **SETTINGS)[0]) <= 24


def test_the_tokenizers_own_limit_counts_too(tiny):
    model, tokenizer = tiny["mistral"]
    assert generation.context_length(model.config, tokenizer) == 1024
    short = copy.copy(tokenizer)
    short.model_max_length = 300
    assert generation.context_length(model.config, short) == 300


def test_memory_that_runs_out_within_a_batch_names_the_parameters(tiny):
    model, tokenizer = tiny["mistral"]
    hook = model.lm_head.register_forward_pre_hook(
        lambda module, inputs: torch.empty(2**55, dtype=torch.uint8)
    )
    try:
        said = r"out of memory: lower batch_size \(2; in lora_finetuning generation_batch_size\)"
        with pytest.raises(StudyError, match=said):
            generation.generate(model, tokenizer, PROMPTS, batch_size=2, **SETTINGS)
    finally:
        hook.remove()


@pytest.mark.parametrize(
    ("text", "n_lines", "wanted"),
    [
        (" A\n- B\n- C\n- D", 3, " A\n- B\n- C\n"),
        (" A\n- B\n", 3, " A\n- B\n"),
        ("\n\n A\n \n B\n\n", 2, "\n\n A\n \n B\n"),
        ("", 1, ""),
        (" A", 1, " A"),
    ],
)
def test_an_answer_ends_after_its_last_line_though_a_token_reaches_beyond(
    tiny, monkeypatch, text, n_lines, wanted
):
    model, tokenizer = tiny["mistral"]
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    monkeypatch.setattr(generation, "complete", lambda *_, **limits: [ids])
    settings = SETTINGS | {"batch_size": 1, "n_lines": n_lines}
    assert generation.generate(model, tokenizer, ["x"], **settings) == ["-" + wanted]


def read(answers, hints=None, limit=3):
    matcher = TitleMatcher(ITEMS)
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
            "n_cut": [0, 0, 0],
            "n_unparsable": [0, 1, 3],
            "n_unmatched": [1, 0, 0],
            "n_seen": [1, 0, 0],
            "n_repeated": [0, 1, 0],
            "copies_hint": [True, False, False],
            "is_capped": [False, False, False],
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


TEST = Scope("toy", "s", "next_item", "test")


def test_hints_are_read_by_case_or_missed_loudly(tmp_path, monkeypatch):
    monkeypatch.setattr(config, "ROOT", tmp_path)
    with pytest.raises(StudyError, match="dvc repro lstm"):
        handoff.load_hints(TEST)
    write_hints({"b": 3, "a": 4}, TEST)
    hints = handoff.load_hints(TEST)
    assert hints.to_dict() == {"b": 3, "a": 4} and hints.dtype == "int64"


def test_generations_are_saved_whole_and_alike(tmp_path, monkeypatch):
    monkeypatch.setattr(config, "ROOT", tmp_path)
    about = {"model": "movielm", "revision": None, "parameters": {"max_new_tokens": 8}}
    answers = ["- A\u2028B", "- Ü", "-"]
    path = handoff.save_generations(answers, PROMPTS, CASES, "system", TEST, **about)
    assert path == tmp_path / "data/toy/s/generations/system_next_item_test.jsonl"
    first = path.read_bytes()
    rows = files.read_jsonl(path)
    assert [row["answer"] for row in rows] == answers
    assert rows[1] == {"case_id": "b", "prompt": PROMPTS[1], "answer": "- Ü", **about}
    handoff.save_generations(answers, PROMPTS, CASES, "system", TEST, **about)
    assert path.read_bytes() == first
    assert json.loads(first.decode().split("\n")[0])["case_id"] == "a"

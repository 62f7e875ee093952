"""Recorded answers: found by their prompts, refused where they do not fit."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from hypothesis import given, strategies as st

from dualrec_utils.core import config, files
from dualrec_utils.core.errors import StudyError
from dualrec_utils.core.predictions import Scope
from dualrec_utils.models import handoff
from dualrec_utils.models.backends.replay import ReplayBackend, read_recordings


def record(path, *pairs, **fields):
    """Write (prompt, answer) pairs as recordings."""
    return files.write_jsonl([{"prompt": p, "answer": a} | fields for p, a in pairs], path)


def test_answers_in_the_order_asked(tmp_path):
    path = record(tmp_path / "a.jsonl", ("p", "- Heat"), ("q", ""), ("p", "- Heat"))
    assert ReplayBackend(path).answer(["q", "p", "p"], label="replay") == ["", "- Heat", "- Heat"]
    assert ReplayBackend(path).answer([], label="replay") == []


def test_what_the_study_saves_can_be_replayed(root):
    cases = pd.DataFrame({config.CASE: ["c1", "c2"]})
    path = handoff.save_generations(
        ["- Семь самураев (1954)\u2028- x", "<b>\x00"],
        ["p", "q"],
        cases,
        "m_zero_shot",
        Scope("ml-100k", "zero_shot_llm", "next_item", "test"),
        model="some/model",
        revision="some/model-2025",
        parameters={"max_tokens": 60},
    )
    for place in (path, path.parent):
        replay = ReplayBackend(place)
        assert replay.answer(["q", "p"], label="replay") == ["<b>\x00", "- Семь самураев (1954)\u2028- x"]
        assert (replay.about["model"], replay.about["revision"]) == ("some/model", "some/model-2025")
        assert replay.about["recordings"] == {path.name: files.sha256(path)}


TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


@given(st.dictionaries(TEXTS, TEXTS, min_size=1))
def test_any_text_comes_back_as_it_was(tmp_path_factory, answers):
    path = record(tmp_path_factory.mktemp("any") / "a.jsonl", *answers.items())
    assert ReplayBackend(path).answer(list(answers), label="replay") == list(answers.values())


def test_a_folder_is_read_whole(tmp_path):
    record(tmp_path / "b.jsonl", ("q", "2"), model="m")
    record(tmp_path / "a.jsonl", ("p", "1"), model="m")
    (tmp_path / "notes.txt").write_text("not read")
    replay = ReplayBackend(tmp_path)
    assert replay.answer(["p", "q"], label="replay") == ["1", "2"]
    assert list(replay.about["recordings"]) == ["a.jsonl", "b.jsonl"]
    # Without a model recordings go by their name.
    about = ReplayBackend(record(tmp_path / "gpt3.jsonl", ("p", "1"))).about
    assert about["model"] == "gpt3" and about["revision"] is None


def test_a_prompt_without_recording_is_an_error(tmp_path):
    path = record(tmp_path / "a.jsonl", ("p", "1"))
    with pytest.raises(StudyError) as caught:
        ReplayBackend(path).answer(["p", "Below is a user", "r"], label="replay")
    message = str(caught.value)
    assert "a.jsonl" in message and "2 of 3 prompts" in message and "'Below is a user'" in message


def test_two_answers_to_one_prompt_are_an_error(tmp_path):
    record(tmp_path / "a.jsonl", ("o", "0"), ("p", "1"))
    record(tmp_path / "b.jsonl", ("p", "2"))
    with pytest.raises(StudyError, match=r"two answers, in .*a.jsonl line 2 and in .*b.jsonl line 1"):
        ReplayBackend(tmp_path)


@pytest.mark.parametrize("other", [{"model": "n"}, {"model": "m", "revision": "2"}, {}], ids=str)
def test_answers_of_two_models_are_an_error(tmp_path, other):
    record(tmp_path / "a.jsonl", ("p", "1"), model="m", revision="1")
    record(tmp_path / "b.jsonl", ("q", "2"), **other)
    with pytest.raises(StudyError, match="several models"):
        ReplayBackend(tmp_path)


@pytest.mark.parametrize(
    "line",
    ["{", "[]", "1", json.dumps({"prompt": "p"}), json.dumps({"prompt": "p", "answer": None}),
     json.dumps({"prompt": 1, "answer": "a"}), json.dumps({"prompt": "p", "answer": "a", "model": ["m"]}),
     json.dumps({"prompt": "p", "answer": "- \ud83d"}), json.dumps({"prompt": "\udc00", "answer": ""}),
     json.dumps({"prompt": "p", "answer": "a", "model": "\udfff"}), "[" * 10**5],
)  # fmt: skip
def test_a_broken_line_is_named(tmp_path, line):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"prompt": "p", "answer": "a"}) + "\n" + line + "\n")
    with pytest.raises(StudyError, match=r"a\.jsonl, line 2 is no recorded answer"):
        read_recordings(path)


def test_what_is_not_there_or_not_text_is_named(tmp_path):
    for place in (tmp_path, tmp_path / "none.jsonl", tmp_path / "no folder", tmp_path / ("x" * 300), "\0"):
        with pytest.raises(StudyError, match="no recorded answers at"):
            ReplayBackend(place)
    (tmp_path / "a.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(StudyError, match="not UTF-8"):
        ReplayBackend(tmp_path)
    (tmp_path / "a.jsonl").write_text("\n\n")
    with pytest.raises(StudyError, match="holds no recorded answer"):
        ReplayBackend(tmp_path)

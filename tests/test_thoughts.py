"""Thoughts are no answer, whatever stands around them; titles are no thoughts."""

import time

import pandas as pd
import pytest

from dualrec_utils.models.language import answers, thoughts
from dualrec_utils.models.language.matching import TitleMatcher
from dualrec_utils.models.language.parsing import parse_titles

ANSWER = "- Fargo (1996)\n- Wait Until Dark (1967)\n"


@pytest.mark.parametrize(
    "before",
    [
        "[THINK]Heat (1995) perhaps[/THINK]",
        "<thinking>\n- Heat (1995)\n</thinking>\n",
        "-<think>\n- Heat (1995)\n</think>\n",
        "<think>one <think>Heat (1995)</think> two</think>",
        "perhaps Heat (1995)\n</think>\n\n",
        "<|START_THINKING|>Heat (1995)<|END_THINKING|>",
        "<|begin_of_thought|>\n- Heat (1995)\n<|end_of_thought|>\n\n<|begin_of_solution|>\n",
        "\u25c1think\u25b7Heat (1995)\u25c1/think\u25b7",
        "analysisWe need films like Heat (1995).assistantfinal",
        "Okay, let me think. They have seen:\n- Heat (1995)\n\n**Final answer:**\n",
        "The user watched Heat (1995) and Alien (1979).\n\nHere are three more movies:\n",
        "Okay, here are three movies:\n",
        "<|channel|>analysis<|message|>Heat (1995)<|end|><|start|>assistant<|channel|>final<|message|>",
        "<|channel>thought\nHeat (1995)<channel|>",
        "Thinking...\nHeat (1995)\n...done thinking.\n",
        "<think>Heat (1995)</think><answer>",
        "",
    ],
)
def test_the_answer_after_thoughts_is_read(before):
    assert parse_titles(before + ANSWER) == ["Fargo (1996)", "Wait Until Dark (1967)"]
    assert not thoughts.only_thoughts(before + ANSWER)


@pytest.mark.parametrize(
    "text",
    [
        "[THINK]\n- Heat (1995)\n",
        "-<think>The user has seen Heat (1995)",
        "<think>Heat (1995)</think>\n",
        "Okay, the user watched Pulp Fiction (1994) and Heat (1995). Perhaps Fargo (1996)",
        "- Okay, so the user watched:\n- Pulp Fiction (1994)\n- Heat (1995)\nMaybe Alien (1979)",
        "First, I need to recall.\nI would recommend:\n- Fargo (1996)\nBut wait, they saw Fargo. So",
        "<|channel|>analysis<|message|>Heat (1995)",
        "We need three movies. History: Heat (1995). Maybe Fargo (1996)",
        "They have seen Heat (1995), Alien (1979). So next would be",
        "analysisThe user likes Heat (1995)",
    ],
)
def test_thoughts_alone_are_a_miss_counted_apart(text):
    assert parse_titles(text) == []
    cases = pd.DataFrame({"case_id": ["a", "b"], "history": [[], []]})
    items = pd.DataFrame({"item_id": [1], "title": ["Heat"], "year": pd.array([1995], dtype="Int64")})
    lists, counts = answers.answers_to_predictions([text, "no list."], cases, TitleMatcher(items), seed=0)
    assert "a" not in set(lists["case_id"])
    assert counts["n_cut"].tolist() == [3, 0] and counts["n_unparsable"][0] == 0


@pytest.mark.parametrize(
    "title",
    [
        "I Am Legend (2007)",
        "Let Me In",
        "I'll Do Anything",
        "Looking for Richard (1996)",
        "So I Will (1993)",
    ],
)
def test_titles_that_begin_like_thoughts_are_titles(title):
    assert parse_titles(f"- {title}\n- Heat (1995)") == [title, "Heat (1995)"]
    assert parse_titles(title) == [title]


@pytest.mark.parametrize(
    "text",
    [
        *(
            "<think>",
            "</think>",
            "[<",
            "Okay, I will ",
            "okay ",
            "I am (1990) ",
            "Okay, let me\nbut ",
            "\n",
        ),
        "Okay, let me " + "recommend final answer " * 9_000 + ":" * 9_000,
    ],
)
def test_long_answers_take_no_time(text):
    started = time.perf_counter()
    thoughts.only_thoughts(text * (1 if len(text) > 100 else 20_000) + "- Heat (1995)")
    assert time.perf_counter() - started < 2

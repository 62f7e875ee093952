"""Prompts follow the paper's wording; answers of every shape are read without raising."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, strategies as st

from dualrec_utils.core.catalog import Catalog, title_with_year
from dualrec_utils.core.errors import StudyError
from dualrec_utils.models.language import prompts


@pytest.fixture
def catalog():
    items = pd.DataFrame(
        {
            "item_id": [10, 20, 30],
            "title": ["Bug's Life, A", "Antz", "Unknown Reel"],
            "year": pd.array([1998, 1998, None], dtype="Int64"),
            "genres": [["Animation", "Comedy"], ["Animation"], []],
        }
    )
    return Catalog.of(items)


@pytest.fixture
def cases():
    return pd.DataFrame({"case_id": ["a", "b"], "history": [np.array([30, 20, 10]), np.array([20])]})


def test_prompt_is_the_papers_word_for_word(cases, catalog):
    built = prompts.build_prompts(cases, catalog, hints=pd.Series({"b": 30, "a": 20}), n_recent=2)
    assert built[0] == (
        "Below is a user's movie watching history:\n"
        "- Antz (1998) (Animation)\n"
        "- Bug's Life, A (1998) (Animation, Comedy)\n"
        "\n"
        "Based on this, the system (LSTM) recommends: Antz (1998).\n"
        "\n"
        "Now, as a helpful assistant, recommend 3 more full movie titles with release years and genres"
        " that this user would likely enjoy next.\n"
        "\n"
    )
    # The shorter history is shown whole; hints go by case, not by position.
    assert built[1].count("\n- ") == 1
    assert "recommends: Unknown Reel." in built[1]


def test_prompt_without_hints_lacks_exactly_that_line(cases, catalog):
    with_line = prompts.build_prompts(cases, catalog, hints=pd.Series({"a": 10, "b": 10}))
    without = prompts.build_prompts(cases, catalog, hints=None)
    line = "Based on this, the system (LSTM) recommends: Bug's Life, A (1998).\n\n"
    assert [prompt.replace(line, "") for prompt in with_line] == without


def test_prompts_refuse_a_missing_hint_and_unknown_movies(cases, catalog):
    with pytest.raises(StudyError, match="'b' has no hint"):
        prompts.build_prompts(cases, catalog, hints=pd.Series({"a": 10}))
    with pytest.raises(StudyError, match="hint 99"):
        prompts.build_prompts(cases, catalog, hints=pd.Series({"a": 99, "b": 10}))
    with pytest.raises(StudyError, match="movie 20, not in the catalog"):
        prompts.build_prompts(cases, Catalog.of(catalog.items.query("item_id != 20")), hints=None)


def test_building_changes_nothing(cases, catalog):
    before = cases.copy(deep=True), catalog.items.copy(deep=True)
    prompts.build_prompts(cases, catalog, hints=None)
    pd.testing.assert_frame_equal(cases, before[0])
    pd.testing.assert_frame_equal(catalog.items, before[1])


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("", []),
        ("   \n\n", []),
        ("- Tarzan (1999) Genres: Animation\n- Antz (1998) (War)", ["Tarzan (1999)", "Antz (1998)"]),
        ("Here are three:\n\n1. **Heat** (1995)\n2) *Fargo* (1996)", ["Heat (1995)", "Fargo (1996)"]),
        ('**1. "Heat" (1995)** – a thriller', ["Heat (1995)"]),
        ("“Heat” (1995)\nthen\nFargo [1996]", ["Heat (1995)", "Fargo (1996)"]),
        ("- 12 Angry Men (1957)\n- 187\n- 8 1/2, 1963", ["12 Angry Men (1957)", "187", "8 1/2 (1963)"]),
        ("1. 2001: A Space Odyssey (1968)", ["2001: A Space Odyssey (1968)"]),
        ("- M*A*S*H (1970)", ["M*A*S*H (1970)"]),
        ("-Antz - War, Comedy\n-Heat Genre: Crime\n- Fargo (Crime, Drama)", ["Antz", "Heat", "Fargo"]),
        ("- Die xue shuang xiong (Killer, The) (1989)", ["Die xue shuang xiong (Killer, The) (1989)"]),
        ("<think>\n- Alien (1979)\n</think>\n- Heat (1995)", ["Heat (1995)"]),
        ("<think>\n- Alien (1979)", []),
        ("- 千と千尋の神隠し (2001)\n- Солярис (1972)", ["千と千尋の神隠し (2001)", "Солярис (1972)"]),
        ("- \n- ***\n- Heat (1995)", ["Heat (1995)"]),
        ("Heat\nFargo", ["Heat", "Fargo"]),
    ],
)  # fmt: skip
def test_answers_of_many_shapes(answer, expected):
    assert prompts.parse_titles(answer) == expected


def test_limit_takes_the_first_of_thousands():
    answer = "\n".join(f"- Film {chr(97 + i % 26)} ({1900 + i % 100})" for i in range(5000))
    assert prompts.parse_titles(answer, limit=2) == ["Film a (1900)", "Film b (1901)"]


@given(st.text(max_size=300), st.integers(0, 5))
def test_any_text_is_read_without_raising(answer, limit):
    titles = prompts.parse_titles(answer, limit=limit)
    assert len(titles) <= limit
    assert all(title.strip() == title and title for title in titles)


WORDS = st.text(st.characters(whitelist_categories=("Lu", "Ll")), min_size=1, max_size=8)


@given(st.lists(st.tuples(st.lists(WORDS, min_size=1, max_size=4), st.integers(1900, 2010)), max_size=3))
def test_an_answer_as_taught_is_read_back(movies):
    titles = [title_with_year(" ".join(words), year) for words, year in movies]
    assert prompts.parse_titles(prompts.format_answer(titles)) == titles

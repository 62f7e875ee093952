"""Answers of every shape are read, without raising."""

import pytest
from hypothesis import given, strategies as st

from dualrec_utils.core.catalog import title_with_year
from dualrec_utils.models.language import parsing, prompts


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
    assert parsing.parse_titles(answer) == expected


def test_limit_takes_the_first_of_thousands():
    answer = "\n".join(f"- Film {chr(97 + i % 26)} ({1900 + i % 100})" for i in range(5000))
    assert parsing.parse_titles(answer, limit=2) == ["Film a (1900)", "Film b (1901)"]


@given(st.text(max_size=300), st.integers(0, 5))
def test_any_text_is_read_without_raising(answer, limit):
    titles = parsing.parse_titles(answer, limit=limit)
    assert len(titles) <= limit
    assert all(title.strip() == title and title for title in titles)


WORDS = st.text(st.characters(whitelist_categories=("Lu", "Ll")), min_size=1, max_size=8)


@given(st.lists(st.tuples(st.lists(WORDS, min_size=1, max_size=4), st.integers(1900, 2010)), max_size=3))
def test_an_answer_as_taught_is_read_back(movies):
    titles = [title_with_year(" ".join(words), year) for words, year in movies]
    assert parsing.parse_titles(prompts.format_answer(titles)) == titles

"""Answers of every shape are read, without raising, in time that grows with their length."""

import time

import pytest
from hypothesis import given, strategies as st

from dualrec_utils.core.catalog import title_with_year
from dualrec_utils.models.language import parsing, prompts

HEAT, FARGO, CASINO = THREE = ["Heat (1995)", "Fargo (1996)", "Casino (1995)"]
SUSPECTS = "The Usual Suspects (1995)"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("", []),
        ("   \n\n", []),
        ("- \n- ***\n- Heat (1995)", [HEAT]),
        ("Heat\nFargo", ["Heat", "Fargo"]),
        ("“Heat” (1995)\nthen\nFargo [1996]", [HEAT, FARGO]),
        # Genres and remarks.
        ("- Tarzan (1999) Genres: Animation\n- Antz (1998) (War)", ["Tarzan (1999)", "Antz (1998)"]),
        ("-Antz - War, Comedy\n-Heat Genre: Crime\n- Fargo (Crime, Drama)", ["Antz", "Heat", "Fargo"]),
        ('**1. "Heat" (1995)** – a thriller', [HEAT]),
        # The year: with genres in its brackets, behind them, without brackets, in front, in wide signs.
        ("- Heat (1995, Crime/Drama)\n- The Usual Suspects (Crime, Thriller, 1995)", [HEAT, SUSPECTS]),
        ("- The Usual Suspects (Crime, Thriller) (1995)\n- Fargo - Crime (1996)", [SUSPECTS, FARGO]),
        ("- Heat 1995\n- Fargo, 1996, Crime\n- Casino - 1995 (Drama)", THREE),
        ("- Heat 1995 Crime, Drama\n- Fargo, Year: 1996\n- (1995) Casino", THREE),
        ("- Heat 1995.\n- Fargo | 1996 | Crime\n- *Casino* — 1995 — Crime", THREE),
        ("- Heat: 1995\n- Fargo (1996", THREE[:2]),
        ("- 〈Heat〉〔1995〕", [HEAT]),
        ("- Heat（1995）\n１．《Fargo》（１９９６）\n2、「Casino」 1995", THREE),
        # Labels, nested bullets, markup.
        ("- Title: Heat (1995)\n- Movie 1: Fargo (1996)\n- Option 3 - Casino (1995)", THREE),
        ("- 1. Heat (1995)\n- 2) *Fargo* (1996)\n* **3.** _Casino_ (1995)", THREE),
        ("## 1. Heat (1995)\n[2] [Fargo](https://a.b/c) (1996)\n3️⃣ <b>Casino</b> (1995)", THREE),
        ("1.Heat (1995)\n2)Fargo (1996)\n3 - Casino (1995)", THREE),
        ("#1 Heat (1995)\nNo. 2: Fargo (1996)\n③ Casino (1995)", THREE),
        ("a) Heat (1995)\n(b) Fargo (1996)\nIII. Casino (1995)", THREE),
        ("First: Heat (1995)\nSecond movie: Fargo (1996)\nOption C: Casino (1995)", THREE),
        ("<ol><li>Heat (1995)</li><li>Fargo (1996)</li></ol>", THREE[:2]),
        ("🎬 Heat (1995)\n🎬 Fargo (1996)\n", THREE[:2]),
        ("> Fargo (1996)\n- [ ] Casino (1995)", THREE[1:]),
        # Details in lines of their own.
        ("1. Heat (1995)\n   - Genre: Crime\n   - A tale of thieves\n2. Fargo (1996)", [HEAT, FARGO]),
        ("- **Title:** Heat\n  **Year:** 1995\n- **Title:** Fargo\n  **Year:** 1996", [HEAT, FARGO]),
        ("**Heat (1995)**:\n- Genre: Crime\n- Why you: thieves\n\n**Fargo (1996)**:", [HEAT, FARGO]),
        # The bullet that every answer is begun with, and several in a line.
        ("- Heat (1995)\nFargo (1996)\n\nCasino (1995)", THREE),
        ("1) Heat (1995) 2) Fargo (1996) 3) Casino (1995)", THREE),
        ("- Heat (1995) (Crime), Fargo (1996) and Casino (1995).", THREE),
        ("Heat (1995) | Fargo (1996) / Casino (1995)", THREE),
        # JSON, Python and tables, whole and cut.
        ("['Heat (1995)', 'Fargo (1996)',]", [HEAT, FARGO]),
        ('{"1": "Heat (1995)", "2": "Fargo (1996)"}', [HEAT, FARGO]),
        ('{"movie_1": {"title": "Heat"}, "movie_2": {"title": "Fargo"}}', ["Heat", "Fargo"]),
        ("Movie | Year\n--- | ---\nHeat | 1995\nFargo | 1996", [HEAT, FARGO]),
        ('["Heat (1995)", "Fargo (1996)"]', [HEAT, FARGO]),
        ('- ```json\n[{"title": "Heat", "year": 1995}, {"film": "Fargo (1996)"}]\n```', [HEAT, FARGO]),
        ('{"movies": [{"movie_id": 7, "name": "Heat", "release_date": "1995-12-15"}, {"na', [HEAT]),
        ('[\n  "Heat (1995)",\n  "Fargo (1996)",\n  "Cas', [HEAT, FARGO]),
        ("- Heat (1995) [\"a classic\"]", [HEAT]),
        ("| Title | Year |\n|---|---|\n| **Heat** | 1995 |\n| Fargo | 1996 |", [HEAT, FARGO]),
        ("- | # | Movie |\n|:-:|---|\n| 1 | Heat (1995) |", [HEAT]),
        # Introductions and closing lines.
        ("- Here are three movies:\n1. Heat (1995)\n2. Fargo (1996)\n\nI hope you enjoy these!", THREE[:2]),
        ("- Sure! Here are some films you might like\n\nHeat (1995)\nFargo (1996)", [HEAT, FARGO]),
        ("- Since you liked Heat (1995), I recommend these:\n- Fargo (1996)\n- Enjoy!", [FARGO]),
        ("- These movies match your taste.\n- Recommended movies:\n- Heat", ["Heat"]),
        ("I would recommend Heat (1995), then Fargo (1996), and Casino (1995).", THREE),
        ("- Below are three movies\n- Heat", ["Heat"]),
        ("- Next up\n- Films you may like\n- Heat", ["Heat"]),
        ("Here are three movies: Heat (1995), Fargo (1996), Casino (1995)", THREE),
        ("- I'm sorry, but I cannot recommend movies.\n- Let me know if you need other titles.", []),
        # Titles that look like something else.
        ("- 12 Angry Men (1957)\n- 187\n- 8 1/2, 1963", ["12 Angry Men (1957)", "187", "8 1/2 (1963)"]),
        ("1. 2001: A Space Odyssey (1968)\n2. 1984\n3. M", ["2001: A Space Odyssey (1968)", "1984", "M"]),
        ("- (500) Days of Summer (2009)\n- Se7en\n- Pi", ["(500) Days of Summer (2009)", "Se7en", "Pi"]),
        ("- M*A*S*H (1970)\n- 'Til There Was You\n- L'", ["M*A*S*H (1970)", "'Til There Was You", "L'"]),
        ("- B. Monkey (1998)\n- D.O.A.\n- I.Q.", ["B. Monkey (1998)", "D.O.A.", "I.Q."]),
        ("- Die xue shuang xiong (Killer, The) (1989)", ["Die xue shuang xiong (Killer, The) (1989)"]),
        ("- Legend of 1900, The\n- Amityville 1992: It", ["Legend of 1900, The", "Amityville 1992: It"]),
        ("- Hope Floats\n- Sure Thing, The\n- I Am Cuba", ["Hope Floats", "Sure Thing, The", "I Am Cuba"]),
        ("- If You Only Knew\n- Here Comes Cookie", ["If You Only Knew", "Here Comes Cookie"]),
        ("- 千と千尋の神隠し (2001)\n- Солярис (1972)", ["千と千尋の神隠し (2001)", "Солярис (1972)"]),
        # Thoughts.
        ("<think>\n- Alien (1979)\n</think>\n- Heat (1995)", [HEAT]),
        ("<think>\n- Alien (1979)", []),
    ],
)  # fmt: skip
def test_answers_of_many_shapes(answer, expected):
    assert parsing.parse_titles(answer) == expected
    assert not parsing.is_capped(answer)


@pytest.mark.parametrize("answer", [r'["Heat \ud83d (1995)"]', "- Heat \ud83d (1995)"])
def test_half_of_a_surrogate_pair_is_replaced_by_what_a_file_can_hold(answer):
    assert parsing.parse_titles(answer) == ["Heat ? (1995)"]


def test_limit_takes_the_first_of_thousands():
    answer = "\n".join(f"- Film {chr(97 + i % 26)} ({1900 + i % 100})" for i in range(500))
    assert parsing.parse_titles(answer, limit=2) == ["Film a (1900)", "Film b (1901)"]


PIECES = ["(", "[", "{", "*", "-", "1.", '"', "( 1995", "(1995", "[a](", "<think>", "</think>", "x", "|"]
PIECES += [
    " ",
    "recommend ",
    "\n",
    "Title: ",
    "here are ",
    "Heat (1995), ",
    "so,\n",
    "year: 1995 ",
    ", ",
    "[ ] ",
]


@pytest.mark.parametrize("start", ["", "- ", "Okay, the user "])
def test_long_answers_are_read_up_to_a_bound_in_little_time(start):
    for piece in PIECES:
        answer = start + f"{piece} " * (30_000 // len(piece))
        begun = time.process_time()
        titles = parsing.parse_titles(answer + piece * 30_000)
        # What backtracks over the whole text takes minutes.
        assert time.process_time() - begun < 10, piece
        assert len(titles) <= 3 and all(len(title) <= parsing.MAX_LINE + 10 for title in titles)


def test_what_is_not_read_is_counted():
    line = "- " + "x" * (parsing.MAX_LINE - 2)
    assert not parsing.is_capped(line) and parsing.is_capped(line + "x")
    many = f"{HEAT}\n" * (parsing.MAX_ANSWER // (len(HEAT) + 1))
    assert not parsing.is_capped(many) and parsing.is_capped(many * 2)
    # Thoughts are no part of an answer.
    assert not parsing.is_capped(f"<think>{many * 2}</think>- {HEAT}")
    assert parsing.parse_titles(f"- {HEAT}, {line}{line}\n- {FARGO}") == [HEAT, FARGO]


@given(st.text(max_size=300) | st.text('-1.(): \n|[]{}"ay9', max_size=300), st.integers(0, 5))
def test_any_text_is_read_without_raising(answer, limit):
    titles = parsing.parse_titles(answer, limit=limit)
    assert len(titles) <= limit
    assert all(title.strip() == title and title for title in titles)


WORDS = st.text(st.characters(whitelist_categories=("Lu", "Ll")), min_size=1, max_size=8)


@given(st.lists(st.tuples(st.lists(WORDS, min_size=1, max_size=4), st.integers(1900, 2010)), max_size=3))
def test_an_answer_as_taught_is_read_back(movies):
    titles = [title_with_year(" ".join(words), year) for words, year in movies]
    assert parsing.parse_titles(prompts.format_answer(titles)) == titles

"""What a language model says in free text, sorted by hand-made answers."""

import pandas as pd
import pytest
from toy_catalog import catalog_of

from dualrec_utils.core.config import CASE, HISTORY, ITEM, USER
from dualrec_utils.studies.knowledge import spoken, tables, words

CATALOG = catalog_of([1, 2, 3], titles=["Heat", "Fargo", "Babe"], years=[1995, 1996, 1995])
FILMS = pd.DataFrame(
    {ITEM: [11, 12, 13, 14, 15], "title": ["Heat", "Fargo", "Babe", "Inception", "Casino"],
     "year": pd.array([1995, 1996, 1995, 2010, 1995], dtype="Int64")}
)  # fmt: skip
CASES = pd.DataFrame({CASE: ["a", "b"], USER: [7, 8], HISTORY: [[1], [3]]})
TARGETS = pd.Series({"a": [2], "b": [1]})
HINTS = pd.Series({"a": 2, "b": 2})


def sorted_out(*written):
    return spoken.sorted_out(
        written, CASES, TARGETS, HINTS, CATALOG, films=FILMS, last_year=1998, n_titles=3
    ).set_index([CASE, "rank"])


def test_every_title_asked_for_is_what_it_is():
    table = sorted_out(
        "- Heat (1995)\n- Fargo (1996)\n- Fargo (1996)\n", "- Inception (2010)\n- Nobody Knows It (1990)\n"
    )
    kinds = {
        key: {kind for kind in spoken.KINDS if row[kind]} - {"famous"} for key, row in table.iterrows()
    }
    assert kinds == {
        ("a", 1): {"real", "in_catalog", "rated"},
        ("a", 2): {"real", "in_catalog", "hint", "hit"},
        ("a", 3): {"real", "in_catalog", "hint", "hit", "repeated"},
        ("b", 1): {"real", "later"},
        ("b", 2): set(),
        # The third title was not given: it is nothing, and still counts.
        ("b", 3): set(),
    }


def test_a_title_of_no_film_may_be_later_than_the_data_and_another_real_outside_the_catalog():
    table = sorted_out("- Casino (1995)\n", "- Some Film of Tomorrow (2030)\n")
    assert table.loc[("a", 1), "real"] and not table.loc[("a", 1), "in_catalog"]
    assert table.loc[("b", 1), "later"] and not table.loc[("b", 1), "real"]


def test_shares_are_of_all_titles_asked_for():
    table = sorted_out("- Heat (1995)\n", "- Fargo (1996)\n- Heat (1995)\n- Babe (1995)\n").reset_index()
    rows = spoken.shares(table, system="m", seed=0, n_bootstrap=100, confidence=0.95).set_index("metric")
    # One of three of user 7 and three of three of user 8.
    assert rows.loc["real", "value"] == pytest.approx((1 / 3 + 1) / 2)
    assert rows.loc["rated", "value"] == pytest.approx((1 / 3 + 1 / 3) / 2)
    assert rows.loc["hit", "value"] == pytest.approx((0 + 1 / 3) / 2)


def test_answers_to_read_are_numbered_and_name_no_user(root):
    written = ["- Heat (1995)\r\n", "- Nobody Knows It (1990)\n"]
    titles = {"m": sorted_out(*written).reset_index()}
    shown = spoken.shown(["first?", "second?"], {"m": written}, titles, CASES, CATALOG, seed=0)
    assert list(shown.columns) == ["example", "prompt", "m", "m: matched"]
    assert shown["example"].tolist() == [1, 2] and shown["prompt"].tolist() == ["first?", "second?"]
    tables.write(shown, tables.SHOWN, "ml-100k")
    text = words.answers_to_read("ml-100k", 1)
    assert text.startswith("**Example 1**\n\n```text\nfirst?\n") and "second?" not in text
    assert "- m: - Heat (1995) (matched: Heat (1995); -; -)" in text


def test_what_is_known_is_compared_within_the_same_cases(monkeypatch):
    monkeypatch.setattr(spoken.breakdowns, "FEWEST_USERS", 1)
    cases = pd.DataFrame({CASE: list("abcd"), USER: [1, 1, 2, 2]})
    scored = {
        "m": cases.assign(**{"hit_rate@10": [1.0, 0.0, 1.0, 0.0]}),
        "lstm": cases.assign(**{"hit_rate@10": [0.0, 0.0, 1.0, 1.0]}),
    }
    targets = pd.Series({"a": [1], "b": [2], "c": [1], "d": [2]})
    dated = pd.DataFrame({ITEM: [1, 2], "right": [True, False]})
    shape = {"seed": 0, "n_bootstrap": 100, "confidence": 0.95}
    table = spoken.by_knowledge(scored, targets, dated, pairs=[("m", "lstm")], **shape)
    values = table.fillna("").set_index(["group", "system", "minus"])["value"]
    assert values["year known", "m", ""] == 1.0 and values["year known", "m", "lstm"] == 0.5
    assert values["year not known", "m", ""] == 0.0 and values["year not known", "m", "lstm"] == -0.5

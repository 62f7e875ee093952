"""Items that have a title and nothing else: prompts, answers, matching and constrained lists."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, strategies as st
from tiny_models import tiny_mistral

from dualrec_utils.core.catalog import Catalog
from dualrec_utils.core.domain import Domain
from dualrec_utils.core.errors import StudyError
from dualrec_utils.models.language import constrained, loading, matching, prompts
from dualrec_utils.models.language.answers import answers_to_predictions
from dualrec_utils.models.language.parsing import parse_titles

GAMES = Domain(item="game", items="games", verb="bought", history="game buying history", details="")
TITLES = [
    "Halo 3",
    "Halo 3 - Xbox 360",
    "FIFA 2004 | PlayStation 2",
    "Madden NFL 2005",
    "Tony Hawk (2005)",
    "Tony Hawk (2006)",
    "12 PENCILS SMALL TUBE SKULL",
    "Your Shape: Fitness Evolved",
    "I Will Always Love You",
    "Rating: Unknown",
    "3) Wishes",
    "Half-Life 2: Episode One",
    "HALF LIFE 2 EPISODE ONE (Steam)",
    "Action, Adventure",
]


def catalog_of(titles):
    frame = pd.DataFrame({"item_id": np.arange(1, len(titles) + 1), "title": titles})
    frame["year"] = pd.array([None] * len(titles), "Int64")
    return Catalog.of(frame.assign(genres=[[] for _ in titles]), GAMES)


CATALOG = catalog_of(TITLES)
MATCHER = matching.TitleMatcher(CATALOG.items)


@given(st.lists(st.sampled_from(TITLES), min_size=1, max_size=5))
def test_an_answer_as_taught_is_read_back(titles):
    read = parse_titles(prompts.format_answer(titles), limit=5, known=MATCHER.knows)
    assert [MATCHER.match(title) for title in read] == [TITLES.index(title) + 1 for title in titles]


@pytest.mark.parametrize(
    ("answer", "items"),
    [
        # The bullet in front of the first line is the one that every answer is begun with.
        ("- Halo 3\nMadden NFL 2005\nI Will Always Love You", [1, 4, 9]),
        (
            'Sure! Here are three games you may enjoy:\n1. **"Halo 3"** - a shooter\n2. halo 3 xbox 360',
            [1, 2],
        ),
        ("1) Tony Hawk (2006)\n2) 3) Wishes", [6, 11]),
        ('["Tony Hawk (2005)", "Action, Adventure"]', [5, 14]),
        ("- Halo 3 - Xbox 360 - great with friends\n- Halo 4 - Xbox 360", [2, None]),
        ("- Half Life 2 Episode One\n- Half-Life 2: Episode One (Steam)", [12, 13]),
    ],
)
def test_answers_of_other_forms_are_read(answer, items):
    cases = pd.DataFrame({"case_id": ["a"], "history": [np.array([1])]})
    lists, _ = answers_to_predictions([answer], cases, MATCHER, seed=0, limit=3)
    assert [None if pd.isna(item) else item for item in lists["item_id"]] == items


def test_a_title_of_marks_alone_matches_nothing():
    matcher = matching.TitleMatcher(catalog_of(["?!", "Halo 3"]).items)
    assert (matcher.match("?!"), matcher.match("..."), matcher.match("halo 3")) == (None, None, 2)


def test_lists_that_may_hold_titles_only_hold_each_once(tmp_path):
    model, tokenizer = loading.load_model(str(tiny_mistral(tmp_path, chat=False)))
    cases = pd.DataFrame({"case_id": ["a", "b"], "history": [np.array([1, 2]), np.array([12])]})
    questions = prompts.build_prompts(cases, CATALOG, hints=None)
    scores = constrained.rank_titles(model, tokenizer, questions, CATALOG, k=5, label="titles")
    lists = constrained.ranked_lists(scores, cases, CATALOG, seed=0, length=5)
    assert (lists["text"] == lists["item_id"].map(CATALOG.names)).all()
    assert lists.groupby("case_id")["item_id"].nunique().tolist() == [5, 5]
    with pytest.raises(StudyError, match="merge them in the catalog"):
        constrained.rank_titles(
            model, tokenizer, questions, catalog_of(["Halo 3", "Halo 3"]), k=1, label="x"
        )

"""Prompts follow the paper's wording."""

import numpy as np
import pandas as pd
import pytest

from dualrec_utils.core.catalog import Catalog
from dualrec_utils.core.domain import Domain
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


GAMES = Domain(item="game", items="games", verb="bought", history="game buying history", details="")


def test_prompt_takes_the_words_of_its_catalog(cases, catalog):
    """Items that have a title and nothing else: neither years nor categories are written or asked for."""
    bare = catalog.items.assign(year=pd.array([None] * 3, "Int64"), genres=[[], [], []])
    built = prompts.build_prompts(cases, Catalog.of(bare, GAMES), hints=pd.Series({"a": 30, "b": 20}))
    assert built[1] == (
        "Below is a user's game buying history:\n"
        "- Antz\n"
        "\n"
        "Based on this, the system (LSTM) recommends: Antz.\n"
        "\n"
        "Now, as a helpful assistant, recommend 3 more full game titles that this user would likely enjoy"
        " next.\n"
        "\n"
    )
    histories = prompts.build_history_prompts(cases, Catalog.of(bare, GAMES), n_recent=5, genres=True)
    assert histories[1] == "Below is a user's game buying history:\n- Antz\n"


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
    with pytest.raises(StudyError, match="item 20, not in the catalog"):
        prompts.build_prompts(cases, Catalog.of(catalog.items.query("item_id != 20")), hints=None)


def test_building_changes_nothing(cases, catalog):
    before = cases.copy(deep=True), catalog.items.copy(deep=True)
    prompts.build_prompts(cases, catalog, hints=None)
    pd.testing.assert_frame_equal(cases, before[0])
    pd.testing.assert_frame_equal(catalog.items, before[1])

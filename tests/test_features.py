import numpy as np
import pandas as pd
import pytest

from dualrec_utils.content import features
from dualrec_utils.core.catalog import Catalog


@pytest.fixture
def catalog():
    items = pd.DataFrame(
        {
            "item_id": [3, 7, 9],
            "title": ["Bug's Life, A", "Star Trek: First Contact", "Life"],
            "year": pd.array([1998, 1996, None], dtype="Int64"),
            "genres": [["Animation", "Children's"], ["Action"], []],
        }
    )
    return Catalog.of(items)


def words_of(table, row):
    return [table.words[token] for token in table.tokens[row] if token]


def test_titles_become_lower_case_words_without_punctuation(catalog):
    table = features.item_features(catalog, title_vocabulary=5000, title_length=10)
    assert words_of(table, 1) == ["bug's", "life", "a", "1998"]
    assert words_of(table, 2) == ["star", "trek", "first", "contact", "1996"]
    assert words_of(table, 3) == ["life"]


def test_row_0_is_padding_and_special_tokens_come_first(catalog):
    table = features.item_features(catalog, title_vocabulary=5000, title_length=10)
    assert table.tokens.shape == (4, 10)
    assert not table.tokens[0].any()
    assert not table.genres[0].any()
    assert table.words[:2] == ("[PAD]", "[UNK]")
    # "life" is the only word that stands in two titles.
    assert table.words[2] == "life"


def test_titles_are_cut_and_rare_words_unknown(catalog):
    table = features.item_features(catalog, title_vocabulary=3, title_length=2)
    assert table.tokens.tolist() == [[0, 0], [1, 2], [1, 1], [2, 0]]


def test_movies_are_described_in_words(catalog):
    table = features.item_features(catalog, title_vocabulary=5000, title_length=3)
    row = features.described(np.array([2]), catalog, table).iloc[0]
    assert row["title"] == "Star Trek: First Contact (1996)"
    assert row["words"] == "star trek first"
    assert row["genres"] == "Action"


def test_genres_are_multi_hot_in_the_order_of_the_vocabulary(catalog):
    table = features.item_features(catalog, title_vocabulary=5000, title_length=10)
    assert catalog.vocabulary == ("Action", "Animation", "Children's")
    assert np.flatnonzero(table.genres[1]).tolist() == [1, 2]
    assert table.genres.sum(axis=1).tolist() == [0, 2, 1, 0]


def test_items_without_any_genre_have_features_of_no_width(catalog):
    bare = Catalog.of(catalog.items.assign(genres=[[], [], []]))
    assert bare.vocabulary == ()
    assert features.item_features(bare, title_vocabulary=5000, title_length=10).genres.shape == (4, 0)


def test_features_leave_the_catalog_as_it_was(catalog):
    before = catalog.items.copy(deep=True)
    features.item_features(catalog, title_vocabulary=5000, title_length=10)
    pd.testing.assert_frame_equal(catalog.items, before)

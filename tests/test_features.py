import numpy as np
import pandas as pd
import pytest
from hypothesis import given, strategies as st

from dualrec_utils.content import features
from dualrec_utils.core.config import GENRES
from dualrec_utils.core.errors import StudyError


@pytest.fixture
def items():
    return pd.DataFrame(
        {
            "item_id": [3, 7, 9],
            "title": ["Bug's Life, A", "Star Trek: First Contact", "Life"],
            "year": pd.array([1998, 1996, None], dtype="Int64"),
            "genres": [["Animation", "Children's"], ["Action"], []],
        }
    )


def words_of(table, row):
    return [table.words[token] for token in table.tokens[row] if token]


def test_titles_become_lower_case_words_without_punctuation(items):
    table = features.item_features(items, title_vocabulary=5000, title_length=10)
    assert words_of(table, 1) == ["bug's", "life", "a", "1998"]
    assert words_of(table, 2) == ["star", "trek", "first", "contact", "1996"]
    assert words_of(table, 3) == ["life"]


def test_row_0_is_padding_and_special_tokens_come_first(items):
    table = features.item_features(items, title_vocabulary=5000, title_length=10)
    assert table.tokens.shape == (4, 10)
    assert not table.tokens[0].any()
    assert not table.genres[0].any()
    assert table.words[:2] == ("[PAD]", "[UNK]")
    # "life" is the only word that stands in two titles.
    assert table.words[2] == "life"


def test_titles_are_cut_and_rare_words_unknown(items):
    table = features.item_features(items, title_vocabulary=3, title_length=2)
    assert table.tokens.tolist() == [[0, 0], [1, 2], [1, 1], [2, 0]]


def test_movies_are_described_in_words(items):
    table = features.item_features(items, title_vocabulary=5000, title_length=3)
    told = features.described(np.array([2]), items, table).iloc[0]
    assert told["title"] == "Star Trek: First Contact (1996)"
    assert told["words"] == "star trek first"
    assert told["genres"] == "Action"


def test_genres_are_multi_hot_in_the_order_of_the_paper(items):
    table = features.item_features(items, title_vocabulary=5000, title_length=10)
    assert [GENRES[column] for column in np.flatnonzero(table.genres[1])] == ["Animation", "Children's"]
    assert table.genres.sum(axis=1).tolist() == [0, 2, 1, 0]


def test_an_unknown_genre_is_named(items):
    bad = items.assign(genres=[["Animation"], ["Kung-Fu"], []])
    with pytest.raises(StudyError, match="Kung-Fu"):
        features.item_features(bad, title_vocabulary=5000, title_length=10)


def test_features_leave_the_catalog_as_it_was(items):
    before = items.copy(deep=True)
    features.item_features(items, title_vocabulary=5000, title_length=10)
    pd.testing.assert_frame_equal(items, before)


def test_rows_count_from_1_and_strangers_are_named(items):
    assert features.rows_of(np.array([9, 3, 7, 3]), items).tolist() == [3, 1, 2, 1]
    with pytest.raises(StudyError, match="movie 8 "):
        features.rows_of(np.array([3, 8]), items)
    with pytest.raises(StudyError, match="movie 10 "):
        features.rows_of(np.array([10]), items)


@given(st.lists(st.text(max_size=40), min_size=1, max_size=8), st.integers(3, 12), st.integers(1, 6))
def test_any_title_gets_its_length_and_known_tokens(titles, vocabulary, length):
    tokenizer = features.title_tokenizer(titles, title_vocabulary=vocabulary, title_length=length)
    for encoding in tokenizer.encode_batch(titles):
        assert len(encoding.ids) == length
        assert max(encoding.ids) < vocabulary
        real = [token for token in encoding.ids if token]
        assert encoding.ids == real + [0] * (length - len(real))

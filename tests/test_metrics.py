"""Metrics, worked by hand, by their properties, and against ranx."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, strategies as st
from ranx import Qrels, Run, evaluate

from dualrec_utils.core import metrics

# ranked list, targets, rank of the first hit
HAND = [
    ([7, 3, 9], [5], math.inf),
    ([7, 3, 9], [7], 1.0),
    ([7, 3, 9], [9], 3.0),
    ([7, 3, 9], [9, 3], 2.0),
    ([None, None, 9], [9], 3.0),
    ([pd.NA, 9], [9], 2.0),
    ([None], [5, 6], math.inf),
    ([], [5], math.inf),
    ([7, 7, 9], [9], 3.0),
]


@pytest.mark.parametrize(("ranked", "targets", "expected"), HAND)
def test_first_hit_rank_by_hand(ranked, targets, expected):
    assert metrics.first_hit_rank(ranked, targets) == expected


def test_a_case_without_a_target_is_an_error():
    with pytest.raises(ValueError, match="at least one target"):
        metrics.first_hit_rank([1], [])


def test_values_by_hand():
    first_hits = np.array([1.0, 2.0, 5.0, 6.0, math.inf])
    assert metrics.hit_rate(first_hits, 5).tolist() == [1, 1, 1, 0, 0]
    assert metrics.hit_rate(first_hits, 1).tolist() == [1, 0, 0, 0, 0]
    assert metrics.ndcg(first_hits, 5) == pytest.approx([1, 1 / math.log2(3), 1 / math.log2(6), 0, 0])
    assert metrics.reciprocal_rank(first_hits, 5) == pytest.approx([1, 0.5, 0.2, 0, 0])


@pytest.mark.parametrize(
    ("genres", "targets", "expected"),
    [
        (["Comedy", "Drama"], ["Drama", "War"], 1 / 3),
        (["Comedy"], ["Comedy"], 1.0),
        (["Comedy"], ["War"], 0.0),
        (None, ["War"], 0.0),
        ([], [], 0.0),
        (np.array(["Drama", "Drama"]), np.array(["Drama"]), 1.0),
    ],
)
def test_genre_jaccard_by_hand(genres, targets, expected):
    assert metrics.genre_jaccard(genres, targets) == pytest.approx(expected)


cases = st.lists(
    st.tuples(
        st.lists(st.one_of(st.none(), st.integers(0, 30)), max_size=20),
        st.sets(st.integers(0, 30), min_size=1, max_size=5),
    ),
    min_size=1,
    max_size=20,
)


@given(cases=cases, k=st.integers(1, 25))
def test_properties(cases, k):
    first_hits = np.array([metrics.first_hit_rank(ranked, targets) for ranked, targets in cases])
    hit, gain, reciprocal = (
        f(first_hits, k) for f in (metrics.hit_rate, metrics.ndcg, metrics.reciprocal_rank)
    )
    assert set(hit) <= {0.0, 1.0}
    for values in (gain, reciprocal):
        assert ((values >= 0) & (values <= hit)).all()
    for function, now in (
        (metrics.hit_rate, hit),
        (metrics.ndcg, gain),
        (metrics.reciprocal_rank, reciprocal),
    ):
        assert (function(first_hits, k + 1) >= now).all()
    assert np.array_equal(metrics.ndcg(first_hits, 1), metrics.hit_rate(first_hits, 1))


@given(cases=cases, extra=st.integers(31, 40))
def test_what_comes_after_the_first_hit_changes_nothing(cases, extra):
    for ranked, targets in cases:
        assert metrics.first_hit_rank([*ranked, extra], targets) == metrics.first_hit_rank(ranked, targets)
        assert (
            metrics.first_hit_rank([extra, *ranked], targets) == metrics.first_hit_rank(ranked, targets) + 1
        )


def test_one_target_agrees_with_ranx():
    rng = np.random.default_rng(5)
    n_cases, n_items, length = 200, 30, 12
    ranked = np.array([rng.permutation(n_items)[:length] for _ in range(n_cases)])
    targets = rng.integers(0, n_items, n_cases)
    ids = [f"case{i:03d}" for i in range(n_cases)]
    rows = [
        (ids[i], f"item{item}", float(length - r))
        for i in range(n_cases)
        for r, item in enumerate(ranked[i])
    ]
    run = pd.DataFrame(rows, columns=["q_id", "doc_id", "score"]).astype({"q_id": object, "doc_id": object})
    truth = pd.DataFrame({"q_id": ids, "doc_id": [f"item{t}" for t in targets], "score": 1})
    truth = truth.astype({"q_id": object, "doc_id": object})
    qrels, run = Qrels.from_df(truth), Run.from_df(run)
    first_hits = np.array([metrics.first_hit_rank(ranked[i], [targets[i]]) for i in range(n_cases)])
    assert 0 < metrics.hit_rate(first_hits, 5).mean() < 1
    for k in (1, 5, 10):
        theirs = evaluate(qrels, run, [f"hit_rate@{k}", f"ndcg@{k}"])
        assert metrics.hit_rate(first_hits, k).mean() == pytest.approx(theirs[f"hit_rate@{k}"], abs=1e-9)
        assert metrics.ndcg(first_hits, k).mean() == pytest.approx(theirs[f"ndcg@{k}"], abs=1e-9)

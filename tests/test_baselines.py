"""Baselines: each worked by hand on three viewers, its guards, and choosing on validation users."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, strategies as st

from dualrec_utils.core import evaluation, predictions, splits
from dualrec_utils.core.catalog import load_catalog
from dualrec_utils.core.config import CASE, HISTORY, ITEM, USER
from dualrec_utils.core.errors import StudyError
from dualrec_utils.core.predictions import Scope, scopes
from dualrec_utils.models import baselines
from dualrec_utils.models.baselines import experiment, random_order
from dualrec_utils.models.baselines.base import incidence, never_seen_last, popularity

ITEMS = np.array([10, 20, 30, 40])
HISTORIES = [np.array([10, 20, 30]), np.array([10, 20, 40]), np.array([20, 30])]
SETTINGS = {
    "random": {},
    "most_popular": {},
    "markov": {"smoothing": 2.0},
    "item_knn": {"query_length": 2, "n_neighbours": 3},
    "sknn": {"query_length": 2, "n_neighbours": 3},
    "vsknn": {"query_length": 2, "n_neighbours": 3, "idf_weight": 0},
    "slim": {"query_length": 2, "alpha": 0.1, "l1_share": 0.1},
    "ease": {"query_length": 2, "l2": 3.0},
}


def fitted(name, **changes):
    return baselines.build(name, ITEMS, seed=5, **SETTINGS[name] | changes).fit(HISTORIES)


def test_choosing_names_does_not_bring_torch():
    code = "import sys, dualrec_utils.models.baselines; assert not {'torch', 'keras'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_hyperparameters_are_named_once_with_the_shared_ones():
    assert list(baselines.model_class("vsknn").hyperparameters()) == [
        "idf_weight",
        "query_length",
        "n_neighbours",
    ]
    assert not baselines.model_class("random").hyperparameters()


def test_incidence_counts_repeats():
    counts = incidence([np.array([1, 1, 0]), np.array([], dtype=int)], 3).toarray()
    assert counts.tolist() == [[1, 2, 0], [0, 0, 0]]


def test_never_seen_movies_are_put_last_and_nothing_else_changes():
    scores = np.array([[3.0, 9.0, -2.0]])
    assert never_seen_last(scores, np.array([0.5, 0.0, 0.5])).tolist() == [[3.0, -3.0, -2.0]]
    assert scores.tolist() == [[3.0, 9.0, -2.0]]


@pytest.mark.parametrize("name", ["sknn", "vsknn", "slim", "ease", "most_popular"])
def test_a_movie_nobody_watched_comes_last_and_an_empty_history_gets_popularity(name):
    catalog = np.array([5, 10, 20, 30, 40])
    model = baselines.build(name, catalog, seed=5, **SETTINGS[name]).fit(HISTORIES)
    scores = model.score([np.array([10, 20]), np.array([], dtype=int), np.array([5])])
    assert (scores.argmin(axis=1) == 0).all()
    assert np.argsort(-scores[1], kind="stable").tolist() == [2, 1, 3, 4, 0]


@pytest.mark.parametrize("name", ["sknn", "slim", "ease", "item_knn"])
def test_models_of_sets_ignore_order(name):
    histories = [np.array([10, 20, 30]), np.array([20, 10, 40])] * 5
    model = baselines.build(name, ITEMS, seed=5, **SETTINGS[name]).fit(histories)
    forth, back = model.score([np.array([10, 20]), np.array([20, 10])])
    assert np.allclose(forth, back, rtol=0, atol=1e-12)


def test_sknn_by_hand():
    # Viewers of {10, 20, 30}, {10, 20, 40}, {20, 30}; the query is {10, 20}.
    first = second = 2 / np.sqrt(2 * 3)
    third = 1 / np.sqrt(2 * 2)
    expected = [first + second, first + second + third, first + third, second]
    assert fitted("sknn").score([np.array([40, 10, 20])])[0] == pytest.approx(expected, abs=1e-8)
    # The two nearest are the first two.
    scores = fitted("sknn", n_neighbours=2).score([np.array([10, 20])])[0]
    assert scores == pytest.approx([first + second, first + second, first, second], abs=1e-8)


def test_sknn_never_asks_the_users_own_session():
    model = baselines.build("sknn", ITEMS, seed=5, **SETTINGS["sknn"]).fit(HISTORIES, user_ids=[7, 8, 9])
    query = [np.array([10, 20])] * 2
    scores = model.score(query, user_ids=[8, 100])
    assert scores[0][3] == pytest.approx(0, abs=1e-8)
    assert np.array_equal(scores[1], model.score(query)[0])


def test_vsknn_by_hand():
    # Weights of the query: 1/2 for 10, 1 for 20, which every viewer watched.
    norm = np.sqrt(0.25 + 1)
    first = second = 1.5 / (norm * np.sqrt(3))
    third = 1 / (norm * np.sqrt(2))
    expected = np.array([first + second, first + second + third, first + third, second])
    assert fitted("vsknn").score([np.array([10, 20])])[0] == pytest.approx(expected, abs=1e-8)
    # With 10 last, the third viewer shares but the older 20: half the cosine, times half a weight.
    swapped = fitted("vsknn").score([np.array([20, 10])])[0]
    assert swapped[2] - swapped[3] == pytest.approx(third / 2 * 0.5, abs=1e-8)
    rare = fitted("vsknn", idf_weight=2).score([np.array([10, 20])])[0]
    factors = 1 + 2 * np.log(3 / np.array([2, 3, 2, 1]))
    assert rare == pytest.approx(expected * factors, abs=1e-8)


def test_slim_by_hand():
    # 10 and 20 always go together: w = (c - alpha rho) / (c + alpha (1 - rho)), c = 2 viewers of 3.
    model = baselines.build("slim", ITEMS, seed=5, query_length=9, alpha=0.1, l1_share=0.4)
    model.fit([np.array([10, 20]), np.array([20, 10]), np.array([30])])
    weight = (2 / 3 - 0.04) / (2 / 3 + 0.06)
    scores = model.score([np.array([10]), np.array([30])])
    assert scores[0] == pytest.approx([0, weight, 0, 0], abs=1e-3)
    assert scores[1] == pytest.approx([0, 0, 0, 0], abs=1e-8)


def test_ease_by_hand():
    # G + 3 I = [[5, 2], [2, 5]] for the first two movies: weight 2 / 5 from either to the other.
    model = baselines.build("ease", ITEMS, seed=5, query_length=1, l2=3.0)
    model.fit([np.array([10, 20]), np.array([20, 10]), np.array([30, 40])])
    assert model.score([np.array([20, 10])])[0] == pytest.approx([0, 2 / 5, 0, 0])


@pytest.mark.parametrize("name", ["ease", "slim"])
def test_linear_models_never_explain_a_movie_by_itself(name):
    model = fitted(name, query_length=1)
    scores = model.score([np.array([item]) for item in ITEMS])
    assert np.abs(np.diag(scores)).max() < 1e-8


def test_user_ids_must_fit_the_histories():
    model = baselines.build("sknn", ITEMS, seed=5, **SETTINGS["sknn"])
    with pytest.raises(StudyError, match="3 training histories need as many different user ids, not 2"):
        model.fit(HISTORIES, user_ids=[1, 2, 2])
    model.fit(HISTORIES, user_ids=[1, 2, 3])
    with pytest.raises(StudyError, match="1 histories need as many user ids, not 2"):
        model.score([np.array([10])], user_ids=[1, 2])


def test_popularity_by_hand():
    columns = [np.array([0, 1, 2]), np.array([0, 1, 3]), np.array([1, 2])]
    assert popularity(columns, 5).tolist() == [2 / 8, 3 / 8, 2 / 8, 1 / 8, 0]


def test_most_popular_by_hand():
    scores = fitted("most_popular").score([np.array([10]), np.array([], dtype=int)])
    assert scores.tolist() == [[0.25, 0.375, 0.25, 0.125]] * 2


def test_markov_by_hand():
    # After 20: 30 twice, 40 once. Popularity 2/8, 3/8, 2/8, 1/8 counts for two transitions.
    scores = fitted("markov").score([np.array([10, 20])])[0]
    assert scores == pytest.approx([0.5 / 5, 0.75 / 5, 2.5 / 5, 1.25 / 5])
    assert scores.sum() == pytest.approx(1)


def test_markov_looks_at_the_last_movie_only():
    scores = fitted("markov").score([np.array([30, 10, 20]), np.array([20])])
    assert np.array_equal(scores[0], scores[1])


def test_markov_falls_back_to_popularity():
    # Nothing ever followed movie 40, and an empty history has no last movie.
    scores = fitted("markov").score([np.array([40]), np.array([], dtype=int)])
    assert scores == pytest.approx(np.array([[0.25, 0.375, 0.25, 0.125]] * 2))


def test_markov_with_much_smoothing_is_popularity():
    scores = fitted("markov", smoothing=100_000).score([np.array([20])])[0]
    assert scores == pytest.approx([0.25, 0.375, 0.25, 0.125], abs=1e-4)


def test_item_knn_by_hand():
    # Viewers: 10 {a, b}, 20 {a, b, c}, 30 {a, c}, 40 {b}. Query 10 and 20; none is its own neighbour.
    both = 2 / np.sqrt(6)
    expected = [both, both, 1 / 2 + both, 1 / np.sqrt(2) + 1 / np.sqrt(3)]
    assert fitted("item_knn").score([np.array([10, 20])])[0] == pytest.approx(expected, abs=1e-8)


def test_item_knn_asks_the_last_movies_only():
    scores = fitted("item_knn").score([np.array([40, 10, 20]), np.array([10, 20])])
    assert np.array_equal(scores[0], scores[1])


def test_item_knn_keeps_the_nearest_neighbours_only():
    # Neighbours of 10: 20 (2/sqrt 6), 40 (1/sqrt 2), 30 (1/2).
    scores = fitted("item_knn", query_length=1, n_neighbours=1).score([np.array([10])])[0]
    assert scores == pytest.approx([0, 2 / np.sqrt(6), 0, 0], abs=1e-8)
    assert np.argsort(-scores)[0] == 1


def test_item_knn_orders_what_is_left_by_popularity():
    scores = fitted("item_knn").score([np.array([], dtype=int)])[0]
    assert np.argsort(-scores, kind="stable").tolist() == [1, 0, 2, 3]
    assert scores.max() < 1e-8


def test_random_orders_depend_on_seed_and_history():
    queries = [np.array([10]), np.array([20]), np.array([10])]
    scores = fitted("random").score(queries)
    assert np.array_equal(scores[0], scores[2])
    assert not np.array_equal(scores[0], scores[1])
    other = baselines.build("random", ITEMS, seed=6).fit(HISTORIES).score(queries)
    assert not np.array_equal(scores[0], other[0])


@pytest.mark.parametrize(
    ("n", "targets", "k", "expected"),
    [(10, 1, 1, 0.1), (10, 1, 5, 0.5), (4, 2, 2, 1 - 1 / 6), (5, 4, 2, 1.0), (6, 5, 1, 5 / 6)],
)
def test_expected_hit_rate_by_hand(n, targets, k, expected):
    rates = random_order.expected_hit_rate(np.array([n]), n_targets=targets, k=k)
    assert rates == pytest.approx([expected])


@given(n=st.integers(12, 2000), k=st.integers(1, 10))
def test_expected_hit_rate_of_one_target_is_k_over_n(n, k):
    assert random_order.expected_hit_rate(np.array([n]), n_targets=1, k=k) == pytest.approx([k / n])


def test_a_random_order_hits_as_often_as_expected():
    catalog = np.arange(20)
    model = baselines.build("random", catalog, seed=1).fit([catalog])
    top = np.argsort(-model.score([np.array([i % 20, i // 20]) for i in range(400)]), axis=1)[:, :5]
    # 400 cases, target 7, expected 0.25 with a standard deviation of 0.022.
    assert (top == 7).any(axis=1).mean() == pytest.approx(0.25, abs=0.07)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("markow", {}, r"no baseline 'markow'; did you mean 'markov'\? known: random, most_popular"),
        ("markov", {"smothing": 1}, r"markov has no hyperparameter 'smothing'; did you mean 'smoothing'"),
        ("random", {"smoothing": 1}, "random has no hyperparameter 'smoothing'; known: none"),
        ("markov", {}, r"missing: \['smoothing'\]"),
        ("markov", {"smoothing": 0}, "smoothing is 0; allowed: a number from 0.001"),
        ("markov", {"smoothing": True}, "smoothing is True; allowed"),
        ("markov", {"smoothing": "10"}, "smoothing is '10'; allowed"),
        ("item_knn", {"query_length": 0, "n_neighbours": 5}, "query_length is 0; allowed: an integer"),
        ("item_knn", {"query_length": 1.5, "n_neighbours": 5}, "query_length is 1.5; allowed: an integer"),
        ("item_knn", {"query_length": 1, "n_neighbours": -1}, "n_neighbours is -1"),
    ],
)
def test_unknown_names_and_impossible_values_are_named(name, settings, message):
    with pytest.raises(StudyError, match=message):
        baselines.build(name, ITEMS, seed=1, **settings)


@pytest.mark.parametrize("catalog", [[], [20, 10], [10, 10]])
def test_a_catalog_out_of_order_is_refused(catalog):
    with pytest.raises(StudyError, match="ascending order"):
        baselines.build("random", np.array(catalog, dtype=int), seed=1)


def test_a_setting_is_measured_on_validation_users(tiny):
    histories = list(splits.load_histories("ml-100k", "train").values())
    chosen = {"query_length": 3, "n_neighbours": 20}
    value = experiment.trial("item_knn", chosen, histories, dataset="ml-100k", seed=1)["ndcg@5"]
    # It is the one that evaluation finds in the written predictions.
    catalog = load_catalog("ml-100k").ids
    model = baselines.build("item_knn", catalog, seed=1, **chosen).fit(histories)
    experiment.write_predictions(model, "item_knn", dataset="ml-100k")
    cases = evaluation.per_case("item_knn", Scope("ml-100k", "baselines", "next_item", "validation"))
    assert cases.groupby(USER)["ndcg@5"].mean().mean() == pytest.approx(value)


def test_the_choice_never_reads_test_cases(tiny, monkeypatch):
    read, real = [], predictions.load_cases

    def noting(scope):
        read.append(scope.split)
        return real(scope)

    monkeypatch.setattr(predictions, "load_cases", noting)
    histories = list(splits.load_histories("ml-100k", "train").values())
    experiment.trial("markov", {"smoothing": 10}, histories, dataset="ml-100k", seed=1)
    assert set(read) == {"validation"}


def test_predictions_are_written_with_and_without_seen_movies(tiny):
    histories = list(splits.load_histories("ml-100k", "train").values())
    catalog = load_catalog("ml-100k").ids
    model = baselines.build("most_popular", catalog, seed=1).fit(histories)
    names = experiment.write_predictions(model, "most_popular", dataset="ml-100k")
    assert names == ["most_popular", "most_popular_seen_kept"]
    for scope in scopes("ml-100k", "baselines"):
        cases = predictions.load_cases(scope).set_index(CASE)[HISTORY]
        lists = {name: predictions.read(name, scope).groupby(CASE)[ITEM].agg(list) for name in names}
        for case, history in cases.items():
            fresh, kept = (lists[name][case] for name in names)
            assert fresh == [item for item in kept if item not in set(history)]
            assert set(kept) == set(catalog)

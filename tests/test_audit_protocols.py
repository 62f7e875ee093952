"""Tests of audit.protocols: candidates, sessions, orders."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, strategies as st
from toy_catalog import catalog_of

from dualrec_utils.audit import protocols, steps
from dualrec_utils.core import config, evaluation, predictions, splits
from dualrec_utils.core.catalog import load_catalog
from dualrec_utils.core.errors import StudyError
from dualrec_utils.core.predictions import Scope
from dualrec_utils.models import baselines
from dualrec_utils.models.baselines import experiment

CATALOG = np.arange(1, 31)
CASES = pd.DataFrame(
    {
        "case_id": [f"c{i:03d}" for i in range(300)],
        "user_id": np.arange(300),
        "history": [np.array([1 + i % 5, 6 + i % 7]) for i in range(300)],
    }
)
TARGETS = pd.Series({case: [20 + i % 10] for i, case in enumerate(CASES["case_id"])})


def test_negatives_are_neither_seen_nor_the_target_and_differ_by_seed():
    drawn = protocols.sample_negatives(CASES, TARGETS, CATALOG, n_negatives=19, seed=4)
    assert drawn.shape == (300, 19)
    for row, case, history in zip(CATALOG[drawn], CASES["case_id"], CASES["history"], strict=True):
        assert len(set(row)) == 19 and not set(row) & {*history, *TARGETS[case]}
    again = protocols.sample_negatives(CASES, TARGETS, CATALOG, n_negatives=19, seed=4)
    other = protocols.sample_negatives(CASES, TARGETS, CATALOG, n_negatives=19, seed=5)
    assert (drawn == again).all() and (drawn != other).any()
    with pytest.raises(StudyError, match="leaves 27 items"):
        protocols.sample_negatives(CASES, TARGETS, CATALOG, n_negatives=28, seed=4)


def sampled(scores):
    negatives = protocols.sample_negatives(CASES, TARGETS, CATALOG, n_negatives=19, seed=4)
    return protocols.sampled(scores, CASES, TARGETS, CATALOG, negatives=negatives)


def test_among_equal_candidates_every_case_is_at_chance():
    scored = sampled(np.full((300, 30), -0.5))
    assert (scored["first_hit"] == 10.5).all()
    assert scored["hit_rate@1"].tolist() == [1 / 20] * 300
    assert scored["hit_rate@5"].tolist() == [5 / 20] * 300
    assert scored["ndcg@5"].to_numpy() == pytest.approx(sum(1 / np.log2([2, 3, 4, 5, 6])) / 20)


def test_equal_scores_count_their_mean_over_all_orders_by_hand():
    # Rank 3 alone; rank 5 or 6; a miss.
    scored = steps.per_case(CASES.head(3), [3, 5, np.inf], [0, 1, 0])
    assert scored["first_hit"].tolist() == [3, 5.5, np.inf]
    assert scored["hit_rate@5"].tolist() == [1, 0.5, 0]
    assert scored["ndcg@5"].tolist() == [0.5, 1 / np.log2(6) / 2, 0]


def test_an_oracle_is_first_and_a_random_order_at_chance():
    truth = np.zeros((300, 30))
    truth[np.arange(300), [TARGETS[case][0] - 1 for case in CASES["case_id"]]] = 1
    assert (sampled(truth)["first_hit"] == 1).all()
    rng = np.random.default_rng(0)
    rate = np.mean([sampled(rng.random((300, 30)))["hit_rate@5"].mean() for _ in range(10)])
    assert rate == pytest.approx(protocols.chance(20, 5), abs=0.03)
    assert protocols.chance(20, 1) == 0.05


@given(st.integers(0, 10_000))
def test_the_full_ranking_is_that_of_the_lists(seed):
    rng = np.random.default_rng(seed)
    # Few distinct scores, so that ties occur.
    scores = rng.integers(0, 5, size=(20, 30)).astype(float)
    some = CASES.head(20)
    lists = predictions.from_scores(scores, some, CATALOG, seed=0)
    expected = evaluation.score_lists(lists, some, TARGETS, catalog_of(CATALOG))["first_hit"].tolist()
    assert protocols.full_ranking(scores, some, TARGETS, CATALOG, seed=0)["first_hit"].tolist() == expected


def interactions():
    day = 86_400
    rows = [
        (1, 11, 0 * day + 5), (1, 12, 0 * day + 9), (1, 13, 1 * day),
        (2, 21, 3 * day - 1), (2, 22, 3 * day), (2, 23, 3 * day), (2, 24, 3 * day + 7),
        (3, 31, 0), (3, 32, 1),
    ]  # fmt: skip
    frame = pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"])
    return frame.assign(position=frame.groupby("user_id").cumcount())


SPLITS = pd.DataFrame({"user_id": [1, 2, 3], "split": ["train", "train", "test"]})
TEST = Scope("ml-100k", "audit", "next_item", "test")


def test_sessions_are_days_of_training_users_with_two_movies_at_least():
    sessions = protocols.day_sessions(interactions(), SPLITS)
    assert [session.tolist() for session in sessions] == [[11, 12], [22, 23, 24]]
    drawn = protocols.drawn_sessions(sessions, n_sessions=1, seed=0)
    assert len(drawn) == 1
    with pytest.raises(StudyError, match="2 sessions, 3 wanted"):
        protocols.drawn_sessions(sessions, n_sessions=3, seed=0)


def test_what_has_no_time_belongs_to_no_session():
    frame = interactions().astype({"timestamp": "Int64"})
    untimed = frame.assign(timestamp=frame["timestamp"].mask(frame["item_id"] == 23))
    sessions = protocols.day_sessions(untimed, SPLITS)
    assert [session.tolist() for session in sessions] == [[11, 12], [22, 24]]


def test_times_are_there_or_not():
    frame = interactions()
    assert protocols.share_untimed(frame) == 0
    assert protocols.share_untimed(frame.astype({"timestamp": "Int64"}).assign(timestamp=pd.NA)) == 1
    assert protocols.share_untimed(frame.drop(columns="timestamp")) == 1


def test_an_lstm_that_was_not_trained_is_named(tiny):
    cases = predictions.load_cases(TEST)
    with pytest.raises(StudyError, match="dvc repro lstm"):
        protocols.lstm_scores(cases, dataset="ml-100k")


def test_a_fitted_baseline_scores_the_cases(tiny):
    catalog = load_catalog("ml-100k")
    cases = predictions.load_cases(TEST)
    known = list(splits.load_histories("ml-100k", "train").values())
    how = {"dataset": "ml-100k", "seed": 0}
    scores = protocols.fitted_scores("markov", {"smoothing": 1.0}, known, cases, catalog, **how)
    assert scores.shape == (len(cases), len(catalog)) and np.isfinite(scores).all()


def test_movies_that_the_histories_cannot_tell_apart_score_alike(tiny):
    """Twins, always rated together: an inverse gives them equal weights but for rounding errors."""
    catalog = load_catalog("ml-100k")
    cases = predictions.load_cases(TEST)
    ids, rng = catalog.ids, np.random.default_rng(5)
    pairs = ids[: len(ids) // 2 * 2].reshape(-1, 2)
    few = [pairs[rng.choice(len(pairs), size=3, replace=False)].ravel() for _ in range(30)]
    queries = cases.assign(history=[pairs[0]] * len(cases))
    how = {"dataset": "ml-100k", "seed": 0}
    scores = protocols.fitted_scores("ease", {"query_length": 7, "l2": 190.0}, few, queries, catalog, **how)
    assert (scores[:, 2 : pairs.size : 2] == scores[:, 3 : pairs.size : 2]).all()
    assert len(np.unique(scores[0])) > 3


def test_a_network_keeps_the_epoch_that_is_best_on_validation_users_however_late_it_comes(tiny):
    catalog = load_catalog("ml-100k")
    cases = predictions.load_cases(TEST)
    few = list(splits.load_histories("ml-100k", "train").values())[:3]
    settings = {"embedding_size": 8, "n_layers": 1, "max_length": 20, "batch_size": 2, "dropout": 0.0}
    settings |= {"learning_rate": 0.01, "weight_decay": 0.0, "max_epochs": 40, "patience": 1}
    scores = protocols.fitted_scores("gru4rec", settings, few, cases, catalog, dataset="ml-100k", seed=0)
    measure = experiment.validation("ml-100k", seed=0)
    best, hasty, last = (
        baselines.build("gru4rec", catalog.ids, seed=0, catalog=catalog, **settings | patience)
        for patience in ({"patience": 40}, {}, {})
    )
    for model in (best, hasty):
        model.fit(few, validate=lambda score: measure(score)["ndcg@5"])
    last.fit(few)
    assert hasty.best_epoch < best.best_epoch < last.best_epoch == 40
    theirs, *others = (np.round(one.score(cases[config.HISTORY]), 12) for one in (best, hasty, last))
    np.testing.assert_array_equal(scores, theirs)
    for other in others:
        assert not np.array_equal(scores, other)

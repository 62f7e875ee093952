"""Rating predictions: folds, what a model sees, errors worked by hand, intervals."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, strategies as st

from dualrec_utils.core import ratings
from dualrec_utils.core.config import ITEM, RATING, TIMESTAMP, USER
from dualrec_utils.core.errors import StudyError
from dualrec_utils.core.ratings import ERROR, FOLD, PREDICTION, RATING_ID

# Two users, three items; the scale is 1 to 5.
GIVEN = pd.DataFrame(
    {
        RATING_ID: range(5),
        USER: [1, 1, 1, 2, 2],
        ITEM: [10, 11, 12, 10, 11],
        RATING: [5.0, 3.0, 1.0, 4.0, 2.0],
        TIMESTAMP: range(5),
    }
)
FOLDS = np.array([1, 2, 3, 4, 5])


def predicted(values, *, seed=0):
    frames = []
    for fold, value in zip(FOLDS, values, strict=True):
        _, pairs = ratings.parts(GIVEN, FOLDS, fold)
        frames.append(ratings.as_predictions(pairs, [value], fold=fold, seed=seed))
    return pd.concat(frames, ignore_index=True)


def test_folds_of_u_data_are_groups_of_20_000_lines():
    folds = ratings.consecutive_folds(100_000)
    for fold in range(1, 6):
        rows = np.flatnonzero(folds == fold)
        assert (rows[0], rows[-1], len(rows)) == (20_000 * (fold - 1), 20_000 * fold - 1, 20_000)


@given(st.integers(5, 500), st.integers(0, 3))
def test_random_folds_have_the_sizes_of_consecutive_ones(n, seed):
    drawn = ratings.random_folds(n, seed=seed)
    assert np.array_equal(np.sort(drawn), ratings.consecutive_folds(n))
    assert np.array_equal(drawn, ratings.random_folds(n, seed=seed))


def test_no_folds_of_fewer_ratings_than_folds():
    with pytest.raises(StudyError, match="4"):
        ratings.consecutive_folds(4)


def test_a_model_sees_no_rating_of_its_fold():
    training, pairs = ratings.parts(GIVEN, FOLDS, 2)
    assert list(training[RATING_ID]) == [0, 2, 3, 4]
    assert list(pairs.columns) == [RATING_ID, USER, ITEM]
    assert pairs[RATING_ID].tolist() == [1]


@pytest.mark.parametrize("fold", [0, 6])
def test_a_fold_that_is_not_there_is_refused(fold):
    with pytest.raises(StudyError, match=str(fold)):
        ratings.parts(GIVEN, FOLDS, fold)


def test_errors_are_clipped_to_the_scale():
    errors = ratings.errors(predicted([7.0, 3.5, -2.0, 4.0, 3.0]), GIVEN)
    assert errors[ERROR].tolist() == [0.0, 0.5, 0.0, 0.0, 1.0]


def test_values_are_means_of_folds_and_the_pooled_ones_stand_beside():
    errors = ratings.errors(predicted([5.0, 4.0, 1.0, 4.0, 4.0]), GIVEN)
    table = ratings.summarise(errors, seed=1, n_bootstrap=200)
    # Errors 0, 1, 0, 0, 2: by fold 0, 1, 0, 0, 2; pooled sqrt(5 / 5).
    assert table.loc["rmse", "value"] == pytest.approx(3 / 5)
    assert table.loc["rmse", "pooled"] == pytest.approx(1.0)
    assert table.loc["mae", ["value", "pooled"]].tolist() == pytest.approx([3 / 5, 3 / 5])
    # Two users: the ends of the interval are those who are drawn alone: 1/3 and 4/2 squared errors a row.
    assert table.loc["rmse", ["low", "high"]].tolist() == pytest.approx([np.sqrt(1 / 3), np.sqrt(2)])
    assert table["n_users"].tolist() == [2, 2]


def test_difference_of_two_systems_is_paired_by_user():
    one = ratings.errors(predicted([5.0, 3.0, 1.0, 4.0, 4.0]), GIVEN)
    other = ratings.errors(predicted([5.0, 4.0, 1.0, 4.0, 2.0]), GIVEN)
    table = ratings.paired_difference(one, other, seed=1, n_bootstrap=200)
    assert table.loc["rmse", "difference"] == pytest.approx(np.sqrt(4 / 5) - np.sqrt(1 / 5))
    # User 1 alone: 0 against sqrt(1/3); user 2 alone: sqrt(4/2) against 0.
    assert table.loc["rmse", ["low", "high"]].tolist() == pytest.approx([-np.sqrt(1 / 3), np.sqrt(2)])
    same = ratings.paired_difference(one, one, seed=1, n_bootstrap=50)
    assert (same[["difference", "low", "high"]] == 0).all(axis=None)


def test_seeds_are_averaged():
    frames = [predicted([5.0, 4.0, 1.0, 4.0, 2.0]), predicted([5.0, 3.0, 1.0, 4.0, 5.0], seed=1)]
    errors = ratings.errors(pd.concat(frames), GIVEN)
    table = ratings.summarise(errors, seed=1, n_bootstrap=50)
    assert table.loc["rmse", "value"] == pytest.approx((1 / 5 + 3 / 5) / 2)
    assert table.loc["rmse", "pooled"] == pytest.approx(1.0)
    assert table.loc["rmse", "n_ratings"] == 5


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda frame: frame.drop(columns=FOLD), FOLD),
        (lambda frame: frame[frame[RATING_ID] != 3], "every rating"),
        (lambda frame: pd.concat([frame, frame[frame[RATING_ID] == 3]]), "twice"),
        (lambda frame: frame.assign(**{ITEM: frame[ITEM] + 1}), "item"),
    ],
)
def test_predictions_that_results_could_misread_are_refused(change, match):
    with pytest.raises(StudyError, match=match):
        ratings.errors(change(predicted([3.0] * 5)), GIVEN)


@pytest.mark.parametrize("values", [[np.nan], [np.inf], [1.0, 2.0]])
def test_values_must_be_finite_numbers_one_a_pair(values):
    _, pairs = ratings.parts(GIVEN, FOLDS, 1)
    with pytest.raises(StudyError):
        ratings.as_predictions(pairs, values, fold=1, seed=0)


def test_other_ratings_are_no_pair():
    errors = ratings.errors(predicted([3.0] * 5), GIVEN)
    with pytest.raises(ValueError, match="different"):
        ratings.paired_difference(errors, errors[errors[USER] == 1], seed=1)


def test_a_prediction_keeps_its_name():
    frame = predicted([3.0] * 5)
    assert list(frame.columns) == list(ratings.COLUMNS)
    assert frame[PREDICTION].eq(3.0).all()

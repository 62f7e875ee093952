"""Rating predictions compared: gains by user and seed, the claims, rankings, variety; worked by hand."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, strategies as st

from dualrec_utils.analysis import ratings as analysis
from dualrec_utils.core.config import GENRE_LIST, ITEM, RANK, RATING, SEED, USER
from dualrec_utils.core.ratings import ERROR, FOLD, PREDICTION, RATING_ID


def errors_of(*by_seed):
    """Errors of ratings 0, 1, 2 (users 1, 1, 2), one list a seed."""
    frames = [
        pd.DataFrame(
            {
                RATING_ID: range(3), USER: [1, 1, 2], ITEM: [10, 11, 10],
                FOLD: 1, SEED: seed, ERROR: np.array(values, dtype=float),
            }
        )
        for seed, values in enumerate(by_seed)
    ]  # fmt: skip
    return pd.concat(frames, ignore_index=True)


INTERVALS = {"seed": 3, "n_bootstrap": 200, "confidence": 0.95}


def test_gains_are_sums_of_squares_and_their_mean_is_the_pooled_difference():
    one, other = errors_of([0, 1, 0]), errors_of([1, 2, 0])
    gains = analysis.squared_gains(one, other)
    # User 1: 1 + 3, times 2 users / 3 ratings.
    assert gains[0].tolist() == pytest.approx([4 * 2 / 3, 0.0])
    assert gains[0].mean() == pytest.approx(5 / 3 - 1 / 3)


def test_difference_of_one_seed_is_that_over_users():
    row = analysis.difference(errors_of([0, 1, 0]), errors_of([1, 2, 0]), **INTERVALS)
    assert row["difference"] == pytest.approx(np.sqrt(5 / 3) - np.sqrt(1 / 3))
    # User 2 alone differs by nothing; user 1 alone by sqrt(5/2) - sqrt(1/2).
    assert row["low"] == pytest.approx(0.0)
    assert row["high"] == pytest.approx(np.sqrt(5 / 2) - np.sqrt(1 / 2))
    assert (row["n_seeds"], row["same_sign"], row["n_users"]) == (1, True, 2)


def test_seeds_that_disagree_widen_the_interval_and_have_no_sign():
    one, other = errors_of([0, 1, 0], [1, 2, 0]), errors_of([1, 2, 0], [0, 1, 0])
    row = analysis.difference(one, other, **INTERVALS)
    assert row["difference"] == pytest.approx(0.0)
    assert not row["same_sign"]
    # t(1) at 97.5 % is 12.706; the SD of d and -d, over the root of two, is d.
    single = np.sqrt(5 / 3) - np.sqrt(1 / 3)
    assert row["high"] >= 12.7 * single


def test_a_claim_needs_several_seeds():
    users = 40
    frame = pd.DataFrame({RATING_ID: range(users), USER: range(users), ITEM: 1, FOLD: 1, SEED: 0})
    good, bad = frame.assign(**{ERROR: 0.1}), frame.assign(**{ERROR: 1.0})
    pairs = {"7": ("good", "bad"), "8": ("bad", "good")}

    def answers(k):
        systems = {
            name: pd.concat([part.assign(**{SEED: number}) for number in range(k)])
            for name, part in (("good", good), ("bad", bad))
        }
        table = analysis.answered(pairs, systems, n_permutations=1_000, **INTERVALS)
        return table.set_index("claim")["answer"].to_dict()

    assert answers(1) == {"7": "unclear", "8": "unclear"}
    assert answers(3) == {"7": "yes", "8": "no"}


def test_other_ratings_do_not_compare():
    with pytest.raises(ValueError, match="different"):
        analysis.squared_gains(errors_of([0, 1, 0]), errors_of([0, 1, 0]).iloc[:2])


def test_ndcg_of_held_out_ratings():
    ratings = pd.DataFrame(
        {
            RATING_ID: range(5),
            USER: [1, 1, 1, 2, 2],
            ITEM: [1, 2, 3, 1, 2],
            RATING: [3.0, 1.0, 2.0, 4.0, 4.0],
        }
    )
    predictions = ratings.drop(columns=RATING).assign(
        **{PREDICTION: [1.0, 3.0, 2.0, 1.0, 2.0], FOLD: 1, SEED: 0}
    )
    table = analysis.ranking(predictions, ratings, k=2, seed=0)
    # User 2's ratings are equal. User 1's list gives 1, 2: (1 + 3 / log2(3)) / (7 + 3 / log2(3)).
    assert table[USER].tolist() == [1]
    assert table["ndcg"].iloc[0] == pytest.approx((1 + 3 / np.log2(3)) / (7 + 3 / np.log2(3)))


def test_equal_predictions_are_drawn():
    ratings = pd.DataFrame({RATING_ID: range(2), USER: 1, ITEM: [1, 2], RATING: [1.0, 5.0]})
    predictions = ratings.drop(columns=RATING).assign(**{PREDICTION: 3.0, FOLD: 1, SEED: 0})
    values = {analysis.ranking(predictions, ratings, k=1, seed=seed)["ndcg"].iloc[0] for seed in range(20)}
    assert values == {1.0, 1 / 31}


def test_variety_by_hand():
    items = pd.DataFrame({ITEM: [1, 2, 3, 4], GENRE_LIST: [["Comedy"], ["Comedy", "Drama"], ["War"], []]})
    lists = pd.DataFrame({USER: [1, 1, 2, 2], RANK: [1, 2, 1, 2], ITEM: [1, 2, 1, 3]})
    counts = pd.Series({1: 10, 2: 4, 3: 2})
    table = analysis.variety(lists, items, counts)
    # Distances 1 - 1/2 and 1; items 1, 2, 3 of 4 are listed, 2, 1 and 1 times.
    assert table["distance"] == pytest.approx(0.75)
    assert table["coverage"] == pytest.approx(0.75)
    assert table["gini"] == pytest.approx(analysis.gini([2, 1, 1, 0]))
    assert table["median_ratings"] == 7.0


@given(st.lists(st.integers(0, 50), min_size=1, max_size=30))
def test_gini_lies_between_nothing_and_one(counts):
    assert -1e-12 <= analysis.gini(counts) < 1
    assert analysis.gini(counts) == pytest.approx(analysis.gini([3 * count for count in counts]))

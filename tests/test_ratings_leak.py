"""No rating that is to be predicted has a part in a prediction, nor have the other pairs asked for.

Both checks are made of every model, and of one that does what it must not, so that they can fail.
"""

import numpy as np
import pandas as pd
import pytest

from dualrec_utils.core import ratings as rules
from dualrec_utils.core.config import ITEM, RATING, TIMESTAMP, USER
from dualrec_utils.core.ratings import RATING_ID
from dualrec_utils.models import ratings as models
from dualrec_utils.models.ratings import experiment
from dualrec_utils.models.ratings.base import Known
from dualrec_utils.models.ratings.biases import Biases

pytestmark = pytest.mark.usefixtures("one_thread")

N_USERS, N_ITEMS = 16, 14
ITEMS = pd.DataFrame(
    {
        ITEM: np.arange(1, N_ITEMS + 1),
        "title": [f"Item {n}" for n in range(N_ITEMS)],
        "year": pd.array([1990 + n for n in range(N_ITEMS)], dtype="Int64"),
        "genres": [["Action"], ["Drama", "War"]] * (N_ITEMS // 2),
    }
)
USERS = pd.DataFrame(
    {
        USER: np.arange(1, N_USERS + 1),
        "age": np.tile([20, 60], N_USERS // 2),
        "gender": ["M", "F"] * (N_USERS // 2),
        "occupation": "clerk",
    }
)
# So wide that clipping hides nothing.
KNOWN = Known(ITEMS, USERS, scale=(-100.0, 100.0))
NEURAL = {"features": "tfidf", "batch_size": 16}
SYSTEMS = {
    "global_mean": {},
    "biases": {},
    "biased_mf": {"n_factors": 2},
    "svdpp": {"n_factors": 2},
    "item_knn": {"shrinkage": 2.0},
    "ncf": {"n_factors": 4, "max_epochs": 2},
    "bayesian": {"n_factors": 2, "n_sweeps": 8, "burn_in": 2, "features": "tfidf"},
    "blend": {
        "members": ["svdpp", "bayesian"],
        "member_settings": {"bayesian": {"n_sweeps": 6, "burn_in": 2}},
    },
    "hybrid_rec": {**NEURAL, "n_epochs": 2},
    "cross_attention": {**NEURAL, "n_factors": 4, "max_epochs": 2},
}


def all_ratings(seed=0):
    """Ratings in the form of :func:`core.ratings.load`: whole stars, in drawn order, with times."""
    draw = np.random.default_rng(seed)
    users, items = np.divmod(draw.permutation(N_USERS * N_ITEMS)[: N_USERS * N_ITEMS * 3 // 4], N_ITEMS)
    return pd.DataFrame(
        {
            RATING_ID: np.arange(len(users)),
            USER: users + 1,
            ITEM: items + 1,
            RATING: draw.integers(1, 6, len(users)).astype(float),
            TIMESTAMP: draw.integers(0, 1000, len(users)),
        }
    )


RATINGS = all_ratings()
FOLDS = rules.consecutive_folds(len(RATINGS))


def predicted(ratings, settings, fold=2):
    piece = experiment.fit_fold(settings, ratings, FOLDS, known=KNOWN, fold=fold, seed=0, list_length=3)
    return piece.predictions["prediction"].to_numpy()


def sees_what_is_held_out(settings, fold=2):
    """Does a prediction change when the ratings to be predicted, and their times, are other ones?"""
    draw, held_out = np.random.default_rng(1), fold == FOLDS
    changed = RATINGS.copy()
    changed.loc[held_out, RATING] = draw.integers(1, 6, held_out.sum()).astype(float)
    changed.loc[held_out, TIMESTAMP] = draw.integers(0, 1000, held_out.sum())
    return not np.array_equal(predicted(RATINGS, settings), predicted(changed, settings))


@pytest.mark.parametrize("name", SYSTEMS)
def test_what_is_held_out_has_no_part_in_a_prediction(name):
    assert not sees_what_is_held_out({"model": name, **SYSTEMS[name]})


@pytest.mark.parametrize("name", ["hybrid_rec", "cross_attention"])
def test_the_leak_of_the_published_code_is_seen_as_one(name):
    assert sees_what_is_held_out({"model": name, **SYSTEMS[name], "profiles": "all"})


def asked_alone_or_together(model, pairs):
    """Largest change of a prediction when pairs are asked one by one, or half of them in another order."""
    together = model.predict(pairs)
    alone = np.concatenate([model.predict(pairs.iloc[[row]]) for row in range(len(pairs))])
    some = np.random.default_rng(0).permutation(len(pairs))[: len(pairs) // 2]
    parts = model.predict(pairs.iloc[some])
    return max(np.abs(alone - together).max(), np.abs(parts - together[some]).max())


class CentresWhatIsAsked(Biases):
    """Takes the mean of the pairs asked for to be known: it is not."""

    def _predict(self, users, items):
        values = super()._predict(users, items)
        return values - values.mean() + self.mean


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_prediction_does_not_depend_on_the_other_pairs(name):
    training, pairs = rules.parts(RATINGS, FOLDS, 2)
    model = models.build(name, KNOWN, seed=0, **SYSTEMS[name]).fit(training)
    # Products of matrices of other shapes are summed in another order: the last digits of a float32.
    assert asked_alone_or_together(model, pairs) < 1e-5


def test_a_model_that_looks_at_the_other_pairs_is_seen():
    training, pairs = rules.parts(RATINGS, FOLDS, 2)
    model = CentresWhatIsAsked(KNOWN, seed=0).fit(training)
    assert asked_alone_or_together(model, pairs) > 0.01
    assert np.allclose(model.predict(pairs), CentresWhatIsAsked(KNOWN, seed=0).fit(training).predict(pairs))


def test_no_model_reads_a_time():
    """The frames that models get have times; what they work on has none."""
    training, pairs = rules.parts(RATINGS, FOLDS, 2)
    shuffled = training.assign(**{TIMESTAMP: training[TIMESTAMP].to_numpy()[::-1]})
    for name, settings in SYSTEMS.items():
        one, other = (models.build(name, KNOWN, seed=0, **settings).fit(t) for t in (training, shuffled))
        assert np.array_equal(one.predict(pairs), other.predict(pairs)), name

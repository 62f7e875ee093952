"""Rating models that learn from ratings: sums and steps by hand, what each should learn, somebody new."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, strategies as st

from dualrec_utils.core.config import ITEM, RATING, USER
from dualrec_utils.core.errors import StudyError
from dualrec_utils.models import ratings as models
from dualrec_utils.models.ratings import attributes, blend
from dualrec_utils.models.ratings.base import Known, NotSupported, Profile, Rows
from dualrec_utils.models.ratings.gibbs import Kind, Noise, Vectors
from dualrec_utils.models.ratings.least_squares import Side, with_ones
from dualrec_utils.models.ratings.neighbours import similarities

pytestmark = pytest.mark.usefixtures("one_thread")

N_USERS, N_ITEMS = 30, 20
GENRES = [["Action"], ["Drama"]] * (N_ITEMS // 2)
ITEMS = pd.DataFrame(
    {
        ITEM: np.arange(10, 10 + N_ITEMS),
        "title": [f"Item {'of war' if n % 2 == 0 else 'and tears'} {n}" for n in range(N_ITEMS)],
        "year": pd.array([1990 + n for n in range(N_ITEMS)], dtype="Int64"),
        "genres": GENRES,
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
KNOWN = Known(ITEMS, USERS)
# An item nobody rates, which has the genre of those with even numbers.
COLD = 10 + N_ITEMS - 2
FAST = {
    "biased_mf": {"n_factors": 2, "penalty": 1.0, "bias_penalty": 1.0},
    "svdpp": {"n_factors": 2, "penalty": 1.0, "implicit_penalty": 5.0, "bias_penalty": 1.0},
    "item_knn": {"shrinkage": 5.0},
    "ncf": {"n_factors": 4, "batch_size": 32, "max_epochs": 20, "learning_rate": 0.01},
    "bayesian": {"n_factors": 2, "n_sweeps": 40, "burn_in": 10},
    "blend": {"member_settings": {"svdpp": {"n_factors": 2}}},
}
FOLD_IN = [name for name in FAST if name != "ncf"]


def drawn(seed=0, *, share=0.7):
    """Ratings of a world in which even users like even items and odd users odd ones."""
    draw = np.random.default_rng(seed)
    users, items = np.divmod(np.arange(N_USERS * N_ITEMS), N_ITEMS)
    liked = np.where(users % 2 == items % 2, 1.2, -1.2)
    values = 3 + liked + 0.3 * draw.standard_normal(len(users))
    frame = pd.DataFrame({USER: users + 1, ITEM: items + 10, RATING: np.clip(np.round(values), 1, 5)})
    return frame[(draw.random(len(frame)) < share) & (frame[ITEM] != COLD)]


TRAINING = drawn()
PAIRS = pd.MultiIndex.from_product([USERS[USER], ITEMS[ITEM]], names=[USER, ITEM]).to_frame(index=False)


def built(name, *, known=KNOWN, seed=0, **settings):
    return models.build(name, known, seed=seed, **FAST[name] | settings)


@pytest.fixture(scope="module")
def fitted():
    return {name: built(name).fit(TRAINING) for name in FAST}


# Every model.


@pytest.mark.parametrize("name", FAST)
def test_every_pair_has_a_prediction_within_the_scale(name, fitted):
    values = fitted[name].predict(pd.concat([PAIRS, PAIRS.assign(**{USER: 999})]))
    assert np.isfinite(values).all()
    assert values.min() >= 1 and values.max() <= 5


@pytest.mark.parametrize("name", FAST)
def test_every_model_learns_that_even_users_like_even_items(name, fitted):
    pairs = PAIRS[PAIRS[ITEM] != COLD].merge(TRAINING, on=[USER, ITEM], how="left")
    pairs = pairs[pairs[RATING].isna()]
    values = fitted[name].predict(pairs)
    likes = pairs[USER] % 2 != pairs[ITEM] % 2  # users count from 1
    assert values[likes].mean() > values[~likes].mean() + 1


@pytest.mark.parametrize("name", FAST)
def test_the_same_seed_gives_the_same_digits_and_leaves_what_it_is_given(name, fitted):
    before, numpy_state = TRAINING.copy(), np.random.get_state()[1].copy()  # noqa: NPY002
    again = built(name).fit(TRAINING)
    assert np.array_equal(again.predict(PAIRS), fitted[name].predict(PAIRS))
    pd.testing.assert_frame_equal(TRAINING, before)
    assert np.array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002


@pytest.mark.parametrize("name", ["biased_mf", "svdpp", "ncf", "bayesian"])
def test_another_seed_starts_elsewhere(name, fitted):
    assert not np.array_equal(built(name, seed=1).fit(TRAINING).predict(PAIRS), fitted[name].predict(PAIRS))


@pytest.mark.parametrize("name", FAST)
def test_one_rating_is_enough(name):
    model = built(name).fit(TRAINING.iloc[:1])
    assert np.isfinite(model.predict(PAIRS)).all()


# Somebody new.


@pytest.mark.parametrize(
    ("name", "apart"),
    [("biased_mf", 1e-9), ("svdpp", 1e-9), ("item_knn", 0.1), ("bayesian", 0.4), ("blend", 0.1)],
)
def test_a_user_who_comes_back_as_a_profile_is_predicted_as_before(name, apart, fitted):
    rated = TRAINING[TRAINING[USER] == 3]
    profile = Profile(dict(zip(rated[ITEM].tolist(), rated[RATING].tolist(), strict=True)))
    pairs = PAIRS[PAIRS[USER] == 3]
    before = fitted[name].predict(pairs)
    as_new = fitted[name].predict(pairs, profiles={3: profile})
    assert np.abs(as_new - before).max() < apart
    # A profile stands for nobody else, and the opposite one is answered otherwise.
    opposite = Profile({item: 6 - rating for item, rating in profile.ratings.items()})
    assert np.abs(fitted[name].predict(pairs, profiles={3: opposite}) - before).max() > 1
    everybody = fitted[name].predict(PAIRS, profiles={3: opposite})
    others = (PAIRS[USER] != 3).to_numpy()
    assert np.array_equal(everybody[others], fitted[name].predict(PAIRS)[others])


def test_bayesian_factors_differ_for_a_profile_only_by_features_that_it_lacks():
    model = built("bayesian", implicit=False, attributes=False).fit(TRAINING)
    rated = TRAINING[TRAINING[USER] == 3]
    profile = Profile(dict(zip(rated[ITEM].tolist(), rated[RATING].tolist(), strict=True)))
    pairs = PAIRS[PAIRS[USER] == 3]
    apart = model.predict(pairs, profiles={3: profile}) - model.predict(pairs)
    assert np.abs(apart).max() < 0.1


@pytest.mark.parametrize("name", FOLD_IN)
def test_an_empty_profile_is_anybody(name, fitted):
    pairs = PAIRS[PAIRS[USER] == 3].assign(**{USER: 999})
    by_profile = fitted[name].predict(pairs, profiles={999: Profile()})
    assert by_profile == pytest.approx(fitted[name].predict(pairs), abs=1e-9)


def test_neural_cf_cannot_predict_for_somebody_new(fitted):
    with pytest.raises(NotSupported, match="NeuralCF"):
        fitted["ncf"].predict(PAIRS, profiles={3: Profile({10: 5.0})})


@pytest.mark.parametrize("name", [*FOLD_IN, "biases"])
@pytest.mark.parametrize(("profile", "match"), [({10: 7.0}, "7"), ({77: 4.0}, "77"), ({10: np.nan}, "nan")])
def test_profiles_of_unknown_items_or_ratings_outside_the_scale_are_refused(name, profile, match, fitted):
    model = fitted.get(name) or models.build(name, KNOWN, seed=0).fit(TRAINING)
    with pytest.raises(StudyError, match=match):
        model.predict(PAIRS, profiles={3: Profile(profile)})


def test_training_ratings_outside_the_scale_are_refused():
    with pytest.raises(StudyError, match=r"5\.5"):
        built("biased_mf").fit(TRAINING.assign(**{RATING: 5.5}))


# Sums over ratings.


@given(st.integers(0, 50), st.integers(1, 4))
def test_normal_equations_are_sums_over_a_rows_ratings(seed, d):
    draw = np.random.default_rng(seed)
    places = np.flatnonzero(draw.random(5 * 6) < 0.5)
    rows, columns = np.divmod(draw.permutation(places), 6)
    design, targets, weights = draw.random((6, d)), draw.random(len(rows)), draw.random(len(rows))
    products, sums = Side(rows, columns, (5, 6)).normal_equations(design, targets, weights)
    for row in range(5):
        here = rows == row
        z, w = design[columns[here]], weights[here]
        assert products[row] == pytest.approx((z * w[:, None]).T @ z)
        assert sums[row] == pytest.approx(z.T @ (w * targets[here]))


# Factors.


def penalised(design, targets, penalties):
    """Ridge regression by another way: least squares with a row more for each penalty."""
    rows = np.vstack([design, np.diag(np.sqrt(penalties))])
    return np.linalg.lstsq(rows, np.append(targets, np.zeros(len(penalties))), rcond=None)[0]


@pytest.mark.parametrize("name", ["biased_mf", "svdpp"])
def test_the_last_step_solves_for_each_user(name, fitted):
    model = fitted[name]
    for user in (1, 2):
        rated = TRAINING[TRAINING[USER] == user]
        rows = rated[ITEM].to_numpy() - 10
        targets = rated[RATING].to_numpy() - model.mean - model.items[rows, -1]
        if name == "svdpp":
            targets -= model.items[rows, :-1] @ model.implicit[rows].sum(axis=0) / np.sqrt(len(rows))
        solved = penalised(with_ones(model.items[rows]), targets, [1.0, 1.0, 1.0])
        assert model.users[user - 1] == pytest.approx(solved)


def loss(model, users, items, implicit):
    """SVD++'s objective, written out rating by rating."""
    total = 1.0 * ((users**2).sum() + (items**2).sum()) + 5.0 * (implicit**2).sum()
    for user, rated in TRAINING.groupby(USER):
        rows = rated[ITEM].to_numpy() - 10
        whole = users[user - 1, :-1] + implicit[rows].sum(axis=0) / np.sqrt(len(rows))
        said = model.mean + users[user - 1, -1] + items[rows, -1] + items[rows, :-1] @ whole
        total += ((rated[RATING].to_numpy() - said) ** 2).sum()
    return total


def test_no_small_change_betters_svdpp():
    model = built("svdpp", n_rounds=200).fit(TRAINING)
    parts = [model.users, model.items, model.implicit]
    best, draw = loss(model, *parts), np.random.default_rng(0)
    for number, part in enumerate(parts):
        for _ in range(5):
            changed = list(parts)
            changed[number] = part + 1e-3 * draw.standard_normal(part.shape)
            assert loss(model, *changed) > best
    assert best < loss(model, *(np.zeros_like(part) for part in parts))


def test_an_item_that_nobody_rated_has_no_factors_of_its_own(fitted):
    for name in ("biased_mf", "svdpp"):
        assert (fitted[name].items[COLD - 10] == 0).all()


# Neighbours.


def test_similarities_by_hand():
    users = np.array([0, 0, 0, 1, 1, 1, 2, 2])
    items = np.array([0, 1, 2, 0, 1, 2, 0, 1])
    residuals = np.array([1.0, 1.0, -1.0, -1.0, -2.0, 1.0, 2.0, 0.0])
    matrix = similarities(users, items, residuals, n_items=4, shrinkage=2.0)
    # Items 0 and 1, three users: (1 + 2 + 0) / sqrt(6 * 5) * 2 / 4.
    assert matrix[0, 1] == matrix[1, 0] == pytest.approx(3 / np.sqrt(30) / 2)
    # Items 0 and 2, the first two users alone: (-1 - 1) / sqrt(2 * 2) * 1 / 3.
    assert matrix[0, 2] == pytest.approx(-1 / 3)
    # Items 1 and 2: (-1 - 2) / sqrt(5 * 2) * 1 / 3. Nobody rated item 3.
    assert matrix[2, 1] == pytest.approx(-1 / np.sqrt(10))
    assert (matrix[3] == 0).all() and (np.diag(matrix) == 0).all()


@pytest.mark.parametrize(
    ("n_neighbours", "offset"), [(1, 1.0), (2, (0.6 * 1.0 + 0.2 * -3.0) / 0.8), (40, (0.6 - 0.6) / 0.8)]
)
def test_a_neighbours_prediction_by_hand(n_neighbours, offset, fitted):
    model = built("item_knn", n_neighbours=n_neighbours).fit(TRAINING)
    model.similarities = np.zeros((N_ITEMS, N_ITEMS))
    # The third speaks against item 0: it does not count. Item 9 is like none that is rated.
    model.similarities[0, 1:4] = [0.6, 0.2, -0.5]
    rated, residuals = np.array([1, 2, 3]), np.array([1.0, -3.0, 4.0])
    offsets = model._offsets(rated, residuals, np.array([0, 9]))
    assert offsets.tolist() == pytest.approx([offset, 0.0])


@given(st.integers(0, 20))
def test_similarities_are_correlations(seed):
    draw = np.random.default_rng(seed)
    users, items = np.divmod(np.flatnonzero(draw.random(8 * 5) < 0.7), 5)
    if len(users):
        matrix = similarities(users, items, draw.standard_normal(len(users)), n_items=5, shrinkage=0.0)
        assert np.isfinite(matrix).all() and np.abs(matrix).max() <= 1 + 1e-9
        assert matrix == pytest.approx(matrix.T)


# Neural CF.


def test_neural_cf_keeps_the_best_epoch(fitted):
    curve = fitted["ncf"].curve
    assert fitted["ncf"].best_epoch == curve.loc[curve["rmse"].idxmin(), "epoch"]
    again = built("ncf", max_epochs=int(fitted["ncf"].best_epoch)).fit(TRAINING)
    assert np.array_equal(again.predict(PAIRS), fitted["ncf"].predict(PAIRS))


def test_a_loss_that_is_no_number_is_one_message():
    with pytest.raises(StudyError, match="learning_rate"):
        built("ncf", learning_rate=1e30, max_epochs=5).fit(TRAINING)


# What the Gibbs sampler draws.


@pytest.mark.parametrize("shape", [(12, 4), (5, 9)])
def test_weights_of_features_are_drawn_from_their_posterior(shape):
    draw = np.random.default_rng(0)
    x, targets, precision = draw.standard_normal(shape), draw.standard_normal((shape[0], 2)), 1.5
    vector_precision = np.array([[2.0, 0.6], [0.6, 1.0]])
    kind, shifts = Kind(x), []
    for _ in range(2000):
        kind.precision = precision
        kind.draw(targets, vector_precision, draw)
        shifts.append(kind.shift)
    inverse = np.linalg.inv(x.T @ x + precision * np.eye(shape[1]))
    means, spreads = np.mean(shifts, axis=0), np.array(shifts).reshape(2000, -1)
    covariance = np.kron(x @ inverse @ x.T, np.linalg.inv(vector_precision))
    assert np.abs(means - x @ inverse @ x.T @ targets).max() < 5 * np.sqrt(covariance.max() / 2000)
    assert np.cov(spreads.T) == pytest.approx(covariance, abs=0.15 * covariance.max())
    assert x @ kind.weights() == pytest.approx(kind.shift)


def test_a_kind_that_explains_much_has_a_lower_precision_than_one_that_explains_nothing():
    draw = np.random.default_rng(0)
    x = draw.standard_normal((50, 5))
    precisions = []
    for targets in (3 * x @ draw.standard_normal((5, 2)), 0.1 * draw.standard_normal((50, 2))):
        kind, seen = Kind(x), []
        for _ in range(50):
            kind.draw(targets, np.eye(2), draw)
            seen.append(kind.precision)
        precisions.append(np.mean(seen[10:]))
    assert precisions[0] < 1 < precisions[1]


def test_vectors_are_drawn_around_the_solution_of_their_normal_equations():
    draw = np.random.default_rng(0)
    vectors = Vectors({}, (3, 2), draw)
    vectors.mean, vectors.precision = np.array([1.0, -1.0]), np.array([[2.0, 0.5], [0.5, 1.0]])
    z, y = draw.standard_normal((3, 4, 2)), draw.standard_normal((3, 4))
    products, sums = np.einsum("nki,nkj->nij", z, z), np.einsum("nki,nk->ni", z, y)
    samples = []
    for _ in range(2000):
        vectors.draw_vectors(products, sums, draw)
        samples.append(vectors.vectors)
    for row in range(3):
        precision = z[row].T @ z[row] + vectors.precision
        expected = np.linalg.inv(precision) @ (z[row].T @ y[row] + vectors.precision @ vectors.mean)
        assert vectors.expected[row] == pytest.approx(expected)
        covariance = np.cov(np.array(samples)[:, row].T)
        assert covariance == pytest.approx(np.linalg.inv(precision), abs=0.03)


def test_the_prior_learns_mean_and_spread_of_vectors():
    draw = np.random.default_rng(0)
    vectors = Vectors({}, (2000, 2), draw)
    vectors.vectors = np.array([2.0, -1.0]) + draw.standard_normal((2000, 2)) * [0.5, 2.0]
    covariances = []
    for _ in range(50):
        vectors.draw_prior(draw)
        covariances.append(np.linalg.inv(vectors.precision))
    assert vectors.mean == pytest.approx([2.0, -1.0], abs=0.2)
    assert np.diag(np.mean(covariances, axis=0)) == pytest.approx([0.25, 4.0], rel=0.1)


def test_a_user_whose_ratings_scatter_has_little_precision():
    draw = np.random.default_rng(0)
    users, items = np.divmod(np.arange(4 * 100), 100)
    noise = Noise(Rows(users, items, np.zeros(400)), 4, 100, 20.0)
    residuals = draw.standard_normal(400) * np.where(users == 2, 2.0, 0.5)
    for _ in range(5):
        noise.draw(residuals, draw)
    assert noise.of_users.argmin() == 2
    spread = noise.of_ratings[users == 0].mean() / noise.of_ratings[users == 2].mean()
    assert spread == pytest.approx(16, rel=0.5)


# Bayesian factors.


def gap(model):
    """How much better even users like the cold item than odd ones do."""
    pairs = PAIRS[PAIRS[ITEM] == COLD]
    values = model.predict(pairs)
    return values[(pairs[USER] % 2 == 1)].mean() - values[(pairs[USER] % 2 == 0)].mean()


@pytest.mark.parametrize("kind", [{"attributes": True}, {"features": "tfidf"}])
def test_features_say_how_an_item_without_ratings_will_fare(kind, fitted):
    without = built("bayesian", implicit=False, attributes=False).fit(TRAINING)
    model = built("bayesian", **{"implicit": False, "attributes": False} | kind).fit(TRAINING)
    assert abs(gap(without)) < 0.5 < gap(model)


def test_a_text_alone_speaks_for_somebody_new():
    model = built("bayesian", features="tfidf", attributes=False).fit(TRAINING)
    pairs = PAIRS[PAIRS[USER] == 1].assign(**{USER: 999})
    texts = ["Age: 20, gender: M, occupation: clerk.", "Age: 60, gender: F, occupation: clerk."]
    values = [model.predict(pairs, profiles={999: Profile(text=text)}) for text in texts]
    even = (pairs[ITEM] % 2 == 0).to_numpy()
    assert (values[0] - values[1])[even].mean() > 0.5
    assert (values[0] - values[1])[~even].mean() < -0.5


def test_where_nothing_is_known_of_users_and_items_only_ratings_speak():
    bare = Known(
        ITEMS.assign(genres=[[] for _ in range(N_ITEMS)], year=pd.array([None] * N_ITEMS, "Int64"))
    )
    model = built("bayesian", known=bare).fit(TRAINING)
    same = built("bayesian", known=bare, attributes=False).fit(TRAINING)
    assert np.array_equal(model.predict(PAIRS), same.predict(PAIRS))
    assert list(model.weight_precisions["users"]) == ["implicit"]
    assert np.isfinite(built("bayesian", known=bare, features="tfidf").fit(TRAINING).predict(PAIRS)).all()


@pytest.mark.parametrize(
    ("settings", "match"),
    [({"burn_in": 40}, "burn_in"), ({"n_factors": 0}, "n_factors"), ({"features": "smell"}, "smell")],
)
def test_impossible_settings_of_bayesian_factors_are_refused(settings, match):
    with pytest.raises(StudyError, match=match):
        built("bayesian", **settings)


def test_attributes_by_hand():
    items = pd.DataFrame(
        {"genres": [["A", "B"], ["A"], []], "year": pd.array([1995, None, 1987], dtype="Int64")},
        index=[5, 6, 7],
    )
    # Genres A and B, then the eighties and the nineties, of which two items are known.
    assert attributes.of_items(items) == pytest.approx(
        np.array([[1 / 3, 2 / 3, -1 / 2, 1 / 2], [1 / 3, -1 / 3, 0, 0], [-2 / 3, -1 / 3, 1 / 2, -1 / 2]])
    )
    users = pd.DataFrame(
        {
            USER: [1, 2, 9],
            "age": [17, 30, 40],
            "gender": ["F", "M", "M"],
            "occupation": [None, "clerk", None],
        }
    )
    # Ages under 18 and from 25, F and M, clerk; user 3 is not there, 9 is not wanted.
    assert attributes.of_users(users, np.array([1, 2, 3])) == pytest.approx(
        np.array([[0.5, -0.5, 0.5, -0.5, 0], [-0.5, 0.5, -0.5, 0.5, 0], [0, 0, 0, 0, 0]])
    )
    assert attributes.of_users(users.iloc[:0], np.array([1, 2])).shape[0] == 2


# Blends.


def test_equal_weights_are_the_mean_of_the_members(fitted):
    model = built("blend", members=("biases", "item_knn"), weights="mean").fit(TRAINING)
    members = [models.build(name, KNOWN, seed=0).fit(TRAINING).predict(PAIRS) for name in model.members]
    assert model.predict(PAIRS) == pytest.approx(np.mean(members, axis=0))


def test_a_blend_trusts_the_member_that_is_right():
    # Biases know nothing of who likes what.
    model = built("blend", members=("biases", "biased_mf"), penalty=0.1)
    model.member_settings = {"biased_mf": FAST["biased_mf"]}
    weights = model.fit(TRAINING).member_weights
    assert weights[1] > 0.8 > 0.5 > abs(weights[0])
    pulled = built("blend", members=("biases", "biased_mf"), penalty=1e9).fit(TRAINING)
    assert pulled.member_weights == pytest.approx([0.5, 0.5], abs=1e-3)


@given(st.integers(0, 30), st.floats(0.1, 50))
def test_ridge_is_least_squares_with_rows_for_the_penalty(seed, penalty):
    draw = np.random.default_rng(seed)
    x, y, towards = draw.standard_normal((8, 3)), draw.standard_normal(8), np.full(3, 1 / 3)
    direct = towards + penalised(x, y - x @ towards, np.full(3, penalty))
    assert blend.ridge(x, y, penalty=penalty, towards=towards) == pytest.approx(direct)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"members": ("ncf",)}, "ncf"),
        ({"members": ()}, "members"),
        ({"weights": "best"}, "best"),
        ({"member_settings": {"svdpp": {"depth": 3}}}, "depth"),
        ({"member_settings": {"svd": {}}}, "svd"),
    ],
)
def test_impossible_blends_are_refused(settings, match):
    with pytest.raises(StudyError, match=match):
        built("blend", **settings)

"""Rating models that read texts: whose ratings a text knows, vectors, controls, losses, somebody new."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, strategies as st
from toy_ratings import ITEMS, USERS

from dualrec_utils.core.config import ITEM, RATING, USER
from dualrec_utils.core.errors import StudyError
from dualrec_utils.models import ratings as models
from dualrec_utils.models.ratings import features, tags, texts
from dualrec_utils.models.ratings.base import Known, Profile
from dualrec_utils.models.ratings.cross_attention import loss_of
from dualrec_utils.models.ratings.features import TextVectors

pytestmark = pytest.mark.usefixtures("one_thread")

# So wide that clipping hides nothing.
KNOWN = Known(ITEMS, USERS, scale=(-100.0, 100.0))
RATINGS = pd.DataFrame(
    {USER: [1, 1, 1, 2, 2], ITEM: [10, 20, 30, 20, 40], RATING: [4.0, 2.0, 5.0, 3.0, 3.0]}
)
SMALL = {"n_factors": 4, "batch_size": 16, "max_epochs": 2, "features": "tfidf"}


def many(n_users=12, seed=0):
    """Ratings of some users of all four items, drawn."""
    draw = np.random.default_rng(seed)
    pairs = [(user, item) for user in range(1, n_users + 1) for item in ITEMS[ITEM]]
    frame = pd.DataFrame(pairs, columns=[USER, ITEM])
    return frame.assign(**{RATING: draw.integers(1, 6, len(frame)).astype(float)})


def built(name, *, known=KNOWN, seed=0, **settings):
    small = SMALL if name == "cross_attention" else {"n_epochs": 2, "batch_size": 16, "features": "tfidf"}
    return models.build(name, known, seed=seed, **small | settings)


def test_an_items_text_leaves_out_what_is_not_known():
    assert texts.item_texts(ITEMS)[::3] == [
        "Title: Heat. Year: 1995. Genres: Action, Crime.",
        "Title: unknown.",
    ]
    assert texts.item_texts(ITEMS, genres=False)[0] == "Title: Heat. Year: 1995."


def test_a_profile_names_what_is_rated_highest():
    assert texts.profiles(RATINGS, KNOWN) == {
        1: "Age: 24, gender: M, occupation: clerk."
        " Favourite items: Alien (1979), Heat (1995), Big Night (1996).",
        2: "Age: 53, gender: F. Favourite items: Big Night (1996), unknown.",
    }
    assert texts.profiles(RATINGS, Known(ITEMS))[2] == "Favourite items: Big Night (1996), unknown."


def test_ages_that_pandas_made_floats_are_whole():
    users = pd.DataFrame(
        {USER: [1, 2], "age": [24.0, None], "gender": ["M", None], "occupation": [None, None]}
    )
    assert texts.demographics(users) == {1: "Age: 24, gender: M.", 2: ""}


def test_a_paragraph_by_hand():
    written = texts.paragraphs(RATINGS, KNOWN)
    # Action: 4 and 5; Crime 4; Drama 2; Horror 5. Standard deviation of 4, 2, 5: sqrt(14) / 3 = 1.247.
    assert written[1] == (
        "Liked genres: Horror (mean 5.00, 1 ratings), Action (mean 4.50, 2 ratings), Crime (mean 4.00,"
        " 1 ratings), Drama (mean 2.00, 1 ratings). Ratings: 2: 1, 4: 1, 5: 1. 3 ratings with a mean of"
        " 3.67 and a spread of 1.25."
    )
    assert "genres" not in texts.paragraphs_without_genres(RATINGS, KNOWN)[1]


@given(st.integers(0, 20), st.integers(0, 47), st.floats(1, 5))
def test_texts_of_a_fold_do_not_change_with_a_rating_that_is_held_out(seed, row, value):
    everything = many(seed=seed)
    training = everything.drop(index=row)
    changed = everything.copy()
    changed.loc[row, RATING] = value
    for write in (texts.profiles, texts.paragraphs, texts.paragraphs_without_genres):
        assert write(training, KNOWN) == write(changed.drop(index=row), KNOWN)
    # The other way round, so that the test can fail: a text of everything knows it.
    changed.loc[row, RATING] = everything.loc[row, RATING] % 5 + 1
    assert texts.paragraphs(everything, KNOWN) != texts.paragraphs(changed, KNOWN)


@pytest.mark.parametrize("name", ["hybrid_rec", "cross_attention"])
def test_a_model_writes_its_texts_from_the_training_ratings(name):
    training = many()
    fitted = built(name).fit(training)
    texts_given = texts.paragraphs(training.assign(**{RATING: 6 - training[RATING]}), KNOWN)
    leaking = built(name, user_texts=texts_given).fit(training)
    again = built(name, user_texts=fitted._write(training, KNOWN)).fit(training)
    pairs = training[[USER, ITEM]]
    assert not np.array_equal(leaking.predict(pairs), fitted.predict(pairs))
    if name == "hybrid_rec":  # the other one leaves out its validation part
        assert np.array_equal(again.predict(pairs), fitted.predict(pairs))


@pytest.mark.parametrize("kind", features.KINDS)
def test_vectors_of_every_kind(kind, tmp_path):
    known = [*texts.item_texts(ITEMS), "A bear and a bird.", "Two birds, one stone."]
    made = TextVectors(known, kind=kind, seed=0, folder=tmp_path)
    assert made.known.dtype == np.float32
    assert made.known.shape == (6, features.SIZE)
    assert np.linalg.norm(made.known, axis=1) == pytest.approx(1, abs=1e-5)
    new = made(["", "a bird " * 5_000, "A bear and a bird."])
    assert new.shape == (3, features.SIZE) and np.isfinite(new).all()
    assert made([]).shape == (0, features.SIZE)
    if kind != "permuted":
        assert new[2] == pytest.approx(made.known[4], abs=1e-5)


def test_embeddings_are_kept_by_what_the_texts_are(tmp_path):
    first = features.sentence_vectors(["b", "a", "b"], folder=tmp_path)
    (kept,) = tmp_path.iterdir()
    assert first[0] == pytest.approx(first[2], abs=0)
    # A planted mark in the kept file shows where an answer comes from.
    np.save(kept, np.full((2, features.SIZE), 7, np.float32))
    assert (features.sentence_vectors(["a", "b"], folder=tmp_path) == 7).all()
    other = features.sentence_vectors(["a", "B"], folder=tmp_path)
    assert (other != 7).all() and len(list(tmp_path.iterdir())) == 2
    kept.write_bytes(kept.read_bytes()[:200])
    assert features.sentence_vectors(["b"] * 2 + ["a"], folder=tmp_path)[1] == pytest.approx(
        first[0], abs=0
    )


def test_permuted_vectors_are_the_same_ones_elsewhere(tmp_path):
    known = texts.item_texts(ITEMS) + [f"Text {number}" for number in range(8)]
    of = {
        (kind, seed): TextVectors(known, kind=kind, seed=seed, folder=tmp_path).known
        for kind, seed in (("sentence", 0), ("permuted", 0), ("permuted", 1))
    }
    for seed in (0, 1):
        assert not np.array_equal(of["permuted", seed], of["sentence", 0])
        assert sorted(map(tuple, of["permuted", seed])) == sorted(map(tuple, of["sentence", 0]))
    assert not np.array_equal(of["permuted", 0], of["permuted", 1])


def test_random_vectors_depend_on_text_and_seed_alone(tmp_path):
    drawn = [TextVectors(["a", "b"], kind="random", seed=seed, folder=tmp_path) for seed in (0, 1)]
    assert np.array_equal(drawn[0].known, drawn[0](["b", "a"])[::-1])
    assert abs(drawn[0].known[0] @ drawn[1].known[0]) < 0.3
    assert abs(drawn[0].known[0] @ drawn[0].known[1]) < 0.3


def test_features_that_cannot_be():
    with pytest.raises(StudyError, match="bert"):
        TextVectors(["a"], kind="bert", seed=0)
    with pytest.raises(StudyError, match="text"):
        TextVectors([], kind="random", seed=0)
    with pytest.raises(StudyError, match="word"):
        TextVectors(["", "?!"], kind="tfidf", seed=0)


def test_terms_of_the_loss_by_hand():
    # Items 7 and 8 have means 2 and 5: a standard deviation of 3 / sqrt(2). Predictions go from 1 to 5.
    predictions, values, items = (
        torch.tensor([1.0, 3.0, 5.0]),
        torch.tensor([1.0, 1.0, 4.0]),
        torch.tensor([7, 7, 8]),
    )
    squared, spread, span = 5 / 3, np.exp(-3 / np.sqrt(2)), np.exp(-4)
    for spread_weight, range_weight in ((0, 0), (0.25, 0), (0, 0.2), (0.25, 0.2)):
        loss = loss_of(predictions, values, items, spread_weight=spread_weight, range_weight=range_weight)
        assert float(loss) == pytest.approx(squared + spread_weight * spread + range_weight * span)


def test_the_loss_of_one_item_and_of_equal_predictions_has_a_gradient():
    for items in ([7, 7], [7, 8]):
        predictions = torch.tensor([2.0, 2.0], requires_grad=True)
        loss = loss_of(
            predictions, torch.tensor([1.0, 3.0]), torch.tensor(items), spread_weight=1, range_weight=1
        )
        loss.backward()
        assert loss.item() == pytest.approx(1 + 1 + 1)
        assert torch.isfinite(predictions.grad).all()


@given(st.integers(0, 3))
def test_cosine_outputs_lie_within_the_scale(seed):
    known = Known(ITEMS, USERS, scale=(0.5, 5.0))
    fitted = built("hybrid_rec", known=known, seed=seed, output="cosine", n_epochs=1).fit(many(seed=seed))
    values = fitted._predict(np.repeat(np.arange(-1, 12), 4), np.tile(np.arange(4), 13))
    assert values.min() >= 0.5 - 1e-6 and values.max() <= 5.0 + 1e-6


def test_the_order_of_ratings_matters_where_they_are_not_shuffled():
    training = many()
    other_way_round = training.iloc[::-1]
    pairs = training[[USER, ITEM]]
    one, other = (built("hybrid_rec").fit(frame).predict(pairs) for frame in (training, other_way_round))
    assert not np.array_equal(one, other)
    shuffled = built("hybrid_rec", shuffled=True).fit(training).predict(pairs)
    assert not np.array_equal(one, shuffled)


@pytest.mark.parametrize(
    "name, settings",
    [
        ("hybrid_rec", {}),
        ("hybrid_rec", {"output": "cosine", "shuffled": True, "features": "random"}),
        ("cross_attention", {}),
        ("cross_attention", {"text": "trained", "biases": "first", "refit": True}),
        ("cross_attention", {"ids": False, "biases": "none", "fusion": False}),
        ("cross_attention", {"text": "none", "attention": False, "batch_norm": False}),
    ],
)
def test_same_seed_same_digits_another_seed_others(name, settings):
    training = many()
    pairs = pd.concat([training[[USER, ITEM]], pd.DataFrame({USER: [99], ITEM: [10]})])
    profiles = {
        5: Profile({10: 5.0, 30: 1.0}, "Enjoys horror."),
        99: Profile(text="Age: 33."),
        98: Profile(),
    }
    pairs = pd.concat([pairs, pd.DataFrame({USER: [98, 97], ITEM: [20, 20]})], ignore_index=True)
    before = training.copy()
    first, again, other = (
        built(name, seed=seed, **settings).fit(training).predict(pairs, profiles=profiles)
        for seed in (0, 0, 1)
    )
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    assert len(first) == len(pairs) and np.isfinite(first).all()
    pd.testing.assert_frame_equal(training, before)


@pytest.mark.parametrize("name", ["hybrid_rec", "cross_attention"])
def test_somebody_new_is_known_by_text_and_ratings(name):
    fitted = built(name).fit(many())
    pairs = pd.DataFrame({USER: 99, ITEM: ITEMS[ITEM]})

    def predicted(*arguments):
        return fitted.predict(pairs, profiles={99: Profile(*arguments)})

    nobody = fitted.predict(pairs)
    assert np.array_equal(predicted(), nobody) and np.array_equal(predicted({}, "  \n"), nobody)
    horror = predicted({}, "Favourite items: Alien (1979).")
    assert not np.array_equal(horror, nobody)
    assert not np.array_equal(predicted({30: 5.0, 10: 1.0}, ""), nobody)
    assert np.isfinite(predicted({}, "word " * 10_000)).all()
    with pytest.raises(StudyError, match="77"):
        predicted({77: 5.0})


def test_profiles_are_read_together_and_answered_apart():
    fitted = built("hybrid_rec").fit(many())
    pairs = pd.DataFrame({USER: [98, 99, 98], ITEM: [10, 10, 20]})
    profiles = {98: Profile({30: 5.0}, "Likes fear."), 99: Profile({20: 5.0})}
    together = fitted.predict(pairs, profiles=profiles)
    apart = [
        fitted.predict(pairs.iloc[[row]], profiles={user: profiles[user]})[0]
        for row, user in enumerate(pairs[USER])
    ]
    assert together == pytest.approx(apart, abs=1e-6)


def test_training_lowers_the_loss():
    training = many(60)
    # What a rating is follows from the item.
    training[RATING] = training[ITEM].map({10: 5.0, 20: 1.0, 30: 4.0, 40: 2.0})
    within = Known(ITEMS, USERS)
    hybrid = built("hybrid_rec", known=within, output="cosine", shuffled=True, n_epochs=8).fit(training)
    assert hybrid.curve["loss"].iloc[-1] < 0.5 * hybrid.curve["loss"].iloc[0]
    attention = built("cross_attention", max_epochs=40, learning_rate=0.02).fit(training)
    assert attention.curve["rmse"].min() < 0.5 * training[RATING].std()
    assert attention.best_epoch == attention.curve.set_index("epoch")["rmse"].idxmin()


TAGS = pd.DataFrame(
    {
        USER: [1, 1, 2, 2, 2, 1],
        ITEM: [10, 30, 20, 40, 10, 30],
        "tag": ["Funny ", "horror", "funny", "funny", "horror", "once"],
    }
)


def test_cross_attention_learns_from_few_ratings_and_says_what_it_cannot():
    # Five are too few to hold some out.
    assert np.isfinite(built("cross_attention").fit(RATINGS).predict(RATINGS)).all()
    with pytest.raises(StudyError, match="two ratings"):
        built("cross_attention").fit(RATINGS[:1])
    assert built("cross_attention", batch_norm=False).fit(RATINGS[:1]).predict(RATINGS[:1]).shape == (1,)
    for rate in (1e30, 1e300):
        with pytest.raises(StudyError, match="lower learning_rate"):
            built("cross_attention", learning_rate=rate).fit(many())


def test_tags_by_hand():
    known = Known(ITEMS, tags=TAGS)
    # User 2 has no rating of item 10, so that "horror" there does not count, and is then used once.
    assert tags.of_items(known, RATINGS).to_numpy().tolist() == [
        [10, "funny", 1.0], [20, "funny", 1.0], [40, "funny", 1.0]
    ]  # fmt: skip
    everything = pd.concat([RATINGS, pd.DataFrame({USER: [2], ITEM: [10], RATING: [5.0]})])
    of_items = tags.of_items(known, everything)
    assert of_items.to_numpy().tolist() == [
        [10, "funny", 1.0], [10, "horror", 1.0], [20, "funny", 1.0], [30, "horror", 1.0], [40, "funny", 1.0]
    ]  # fmt: skip
    of_users = tags.of_users(of_items, known, RATINGS)
    # User 1 gave 4 (item 10), 2 (item 20), 5 (item 30); horror is the name of a genre.
    e = np.exp
    assert of_users["tag"].tolist() == ["horror", "funny", "funny"]
    assert of_users["weight"].tolist() == pytest.approx([2 * (e(1) + e(2)), e(1) + e(-1), 2.0])


def test_mean_vectors_of_tags_by_hand():
    weights = pd.DataFrame({ITEM: [20, 10, 10], "tag": ["b", "a", "b"], "weight": [5.0, 3.0, 4.0]})
    vectors = pd.DataFrame([[1.0, 0.0], [0.0, 1.0]], index=["a", "b"])
    means = tags.mean_vectors(weights, ITEM, vectors)
    assert means.index.tolist() == [10, 20]
    assert means.to_numpy().tolist() == [pytest.approx([0.6, 0.8]), pytest.approx([0.0, 1.0])]


def test_tags_are_read_where_there_are_some():
    training = many()
    pairs = pd.DataFrame({USER: 99, ITEM: ITEMS[ITEM]})
    by_hand = TAGS.assign(**{USER: [1, 1, 2, 2, 2, 1]})
    fitted = {
        (name, on): built("cross_attention", known=Known(ITEMS, tags=of, scale=KNOWN.scale), tags=on).fit(
            training
        )
        for name, of in (("some", by_hand), ("none", TAGS.iloc[:0]))
        for on in (True, False)
    }
    known = training[[USER, ITEM]]
    assert np.array_equal(fitted["none", True].predict(known), fitted["none", False].predict(known))
    assert np.array_equal(fitted["some", False].predict(known), fitted["none", False].predict(known))
    assert not np.array_equal(fitted["some", True].predict(known), fitted["none", True].predict(known))
    assert np.isfinite(fitted["some", True].predict(pairs, profiles={99: Profile({10: 5.0})})).all()


@pytest.mark.parametrize(
    "name, settings, word",
    [
        ("hybrid_rec", {"output": "softmax"}, "softmax"),
        ("hybrid_rec", {"depth": 3}, "depth"),
        ("cross_attention", {"biases": "some"}, "some"),
        ("cross_attention", {"text": "yes"}, "yes"),
        ("cross_attention", {"n_factors": 6}, "6"),
        ("cross_attention", {"ids": False, "text": "none"}, "ids"),
    ],
)
def test_settings_that_cannot_be(name, settings, word):
    with pytest.raises(StudyError, match=word):
        built(name, **settings)

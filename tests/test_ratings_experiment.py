"""Pieces of rating systems: kept, joined, cut; lists, the next item, tables and figures of notebook 11."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, strategies as st

from dualrec_utils.analysis import rating_tables as tables
from dualrec_utils.core import config, files, ratings as rules
from dualrec_utils.core.config import ITEM, RANK, RATING, SYSTEM, TIMESTAMP, USER
from dualrec_utils.core.errors import StudyError
from dualrec_utils.core.ratings import FOLD, RATING_ID
from dualrec_utils.models import ratings as models
from dualrec_utils.models.ratings import experiment, figures, material, next_item, settings
from dualrec_utils.models.ratings.base import Known, Profile

pytestmark = pytest.mark.usefixtures("one_thread")

N_USERS, N_ITEMS = 12, 10
ITEMS = pd.DataFrame(
    {
        ITEM: np.arange(1, N_ITEMS + 1),
        "title": [f"Item {n}" for n in range(N_ITEMS)],
        "year": pd.array([1990] * N_ITEMS, dtype="Int64"),
        "genres": [["Action"], ["Drama"]] * (N_ITEMS // 2),
    }
)
KNOWN = Known(ITEMS)
INTERVALS = {"seed": 0, "n_bootstrap": 100, "confidence": 0.95}


def all_ratings(seed=0):
    draw = np.random.default_rng(seed)
    users, items = np.divmod(draw.permutation(N_USERS * N_ITEMS)[:80], N_ITEMS)
    return pd.DataFrame(
        {
            USER: users + 1,
            ITEM: items + 1,
            RATING: draw.integers(1, 6, len(users)).astype(float),
            TIMESTAMP: np.arange(len(users)),
        }
    )


@pytest.fixture
def ratings(root):
    """A data set of 80 ratings; `root` is the scratch folder of everything that is written."""
    frame = all_ratings()
    files.write_parquet(frame, config.processed_dir("ml-100k") / "ratings_as_fetched.parquet")
    return rules.load("ml-100k")


def obtain(systems, seeds=(0,), **more):
    return experiment.obtain_all(
        systems, dataset="ml-100k", known=KNOWN, seeds=seeds, split_seed=3, list_length=4, n_jobs=1, **more
    )


SYSTEMS = {"biases": {"model": "biases"}, "mean": {"model": "global_mean", "folds": [1, 3]}}


def test_a_system_leaves_what_its_folds_ask_for(ratings):
    pieces = obtain(SYSTEMS, seeds=(0, 5))
    assert list(pieces) == list(SYSTEMS)
    whole, some = pieces["biases"].predictions, pieces["mean"].predictions
    assert len(whole) == 2 * len(ratings) and set(whole["seed"]) == {0, 5}
    assert set(some[FOLD]) == {1, 3} and len(some) == 2 * 32
    # By hand: what is predicted of fold 3 is the mean of the others.
    folds = rules.consecutive_folds(len(ratings))
    third = some[(some[FOLD] == 3) & (some["seed"] == 0)]["prediction"]
    assert third.to_numpy() == pytest.approx(ratings.loc[folds != 3, RATING].mean())
    assert (pieces["biases"].cost[["fit_seconds", "predict_seconds"]] >= 0).all(axis=None)


def test_pieces_are_kept_until_what_they_depend_on_changes(ratings):
    before = obtain(SYSTEMS)["biases"]
    place = config.checkpoints_dir("ml-100k", experiment.STAGE) / "biases"
    assert len(list(place.iterdir())) == 5
    # A planted value: it comes back, so nothing was fitted again.
    path = next(place.glob("*-2")) / "predictions.parquet"
    files.write_parquet(pd.read_parquet(path).assign(prediction=1.25), path)
    again = obtain({**SYSTEMS, "another": {"model": "global_mean"}})["biases"].predictions
    assert (again.loc[again[FOLD] == 2, "prediction"] == 1.25).all()
    others = obtain({"biases": {"model": "biases", "user_shrinkage": 1.0}})["biases"].predictions
    assert (others.loc[others[FOLD] == 2, "prediction"] != 1.25).any()
    assert len(list(place.iterdir())) == 10
    assert len(before.predictions) == len(ratings)


def test_a_piece_of_a_killed_run_is_made_again(ratings):
    obtain(SYSTEMS)
    place = config.checkpoints_dir("ml-100k", experiment.STAGE) / "biases"
    (next(place.glob("*-4")) / "lists.parquet").unlink()
    assert len(obtain(SYSTEMS)["biases"].predictions) == len(ratings)


def test_lists_hold_the_highest_predictions_of_what_was_not_rated(ratings):
    lists = obtain(SYSTEMS)["biases"].lists
    training, _ = rules.parts(ratings, rules.consecutive_folds(len(ratings)), 1)
    model = models.build("biases", KNOWN, seed=0).fit(training)
    assert set(lists[USER]) == set(training[USER])
    for user, part in lists.groupby(USER):
        seen = set(training.loc[training[USER] == user, ITEM])
        left = [item for item in ITEMS[ITEM] if item not in seen]
        assert not seen & set(part[ITEM])
        assert list(part[RANK]) == list(range(1, min(4, len(left)) + 1))
        values = model.predict(pd.DataFrame({USER: user, ITEM: left}))
        assert part["score"].to_numpy() == pytest.approx(np.sort(values)[::-1][: len(part)])


def test_a_share_of_the_training_ratings_is_learnt_from(ratings):
    half = {"half": {"model": "global_mean", "share": 0.5, "folds": [1]}}
    value = obtain(half)["half"].predictions["prediction"].iloc[0]
    training, _ = rules.parts(ratings, rules.consecutive_folds(len(ratings)), 1)
    assert value == pytest.approx(training.sample(frac=0.5, random_state=0)[RATING].mean())


@pytest.mark.parametrize(
    ("system", "word"),
    [
        ({}, "no model"),
        ({"model": "biases", "folds": [0]}, "folds"),
        ({"model": "biases", "folds": []}, "folds"),
        ({"model": "biases", "folds": 1}, "folds"),
        ({"model": "biases", "share": 0}, "share"),
        ({"model": "biases", "share": "half"}, "share"),
        ({"model": "biases", "profiles": "none"}, "profiles"),
        ({"model": "biases", "profiles": "all"}, "reads"),
        ({"model": "biases", "rounds": 3}, "rounds"),
        ({"model": "biases", "n_rounds": "many"}, "n_rounds"),
        ({"model": "svdpp", "n_factors": True}, "n_factors"),
        ({"model": "hybrid_rec", "output": "cos"}, "output"),
        ({"model": "hybrid_rec", "networks": "wide"}, "networks"),
        ({"model": "nothing"}, "nothing"),
    ],
)
def test_settings_that_cannot_be_are_named_before_anything_runs(system, word):
    with pytest.raises(StudyError, match=word):
        settings.check(system)


def test_what_is_known_of_a_data_set(root, monkeypatch):
    items = ITEMS.iloc[::-1]
    files.write_parquet(items, config.processed_dir("ml-100k") / "items_raw.parquet")
    monkeypatch.setattr(material.beside, "load_users", lambda dataset: pd.DataFrame({USER: [1]}))
    monkeypatch.setattr(material.beside, "load_tags", lambda dataset: pd.DataFrame())
    known = material.known_of("ml-100k")
    assert list(known.items[ITEM]) == list(ITEMS[ITEM]) and known.scale == (1, 5)


# Somebody asked for the next item.


def test_a_case_is_known_by_the_ratings_of_its_history_alone():
    ratings = pd.DataFrame({USER: [1, 1, 1, 2], ITEM: [5, 6, 7, 5], RATING: [4.0, 2.0, 5.0, 1.0]})
    cases = pd.DataFrame({USER: [1, 2], "history": [np.array([5, 6]), np.array([5])]})
    profiles = next_item.profiles_of(cases, ratings)
    assert [dict(profile.ratings) for profile in profiles] == [{5: 4.0, 6: 2.0}, {5: 1.0}]


def test_scores_are_predictions_for_somebody_new():
    training = all_ratings()
    model = models.build("biases", KNOWN, seed=0).fit(training)
    profiles = [Profile({1: 5.0}), Profile({})]
    scores = next_item.scores_of(model, profiles)
    pairs = pd.DataFrame({USER: 99, ITEM: ITEMS[ITEM]})
    assert np.array_equal(scores[0], model.predict(pairs, profiles={99: profiles[0]}))
    assert scores.shape == (2, N_ITEMS) and (scores[0] >= scores[1]).all()


# Tables.


@pytest.fixture
def predicted(ratings):
    return {name: piece.predictions for name, piece in obtain(SYSTEMS).items()}


def test_the_overview_by_hand(ratings, predicted):
    errors = tables.errors_of(predicted, ratings)
    table = tables.overview(errors, **INTERVALS)
    mean = errors["mean"]
    by_fold = [np.sqrt((mean.loc[mean[FOLD] == fold, "error"] ** 2).mean()) for fold in (1, 3)]
    assert table.loc["mean", "rmse"] == pytest.approx(np.mean(by_fold))
    assert table.loc["mean", ["rmse_u1", "rmse_u3"]].tolist() == pytest.approx(by_fold)
    assert np.isnan(table.loc["mean", "rmse_u2"]) and table["folds"].tolist() == [5, 2]
    assert (table["rmse_low"] <= table["rmse_high"]).all()
    flat = tables.flat(table)
    assert flat["ratings/mean/rmse_u3"] == pytest.approx(by_fold[1])
    assert "ratings/mean/rmse_u2" not in flat and "ratings/biases/mae/low" in flat


def test_differences_are_of_the_folds_that_both_have(ratings, predicted):
    errors = tables.errors_of(predicted, ratings)
    pairs = [("one", "biases", "mean"), ("left out", "biases", "nobody")]
    table = tables.differences(errors, pairs, **INTERVALS).set_index("metric")
    cut = [frame[frame[FOLD].isin([1, 3])]["error"] for frame in errors.values()]
    assert table.loc["mae", "difference"] == pytest.approx(cut[0].abs().mean() - cut[1].abs().mean())
    assert set(table["folds"]) == {2} and len(table) == 2
    assert "ratings/biases/rmse/over_mean/low" in tables.flat_differences(table.reset_index())
    assert tables.differences(errors, pairs[1:], **INTERVALS).empty


def test_spread_and_means_by_true_rating_by_hand(ratings, predicted):
    spread = tables.spread(predicted, ratings)
    assert spread.loc["mean", "sd"] == pytest.approx(0, abs=1e-12)
    first = ratings.iloc[:16]
    assert spread.loc["ratings", "sd"] == pytest.approx(first[RATING].std())
    assert spread.loc["ratings", "sd_of_items"] == pytest.approx(first.groupby(ITEM)[RATING].mean().std())
    table = tables.by_true_rating(predicted, ratings)
    fives = table[(table[SYSTEM] == "biases") & (table[RATING] == 5)].iloc[0]
    joined = predicted["biases"].merge(ratings[[RATING_ID, RATING]], on=RATING_ID)
    assert fives["mean"] == pytest.approx(joined.loc[joined[RATING] == 5, "prediction"].mean())
    assert fives["n_ratings"] == (ratings[RATING] == 5).sum()


def test_a_perfect_order_ranks_best_and_claims_name_their_systems(ratings, predicted):
    perfect = predicted["biases"].merge(ratings[[RATING_ID, RATING]], on=RATING_ID)
    perfect = perfect.assign(prediction=perfect[RATING]).drop(columns=RATING)
    both = {**predicted, "perfect": perfect}
    table = tables.rankings(both, ratings, k=5, **INTERVALS)
    assert table.loc["perfect", "ndcg"] == 1 and table.loc["mean", "ndcg"] < 1
    errors = tables.errors_of(both, ratings)
    names = {"with_text": "perfect", "without_text": "biases", "hybrid": "perfect", "rival": "mean"}
    claims = tables.claims_of(errors, **names, n_permutations=1000, **INTERVALS)
    assert claims["claim"].tolist() == ["7", "8"] and (claims["difference"] > 0).all()
    assert tables.claims_of(errors, **names | {"rival": "x"}, n_permutations=1000, **INTERVALS).empty


@given(st.integers(0, 50))
def test_no_system_has_less_variety_than_one_item_for_all(seed):
    ratings = all_ratings(seed)
    folds = rules.consecutive_folds(len(ratings))
    users = ratings[USER].unique()
    same = pd.DataFrame([(u, r, r) for u in users for r in (1, 2)], columns=[USER, RANK, ITEM])
    drawn = np.random.default_rng(seed).permuted(np.tile(ITEMS[ITEM], (len(users), 1)), axis=1)[:, :2]
    varied = same.assign(**{ITEM: drawn.ravel()})
    empty = same.iloc[:0]
    table = tables.varieties({"same": same, "varied": varied, "none": empty}, ITEMS, ratings, folds)
    assert list(table.index) == ["same", "varied"]
    assert table.loc["same", "coverage"] <= table.loc["varied", "coverage"]
    assert table.loc["same", "gini"] >= table.loc["varied", "gini"] - 1e-12


def test_curves_and_study_tables_that_are_not_there_are_empty(root, monkeypatch):
    monkeypatch.setattr(config, "STUDIES", root)
    assert tables.curves_of({"biases": pd.DataFrame({FOLD: [], "epoch": [], "loss": []})}).empty
    curve = pd.DataFrame({FOLD: [1, 2], "epoch": [1, 1], "loss": [2.0, 3.0]})
    assert tables.curves_of({"one": curve})["loss"].tolist() == [2.0]
    assert tables.study("ml-100k") == {} and tables.peers().empty
    files.write_csv(pd.DataFrame({"claim": [7]}), root / "ratings/ml-100k/claims.csv")
    assert list(tables.study("ml-100k")) == ["claims"]


@pytest.mark.usefixtures("figures_closed")
def test_figures_are_drawn_from_the_tables(ratings, predicted):
    errors = tables.errors_of(predicted, ratings)
    figures.errors(tables.overview(errors, **INTERVALS), note="toy")
    table = tables.differences(errors, [("one", "biases", "mean")], **INTERVALS)
    axes = figures.differences(table[table["metric"] == "rmse"], note="toy").axes
    assert [text.get_text() for text in axes[0].get_yticklabels()] == ["one\nbiases − mean"]
    drawn = figures.by_true_rating(tables.by_true_rating(predicted, ratings), note="toy").axes[0]
    assert [text.get_text() for text in drawn.get_legend().get_texts()] == ["biases", "mean"]
    curves = pd.DataFrame(
        {SYSTEM: ["a", "a", "b"], "epoch": [1, 2, 1], "loss": 1.0, "rmse": [1, 0.9, np.nan]}
    )
    # Two panels, and a second axis where there is a validation part.
    assert len(figures.curves(curves, note="toy").axes) == 3

"""Cold start: who is held out, what is known of them, and that no target reaches a model."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, strategies as st
from toy_ratings import ITEMS, USERS

from dualrec_utils.analysis import cold_start as tables
from dualrec_utils.core import config, ratings as rules
from dualrec_utils.core.config import ITEM, RATING, SYSTEM, USER
from dualrec_utils.core.errors import StudyError
from dualrec_utils.core.ratings import PREDICTION, RATING_ID
from dualrec_utils.models import ratings as models
from dualrec_utils.models.ratings import cold_figures, cold_runs, cold_start
from dualrec_utils.models.ratings.base import Known, Profile
from dualrec_utils.models.ratings.cold_start import (
    ALL,
    DEMOGRAPHICS,
    N_KNOWN,
    NOTHING,
    SAID,
    TASTES,
    HeldOut,
)
from dualrec_utils.pipeline import params

pytestmark = pytest.mark.usefixtures("one_thread")

KNOWN = Known(ITEMS, USERS)
PLAIN = {"model": "biases"}
NO_PEOPLE = {"model": "biases", "user_shrinkage": 1e12, "item_shrinkage": 0.0, "n_rounds": 1}


def frame(rows):
    """Ratings in order from (user, item, rating)."""
    made = pd.DataFrame(rows, columns=[USER, ITEM, RATING]).astype({RATING: float})
    return made.rename_axis(RATING_ID).reset_index()


def many(n_users=12, n_items=15, seed=0):
    """About two thirds of all pairs, drawn, in a drawn order of each user; and the items."""
    draw = np.random.default_rng(seed)
    pairs = [(u, i) for u in range(1, n_users + 1) for i in draw.permutation(n_items) + 1]
    some = [pair for pair in pairs if draw.random() < 0.7]
    ratings = frame([(u, i, 1 + (u + i + draw.integers(2)) % 5) for u, i in some])
    items = pd.DataFrame(
        {
            ITEM: range(1, n_items + 1),
            "title": [f"Film {i}" for i in range(1, n_items + 1)],
            "year": pd.array(range(1980, 1980 + n_items), dtype="Int64"),
            "genres": [["Drama"] if i % 2 else ["War", "Crime"] for i in range(n_items)],
        }
    )
    users = pd.DataFrame(
        {
            USER: range(1, n_users + 1),
            "age": range(20, 20 + n_users),
            "gender": ["M", "F"] * (n_users // 2),
            "occupation": "clerk",
        }
    )
    return ratings, Known(items, users)


def hand():
    """User 1 is held out: 10, 20, 30 are known in this order, 40 is the target."""
    ratings = frame([(1, 10, 5), (1, 20, 2), (1, 30, 4), (1, 40, 3), (2, 10, 4), (2, 20, 2), (3, 30, 1)])
    theirs = ratings[ratings[USER] == 1]
    return HeldOut(USER, ratings[ratings[USER] != 1], theirs.iloc[:3], theirs.iloc[3:])


@given(st.integers(0, 50), st.integers(1, 5), st.sets(st.integers(1, 12), max_size=4))
def test_held_out_users_are_gone_and_their_last_ratings_are_targets(seed, n_targets, spared):
    ratings, _ = many(seed=seed)
    held = cold_start.hold_out_users(ratings, n_users=3, n_targets=n_targets, seed=seed, spared=spared)
    users = set(held.targets[USER])
    assert len(users) == 3 and not users & spared and not users & set(held.others[USER])
    parts = pd.concat([held.others, held.known, held.targets])
    assert sorted(parts[RATING_ID]) == ratings[RATING_ID].tolist()
    for user in users:
        theirs = ratings[ratings[USER] == user]
        n = min(n_targets, len(theirs) // 2)
        assert held.targets.loc[held.targets[USER] == user, ITEM].tolist() == theirs[ITEM].tolist()[-n:]
        assert (
            held.first(2).query(f"{USER} == {user}")[ITEM].tolist()
            == theirs[ITEM].tolist()[:2][: len(theirs) - n]
        )


@given(st.integers(0, 50), st.integers(0, 3))
def test_so_many_ratings_of_a_held_out_item_stay(seed, n_known):
    ratings, _ = many(seed=seed)
    held = cold_start.hold_out_items(ratings, n_items=2, n_targets=2, least_known=3, seed=seed)
    training = pd.concat([held.others, held.first(n_known)])
    cold_start.check_items(training, held, n_known=n_known)
    assert (held.targets[ITEM].value_counts() == 2).all()
    assert len(held.first(n_known)) == 2 * n_known
    # What is known from fewer ratings is known from more.
    assert set(held.first(n_known)[RATING_ID]) <= set(held.first(n_known + 1)[RATING_ID])
    assert not set(held.first(None)[RATING_ID]) & set(held.targets[RATING_ID])


def test_another_seed_draws_others_and_the_same_one_the_same():
    ratings, _ = many()
    drawn = [
        set(cold_start.hold_out_users(ratings, n_users=4, n_targets=2, seed=s).targets[USER])
        for s in (0, 0, 1)
    ]
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.parametrize("n", [1, 7, 13])
def test_too_many_or_too_few_are_refused(n):
    ratings, _ = many()
    with pytest.raises(StudyError, match="2 to 6"):
        cold_start.hold_out_users(ratings, n_users=n, n_targets=2, seed=0)
    with pytest.raises(StudyError, match="cannot be held out"):
        cold_start.hold_out_items(ratings, n_items=n, n_targets=2, least_known=90, seed=0)


def test_users_on_whom_settings_were_chosen_are_those_of_the_draw():
    ids = np.arange(1, 944)
    drawn = np.random.default_rng(5).permutation(943)[:140] + 1
    assert set(cold_start.tuning_users(ids, n_users=140, seed=5)) == set(drawn)
    assert len(cold_start.tuning_users(ids[:100], n_users=140, seed=5)) == 0


def test_texts_by_hand():
    held = hand()
    assert cold_start.user_texts(held, KNOWN, NOTHING) == {1: ""}
    assert cold_start.user_texts(held, KNOWN, DEMOGRAPHICS) == {1: "Age: 24, gender: M, occupation: clerk."}
    # Mean 11/3. Action: (4/3 + 1/3) / (2 + 5) = 0.24; Crime: 4/3 / 6 = 0.22; Horror: 1/3 / 6.
    assert cold_start.user_texts(held, KNOWN, TASTES)[1].endswith("clerk. Enjoys Action and Crime movies.")
    assert cold_start.user_texts(held, Known(ITEMS), TASTES) == {1: "Enjoys Action and Crime movies."}


@given(st.floats(1, 5))
def test_texts_do_not_change_with_a_target(value):
    held = hand()
    changed = replace(held, targets=held.targets.assign(**{RATING: value}))
    for said in (DEMOGRAPHICS, TASTES):
        assert cold_start.user_texts(held, KNOWN, said) == cold_start.user_texts(changed, KNOWN, said)


def test_profiles_hold_the_first_ratings_in_order():
    held, said = hand(), {1: "somebody"}
    made = [cold_start.profiles(held, n_known=n, said=said)[1] for n in (0, 1, 2, None)]
    assert [list(profile.ratings.items()) for profile in made] == [
        [],
        [(10, 5.0)],
        [(10, 5.0), (20, 2.0)],
        [(10, 5.0), (20, 2.0), (30, 4.0)],
    ]
    assert {profile.text for profile in made} == {"somebody"}


def test_a_planted_leak_is_refused():
    held = hand()
    given_ = cold_start.profiles(held, n_known=None, said={1: ""})
    cold_start.check_users(held.others, given_, held)
    with pytest.raises(StudyError, match=r"held-out user 1 .*leak"):
        cold_start.check_users(pd.concat([held.others, held.targets]), given_, held)
    with pytest.raises(StudyError, match=r"held-out user 1 .*leak"):
        cold_start.check_users(pd.concat([held.others, held.known]), given_, held)
    with pytest.raises(StudyError, match=r"profile of user 1 .*target 40.*leak"):
        cold_start.check_users(held.others, {1: Profile({40: 3.0})}, held)
    # A held-out part that was put together wrongly does not come as far as a model.
    leaking = replace(held, others=pd.concat([held.others, held.targets]))
    with pytest.raises(StudyError, match="leak"):
        cold_runs.of_users(PLAIN, leaking, known=KNOWN, counts=[0], explained=[], seed=0)


def test_a_planted_leak_of_an_item_is_refused():
    ratings, known = many()
    held = cold_start.hold_out_items(ratings, n_items=2, n_targets=2, least_known=3, seed=0)
    with pytest.raises(StudyError, match=r"target of item .*leak"):
        cold_start.check_items(pd.concat([held.others, held.targets]), held, n_known=None)
    with pytest.raises(StudyError, match="not 1: that is a leak"):
        cold_start.check_items(pd.concat([held.others, held.first(2)]), held, n_known=1)
    with pytest.raises(StudyError, match="fewer than 3"):
        cold_start.check_items(held.others, held, n_known=3)
    leaking = replace(held, others=pd.concat([held.others, held.targets]))
    with pytest.raises(StudyError, match="leak"):
        cold_runs.of_items(PLAIN, leaking, known=known, n_known=0, seed=0)


def test_biases_from_no_and_from_one_rating_by_hand():
    held = hand()
    answers = cold_runs.of_users(NO_PEOPLE, held, known=KNOWN, counts=[0, 1], explained=[], seed=0)
    # The mean of 4, 2, 1; item 40 was never rated, and nobody has a bias.
    assert answers.predictions[PREDICTION].tolist() == pytest.approx([7 / 3] * 3)
    answers = cold_runs.of_users(
        {"model": "biases", "user_shrinkage": 1.0, "item_shrinkage": 0.0, "n_rounds": 1},
        held, known=KNOWN, counts=[0, 1], explained=[], seed=0,
    )  # fmt: skip
    predicted = answers.predictions.set_index(N_KNOWN)[PREDICTION]
    # One rating: 5 of item 10, whose mean is 4: a bias of 1 / (1 + 1).
    assert predicted["0"] == pytest.approx(7 / 3) and predicted["1"] == pytest.approx(7 / 3 + 0.5)


def test_what_a_model_cannot_do_is_said_and_never_filled_in():
    ratings, known = many()
    held = cold_start.hold_out_users(ratings, n_users=4, n_targets=3, seed=0)
    keywords = {"known": known, "counts": [0, 1], "explained": [], "seed": 0}
    plain = cold_runs.of_users(PLAIN, held, **keywords)
    assert set(plain.predictions[SAID]) == {NOTHING}
    assert set(plain.not_possible[SAID]) == {DEMOGRAPHICS, TASTES}
    ncf = cold_runs.of_users({"model": "ncf", "max_epochs": 1, "n_factors": 4}, held, **keywords)
    assert ncf.predictions.empty and len(ncf.not_possible) == len(cold_runs.conditions([0, 1]))
    reading = {"model": "hybrid_rec", "n_epochs": 1, "features": "tfidf"}
    assert cold_runs.of_users(reading, held, **keywords).not_possible.empty
    keywords["known"] = replace(known, users=known.users.head(0))
    unknown = cold_runs.of_users(reading, held, **keywords).not_possible
    # Tastes are words that tf-idf has not met here; without demographics there is nothing to read.
    assert set(unknown.loc[unknown[SAID] == DEMOGRAPHICS, cold_runs.REASON]) == {cold_runs.NO_TEXT_KNOWN}


def test_targets_are_the_same_for_every_number():
    ratings, known = many()
    held = cold_start.hold_out_users(ratings, n_users=4, n_targets=3, seed=0)
    answers = cold_runs.of_users(PLAIN, held, known=known, counts=[0, 1, 3], explained=[1], seed=0)
    by_number = answers.predictions.groupby(N_KNOWN)[RATING_ID].agg(set)
    assert set(by_number.index) == {"0", "1", "3", ALL}
    assert all(ids == set(held.targets[RATING_ID]) for ids in by_number)
    assert answers.lists[ITEM].tolist() == known.items[ITEM].tolist()


def test_pieces_are_kept_and_made_anew_when_a_setting_changes(tmp_path, monkeypatch):
    monkeypatch.setattr(config, "ROOT", tmp_path)
    ratings, known = many()
    users = cold_start.hold_out_users(ratings, n_users=4, n_targets=3, seed=0)
    items = cold_start.hold_out_items(ratings, n_items=2, n_targets=2, least_known=3, seed=0)

    def obtained(**settings):
        return cold_runs.obtain(
            {"a": {**PLAIN, **settings}, "b": NO_PEOPLE}, users, items, dataset="toy", known=known,
            counts=[0], item_systems=["a"], explained=[1], seed=0, n_jobs=1,
        )  # fmt: skip

    def kept(name):
        return len(list(tmp_path.glob(f"data/toy/checkpoints/cold_start/{name}/*")))

    first, again = obtained(), obtained()
    for before, after in zip(first, again, strict=True):
        pd.testing.assert_frame_equal(before.predictions, after.predictions)
        # Times are those of the first run: nothing was fitted again.
        pd.testing.assert_frame_equal(before.seconds, after.seconds)
    of_users, of_items = first
    assert set(of_users.predictions[SYSTEM]) == {"a", "b"} and set(of_items.predictions[SYSTEM]) == {"a"}
    assert set(of_items.predictions[N_KNOWN]) == {"0", ALL}
    assert set(of_users.predictions[RATING_ID]) == set(users.targets[RATING_ID])
    assert set(of_items.predictions[RATING_ID]) == set(items.targets[RATING_ID])
    # One of users, one of items without a rating, one with all.
    assert (kept("a"), kept("b")) == (3, 1)
    obtained(n_rounds=1)
    assert (kept("a"), kept("b")) == (6, 1)


INTERVALS = {"seed": 0, "n_bootstrap": 100, "confidence": 0.9}
# Two users with two targets each.
TARGETS = frame([(1, 10, 5), (1, 20, 1), (2, 10, 4), (2, 30, 2)])


def said(system, values, *, text=NOTHING, n_known="0"):
    """Predictions of the four targets."""
    return TARGETS.drop(columns=RATING).assign(
        **{SYSTEM: system, SAID: text, N_KNOWN: n_known, PREDICTION: values, "fold": 1, "seed": 0}
    )


def values_of(predictions, targets, **settings):
    return tables.values(tables.scores(predictions, targets, **settings))


def test_values_and_differences_are_those_of_the_rules():
    ratings, known = many()
    held = cold_start.hold_out_users(ratings, n_users=4, n_targets=3, seed=0)
    keywords = {"known": known, "counts": [0], "explained": [], "seed": 0}
    answers = [cold_runs.of_users(model, held, **keywords).predictions for model in (PLAIN, NO_PEOPLE)]
    every = pd.concat([part.assign(**{SYSTEM: name}) for name, part in zip("ab", answers, strict=True)])
    scored = tables.scores(every, held.targets, by=USER, k=10, **INTERVALS)
    errors = [rules.errors(part[part[N_KNOWN] == ALL], held.targets) for _, part in every.groupby(SYSTEM)]
    of_a = tables.values(scored).query("system == 'a' and n_known == 'all'").set_index("metric")
    expected = rules.summarise(errors[0], **INTERVALS)[["pooled", "low", "high"]]
    assert of_a.loc[expected.index, ["value", "low", "high"]].to_numpy() == pytest.approx(
        expected.to_numpy()
    )
    gap = tables.differences(scored, others=["b"]).query("n_known == 'all'").set_index("metric")
    expected = rules.paired_difference(*errors, **INTERVALS)[["difference", "low", "high"]]
    columns = ["difference", "low", "high"]
    assert gap.loc[expected.index, columns].to_numpy() == pytest.approx(expected.to_numpy())


def test_values_by_hand():
    table = values_of(said("a", [4, 1, 4, 4]), TARGETS, by=USER, k=10, **INTERVALS)
    values = table.set_index("metric")
    # Errors -1, 0, 0, 2; of user 2 both items are predicted alike: the order is drawn.
    assert values.loc["rmse", "value"] == pytest.approx(np.sqrt(5 / 4))
    assert values.loc["mae", "value"] == pytest.approx(3 / 4)
    # RMSE of user 1 alone is sqrt(1/2), of user 2 sqrt(2): resamples lie between.
    assert values.loc["rmse", ["low", "high"]].tolist() == pytest.approx([np.sqrt(1 / 2), np.sqrt(2)])
    assert values["n"].tolist() == [2, 2, 2] and set(values["n_targets"]) == {4}
    # User 1 in the right order has 1; user 2 has 1 or, turned, (3 + 15/1.585) / (15 + 3/1.585) = 0.737.
    assert values.loc["ndcg", "value"] == pytest.approx(1) or values.loc["ndcg", "value"] == pytest.approx(
        (1 + (3 + 15 / np.log2(3)) / (15 + 3 / np.log2(3))) / 2
    )
    by_item = values_of(said("a", [4, 1, 4, 4]), TARGETS, by=ITEM, k=10, **INTERVALS)
    assert by_item.set_index("metric").loc["rmse", "n"] == 3


def test_differences_are_paired_and_against_the_same_number():
    best = said("a", [5, 1, 4, 2], text=TASTES)
    every = pd.concat(
        [said("b", [4, 2, 3, 3]), said("a", [4, 2, 3, 3]), best, said("a", [1] * 4, n_known="1")]
    )
    table = tables.differences(tables.scores(every, TARGETS, by=USER, k=10, **INTERVALS), others=["b"])
    rows = table[table["metric"] == "rmse"].set_index([SYSTEM, SAID, N_KNOWN, "other"])["difference"]
    # System b has said nothing from one rating: no row.
    assert rows.to_dict() == pytest.approx(
        {("a", NOTHING, "0", "b"): 0.0, ("a", TASTES, "0", "b"): -1.0, ("a", TASTES, "0", "a"): -1.0}
    )
    words = tables.in_words(table, system="a", text=TASTES, other="b")
    assert words.startswith("0: -1.000") and "better" in words
    assert tables.in_words(table, system="c", text=TASTES, other="b") == tables.NOT_POSSIBLE


def test_not_possible_stands_where_there_is_no_value_and_nowhere_else():
    table = values_of(said("a", [4, 1, 4, 4]), TARGETS, by=USER, k=10, **INTERVALS)
    reasons = pd.DataFrame({SYSTEM: ["b", "b"], SAID: NOTHING, N_KNOWN: ["0", ALL], "reason": "it cannot"})
    cells = tables.wide(table, reasons, metric="rmse", text=NOTHING, systems=["a", "b", "c"])
    assert cells.loc["b"].tolist() == [tables.NOT_POSSIBLE] * 2
    assert (
        cells.loc["a", "0"].startswith("1.118")
        and cells.loc["a", ALL] == "–"
        and list(cells.index) == ["a", "b"]
    )
    saved = tables.with_not_possible(table, reasons)
    assert saved.loc[saved[SYSTEM] == "b", "value"].isna().all()
    assert saved.loc[saved[SYSTEM] == "b", "remark"].tolist() == ["not possible: it cannot"] * 2
    with pytest.raises(StudyError, match="a reason for none"):
        tables.wide(table, reasons.assign(**{SYSTEM: "a"}), metric="rmse", text=NOTHING, systems=["a"])


def test_other_targets_under_one_condition_are_refused():
    every = pd.concat([said("a", [1] * 4), said("b", [1] * 4)])
    assert tables.check_same(every) == 4
    with pytest.raises(StudyError, match="different targets"):
        tables.check_same(every.iloc[1:])
    with pytest.raises(StudyError, match="4 predictions, not 3"):
        values_of(every.iloc[1:4], TARGETS, by=USER, k=10, **INTERVALS)


def test_levels_by_hand():
    # Every item has mean 3 in training. Three users whose level of the first rating is that of the targets,
    # and whose second rating says the contrary.
    others = frame([(9, i, 3) for i in (10, 20, 30)])
    known = frame(
        [
            (u, i, r)
            for u, rs in enumerate([(1, 5), (3, 3), (5, 1)])
            for i, r in zip((10, 20), rs, strict=True)
        ]
    )
    targets = frame([(0, 30, 2), (1, 30, 3), (2, 30, 4)])
    held = HeldOut(USER, others, known, targets)
    levels = tables.levels(held, [0, 1], seed=0)
    assert levels["first"].to_dict() == pytest.approx({1: 1.0})
    turned = tables.levels(replace(held, known=known[::-1]), [1], seed=0)
    assert turned["first"].to_dict() == pytest.approx({1: -1.0})
    assert levels["drawn"].between(-1, 1).all()


def test_mean_errors_by_hand():
    every = pd.concat([said("b", [5, 5, 5, 5]), said("a", [5, 1, 4, 4], n_known=ALL), said("a", [1] * 4)])
    # Ratings are 5, 1, 4 and 2.
    means = tables.mean_errors(every, TARGETS)
    assert list(means.index) == ["b", "a"] and list(means.columns) == ["0", ALL]
    assert means.loc["a"].tolist() == [-2.0, 0.5] and means.loc["b", "0"] == 2.0


def test_metric_keys():
    table = values_of(said("a", [4, 1, 4, 4], text=TASTES), TARGETS, by=USER, k=10, **INTERVALS)
    flat = tables.flatten({"users": table})
    assert flat["users/demographics_and_tastes/0/a/mae"] == pytest.approx(0.75)
    assert len(flat) == 9


def test_the_figure_shows_every_value(figures_closed):
    every = pd.concat([said("a", [4, 1, 4, 4]), said("b", [3] * 4), said("a", [5] * 4, n_known=ALL)])
    rows = values_of(every, TARGETS, by=USER, k=10, **INTERVALS)
    rows = rows[rows["metric"] == "mae"]
    figure = cold_figures.by_number(
        {"left": rows, "right": rows[rows[SYSTEM] == "a"]},
        systems=["a", "b"], ylabel="MAE", xlabel="known", note="n",
    )  # fmt: skip
    drawn = [
        sorted(y for line in axes.containers for y in line.lines[0].get_ydata()) for axes in figure.axes
    ]
    assert drawn[0] == sorted(rows["value"]) and len(drawn[1]) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"counts": [1, 3]}, "ascend from 0"),
        ({"counts": [0, 3, 3]}, "ascend from 0"),
        ({"hybrid": "bayesain"}, "hybrid has bayesain, which models lacks"),
        ({"item_models": ["biases"]}, "item_models lacks item_mean"),
        ({"n_explained": 10_000}, "n_explained is 10000 of n_users"),
        ({"n_users": 1}, "n_users is 1"),
        ({"language_model": "gpt"}, "language_model is 'gpt'; models of zero_shot_llm"),
    ],
)
def test_settings_that_cannot_be_are_refused_before_anything_runs(changes, message):
    path = config.PACKAGE_ROOT / "params.yaml"
    with pytest.raises(StudyError, match=message):
        params.section("cold_start", path, overrides=changes)


@pytest.mark.parametrize("folder", ["", *(f"profiles/{name}" for name in ("quick", "ml-1m", "colab"))])
def test_every_model_of_every_profile_can_be_built(folder):
    path = config.PACKAGE_ROOT / folder / "params.yaml"
    for settings in params.load(path).cold_start.models.values():
        choices = dict(settings)
        models.build(choices.pop(cold_runs.MODEL), KNOWN, seed=0, **choices)

"""Paired tests, their correction, and sample sizes: worked by hand and against scipy."""

import itertools

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, strategies as st
from scipy import stats

from dualrec_utils.analysis import sample_size, significance
from dualrec_utils.analysis.figures import sample_size as plots
from dualrec_utils.core import evaluation
from dualrec_utils.core.config import CASE, USER
from dualrec_utils.core.errors import StudyError
from dualrec_utils.pipeline import schemas

DRAWS = {"seed": 1, "n_permutations": 4_000, "alpha": 0.05}


def values(**columns):
    return pd.DataFrame(columns, index=pd.Index(range(len(next(iter(columns.values())))), name=USER))


def scored(hits, *, users=None):
    """A frame as `evaluation.per_case` gives it, reduced to what the tests read."""
    hits = np.array(hits, dtype=float)
    users = range(len(hits)) if users is None else users
    frame = pd.DataFrame({CASE: [f"c{i}" for i in range(len(hits))], USER: users})
    return frame.assign(**{metric: hits for metric in ("hit_rate@1", "hit_rate@5", "ndcg@5")})


def test_users_are_averaged_before_they_are_compared():
    cases = {"a": scored([1, 1, 0, 1], users=[1, 1, 1, 2]), "b": scored([0] * 4, users=[1, 1, 1, 2])}
    means = significance.user_values(cases, metric="hit_rate@5")
    assert means["a"].tolist() == [2 / 3, 1] and means["b"].tolist() == [0, 0]
    with pytest.raises(ValueError, match="different users"):
        significance.user_values(cases | {"c": scored([1, 1], users=[1, 3])}, metric="hit_rate@5")


def test_holm_by_hand():
    # Sorted 0.01, 0.02, 0.03, 0.5 times 4, 3, 2, 1; none below the one before it.
    assert significance.holm([0.03, 0.01, 0.5, 0.02]).tolist() == pytest.approx([0.06, 0.04, 0.5, 0.06])
    assert significance.holm([0.9, 0.8]).tolist() == [1, 1]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_lies_between_nothing_and_bonferroni_and_keeps_the_order(p_values):
    adjusted, p = significance.holm(p_values), np.array(p_values)
    assert (adjusted >= p).all() and (adjusted <= np.minimum(len(p) * p, 1) + 1e-15).all()
    assert (np.diff(adjusted[np.argsort(p, kind="stable")]) >= 0).all()


def test_a_test_by_hand():
    # Five users all gain: 2 of the 32 signs put the mean as far out, so p is about 1/16.
    differences = values(a=[1, 2, 3, 4, 5])
    row = significance.paired_tests(differences, **DRAWS | {"n_permutations": 40_000}).loc["a"]
    assert row["p"] == row["p_holm"] == pytest.approx(1 / 16, abs=0.004)
    assert (row["n_better"], row["n_worse"]) == (5, 0)
    # Mean 3, standard deviation sqrt(10 / 4).
    assert row["effect_size"] == pytest.approx(3 / np.sqrt(2.5))


def test_the_permutation_test_is_scipys():
    rng = np.random.default_rng(3)
    differences = values(a=rng.integers(-2, 4, 40) / 8, b=rng.integers(-4, 4, 40) / 8)
    ours = significance.paired_tests(differences, **DRAWS)["p"]
    for name, p in ours.items():
        theirs = stats.permutation_test(
            (differences[name].to_numpy(),),
            lambda gains, axis: gains.mean(axis=axis),
            permutation_type="samples",
            vectorized=True,
            n_resamples=4_000,
            rng=np.random.default_rng(0),
        )
        # Four standard errors of a share estimated twice.
        assert abs(p - theirs.pvalue) < 4 * np.sqrt(2 * max(p * (1 - p), 1e-3) / 4_000)


def test_few_users_give_the_share_of_all_signs():
    gains = np.array([0.5, -0.25, 0.25, 1.0])
    far = [abs(np.dot(signs, gains)) >= gains.sum() for signs in itertools.product((-1, 1), repeat=4)]
    p = significance.paired_tests(values(a=gains), **DRAWS | {"n_permutations": 40_000})["p"]
    # Sums that are equal in exact arithmetic count as equally far: a strict comparison would miss them.
    assert p.item() == pytest.approx(np.mean(far), abs=0.01)


def test_under_the_null_few_differences_are_shown_and_a_planted_one_is():
    rng = np.random.default_rng(0)
    noise = {f"s{i}": rng.random(60) - rng.random(60) for i in range(100)}
    differences = values(**noise, better=0.05 + 0.01 * rng.random(60))
    table = significance.paired_tests(differences, **DRAWS | {"n_permutations": 8_000})
    null = table.drop("better")
    assert (null["p"] < 0.05).mean() < 0.1 and (null["p_holm"] >= 0.05).all()
    assert table.loc["better", "p_holm"] < 0.05


def test_users_who_never_differ_and_users_who_all_differ_alike():
    table = significance.paired_tests(values(same=[0.0] * 8, alike=[0.1] * 8), **DRAWS)
    assert table.loc["same", ["p", "effect_size"]].tolist() == [1, 0]
    assert np.isnan(table.loc["alike", "effect_size"]) and table.loc["alike", "p"] < 0.05


def test_too_few_draws_for_so_many_tests_are_refused_with_the_number_needed():
    differences = values(**{f"s{i}": [1.0, 0.0] for i in range(60)})
    with pytest.raises(StudyError, match=r"n_permutations to 1200 or more"):
        significance.paired_tests(differences, seed=1, n_permutations=1_000, alpha=0.05)
    with pytest.raises(StudyError):
        significance.paired_tests(differences, seed=1, n_permutations=1_199, alpha=0.05)
    significance.paired_tests(differences, seed=1, n_permutations=1_200, alpha=0.05)


def test_the_seed_decides_and_arguments_are_left_alone():
    differences = values(a=np.random.default_rng(5).random(30) - 0.4)
    before = differences.copy()
    one = significance.paired_tests(differences, **DRAWS)
    pd.testing.assert_frame_equal(one, significance.paired_tests(differences, **DRAWS))
    other = significance.paired_tests(differences, **DRAWS | {"seed": 2})
    assert one["p"].item() != other["p"].item()
    pd.testing.assert_frame_equal(differences, before)


@pytest.fixture
def cases():
    rng = np.random.default_rng(1)
    hits = {
        "lstm": rng.random(60) < 0.5,
        "most_popular": rng.random(60) < 0.1,
        "ease": rng.random(60) < 0.5,
    }
    frames = {("next_item", name): scored(user_hits) for name, user_hits in hits.items()}
    return frames | {("window_of_five", name): frames["next_item", name] for name in ("lstm", "ease")}


def test_sample_sizes_by_hand():
    # One case a user, 0.18 against 0.16: variances 0.1476 and 0.1344, (1.95996 + 0.84162)^2 = 7.84888.
    settings = {"alpha": 0.05, "power": 0.8}
    assert sample_size.users_needed(0.02, variance=0.1476 + 0.1344, **settings) == 5534
    # Correlated by 0.8: 0.282 - 2 * 0.8 * sqrt(0.1476 * 0.1344) = 0.056647.
    assert sample_size.users_needed(-0.02, variance=0.056647, **settings) == 1112
    assert sample_size.smallest_difference(5534, variance=0.282, **settings) == pytest.approx(
        0.02, rel=1e-3
    )
    assert sample_size.users_needed(0.02, variance=0, **settings) == 1


def test_a_test_with_so_many_users_does_see_the_difference_four_times_in_five():
    rng = np.random.default_rng(7)
    n, gap = 60, sample_size.smallest_difference(60, variance=1, alpha=0.05, power=0.8)
    p = stats.ttest_1samp(rng.normal(gap, 1, size=(4_000, n)), 0, axis=1).pvalue
    assert (p < 0.05).mean() == pytest.approx(0.8, abs=0.03)


def test_the_table_scales_the_observed_variance_to_the_rates_asked_about():
    # Hits of 20 and 10 in 40 users, 8 of them shared: rates 1/2 and 1/4, covariance 8/40 - 1/8 = 0.075.
    a = np.r_[np.ones(20), np.zeros(20)]
    b = np.r_[np.ones(8), np.zeros(12), np.ones(2), np.zeros(18)]
    frames = {("next_item", "a"): scored(a), ("next_item", "b"): scored(b)}
    settings = {"rates": (0.18, 0.16), "alpha": 0.05, "power": 0.8}
    table = sample_size.table(frames, [("a", "b"), ("a", "missing")], **settings)
    assert table["metric"].tolist() == ["hit_rate@1", "hit_rate@5"]
    row, correction = table.iloc[1], 40 / 39
    correlation = 0.075 / np.sqrt(0.25 * 0.1875)
    assert row["correlation"] == pytest.approx(correlation)
    assert row["variance_paired"] == pytest.approx((0.4375 - 2 * 0.075) * correction)
    paired = 0.282 - 2 * correlation * np.sqrt(0.1476 * 0.1344)
    assert row["users_independent"] == np.ceil(7.848880 * 0.282 * correction / 0.0004)
    assert row["users_paired"] == np.ceil(7.848880 * paired * correction / 0.0004)
    assert row["smallest_difference_paper"] == pytest.approx(
        row["smallest_difference"] * np.sqrt(40 / sample_size.PAPER_USERS)
    )
    flat = sample_size.flatten(table, rates=[0.16, 0.18], power=0.8)
    assert flat["power/next_item/hit_rate@5/users_paired"] == row["users_paired"]
    assert (flat["power/higher"], flat["power/lower"], flat["power/chance"]) == (0.18, 0.16, 0.8)


def test_pairs_that_cannot_be_scaled_are_left_out():
    frames = {("next_item", "a"): scored([1, 0, 1]), ("next_item", "b"): scored([1, 0, 1])}
    frames["next_item", "never"] = scored([0, 0, 0])
    settings = {"rates": (0.18, 0.16), "alpha": 0.05, "power": 0.8}
    assert sample_size.table(frames, [("a", "b"), ("a", "never")], **settings).empty


def test_figures_return_what_they_draw(cases, tmp_path):
    before = dict(mpl.rcParams)
    needed = sample_size.table(cases, [("lstm", "ease")], rates=(0.18, 0.16), alpha=0.05, power=0.8)
    figure, drawn = plots.draw_power(needed, metric="hit_rate@5", alpha=0.05, power=0.8, lead="ml-100k")
    assert set(drawn["design"]) == {"paired", "independent"}
    figure.savefig(tmp_path / "figure.png")
    assert dict(mpl.rcParams) == before


def test_two_equal_hit_rates_are_refused():
    schemas.Results(power=0.8, contrast=[0.18, 0.16])
    with pytest.raises(ValueError, match=r"not 0\.18 from itself"):
        schemas.Results(power=0.8, contrast=[0.18, 0.18])


def test_what_rounding_left_is_no_difference():
    noise = 0.1 + 0.2 - 0.3
    tests = significance.paired_tests(values(a=[noise, -noise, 0.5, -0.5, 0.5]), **DRAWS)
    assert tests.loc["a", ["n_better", "n_worse"]].tolist() == [2, 1]
    sides = [evaluation.side_of_zero(*ends) for ends in ((noise, 1), (-1, -noise), (0.1, 1), (-1, -0.1))]
    assert noise > 0 and sides == [0, 0, 1, -1]

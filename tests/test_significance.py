"""Paired tests, their correction, and sample sizes: worked by hand and against scipy."""

import itertools

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, strategies as st
from scipy import stats

from dualrec_utils.analysis import sample_size, significance
from dualrec_utils.analysis.figures import significance as plots
from dualrec_utils.core import config
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
    found = significance.user_values(cases, metric="hit_rate@5")
    assert found["a"].tolist() == [2 / 3, 1] and found["b"].tolist() == [0, 0]
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
    own = values(a=[1, 2, 3, 4, 5], b=[0, 0, 0, 0, 0])
    row = significance.paired_tests(own, [("a", "b")], **DRAWS | {"n_permutations": 40_000}).iloc[0]
    assert row["p_permutation"] == pytest.approx(1 / 16, abs=0.004)
    assert (row["difference"], row["n_users"], row["n_better"], row["n_worse"]) == (3, 5, 5, 0)
    # Mean 3, standard deviation sqrt(10 / 4).
    assert row["effect_size"] == pytest.approx(3 / np.sqrt(2.5))
    assert row["p_t"] == pytest.approx(stats.ttest_rel([1, 2, 3, 4, 5], [0] * 5).pvalue)
    assert row["reading"] == "no difference shown"


def test_the_permutation_test_is_scipys():
    rng = np.random.default_rng(3)
    own = values(a=rng.integers(0, 9, 40) / 8, b=rng.integers(0, 8, 40) / 8, c=rng.integers(0, 6, 40) / 8)
    pairs = [("a", "b"), ("a", "c"), ("b", "c")]
    ours = significance.paired_tests(own, pairs, **DRAWS)["p_permutation"]
    for (one, other), p in zip(pairs, ours, strict=True):
        theirs = stats.permutation_test(
            ((own[one] - own[other]).to_numpy(),),
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
    own = values(a=gains, b=np.zeros(4))
    p = significance.paired_tests(own, [("a", "b")], **DRAWS | {"n_permutations": 40_000})["p_permutation"]
    # Sums that are equal in exact arithmetic count as equally far: a strict comparison would miss them.
    assert p.item() == pytest.approx(np.mean(far), abs=0.01)


def test_under_the_null_few_are_told_apart_and_a_planted_difference_is():
    rng = np.random.default_rng(0)
    noise = {f"s{i}": rng.random(60) for i in range(20)}
    own = values(**noise, better=noise["s0"] + 0.05 + 0.01 * rng.random(60))
    pairs = [(one, other) for one, other in itertools.combinations(noise, 2)]
    settings = DRAWS | {"n_permutations": 8_000}
    null = significance.paired_tests(own, pairs, **settings)
    assert (null["p_permutation"] < 0.05).mean() < 0.1
    assert (null["reading"] == "no difference shown").all()
    found = significance.paired_tests(own, [("better", "s0"), ("s0", "better"), *pairs], **settings)
    assert found["reading"].head(2).tolist() == ["higher", "lower"]


def test_systems_that_never_differ_and_users_who_all_differ_alike():
    own = values(a=[0.2] * 8, b=[0.2] * 8, c=[0.1] * 8)
    found = significance.paired_tests(own, [("a", "b"), ("a", "c")], **DRAWS)
    same, alike = found.iloc[0], found.iloc[1]
    assert (same["p_permutation"], same["p_t"], same["effect_size"]) == (1, 1, 0)
    assert np.isnan(alike["p_t"]) and np.isnan(alike["effect_size"]) and alike["p_permutation"] < 0.05


def test_too_few_draws_for_so_many_pairs_are_refused_with_the_number_needed():
    own = values(a=[1.0, 0.0], b=[0.0, 1.0])
    with pytest.raises(StudyError, match=r"n_permutations to 1200 or more"):
        significance.paired_tests(own, [("a", "b")] * 60, seed=1, n_permutations=1_000, alpha=0.05)
    with pytest.raises(StudyError):
        significance.paired_tests(own, [("a", "b")] * 60, seed=1, n_permutations=1_199, alpha=0.05)
    significance.paired_tests(own, [("a", "b")] * 60, seed=1, n_permutations=1_200, alpha=0.05)


def test_the_seed_decides_and_arguments_are_left_alone():
    rng = np.random.default_rng(5)
    own = values(a=rng.random(30), b=rng.random(30))
    before = own.copy()
    one = significance.paired_tests(own, [("a", "b")], **DRAWS)
    pd.testing.assert_frame_equal(one, significance.paired_tests(own, [("a", "b")], **DRAWS))
    other = significance.paired_tests(own, [("a", "b")], **DRAWS | {"seed": 2})
    assert one["p_permutation"].item() != other["p_permutation"].item()
    pd.testing.assert_frame_equal(own, before)


@pytest.fixture
def cases():
    rng = np.random.default_rng(1)
    hits = {
        "lstm": rng.random(60) < 0.5,
        "most_popular": rng.random(60) < 0.1,
        "ease": rng.random(60) < 0.5,
    }
    frames = {("next_item", name): scored(own) for name, own in hits.items()}
    return frames | {("window_of_five", name): frames["next_item", name] for name in ("lstm", "ease")}


def test_a_comparison_without_predictions_stands_in_the_table_as_not_run(cases):
    asked = [
        ("better?", "lstm", "most_popular"),
        ("better?", "lstm", "ease"),
        ("better?", "lstm", "sasrec"),
    ]
    found = significance.planned(cases, asked, **DRAWS)
    # Two protocols, three metrics, three comparisons.
    assert len(found) == 18
    readings = found.set_index(["protocol", "metric", "other"])["reading"]
    assert readings["next_item", "hit_rate@5", "most_popular"] == "higher"
    assert readings["window_of_five", "hit_rate@5", "most_popular"] == "not run"
    assert (readings[:, :, "sasrec"] == "not run").all()
    # Holm over the two that ran, not over the three asked.
    own = found.query("protocol == 'next_item' and metric == 'ndcg@5'").dropna(subset=["p_holm"])
    assert own["p_holm"].tolist() == significance.holm(own["p_permutation"]).tolist() and len(own) == 2
    flat = significance.flatten(found)
    assert set(flat) == {
        f"{protocol}/difference/lstm-{other}/{metric}/p_holm"
        for protocol, other in (
            ("next_item", "most_popular"),
            ("next_item", "ease"),
            ("window_of_five", "ease"),
        )
        for metric in significance.METRICS
    }
    shown = significance.readable(found, protocol="window_of_five", metrics=["hit_rate@5"])["HR@5"]
    assert shown["reading"].tolist() == ["not run", "no difference shown", "not run"]
    assert shown["users better / worse"].iloc[0] == ""


def test_each_family_is_counted_before_and_after_correction():
    family = pd.DataFrame({"p_permutation": [0.01, 0.04, 0.2], "p_t": [0.01, 0.06, 0.3]})
    family = family.assign(protocol="next_item", metric="ndcg@5")
    family["reading"] = ["higher", "no difference shown", "no difference shown"]
    absent = family.head(1).assign(reading=significance.NOT_RUN, metric="hit_rate@1")
    text = significance.counts_in_words(pd.concat([family, absent]), alpha=0.05)
    assert text.startswith(
        "- next_item, ndcg@5: of 3 comparisons, 2 have p < 0.05 by themselves and 1 after"
    )
    assert "otherwise of 1 before" in text and "\n" not in text


def test_every_pair_is_tested_once(cases):
    found = significance.all_pairs(cases, ["lstm", "most_popular", "ease"], metric="hit_rate@5", **DRAWS)
    pairs = found.groupby("protocol")[["system", "other"]].apply(lambda own: own.to_numpy().tolist())
    assert pairs["next_item"] == [["lstm", "most_popular"], ["lstm", "ease"], ["most_popular", "ease"]]
    assert pairs["window_of_five"] == [["lstm", "ease"]]


def test_single_seeds_are_called_so_and_several_are_summed_up(root):
    folder = config.TABLES / "seeds"
    folder.mkdir(parents=True)
    pd.DataFrame({"seed": [1, 2, 3], "hit_rate@5": [0.1, 0.2, 0.3]}).to_csv(
        folder / "lstm.csv", index=False
    )
    table = pd.DataFrame(
        {"metric": "hit_rate@5", "system": ["lstm", "ease", "lstm"], "value": [0.1, 0.5, 0.9]}
    )
    table["protocol"] = ["next_item", "next_item", "window_of_five"]
    found = significance.seed_spread(table, ["lstm", "ease", "sasrec"], metric="hit_rate@5")
    found = found.set_index("system")
    assert found.loc["lstm", ["n_seeds", "value"]].tolist() == [3, 0.1]
    assert found.loc["lstm", ["mean", "sd"]].tolist() == pytest.approx([0.2, 0.1])
    assert found["remark"].tolist() == ["", "one seed only", "not run"]
    assert found.loc["ease", ["mean", "sd"]].isna().all()


def test_sample_sizes_by_hand():
    # One case a user, 0.18 against 0.16: variances 0.1476 and 0.1344, (1.95996 + 0.84162)^2 = 7.84888.
    asked = {"alpha": 0.05, "power": 0.8}
    assert sample_size.users_needed(0.02, variance=0.1476 + 0.1344, **asked) == 5534
    # Correlated by 0.8: 0.282 - 2 * 0.8 * sqrt(0.1476 * 0.1344) = 0.056647.
    assert sample_size.users_needed(-0.02, variance=0.056647, **asked) == 1112
    assert sample_size.smallest_difference(5534, variance=0.282, **asked) == pytest.approx(0.02, rel=1e-3)
    assert sample_size.users_needed(0.02, variance=0, **asked) == 1


def test_a_test_with_so_many_users_does_see_the_difference_four_times_in_five():
    rng = np.random.default_rng(7)
    n, gap = 60, sample_size.smallest_difference(60, variance=1, alpha=0.05, power=0.8)
    p = stats.ttest_1samp(rng.normal(gap, 1, size=(4_000, n)), 0, axis=1).pvalue
    assert (p < 0.05).mean() == pytest.approx(0.8, abs=0.03)


def test_the_table_scales_the_observed_variance_to_the_rates_asked_about():
    # Hits of 20 and 10 in 40 users, 8 of them shared: rates 1/2 and 1/4, covariance 8/40 - 1/8 = 0.075.
    a = np.r_[np.ones(20), np.zeros(20)]
    b = np.r_[np.ones(8), np.zeros(12), np.ones(2), np.zeros(18)]
    own = {("next_item", "a"): scored(a), ("next_item", "b"): scored(b)}
    asked = {"rates": (0.18, 0.16), "alpha": 0.05, "power": 0.8}
    found = sample_size.table(own, [("a", "b"), ("a", "missing")], **asked)
    assert found["metric"].tolist() == ["hit_rate@1", "hit_rate@5"]
    row, correction = found.iloc[1], 40 / 39
    correlation = 0.075 / np.sqrt(0.25 * 0.1875)
    assert row["correlation"] == pytest.approx(correlation)
    assert row["variance_paired"] == pytest.approx((0.4375 - 2 * 0.075) * correction)
    paired = 0.282 - 2 * correlation * np.sqrt(0.1476 * 0.1344)
    assert row["users_independent"] == np.ceil(7.848880 * 0.282 * correction / 0.0004)
    assert row["users_paired"] == np.ceil(7.848880 * paired * correction / 0.0004)
    assert row["smallest_difference_paper"] == pytest.approx(
        row["smallest_difference"] * np.sqrt(40 / sample_size.PAPER_USERS)
    )
    flat = sample_size.flatten(found, rates=[0.16, 0.18], power=0.8)
    assert flat["power/next_item/hit_rate@5/users_paired"] == row["users_paired"]
    assert (flat["power/higher"], flat["power/lower"], flat["power/chance"]) == (0.18, 0.16, 0.8)


def test_pairs_that_cannot_be_scaled_are_left_out():
    own = {("next_item", "a"): scored([1, 0, 1]), ("next_item", "b"): scored([1, 0, 1])}
    own["next_item", "never"] = scored([0, 0, 0])
    asked = {"rates": (0.18, 0.16), "alpha": 0.05, "power": 0.8}
    assert sample_size.table(own, [("a", "b"), ("a", "never")], **asked).empty


def test_figures_return_what_they_draw(cases, tmp_path):
    before = dict(mpl.rcParams)
    names = ["lstm", "most_popular", "ease"]
    found = significance.all_pairs(cases, names, metric="hit_rate@5", **DRAWS)
    figure, drawn = plots.draw_pairs(found, names=names, note="a note", lead="ml-100k")
    assert len(drawn) == 4
    # Below the diagonal: the row's system is the worse of lstm and most_popular.
    lower = [line for line in figure.axes[0].lines if line.get_marker() == "v"]
    points = {(x, y) for line in lower for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)}
    assert (0, 1) in points
    needed = sample_size.table(cases, [("lstm", "ease")], rates=(0.18, 0.16), alpha=0.05, power=0.8)
    figure, drawn = plots.draw_power(needed, metric="hit_rate@5", alpha=0.05, power=0.8, lead="ml-100k")
    assert set(drawn["design"]) == {"paired", "independent"}
    figure.savefig(tmp_path / "figure.png")
    assert dict(mpl.rcParams) == before


def test_two_equal_hit_rates_are_refused():
    schemas.Results(power=0.8, contrast=[0.18, 0.16])
    with pytest.raises(ValueError, match=r"not 0\.18 from itself"):
        schemas.Results(power=0.8, contrast=[0.18, 0.18])

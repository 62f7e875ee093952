"""Evaluation: every case counts, users before cases, intervals over users."""

import numpy as np
import pandas as pd
import pytest
from toy_catalog import catalog_of

from dualrec_utils.core import config, evaluation, files, predictions
from dualrec_utils.core.catalog import load_catalog
from dualrec_utils.core.config import CASE, HISTORY, ITEM, RANK, SCORE, SEED, SPLIT, TEXT, USER
from dualrec_utils.core.errors import StudyError
from dualrec_utils.core.predictions import Scope, scopes

CATALOG = catalog_of([10, 20, 30, 40], genres=[["Drama"], ["Drama", "War"], ["Comedy"], ["War"]])


def lists(rows):
    frame = pd.DataFrame(rows, columns=[CASE, RANK, ITEM]).assign(**{SCORE: 1.0, TEXT: None, SEED: 1})
    return frame.astype(predictions.COLUMNS)


def per_case(users, values):
    names = [f"c{i}" for i in range(len(users))]
    return pd.DataFrame({CASE: names, USER: users, "hit_rate@5": np.array(values, dtype=float)})


def summarise(frame, **more):
    return evaluation.summarise(frame, seed=1, columns=["hit_rate@5"], **more).loc["hit_rate@5"]


def test_lists_scored_by_hand_and_a_case_without_a_list_is_a_miss():
    cases = pd.DataFrame({CASE: ["a", "b", "c"], USER: [1, 1, 2]})
    targets = pd.Series({"a": [20], "b": [30], "c": [40]})
    frame = evaluation.score_lists(
        lists([("a", 2, 20), ("a", 1, 10), ("b", 1, None), ("b", 2, 30)]), cases, targets, CATALOG
    ).set_index(CASE)
    assert frame["first_hit"].tolist() == [2, 2, np.inf]
    assert frame["hit_rate@1"].tolist() == [0, 0, 0]
    assert frame["hit_rate@5"].tolist() == [1, 1, 0]
    assert frame["ndcg@5"].tolist() == pytest.approx([1 / np.log2(3)] * 2 + [0])
    assert frame["mrr@10"].tolist() == [0.5, 0.5, 0]
    # First movie 10 (Drama) against 20 (Drama, War); an unmatched first title and no list count 0.
    assert frame["genre_jaccard"].tolist() == [0.5, 0, 0]
    assert frame["list_length"].tolist() == [2, 2, 0]


def test_no_list_at_all_is_a_miss_everywhere():
    cases = pd.DataFrame({CASE: ["a"], USER: [1]})
    frame = evaluation.score_lists(lists([]), cases, pd.Series({"a": [20]}), CATALOG)
    assert frame[list(evaluation.METRICS)].to_numpy().sum() == 0
    assert len(frame) == 1


def test_any_of_several_targets_counts_and_genres_look_at_the_first():
    cases = pd.DataFrame({CASE: ["a"], USER: [1]})
    frame = evaluation.score_lists(
        lists([("a", 1, 40), ("a", 2, 30)]), cases, pd.Series({"a": [20, 30, 40]}), CATALOG
    )
    assert frame["first_hit"].tolist() == [1]
    assert frame["genre_jaccard"].tolist() == [0.5]


def test_users_are_averaged_before_cases():
    # User 1 hits 3 of 3, user 2 hits 0 of 1: over cases 0.75, over users 0.5.
    row = summarise(per_case([1, 1, 1, 2], [1, 1, 1, 0]))
    assert row["value"] == 0.5
    assert (row["n_users"], row["n_cases"]) == (2, 4)


def test_equal_users_have_an_interval_of_no_width():
    row = summarise(per_case([1, 1, 2, 2], [1, 0, 0, 1]))
    assert row["value"] == row["low"] == row["high"] == 0.5


def test_the_interval_of_two_users_is_that_of_a_coin():
    # Means of two users drawn with replacement are 0, 0.5 and 1 with chances 1/4, 1/2 and 1/4.
    row = summarise(per_case([1, 2], [0, 1]))
    assert (row["low"], row["value"], row["high"]) == (0, 0.5, 1)
    narrow = summarise(per_case([1, 2], [0, 1]), confidence=0.4)
    assert (narrow["low"], narrow["high"]) == (0.5, 0.5)


def test_the_interval_is_close_to_the_textbook_one():
    values = np.random.default_rng(0).binomial(1, 0.3, 400)
    row = summarise(per_case(np.arange(400), values), n_bootstrap=4000)
    half = 1.96 * values.std() / np.sqrt(400)
    assert row["high"] - row["low"] == pytest.approx(2 * half, rel=0.06)


def test_the_interval_depends_on_the_seed_alone():
    frame = per_case([1, 2, 3, 4], [0, 1, 1, 0.5])
    assert summarise(frame).equals(summarise(frame.sample(frac=1, random_state=1)))


def test_a_paired_difference_by_hand():
    one, other = per_case([1, 1, 2], [1, 1, 1]), per_case([1, 1, 2], [0, 1, 0])
    result = evaluation.paired_difference(one, other, metric="hit_rate@5", seed=1)
    # User 1 gains 0.5, user 2 gains 1.
    assert result == {"difference": 0.75, "low": 0.5, "high": 1.0, "n_users": 2}
    back = evaluation.paired_difference(other, one, metric="hit_rate@5", seed=1)
    assert back["difference"] == -0.75


def test_pairing_goes_by_case_not_by_row():
    one = per_case([1, 2, 3], [1, 0, 1])
    result = evaluation.paired_difference(
        one, one.sample(frac=1, random_state=3), metric="hit_rate@5", seed=1
    )
    assert result == {"difference": 0, "low": 0, "high": 0, "n_users": 3}


def test_a_paired_difference_over_other_cases_is_refused():
    one = per_case([1, 2], [1, 1])
    with pytest.raises(ValueError, match="different cases"):
        evaluation.paired_difference(one, one.head(1), metric="hit_rate@5", seed=1)
    with pytest.raises(ValueError, match="different cases"):
        renamed = one.assign(**{CASE: ["c0", "x"]})
        evaluation.paired_difference(one, renamed, metric="hit_rate@5", seed=1)


def test_pairs_of_systems_are_compared_protocol_by_protocol():
    next_item = Scope("toy", "s", "next_item", "test")
    window = next_item.replace(protocol="window_of_five")
    cases = {
        (next_item, "lora"): per_case([1, 1, 2], [1, 1, 1]),
        (next_item, "plain"): per_case([1, 1, 2], [0, 1, 0]),
        (window, "plain"): per_case([1, 2], [1, 1]),
        (window, "lora"): per_case([1, 2], [0, 1]),
    }
    pairs = [("lora", "plain"), ("plain", "lora")]
    table = evaluation.compare(cases, pairs, metrics=["hit_rate@5"], seed=1)
    assert list(table) == ["system", "other", "protocol", "metric", "difference", "low", "high", "n_users"]
    assert table["protocol"].tolist() == ["next_item"] * 2 + ["window_of_five"] * 2
    assert table["difference"].tolist() == [0.75, -0.75, -0.5, 0.5]
    flat = evaluation.flat_differences(table)
    assert len(flat) == 4 * 3
    assert flat["next_item/lora/hit_rate@5/over_plain/difference"] == 0.75
    assert flat["window_of_five/plain/hit_rate@5/over_lora/low"] == 0


def test_flat_keys():
    summary = evaluation.summarise(per_case([1, 2], [1, 1]), seed=1, columns=["hit_rate@5"])
    flat = evaluation.flatten(summary, protocol="next_item", system="lstm")
    assert flat == {
        "next_item/lstm/hit_rate@5": 1.0, "next_item/lstm/hit_rate@5/low": 1.0,
        "next_item/lstm/hit_rate@5/high": 1.0, "next_item/lstm/n_cases": 2, "next_item/lstm/n_users": 2,
    }  # fmt: skip
    keys = evaluation.flatten(summary, protocol="next_item", system="lstm", split="validation")
    assert all(key.startswith("validation/next_item/lstm/") for key in keys)


@pytest.fixture
def oracle_and_fool(tiny):
    """On disk: a system that names every target first, and one that names none."""
    for protocol in config.PROTOCOLS:
        targets = evaluation.load_targets("ml-100k", protocol)
        scope = Scope("ml-100k", "toy", protocol, "test")
        cases = predictions.load_cases(scope)
        catalog = load_catalog("ml-100k").ids
        wrong = [
            next(i for i in catalog if i not in targets[case] and i not in set(history))
            for case, history in zip(cases[CASE], cases[HISTORY], strict=True)
        ]
        oracle = lists([(case, 1, targets[case][0]) for case in cases[CASE]])
        predictions.write(oracle, "oracle", scope)
        fool = lists(list(zip(cases[CASE], [1] * len(cases), wrong, strict=True)))
        predictions.write(fool, "fool", scope)
    return tiny


def test_an_oracle_gets_one_and_a_fool_gets_nothing(oracle_and_fool):
    table, flat = evaluation.evaluate_systems(
        ["oracle", "fool"], scopes("ml-100k", "toy", splits=["test"]), seed=1
    )
    for protocol in config.PROTOCOLS:
        for metric in evaluation.METRICS:
            assert flat[f"{protocol}/oracle/{metric}"] == 1
            if metric != "genre_jaccard":
                assert flat[f"{protocol}/fool/{metric}"] == 0
        assert flat[f"{protocol}/oracle/n_users"] == oracle_and_fool["n_users_test"]
        assert flat[f"{protocol}/oracle/n_cases"] == oracle_and_fool[f"n_cases_{protocol}"]["test"]
    assert list(table.columns[:4]) == [SPLIT, "protocol", "system", "metric"]
    assert len(table) == 2 * 2 * len(evaluation.METRICS)


def test_dropping_cases_from_the_file_lowers_the_result(oracle_and_fool):
    scope = Scope("ml-100k", "toy", "next_item", "test")
    oracle = predictions.read("oracle", scope)
    predictions.write(oracle[oracle[CASE] != oracle[CASE].iloc[0]], "oracle", scope)
    frame = evaluation.per_case("oracle", scope)
    assert len(frame) == len(oracle)
    assert frame["hit_rate@5"].sum() == len(oracle) - 1


def test_predictions_of_another_split_are_refused(oracle_and_fool):
    test = Scope("ml-100k", "toy", "next_item", "test")
    validation = test.replace(split="validation")
    foreign = predictions.path_of("oracle", validation)
    foreign.parent.mkdir(parents=True)
    foreign.write_bytes(predictions.path_of("oracle", test).read_bytes())
    with pytest.raises(StudyError, match="which the split does not have"):
        evaluation.per_case("oracle", validation)


def test_metrics_say_where_the_data_came_from(tiny):
    path = evaluation.write_metrics("toy", {"x": 1.5}, dataset="ml-100k")
    assert path == config.METRICS / "toy.json"
    assert files.read_json(path) == {
        "x": 1.5, "dataset": "ml-100k", "source": "folder", "order_sha256": tiny["order_sha256"]
    }  # fmt: skip
    for broken in ("", '{"source": "folder"}', '{"source": 3, "order_sha256": ""}'):
        summary = files.write_text(broken, config.processed_dir("ml-100k") / "summary.json")
        with pytest.raises(StudyError, match=str(summary)):
            evaluation.origin("ml-100k")


def test_tables_and_mappings_become_flat_keys(tiny):
    table = pd.DataFrame({"ks": [0.25, 0.5], "n": [1, 2]}, index=["length", "year"])
    series = pd.Series({("train", "loss"): 4.0, ("validation", "loss"): 5.0})
    values = {"x": np.float64(1.5), "parts": table, "curves": series, "chosen": {"ease": {"l2": 190}}}
    path = evaluation.write_metrics("toy", values, dataset="ml-100k")
    written = files.read_json(path)
    assert {key: written[key] for key in written if key not in ("dataset", "source", "order_sha256")} == {
        "x": 1.5, "parts/length/ks": 0.25, "parts/length/n": 1, "parts/year/ks": 0.5, "parts/year/n": 2,
        "curves/train/loss": 4.0, "curves/validation/loss": 5.0, "chosen/ease/l2": 190,
    }  # fmt: skip


@pytest.mark.parametrize(
    "values", [{"a/b": 1, "a": {"b": 1}}, {"a": pd.Series([1, 2], index=["b", "b"])}, {1: 2, "1": 2}]
)
def test_a_metric_key_met_twice_is_refused(values):
    with pytest.raises(ValueError, match="two values have the metric key"):
        evaluation.flat_keys(values)


def test_systems_of_several_stages_are_read_and_tabulated_together(oracle_and_fool):
    scope = Scope("ml-100k", "toy", "next_item", "test")
    elsewhere = scope.replace(stage="elsewhere")
    predictions.write(predictions.read("fool", scope), "fool", elsewhere)
    cases = evaluation.per_case_of({"oracle": "toy", "fool": "elsewhere"}, [scope])
    assert list(cases) == [(scope, "oracle"), (scope, "fool")]
    together, flat = evaluation.tabulate(cases, seed=1)
    apart, flat_apart = evaluation.evaluate_systems(["oracle", "fool"], [scope], seed=1)
    pd.testing.assert_frame_equal(together, apart)
    assert flat == flat_apart


def test_lists_that_lie_in_no_file_are_scored_and_checked(oracle_and_fool):
    scope = Scope("ml-100k", "toy", "next_item", "test")
    oracle = predictions.read("oracle", scope)
    pd.testing.assert_frame_equal(evaluation.score(oracle, scope), evaluation.per_case("oracle", scope))
    with pytest.raises(StudyError):
        evaluation.score(oracle.assign(**{CASE: "nobody"}), scope)

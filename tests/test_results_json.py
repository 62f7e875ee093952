"""`reports/results.json` and `reports/costs.md`: what the files of a run say, in the form promised."""

import json
import random
from copy import deepcopy

import pandas as pd
import pytest
from conftest import use_root
from jsonschema import Draft202012Validator

from dualrec_utils.core import config, files
from dualrec_utils.report import costs, page, results_json, text

ROOT = config.PACKAGE_ROOT
SCHEMA = files.read_json(ROOT / "reports" / "results.schema.json")
# The default run, and the profile that is committed.
RUNS = (ROOT, ROOT / "profiles" / "ml-1m")


def faults(value):
    return [error.message for error in Draft202012Validator(SCHEMA).iter_errors(value)]


def metrics():
    """Flat metrics of the LSTM alone, and of two claims."""
    flat = {"dataset": "ml-100k", "source": "a test", "order_sha256": "0" * 64, "confidence": 0.95}
    for protocol in config.PROTOCOLS:
        for metric, at in (("hit_rate@1", 0.25), ("hit_rate@5", 0.5), ("ndcg@5", 0.375)):
            key = f"{protocol}/lstm/{metric}"
            flat |= {key: at, f"{key}/low": at - 0.125, f"{key}/high": at + 0.125}
        flat |= {f"{protocol}/lstm/n_cases": 80, f"{protocol}/lstm/n_users": 10}
    flat["next_item/lstm/n_seeds"] = 5
    claim = {"question": "Order?", "answer": "unclear", "system": "lstm", "other": "ease"}
    claim |= {"metric": "ndcg@5", "difference": 0.5, "low": -0.5, "high": 1.5, "n_users": 10, "n_seeds": 5}
    flat |= {f"claims/1/{name}": value for name, value in (claim | {"p": 0.5, "p_holm": 1.0}).items()}
    claim = {"question": "The line?", "answer": "not run", "system": "a", "other": "b", "metric": "ndcg@5"}
    return flat | {f"claims/2/movielm/{name}": value for name, value in claim.items()}


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    use_root(tmp_path, monkeypatch)
    monkeypatch.setattr(config, "STUDIES", tmp_path / "reports" / "studies")
    return tmp_path


@pytest.mark.parametrize("root", RUNS, ids=lambda root: root.name)
def test_the_committed_file_is_valid_and_what_the_metrics_give(root, monkeypatch):
    use_root(root, monkeypatch)
    written = (root / "reports" / results_json.NAME).read_text(encoding="utf-8")
    assert not faults(json.loads(written))
    given = results_json.results(text.read_metrics())
    assert json.loads(written) == given, "run `make report`"
    moved = text.read_metrics()
    moved["next_item/lstm/hit_rate@5"] += 0.001
    assert results_json.results(moved) != given


def test_it_agrees_with_the_table_of_systems():
    table = pd.read_csv(ROOT / "reports" / "tables" / "results" / "systems_next_item.csv").set_index(
        "system"
    )
    for row in files.read_json(ROOT / "reports" / results_json.NAME)["systems"]:
        one = row["next_item"]["values"]["hit_rate@5"]
        cell = table.loc[row["label"], "hit_rate@5"]
        assert cell == f"{one['value']:.3f} [{one['low']:.3f}, {one['high']:.3f}]"


def test_values_claims_and_what_was_not_run(scratch):
    document = results_json.results(metrics())
    assert not faults(document)
    assert document["profile"] == scratch.name
    by_name = {row["system"]: row for row in document["systems"]}
    assert by_name["lstm"]["next_item"] == {
        "n_users": 10,
        "n_cases": 80,
        "n_seeds": 5,
        "values": {
            "hit_rate@1": {"value": 0.25, "low": 0.125, "high": 0.375},
            "hit_rate@5": {"value": 0.5, "low": 0.375, "high": 0.625},
            "ndcg@5": {"value": 0.375, "low": 0.25, "high": 0.5},
        },
    }
    assert by_name["lstm"]["window_of_five"]["n_seeds"] == 1
    assert by_name["ease"]["next_item"] is None
    first, second = document["claims"]
    # Without a number of users that would settle it there is no key in the metrics.
    assert (first["claim"], first["difference"], first["users_needed"]) == ("1", 0.5, None)
    assert (second["claim"], second["answer"], second["difference"]) == ("2/movielm", "not run", None)
    assert document["rating_systems"] == document["rating_claims"] == []


def test_rating_models_and_their_claims_are_there(scratch):
    values = {"system": ["svdpp"], "folds": [5], "n_users": [943]}
    values |= {"rmse": [0.9], "rmse_low": [0.8], "rmse_high": [1.0]}
    folder = config.TABLES / "rating_hybrids"
    files.write_csv(pd.DataFrame(values), folder / "errors.csv")
    claim = {"claim": 8, "question": "Better?", "answer": "unclear", "system": "a", "other": "svdpp"}
    claim |= {"metric": "rmse", "difference": 0.25, "low": 0.0, "high": 0.5, "n_users": 943, "n_seeds": 1}
    files.write_csv(pd.DataFrame([claim | {"p": 0.01, "p_holm": 0.02}]), folder / "claims.csv")
    document = results_json.results(metrics())
    assert not faults(document)
    (model,), (answered,) = document["rating_systems"], document["rating_claims"]
    assert model == {
        "system": "svdpp",
        "folds": 5,
        "n_users": 943,
        "rmse": {"value": 0.9, "low": 0.8, "high": 1.0},
    }
    assert (answered["claim"], answered["difference"], answered["n_seeds"]) == ("8", 0.25, 1)


def test_the_bytes_do_not_depend_on_the_order_of_the_metrics(scratch):
    flat = metrics()
    shuffled = list(flat.items())
    random.Random(0).shuffle(shuffled)
    one, other = scratch / "one.json", scratch / "other.json"
    files.write_json(results_json.results(flat), one)
    files.write_json(results_json.results(dict(shuffled)), other)
    assert one.read_bytes() == other.read_bytes()


def planted(change):
    value = deepcopy(files.read_json(ROOT / "reports" / results_json.NAME))
    change(value)
    return value


@pytest.mark.parametrize(
    "change",
    [
        lambda value: value.pop("claims"),
        lambda value: value.update(more=1),
        lambda value: value.update(version=1),
        lambda value: value.update(order_sha256="abc"),
        lambda value: value["systems"][0]["next_item"]["values"]["hit_rate@1"].pop("low"),
        lambda value: value["systems"][0]["next_item"]["values"]["hit_rate@1"].update(value=1.5),
        lambda value: value["systems"][0]["next_item"].update(n_users=0),
        lambda value: value["claims"][0].update(answer="perhaps"),
        lambda value: value["claims"][0].update(difference=None),
        lambda value: value["rating_systems"][0].update(folds=6),
    ],
)
def test_the_schema_refuses_a_planted_fault(change):
    Draft202012Validator.check_schema(SCHEMA)
    assert faults(planted(change))


def test_the_committed_costs_are_what_the_timings_give():
    written = (ROOT / "reports" / costs.NAME).read_text(encoding="utf-8")
    assert written == costs.costs_page(page.TIMED), "run `make report`"


def test_costs_in_minutes_gibibytes_and_thousands(scratch):
    fit = {"fit_seconds": 12.5, "peak_memory_mb": 512, "score_seconds": 0.5, "n_scored": 250}
    files.write_json({"ease": fit}, config.TIMINGS / "baselines_models.json")
    files.write_json({"seconds": 30.0, "budget_seconds": 60}, config.TIMINGS / "data.json")
    files.write_json(
        {"prompts_per_second": {"batched": 2.5}}, config.study_dir("bench") / "generation.json"
    )
    written = costs.costs_page(("data", "eda"))
    assert "| EASE-R | 12.50 | 0.50 | 2.00 |" in written
    assert "| data | 60 | 30.0 | – |" in written and "eda" not in written
    assert "| answers, batched | 150 |" in written
    assert "No hosted model was asked" in written and "GPU" not in written


def test_costs_say_where_a_hosted_model_answered(scratch):
    models = pd.DataFrame({"name": ["a"], "backend": ["hosted"], "here": ["runs"]})
    files.write_csv(models, config.TABLES / "zero_shot_llm" / "models.csv")
    assert "No hosted model was asked" not in costs.costs_page(())

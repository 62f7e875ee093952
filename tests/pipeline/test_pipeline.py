"""The whole pipeline, offline, on a generated data set with a baseline of its own.

`make pipeline` runs it, and CI beside the tests; a few minutes on two cores.
"""

import json

import pytest
import toy


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def study(tmp_path_factory, data):
    """A copy of the study to which the README's recipes have added a data set and a baseline, run whole."""
    study = toy.copy_of_the_study(tmp_path_factory.mktemp("study"))
    assert len(toy.add_data_set(study, toy.write_data(data))) <= 4
    assert len(toy.add_baseline(study)) <= 3
    toy.run(study, "dualrec_utils", "profile", "toy", data=data)
    toy.run(study, "dualrec_utils", "params", data=data, folder="profiles/toy")
    toy.run(study, "dvc", "repro", data=data, folder="profiles/toy")
    return study


def metrics(study, stage):
    return json.loads((study / f"profiles/toy/reports/metrics/{stage}.json").read_text())


def test_every_stage_leaves_its_metrics(study):
    for stage in ("eda", "lstm", "baselines", "movielm", "zero_shot_llm", "lora_finetuning"):
        assert metrics(study, stage)["dataset"] == "toy", stage
    for stage in ("rerank_ablation", "results", "audit", "rating_hybrids", "cold_start", "online"):
        assert metrics(study, stage)["source"] == "folder", stage


def test_the_new_baseline_stands_in_the_results(study):
    results = metrics(study, "results")
    assert 0 <= results["next_item/recent_popularity/hit_rate@5"] <= 1
    page = (study / "profiles/toy/reports/index.html").read_text()
    assert "Recently popular" in page


def test_its_pages_say_that_they_are_no_results(study):
    assert "A trial, no result" in (study / "profiles/toy/reports/index.html").read_text()
    pages = sorted((study / "profiles/toy/reports/notebooks").glob("*.html"))
    copies = [page.with_suffix(".ipynb") for page in pages]
    assert len(pages) == 11
    assert all("A trial, no result" in page.read_text() for page in [*pages, *copies])


def test_a_second_run_does_nothing_and_the_default_run_is_not_concerned(study, data):
    assert "Running stage" not in toy.run(study, "dvc", "repro", data=data, folder="profiles/toy")
    assert not (study / "data/ml-100k").exists() and not (study / "dvc.lock").exists()


def test_an_edit_of_a_baseline_fits_that_one_alone(study, data):
    path = study / "dualrec_utils/models/baselines/recent_popularity.py"
    path.write_text(path.read_text() + "# edited\n")
    status = toy.run(study, "dvc", "status", "--json", data=data, folder="profiles/toy")
    changed = {
        stage
        for stage, changes in json.loads(status).items()
        if any(
            "baselines" in str(change.get("changed deps")) for change in changes if isinstance(change, dict)
        )
    }
    assert {"baselines", "audit"} <= changed
    assert not changed & {"lstm", "movielm", "zero_shot_llm", "lora_finetuning"}

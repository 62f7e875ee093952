"""Does it carry beyond films: tables of planted runs, groups by interactions, and what is said of them."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, strategies as st

from dualrec_utils.analysis import claims
from dualrec_utils.core import config
from dualrec_utils.core.config import CASE, SYSTEM, USER
from dualrec_utils.core.errors import StudyError
from dualrec_utils.models import baselines
from dualrec_utils.models.baselines import ease, item_knn
from dualrec_utils.studies.domains import curves, figures, run, scale, settings, tables, words
from dualrec_utils.studies.domains.tables import DATASET

N_QUESTIONS = 6


def answered(**changed):
    """Metrics of a run that leaves every claim open, but for those given: claim -> (answer, difference)."""
    flat = {"language_model": "movielm", "next_item/lstm/hit_rate@5": 0.1}
    for number in range(1, N_QUESTIONS + 1):
        answer, difference = changed.get(f"claim_{number}", ("unclear", 0.001))
        key = "claims/1" if number == 1 else f"claims/{number}/movielm"
        row = {"question": f"Question {number}?", "system": "lstm", "other": "ease", "metric": "ndcg@5"}
        row |= {"answer": answer, "difference": difference, "low": difference - 0.01}
        row |= {"high": difference + 0.01, "n_users": 100, "n_seeds": 3, "smallest_difference": 0.02}
        flat |= {f"{key}/{name}": value for name, value in row.items()}
    return flat


@pytest.fixture
def plant(tmp_path, monkeypatch):
    """Write metrics of a stage of a run; nothing else has been run."""
    monkeypatch.setattr(config, "PACKAGE_ROOT", tmp_path)
    monkeypatch.setattr(config, "PROFILES", tmp_path / "profiles")
    monkeypatch.setattr(config, "STUDIES", tmp_path / "studies")
    monkeypatch.setattr(tables, "items_of", lambda dataset: "things")

    def write(dataset, stage, flat):
        path = settings.folder_of(dataset) / "reports" / "metrics" / f"{stage}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(flat))

    return write


def test_nothing_has_been_run(plant):
    facts, found = tables.facts(), tables.all_claims()
    assert set(facts["remark"]) == {settings.NOT_RUN_YET} and facts["users"].isna().all()
    assert len(found) == N_QUESTIONS * len(settings.RUNS) and set(found["answer"]) == {claims.NOT_RUN}
    assert tables.results().empty and tables.all_curves().empty and tables.together().empty
    assert "No other data set has been run yet" in words.carried(found)
    assert words.too_small(found) == [] and list(words.along(tables.all_curves())) == []
    figures.by_domain(found, note="")


def test_facts_by_hand(plant):
    flat = {"n_users": 20, "n_items": 10, "n_interactions": 100, "n_users_test": 3, "density/kept": 0.5}
    flat |= {"share_of_ratings_kept": 0.4, "n_ratings_raw": 240, "n_items_raw": 40, "n_movies_merged": 4}
    flat |= {"n_repeats_left_out": 60, "n_titles_with_html_entities": 2, "n_titles_replaced_by_code": 1}
    plant("amazon-cds", "eda", flat)
    row = tables.facts().set_index(DATASET).loc["amazon-cds"]
    assert (row["a user"], row["an item"], row["repeats"], row["remark"]) == (5, 10, 0.2, "")
    assert (row["merged"], row["cleaned"], row["nameless"]) == (0.1, 0.05, 0.025)
    assert np.isnan(row["ties"])


def test_claims_are_compared_with_those_of_films(plant):
    plant("ml-100k", "results", answered(claim_3=("yes", 0.03), claim_5=("no", -0.03)))
    plant("amazon-cds", "results", answered(claim_3=("yes", 0.02), claim_6=("no", -0.02)))
    plant("online-retail", "results", answered(claim_3=("no", -0.02)))
    found = tables.all_claims()
    text = words.carried(found)
    assert "Of the 6 claims ml-100k settles 2." in text
    assert "Claim 3 (yes): the same on amazon-cds; the opposite on online-retail." in text
    assert "Claim 5 (no): not settled on amazon-cds, online-retail." in text
    assert "amazon-cds settles claim 6 (no)." in text
    assert "amazon-games" not in text
    third = words.answers(found)[2]
    assert "**yes** on ml-100k (+3.0 points [+2.0, +4.0], 3 seeds)" in third
    assert "not run yet on ml-1m, amazon-games" in third
    # 100 users show 2 points, so four times as many show one.
    assert set(found["users_for_a_point"].dropna()) == {400}
    assert words.too_small(found)[1].startswith(
        "amazon-cds, 100 test users: claim 1: 400 for 1 point, no number"
    )


def test_a_run_from_before_the_claims_counts_as_not_run(plant):
    plant("ml-1m", "results", {"language_model": "movielm", "next_item/lstm/hit_rate@5": 0.3})
    found = tables.all_claims()
    assert set(found.loc[found[DATASET] == "ml-1m", "answer"]) == {claims.NOT_RUN}
    assert tables.results().empty


@given(st.lists(st.integers(0, 500), min_size=1, max_size=40))
def test_every_case_is_in_the_group_of_its_count_and_in_all(counts):
    cases = pd.Series(counts, index=[f"u{place:05d}_p0001" for place in range(len(counts))])
    grouped = curves.groups(cases)
    assert (grouped["group"] == curves.ALL).sum() == len(cases)
    for case, group in grouped.loc[grouped["group"] != curves.ALL, [CASE, "group"]].itertuples(index=False):
        low, _, high = group.replace(" and more", " to 1000").partition(" to ")
        assert int(low) <= cases[case] <= int(high)
    order = [curves.names().index(name) for name in dict.fromkeys(grouped["group"]) if name != curves.ALL]
    assert order == sorted(order)


def test_a_curve_holds_what_the_language_model_gains(monkeypatch):
    """Twelve users, the first six ask for rare items: there the model finds all, the LSTM none."""
    cases = [f"u{user:05d}_p0001" for user in range(12)]
    hits = {"lstm": [0.0] * 6 + [1.0] * 6, "movielm_history_constrained": [1.0] * 12}
    frames = {
        name: pd.DataFrame({CASE: cases, USER: range(12), curves.METRIC: own}) for name, own in hits.items()
    }
    counts = pd.Series([1] * 6 + [300] * 6, index=cases)
    monkeypatch.setattr(curves.knowledge, "ordinary_frames", lambda dataset: dict(frames))
    monkeypatch.setattr(curves.knowledge, "target_counts", lambda dataset: counts)
    table = curves.measure("any", seed=0, n_bootstrap=100, confidence=0.95)
    values = table.set_index(["group", SYSTEM])["value"]
    minus = f"movielm_history_constrained{curves.MINUS_LSTM}"
    assert values["0 to 4", minus] == 1 and values["200 and more", minus] == 0
    assert values[curves.ALL, minus] == pytest.approx(0.5)
    # Six users are too few for an interval, twelve are not.
    assert table.set_index(["group", SYSTEM]).loc[("0 to 4", minus), "low"] != table["low"].iloc[-1]
    named = table.assign(**{DATASET: "ml-100k"})
    figures.by_interactions(named, note="")


def test_the_study_names_its_parts_and_refuses_a_trial(tiny):
    with pytest.raises(StudyError, match="no part 'curves'; it has curve, scale"):
        run.run_all(["curves"])
    with pytest.raises(StudyError, match="is no run of the study"):
        run.write_curve()


def test_neighbours_found_by_blocks_are_those_found_at_once(monkeypatch):
    rng = np.random.default_rng(0)
    histories = [rng.choice(23, size=6, replace=False) for _ in range(40)]
    kinds = []
    for at_once in (1_024, 5):
        monkeypatch.setattr(item_knn, "_AT_ONCE", at_once)
        model = baselines.build("item_knn", np.arange(23), seed=0, query_length=3, n_neighbours=4)
        kinds.append(model.fit(histories).score(histories))
    assert np.array_equal(*kinds)


def test_a_matrix_is_inverted_in_place(monkeypatch):
    rng = np.random.default_rng(0)
    watched = (rng.random((60, 23)) < 0.2).astype(float)
    matrix = watched.T @ watched + 3 * np.eye(23)
    expected = np.linalg.inv(matrix)
    monkeypatch.setattr(ease, "_AT_ONCE", 5)
    ease._invert(matrix)
    assert np.allclose(matrix, expected) and np.array_equal(matrix, matrix.T)


def test_one_measurement_of_scale(tiny, monkeypatch):
    monkeypatch.setattr(scale, "DATASET", "ml-100k")
    values = {"baselines": {"models": {"item_knn": {"query_length": 5, "n_neighbours": 10}}}}
    row = scale.measure("item_knn", 15, values)
    assert (row["what"], row["n_users"]) == ("item_knn", 15)
    assert row["n_items"] > 10 and row["seconds"] > 0 and row["users_per_minute"] > 0
    assert row["peak_memory_mb"] > 50

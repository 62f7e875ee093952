"""Does it carry beyond films: tables of planted runs, groups by interactions, and what is said of them."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, strategies as st

from dualrec_utils.analysis import claims, verdict
from dualrec_utils.core import config
from dualrec_utils.core.config import CASE, SYSTEM, USER
from dualrec_utils.core.errors import StudyError
from dualrec_utils.models import baselines
from dualrec_utils.models.baselines import ease, item_knn
from dualrec_utils.studies.domains import curves, figures, run, scale, settings, tables, words
from dualrec_utils.studies.domains.tables import DATASET

N_QUESTIONS = 6


def answered(n_seeds=3, **changed):
    """Metrics of a run that leaves every claim open, but for those given: claim -> (answer, difference)."""
    flat = {"language_model": "movielm", "next_item/lstm/hit_rate@5": 0.1}
    for number in range(1, N_QUESTIONS + 1):
        answer, difference = changed.get(f"claim_{number}", ("unclear", 0.001))
        key = "claims/1" if number == 1 else f"claims/{number}/movielm"
        row = {"question": f"Question {number}?", "system": "lstm", "other": "ease", "metric": "ndcg@5"}
        row |= {"answer": answer, "difference": difference, "low": difference - 0.01}
        row |= {"high": difference + 0.01, "n_users": 100, "n_seeds": n_seeds, "smallest_difference": 0.02}
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
    facts, rows = tables.facts(), tables.all_claims()
    assert set(facts["remark"]) == {settings.NOT_RUN_YET} and facts["users"].isna().all()
    assert len(rows) == N_QUESTIONS * len(settings.RUNS) and set(rows["answer"]) == {claims.NOT_RUN}
    assert tables.results().empty and tables.all_curves().empty and tables.together().empty
    assert settings.name_of("ml-1m") in words.carried(rows)
    for shown in (words.by_claim(rows), words.users_needed(rows)):
        cells = shown.set_index("claim").to_numpy()
        assert (cells[:-1] == claims.NOT_RUN).all() and (cells[-1] == "–").all()
    assert words.ahead(tables.all_curves()) == []
    assert list(words.digest(rows, tables.all_curves())["table"]) == [
        "", tables.BY_CLAIM, tables.USERS_NEEDED,
    ]  # fmt: skip
    figures.by_domain(rows, note="")


def test_facts_by_hand(plant):
    flat = {"n_users": 20, "n_items": 10, "n_interactions": 100, "n_users_test": 3, "density/kept": 0.5}
    flat |= {"share_of_ratings_kept": 0.4, "n_ratings_raw": 240, "n_items_raw": 40, "n_movies_merged": 4}
    flat |= {"n_repeats_left_out": 60, "n_titles_with_html_entities": 2, "n_titles_replaced_by_code": 1}
    plant("amazon-cds", "eda", flat)
    row = tables.facts().set_index(DATASET).loc["amazon-cds"]
    assert (row["a user"], row["an item"], row["repeats"], row["remark"]) == (5, 10, 0.2, "")
    assert (row["merged"], row["cleaned"], row["nameless"]) == (0.1, 0.05, 0.025)
    assert np.isnan(row["ties"])


def test_every_claim_that_is_stated_has_its_words():
    assert list(verdict.STATEMENTS) == [str(number) for number, *_ in claims.STATED]


def parted(text):
    """What is answered, one part a statement, and the sentences on the data sets that answer nothing."""
    first, *rest = text.removesuffix(".").split(". ")
    return first.split("; "), rest


def named(part):
    """The data sets that a part names."""
    return {name for name in settings.RUNS if settings.name_of(name) in part}


def test_an_answer_is_said_once_with_the_data_sets_that_give_it(plant):
    plant("ml-100k", "results", answered(claim_3=("yes", 0.03), claim_5=("no", -0.03)))
    plant("amazon-cds", "results", answered(claim_3=("yes", 0.02), claim_6=("no", -0.02)))
    plant("amazon-games", "results", answered(n_seeds=1))
    plant("online-retail", "results", answered(claim_3=("no", -0.02), claim_5=("no", -0.02)))
    parts, (of_games, not_run) = parted(words.carried(tables.all_claims()))
    of_statement = {
        ("3", 0): {"ml-100k", "amazon-cds"},
        ("3", 1): {"online-retail"},
        ("5", 1): {"ml-100k", "online-retail"},
        ("6", 1): {"amazon-cds"},
    }
    assert len(parts) == len(of_statement)
    for (number, side), names in of_statement.items():
        statement = verdict.STATEMENTS[number][side]
        (part,) = (part for part in parts if statement.casefold() in part.casefold())
        assert named(part) == names
    # What more data sets answer comes first; games settle nothing, and no other sentence speaks of them.
    assert [len(named(part)) for part in parts] == [2, 2, 1, 1]
    assert named(of_games) == {"amazon-games"} and "seed" in of_games
    assert named(not_run) == {"ml-1m"}


def test_runs_with_seeds_enough_that_settle_nothing(plant):
    for name in ("ml-100k", "amazon-cds"):
        plant(name, "results", answered())
    plant("online-retail", "results", answered(claim_1=("yes", 0.02)))
    (part,), (silent, _) = parted(words.carried(tables.all_claims()))
    assert named(part) == {"online-retail"}
    assert named(silent) == {"ml-100k", "amazon-cds"} and "seed" not in silent


def test_one_data_set_alone(plant):
    plant("ml-100k", "results", answered(claim_3=("yes", 0.03)))
    (only,), (not_run,) = parted(words.carried(tables.all_claims()))
    assert named(only) == {"ml-100k"} and named(not_run) == set(settings.RUNS) - {"ml-100k"}


def test_a_data_set_without_a_name_for_readers_keeps_its_own():
    assert settings.name_of("tea-shop") == "tea-shop"


def test_tables_of_answers_and_of_users_by_hand(plant):
    flat = answered(claim_3=("yes", 0.03), claim_5=("no", -0.0204))
    flat |= {"claims/6/movielm/users_needed": 1234, "claims/2/movielm/smallest_difference": 0}
    flat["claims/6/movielm/n_seeds"] = 1
    plant("amazon-cds", "results", flat)
    rows = tables.all_claims()
    # 100 users show 2 points, so four times as many show one.
    assert set(rows["users_for_a_point"].dropna()) == {400, 0}
    answers, users = (one(rows).set_index("claim") for one in (words.by_claim, words.users_needed))
    for shown in (answers, users):
        assert list(shown) == [settings.name_of(name) for name in settings.RUNS]
        assert [label[:2] for label in shown.index[:-1]] == [f"{n}." for n in range(1, N_QUESTIONS + 1)]
        assert set(shown[settings.name_of("ml-1m")][:-1]) == {claims.NOT_RUN}
    music = settings.name_of("amazon-cds")
    assert list(answers[music]) == [
        "unclear +0.1 [-0.9, +1.1]", "unclear +0.1 [-0.9, +1.1]", "yes +3.0 [+2.0, +4.0]",
        "unclear +0.1 [-0.9, +1.1]", "no -2.0 [-3.0, -1.0]", "unclear +0.1 [-0.9, +1.1]", "1 to 3",
    ]  # fmt: skip
    assert list(users[music]) == ["– / 400", "– / –", "settled", "– / 400", "settled", "1,234 / 400", "100"]


def test_only_places_where_the_language_model_is_ahead_are_named():
    minus = f"movielm_lora_constrained{curves.MINUS_LSTM}"
    columns = ["group", SYSTEM, "value", "low", "high", "n_cases", DATASET]
    behind = [
        ("0 to 4", minus, 0.02, 0.0, 0.04, 31, "ml-100k"),
        ("5 to 9", minus, -0.02, -0.03, -0.01, 32, "amazon-games"),
        ("10 to 19", "lstm", 0.3, 0.2, 0.4, 33, "online-retail"),
        ("20 to 49", minus, 0.3, np.nan, np.nan, 3, "ml-1m"),
    ]
    before = [
        ("50 to 99", minus, 0.05, 0.01, 0.09, 1234, "amazon-cds"),
        (curves.ALL, minus, 0.03, 0.01, 0.05, 77, "amazon-cds"),
    ]
    (nowhere,) = words.ahead(pd.DataFrame(behind, columns=columns))
    assert "2 comparisons" in nowhere
    count, group, whole = words.ahead(pd.DataFrame(behind + before, columns=columns))
    assert "2 of 4 comparisons" in count
    assert "50 to 99" in group and "+5.0 points [+1.0, +9.0]" in group and "1,234" in group
    assert "+3.0 points" in whole and "77" in whole
    assert all(settings.name_of("amazon-cds") in line for line in (group, whole))


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
        name: pd.DataFrame({CASE: cases, USER: range(12), curves.METRIC: user_hits})
        for name, user_hits in hits.items()
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


def test_what_many_users_cost_is_read_off_the_rows_with_the_most():
    columns = ["what", "n_users", "n_items", "seconds", "users_per_minute", "peak_memory_mb", "cores"]
    rows = [
        ("lstm", 10, 70, 30.0, None, 1024, 2),
        ("lstm", 1000, 70, 120.0, None, 2048, 2),
        ("movielm, beam", 20, 70, 5.0, 4321.0, 512, 2),
    ]
    said = words.of_scale(pd.DataFrame(rows, columns=columns))
    assert "2.0 minutes and 2.0 GiB" in said and "4,321" in said and "0.5 minutes" not in said
    assert "EASE-R" not in said
    whole = [*rows, ("ease", 10, 70, 3.0, 90.0, 5120, 2)]
    assert "EASE-R 3 s and 5.0 GiB" in words.of_scale(pd.DataFrame(whole, columns=columns))
    assert words.of_scale(pd.DataFrame()) == "Not run yet."

"""Runs from other seeds: what they are asked to do, and how their values come together."""

import pandas as pd
import pytest
from conftest import write_hints

from dualrec_utils.analysis import seeds as analysis_seeds
from dualrec_utils.core import config, evaluation, files, predictions
from dualrec_utils.core.config import CASE, USER
from dualrec_utils.core.errors import StudyError
from dualrec_utils.core.predictions import Scope
from dualrec_utils.pipeline import params, profiles
from dualrec_utils.studies import seeds

SCOPE = Scope("ml-100k", "lstm", "next_item", "test")


@pytest.fixture
def placed(tmp_path, monkeypatch):
    """A copy of the profiles, to which the folders of seeds are added."""
    for profile in ("", "profiles/ml-1m", "profiles/amazon-cds"):
        text = (config.PACKAGE_ROOT / profile / "params.yaml").read_text(encoding="utf-8")
        files.write_text(text, tmp_path / profile / "params.yaml")
    monkeypatch.setattr(config, "PROFILES", tmp_path / "profiles")

    def at(profile):
        monkeypatch.setattr(config, "ROOT", tmp_path / profile)
        monkeypatch.setattr(config, "PARAMS_FILE", tmp_path / profile / "params.yaml")

    return at


@pytest.mark.parametrize("profile", ["", "profiles/ml-1m", "profiles/amazon-cds"])
def test_a_seed_runs_the_values_at_hand_but_for_its_seeds_and_fewer_baselines(placed, profile):
    placed(profile)
    path = seeds.folder_of(3) / "params.yaml"
    files.write_json(seeds.differences(3, best=("markov",)), path)
    given, run = params.load(path), params.load()
    assert (given.order_seed, given.model_seed, given.seed) == (3, 3, run.seed)
    expected = {"random", "most_popular", "ease", "gru4rec", "sasrec", "markov"}
    assert given.baselines.models == {name: run.baselines.models[name] for name in expected}
    for section in ("data", "lstm", "movielm", "lora_finetuning", "rerank_ablation", "intervals", "domain"):
        assert getattr(given, section) == getattr(run, section)


def test_the_folder_of_a_seed_is_no_profile(placed):
    placed("profiles/ml-1m")
    files.write_json({}, seeds.folder_of(1) / "params.yaml")
    assert seeds.folder_of(1).name == "ml-1m-seed-1"
    assert profiles.names() == ["amazon-cds", "ml-1m"]


def test_values_are_means_over_the_cases_of_each_user(tiny, monkeypatch):
    cases = predictions.load_cases(SCOPE)
    targets = pd.read_parquet(config.processed_dir("ml-100k") / "targets_next_item.parquet")
    right = targets.set_index(CASE)["item_id"]
    # Each user's first case has its target on top, the others have no list.
    first = cases.drop_duplicates(USER)
    write_hints({case: right[case] for case in first[CASE]}, SCOPE)
    values = evaluation.user_means("lstm", SCOPE, columns=seeds.METRICS)
    assert list(values) == list(seeds.METRICS)
    expected = 1 / cases.groupby(USER).size()
    assert values["hit_rate@1"].to_dict() == pytest.approx(expected.to_dict())


def test_a_system_has_the_seeds_that_it_ran_under():
    def frame(*systems):
        rows = [(user, 0.5, 0.5, 0.25, system) for system in systems for user in (2, 1)]
        return pd.DataFrame(rows, columns=[USER, *seeds.METRICS, "system"])

    tables = seeds.tabulated({1: frame("lstm", "ease"), 2: frame("lstm")})
    assert list(tables) == ["ease", "lstm"]
    assert tables["ease"]["seed"].unique().tolist() == [1]
    assert tables["lstm"][["seed", USER]].to_numpy().tolist() == [[1, 1], [1, 2], [2, 1], [2, 2]]


def test_tables_of_fewer_seeds_replace_those_of_other_settings(placed, monkeypatch, tmp_path):
    placed("")
    monkeypatch.setattr(config, "TABLES", tmp_path / "tables")
    before = tmp_path / "tables" / "seeds" / "narm.csv"
    files.write_text("of other settings", before)
    rows = pd.DataFrame([(1, 0.5, 0.5, 0.25, "lstm")], columns=[USER, *seeds.METRICS, "system"])
    seeds.write_tables({1: rows, 2: rows})
    assert not before.exists()
    assert pd.read_csv(before.with_name("lstm.csv"))["seed"].tolist() == [1, 2]
    assert files.read_json(before.with_name("made_from.json"))["seeds"] == [1, 2]


def test_seeds_in_the_tables_are_kept_as_long_as_the_settings_stay(placed, monkeypatch, tmp_path):
    placed("")
    monkeypatch.setattr(config, "TABLES", tmp_path / "tables")
    assert seeds.read_tables() == {}
    rows = pd.DataFrame([(1, 0.5, 0.5, 0.25, "lstm"), (1, 1.0, 1.0, 1.0, "ease")])
    rows = rows.set_axis([USER, *seeds.METRICS, "system"], axis=1)
    seeds.write_tables({1: rows, 2: rows[:1]})
    again = seeds.read_tables()
    assert list(again) == [1, 2] and again[2]["system"].tolist() == ["lstm"]
    kept = {path.name: path.read_bytes() for path in (tmp_path / "tables" / "seeds").iterdir()}
    # Both seeds stand there, so that nothing is left to run.
    monkeypatch.setattr(seeds, "N_MORE", {"ml-100k": 2})
    monkeypatch.setattr(seeds, "best_baselines", lambda dataset: ())
    assert seeds.run_all() == 0
    assert {path.name: path.read_bytes() for path in (tmp_path / "tables" / "seeds").iterdir()} == kept
    whole = files.read_json(tmp_path / "tables" / "seeds" / "made_from.json")
    files.write_json(whole | {"settings": "others"}, tmp_path / "tables" / "seeds" / "made_from.json")
    assert seeds.read_tables() == {}


@pytest.mark.parametrize(
    ("before", "after", "the_same"),
    [
        ("  source: null ", "  # source: null ", True),
        ("  held_out_users: null ", "  # held_out_users: null ", True),
        ("  held_out_users: null ", "  held_out_users: 20 ", False),
        ("  n_users: null ", "  # n_users: null ", True),
        ("  n_users: null ", "  n_users: 20 ", False),
        ("  history: movie watching history ", "  history: films seen ", False),
        ("  cases_per_user: 8 ", "  cases_per_user: 7 ", False),
    ],
)
def test_seeds_count_as_long_as_what_they_were_made_from_stays(placed, tmp_path, before, after, the_same):
    placed("")
    default = analysis_seeds.settings_digest()
    text = (tmp_path / "params.yaml").read_text(encoding="utf-8")
    assert text.count(before) == 1
    files.write_text(text.replace(before, after), config.PARAMS_FILE)
    assert (analysis_seeds.settings_digest() == default) == the_same


def test_before_the_run_it_says_what_to_do(tiny):
    with pytest.raises(StudyError, match="make repro"):
        seeds.best_baselines("ml-100k")

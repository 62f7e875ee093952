"""Training again from other seeds: the run's own seed gives the run's own numbers, the others differ."""

import shutil

import pandas as pd
import pytest
from conftest import TINY
from test_baseline_pieces import PLACE, TRAINED

from dualrec_utils.core import config, evaluation, files, splits
from dualrec_utils.core.config import USER
from dualrec_utils.core.errors import StudyError
from dualrec_utils.core.predictions import Scope
from dualrec_utils.datasets import prepare
from dualrec_utils.models.baselines import pieces
from dualrec_utils.pipeline import params, stages
from dualrec_utils.studies import seeds

OWN = {"dataset": "ml-100k", "seed": TINY["seed"]}
LSTM = params.section("lstm", config.PACKAGE_ROOT / "params.yaml") | {"epochs": 1, "batch_size": 8} | OWN
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def sections(tiny, monkeypatch):
    """Sections of the tiny data set's run, to be changed by a test."""
    given = {"lstm": LSTM, "baselines": {"models": {"gru4rec": TRAINED, "ease": {"l2": 1}}} | OWN}
    monkeypatch.setattr(params, "section", lambda name: dict(given[name]))
    return given


@pytest.fixture
def run_before(sections, tiny):
    """The run's own predictions of `gru4rec`; the fixture is the summary of the data."""
    histories = list(splits.load_histories("ml-100k", "train").values())
    pieces.obtain("gru4rec", TRAINED, histories, seed=TINY["seed"], **PLACE)
    return tiny


def test_the_first_row_is_the_runs_own(run_before):
    found = evaluation.per_case("gru4rec", Scope("ml-100k", "baselines", "next_item", "test"))
    table = seeds.run("gru4rec", n_more=1)
    assert table["seed"].tolist() == [7, 8]
    for metric in seeds.METRICS:
        assert table[metric].iloc[0] == pytest.approx(found.groupby(USER)[metric].mean().mean(), abs=1e-12)
    assert table["seconds"].isna().tolist() == [True, False]
    spread = seeds.spread(table).set_index("metric")
    assert spread.loc["ndcg@5", "n_seeds"] == 2
    low, high = sorted(table["ndcg@5"])
    # Of two values, the standard deviation (n - 1) is their distance over the root of two.
    assert spread.loc["ndcg@5", "std"] == pytest.approx((high - low) / 2**0.5)
    assert low < high


def test_the_runs_own_seed_would_give_the_runs_numbers_again(run_before):
    score = seeds.train_baseline("gru4rec", TRAINED, dataset="ml-100k", seed=7)
    again = seeds.measured(score, dataset="ml-100k", seed=7)
    assert again == pytest.approx(seeds.of_the_run("gru4rec", dataset="ml-100k"), abs=1e-12)


def test_before_the_run_there_is_nothing_to_train_again(sections):
    with pytest.raises(StudyError, match="gru4rec"):
        seeds.run("gru4rec", n_more=1)
    assert not (config.TABLES / "seeds/gru4rec.csv").exists()


def test_the_networks_weights_follow_the_seed(sections):
    cases = splits.load_histories("ml-100k", "validation").values()
    first, other, again = (
        seeds.train_lstm(LSTM, dataset="ml-100k", seed=n)(list(cases)) for n in (7, 8, 7)
    )
    assert (first == again).all()
    assert (first != other).any()


def test_what_is_there_is_kept_until_settings_change(sections, run_before, monkeypatch):
    seeds.run("gru4rec", n_more=1)
    trained = []
    whole = seeds.train_baseline

    def counted(name, settings, **about):
        trained.append(about["seed"])
        return whole(name, settings, **about)

    monkeypatch.setattr(seeds, "train_baseline", counted)
    table = seeds.run("gru4rec", n_more=2)
    assert trained == [9]
    assert files.sha256(config.TABLES / "seeds/gru4rec.csv") and len(table) == 3
    sections["baselines"]["models"]["gru4rec"] = TRAINED | {"embedding_size": 4}
    seeds.run("gru4rec", n_more=1)
    assert trained == [9, 8]


def test_another_split_of_users_trains_again(run_before, monkeypatch):
    seeds.run("gru4rec", n_more=2)
    before = pd.read_csv(config.TABLES / "seeds/gru4rec.csv").set_index("seed")["ndcg@5"]
    # The same counts in every part, other users in them.
    assert prepare.prepare(**TINY | {"seed": 8}) == run_before
    changed = {"models": {"gru4rec": TRAINED}, "dataset": "ml-100k", "seed": 8}
    monkeypatch.setattr(params, "section", lambda name: dict(changed))
    histories = list(splits.load_histories("ml-100k", "train").values())
    pieces.obtain("gru4rec", TRAINED, histories, seed=8, **PLACE)
    again = seeds.run("gru4rec", n_more=1).set_index("seed")["ndcg@5"]
    assert again.index.tolist() == [8, 9] and again[9] != before[9]


def test_other_code_trains_again(run_before, tmp_path, monkeypatch):
    before = seeds.run("gru4rec", n_more=1)["made_from"].iloc[0]
    package = tmp_path / "code" / "dualrec_utils"
    shutil.copytree(config.PACKAGE_ROOT / "dualrec_utils", package, symlinks=True)
    monkeypatch.setattr(config, "PACKAGE_ROOT", package.parent)
    for name, is_new in (("ease", False), ("gru4rec", True)):
        changed = package / "models/baselines" / f"{name}.py"
        changed.write_text(changed.read_text(encoding="utf-8") + "# changed\n", encoding="utf-8")
        table = seeds.run("gru4rec", n_more=1)
        assert (set(table["made_from"]) != {before}) == is_new


def test_the_device_is_the_gpu_where_there_is_one(run_before, monkeypatch):
    here = stages.machine()
    monkeypatch.setattr(stages, "machine", lambda: here | {"gpu": "Test GPU"})
    assert seeds.run("gru4rec", n_more=1)["device"].iloc[1] == "Test GPU"


def test_the_table_has_the_runs_value_of_today(run_before, monkeypatch):
    first = seeds.run("gru4rec", n_more=1)
    monkeypatch.setattr(seeds, "of_the_run", lambda name, **_: dict.fromkeys(seeds.METRICS, 0.1))
    monkeypatch.setattr(seeds, "train_baseline", None)
    again = seeds.run("gru4rec", n_more=1)
    saved = pd.read_csv(config.TABLES / "seeds/gru4rec.csv")
    assert saved["ndcg@5"].tolist() == again["ndcg@5"].tolist() == [0.1, first["ndcg@5"].iloc[1]]


@pytest.mark.parametrize("name", ["ease", "gru5rec"])
def test_a_model_that_no_seed_touches_is_refused(sections, name):
    with pytest.raises(StudyError, match=f"no seed touches '{name}' in this run; models: lstm, gru4rec"):
        seeds.run(name)

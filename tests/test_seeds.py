"""Training again from other seeds: the run's own seed gives the run's own numbers, the others differ."""

import pytest
from conftest import TINY
from test_baseline_pieces import PLACE, TRAINED

from dualrec_utils import baseline_pieces, config, evaluation, files, params, seeds, splits
from dualrec_utils.config import USER
from dualrec_utils.errors import StudyError

OWN = {"dataset": "ml-100k", "seed": TINY["seed"]}
LSTM = params.section("lstm", config.PACKAGE_ROOT / "params.yaml") | {"epochs": 1, "batch_size": 8} | OWN
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def sections(tiny, monkeypatch):
    """Sections of the tiny data set's run, to be changed by a test."""
    given = {"lstm": LSTM, "baselines": {"models": {"gru4rec": TRAINED, "ease": {"l2": 1}}} | OWN}
    monkeypatch.setattr(params, "section", lambda name: dict(given[name]))
    return given


def test_the_runs_own_seed_gives_what_the_run_found(sections):
    histories = list(splits.load_histories("ml-100k", "train").values())
    baseline_pieces.obtain("gru4rec", TRAINED, histories, seed=TINY["seed"], **PLACE)
    found = evaluation.per_case("gru4rec", **PLACE, protocol="next_item", split="test")
    table = seeds.run("gru4rec", n_more=1)
    assert table["seed"].tolist() == [7, 8]
    for metric in seeds.METRICS:
        assert table[metric].iloc[0] == pytest.approx(found.groupby(USER)[metric].mean().mean(), abs=1e-12)
    spread = seeds.spread(table).set_index("metric")
    assert spread.loc["ndcg@5", "n_seeds"] == 2
    low, high = sorted(table["ndcg@5"])
    # Of two values, the standard deviation (n - 1) is their distance over the root of two.
    assert spread.loc["ndcg@5", "std"] == pytest.approx((high - low) / 2**0.5)
    assert low < high


def test_the_networks_weights_follow_the_seed(sections):
    cases = splits.load_histories("ml-100k", "validation").values()
    first, other, again = (
        seeds.train_lstm(LSTM, dataset="ml-100k", seed=n)(list(cases)) for n in (7, 8, 7)
    )
    assert (first == again).all()
    assert (first != other).any()


def test_what_is_there_is_kept_until_settings_change(sections, monkeypatch):
    seeds.run("gru4rec", n_more=0)
    trained = []
    whole = seeds.train_baseline

    def counted(name, settings, **where):
        trained.append(where["seed"])
        return whole(name, settings, **where)

    monkeypatch.setattr(seeds, "train_baseline", counted)
    table = seeds.run("gru4rec", n_more=1)
    assert trained == [8]
    assert files.sha256(config.TABLES / "seeds/gru4rec.csv") and len(table) == 2
    sections["baselines"]["models"]["gru4rec"] = TRAINED | {"embedding_size": 4}
    seeds.run("gru4rec", n_more=1)
    assert trained == [8, 7, 8]


@pytest.mark.parametrize("name", ["ease", "gru5rec"])
def test_a_model_that_no_seed_touches_is_refused(sections, name):
    with pytest.raises(StudyError, match=f"no seed touches '{name}' in this run; models: lstm, gru4rec"):
        seeds.run(name)

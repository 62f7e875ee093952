"""The search gives every model as many settings, writes one table each, and names what is wrong."""

import pandas as pd
import pytest

from dualrec_utils.core import config, files, predictions
from dualrec_utils.core.errors import StudyError
from dualrec_utils.core.predictions import Scope
from dualrec_utils.models import baselines
from dualrec_utils.pipeline import params
from dualrec_utils.studies.search import search as settings_search, spaces

# Of movielm's settings: how it is measured.
OF_THE_SEARCH = ("n_history", "last_cases")
TRAINED = ("lstm", "movielm")
VALUES = (*settings_search.VALUES, "made_from")


def test_every_baseline_that_has_hyperparameters_is_searched_alike():
    settings = settings_search.read_settings(settings_search.PARAMS)
    known = set(baselines.REGISTRY) - {"random", "most_popular"} | set(TRAINED)
    assert set(settings["models"]) == known
    whole = params.load(config.PACKAGE_ROOT / "params.yaml")
    for name in TRAINED:
        section = set(getattr(whole, name).model_dump()) - {"n_folds"}
        assert set(settings["models"][name]) - set(OF_THE_SEARCH) == section
        assert set(spaces.SPACES[name]) <= section


def test_the_default_run_has_the_best_setting_of_every_search():
    whole = params.load(config.PACKAGE_ROOT / "params.yaml")
    sections = whole.baselines.models | {name: getattr(whole, name).model_dump() for name in TRAINED}
    for path in config.study_dir("search").glob("*.csv"):
        table = pd.read_csv(path)
        best = table.loc[table["ndcg@5"].idxmax()].drop([*VALUES, *OF_THE_SEARCH], errors="ignore")
        assert best.to_dict().items() <= sections[path.stem].items(), path.stem


def test_a_search_tries_the_defaults_and_others_and_writes_its_table(tiny):
    models = {"markov": {"smoothing": 100}}
    tried = settings_search.run("markov", seed=1, n_draws=4, models=models)
    table = pd.read_csv(config.study_dir("search") / "markov.csv")
    assert list(table) == ["smoothing", *VALUES]
    assert table["smoothing"].nunique() == len(tried) == 4 and 100 in set(table["smoothing"])
    assert table["ndcg@5"].is_monotonic_decreasing
    assert (table["n_epochs"] == 0).all() and (table["seconds"] >= 0).all()
    again = settings_search.run("markov", seed=1, n_draws=1, models=models, more_draws={"markov": 4})
    pd.testing.assert_frame_equal(tried, again)
    with pytest.raises(StudyError, match="no model 'sasrec'; it has markov"):
        settings_search.run("sasrec", seed=1, n_draws=4, models=models)


def counted(monkeypatch) -> list:
    """Settings of the trials that are run from now on; the fourth is stopped."""
    tried, real = [], settings_search.trial

    def trial(name, settings, **rest):
        tried.append(settings)
        if len(tried) == 4:
            raise KeyboardInterrupt
        return real(name, settings, **rest)

    monkeypatch.setattr(settings_search, "trial", trial)
    return tried


def test_a_stopped_search_goes_on_and_rows_of_other_data_or_seeds_are_made_again(tiny, monkeypatch):
    given = {"n_draws": 5, "models": {"markov": {"smoothing": 100}}}
    path = config.study_dir("search") / "markov.csv"
    tried = counted(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        settings_search.run("markov", seed=1, **given)
    assert len(pd.read_csv(path)) == 3
    settings_search.run("markov", seed=1, **given)
    # The one that was stopped is run again, the three before are not.
    assert len(tried) == 6 and tried[3] == tried[4]
    settings_search.run("markov", seed=1, **given)
    assert len(tried) == 6 and len(pd.read_csv(path)) == 5
    settings_search.run("markov", seed=2, **given)
    assert len(tried) == 11
    summary = config.processed_dir("ml-100k") / "summary.json"
    files.write_json(files.read_json(summary) | {"order_sha256": "another"}, summary)
    settings_search.run("markov", seed=2, **given)
    assert len(tried) == 16 and len(pd.read_csv(path)) == 5
    # A table of before, without digests, holds nothing that can be taken up.
    pd.read_csv(path).drop(columns="made_from").to_csv(path, index=False)
    settings_search.run("markov", seed=2, **given)
    assert len(tried) == 21


LSTM = {
    "training": "every_position", "chunk_length": 8, "window": 8, "max_history": 10, "title_vocabulary": 50,
    "title_length": 4, "epochs": 1, "batch_size": 8, "learning_rate": 0.01, "dropout": 0.0,
}  # fmt: skip
MOVIELM = {
    "n_history": 5, "last_cases": 2, "vocabulary": 400, "hidden_size": 32, "n_layers": 1, "n_heads": 2,
    "max_tokens": 192, "genre_share": 0.5, "noise_share": 0.0, "n_epochs": 1, "batch_size": 8,
    "learning_rate": 0.01, "weight_decay": 0.1, "dropout": 0.0,
}  # fmt: skip


@pytest.mark.parametrize(("name", "defaults", "most_cases"), [("lstm", LSTM, 3), ("movielm", MOVIELM, 2)])
def test_the_lstm_and_movielm_are_searched_like_the_baselines(tiny, name, defaults, most_cases):
    one = {key: [defaults[key]] for key in ("batch_size",)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(spaces.SPACES, name, one | {"learning_rate": [0.01, 0.02]})
        table = settings_search.run(name, seed=1, n_draws=2, models={name: defaults})
    assert table["learning_rate"].tolist() in ([0.01, 0.02], [0.02, 0.01])
    assert (table["n_epochs"] == 1).all() and (table["seconds"] > 0).all()
    cases = predictions.load_cases(Scope("ml-100k", "toy", "next_item", "validation"))
    assert (table["n_cases"] == cases.groupby("user_id").size().clip(upper=most_cases).sum()).all()
    assert table["ndcg@5"].between(0, 1).all()


MORE = "seed: 1\nn_draws: 1\nmore_draws: {sasrec: 2}\nmodels: {}"


@pytest.mark.parametrize(
    "text", ["{}", "seed: 1\nn_draws: many\nmodels: {}", "seed: 1\nn_draws: 1\nmodel: {}", MORE]
)
def test_unusable_settings_are_named(tmp_path, text):
    path = tmp_path / "params.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(StudyError, match="must hold seed and n_draws"):
        settings_search.read_settings(path)

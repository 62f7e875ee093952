"""The search gives every model as many settings, writes one table each, and names what is wrong."""

import pandas as pd
import pytest

from dualrec_utils.core import config
from dualrec_utils.core.errors import StudyError
from dualrec_utils.models import baselines
from dualrec_utils.pipeline import params
from dualrec_utils.studies.baseline_search import search as baseline_search


def test_every_baseline_that_has_hyperparameters_is_searched_alike():
    settings = baseline_search.read_settings(baseline_search.PARAMS)
    assert set(settings["models"]) <= set(baselines.REGISTRY) - {"random", "most_popular"}


def test_the_default_run_has_the_best_setting_of_every_search():
    models = params.load(config.PACKAGE_ROOT / "params.yaml").baselines.models
    folder = config.study_dir("baseline_search")
    for name in baseline_search.read_settings(baseline_search.PARAMS)["models"]:
        table = pd.read_csv(folder / f"{name}.csv")
        best = table.loc[table["ndcg@5"].idxmax()].drop(["hit_rate@5", "ndcg@5"]).to_dict()
        assert models[name] == best, name


def test_a_search_tries_the_defaults_and_others_and_writes_its_table(tiny):
    models = {"markov": {"smoothing": 100}}
    found = baseline_search.run("markov", seed=1, n_draws=4, models=models)
    table = pd.read_csv(config.study_dir("baseline_search") / "markov.csv")
    assert list(table) == ["smoothing", "hit_rate@5", "ndcg@5"]
    assert table["smoothing"].nunique() == len(found) == 4 and 100 in set(table["smoothing"])
    assert table["ndcg@5"].is_monotonic_decreasing
    again = baseline_search.run("markov", seed=1, n_draws=4, models=models)
    pd.testing.assert_frame_equal(found, again)
    with pytest.raises(StudyError, match="no model 'sasrec'; it has markov"):
        baseline_search.run("sasrec", seed=1, n_draws=4, models=models)


@pytest.mark.parametrize(
    "text", ["{}", "seed: 1\nn_draws: many\nmodels: {}", "seed: 1\nn_draws: 1\nmodel: {}"]
)
def test_unusable_settings_are_named(tmp_path, text):
    path = tmp_path / "params.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(StudyError, match="must hold seed and n_draws"):
        baseline_search.read_settings(path)

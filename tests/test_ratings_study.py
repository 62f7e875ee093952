"""`dualrec study ratings` on a tiny data set: seeds, ablations, shares, and a run that goes on."""

import numpy as np
import pandas as pd
import pytest

from dualrec_utils.core import config, files
from dualrec_utils.core.config import ITEM, RATING, TIMESTAMP, USER
from dualrec_utils.core.errors import StudyError
from dualrec_utils.models.ratings import settings
from dualrec_utils.models.ratings.base import Known
from dualrec_utils.pipeline import params
from dualrec_utils.studies import ratings as study

pytestmark = pytest.mark.usefixtures("one_thread")

ITEMS = pd.DataFrame(
    {
        ITEM: np.arange(1, 11),
        "title": [f"Item {n}" for n in range(10)],
        "year": pd.array([1990] * 10, dtype="Int64"),
        "genres": [["Action"], ["Drama"]] * 5,
    }
)
SMALL = {"n_sweeps": 3, "burn_in": 1, "n_factors": 2}
MODELS = {
    "bayesian_text": {"model": "bayesian", "features": "tfidf", **SMALL},
    "bayesian": {"model": "bayesian", **SMALL},
    "svdpp": {"model": "svdpp", "n_factors": 2},
    "biases": {"model": "biases", "folds": [1]},
}


@pytest.fixture
def whole(root, monkeypatch):
    """Parameters with few systems, two seeds and one share; 80 ratings; tables go to the scratch folder."""
    draw = np.random.default_rng(0)
    users, items = np.divmod(draw.permutation(120)[:80], 10)
    values = draw.integers(1, 6, 80).astype(float)
    frame = pd.DataFrame({USER: users + 1, ITEM: items + 1, RATING: values, TIMESTAMP: np.arange(80)})
    files.write_parquet(frame, config.processed_dir("ml-100k") / "ratings_as_fetched.parquet")
    monkeypatch.setattr(study.material, "known_of", lambda dataset: Known(ITEMS))
    monkeypatch.setattr(study, "SEEDS", (0, 1))
    monkeypatch.setattr(study, "SHARES", (0.5,))
    # Processes of their own would take longer to start than to fit.
    monkeypatch.setattr(study.experiment.pieces, "cpu_count", lambda: 1)
    # The sentence encoder would take seconds.
    kept = {"no texts": {"features": "none"}, "noise alike": {"noise_degrees": 1e6}}
    monkeypatch.setattr(
        study, "ABLATIONS", {"bayesian_text": kept, "cross_attention": {"no ids": {"ids": False}}}
    )
    read = params.load(config.PACKAGE_ROOT / "params.yaml")
    names = {"with_text": "bayesian_text", "without_text": "bayesian"}
    section = read.rating_hybrids.model_copy(update={"models": MODELS, **names})
    intervals = read.intervals.model_copy(update={"n_bootstrap": 100, "n_permutations": 1000})
    return read.model_copy(update={"rating_hybrids": section, "intervals": intervals})


def table(name):
    return pd.read_csv(config.study_dir(study.STUDY) / "ml-100k" / f"{name}.csv")


def test_every_system_on_all_folds_from_every_seed(whole):
    study._seeds(whole)
    assert table("errors")["system"].tolist() == list(MODELS)
    # Also the one that the pipeline fits on fold 1 alone.
    assert set(table("errors")["folds"]) == {5}
    by_seed = table("by_seed")
    assert len(by_seed) == len(MODELS) * 2 * 5
    mean = by_seed[by_seed["system"] == "bayesian"]["rmse"].mean()
    assert table("errors").set_index("system").loc["bayesian", "rmse"] == pytest.approx(mean)
    claims = table("claims")
    assert claims["claim"].tolist() == [7, 8] and set(claims["n_seeds"]) == {2}
    # A run that goes on finds the pieces: the same tables.
    before = table("errors")
    study._seeds(whole)
    pd.testing.assert_frame_equal(table("errors"), before)


def test_each_part_taken_out_beside_the_whole(whole):
    study._ablations(whole)
    rows = table("ablations").fillna({"variant": ""})
    # Systems that the profile does not have are left out.
    assert rows["variant"].tolist() == ["", "no texts", "noise alike"]
    assert rows["minus_whole_difference"].iloc[0] == 0
    assert (rows["minus_whole_low"] <= rows["minus_whole_high"]).all()


def test_tags_are_taken_out_where_there_are_any(whole, monkeypatch, capsys):
    study._tags(whole)
    assert "has no tags" in capsys.readouterr().out
    words = pd.DataFrame({USER: [1, 2], ITEM: [1, 2], "tag": ["slow", "bank"], TIMESTAMP: [0, 0]})
    monkeypatch.setattr(study.material, "known_of", lambda dataset: Known(ITEMS, tags=words))
    monkeypatch.setattr(study, "_TAGGED", "bayesian")
    fitted = []
    monkeypatch.setattr(study, "_fitted", lambda systems, *_, **__: fitted.append(systems) or iter(()))
    monkeypatch.setattr(study.tables, "overview", lambda errors, **_: pd.DataFrame())
    monkeypatch.setattr(study.tables, "differences", lambda errors, pairs, **_: pd.DataFrame(pairs))
    study._tags(whole)
    ((first, without),) = [list(systems.values()) for systems in fitted]
    assert "folds" not in first and without == {**first, "tags": False}


def test_shares_of_the_training_ratings(whole):
    study._shares(whole)
    rows = table("shares")
    assert list(zip(rows["system"], rows["share"], strict=True))[:2] == [
        ("bayesian_text", 0.5),
        ("bayesian_text", 1.0),
    ]
    assert (rows["lowest"] <= rows["rmse"] + 1e-12).all() and (
        rows["rmse"] <= rows["highest"] + 1e-12
    ).all()


def test_parts_and_profiles_that_cannot_be(monkeypatch, whole):
    monkeypatch.setattr(study.params, "load", lambda: whole)
    with pytest.raises(StudyError, match="no part 'seed'"):
        study.run_all(["seed"])
    monkeypatch.setattr(study.params, "load", lambda: whole.model_copy(update={"trial": True}))
    with pytest.raises(StudyError, match="trial"):
        study.run_all()


def test_every_ablation_can_be_built():
    models = params.load(config.PACKAGE_ROOT / "params.yaml").rating_hybrids.models
    for base, variants in study.ABLATIONS.items():
        for changes in variants.values():
            settings.check({**models[base], **changes})

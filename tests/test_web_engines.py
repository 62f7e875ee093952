"""The service's engines on a run in small: what they list, leave out and do without."""

import time

import numpy as np
import pandas as pd
import pytest
from conftest import use_root
from hypothesis import given, settings, strategies as st

from dualrec_utils.core import config
from dualrec_utils.core.config import CASE, HISTORY
from dualrec_utils.core.errors import StudyError
from dualrec_utils.models.hybrids import fusion
from dualrec_utils.models.language import constrained, loading
from dualrec_utils.models.language.prompts import build_history_prompts
from dualrec_utils.models.lstm import training
from dualrec_utils.service.online.states import load_lstm
from dualrec_utils.service.web import loading as of_run, stars
from dualrec_utils.service.web.engines import FUSION, LANGUAGE, LSTM, POPULAR, RATINGS, Person

pytestmark = pytest.mark.usefixtures("one_thread", "free_algorithms")

SOURCES = (LSTM, LANGUAGE, FUSION, RATINGS)


def person(engines, history, *, user=None):
    history = tuple(history)
    return Person(history, dict.fromkeys(history, 5.0), frozenset(history), user=user)


@pytest.fixture(scope="module")
def ids(engines):
    return engines.catalog.ids.tolist()


def test_every_source_of_a_whole_run_is_there_and_fusion_answers_by_default(engines):
    assert set(engines.sources) == set(SOURCES)
    assert engines.sources[0] == FUSION
    assert engines.missing == {}


@settings(max_examples=15)
@given(data=st.data())
def test_a_list_holds_unseen_items_once_best_first(engines, ids, data):
    history = data.draw(st.lists(st.sampled_from(ids), min_size=1, max_size=23, unique=True))
    source = data.draw(st.sampled_from(SOURCES))
    limit = data.draw(st.integers(1, 50))
    listed = engines.recommend(person(engines, history), source, limit=limit)
    assert (listed.source, listed.note) == (source, "")
    assert len(listed.items) == min(limit, len(ids) - len(history))
    assert set(listed.items) <= set(ids) - set(history)
    assert len(set(listed.items)) == len(listed.items)
    assert listed.scores == sorted(listed.scores, reverse=True)


@settings(max_examples=10)
@given(data=st.data())
def test_diversity_chooses_among_the_same_items(engines, ids, data):
    history = data.draw(st.lists(st.sampled_from(ids), min_size=1, max_size=10, unique=True))
    source = data.draw(st.sampled_from(SOURCES))
    somebody = person(engines, history)
    diverse = engines.recommend(somebody, source, limit=5, diversity_=data.draw(st.floats(0.01, 1.0)))
    everything = engines.recommend(somebody, source, limit=50)
    scores = dict(zip(everything.items, everything.scores, strict=True))
    # The first is the best, and scores stay those of the source.
    assert diverse.items[0] == everything.items[0]
    assert diverse.scores == [scores[item] for item in diverse.items]


def test_a_title_scorer_scores_as_the_study_does(engines, ids, toy_run, monkeypatch):
    use_root(toy_run, monkeypatch)
    model, tokenizer = loading.load_model(loading.locate("movielm", dataset="ml-100k"))
    history = ids[3:9]
    case = pd.DataFrame({CASE: ["x"], HISTORY: [history]})
    prompts = build_history_prompts(case, engines.catalog, n_recent=20, genres=False)
    options = {"excluded": [history], "k": 20, "width": 20, "method": "beam", "label": ""}
    beam = constrained.rank_titles(model, tokenizer, prompts, engines.catalog, **options)[0]
    np.testing.assert_allclose(engines._language.best(history, excluded=history, k=20), beam, atol=1e-4)
    exact = constrained.score_titles(
        model, tokenizer, prompts, engines.catalog, candidates=[ids[:5]], label=""
    )[0]
    np.testing.assert_allclose(engines._language.score(history, ids[:5]), exact, atol=1e-4)


def test_the_fusion_is_that_of_the_study(engines, ids, toy_run, monkeypatch):
    use_root(toy_run, monkeypatch)
    history = ids[3:9]
    rows = engines.catalog.rows(history)
    lstm = training.log_probabilities(load_lstm("ml-100k"), [rows], max_history=30).astype(float)
    other = engines._language.score(history, ids)[None]
    case = pd.DataFrame({CASE: ["x"], HISTORY: [history]})
    lists = fusion.fused_lists(lstm, other, case, engines.catalog, weight=0.6, method="log_linear", seed=0)
    listed = engines.recommend(person(engines, history), FUSION, limit=50)
    assert listed.items == lists["item_id"].tolist()
    np.testing.assert_allclose(listed.scores, lists["score"], atol=1e-4)


def test_of_nobody_popular_items_are_listed_with_a_note(engines):
    for source in (LSTM, LANGUAGE, FUSION):
        listed = engines.recommend(Person(), source, limit=3)
        assert (listed.source, len(listed.items)) == (POPULAR, 3)
        assert listed.note
    assert engines.recommend(Person(), RATINGS, limit=3).source == RATINGS


def test_who_has_seen_everything_gets_an_empty_list(engines, ids):
    for source in SOURCES:
        assert engines.recommend(person(engines, ids), source, limit=5).items == []
        assert engines.recommend(person(engines, ids), source, limit=5, diversity_=0.5).items == []


@pytest.mark.parametrize("source", [LANGUAGE, FUSION])
def test_a_language_model_that_fails_is_replaced_by_the_lstm(engines, ids, source, monkeypatch, caplog):
    def fail(*_, **__):
        raise RuntimeError("weights eaten at /secret/place")

    for name in ("best", "score"):
        monkeypatch.setattr(engines._language, name, fail)
    somebody = person(engines, ids[10:14])
    listed = engines.recommend(somebody, source, limit=5)
    assert listed.source == LSTM
    assert listed.note
    assert "secret" not in listed.note
    assert listed.items == engines.recommend(somebody, LSTM, limit=5).items
    assert "weights eaten" in caplog.text


def test_a_language_model_that_is_slow_is_replaced_and_soon_no_longer_waited_for(engines, ids, monkeypatch):
    let_go = []

    def slow(*_, **__):
        while not let_go:
            time.sleep(0.01)
        return np.zeros(len(ids))

    monkeypatch.setattr(engines, "_patience", 0.2)
    monkeypatch.setattr(engines._language, "best", slow)
    times = []
    for first in range(4):
        started = time.monotonic()
        listed = engines.recommend(person(engines, ids[first : first + 5]), LANGUAGE, limit=5)
        times.append(time.monotonic() - started)
        assert listed.source == LSTM
    assert min(times[:2]) >= 0.2
    # Both threads are stuck.
    assert max(times[2:]) < 0.2
    let_go.append(True)
    time.sleep(0.1)
    monkeypatch.setattr(engines._language, "best", lambda *_, **__: np.zeros(len(ids)))
    assert engines.recommend(person(engines, ids[:9]), LANGUAGE, limit=5).source == LANGUAGE


def test_what_a_run_lacks_is_left_out_and_said(engines, toy_run, tmp_path, monkeypatch):
    import shutil

    shutil.copytree(toy_run, tmp_path / "root")
    use_root(tmp_path / "root", monkeypatch)
    shutil.rmtree(stars.service_dir("ml-100k"))
    config.metrics_file("rerank_ablation").unlink()
    less = of_run.load()
    assert less.sources == [LSTM, LANGUAGE]
    assert set(less.missing) == {FUSION, RATINGS}
    assert less.predicted(person(less, [1])) is None
    assert less.reasons(person(less, [1]), [2, 3], None) == ["", ""]
    assert less.recommend(person(less, [less.catalog.ids[0]]), LSTM, limit=3, diversity_=0.5).items
    shutil.rmtree(config.stage_dir("ml-100k", "movielm"))
    assert of_run.load().sources == [LSTM]
    (config.stage_dir("ml-100k", "lstm") / "lstm.weights.h5").unlink()
    with pytest.raises(StudyError, match="make repro"):
        of_run.load()


def test_the_rating_model_is_trained_once_and_anew_for_other_ratings(toy_run, tmp_path, monkeypatch):
    import shutil

    shutil.copytree(toy_run, tmp_path / "root")
    use_root(tmp_path / "root", monkeypatch)
    weights = stars.make("ml-100k") / "weights.safetensors"
    before = weights.stat().st_mtime_ns
    stars.make("ml-100k")
    assert weights.stat().st_mtime_ns == before
    path = config.processed_dir("ml-100k") / "interactions.parquet"
    pd.read_parquet(path).iloc[:-1].to_parquet(path)
    quick = tmp_path / "quick.yaml"
    quick.write_text("model: biases")
    stars.make("ml-100k", config_path=quick)
    assert weights.stat().st_mtime_ns != before


def test_reasons_name_items_that_were_rated(engines, ids):
    items, rated = engines.known(1)
    somebody = Person(tuple(items), rated, frozenset(items), given=True, user=1)
    listed = engines.recommend(somebody, FUSION, limit=5)
    reasons = engines.reasons(somebody, listed.items, engines.predicted(somebody))
    assert len(reasons) == 5
    names = [engines.catalog.names[item] for item in items]
    for reason in filter(None, reasons):
        assert any(name in reason for name in names)

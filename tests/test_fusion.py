"""Tests of models.hybrids.fusion and dualrec_utils.models.hybrids.weights."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import ranx
from hypothesis import given, settings, strategies as st
from toy_catalog import catalog_of
from toy_lists import order

from dualrec_utils.core import config, files, predictions
from dualrec_utils.core.catalog import load_catalog
from dualrec_utils.core.errors import StudyError
from dualrec_utils.core.predictions import Scope
from dualrec_utils.models import handoff
from dualrec_utils.models.hybrids import figures, fusion, weights as fusion_weights

CATALOG = catalog_of([10, 20, 30])
CASES = pd.DataFrame({"case_id": ["a"], "history": [np.array([], dtype=int)]})
LSTM = np.log([[0.5, 0.4, 0.1]])
LANGUAGE = np.log([[0.1, 0.6, 0.3]])


def scores(cases: list, items: list, values: list) -> pd.DataFrame:
    return pd.DataFrame({"case_id": cases, "item_id": items, "log_probability": values})


def test_three_movies_by_hand():
    lstm, language = fusion.align(LSTM, LANGUAGE, CASES, CATALOG, seed=1)
    half = {"weight": 0.5}
    mixture = fusion.combine(lstm, language, method="mixture", **half)
    assert np.exp(mixture) == pytest.approx(np.array([[0.3, 0.5, 0.2]]))
    product = fusion.combine(lstm, language, method="log_linear", **half)
    assert np.exp(product) == pytest.approx(np.sqrt([[0.05, 0.24, 0.03]]))
    # Ranks: LSTM 1, 2, 3; language model 3, 1, 2.
    ranks = fusion.combine(lstm, language, weight=0.25, method="reciprocal_rank")
    by_hand = [0.25 / 63 + 0.75 / 61, 0.25 / 61 + 0.75 / 62, 0.25 / 62 + 0.75 / 63]
    assert ranks == pytest.approx(np.array([by_hand]))
    lists = fusion.fused_lists(LSTM, LANGUAGE, CASES, CATALOG, weight=0.5, method="mixture", seed=3)
    assert order(lists) == [20, 10, 30]
    assert set(lists["seed"]) == {3}


def test_the_three_ways_may_choose_three_movies():
    """The example of notebook 06: A is sure for one and ruled out by the other."""
    lstm, language = np.log([[0.7, 0.2, 0.1]]), np.log([[0.02, 0.38, 0.6]])
    fused = {
        method: fusion.combine(lstm, language, weight=0.5, method=method)[0] for method in fusion.METHODS
    }
    assert fused["mixture"].argmax() == 0 and fused["log_linear"].argmax() == 1
    assert fused["reciprocal_rank"][0] == fused["reciprocal_rank"][2] > fused["reciprocal_rank"][1]


def test_every_scope_has_headline_lists_and_those_with_seen_movies(tiny):
    catalog, chosen = load_catalog("ml-100k"), {"weight": 0.5, "method": "mixture", "seed": 1}
    scopes = predictions.scopes("ml-100k", "toy", splits=("test",))
    sides = {}
    for scope in scopes:
        cases = predictions.load_cases(scope)
        scores = np.full((len(cases), len(catalog)), -np.log(len(catalog)))
        sides[scope] = fusion.Sides(scores, scores, cases)
    fused = fusion.fuse_all(sides, catalog, **chosen)
    assert list(fused) == [
        (scope, f"dualrec_fusion{end}") for scope in scopes for end in ("", "_seen_kept")
    ]
    for (scope, name), lists in fused.items():
        fresh = predictions.drop_seen(lists, sides[scope].cases)
        assert (len(fresh) < len(lists)) is name.endswith("_seen_kept")


def test_what_the_language_model_did_not_score_gets_its_lowest_score_and_both_sides_sum_to_one():
    matrix = fusion.title_score_matrix(scores(["a", "a"], [20, 10], [-1.0, -3.0]), CASES, CATALOG)
    assert np.isnan(matrix[0, 2])
    lstm, language = fusion.align(LSTM, matrix, CASES, CATALOG, seed=1)
    assert language[0, 2] == language[0, 0] == language[0, 1] - 2
    assert np.exp(language).sum() == pytest.approx(1)
    assert np.exp(lstm) == pytest.approx(np.array([[0.5, 0.4, 0.1]]))


def test_seen_movies_are_no_candidates_and_lend_no_floor():
    cases = CASES.assign(history=[np.array([30])])
    language = np.array([[-2.0, np.nan, -9.0]])
    lstm, filled = fusion.align(LSTM, language, cases, CATALOG, seed=1)
    assert np.exp(lstm) == pytest.approx(np.array([[5 / 9, 4 / 9, 0]]))
    assert np.exp(filled) == pytest.approx(np.array([[0.5, 0.5, 0]]))
    kept, _ = fusion.align(LSTM, language, cases, CATALOG, seed=1, exclude_seen=False)
    assert np.exp(kept) == pytest.approx(np.exp(LSTM))


def test_candidates_are_the_lstms_first_whatever_the_other_model_scored():
    for other in (np.array([[np.nan, np.nan, -1.0]]), LANGUAGE):
        sides = fusion.align(LSTM, other, CASES, CATALOG, seed=1, n_candidates=2)
        assert [np.isfinite(side).tolist() for side in sides] == [[[True, True, False]]] * 2


@st.composite
def matrices(draw):
    n_cases, n_items = draw(st.integers(1, 4)), draw(st.integers(2, 8))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    language = rng.normal(size=(n_cases, n_items)).round(2)
    hidden = rng.random(language.shape) < draw(st.floats(0, 0.8))
    hidden[:, 0] = False
    language[hidden] = np.nan
    cases = pd.DataFrame({"case_id": [f"c{i}" for i in range(n_cases)]})
    cases["history"] = [rng.choice(np.arange(1, n_items), 1) for _ in range(n_cases)]
    return rng.normal(size=(n_cases, n_items)).round(2), language, cases, catalog_of(range(n_items))


@settings(max_examples=40)
@given(matrices(), st.sampled_from(fusion.METHODS))
def test_the_weights_at_both_ends_give_each_models_own_order(given_, method):
    lstm, language, cases, catalog = given_
    args = {"cases": cases, "catalog": catalog, "method": method, "seed": 1}
    alone = predictions.from_scores(lstm, cases, catalog.ids, seed=1)
    ends = [fusion.fused_lists(lstm, language, weight=w, **args) for w in (0, 1)]
    for case, history, row in zip(cases["case_id"], cases["history"], language, strict=True):
        assert order(ends[0], case) == order(alone, case)
        scored = [item for item in order(ends[1], case) if not np.isnan(row[item])]
        wanted = [i for i in np.argsort(-row, kind="stable") if i not in history and not np.isnan(row[i])]
        assert [row[i] for i in scored] == [row[i] for i in wanted]
        assert len(set(order(ends[1], case))) == len(order(ends[1], case))


@settings(max_examples=40)
@given(matrices(), st.sampled_from(fusion.METHODS), st.floats(0, 1), st.integers(0, 99))
def test_lists_do_not_depend_on_the_order_of_the_title_scores(given_, method, weight, seed):
    lstm, language, cases, catalog = given_
    rows, columns = np.nonzero(~np.isnan(language))
    frame = scores(
        cases["case_id"].to_numpy()[rows],
        catalog.ids[columns],
        language[rows, columns],
    )
    lists = []
    for title_scores in (frame, frame.sample(frac=1, random_state=seed)):
        matrix = fusion.title_score_matrix(title_scores, cases, catalog)
        lists.append(fusion.fused_lists(lstm, matrix, cases, catalog, weight=weight, method=method, seed=1))
    pd.testing.assert_frame_equal(*lists)
    predictions.check(lists[0], cases, catalog.ids)
    assert not lists[0].duplicated(["case_id", "item_id"]).any()


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (scores(["b"], [10], [-1.0]), "case that the split does not have"),
        (scores(["a"], [11], [-1.0]), "item that the catalog does not have"),
        (scores(["a", "a"], [10, 10], [-1.0, -2.0]), "scored twice"),
        (scores(["a"], [10], [np.nan]), "not a finite number"),
        (scores(["a"], [10], [-np.inf]), "not a finite number"),
        (scores([], [], []), "'a' has no title score"),
    ],
)
def test_wrong_title_scores_are_refused(frame, message):
    with pytest.raises(StudyError, match=message):
        fusion.title_score_matrix(frame, CASES, CATALOG)


def test_wrong_settings_are_refused():
    with pytest.raises(StudyError, match=r"1\.5; allowed: 0"):
        fusion.combine(LSTM, LANGUAGE, weight=1.5, method="mixture")
    with pytest.raises(StudyError, match="unknown fusion method 'sum'"):
        fusion.combine(LSTM, LANGUAGE, weight=0.5, method="sum")
    with pytest.raises(StudyError, match="one row a case"):
        fusion.align(LSTM[:, :2], LANGUAGE, CASES, CATALOG, seed=1)
    with pytest.raises(StudyError, match="scored no item outside the history"):
        only_seen = CASES.assign(history=[np.array([10])])
        fusion.align(LSTM, np.array([[-1.0, np.nan, np.nan]]), only_seen, CATALOG, seed=1)


def full_lists(matrix: np.ndarray) -> pd.DataFrame:
    cases = pd.DataFrame({"case_id": [f"c{i}" for i in range(len(matrix))]})
    cases["history"] = [np.array([], dtype=int)] * len(matrix)
    return predictions.from_scores(matrix, cases, np.arange(matrix.shape[1]), seed=1)


def as_run(matrix: np.ndarray) -> ranx.Run:
    lists = full_lists(matrix)
    # ranx insists on names, in columns of objects.
    columns = {
        "q_id": lists["case_id"].astype(object),
        "doc_id": lists["item_id"].astype(str).astype(object),
    }
    return ranx.Run.from_df(pd.DataFrame({**columns, "score": lists["score"].astype(np.float64)}))


def test_reciprocal_rank_with_half_weight_is_ranxs():
    sides = np.random.default_rng(1).normal(size=(2, 5, 12))
    fused = ranx.fuse([as_run(side) for side in sides], norm=None, method="rrf").to_dataframe()
    theirs = fused.astype({"doc_id": "int64"}).rename(columns={"q_id": "case_id", "doc_id": "item_id"})
    ours = full_lists(fusion.combine(*sides, weight=0.5, method="reciprocal_rank"))
    both = theirs.merge(ours, on=["case_id", "item_id"], suffixes=("", "_ours"), validate="1:1")
    assert len(both) == 60
    assert both["score"].to_numpy() == pytest.approx(2 * both["score_ours"].to_numpy(), abs=1e-9)


def of_split(split: str) -> dict:
    """Cases of the tiny data set with random LSTM scores; the language model knows the targets."""
    cases = predictions.load_cases(Scope("ml-100k", "toy", "next_item", split))
    catalog = load_catalog("ml-100k")
    lstm = np.random.default_rng(3).normal(size=(len(cases), len(catalog)))
    path = config.processed_dir("ml-100k") / "targets_next_item.parquet"
    targets = pd.read_parquet(path).set_index("case_id")["item_id"]
    language = np.zeros(lstm.shape)
    language[np.arange(len(cases)), catalog.columns(targets[cases["case_id"]])] = 5
    return {"lstm": lstm, "other": language, "cases": cases, "catalog": catalog}


SETTINGS = {"scope": Scope("ml-100k", "toy", "next_item", "validation"), "seed": 1}


def test_the_better_side_is_chosen_and_everything_tried_is_kept(tiny):
    inputs = of_split("validation")
    weights = [0, 0.5, 1]
    tried, choice = fusion_weights.choose_weight(**inputs, weights=weights, **SETTINGS)
    assert len(tried) == 3 * 3 * len(inputs["cases"])
    assert choice["ndcg@5"] == 1
    # All methods find the targets at weight 1; the smallest weight that does wins.
    at = tried.groupby(["method", "weight"])["ndcg@5"].mean()
    assert choice["weight"] == min(weight for _, weight in at[at == 1].index)
    curve = fusion_weights.weight_curve(tried, seed=1)
    chosen = curve.query("method == @choice['method'] and weight == @choice['weight']")
    assert chosen.set_index("metric")["value"].to_dict() == {"hit_rate@5": 1, "ndcg@5": 1}
    assert (curve["low"] <= curve["value"]).all() and (curve["value"] <= curve["high"]).all()
    folds = fusion_weights.cross_validated(tried, seed=1)
    assert folds["n_users"].sum() == inputs["cases"]["user_id"].nunique()
    assert (folds["outside"] == 1).all() and (folds["lstm"] < 1).all()


def test_ties_go_to_the_smaller_weight(tiny):
    inputs = of_split("validation")
    inputs["other"] = inputs["lstm"].copy()
    _, choice = fusion_weights.choose_weight(**inputs, weights=[1, 0.5, 0.25], **SETTINGS)
    assert (choice["method"], choice["weight"]) == (fusion.METHODS[0], 0.25)


def test_no_weight_is_chosen_on_test_users_whatever_their_cases_are_called(tiny):
    inputs = of_split("test")
    for cases in (inputs["cases"], inputs["cases"].assign(split="validation")):
        with pytest.raises(StudyError, match=r"leak: user .* is 'test', not 'validation'"):
            fusion_weights.choose_weight(**{**inputs, "cases": cases}, weights=[0.5], **SETTINGS)


def test_scores_of_other_cases_are_refused(tiny):
    cases, catalog = of_split("test")["cases"], load_catalog("ml-100k")
    scope = Scope("ml-100k", "toy", "next_item", "test")
    folder = config.handoff_dir("ml-100k", "lstm")
    with pytest.raises(StudyError, match="dvc repro lstm"):
        handoff.load_scores("lstm", scope)
    folder.mkdir(parents=True)
    for n_cases in (len(cases) + 1, len(cases)):
        matrix = np.zeros((n_cases, len(catalog)), dtype=np.float32)
        np.save(folder / "scores_lstm_next_item_test.npy", matrix)
        if n_cases > len(cases):
            with pytest.raises(StudyError, match="expected"):
                handoff.load_scores("lstm", scope)
    assert handoff.load_scores("lstm", scope).shape == matrix.shape


def test_damaged_scores_name_the_stage_that_writes_them(tiny):
    scope = Scope("ml-100k", "toy", "next_item", "test")
    files.write_text("cut", handoff.scores_path("lstm", scope))
    with pytest.raises(StudyError, match="dvc repro -f lstm"):
        handoff.load_scores("lstm", scope)
    files.write_text("cut", handoff.title_scores_path("small", scope))
    with pytest.raises(StudyError, match="dvc repro -f zero_shot_llm"):
        handoff.load_title_scores("small", scope)


@pytest.fixture
def curve() -> pd.DataFrame:
    rows = [
        (method, weight, "ndcg@5", 0.1 + weight * (1 - weight) / 10, 0.09, 0.14, 141, 1128)
        for method in fusion.METHODS
        for weight in (0.0, 0.5, 1.0)
    ]
    columns = ["method", "weight", "metric", "value", "low", "high", "n_users", "n_cases"]
    return pd.DataFrame(rows, columns=columns)


def test_the_weight_curve_marks_both_parts_and_the_choice(curve):
    figure = figures.weight_curve(
        curve, metric="ndcg@5", chosen={"method": "mixture", "weight": 0.5}, language="movielm", note="n"
    )
    axes = figure.axes[0]
    heights = [list(line.get_ydata()) for line in axes.lines]
    assert [0.1, 0.125, 0.1] in heights
    said = " ".join(text.get_text() for text in axes.texts)
    assert "LSTM alone" in said and "movielm alone" in said and "0.5" in said
    plt.close(figure)

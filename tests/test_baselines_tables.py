"""The tables of notebook 03, worked by hand."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from dualrec_utils.core import config, evaluation, files, predictions
from dualrec_utils.core.catalog import load_catalog
from dualrec_utils.core.config import HISTORY, USER
from dualrec_utils.core.predictions import Scope, scopes
from dualrec_utils.models.baselines import tables
from dualrec_utils.models.baselines.pieces import Piece

COST = {
    "trained_on": "t", "n_epochs": 0, "best_epoch": 0, "fit_seconds": 2.0, "score_seconds": 0.5,
    "n_scored": 250, "peak_memory_mb": 90,
}  # fmt: skip


def piece(name, *, best=0, of=0):
    rows = [(1, "train", "loss", 0.5)] * bool(of)
    curves = pd.DataFrame(rows, columns=["epoch", "part", "metric", "value"])
    return Piece([name], curves, COST | {"best_epoch": best, "n_epochs": of}, fitted=True)


PIECES = {
    "ease": piece("ease"),
    "narm": piece("narm", best=9, of=10),
    "stamp": piece("stamp", best=6, of=10),
}


def test_what_the_search_found(root):
    folder = config.study_dir("search")
    files.write_csv(pd.DataFrame({"ndcg@5": [0.4, None, 0.1]}), folder / "ease.csv")
    table = tables.searched({"random": {}, "ease": {"l2": 190.0, "sbert": "a folder"}})
    assert table.index.tolist() == ["ease"]
    assert table.loc["ease"].tolist() == [3, 0.4, 0.1, 0.0, "l2 190, sbert a folder"]


def test_no_search_is_an_empty_table(root):
    assert tables.searched({"ease": {}}).empty


def test_costs_are_shown_for_a_thousand_cases_and_kept_as_measured(root):
    table = tables.costs(PIECES)
    # A piece that was kept has its values as JSON sorts them.
    kept = {name: replace(piece, cost=dict(sorted(piece.cost.items()))) for name, piece in PIECES.items()}
    pd.testing.assert_frame_equal(tables.costs(kept), table)
    assert table.loc["ease", "score_1000_seconds"] == 2.0
    assert not {"score_seconds", "n_scored"} & set(table)
    path = tables.write_costs(PIECES)
    assert path == config.TIMINGS / "baselines_models.json"
    assert files.read_json(path)["ease"] == COST


def test_the_cap_ended_what_still_had_patience():
    models = {"ease": {}, "narm": {"patience": 4}, "stamp": {"patience": 4}}
    assert tables.ended_by_the_cap(PIECES, models) == {"narm": "best epoch 9 of 10"}


def test_curves_name_their_model_and_may_be_none():
    assert tables.learning_curves(PIECES)["system"].tolist() == ["narm", "stamp"]
    assert not len(tables.learning_curves({"ease": PIECES["ease"]}))


def test_a_random_order_meets_its_expected_hit_rate(tiny):
    places = scopes("ml-100k", "baselines", splits=["test"])
    for scope in places:
        cases = predictions.load_cases(scope)
        ids = load_catalog("ml-100k").ids
        draws = np.random.default_rng(1).random((len(cases), len(ids)))
        predictions.write(predictions.from_scores(draws, cases, ids, seed=1), "random", scope)
    summary, flat = evaluation.evaluate_systems(["random"], places, seed=1, n_bootstrap=100)
    table = tables.random_order(summary, dataset="ml-100k").set_index(["protocol", "k"])
    assert table.index.tolist() == [(p, k) for p in config.PROTOCOLS for k in evaluation.CUTOFFS]
    cases = predictions.load_cases(Scope("ml-100k", "baselines", "next_item", "test"))
    by_hand = [
        np.mean([5 / (tiny["n_items"] - len(history)) for history in user_cases[HISTORY]])
        for _, user_cases in cases.groupby(USER)
    ]
    assert table.loc[("next_item", 5), "expected"] == pytest.approx(np.mean(by_hand))
    assert table.loc[("next_item", 5), "measured"] == flat["next_item/random/hit_rate@5"]
    # Five targets: at least one of them among ten movies drawn of those unseen.
    cases = predictions.load_cases(Scope("ml-100k", "baselines", "window_of_five", "test"))
    unseen = [tiny["n_items"] - len(history) for history in cases[HISTORY]]
    by_hand = [1 - math.comb(n - 5, 10) / math.comb(n, 10) for n in unseen]
    assert table.loc[("window_of_five", 10), "expected"] == pytest.approx(np.mean(by_hand))
    keys = tables.flat_expected(table.reset_index())
    assert keys["next_item/random/hit_rate@5/expected"] == table.loc[("next_item", 5), "expected"]
    assert len(keys) == 6


def test_what_seen_movies_cost():
    names = ["a", "a_seen_kept", "b", "b_seen_kept"]
    values = pd.DataFrame({"system": names, "metric": "hit_rate@5", "value": [0.2, 0.05, 0.0, 0.0]})
    table = tables.seen_kept(values, metric="hit_rate@5")
    assert table.loc["a"].tolist() == pytest.approx([0.2, 0.05, 0.75])
    assert table.loc["b", ["left out", "kept"]].tolist() == [0, 0] and np.isnan(table.loc["b", "lost"])


def test_the_best_setting_is_shown_beside_the_same_setting_here(tiny):
    scope = Scope("ml-100k", "baselines", "next_item", "validation")
    cases = predictions.load_cases(scope)
    targets = evaluation.load_targets("ml-100k", "next_item").map(lambda items: items[0])
    rows = [(case, item, 1, 1.0) for case, item in targets.reindex(cases["case_id"]).items()]
    lists = pd.DataFrame(rows, columns=["case_id", "item_id", "rank", "score"])
    trials = pd.DataFrame({"ndcg@5": [0.25, 0.5, None]})
    # The second was searched under another order, the third never.
    for name, table in {"ease": trials.assign(made_from="0"), "narm": trials}.items():
        predictions.write(lists.assign(text="", seed=1), name, scope)
        files.write_csv(table, config.study_dir("search") / f"{name}.csv")
    table = tables.refitted(["ease", "narm", "markov"], dataset="ml-100k")
    assert table.index.tolist() == ["ease"] and table.loc["ease"].tolist() == [0.5, 1.0, 0.5]
    assert tables.refitted(["ease"], dataset="ml-1m").empty

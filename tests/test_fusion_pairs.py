"""Tests of models.hybrids.pairs: what the LSTM gains from second models that are no language models."""

import numpy as np
import pandas as pd
import pytest

from dualrec_utils.core import config, evaluation, predictions
from dualrec_utils.core.catalog import load_catalog
from dualrec_utils.core.errors import StudyError
from dualrec_utils.core.predictions import Scope, scopes
from dualrec_utils.models import handoff
from dualrec_utils.models.hybrids import fusion, pairs

TUNING, TEST = (Scope("ml-100k", "toy", "next_item", split) for split in ("validation", "test"))
SHOWN = {"seed": 1, "n_candidates": 24}
SEARCHING = {"methods": fusion.METHODS, "weights": [0.0, 0.5, 1.0]} | SHOWN
AGAIN, GRU4REC, EASE = (pairs.PREFIX + name for name in ("lstm_again", "gru4rec", "ease"))


def target_columns(scope: Scope) -> np.ndarray:
    """One column a case: the target's, of `window_of_five` the first one's."""
    path = config.processed_dir("ml-100k") / f"targets_{scope.protocol}.parquet"
    targets = pd.read_parquet(path).groupby("case_id")["item_id"].first()
    return load_catalog("ml-100k").columns(targets[predictions.load_cases(scope)["case_id"]])


def knowing(scope: Scope, scores: np.ndarray, *, by: float) -> np.ndarray:
    """The same scores, the targets' higher."""
    better = scores.copy()
    better[np.arange(len(scores)), target_columns(scope)] += by
    return better


@pytest.fixture
def left(tiny) -> None:
    """Scores of all models: the second LSTM is the first, GRU4Rec knows the targets, EASE-R guesses."""
    rng = np.random.default_rng(4)
    for scope in scopes("ml-100k", "toy"):
        lstm, guess = rng.normal(size=(2, len(predictions.load_cases(scope)), len(load_catalog("ml-100k"))))
        for name, scores in {
            "lstm": lstm, "lstm_again": lstm, "gru4rec": knowing(scope, guess, by=9), "ease": guess,
        }.items():  # fmt: skip
            handoff.save_scores(scores, name, scope)
    handoff.note_scored(["gru4rec", "ease"], "ml-100k")


def load() -> dict:
    return pairs.load(scopes("ml-100k", "toy"), load_catalog("ml-100k"), tuning=TUNING, **SHOWN)


def value(lists: pd.DataFrame) -> float:
    return evaluation.score(lists, TEST)["ndcg@5"].mean()


def test_a_second_lstm_equal_to_the_first_adds_nothing_and_a_better_model_is_found(left):
    catalog, both = load_catalog("ml-100k"), load()
    choices = pairs.choose(both, catalog, tuning=TUNING, **SEARCHING)
    assert list(choices) == [AGAIN, GRU4REC, EASE] and pairs.left_out(both) == []
    fused = pairs.fuse(both, choices, catalog, **SHOWN)
    wanted = [name + end for name in choices for end in ("", "_seen_kept")]
    assert set(fused) == {(scope, name) for scope in scopes("ml-100k", "toy") for name in wanted}
    cases = predictions.load_cases(TEST)
    alone = predictions.from_scores(handoff.load_scores("lstm", TEST), cases, catalog.ids, seed=1)
    columns = ["case_id", "rank", "item_id"]
    assert fused[TEST, AGAIN][columns].equals(alone[columns])
    assert choices[AGAIN]["weight"] == 0
    assert choices[GRU4REC]["weight"] > 0 and choices[GRU4REC]["ndcg@5"] == 1
    assert value(fused[TEST, GRU4REC]) == 1 > value(alone)
    assert pairs.best(choices) == GRU4REC


def test_method_and_weight_depend_on_validation_users_alone(left):
    catalog = load_catalog("ml-100k")
    before = pairs.choose(load(), catalog, tuning=TUNING, **SEARCHING)
    # On test users everything turns: GRU4Rec is the worst possible there, EASE-R knows the targets.
    guess = np.zeros((len(predictions.load_cases(TEST)), len(catalog)))
    handoff.save_scores(knowing(TEST, guess, by=-9), "gru4rec", TEST)
    handoff.save_scores(knowing(TEST, guess, by=9), "ease", TEST)
    both = load()
    assert pairs.choose(both, catalog, tuning=TUNING, **SEARCHING) == before
    with pytest.raises(StudyError, match=r"leak: user .* is 'test', not 'validation'"):
        pairs.choose(both, catalog, tuning=TEST, **SEARCHING)
    with pytest.raises(StudyError, match=r"leak: user .* is 'test', not 'validation'"):
        pairs.temperature(both[EASE][TEST], catalog, scope=TEST, **SHOWN)


def test_a_model_that_the_run_has_not_fitted_is_left_out_and_named(left):
    handoff.note_scored(["ease"], "ml-100k")
    both = load()
    assert list(both) == [AGAIN, EASE] and pairs.left_out(both) == ["gru4rec"]
    handoff.scores_path("ease", TEST).unlink()
    with pytest.raises(StudyError, match="dvc repro baselines"):
        load()


def test_the_temperature_makes_the_targets_likeliest(tiny):
    """Two candidates, the target d above the other in some cases and d below in the rest.

    With s the share of the first, averaged per user first, the softmax fits best where it gives the higher
    of the two the probability s: d / T = ln(s / (1 - s)).
    """
    cases, catalog = predictions.load_cases(TUNING), load_catalog("ml-100k")
    targets = target_columns(TUNING)
    rows = np.arange(len(cases))
    rivals = np.array(
        [
            next(
                column
                for column in range(len(catalog))
                if column != target and catalog.ids[column] not in seen
            )
            for target, seen in zip(targets, cases["history"], strict=True)
        ]
    )
    lstm, other = np.zeros((2, len(cases), len(catalog)))
    lstm[rows, targets] = lstm[rows, rivals] = 5
    up = rows % 4 != 0
    other[rows, targets] = np.where(up, 0.02, -0.02)
    share = pd.Series(up).groupby(cases["user_id"]).mean().mean()
    temperature = pairs.temperature(
        fusion.Sides(lstm, other, cases), catalog, scope=TUNING, seed=1, n_candidates=2
    )
    assert temperature == pytest.approx(0.02 / np.log(share / (1 - share)), rel=1e-3)


def test_a_temperature_changes_no_order_of_the_second_model_alone(left):
    catalog = load_catalog("ml-100k")
    sides = load()[EASE][TEST]
    alone = fusion.fused_lists(*sides, catalog, weight=1, method="log_linear", **SHOWN)
    plain = predictions.from_scores(handoff.load_scores("ease", TEST), sides.cases, catalog.ids, seed=1)
    assert alone["item_id"].equals(plain["item_id"])

"""What both models score is the LSTM's best, with and without the movies of the history."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, strategies as st
from toy_catalog import catalog_of

from dualrec_utils.core import config, files
from dualrec_utils.core.errors import StudyError
from dualrec_utils.core.predictions import Scope
from dualrec_utils.models import handoff

CATALOG = catalog_of([2, 3, 5, 7, 11])


def test_the_best_of_all_and_the_best_unseen_by_hand():
    cases = pd.DataFrame({"case_id": ["b", "a"], "history": [np.array([7, 11]), np.array([2])]})
    lstm = np.log([[0.1, 0.15, 0.2, 0.25, 0.3], [0.3, 0.25, 0.2, 0.15, 0.1]])
    lists = handoff.candidates_of(lstm, cases, CATALOG, n_candidates=2, seed=0)
    # Case b: 11 and 7 of all, 5 and 3 unseen; case a: 2 and 3 of all, 3 and 5 unseen.
    assert [list(items) for items in lists] == [[3, 5, 7, 11], [2, 3, 5]]


@given(seed=st.integers(0, 1000), n=st.integers(1, 5))
def test_every_case_gets_as_many_unseen_movies_as_there_are(seed, n):
    rng = np.random.default_rng(seed)
    histories = [rng.choice(CATALOG.ids, size=rng.integers(1, 5), replace=False) for _ in range(4)]
    cases = pd.DataFrame({"case_id": [f"c{i}" for i in range(4)], "history": histories})
    lstm = rng.normal(size=(4, len(CATALOG)))
    for items, history in zip(
        handoff.candidates_of(lstm, cases, CATALOG, n_candidates=n, seed=0), histories, strict=True
    ):
        assert list(items) == sorted(set(items))
        assert len(set(items) - set(history)) >= min(n, len(CATALOG) - len(history))
        assert len(items) >= n


def test_a_model_is_never_given_anothers_title_scores(tmp_path, monkeypatch):
    monkeypatch.setattr(config, "ROOT", tmp_path)
    scope = Scope("ml-100k", "zero_shot_llm", "next_item", "test")
    scores = pd.DataFrame({"case_id": ["a"], "item_id": [2], "log_probability": [-1.5]})
    files.write_parquet(scores, handoff.title_scores_path("small", scope))
    assert handoff.load_title_scores("small", scope).equals(scores)
    with pytest.raises(StudyError, match=r"title_scores_large_next_item_test.*large must be a local model"):
        handoff.load_title_scores("large", scope)

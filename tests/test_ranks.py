"""Tests of core.ranks: by hand, and against the lists that all systems write."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, strategies as st

from dualrec_utils.core import predictions
from dualrec_utils.core.errors import StudyError


def test_ranks_worked_by_hand():
    items, scores = np.array([2, 3, 5, 7]), np.array([[4.0, 3.0, 2.0, 1.0], [1.0, 1.0, 1.0, 1.0]])
    # Items 2 and 3 lie before 5, but 2 has been rated; among equals the lower id comes first.
    found = predictions.target_ranks(scores, [np.array([2]), np.array([3])], np.array([5, 7]), items)
    assert found.tolist() == [2, 3]
    assert scores[0, 0] == 4.0
    nan = np.where(scores > 3, np.nan, scores)
    with pytest.raises(StudyError, match="not a number"):
        predictions.target_ranks(nan, [np.array([2])] * 2, np.array([5, 7]), items)
    with pytest.raises(StudyError, match=r"shape \(2, 4\), expected \(1, 4\)"):
        predictions.target_ranks(scores, [np.array([2])], np.array([5]), items)


@given(seed=st.integers(0, 10_000), n_levels=st.integers(1, 20))
def test_ranks_are_those_of_the_lists_that_all_systems_write(seed, n_levels):
    draw = np.random.default_rng(seed)
    items = np.sort(draw.choice(50, size=12, replace=False))
    shuffled = np.stack([draw.permutation(items) for _ in range(5)])
    histories, targets = list(shuffled[:, :4]), shuffled[:, 4]
    # Few levels: ties abound.
    scores = draw.integers(n_levels, size=(5, 12)).astype(float)
    cases = pd.DataFrame({"case_id": list("abcde"), "history": histories})
    lists = predictions.from_scores(scores, cases, items, seed=0)
    wanted = pd.DataFrame({"case_id": list("abcde"), "item_id": targets})
    assert (
        predictions.target_ranks(scores, histories, targets, items).tolist()
        == lists.merge(wanted).sort_values("case_id")["rank"].tolist()
    )

"""Tests of studies.online.measuring: real requests to a real server on a run in small."""

import numpy as np
import pytest

from dualrec_utils.core import splits
from dualrec_utils.core.errors import StudyError
from dualrec_utils.studies.online import measuring
from dualrec_utils.studies.online.server import serving

DATASET = "ml-100k"


def test_percentiles_rates_and_shares_worked_by_hand():
    values = np.arange(1, 101) / 1000
    row = measuring.summary(values, inside=values.sum() / 4, seconds=10)
    assert row["n"] == 100 and row["per_second"] == 10
    assert row["p50_ms"] == pytest.approx(50.5) and row["p99_ms"] == pytest.approx(99.01)
    assert row["inside_share"] == pytest.approx(0.25)


def test_every_kind_of_request_is_answered_and_an_error_stops_the_measurement(toy_copy, tmp_path):
    interactions = splits.load_interactions(DATASET)
    users, items = interactions["user_id"].unique(), interactions["item_id"].unique()
    in_process = measuring.measure_in_process(DATASET, users, n=20)
    assert list(in_process) == ["p50_ms", "p99_ms", "again_p50_ms", "again_p99_ms"]
    assert 0 < in_process["p50_ms"] <= in_process["p99_ms"]
    with serving(DATASET, tmp_path / "log") as (port, start_seconds, _):
        assert start_seconds > 0
        for what in ("event", "lstm", "fusion", "search", "predict", "newcomer"):
            values = measuring.hammer(
                port,
                lambda n, what=what: measuring.requests(what, users, items, seed=n),
                n_clients=2,
                seconds=0.3,
            )
            assert len(values) >= 2 and (values > 0).all()
        bad = ("GET", "/api/v1/recommendations/999999", None)
        with pytest.raises(StudyError, match="404"):
            measuring.hammer(port, lambda n: iter([bad]), n_clients=1, seconds=5)

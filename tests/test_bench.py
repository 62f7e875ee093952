import numpy as np
import pytest
from toy_catalog import catalog_of

from dualrec_utils.content.features import item_features
from dualrec_utils.core.errors import StudyError
from dualrec_utils.models.lstm import sequences as lstm_data, training as lstm
from dualrec_utils.studies.bench import lstm as bench

CATALOG = catalog_of(
    [1, 2, 3, 4],
    titles=["Alien", "Big", "Clue", "Dune"],
    genres=[["Horror"], ["Comedy"], ["Comedy"], ["Sci-Fi"]],
)


def test_both_sides_are_networks_of_the_same_size():
    features = item_features(CATALOG, title_vocabulary=5000, title_length=10)
    theirs, ours = bench.keras_lstm(features, 0.3), lstm.build_model(features, dropout=0.3)
    assert theirs.count_params() == ours.count_params()
    windows = lstm_data.windows([np.array([1, 2, 3, 4])], window=2)
    assert theirs(windows.rows, training=False).shape == (2, 1, 4)
    lstm.fit(theirs, windows, epochs=1, batch_size=2, learning_rate=0.01)
    assert lstm.measure(theirs, windows)["loss"] > 0


def test_speed_counts_real_targets_only(monkeypatch):
    features = item_features(CATALOG, title_vocabulary=5000, title_length=10)
    pieces = lstm_data.every_position([np.array([1, 2, 3, 4]), np.array([1, 2])], length=3)
    side = bench._Side(lambda: lstm.build_model(features, dropout=0.3), pieces, 2, 0.01, 10)
    ticks = iter(range(100))
    monkeypatch.setattr(bench.time, "perf_counter", lambda: float(next(ticks)))
    speeds = bench._lstm_speeds({"every_position": side}, seed=1)
    # Four targets in six positions, and every repeat "takes" one second.
    assert speeds == {"every_position": [4.0] * bench.REPEATS}


def test_an_unknown_section_is_named():
    with pytest.raises(StudyError, match="'lstn'; sections: lstm"):
        bench.run_sections(["lstm", "lstn"], short=True)

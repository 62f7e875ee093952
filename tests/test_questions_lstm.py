"""The LSTM's settings: one change at a time, trained as notebook 02 trains."""

import numpy as np
import pandas as pd
import pytest
from toy_catalog import catalog_of

from dualrec_utils.content.features import item_features
from dualrec_utils.core import files
from dualrec_utils.core.catalog import load_catalog
from dualrec_utils.core.errors import StudyError
from dualrec_utils.models.lstm import network as lstm_network, training as lstm
from dualrec_utils.models.lstm.sequences import every_position
from dualrec_utils.studies.questions import lstm as questions_lstm

BASE = {
    "dataset": "ml-100k", "seed": 7, "training": "every_position", "epochs": 1, "batch_size": 8,
    "learning_rate": 0.01, "dropout": 0.3, "chunk_length": 6, "window": 4, "max_history": 6,
    "title_vocabulary": 5000, "title_length": 10, "n_folds": 2,
}  # fmt: skip


def test_a_setting_is_the_default_with_its_changes():
    assert questions_lstm.complete({}, BASE) == {**BASE, "optimizer": "adam", "weight_decay": 0.0}
    settings = questions_lstm.complete({"learning_rate": 0.5, "optimizer": "sgd"}, BASE)
    assert (settings["learning_rate"], settings["optimizer"], settings["batch_size"]) == (0.5, "sgd", 8)
    assert BASE["learning_rate"] == 0.01, "the base was changed"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dropout": 0.1}, "cannot change dropout"),
        ({"optimizer": "lion"}, "'lion'; allowed: adam | adamw | rmsprop | sgd"),
        ({"weight_decay": 0.1}, "0.1 with adam; only adamw"),
    ],
)
def test_what_is_not_a_setting_is_refused(changes, message):
    with pytest.raises(StudyError) as caught:
        questions_lstm.complete(changes, BASE)
    assert message in str(caught.value)


def small():
    """A network for six movies, and sequences for it."""
    features = item_features(catalog_of(range(6)), title_vocabulary=50, title_length=4)
    histories = [np.roll(np.arange(1, 7), shift) for shift in range(6)] * 3
    lstm.make_deterministic(3)
    return lstm_network.build_model(features, dropout=0.3), every_position(histories, length=5)


def trained(**changes):
    model, sequences = small()
    settings = questions_lstm.complete({"epochs": 6, "batch_size": 4, **changes}, BASE)
    curve = questions_lstm.fit(model, sequences, validation=sequences, settings=settings, label="test")
    return model, curve


@pytest.mark.usefixtures("one_thread")
def test_every_optimizer_learns_and_no_two_do_the_same():
    weights = {}
    for name in questions_lstm.OPTIMIZERS:
        rate = 1.0 if name == "sgd" else 0.01
        model, curve = trained(optimizer=name, learning_rate=rate)
        assert curve["validation_loss"].iloc[-1] < np.log(6), name
        weights[name] = model.get_layer("logits").get_weights()[0]
    assert np.array_equal(weights["adam"], weights["adamw"]), "AdamW without decay is Adam"
    for one, other in (("adam", "rmsprop"), ("adam", "sgd"), ("rmsprop", "sgd")):
        assert not np.allclose(weights[one], weights[other])
    decayed, _ = trained(optimizer="adamw", weight_decay=0.5)
    assert np.abs(decayed.get_layer("logits").get_weights()[0]).sum() < np.abs(weights["adamw"]).sum()


@pytest.mark.usefixtures("tiny", "one_thread")
def test_a_setting_is_measured_on_validation_users_and_can_be_loaded_instead(tmp_path):
    settings = questions_lstm.complete({"batch_size": 16}, BASE)
    folder = tmp_path / "piece"
    measured = questions_lstm.run("test", settings, folder=folder)
    assert measured == files.read_json(folder / "measured.json")
    assert measured["batch_size"] == 16 and 0 < measured["loss"] < 10
    assert len(pd.read_csv(folder / "curve.csv")) == 1
    cases = pd.read_parquet(folder / "cases.parquet")
    validation = pd.read_parquet(questions_lstm.config.processed_dir("ml-100k") / "cases_next_item.parquet")
    wanted = validation[validation["split"] == "validation"]["case_id"]
    assert set(cases["case_id"]) == set(wanted), "other users than validation ones were asked"


@pytest.mark.usefixtures("tiny", "one_thread")
def test_the_default_is_not_trained_again(tmp_path, monkeypatch):

    catalog = load_catalog("ml-100k")
    words = {key: BASE[key] for key in ("title_vocabulary", "title_length")}
    lstm.make_deterministic(1)
    model = lstm_network.build_model(item_features(catalog, **words), dropout=0.3)
    model.save_weights(tmp_path / "lstm.weights.h5")
    monkeypatch.setattr(questions_lstm, "fit", None)
    settings = questions_lstm.complete({}, BASE)
    weights = tmp_path / "lstm.weights.h5"
    loaded = questions_lstm.run("test", settings, folder=tmp_path / "a", weights=weights)
    usual = questions_lstm.validation_cases(model, catalog, dataset="ml-100k", settings=settings)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "a" / "cases.parquet"), usual)
    assert not (tmp_path / "a" / "curve.csv").exists() and loaded["optimizer"] == "adam"

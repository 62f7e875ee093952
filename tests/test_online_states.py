"""Tests of service.online.states: read step by step or at once, a history gives the same scores."""

import threading

import numpy as np
import pytest
from hypothesis import given, strategies as st
from toy_catalog import catalog_of

from dualrec_utils.content.features import item_features
from dualrec_utils.core import files
from dualrec_utils.core.catalog import load_catalog
from dualrec_utils.core.errors import StudyError
from dualrec_utils.models.lstm import scores as lstm_scores, training
from dualrec_utils.models.lstm.network import build_model
from dualrec_utils.pipeline import params
from dualrec_utils.service.online.states import LstmStates, load_lstm

pytestmark = pytest.mark.usefixtures("one_thread")

IDS = range(10, 22)
CATALOG = catalog_of(IDS)
# Of one state: h and c of 256 and of 128 units, four bytes each.
STATE = 2 * (256 + 128) * 4


@pytest.fixture(scope="module")
def model():
    training.keras.utils.set_random_seed(1)
    model = build_model(item_features(CATALOG, title_vocabulary=50, title_length=3), dropout=0.3)
    # As drawn, all items would have nearly the same score.
    for variable in model.trainable_variables:
        variable.assign(3 * variable.numpy())
    return model


def full_pass(model, history):
    return training.log_probabilities(model, [CATALOG.rows(history)], max_history=10**6)[0]


# A user's new items, or (None) the start of another history.
MOVES = st.tuples(st.integers(1, 3), st.none() | st.lists(st.sampled_from(IDS), min_size=1, max_size=4))


@given(st.lists(MOVES, min_size=1, max_size=12), st.integers(1, 3))
def test_any_interleaving_equals_full_passes(model, moves, max_users):
    states, histories = LstmStates(model, CATALOG, max_users=max_users), {}
    for user, items in moves:
        histories[user] = histories.get(user, [])[1:] if items is None else histories.get(user, []) + items
        if histories[user]:
            scores = states.scores(user, histories[user])
            assert scores.shape == (len(CATALOG),) and scores.dtype == np.float32
            np.testing.assert_allclose(scores, full_pass(model, histories[user]), rtol=0, atol=1e-5)


def test_scores_depend_on_the_history(model):
    states = LstmStates(model, CATALOG)
    one, other = states.scores(1, [10, 11]), states.scores(1, [11, 10])
    assert np.abs(one - other).max() > 1e-3
    np.testing.assert_allclose(np.exp(one).sum(), 1, rtol=1e-5)


def test_only_new_items_are_read(model, monkeypatch):
    states, lengths = LstmStates(model, CATALOG), []
    read = LstmStates._read_on
    monkeypatch.setattr(
        LstmStates,
        "_read_on",
        lambda self, before, rows: lengths.append(len(rows) - len(before.rows)) or read(self, before, rows),
    )
    for history in ([10, 11], [10, 11, 12], [10, 11, 12], [10, 12], [10]):
        states.scores(1, history)
    assert lengths == [2, 1, 0, 2, 1]


def test_of_somebody_without_an_id_everything_is_read_and_nothing_kept(model, monkeypatch):
    states, lengths = LstmStates(model, CATALOG), []
    read = LstmStates._read_on
    monkeypatch.setattr(
        LstmStates,
        "_read_on",
        lambda self, before, rows: lengths.append(len(rows) - len(before.rows)) or read(self, before, rows),
    )
    for history in ([10, 11], [10, 11, 12], [10, 11, 12]):
        scores = states.scores(None, history)
    assert lengths == [2, 3, 3]
    assert not states._users
    np.testing.assert_allclose(scores, full_pass(model, [10, 11, 12]), rtol=0, atol=1e-5)


def test_the_least_recent_user_goes_and_memory_is_bounded(model):
    states = LstmStates(model, CATALOG, max_users=2)
    for user in (1, 2, 1, 3):
        states.scores(user, [10, 11, 12])
    assert [states.bytes_of(user) for user in (1, 2, 3)] == [STATE + 3 * 4, 0, STATE + 3 * 4]
    states.forget(1)
    states.forget(1)
    assert states.bytes_of(1) == 0


def test_threads_get_what_a_full_pass_gives(model):
    states, wrong = LstmStates(model, CATALOG, max_users=2), []
    histories = [[IDS[(user + place) % 12] for place in range(8)] for user in range(4)]
    expected = {(user, n): full_pass(model, histories[user][:n]) for user in range(4) for n in range(1, 9)}

    def ask(start):
        for turn in range(40):
            user, n = (start + turn) % 4, turn % 8 + 1
            if np.abs(states.scores(user, histories[user][:n]) - expected[user, n]).max() > 1e-5:
                wrong.append((user, n))

    threads = [threading.Thread(target=ask, args=(start,)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_model_that_learns_on_changes_no_states(model):
    states = LstmStates(model, CATALOG)
    before = states.scores(1, [10, 11])
    weights = model.get_weights()
    try:
        model.set_weights([weight + 1 for weight in weights])
        np.testing.assert_array_equal(states.scores(2, [10, 11]), before)
    finally:
        model.set_weights(weights)


@pytest.mark.parametrize("history", [[], [10, 99]])
def test_a_history_that_cannot_be_read_is_refused(model, history):
    states = LstmStates(model, CATALOG)
    with pytest.raises(StudyError):
        states.scores(1, history)
    assert states.bytes_of(1) == 0


# --- the trained network


# Keras warns of weights of another network before it refuses them.
@pytest.mark.filterwarnings("ignore:Skipping nested container")
def test_the_trained_network_is_loaded_as_it_was_saved(tiny):
    settings, catalog = params.section("lstm"), load_catalog("ml-100k")
    words = {key: settings[key] for key in ("title_vocabulary", "title_length")}
    model = build_model(item_features(catalog, **words), dropout=0.3)
    with pytest.raises(StudyError, match="dvc repro lstm"):
        load_lstm("ml-100k")
    path = lstm_scores.save_model(model, dataset="ml-100k")
    for one, other in zip(load_lstm("ml-100k").get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    other = build_model(item_features(CATALOG, title_vocabulary=50, title_length=3), dropout=0.3)
    lstm_scores.save_model(other, dataset="ml-100k")
    with pytest.raises(StudyError, match="another network"):
        load_lstm("ml-100k")
    files.write_text("no weights", path)
    with pytest.raises(StudyError, match="damaged"):
        load_lstm("ml-100k")

"""Tests of service.online.learner, lessons and versions: bounded, repeatable, undone, forgotten."""

from dataclasses import replace

import numpy as np
import pytest
from toy_catalog import catalog_of

from dualrec_utils.content.features import item_features
from dualrec_utils.core.errors import StudyError
from dualrec_utils.models.lstm import training
from dualrec_utils.models.lstm.network import build_model
from dualrec_utils.models.lstm.sequences import IGNORED
from dualrec_utils.service.online.events import RATED, REMOVED, SAW, EventLog
from dualrec_utils.service.online.learner import IncrementalLearner, Learning
from dualrec_utils.service.online.lessons import as_sequences, drawn, taught

pytestmark = pytest.mark.usefixtures("one_thread")

IDS = range(10, 22)
CATALOG = catalog_of(IDS)
KNOWN = {1: [10, 11, 12], 2: [15, 14]}
REPLAY = [list(IDS), list(reversed(IDS)), [10, 13]]
SMALL = Learning(learning_rate=0.5, batch_size=2, max_steps=2, replay=3, max_history=4)


@pytest.fixture(scope="module")
def network():
    training.keras.utils.set_random_seed(1)
    model = build_model(item_features(CATALOG, title_vocabulary=50, title_length=3), dropout=0.3)
    return model, model.get_weights()


@pytest.fixture
def learner_in(network):
    """Makes a learner in a folder, which begins with the same trained network each time."""
    model, weights = network

    def make(folder, settings=SMALL):
        model.set_weights(weights)
        return IncrementalLearner(model, CATALOG, folder, known=KNOWN, replay=REPLAY, settings=settings)

    return make


@pytest.fixture
def log(tmp_path):
    log = EventLog(tmp_path / "log.sqlite")
    yield log
    log.close()


def saw(log, user, *items):
    for item in items:
        log.append(user, item, SAW, event_id=f"{user}-{item}")


def scores(learner, history=(10, 11)):
    return learner.states().scores(1, list(history))


def weights_of(learner, version):
    return learner._versions.weights(version)


# --- what events teach


def test_an_event_teaches_its_item_after_the_history_up_to_then(log):
    saw(log, 1, 13)
    saw(log, 3, 20)
    log.append(1, 13, RATED, rating=4.0, event_id="the item is there already")
    log.append(1, 11, REMOVED, event_id="nothing came next")
    saw(log, 3, 21)
    saw(log, 1, 14)
    lessons = taught(log.since(0), log, KNOWN)
    assert [(event.user, items, event.item) for event, items in lessons] == [
        (1, [10, 11, 12], 13),
        (3, [20], 21),
        (1, [10, 12, 13], 14),
    ]
    assert taught(log.since(4), log, KNOWN) == lessons[1:]
    cut = as_sequences(lessons, CATALOG, length=2)
    assert cut.rows.tolist() == [[2, 3], [11, 0], [3, 4]]
    assert cut.targets.tolist() == [[IGNORED, 3], [11, IGNORED], [IGNORED, 4]]


def test_replay_is_pieces_of_training_histories_and_nothing_else():
    histories = [CATALOG.rows(items) for items in REPLAY]
    pieces = drawn(histories, np.random.default_rng(0), n=50, length=4)
    assert len(pieces.rows) == 50
    assert {int(targets[-1]) for targets in pieces.targets} >= {IGNORED, *range(4, 12)}
    for rows, targets in zip(pieces.rows, pieces.targets, strict=True):
        whole = [*rows[:1], *(targets[targets != IGNORED] + 1)]
        assert rows[rows != 0].tolist() == whole[:-1]
        assert any(
            whole == list(history[start : start + len(whole)])
            for history in histories
            for start in range(len(history))
        )


# --- learning


def test_learning_makes_what_happened_likelier(learner_in, log, tmp_path):
    learner = learner_in(tmp_path / "versions", replace(SMALL, max_steps=20))
    saw(log, 1, 13)
    before = scores(learner, KNOWN[1])
    for user in range(5, 25):
        saw(log, user, 10, 11, 12, 13)
    learner.learn(log)
    after = scores(learner, KNOWN[1])
    assert after[CATALOG.columns([13])[0]] > before[CATALOG.columns([13])[0]] + 0.1


def test_the_same_log_settings_and_start_give_the_same_weights(learner_in, log, tmp_path):
    saw(log, 1, 13, 14, 15, 16, 17, 18)
    versions, last = [], []
    for name in ("one", "other"):
        learner = learner_in(tmp_path / name)
        versions.append([learner.learn(log), learner.learn(log)])
        last.append((tmp_path / name / "000002" / "weights.safetensors").read_bytes())
    assert versions[0] == versions[1]
    assert last[0] == last[1]
    # Stopped and started again between the two calls, which find the events where the first left off.
    learner = learner_in(tmp_path / "third")
    learner.learn(log)
    learner = learner_in(tmp_path / "third")
    assert learner.learn(log) == versions[0][1]
    other = learner_in(tmp_path / "fourth", replace(SMALL, seed=1)).learn(log)
    assert other.weights_sha256 != versions[0][0].weights_sha256


@pytest.mark.parametrize("max_steps", [1, 3])
def test_a_call_is_bounded_in_events_and_in_what_it_changes(learner_in, log, tmp_path, max_steps):
    # A gradient far longer than what a step may move.
    settings = replace(SMALL, max_steps=max_steps, max_norm=1e-3)
    learner = learner_in(tmp_path / "versions", settings)
    saw(log, 1, 13, 14, 15, 16, 17, 18, 19, 20, 21)
    version = learner.learn(log)
    assert (version.after, version.last) == (0, max_steps * settings.batch_size)
    learned = weights_of(learner, version)
    moved = sum(np.sum((learned[name].astype(float) - base) ** 2) for name, base in learner._base.items())
    assert 0 < np.sqrt(moved) <= 1.001 * max_steps * settings.learning_rate * settings.max_norm
    assert learner.learn(log).after == version.last


def test_events_that_teach_nothing_are_passed_over(learner_in, log, tmp_path):
    learner = learner_in(tmp_path / "versions")
    assert learner.learn(log) is None and learner.current() is None
    for i in range(9):
        log.append(1, 10, REMOVED, event_id=f"removed {i}")
    assert learner.learn(log) is None
    saw(log, 1, 13)
    assert learner.learn(log).last == 10
    assert learner.learn(log) is None


def test_numbers_that_are_not_finite_leave_no_version(learner_in, log, tmp_path):
    learner = learner_in(tmp_path / "versions")
    saw(log, 1, 13, 14, 15, 16)
    learner._base["logits/bias"][0] = np.inf
    with pytest.raises(StudyError, match="finite"):
        learner.learn(log)
    assert learner.current() is None


@pytest.mark.parametrize(
    "slip",
    [
        {"learning_rate": 0.0},
        {"max_norm": float("nan")},
        {"batch_size": 0},
        {"max_steps": -1},
        {"replay": -1},
    ],
)
def test_impossible_settings_are_refused(slip):
    with pytest.raises(StudyError, match=next(iter(slip))):
        Learning(**slip)


def test_learning_without_replay(learner_in, log, tmp_path):
    saw(log, 1, 13)
    assert learner_in(tmp_path / "versions", replace(SMALL, replay=0)).learn(log).number == 1


# --- versions


def test_rolling_back_and_forward(learner_in, log, tmp_path):
    learner = learner_in(tmp_path / "versions", replace(SMALL, max_steps=1))
    saw(log, 1, 13, 14, 15, 16, 17, 18)
    results = {None: scores(learner)}
    for number in (1, 2):
        assert learner.learn(log).number == number
        results[number] = scores(learner)
    assert len({result.tobytes() for result in results.values()}) == 3
    for number in (1, None, 2, 1):
        learner.roll_back(number)
        np.testing.assert_array_equal(scores(learner), results[number])
        assert (learner.current().number if number else learner.current()) == number
    # What version 2 has learnt from is not learnt again.
    version = learner.learn(log)
    assert (version.number, version.parent, version.after) == (3, 1, 4)
    with pytest.raises(StudyError, match="version 9"):
        learner.roll_back(9)
    assert learner.current() == version


def test_a_forgotten_user_is_in_no_version(learner_in, log, tmp_path):
    """Versions: 1 of user 1; 2 of user 2, on 1; 3 of user 1, on 2; 4 of user 1, on 1."""
    folder, one = tmp_path / "versions", replace(SMALL, max_steps=1)
    learner = learner_in(folder, one)
    saw(log, 1, 13, 14)
    learner.learn(log)
    only_1 = scores(learner)
    for user, items in ((2, (10, 11)), (1, (16, 17))):
        saw(log, user, *items)
        learner.learn(log)
    learner.roll_back(1)
    saw(log, 1, 18, 19)
    assert learner.learn(log).parent == 1
    learner.roll_back(3)
    # Left by a process that was killed while it wrote a version.
    (folder / ".77.000005").mkdir()
    log.forget(2)
    assert learner.forget(2) == [2, 3]
    assert sorted(path.name for path in folder.glob("*0*")) == ["000001", "000004"]
    assert not (folder / ".77.000005").exists()
    assert learner.current().number == 1
    np.testing.assert_array_equal(scores(learner), only_1)
    assert learner.forget(2) == []
    # A new version gets a new number.
    saw(log, 3, 10, 11)
    version = learner.learn(log)
    assert (version.number, version.users) == (5, (3,))
    log.forget(1)
    assert learner.forget(1) == [1, 4, 5]
    assert learner.current() is None
    # The events of others are learnt again.
    version = learner.learn(log)
    assert (version.number, version.parent, version.users) == (6, None, (3,))


def test_what_was_learnt_after_forgetting_is_as_if_the_user_had_never_been(learner_in, log, tmp_path):
    learner = learner_in(tmp_path / "versions")
    saw(log, 2, 10, 11)
    saw(log, 1, 13)
    learner.learn(log)
    log.forget(2)
    learner.forget(2)
    again = learner.learn(log)
    alone = learner_in(tmp_path / "alone").learn(log)
    assert again.weights_sha256 == alone.weights_sha256


def test_a_damaged_version_gives_one_message(learner_in, log, tmp_path):
    learner = learner_in(tmp_path / "versions")
    saw(log, 1, 13)
    learner.learn(log)
    path = tmp_path / "versions" / "000001" / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(StudyError, match="damaged"):
        learner.states()
    learner.roll_back(None)
    path.with_name("about.json").write_text("{")
    with pytest.raises(StudyError, match=r"about\.json"):
        learner.learn(log)


def test_versions_of_another_network_are_refused(learner_in, log, tmp_path, network):
    learner = learner_in(tmp_path / "versions")
    saw(log, 1, 13)
    learner.learn(log)
    model, weights = network
    model.set_weights([weight + 1 for weight in weights])
    with pytest.raises(StudyError, match="another trained network"):
        IncrementalLearner(model, CATALOG, tmp_path / "versions", known={}, replay=REPLAY, settings=SMALL)

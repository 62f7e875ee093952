"""Learning while the service runs, and what is forgotten with a user."""

import threading
import time

import numpy as np
import pytest
from conftest import use_root

from dualrec_utils.service.online.events import EventLog
from dualrec_utils.service.online.versions import Versions
from dualrec_utils.service.web import teaching
from dualrec_utils.service.web.answering import Answering

pytestmark = pytest.mark.usefixtures("one_thread", "free_algorithms")


def until(holds):
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_events_teach_the_engines_until_their_user_is_forgotten(engines, toy_run, tmp_path, monkeypatch):
    use_root(toy_run, monkeypatch)
    monkeypatch.setattr(engines, "lstm", engines.lstm)
    history = engines.known(2)[0]
    before = engines.lstm.scores(0, history)
    log, stop, folder = EventLog(tmp_path / "events.db"), threading.Event(), tmp_path / "versions"
    forget = teaching.start(engines, log, folder, pause=0.05, stop=stop)
    try:
        np.testing.assert_array_equal(engines.lstm.scores(0, history), before)
        unseen = next(item for item in engines.catalog.ids.tolist() if item not in engines.known(1)[0])
        log.append(1, unseen, "saw", event_id="a")
        until(lambda: not np.array_equal(engines.lstm.scores(0, history), before))
        Answering(engines, log, forget).forget(1)
        np.testing.assert_array_equal(engines.lstm.scores(0, history), before)
        assert Versions(folder).all() == {}
    finally:
        stop.set()
        time.sleep(0.2)
        log.close()


def test_a_service_that_does_not_learn_forgets_versions_too(engines, toy_run, tmp_path, monkeypatch):
    use_root(toy_run, monkeypatch)
    monkeypatch.setattr(engines, "lstm", engines.lstm)
    log, stop, folder = EventLog(tmp_path / "events.db"), threading.Event(), tmp_path / "versions"
    unseen = next(item for item in engines.catalog.ids.tolist() if item not in engines.known(1)[0])
    log.append(1, unseen, "saw", event_id="a")
    teaching.start(engines, log, folder, pause=0.05, stop=stop)
    until(lambda: Versions(folder).all())
    stop.set()
    time.sleep(0.2)
    Answering(engines, log, teaching.forgetting(folder)).forget(1)
    assert Versions(folder).all() == {}
    log.close()

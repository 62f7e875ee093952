"""Tests of studies.online.load: real servers on a run in small, killed or asked by several clients."""

import json

import pytest

from dualrec_utils.service.online.events import RATED, SAW, Event
from dualrec_utils.studies.online import latency, load

DATASET = "ml-100k"


def test_killed_servers_keep_events_and_under_load_answers_stay_what_they_were_alone(
    toy_copy, tmp_path, monkeypatch
):
    monkeypatch.setattr(latency, "LOAD", tmp_path / "load.json")
    monkeypatch.setattr(load, "N_KILLS", 3)
    monkeypatch.setattr(load, "MINUTES", 0.05)
    before = latency.load_in_words()
    assert load.run_all() == 0
    assert latency.load_in_words() != before
    report = json.loads(latency.LOAD.read_text())
    assert report["dataset"] == DATASET
    kills, under = report["kills"], report["load"]
    assert kills["kills"] == 3
    # Each was killed after its first answer at the earliest.
    assert kills["kept"] == kills["acknowledged"] >= 3
    assert kills["twice"] == 0
    # No client of a killed server gets another answer.
    assert kills["sent_again"] == 3 * load.N_CLIENTS
    assert under["errors"] == 0, under["failures"]
    assert under["n"] > 0
    # Four lists, titles, stars and newcomers, each of them after the load at the latest.
    assert under["equal"] == under["compared"] >= 7 * 10


def event(name, sequence, kind=SAW, rating=None):
    return Event(name, 1, 50, kind, rating, sequence, 0.0)


def answered(name, sequence, kind=SAW, rating=None):
    body = {"event_id": name, "user_id": 1, "item_id": 50, "kind": kind, "rating": rating}
    return ("POST", "/api/v1/events", {}), json.dumps(body | {"sequence": sequence}).encode()


ANSWERS = [answered("a", 1), answered("b", 2, RATED, 4.0)]
LOG = [event("a", 1), event("b", 2, RATED, 4.0)]


@pytest.mark.parametrize(
    ("repeats", "log", "kept", "twice"),
    [
        (ANSWERS, LOG, 2, 0),
        (ANSWERS, LOG[:1], 1, 0),
        (ANSWERS, [*LOG, LOG[1]], 2, 1),
        (ANSWERS, [*LOG, event("c", 3)], 2, 1),
        ([answered("a", 3), ANSWERS[1]], LOG, 1, 0),
        (ANSWERS, [event("a", 1), event("b", 2, RATED, 3.0)], 1, 0),
        (ANSWERS, [event("a", 4), LOG[1]], 1, 0),
    ],
)
def test_what_is_lost_changed_or_doubled_is_seen(repeats, log, kept, twice):
    assert load.kept(ANSWERS, repeats, log) == {"acknowledged": 2, "kept": kept, "twice": twice}


def test_a_tally_sees_another_body_another_status_and_errors():
    one, other = ("GET", "/one", None), ("GET", "/other", None)
    tally = load.Tally({load._name(one): (200, b"1")})
    for request, status, body in [(one, 200, b"1"), (one, 200, b"2"), (one, 500, b"1"), (other, 404, b"")]:
        tally.add(request, status, body)
    assert (tally.n, tally.n_compared, tally.n_equal, len(tally.failures)) == (4, 3, 1, 2)

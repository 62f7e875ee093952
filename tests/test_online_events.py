"""Tests of service.online.events: nothing acknowledged is lost, nothing logged twice, what is forgotten is
gone from the disk."""

import random
import sqlite3
import subprocess
import sys
import threading

import pytest
from hypothesis import given, strategies as st

from dualrec_utils.core.errors import StudyError
from dualrec_utils.service.online.events import (
    KINDS,
    RATED,
    REMOVED,
    SAW,
    Conflict,
    Event,
    EventLog,
    history,
    ratings,
)

# Appends events without end, each named by its writer and a number, and says which are acknowledged.
WRITER = """
import os, sys
from dualrec_utils.service.online.events import EventLog
path, writer, first, last = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
log = EventLog(path)
for i in range(first, last):
    event, new = log.append(i % 7 + 1, i % 50 + 1, "saw", event_id=f"{writer}-{i}")
    os.write(1, f"{event.event_id} {event.sequence} {event.seconds!r} {new}\\n".encode())
"""


def start_writer(path, writer, first, last=10**9):
    arguments = map(str, (path, writer, first, last))
    return subprocess.Popen([sys.executable, "-c", WRITER, *arguments], stdout=subprocess.PIPE)


def acknowledged(output):
    """Event id -> (sequence, seconds), of whole lines."""
    lines = (line.split() for line in output.decode().splitlines(keepends=True) if line.endswith("\n"))
    return {event: (int(sequence), float(seconds)) for event, sequence, seconds, _ in lines}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "events.sqlite"


@pytest.fixture
def log(path):
    log = EventLog(path)
    yield log
    log.close()


def bytes_of_files(path):
    return b"".join(file.read_bytes() for file in path.parent.glob(f"{path.name}*"))


# --- durability


def test_kill_9_at_random_moments_loses_nothing_and_doubles_nothing(path):
    draw, done = random.Random(0), {}
    for first in range(0, 20_000, 1000):
        writer = start_writer(path, "w", first)
        begun = writer.stdout.readline()
        threading.Event().wait(draw.uniform(0, 0.05))
        writer.kill()
        done |= acknowledged(begun + writer.communicate()[0])
    assert len(done) >= 20
    log = EventLog(path)
    logged = [(event.event_id, (event.sequence, event.seconds)) for event in log.since(0)]
    assert len({event for event, _ in logged}) == len(logged)
    assert done.items() <= dict(logged).items()
    for event_id, (sequence, seconds) in done.items():
        i = int(event_id.split("-")[1])
        event, new = log.append(i % 7 + 1, i % 50 + 1, SAW, event_id=event_id)
        assert (event.sequence, event.seconds, new) == (sequence, seconds, False)
    assert len(log.since(0)) == len(logged)
    log.close()


def test_each_commit_waits_for_the_disk(log):
    assert log._file.read("PRAGMA synchronous") == [(2,)]
    assert log._file.read("PRAGMA journal_mode") == [("wal",)]


def test_processes_that_open_and_write_a_new_file_at_once(path):
    # Two send the same events: whoever is second gets the first one's answer.
    writers = [start_writer(path, name, 0, 60) for name in ("a", "b", "b")]
    answers = [acknowledged(writer.communicate()[0]) for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    assert answers[1] == answers[2]
    log = EventLog(path)
    logged = {event.event_id: (event.sequence, event.seconds) for event in log.since(0)}
    assert logged == answers[0] | answers[1]
    assert sorted(sequence for sequence, _ in logged.values()) == list(range(1, 121))
    log.close()


def test_threads_share_a_log(log):
    def write(name):
        for i in range(25):
            log.append(name, i + 1, SAW, event_id=f"{name}-{i}")
            log.of_user(name)

    threads = [threading.Thread(target=write, args=(name,)) for name in (1, 2, 3, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [event.sequence for event in log.since(0)] == list(range(1, 101))
    assert [event.item for event in log.of_user(3)] == list(range(1, 26))


# --- what is logged


def test_a_repeat_gets_the_first_answer_and_another_event_of_that_name_is_refused(log):
    first, new = log.append(1, 10, RATED, rating=4.5, event_id="a")
    assert new and first.sequence == 1
    assert log.append(1, 10, RATED, rating=4.5, event_id="a") == (first, False)
    others = [(2, 10, RATED, 4.5), (1, 11, RATED, 4.5), (1, 10, SAW, None), (1, 10, RATED, 4.0)]
    for user, item, kind, rating in others:
        with pytest.raises(Conflict, match="'a'"):
            log.append(user, item, kind, rating=rating, event_id="a")
    assert log.since(0) == [first]


@pytest.mark.parametrize(
    "changed",
    [
        {"kind": "liked"},
        {"kind": RATED},
        {"rating": 4.0},
        {"rating": float("nan")},
        {"kind": RATED, "rating": float("nan")},
        {"kind": RATED, "rating": float("inf")},
        {"event_id": ""},
        {"event_id": "a\0"},
        {"event_id": "\ud800"},
    ],
)
def test_what_is_no_event_is_refused(log, changed):
    with pytest.raises(StudyError):
        log.append(**{"user": 1, "item": 1, "kind": SAW, "rating": None, "event_id": "a"} | changed)
    assert log.since(0) == [] and log.last_sequence() == 0


def test_users_and_sequences_are_never_given_twice(path):
    log = EventLog(path, first_user=944)
    assert [log.new_user(), log.new_user()] == [944, 945]
    log.append(3, 1, SAW, event_id="a")
    log.append(945, 1, SAW, event_id="b")
    assert log.users() == [3, 944, 945]
    assert log.forget(945) == 1 and log.forget(945) == 0
    log.close()
    log = EventLog(path, first_user=944)
    assert log.last_sequence() == 2
    assert log.append(3, 2, SAW, event_id="b")[0].sequence == 3
    assert [event.sequence for event in log.since(1)] == [3]
    assert log.new_user() == 946
    assert log.users() == [3, 944, 945, 946]
    log.close()


@pytest.mark.parametrize("n_events", [3, 1500])
def test_what_is_forgotten_is_gone_from_the_files(path, n_events):
    """Also while another process has the log open; many events fill pages that are split and merged."""
    log, other = EventLog(path), EventLog(path)
    with log._file.writing():
        for i in range(n_events):
            log._file._db.execute(
                "INSERT INTO events VALUES (?, ?, ?, ?, NULL, NULL, 0)",
                (f"u{i % 3}-{i:06d}-name", i % 3, i, SAW),
            )
    assert len(other.of_user(1)) == n_events // 3
    assert b"u1-" in bytes_of_files(path)
    assert log.forget(1) == n_events // 3
    left = bytes_of_files(path)
    assert b"u1-" not in left
    assert left.count(b"-name") >= n_events - n_events // 3
    assert other.of_user(1) == [] and len(other.since(0)) == n_events - n_events // 3
    other.append(2, 1, SAW, event_id="later")
    assert log.of_user(2)[-1].event_id == "later"
    log.close()
    other.close()


# --- files that are no log


def damaged(content):
    middle = len(content) // 2
    return content[:middle] + bytes(range(256)) * 32 + content[middle + 8192 :]


@pytest.mark.parametrize(
    "spoil", [damaged, lambda content: content[: len(content) // 2], lambda content: b"no database" * 999]
)
def test_a_damaged_file_gives_one_message(path, spoil):
    log = EventLog(path)
    with log._file.writing() as db:
        rows = [(f"e{i}", i, i, SAW, None, None, 0.0) for i in range(2000)]
        db.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
    log.close()
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(StudyError, match=r"events\.sqlite"):
        EventLog(path)


def test_another_programs_database_is_refused_and_stays_as_it_is(path):
    db = sqlite3.connect(path)
    db.executescript("CREATE TABLE events (a); INSERT INTO events VALUES (1);")
    db.close()
    before = path.read_bytes()
    with pytest.raises(StudyError, match="another program"):
        EventLog(path)
    assert path.read_bytes() == before


def test_a_folder_that_is_not_there_gives_one_message(tmp_path):
    with pytest.raises(StudyError, match="none"):
        EventLog(tmp_path / "none" / "log.sqlite")


# --- histories and ratings

ITEMS = st.integers(1, 6)
STREAM = st.lists(st.tuples(ITEMS, st.sampled_from(KINDS), st.sampled_from([1.0, 4.5])), max_size=20)


def events_of(stream):
    return [
        Event(str(i), 1, item, kind, stars if kind == RATED else None, i, 0.0)
        for i, (item, kind, stars) in enumerate(stream, start=1)
    ]


@given(st.lists(ITEMS, unique=True), STREAM)
def test_a_history_is_ordered_by_when_each_item_last_came(known, stream):
    # The plain model: an item's last event decides whether it is there, and where.
    came = {item: place - len(known) for place, item in enumerate(known)}
    came |= {item: place + 1 for place, (item, _, _) in enumerate(stream)}
    gone = {item for item, kind, _ in reversed(dict((e[0], e) for e in stream).values()) if kind == REMOVED}
    expected = sorted(came.keys() - gone, key=came.get)
    assert history(known, events_of(stream)) == expected


@given(st.dictionaries(ITEMS, st.sampled_from([2.0, 3.0])), STREAM)
def test_ratings_are_the_latest_of_items_that_were_not_removed_since(known, stream):
    before = dict(known)
    stars = ratings(known, events_of(stream))
    for item in range(1, 7):
        about = [(kind, value) for i, kind, value in stream if i == item]
        since = about[max((p + 1 for p, (kind, _) in enumerate(about) if kind == REMOVED), default=0) :]
        given_ = [value for kind, value in since if kind == RATED]
        known_still = known.get(item) if len(since) == len(about) else None
        assert stars.get(item) == (given_[-1] if given_ else known_still)
    assert known == before

"""`dualrec study load`: does the service keep what it acknowledged when it is killed, and stand a load?

Two parts, over this machine's own network, each on a log of its own in a temporary folder:

- A server is killed (SIGKILL) amid a stream of events and started again on the same log, time after time.
- Clients ask a server for some minutes for all that it answers, and send events. A fixed set of requests,
  about users whom no event touches, is asked alone before, again and again among the load, and after it.
"""

from __future__ import annotations

import itertools
import json
import signal
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dualrec_utils.core import files, splits
from dualrec_utils.core.config import ITEM, USER
from dualrec_utils.core.errors import StudyError
from dualrec_utils.pipeline import params, stages
from dualrec_utils.service.online.events import Event, EventLog
from dualrec_utils.service.web import stars
from dualrec_utils.studies.online import latency
from dualrec_utils.studies.online.measuring import Seed, requests
from dualrec_utils.studies.online.server import Request, Server, ask, keep_asking, serving, sources

N_KILLS, MINUTES, N_CLIENTS = 20, 10.0, 4
# A server is killed after so many answers at most, and so many seconds later at most.
_MOST_ANSWERS, _LONGEST_DELAY = 100, 0.02
# Of the minutes, before them: what is kept of users and answers fills up meanwhile.
_WARM_UP = 0.2
# Requests of the fixed set, of each kind, and failures that are kept word for word.
_N_FIXED, _N_FAILURES = 10, 5

# A request and the body of its answer.
Answered = tuple[Request, bytes]


def run_all() -> int:
    """Measure both; write `reports/studies/online/load.json`.

    Raises:
        StudyError: when there is no finished run, or a server does not start.
    """
    dataset = params.load().dataset
    # Without it nobody is answered stars.
    stars.make(dataset)
    measured = {
        "dataset": dataset,
        "machine": stages.machine(),
        "kills": kill(dataset, n_kills=N_KILLS),
        "load": hold_out(dataset, minutes=MINUTES),
    }
    path = files.write_json(measured, latency.LOAD)
    print(latency.load_in_words(), path, sep="\n")
    return 0


def kill(dataset: str, *, n_kills: int, seed: int = 0) -> dict[str, int]:
    """Kill servers amid events; what was not answered is sent again after the restart.

    Args:
        n_kills: servers to kill, each at a random moment.
        seed: draws moments and events.

    Returns:
        `kills`; `sent_again`: events that got no answer at first; and as :func:`kept`.

    Raises:
        StudyError: when an event is answered with an error.
    """
    draw, users, items = np.random.default_rng(seed), *_ids(dataset)
    n_killed, sent_again, acknowledged = 0, 0, []
    lost: list[Request] = []
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "events.sqlite"
        for n in tqdm(range(n_kills), desc="kill", unit="server"):
            after, delay = int(draw.integers(1, _MOST_ANSWERS + 1)), draw.uniform(0, _LONGEST_DELAY)
            streams = [requests("event", users, items, seed=(seed, n, i)) for i in range(N_CLIENTS)]
            with serving(dataset, path) as server:
                acknowledged += _sent(server, lost)
                answers, lost = _stream(server, streams, after=after, delay=delay)
            acknowledged += answers
            sent_again += len(lost)
            n_killed += server.process.exitcode == -signal.SIGKILL
        with serving(dataset, path) as server:
            acknowledged += _sent(server, lost)
            repeats = _sent(server, [request for request, _ in acknowledged])
        log = EventLog(path)
        counts = kept(acknowledged, repeats, log.since(0))
        log.close()
    return {"kills": n_killed, "sent_again": sent_again, **counts}


def kept(
    acknowledged: Sequence[Answered], repeats: Sequence[Answered], events: Sequence[Event]
) -> dict[str, int]:
    """What became of acknowledged events.

    Args:
        acknowledged: all events that were ever sent, with their first answers.
        repeats: the same once more, in the same order.
        events: the log in the end.

    Returns:
        `acknowledged`: events; `kept`: those that the log has as they were answered, and whose repeat got
        the first answer; `twice`: events of the log beyond one for each of them.
    """
    logged = {event.event_id: _as_answered(event) for event in events}
    n_there, n_kept = 0, 0
    for (_, first), (_, again) in zip(acknowledged, repeats, strict=True):
        answer = json.loads(first)
        n_there += answer["event_id"] in logged
        n_kept += first == again and logged.get(answer["event_id"]) == answer
    return {"acknowledged": len(acknowledged), "kept": n_kept, "twice": len(events) - n_there}


def hold_out(dataset: str, *, minutes: float) -> dict[str, object]:
    """Ask a server for minutes on end.

    Args:
        minutes: of the load; a warm-up goes before.

    Returns:
        `minutes`, `clients`; `n` answers in them, `per_second`; `memory_mb_before`, `memory_mb_after`;
        `errors`: number, and `failures`: the first few, from start to end; `compared`: answers to requests
        that were asked alone before; `equal`: of them, those with the same answer.
    """
    users, items = _ids(dataset)
    with (
        tempfile.TemporaryDirectory() as place,
        serving(dataset, Path(place) / "events.sqlite") as server,
    ):
        kinds = [*sources(server.port), "search", "predict", "newcomer"]
        fixed = [
            request
            # Events are of the other users.
            for stream in _streams(kinds, users[::2], items, seed=0)
            for request in itertools.islice(stream, _N_FIXED)
        ]
        tally = Tally({_name(request): ask(server.port, request) for request in fixed})
        _load(server, kinds, fixed, users, items, minutes=_WARM_UP * minutes, seed=1, tally=tally)
        warm, before = tally.n, server.memory_mb
        _load(server, kinds, fixed, users, items, minutes=minutes, seed=2, tally=tally)
        n, after = tally.n - warm, server.memory_mb
        for request in fixed:
            tally.add(request, *ask(server.port, request))
    return {
        "minutes": minutes,
        "clients": N_CLIENTS + 1,
        "per_second": round(n / (60 * minutes), 1),
        "memory_mb_before": round(before, 1),
        "memory_mb_after": round(after, 1),
        "n": n,
        "errors": len(tally.failures),
        "failures": tally.failures[:_N_FAILURES],
        "compared": tally.n_compared,
        "equal": tally.n_equal,
    }


class Tally:
    """Answers as they come; threads may share it.

    Args:
        alone: name of a request (:func:`_name`) -> status and body that it was answered with alone.

    Attributes:
        n: answers. n_compared: to requests of `alone`; n_equal: of them, those answered as alone.
        failures: of answers that are errors, and requests without an answer.
    """

    def __init__(self, alone: Mapping[str, tuple[int, bytes]]) -> None:
        self._alone, self._turn = alone, threading.Lock()
        self.n, self.n_compared, self.n_equal = 0, 0, 0
        self.failures: list[str] = []

    def add(self, request: Request, status: int, body: bytes, _: float = 0.0) -> None:
        """Count an answer."""
        alone = self._alone.get(_name(request))
        with self._turn:
            self.n += 1
            self.n_compared += alone is not None
            self.n_equal += alone == (status, body)
            if status >= 400:
                self.failures.append(f"{_name(request)}: {status} {body[:200]!r}")


def _load(
    server: Server,
    kinds: Sequence[str],
    fixed: Sequence[Request],
    users: np.ndarray,
    items: np.ndarray,
    *,
    minutes: float,
    seed: int,
    tally: Tally,
) -> None:
    """Clients ask at random, and one the fixed set."""
    end = time.perf_counter() + 60 * minutes
    streams = [_mixed(kinds, users, items, seed=(seed, n)) for n in range(N_CLIENTS)]
    lost = keep_asking(
        server.port,
        [*streams, itertools.cycle(fixed)],
        goes_on=lambda: time.perf_counter() < end,
        answered=tally.add,
    )
    tally.failures += [f"{_name(request)}: {why}" for request, why in lost]


def _mixed(kinds: Sequence[str], users: np.ndarray, items: np.ndarray, *, seed: Seed) -> Iterator[Request]:
    """Endless requests of all kinds; events of every other user alone."""
    streams = _streams(kinds, users, items, seed=seed)
    streams.append(requests("event", users[1::2], items, seed=seed))
    draw = np.random.default_rng(seed)
    while True:
        yield next(streams[draw.integers(len(streams))])


def _streams(
    kinds: Sequence[str], users: np.ndarray, items: np.ndarray, *, seed: Seed
) -> list[Iterator[Request]]:
    return [requests(what, users, items, seed=seed) for what in kinds]


def _ids(dataset: str) -> tuple[np.ndarray, np.ndarray]:
    """Users and items of the data."""
    interactions = splits.load_interactions(dataset)
    return interactions[USER].unique(), interactions[ITEM].unique()


def _name(request: Request) -> str:
    method, path, body = request
    return f"{method} {path} {json.dumps(body)}"


def _stream(
    server: Server, streams: Sequence[Iterator[Request]], *, after: int, delay: float
) -> tuple[list[Answered], list[Request]]:
    """Answers of a server that is killed some seconds after so many of them, and requests without one."""
    answers: list[Answered] = []
    failures: list[str] = []
    turn = threading.Lock()

    def answered(request: Request, status: int, body: bytes, _: float) -> None:
        with turn:
            answers.append((request, body))
            if status >= 400:
                failures.append(f"{status} {body[:200]!r}")
            if len(answers) == after:
                threading.Timer(delay, server.process.kill).start()

    lost = keep_asking(server.port, streams, goes_on=lambda: not failures, answered=answered)
    if failures:
        raise StudyError(f"the service refused an event: {failures[0]}")
    return answers, [request for request, _ in lost]


def _sent(server: Server, events: Sequence[Request]) -> list[Answered]:
    """Events with their answers, sent one after the other."""
    answers = []
    for request in events:
        status, body = ask(server.port, request)
        if status >= 400:
            raise StudyError(f"the service refused an event: {status} {body[:200]!r}")
        answers.append((request, body))
    return answers


def _as_answered(event: Event) -> dict[str, object]:
    """An event of the log as the API shows it."""
    return {
        "event_id": event.event_id,
        "user_id": event.user,
        "item_id": event.item,
        "kind": event.kind,
        "rating": event.rating,
        "sequence": event.sequence,
    }

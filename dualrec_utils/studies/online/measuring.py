"""`dualrec study latency`: how long an answer of the service takes, over the network of this machine alone.

A server of its own, with a log of its own in a temporary folder, is asked by a number of clients at once
for some seconds. Clients run in this process, the server in another, and both share the machine's cores.
"""

from __future__ import annotations

import http.client
import itertools
import json
import multiprocessing
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import uvicorn
from tqdm import tqdm

from dualrec_utils.core import files, splits
from dualrec_utils.core.catalog import load_catalog
from dualrec_utils.core.config import ITEM, USER
from dualrec_utils.core.errors import StudyError
from dualrec_utils.pipeline import params, stages
from dualrec_utils.service.online.events import EventLog, history
from dualrec_utils.service.online.states import LstmStates, load_lstm
from dualrec_utils.service.web import loading
from dualrec_utils.service.web.app import create_app
from dualrec_utils.service.web.security import Access
from dualrec_utils.studies.online import latency
from dualrec_utils.studies.online.latency import LABELS

CLIENTS = (1, 4, 16)
SECONDS = 8.0
# How long a server may take to start.
_PATIENCE = 120.0

# (method, path, body).
Request = tuple[str, str, dict | None]


def run_all() -> int:
    """Measure everything; write `reports/studies/online/latency.csv` and `latency.json`.

    Raises:
        StudyError: when there is no finished run, or the server does not start.
    """
    dataset = params.load().dataset
    interactions = splits.load_interactions(dataset)
    users, item = interactions[USER].unique(), int(interactions[ITEM].iloc[0])
    in_process = measure_in_process(dataset, users)
    rows = []
    with serving(dataset) as (port, start_seconds, process):
        sources = {model["source"] for model in ask(port, ("GET", "/api/v1/models", None))["models"]}
        whats = [what for what in LABELS if what in sources | {"event", "search"}]
        for what in tqdm(whats, desc="latency", unit="endpoint"):
            for clients in CLIENTS:
                before = _server_seconds(port)
                values = hammer(
                    port, lambda n, what=what: requests(what, users, item=item, seed=n), n_clients=clients
                )
                inside = _server_seconds(port) - before
                rows.append({"what": what, "clients": clients} | summary(values, inside=inside))
        memory = psutil.Process(process).memory_info().rss / 2**20
    table = pd.DataFrame(rows)
    files.write_csv(table, latency.TABLE)
    about = {
        "dataset": dataset,
        "machine": stages.machine(),
        "seconds_each": SECONDS,
        "start_seconds": round(start_seconds, 1),
        "memory_mb": round(memory),
        "in_process": in_process,
    }
    print(table.round(2).to_string(index=False))
    print(files.write_json(about, latency.ABOUT))
    return 0


def requests(what: str, users: np.ndarray, *, item: int, seed: int) -> Iterator[Request]:
    """Endless requests of one kind, of users drawn at random; each client has its seed.

    Args:
        what: a key of :data:`latency.LABELS`.
        users: ids.
        item: that every event is about.
    """
    draw = np.random.default_rng(seed)
    for n in itertools.count():
        user = int(draw.choice(users))
        if what == "event":
            body = {
                "event_id": f"{draw.bytes(8).hex()}-{n}",
                "user_id": user,
                "item_id": item,
                "kind": "saw",
            }
            yield "POST", "/api/v1/events", body
        elif what == "search":
            yield "GET", f"/api/v1/items?q={draw.choice(['star', 'the god', 'alien', 'toy st'])}", None
        else:
            yield "GET", f"/api/v1/recommendations/{user}?limit=10&model={what}", None


def hammer(
    port: int, requests_of: Callable[[int], Iterator[Request]], *, n_clients: int, seconds: float = SECONDS
) -> np.ndarray:
    """Let clients ask without a pause.

    Args:
        requests_of: number of a client -> its requests.
        seconds: that they ask.

    Returns:
        Seconds of every answer, shape (n_answers,).

    Raises:
        StudyError: naming an answer that is an error.
    """
    taken: list[list[float]] = [[] for _ in range(n_clients)]
    failures: list[str] = []
    end = time.perf_counter() + seconds

    def client(n: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        for asked in requests_of(n):
            started = time.perf_counter()
            if started > end or failures:
                break
            status, body = _answer(connection, asked)
            if status >= 400:
                failures.append(f"{asked[0]} {asked[1]}: {status} {body[:200]!r}")
            taken[n].append(time.perf_counter() - started)
        connection.close()

    threads = [threading.Thread(target=client, args=(n,)) for n in range(n_clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise StudyError(f"the service failed: {failures[0]}")
    return np.array([value for values in taken for value in values])


def summary(values: np.ndarray, *, inside: float, seconds: float = SECONDS) -> dict[str, float]:
    """`n`, `per_second`, `p50_ms`, `p95_ms`, `p99_ms`, `inside_share`: of the time, spent in the server.

    Args:
        values: from :func:`hammer`. inside: seconds that the server counted for the same requests.
    """
    percentiles = {f"p{q}_ms": 1e3 * float(np.percentile(values, q)) for q in (50, 95, 99)}
    share = min(1.0, inside / values.sum())
    return {"n": len(values), "per_second": len(values) / seconds, **percentiles, "inside_share": share}


def measure_in_process(dataset: str, users: np.ndarray, *, n: int = 500) -> dict[str, float]:
    """An event on disk, the LSTM's step, and a fresh list of ten, without a network: milliseconds."""
    catalog, draw = load_catalog(dataset), np.random.default_rng(0)
    interactions = splits.load_interactions(dataset)
    known = {user: part[ITEM].tolist() for user, part in interactions.groupby(USER)}
    states, taken = LstmStates(load_lstm(dataset), catalog), []
    chosen = draw.choice(users, 20, replace=False)
    for user in chosen:
        states.scores(int(user), known[user])
    with tempfile.TemporaryDirectory() as place:
        log = EventLog(Path(place) / "events.sqlite")
        for i in range(n):
            user, item = int(draw.choice(chosen)), int(draw.choice(catalog.ids))
            started = time.perf_counter()
            log.append(user, item, "saw", event_id=f"e{i}")
            read = history(known[user], log.of_user(user))
            scores = states.scores(user, read)
            scores[catalog.columns(read)] = -np.inf
            np.argsort(-scores)[:10]
            taken.append(time.perf_counter() - started)
        log.close()
    return {f"p{q}_ms": 1e3 * float(np.percentile(taken, q)) for q in (50, 99)}


@contextmanager
def serving(dataset: str) -> Iterator[tuple[int, float, int]]:
    """A server in a process of its own: its port, the seconds until it was ready, and its process id.

    Raises:
        StudyError: when it stops, or is not ready in time.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as place:
        arguments = (dataset, str(Path(place) / "events.sqlite"), port)
        server = multiprocessing.get_context("spawn").Process(target=_serve, args=arguments, daemon=True)
        started = time.perf_counter()
        server.start()
        try:
            while not _ready(port):
                if not server.is_alive() or time.perf_counter() - started > _PATIENCE:
                    raise StudyError("the service did not start; `dualrec serve` says why")
                time.sleep(0.05)
            yield port, time.perf_counter() - started, server.pid
        finally:
            server.terminate()
            server.join()


def _serve(dataset: str, log: str, port: int) -> None:
    # Clients that ask without a pause are what is measured here, and no attack.
    access = Access(rate=1e9, burst=1e9)
    app = create_app(loading.load(dataset), EventLog(Path(log)), access=access)
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")


def _ready(port: int) -> bool:
    try:
        return ask(port, ("GET", "/health", None)) == {"status": "ok"}
    except OSError:
        return False


def ask(port: int, request: Request) -> dict:
    """One answer, as JSON."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        return json.loads(_answer(connection, request)[1])
    finally:
        connection.close()


def _answer(connection: http.client.HTTPConnection, request: Request) -> tuple[int, bytes]:
    method, path, body = request
    text = None if body is None else json.dumps(body)
    headers = {} if body is None else {"Content-Type": "application/json"}
    connection.request(method, path.replace(" ", "%20"), text, headers)
    answer = connection.getresponse()
    return answer.status, answer.read()


def _server_seconds(port: int) -> float:
    """Seconds that the server has spent on all requests so far, by its own count."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    text = _answer(connection, ("GET", "/metrics", None))[1].decode()
    connection.close()
    lines = [line for line in text.splitlines() if line.startswith("dualrec_request_seconds_sum")]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines)

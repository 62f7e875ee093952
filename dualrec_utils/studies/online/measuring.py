"""`dualrec study latency`: how long an answer of the service takes, over the network of this machine alone.

A server of its own, with a log of its own in a temporary folder, is asked by a number of clients at once
for some seconds. Clients run in this process, the server in another, and both share the machine's cores.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from dualrec_utils.core import files, splits
from dualrec_utils.core.catalog import load_catalog
from dualrec_utils.core.config import ITEM, USER
from dualrec_utils.core.errors import StudyError
from dualrec_utils.pipeline import params, stages
from dualrec_utils.service.online.events import KINDS, RATED, EventLog, history
from dualrec_utils.service.online.states import LstmStates, load_lstm
from dualrec_utils.studies.online import latency
from dualrec_utils.studies.online.latency import LABELS
from dualrec_utils.studies.online.server import Request, ask, keep_asking, serving, sources

CLIENTS = (1, 4, 16)
SECONDS = 8.0
# Of numpy's generator: a number, or several.
Seed = int | tuple[int, ...]


def run_all() -> int:
    """Measure everything; write `reports/studies/online/latency.csv` and `latency.json`.

    Raises:
        StudyError: when there is no finished run, or the server does not start.
    """
    # As `dualrec serve` has it.
    torch.set_num_threads(1)
    dataset = params.load().dataset
    interactions = splits.load_interactions(dataset)
    users, items = interactions[USER].unique(), interactions[ITEM].unique()
    in_process = measure_in_process(dataset, users)
    rows = []
    with tempfile.TemporaryDirectory() as place, serving(dataset, Path(place) / "events.sqlite") as server:
        port = server.port
        whats = [what for what in LABELS if what in {*sources(port), "event", "search"}]
        for what in tqdm(whats, desc="latency", unit="endpoint"):
            for clients in CLIENTS:
                before = _server_seconds(port)
                values = hammer(
                    port,
                    lambda n, what=what, clients=clients: requests(what, users, items, seed=(clients, n)),
                    n_clients=clients,
                )
                inside = _server_seconds(port) - before
                rows.append({"what": what, "clients": clients} | summary(values, inside=inside))
        memory = server.memory_mb
    table = pd.DataFrame(rows)
    files.write_csv(table, latency.TABLE)
    about = {
        "dataset": dataset,
        "machine": stages.machine(),
        "seconds_each": SECONDS,
        "start_seconds": round(server.start_seconds, 1),
        "memory_mb": round(memory),
        "in_process": in_process,
    }
    print(table.round(2).to_string(index=False))
    print(files.write_json(about, latency.ABOUT))
    return 0


def requests(what: str, users: np.ndarray, items: np.ndarray, *, seed: Seed) -> Iterator[Request]:
    """Endless requests of one kind, of users drawn at random; each client has its seed.

    Events of one seed have the same ids again.

    Args:
        what: a key of :data:`latency.LABELS`, `predict` or `newcomer`: a text, or items.
        users, items: ids.
    """
    draw = np.random.default_rng(seed)
    for n in itertools.count():
        user, item = int(draw.choice(users)), int(draw.choice(items))
        if what == "event":
            kind = KINDS[n % len(KINDS)]
            body = {"event_id": f"{draw.bytes(8).hex()}-{n}", "user_id": user, "item_id": item}
            rating = {"rating": 4.0} if kind == RATED else {}
            yield "POST", "/api/v1/events", body | {"kind": kind} | rating
        elif what == "predict":
            yield "GET", f"/api/v1/predict?user_id={user}&item_id={item}", None
        elif what == "newcomer":
            text = f"A film for {draw.integers(2, 10**6)} people."
            named = draw.choice(items, 3, replace=False).tolist()
            yield "POST", "/api/v1/recommend", {"text": text} if n % 2 else {"items": named, "limit": 10}
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
    taken, failures = [], []
    end = time.perf_counter() + seconds

    def answered(request: Request, status: int, body: bytes, seconds: float) -> None:
        taken.append(seconds)
        if status >= 400:
            failures.append(f"{request[0]} {request[1]}: {status} {body[:200]!r}")

    lost = keep_asking(
        port,
        [requests_of(n) for n in range(n_clients)],
        goes_on=lambda: time.perf_counter() < end and not failures,
        answered=answered,
    )
    if failures or lost:
        raise StudyError(f"the service failed: {[*failures, *(why for _, why in lost)][0]}")
    return np.array(taken)


def summary(values: np.ndarray, *, inside: float, seconds: float = SECONDS) -> dict[str, float]:
    """`n`, `per_second`, `p50_ms`, `p95_ms`, `p99_ms`, `inside_share`: of the time, spent in the server.

    Args:
        values: from :func:`hammer`. inside: seconds that the server counted for the same requests.
    """
    percentiles = {f"p{q}_ms": 1e3 * float(np.percentile(values, q)) for q in (50, 95, 99)}
    share = min(1.0, inside / values.sum())
    return {"n": len(values), "per_second": len(values) / seconds, **percentiles, "inside_share": share}


def measure_in_process(dataset: str, users: np.ndarray, *, n: int = 500) -> dict[str, float]:
    """An event on disk, what the LSTM has to read, and a fresh list of ten, without a network.

    Args:
        users: ids; twenty are drawn, whose histories have been read before.
        n: events of each kind: about items that are new to the user, and about items that the history has
            already, which move to its end, so that all of it is read anew.

    Returns:
        Milliseconds: `p50_ms` and `p99_ms` of the first kind, `again_p50_ms` and `again_p99_ms` of the
        other.
    """
    catalog, draw = load_catalog(dataset), np.random.default_rng(0)
    interactions = splits.load_interactions(dataset)
    known = {user: part[ITEM].tolist() for user, part in interactions.groupby(USER)}
    states, taken = LstmStates(load_lstm(dataset), catalog), {"": [], "again_": []}
    chosen = [int(user) for user in draw.choice(users, 20, replace=False)]
    read = {user: known[user] for user in chosen}
    for user in chosen:
        states.scores(user, read[user])
    with tempfile.TemporaryDirectory() as place:
        log = EventLog(Path(place) / "events.sqlite")
        for kind, values in taken.items():
            for i in range(n):
                user = int(draw.choice(chosen))
                new = np.setdiff1d(catalog.ids, read[user])
                item = int(draw.choice(read[user] if kind or not len(new) else new))
                started = time.perf_counter()
                log.append(user, item, "saw", event_id=f"{kind}{i}")
                read[user] = history(known[user], log.of_user(user))
                scores = states.scores(user, read[user])
                scores[catalog.columns(read[user])] = -np.inf
                np.argsort(-scores)[:10]
                values.append(time.perf_counter() - started)
        log.close()
    return {
        f"{kind}p{q}_ms": 1e3 * float(np.percentile(values, q))
        for kind, values in taken.items()
        for q in (50, 99)
    }


def _server_seconds(port: int) -> float:
    """Seconds that the server has spent on all requests so far, by its own count."""
    text = ask(port, ("GET", "/metrics", None))[1].decode()
    lines = [line for line in text.splitlines() if line.startswith("dualrec_request_seconds_sum")]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines)

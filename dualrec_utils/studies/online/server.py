"""The service in a process of its own, and clients that ask it over this machine's own network."""

from __future__ import annotations

import http.client
import json
import multiprocessing
import multiprocessing.process
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import psutil

from dualrec_utils.core.errors import StudyError
from dualrec_utils.service.web import serve

# How long a server may take to start, a client waits for an answer, and a server keeps a silent client.
_PATIENCE = 900.0

# (method, path, body).
Request = tuple[str, str, dict | None]


class Server(NamedTuple):
    """Attributes: port; start_seconds: until it was ready; process: that it runs in."""

    port: int
    start_seconds: float
    process: multiprocessing.process.BaseProcess

    @property
    def memory_mb(self) -> float:
        """Resident memory."""
        return psutil.Process(self.process.pid).memory_info().rss / 2**20


@contextmanager
def serving(dataset: str, log: Path) -> Iterator[Server]:
    """A server in a process of its own, which may be killed.

    Args:
        log: of events; made if missing.

    Raises:
        StudyError: when it stops before it is ready, or is not ready in time.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = (dataset, str(log), port)
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=arguments, daemon=True)
    started = time.perf_counter()
    process.start()
    try:
        while not _ready(port):
            if not process.is_alive() or time.perf_counter() - started > _PATIENCE:
                raise StudyError("the service did not start; `dualrec serve` says why")
            time.sleep(0.05)
        yield Server(port, time.perf_counter() - started, process)
    finally:
        process.terminate()
        process.join()


def _serve(dataset: str, log: str, port: int) -> None:
    # What the language model takes is measured, however long: nothing answers in its place.
    engines = serve.load(dataset, patience=_PATIENCE)
    # After the loading, as `dualrec serve` has it.
    import uvicorn

    from dualrec_utils.service.online.events import EventLog
    from dualrec_utils.service.web.app import create_app
    from dualrec_utils.service.web.security import Access

    # Clients that ask without a pause are what is measured here, and no attack.
    access = Access(rate=1e9, burst=1e9)
    app = create_app(engines, EventLog(Path(log)), access=access)
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", timeout_keep_alive=round(_PATIENCE))


def _ready(port: int) -> bool:
    try:
        return ask(port, ("GET", "/health", None))[0] == 200
    except OSError:
        return False


def sources(port: int) -> list[str]:
    """What the server makes lists with."""
    _, body = ask(port, ("GET", "/api/v1/models", None))
    return [model["source"] for model in json.loads(body)["models"]]


def ask(port: int, request: Request) -> tuple[int, bytes]:
    """Status and body of one answer.

    Raises:
        OSError, http.client.HTTPException: where there is none.
    """
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE)) as connection:
        return _answer(connection, request)


def _answer(connection: http.client.HTTPConnection, request: Request) -> tuple[int, bytes]:
    method, path, body = request
    text = None if body is None else json.dumps(body)
    headers = {} if body is None else {"Content-Type": "application/json"}
    connection.request(method, path.replace(" ", "%20"), text, headers)
    answer = connection.getresponse()
    return answer.status, answer.read()


def keep_asking(
    port: int,
    streams: Sequence[Iterator[Request]],
    *,
    goes_on: Callable[[], bool],
    answered: Callable[[Request, int, bytes, float], None],
) -> list[tuple[Request, str]]:
    """Let clients ask without a pause, each in a thread of its own.

    Args:
        streams: requests of each client.
        goes_on: whether to; asked before every request.
        answered: request, status, body, seconds: called after every answer, by several threads at once.

    Returns:
        Requests that got no answer, each with the reason. Their clients asked no more.
    """
    lost: list[tuple[Request, str]] = []

    def client(requests: Iterator[Request]) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE)
        for request in requests:
            if not goes_on():
                break
            started = time.perf_counter()
            try:
                status, body = _answer(connection, request)
            except (OSError, http.client.HTTPException) as error:
                lost.append((request, f"{type(error).__name__}: {error}"))
                break
            answered(request, status, body, time.perf_counter() - started)
        connection.close()

    threads = [threading.Thread(target=client, args=(stream,)) for stream in streams]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return lost

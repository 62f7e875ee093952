"""`dualrec serve`: the page and the API of a finished run, on this machine until told otherwise."""

from __future__ import annotations

import gc
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dualrec_utils.core.errors import StudyError, explained

if TYPE_CHECKING:
    from fastapi import FastAPI

    from dualrec_utils.service.web.engines import Engines

# What a worker or a further server needs to know, in its environment: they are processes of their own.
_TASK = "DUALREC_SERVE"
# Connections at once; of more, each is answered 503.
_MOST_CONNECTIONS = 500
_MOST_WORKERS = 16
# Seconds that a further server has to end by itself.
_PATIENCE = 10


def serve(
    dataset: str | None,
    host: str,
    port: int,
    workers: int,
    learn: bool,
    tokens: Path | None,
    names: list[str],
    also: list[Path],
) -> int:
    """Serve the page and the API of a finished run, and of others beside it."""
    from dualrec_utils.datasets import known
    from dualrec_utils.service.web import runs, security

    if not 1 <= workers <= _MOST_WORKERS:
        raise StudyError(f"--workers is {workers}; allowed: 1 to {_MOST_WORKERS}")
    if learn and workers > 1:
        raise StudyError("--learn needs --workers 1: another worker would go on with the old weights")
    if dataset is not None:
        try:
            known.find(dataset)
        except StudyError as error:
            raise StudyError(f"{error}, and your own once `make repro` has read it") from None
    security.access(host, hosts=tuple(names), tokens_file=tokens)
    with ExitStack() as stack:
        sockets = [stack.enter_context(_listening(host, port))]
        served = runs.find(also, dataset=dataset)
        while len(sockets) < len(served):
            sockets.append(stack.enter_context(_next_free(host, _port(sockets[-1]))))
        every = [
            {"dataset": run.dataset, "profile": run.profile, "port": _port(listening)}
            for run, listening in zip(served, sockets, strict=True)
        ]
        task = {"host": host, "names": names, "learn": learn, "workers": workers}
        task |= {"tokens": None if tokens is None else str(tokens.resolve()), "runs": every}
        each = [task | {"dataset": run.dataset, "here": place} for place, run in enumerate(served)]
        stack.enter_context(_further([run.folder for run in served[1:]], sockets[1:], each[1:]))
        _serve_one(sockets[0], each[0])
    return 0


@contextmanager
def _further(
    folders: list[Path], sockets: list[socket.socket], tasks: list[dict[str, Any]]
) -> Iterator[None]:
    """Serve more runs meanwhile, each in a process of its own, as where things lie is a process's.

    Args:
        folders: of the runs.
        sockets: where each listens; closed here.
        tasks: of each, as :func:`_serve_one` takes it.
    """
    processes: list[subprocess.Popen[bytes]] = []
    ending = threading.Event()

    def watch(process: subprocess.Popen[bytes], name: str) -> None:
        process.wait()
        if not ending.is_set():
            print(f"dualrec: serve: the server of {name} has ended; the others go on", file=sys.stderr)

    try:
        for folder, listening, task in zip(folders, sockets, tasks, strict=True):
            with listening:
                environment = {
                    "DUALREC_ROOT": str(folder),
                    _TASK: json.dumps(task | {"socket": listening.fileno()}),
                }
                process = subprocess.Popen(
                    [sys.executable, "-c", f"from {__name__} import further; further()"],
                    env=os.environ | environment,
                    # Closed when this process ends, however it does.
                    stdin=subprocess.PIPE,
                    pass_fds=[listening.fileno()],
                    # Ctrl-C is this process's, which then ends the others.
                    start_new_session=True,
                )
            processes.append(process)
            threading.Thread(target=watch, args=(process, str(folder)), daemon=True).start()
        yield
    finally:
        ending.set()
        for process in processes:
            if process.stdin is not None:
                process.stdin.close()
        for process in processes:
            try:
                process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


def further() -> None:
    """Serve one more run, in a process that :func:`serve` has started; it ends when that one does."""
    threading.Thread(target=_end_with_starter, daemon=True).start()
    task = json.loads(os.environ[_TASK])
    try:
        with socket.socket(fileno=task["socket"]) as listening:
            _serve_one(listening, task)
    except StudyError as error:
        raise SystemExit(f"dualrec: serve: {error}") from None
    except OSError as error:
        raise SystemExit(f"dualrec: serve: {explained(error)}") from None


def _end_with_starter() -> None:
    # Nothing is ever written there: this waits for its end. Not through sys.stdin, whose lock a thread
    # that waits would keep.
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGTERM)


def _serve_one(listening: socket.socket, task: dict[str, Any]) -> None:
    """Serve one run until it is ended.

    Args:
        listening: where.
        task: host, names, learn, workers, tokens, as :func:`serve`; dataset; runs, as `GET /models` lists
            them; here, the place of this one among them.
    """
    from dualrec_utils.service.web import stars

    # Else the end would come without what `with` and `finally` have to do.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    logging.basicConfig(level="WARNING", format="%(levelname)s %(message)s")
    # Progress bars are of no use in a server's log.
    os.environ["TQDM_DISABLE"] = "1"
    os.environ[_TASK] = json.dumps(task)
    stars.make(task["dataset"])
    with tempfile.TemporaryDirectory() as scratch:
        _run(listening, task, Path(scratch))


def _run(listening: socket.socket, task: dict[str, Any], scratch: Path) -> None:
    """Serve until it is ended; `scratch` is where several workers count together."""
    host, workers = task["host"], task["workers"]
    address = f"http://{f'[{host}]' if ':' in host else host}:{_port(listening)}/"
    name = f"{task['dataset']} (profile {task['runs'][task['here']]['profile']})"
    if workers > 1:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(scratch)
    import uvicorn

    settings: dict[str, Any] = {
        # What is asked for is nobody's business: no log of addresses.
        "access_log": False,
        "server_header": False,
        "proxy_headers": False,
        "log_level": "warning",
        "ws": "none",
        "limit_concurrency": _MOST_CONNECTIONS,
    }
    if workers == 1:
        server = uvicorn.Server(uvicorn.Config(worker(), **settings))
        print(f"dualrec: the page of {name} is at {address} (Ctrl-C ends it)", flush=True)
        server.run(sockets=[listening])
        return
    from uvicorn.supervisors import Multiprocess

    # Loading takes some seconds, and a worker that loads does not answer whether it is alive.
    more: dict[str, Any] = {"factory": True, "workers": workers, "timeout_worker_healthcheck": 60}
    config = uvicorn.Config(f"{__name__}:worker", **settings, **more)
    print(f"dualrec: the page of {name} will be at {address} in a few seconds (Ctrl-C ends it)", flush=True)
    Multiprocess(config, sockets=[listening]).run()


def worker() -> FastAPI:
    """The application of one process, as :func:`serve` has described it in the environment."""
    task = json.loads(os.environ[_TASK])
    loaded = load(task["dataset"])
    # After the loading, which imports most of it faster.
    from dualrec_utils.service.online.events import EventLog
    from dualrec_utils.service.web import app, security, stars, teaching

    place = stars.service_dir(loaded.dataset)
    log = EventLog(place / "events.db", first_user=loaded.last_known_user + 1)
    forget = teaching.forgetting(place / "versions")
    if task["learn"]:
        forget = teaching.start(loaded, log, place / "versions")
    tokens = None if task["tokens"] is None else Path(task["tokens"])
    access = security.access(task["host"], hosts=tuple(task["names"]), tokens_file=tokens)
    served = [{**run, "here": place == task["here"]} for place, run in enumerate(task["runs"])]
    return app.create_app(loaded, log, access=access, forget=forget, runs=served)


def load(dataset: str, **settings: Any) -> Engines:
    """What a run left, in a process that does nothing but answer.

    Args:
        dataset, settings: as :func:`loading.load`.
    """
    # What is imported and loaded stays: to look through it for garbage takes a fifth of the start, and
    # would make some requests wait for a third of a second.
    gc.disable()
    try:
        import torch

        from dualrec_utils.service.web import loading

        # Requests run beside each other: more threads each would only wait for one another.
        torch.set_num_threads(1)
        engines = loading.load(dataset, **settings)
        gc.freeze()
    finally:
        gc.enable()
    return engines


def _listening(host: str, port: int) -> socket.socket:
    """A socket that listens, taken before anything is loaded.

    Raises:
        StudyError: where it cannot be had.
    """
    if not 0 <= port <= 65535:
        raise StudyError(f"--port is {port}; allowed: 0 to 65535")
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(128)
    except (OSError, UnicodeError) as error:
        listening.close()
        raise StudyError(
            f"{host}, port {port}, cannot be listened on ({error}): name another --port or --host, or end"
            " the program that has it"
        ) from error
    return listening


def _next_free(host: str, port: int) -> socket.socket:
    """A socket that listens on the first port after this one that can be had.

    Raises:
        StudyError: where there is none.
    """
    for later in range(port + 1, 65536):
        with suppress(StudyError):
            return _listening(host, later)
    raise StudyError(f"no port after {port} is free on {host}: name a lower --port")


def _port(listening: socket.socket) -> int:
    return listening.getsockname()[1]

"""`dualrec serve`: the page and the API of a finished run, on this machine until told otherwise."""

from __future__ import annotations

import gc
import json
import logging
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dualrec_utils.core.errors import StudyError

if TYPE_CHECKING:
    from fastapi import FastAPI

    from dualrec_utils.service.web.engines import Engines

# What a worker needs to know, in its environment: uvicorn starts workers as processes of their own.
_ASKED = "DUALREC_SERVE"
# Connections at once; of more, each is answered 503.
_MOST_CONNECTIONS = 500
_MOST_WORKERS = 16


def serve(
    dataset: str | None,
    host: str,
    port: int,
    workers: int,
    learn: bool,
    tokens: Path | None,
    names: list[str],
) -> int:
    """Serve the page and the API of a finished run."""
    from dualrec_utils.core import config
    from dualrec_utils.service.web import security

    if not 1 <= workers <= _MOST_WORKERS:
        raise StudyError(f"--workers is {workers}; allowed: 1 to {_MOST_WORKERS}")
    if learn and workers > 1:
        raise StudyError("--learn needs --workers 1: another worker would go on with the old weights")
    if dataset is not None and dataset not in config.DATASETS:
        raise StudyError(f"there is no data set {dataset!r}; data sets: {', '.join(config.DATASETS)}")
    security.access(host, hosts=tuple(names), tokens_file=tokens)
    logging.basicConfig(level="WARNING", format="%(levelname)s %(message)s")
    # Progress bars are of no use in a server's log.
    os.environ["TQDM_DISABLE"] = "1"
    with _listening(host, port) as listening, tempfile.TemporaryDirectory() as scratch:
        from dualrec_utils.core.catalog import load_catalog
        from dualrec_utils.pipeline import params

        dataset = dataset or params.load().dataset
        try:
            load_catalog(dataset)
        except StudyError as error:
            raise StudyError(
                f"there is no finished run on {dataset}: run `make repro` ({error})"
            ) from error
        from dualrec_utils.service.web import stars

        stars.make(dataset)
        asked = {"dataset": dataset, "host": host, "names": names, "learn": learn}
        asked["tokens"] = None if tokens is None else str(tokens.resolve())
        os.environ[_ASKED] = json.dumps(asked)
        shown = f"[{host}]" if ":" in host else host
        _run(listening, f"http://{shown}:{listening.getsockname()[1]}/", workers, Path(scratch))
    return 0


def _run(listening: socket.socket, address: str, workers: int, scratch: Path) -> None:
    """Serve until it is ended; `scratch` is where several workers count together."""
    if workers > 1:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(scratch)
    import uvicorn

    settings = {
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
        print(f"dualrec: the page is at {address} (Ctrl-C ends it)", flush=True)
        server.run(sockets=[listening])
        return
    from uvicorn.supervisors import Multiprocess

    # Loading takes some seconds, and a worker that loads does not answer whether it is alive.
    more = {"factory": True, "workers": workers, "timeout_worker_healthcheck": 60}
    config = uvicorn.Config(f"{__name__}:worker", **settings, **more)
    print(f"dualrec: the page will be at {address} in a few seconds (Ctrl-C ends it)", flush=True)
    Multiprocess(config, sockets=[listening]).run()


def worker() -> FastAPI:
    """The application of one process, as :func:`serve` has described it in the environment."""
    asked = json.loads(os.environ[_ASKED])
    loaded = load(asked["dataset"])
    # After the loading, which imports most of it faster.
    from dualrec_utils.service.online.events import EventLog
    from dualrec_utils.service.web import app, security, stars, teaching

    place = stars.service_dir(loaded.dataset)
    log = EventLog(place / "events.db", first_user=loaded.last_known_user + 1)
    forget = teaching.forgetting(place / "versions")
    if asked["learn"]:
        forget = teaching.start(loaded, log, place / "versions")
    tokens = None if asked["tokens"] is None else Path(asked["tokens"])
    access = security.access(asked["host"], hosts=tuple(asked["names"]), tokens_file=tokens)
    return app.create_app(loaded, log, access=access, forget=forget)


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


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that listens, taken before anything is loaded.

    Raises:
        StudyError: where it cannot be had.
    """
    if not 0 <= port <= 65535:
        raise StudyError(f"--port is {port}; allowed: 0 to 65535")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, port))
            listening.listen(128)
        except (OSError, UnicodeError) as error:
            raise StudyError(
                f"{host}, port {port}, cannot be listened on ({error}): name another --port or --host, or"
                " end the program that has it"
            ) from error
        yield listening

"""Workers of Ray Data, each of which has loaded the model; on one machine or on a cluster."""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from importlib.util import find_spec
from typing import Any

from dualrec_utils.core.errors import StudyError, first_line
from dualrec_utils.studies.shards.pieces import Ask, Piece


class Worker:
    """Loads the model when the first shard comes, then answers one shard after the other."""

    def __init__(self, opening: Mapping[str, Any], n_cores: int):
        self._opening, self._n_cores = opening, n_cores
        self._backend: Any = None

    def __call__(self, shard: dict[str, Any]) -> dict[str, Any]:
        """A shard's `number` with its piece as JSON, or with the `problem` that a reader can act on."""
        import torch

        from dualrec_utils.models.backends.choose import open_backend

        try:
            if self._backend is None:
                torch.set_num_threads(self._n_cores)
                self._backend = open_backend(**self._opening)
            began = time.time()
            written = self._backend.answer(list(shard["prompts"]), label=f"shard {shard['number']}")
            piece = Piece(written, began, time.time(), self._backend.about)
        except StudyError as error:
            return {"number": shard["number"], "piece": "", "problem": str(error)}
        return {"number": shard["number"], "piece": json.dumps(asdict(piece)), "problem": ""}


@contextmanager
def cluster() -> Iterator[list[dict[str, float]]]:
    """The cluster that the environment variable `RAY_ADDRESS` names; without it Ray is started here.

    Yields:
        What its machines have: `CPU`, `GPU`.

    Raises:
        StudyError: when Ray is not installed or does not start, or when it fails in the block.
    """
    if find_spec("ray") is None:
        raise StudyError("Ray is not installed here: run `make shards`, which gives it an environment")
    # Ray would report its use to its makers.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    try:
        # Left to itself, Ray would look for minutes for a cluster that has ended.
        address = os.environ.get("RAY_ADDRESS", "local")
        ray.init(address, logging_level=logging.WARNING, log_to_driver=False)
    # Ray has no one kind of error for this.
    except Exception as error:  # noqa: BLE001
        raise StudyError(
            f"Ray does not start: {first_line(error)} Try again when the machine is less busy; where"
            " RAY_ADDRESS names a cluster, see that it runs and that RAY_AUTH_MODE is token"
        ) from None
    try:
        yield [node["Resources"] for node in ray.nodes() if node["Alive"]]
    except ray.exceptions.RayError as error:
        raise StudyError(f"Ray stopped: {first_line(error)}; the same command goes on from there") from None
    finally:
        ray.shutdown()


def cores_each(machines: Sequence[Mapping[str, float]], n_workers: int) -> tuple[int, int]:
    """What each of some workers may use: (cores, GPUs).

    Args:
        machines: `CPU` and `GPU` of each; one without cores for Ray does not count.
        n_workers: at once, at least 1.

    Raises:
        StudyError: when there are too few cores, or GPUs on some machines but too few for all workers.
    """
    able = [machine for machine in machines if machine.get("CPU", 0) >= 1]
    n_gpus = sum(int(machine.get("GPU", 0)) for machine in able)
    n_cores = sum(int(machine["CPU"]) for machine in able)
    if n_workers > (n_gpus or n_cores):
        has = f"{n_gpus} GPUs" if n_gpus else f"{n_cores} cores"
        raise StudyError(f"{n_workers} workers cannot run at once: Ray has {has}, each worker needs one")
    # As many as fit on every machine, where workers are spread evenly; at least one.
    share = min(int(machine["CPU"]) for machine in able) // math.ceil(n_workers / len(able))
    return max(1, share), int(n_gpus > 0)


def ask_ray(opening: Mapping[str, Any], *, n_workers: int, n_cores: int, n_gpus: int) -> Ask:
    """Ask a fixed number of workers of Ray Data; inside :func:`cluster`.

    Args:
        opening: from :func:`shards.run.opening_of`.
        n_workers: that hold the model. n_cores, n_gpus: of each.
    """

    def ask(shards: Mapping[int, Sequence[str]]) -> Iterator[tuple[int, Piece]]:
        import ray.data
        from pydantic import TypeAdapter

        ray.data.DataContext.get_current().enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.WARNING)
        rows = [{"number": number, "prompts": list(texts)} for number, texts in shards.items()]
        # One shard in a block and one block at a worker: none waits behind another while a worker is idle.
        pool = ray.data.ActorPoolStrategy(size=n_workers, max_tasks_in_flight_per_actor=1)
        answered = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
            Worker,
            fn_constructor_args=(dict(opening), n_cores),
            compute=pool,
            num_cpus=n_cores,
            num_gpus=n_gpus,
        )
        for row in answered.iter_rows():
            if row["problem"]:
                raise StudyError(row["problem"])
            yield int(row["number"]), TypeAdapter(Piece).validate_json(row["piece"])

    return ask

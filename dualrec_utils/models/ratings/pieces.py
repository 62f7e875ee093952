"""Fits of rating models that are kept: what one depends on, how it is read again, how they are made."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
from joblib import Parallel, cpu_count, delayed, parallel_config
from tqdm import tqdm

from dualrec_utils.content import sentences
from dualrec_utils.core import closure, files
from dualrec_utils.models import ratings as models
from dualrec_utils.models.ratings.base import Known

# Names models and checks their settings; changes no result.
_REGISTRY = frozenset({"models.ratings"})
# The weights of the sentence encoder come as a package too.
_LIBRARIES = ("numpy", "scipy", "scikit-learn", "torch", "sentence-transformers", sentences.PACKAGE)

Kept = TypeVar("Kept")


def code_of(model: str, module: str) -> list[Any]:
    """What a fit depends on beside settings, seed and data: code and libraries, as JSON takes them.

    Args:
        model: a key of :data:`models.ratings.REGISTRY`.
        module: name of the module that fits it.
    """
    source = f"import {models.model_class(model).__module__}\nimport {module}"
    code = closure.closure(source, without=_REGISTRY, by_name=False)
    return [closure.digest(code), {library: version(library) for library in _LIBRARIES}]


def data_of(known: Known, *others: pd.DataFrame) -> str:
    """A hash of everything that a model may learn from: what is known of a data set, and other frames."""
    frames = (known.items, known.users, known.tags, *others)
    texts = [frame.to_json(orient="split", double_precision=15) for frame in frames]
    return hashlib.sha256(json.dumps([*texts, known.scale]).encode()).hexdigest()


def digest(about: Sequence[Any]) -> str:
    """Twelve digits that are others once anything in `about`, as JSON takes it, is."""
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:12]


def obtain(kind: type[Kept], path: Path, make: Callable[[], Kept]) -> Kept:
    """What a fit leaves, read from its folder where it is there, else made and written whole.

    Args:
        kind: a dataclass whose fields are frames.
        path: folder of the fit.
        make: fits.
    """
    names = {one.name: f"{one.name}.parquet" for one in fields(kind)}
    if not all((path / file).is_file() for file in names.values()):
        made = make()
        with files.replacing_folder(path) as temporary:
            for name, file in names.items():
                files.write_parquet(getattr(made, name), temporary / file)
    return kind(*(pd.read_parquet(path / file) for file in names.values()))


def side_by_side(
    function: Callable[..., Any],
    calls: Sequence[tuple[Sequence[Any], Mapping[str, Any]]],
    *,
    label: str,
    n_jobs: int | None = None,
) -> Iterator[Any]:
    """What a function returns for each call, in order, under a progress bar.

    Each call has a process and one thread of its own, so that the digits do not depend on the number of
    cores.

    Args:
        calls: arguments and keywords of each.
        label: of the progress bar.
        n_jobs: calls at once; None for as many as there are cores.
    """
    tasks = [delayed(function)(*args, **keywords) for args, keywords in calls]
    with parallel_config(backend="loky", inner_max_num_threads=1):
        left = Parallel(n_jobs=n_jobs or cpu_count(), return_as="generator")(tasks)
        yield from tqdm(left, total=len(tasks), desc=label)

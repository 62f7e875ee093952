"""What a fit outside of the pipeline depends on: its settings and the code that trains and measures it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dualrec_utils.core import closure, config, files
from dualrec_utils.models import baselines

LSTM, MOVIELM = "lstm", "movielm"
_MODULES = {LSTM: "dualrec_utils.models.lstm.training", MOVIELM: "dualrec_utils.models.movielm.model"}
_MEASURED_BY = tuple(
    f"dualrec_utils.core.{name}" for name in ("evaluation", "order", "predictions", "splits")
)


def digest(name: str, about: Any, *, dataset: str, study: Iterable[str]) -> str:
    """A key of a fit: another one once settings, data, or the code of model, measure or study change.

    Args:
        name: :data:`LSTM`, :data:`MOVIELM` or a baseline.
        about: settings and seeds, as JSON takes them.
        dataset: whose summary, with the hash of its order, is part of the key.
        study: files of the study's own code.
    """
    module = _MODULES.get(name) or baselines.model_class(name).__module__
    source = "\n".join(f"import {part}" for part in (module, *_MEASURED_BY))
    code = closure.closure(source, without=frozenset({"models.baselines"}), by_name=False)
    code = {*code, *(str(Path(path).relative_to(config.PACKAGE_ROOT)) for path in study)}
    hashes = {path: files.sha256(config.PACKAGE_ROOT / path) for path in sorted(code)}
    summary = files.read_json(config.processed_dir(dataset) / "summary.json")
    text = json.dumps([name, about, summary, hashes], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]

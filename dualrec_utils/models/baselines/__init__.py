"""Baseline recommenders, one file a model. To add one: write its class, give it a line in
:data:`models.systems.BASELINES`, and its hyperparameters under `baselines.models` in `params.yaml`."""

from __future__ import annotations

import difflib
import importlib

import numpy as np

from dualrec_utils.core.catalog import Catalog
from dualrec_utils.core.errors import StudyError
from dualrec_utils.models import systems
from dualrec_utils.models.baselines.base import Baseline

# Where each baseline is written. Not imported before it is built: most of them bring torch.
REGISTRY: dict[str, str] = {name: place for name, (place, _) in systems.BASELINES.items()}


def model_class(name: str) -> type[Baseline]:
    """The class of a baseline.

    Raises:
        StudyError: on an unknown name.
    """
    if name not in REGISTRY:
        raise StudyError(f"there is no baseline {name!r}; {_suggest(name, list(REGISTRY))}")
    module, kind = REGISTRY[name].split(".")
    return getattr(importlib.import_module(f"{__name__}.{module}"), kind)


def build(
    name: str,
    item_ids: np.ndarray,
    *,
    seed: int,
    catalog: Catalog | None = None,
    **hyperparameters: float | str,
) -> Baseline:
    """Make an unfitted baseline.

    Args:
        item_ids, seed, catalog: as :class:`Baseline`.
        hyperparameters: exactly those of the model; one with a default may be left out.

    Raises:
        StudyError: on an unknown name, an unknown, missing or impossible hyperparameter.
    """
    kind = model_class(name)
    known = kind.hyperparameters()
    for key in hyperparameters:
        if key not in known:
            raise StudyError(f"{name} has no hyperparameter {key!r}; {_suggest(key, list(known))}")
    missing = [key for key in kind.required() if key not in hyperparameters]
    if missing:
        raise StudyError(f"{name} needs the hyperparameters {kind.required()}; missing: {missing}")
    return kind(item_ids, seed=seed, catalog=catalog, **hyperparameters)


def _suggest(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    question = f"did you mean {near[0]!r}? " if near else ""
    return f"{question}known: {', '.join(known) or 'none'}"

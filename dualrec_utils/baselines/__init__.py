"""Baseline recommenders, one file a model. To add one: write its class, name it in REGISTRY, give its
hyperparameters in `params.yaml` under `baselines.models`."""

from __future__ import annotations

import difflib
import inspect
import itertools
from collections.abc import Sequence

import numpy as np

from dualrec_utils.baselines.base import Baseline
from dualrec_utils.baselines.item_knn import ItemKNN
from dualrec_utils.baselines.markov import Markov
from dualrec_utils.baselines.most_popular import MostPopular
from dualrec_utils.baselines.random_order import RandomOrder
from dualrec_utils.errors import StudyError

REGISTRY: dict[str, type[Baseline]] = {
    "random": RandomOrder,
    "most_popular": MostPopular,
    "markov": Markov,
    "item_knn": ItemKNN,
}


def build(name: str, item_ids: np.ndarray, *, seed: int, **hyperparameters: float) -> Baseline:
    """Make an unfitted baseline.

    Args:
        name: a key of :data:`REGISTRY`.
        item_ids: shape (n_items,), the catalog, ascending.
        seed: of everything random in the model.
        hyperparameters: exactly those of the model.

    Raises:
        StudyError: on an unknown name, an unknown, missing or impossible hyperparameter.
    """
    if name not in REGISTRY:
        raise StudyError(f"there is no baseline {name!r}; {_suggest(name, list(REGISTRY))}")
    signature = inspect.signature(REGISTRY[name].__init__)
    known = [key for key in signature.parameters if key not in ("self", "item_ids", "seed")]
    for key in hyperparameters:
        if key not in known:
            raise StudyError(f"{name} has no hyperparameter {key!r}; {_suggest(key, known)}")
    missing = [key for key in known if key not in hyperparameters]
    if missing:
        raise StudyError(f"{name} needs the hyperparameters {known}; missing: {missing}")
    return REGISTRY[name](item_ids, seed=seed, **hyperparameters)


def combinations(name: str, grid: dict[str, Sequence]) -> list[dict]:
    """Every combination of the candidate values of one baseline, checked.

    Args:
        name: a key of :data:`REGISTRY`.
        grid: hyperparameter -> the values to try; empty for a baseline that has none.

    Returns:
        One dict of keywords for :func:`build` for each combination, the last hyperparameter
        moving fastest.

    Raises:
        StudyError: as :func:`build`, or when a hyperparameter has no value to try.
    """
    for key, values in grid.items():
        if not isinstance(values, list | tuple) or not values:
            raise StudyError(f"{name}.{key} is {values!r}; give a list of the values to try, at least one")
    found = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    for keywords in found:
        build(name, np.array([1]), seed=0, **keywords)
    return found


def _suggest(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    question = f"did you mean {near[0]!r}? " if near else ""
    return f"{question}known: {', '.join(known) or 'none'}"

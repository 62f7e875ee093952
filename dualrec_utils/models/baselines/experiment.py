"""Measure a baseline on validation users, and write its predictions."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from threadpoolctl import threadpool_limits

from dualrec_utils.core import evaluation, predictions
from dualrec_utils.core.catalog import load_catalog
from dualrec_utils.core.config import HISTORY, USER
from dualrec_utils.core.evaluation import CHOSEN_BY
from dualrec_utils.core.predictions import Scope, scopes
from dualrec_utils.models import baselines, handoff
from dualrec_utils.models.baselines.base import Baseline, Scorer

STAGE = "baselines"


@contextmanager
def one_thread(name: str) -> Iterator[None]:
    """Let the baseline `name` compute with one thread: around every fit, and all that it scores.

    Sums over several threads differ in the last digits, and early stopping makes epochs of them; networks
    of this size gain nothing from a second thread.

    Raises:
        StudyError: as :func:`models.baselines.model_class`.
    """
    # Only libraries that are loaded can be limited; the model brings torch where it needs it.
    baselines.model_class(name)
    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch else 1
    try:
        with threadpool_limits(limits=1):
            if torch:
                torch.set_num_threads(1)
            yield
    finally:
        if torch:
            torch.set_num_threads(before)


def validation(
    dataset: str, *, seed: int, last_cases: int | None = None
) -> Callable[[Scorer], dict[str, float]]:
    """How a model that is fitted, or being fitted, is measured on validation users.

    Args:
        last_cases: of each user, for a model whose answers take long; None for all.

    Returns:
        A function that lets a scorer answer the validation cases of `next_item`, items already seen
        left out, and gives means over users, `hit_rate@5` and `ndcg@5`, and `n_cases`. The scorer is
        handed histories and nothing else.
    """
    cases = predictions.load_cases(Scope(dataset, STAGE, "next_item", "validation"))
    if last_cases is not None:
        cases = cases.groupby(USER).tail(last_cases).reset_index(drop=True)
    catalog = load_catalog(dataset)
    targets = evaluation.load_targets(dataset, "next_item")

    def measure(score: Scorer) -> dict[str, float]:
        # Nothing here looks beyond the top five, so the lists need be no longer.
        lists = predictions.from_scores(score(cases[HISTORY]), cases, catalog.ids, seed=seed, length=5)
        scored = evaluation.score_lists(lists, cases, targets, catalog)
        means = scored.groupby(USER)[["hit_rate@5", CHOSEN_BY]].mean().mean()
        return means.to_dict() | {"n_cases": len(cases)}

    return measure


def validation_score(dataset: str, *, seed: int) -> Callable[[Scorer], float]:
    """As :func:`validation`, `CHOSEN_BY` alone: what stops a model trained in epochs."""
    measure = validation(dataset, seed=seed)
    return lambda score: measure(score)[CHOSEN_BY]


def trial(
    name: str, settings: dict, histories: list[np.ndarray], *, dataset: str, seed: int
) -> dict[str, float]:
    """Fit a baseline with some settings and measure it on validation users.

    Args:
        name: a key of :data:`models.baselines.REGISTRY`.
        settings: keywords for :func:`models.baselines.build`.
        histories: one array of item ids for each training user, oldest first.

    Returns:
        The values of :func:`validation`, `n_epochs` trained and `best_epoch`, 0 for a model without epochs.

    Raises:
        Diverged: when the loss is no number any more.
    """
    catalog, measure = load_catalog(dataset), validation(dataset, seed=seed)
    model = baselines.build(name, catalog.ids, seed=seed, catalog=catalog, **settings)
    with one_thread(name):
        model.fit(histories, validate=lambda score: measure(score)[CHOSEN_BY])
        values = measure(model.score)
    curves = getattr(model, "curves", None)
    n_epochs = 0 if curves is None else int(curves["epoch"].max())
    return values | {"n_epochs": n_epochs, "best_epoch": int(getattr(model, "best_epoch", 0))}


def write_predictions(model: Baseline, system: str, *, dataset: str) -> list[str]:
    """Write a fitted baseline's lists for every protocol and split, and scores that later stages read.

    Returns:
        The systems written: `system`, with items already seen left out, and beside it the one with
        :data:`core.predictions.SEEN_KEPT`, where they stay.
    """
    names = predictions.with_seen_kept([system])
    for scope in scopes(dataset, STAGE):
        cases = predictions.load_cases(scope)
        scores = model.score(cases[HISTORY])
        if system in handoff.SCORED_BASELINES:
            # Ranked as saved, so that whoever fuses the matrix starts from the same ranking.
            scores = handoff.save_scores(scores, system, scope)
        for name, left_out in zip(names, (True, False), strict=True):
            lists = predictions.from_scores(
                scores, cases, model.item_ids, seed=model.seed, exclude_seen=left_out
            )
            predictions.write(lists, name, scope)
    return names

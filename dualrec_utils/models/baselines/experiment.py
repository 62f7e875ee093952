"""Choose a baseline's hyperparameters on validation users, and write its predictions."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from dualrec_utils.core import evaluation, predictions
from dualrec_utils.core.catalog import load_catalog
from dualrec_utils.core.config import HISTORY, USER
from dualrec_utils.core.predictions import Scope, scopes
from dualrec_utils.models import baselines, handoff
from dualrec_utils.models.baselines.base import Baseline, Diverged, Scorer

# What hyperparameters are chosen by, on the validation cases of next_item.
CHOSEN_BY = "ndcg@5"
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


def validation(dataset: str, *, seed: int) -> Callable[[Scorer], dict[str, float]]:
    """How a model that is fitted, or being fitted, is measured on validation users.

    Returns:
        A function that lets a scorer answer the validation cases of `next_item`, movies already seen
        left out, and gives means over users: `hit_rate@5` and `ndcg@5`. The scorer is handed histories
        and nothing else.
    """
    cases = predictions.load_cases(Scope(dataset, STAGE, "next_item", "validation"))
    catalog = load_catalog(dataset)
    targets = evaluation.load_targets(dataset, "next_item")

    def measure(score: Scorer) -> dict[str, float]:
        # Nothing here looks beyond the top five, so the lists need be no longer.
        lists = predictions.from_scores(score(cases[HISTORY]), cases, catalog.ids, seed=seed, length=5)
        scored = evaluation.score_lists(lists, cases, targets, catalog)
        return scored.groupby(USER)[["hit_rate@5", CHOSEN_BY]].mean().mean().to_dict()

    return measure


def validation_score(dataset: str, *, seed: int) -> Callable[[Scorer], float]:
    """As :func:`validation`, :data:`CHOSEN_BY` alone: what stops a model trained in epochs."""
    measure = validation(dataset, seed=seed)
    return lambda score: measure(score)[CHOSEN_BY]


def try_each(
    name: str, settings: Sequence[dict], histories: list[np.ndarray], *, dataset: str, seed: int
) -> pd.DataFrame:
    """Fit a baseline with each of some settings and evaluate it on validation users.

    Args:
        name: a key of :data:`models.baselines.REGISTRY`.
        settings: keywords for :func:`models.baselines.build`, at least one.
        histories: one array of item ids for each training user, oldest first.

    Returns:
        One row a setting: the hyperparameters, `hit_rate@5` and `ndcg@5` (means over validation users,
        `next_item`, movies already seen left out; NaN where the loss diverged), best `ndcg@5` first,
        ties in the order given.

    Raises:
        Diverged: when no setting is left, naming the last one.
    """
    catalog, rows, diverged = load_catalog(dataset), [], None
    measure = validation(dataset, seed=seed)
    for keywords in tqdm(settings, desc=name):
        model = baselines.build(name, catalog.ids, seed=seed, catalog=catalog, **keywords)
        values = {"hit_rate@5": np.nan, CHOSEN_BY: np.nan}
        try:
            with one_thread(name):
                model.fit(histories, validate=lambda score: measure(score)[CHOSEN_BY])
                values = measure(model.score)
        except Diverged as error:
            diverged = error
        rows.append(keywords | values)
    table = pd.DataFrame(rows)
    if diverged is not None and table[CHOSEN_BY].isna().all():
        raise diverged
    return table.sort_values(CHOSEN_BY, ascending=False, kind="stable", ignore_index=True)


def write_predictions(model: Baseline, system: str, *, dataset: str) -> list[str]:
    """Write a fitted baseline's lists for every protocol and split, and scores that later stages read.

    Returns:
        The systems written: `system`, with movies already seen left out, and beside it the one with
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

"""Rating models asked another question: which item comes next?

A model is fitted on the ratings of the training users and then ranks the catalog for each case of a test
user, who is somebody new to it: known by the ratings of the case's history alone. Highest predicted rating
first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from dualrec_utils.core import config, files, predictions, splits
from dualrec_utils.core.config import HISTORY, ITEM, RATING, SPLIT, USER
from dualrec_utils.core.predictions import Scope
from dualrec_utils.models import ratings as models
from dualrec_utils.models.ratings.base import Known, Profile, RatingModel
from dualrec_utils.models.ratings.experiment import STAGE, read
from dualrec_utils.models.ratings.pieces import side_by_side


def rank_all(
    systems: Mapping[str, Mapping[str, Any]],
    *,
    dataset: str,
    known: Known,
    seed: int,
    n_jobs: int | None = None,
) -> list[str]:
    """Write lists of rating models for the `next_item` cases of the test users.

    Args:
        systems: name -> settings, as :func:`experiment.build`.
        known: of it the users and the scale are read; items are those of the catalog.
        seed: of the models, and of the draw among equal predictions.
        n_jobs: systems at once; None for as many as there are cores.

    Returns:
        Names of the systems written: `rating_<name>`, so that none has the name of a system of another
        stage.
    """
    scope = Scope(dataset, STAGE, "next_item", "test")
    cases = predictions.load_cases(scope)
    items = files.read_parquet_of("data", config.processed_dir(dataset) / "items.parquet")
    ratings = splits.load_interactions(dataset)[[USER, ITEM, RATING]]
    parts = splits.load_splits(dataset)
    training_users = parts.loc[parts[SPLIT] == "train", USER]
    training = ratings[ratings[USER].isin(training_users)]
    splits.check_apart(training[USER].unique(), parts)
    profiles = profiles_of(cases, ratings)
    of_catalog = Known(items.sort_values(ITEM, ignore_index=True), known.users, scale=known.scale)
    calls = [((settings, of_catalog, training, profiles), {"seed": seed}) for settings in systems.values()]
    left = side_by_side(_scores, calls, label="next_item", n_jobs=n_jobs)
    for name, scores in zip(systems, left, strict=True):
        lists = predictions.from_scores(scores, cases, of_catalog.items[ITEM].to_numpy(), seed=seed)
        predictions.write(lists, f"rating_{name}", scope)
    return [f"rating_{name}" for name in systems]


def profiles_of(cases: pd.DataFrame, ratings: pd.DataFrame) -> list[Profile]:
    """What is known of each case's user: the ratings of the items of its history, and no other.

    Args:
        cases: `case_id`, `user_id`, `history` (item ids).
        ratings: `user_id`, `item_id`, `rating`: of all items of the histories.
    """
    given = {(user, item): rating for user, item, rating in ratings.itertuples(index=False)}
    return [
        Profile({int(item): float(given[user, item]) for item in history})
        for user, history in zip(cases[USER], cases[HISTORY], strict=True)
    ]


def _scores(
    settings: Mapping[str, Any],
    known: Known,
    training: pd.DataFrame,
    profiles: Sequence[Profile],
    *,
    seed: int,
) -> np.ndarray:
    recipe = read(settings)
    # Sums over several threads differ in the last digits.
    with threadpool_limits(1):
        model = models.build(recipe.model, known, seed=seed, **recipe.settings).fit(training)
        return scores_of(model, profiles)


def scores_of(model: RatingModel, profiles: Sequence[Profile]) -> np.ndarray:
    """Predicted ratings of all items for somebody of each profile, shape (n_profiles, n_items)."""
    items, somebody = model.item_ids, -1
    pairs = pd.DataFrame({USER: somebody, ITEM: items})
    scores = [model.predict(pairs, profiles={somebody: profile}) for profile in profiles]
    return np.stack(scores) if scores else np.empty((0, len(items)))

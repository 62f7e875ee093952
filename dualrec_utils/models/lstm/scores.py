"""What the LSTM hands on: score matrices, ranked lists, and the hints for training users.

A hint is the LSTM's first item that is not in the history: of a held-out case, the first of its list. At
test time the LSTM has not seen the user; for training users, whose last five items become answers of the
fine-tuned language model, a hint of the same quality needs an LSTM trained without them: hence the folds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import keras
import numpy as np
import pandas as pd

from dualrec_utils.core import config, files, predictions
from dualrec_utils.core.catalog import Catalog, marked
from dualrec_utils.core.config import HISTORY, ITEM, USER
from dualrec_utils.core.errors import StudyError
from dualrec_utils.core.predictions import Scope
from dualrec_utils.core.splits import WINDOW
from dualrec_utils.models import handoff
from dualrec_utils.models.handoff import IN_SAMPLE
from dualrec_utils.models.lstm import training

STAGE = MODEL = "lstm"


def save_model(model: keras.Model, *, dataset: str) -> Path:
    """Write the weights to `data/<dataset>/lstm/lstm.weights.h5`."""
    path = config.stage_dir(dataset, MODEL) / "lstm.weights.h5"
    with files.replacing(path) as temporary:
        model.save_weights(temporary)
    return path


def hints(
    scores: np.ndarray, histories: list[np.ndarray], catalog: Catalog, *, names: Sequence, seed: int
) -> np.ndarray:
    """The best item that is not in the history.

    Args:
        scores: shape (n, n_items), higher is better; not changed.
        histories: n arrays of item ids.
        names, seed: draw among equal scores, see :func:`core.predictions.best`.

    Returns:
        Shape (n,), item ids.
    """
    unseen = _unseen(scores, histories, catalog)
    return catalog.ids[predictions.best(unseen, names, seed=seed, k=1)[:, 0]]


def _unseen(scores: np.ndarray, histories: list[np.ndarray], catalog: Catalog) -> np.ndarray:
    """The same scores, minus infinity for the items of each row's history."""
    return np.where(marked(histories, catalog.ids), -np.inf, scores)


def hand_on(
    model: keras.Model, name: str, catalog: Catalog, scope: Scope, *, max_history: int
) -> np.ndarray:
    """Score the cases of a scope and write the scores for later stages.

    Args:
        name: as :func:`models.handoff.scores_path`.
        max_history: items read of each history.

    Returns:
        Log-probabilities of every item as written: float32, shape (n_cases, n_items).
    """
    rows = [catalog.rows(history) for history in predictions.load_cases(scope)[HISTORY]]
    label = f"{name} {scope.label}"
    scores = training.log_probabilities(model, rows, max_history=max_history, label=label)
    return handoff.save_scores(scores, name, scope)


def score_all(
    model: keras.Model, catalog: Catalog, scopes: Iterable[Scope], *, max_history: int, seed: int
) -> list[str]:
    """Score the cases of some scopes; write the scores and both prediction files of each.

    Args:
        scopes: of stage `lstm`.
        max_history: items read of each history.
        seed: that trained the model; a column of the predictions.

    Returns:
        Names of the two systems that have predictions now.
    """
    for scope in scopes:
        cases = predictions.load_cases(scope)
        # Ranked as saved, so that whoever fuses the matrix starts from the same ranking.
        scores = hand_on(model, MODEL, catalog, scope, max_history=max_history)
        for suffix, exclude_seen in (("", True), (predictions.SEEN_KEPT, False)):
            lists = predictions.from_scores(
                scores, cases, catalog.ids, seed=seed, exclude_seen=exclude_seen
            )
            predictions.write(lists, MODEL + suffix, scope)
    return predictions.with_seen_kept([MODEL])


def assign_folds(user_ids: list[int], *, n_folds: int, seed: int) -> dict[int, int]:
    """Assign every user to one of `n_folds` folds of nearly equal size, by a seeded shuffle.

    Raises:
        StudyError: when a fold would hold no user.
    """
    users = np.sort(np.asarray(user_ids))
    if not 2 <= n_folds <= len(users):
        raise StudyError(f"lstm.n_folds is {n_folds}; allowed: 2 to the number of users, {len(users)}")
    shuffled = np.random.default_rng(seed).permutation(users)
    return {int(user): place % n_folds for place, user in enumerate(shuffled)}


def training_hints(
    model: keras.Model,
    histories: Mapping[int, np.ndarray],
    earlier: Mapping[int, np.ndarray],
    catalog: Catalog,
    *,
    fit: Callable[[list[np.ndarray], str], keras.Model],
    n_folds: int,
    max_history: int,
    seed: int,
) -> pd.DataFrame:
    """Hints for the training users, given what comes before the second of their last five items.

    Args:
        model: the main LSTM, trained on all of these users.
        histories: user id -> item ids, oldest first: what is trained on.
        earlier: the same users' histories that a hint is given for, from :func:`core.splits.load_earlier`;
            users that it lacks get none.
        fit: trains an LSTM anew on histories (rows of items); the text labels its progress bar.
        n_folds: models trained; each scores the users it has not seen.
        max_history: items read of each history.
        seed: of the folds and of equal scores.

    Returns:
        Frame `user_id`, `item_id` (cross-fitted), `in_sample_item_id` (from `model`), by user.
    """
    users = sorted(histories)
    rows = {user: catalog.rows(histories[user]) for user in users}
    folds = assign_folds(users, n_folds=n_folds, seed=seed)

    def best(scorer: keras.Model, some: list[int], label: str) -> np.ndarray:
        known = {user: earlier[user] for user in some}
        return best_unseen(scorer, known, catalog, max_history=max_history, seed=seed, label=label)

    crossed = {}
    for fold in range(n_folds):
        held_out = [user for user in users if folds[user] == fold and user in earlier]
        inside = [user for user in users if folds[user] != fold]
        check_folds_apart(inside, held_out)
        scorer = fit([rows[user] for user in inside], f"fold {fold + 1} of {n_folds}")
        crossed |= dict(zip(held_out, best(scorer, held_out, "its hints"), strict=True))
    asked_for = [user for user in users if user in earlier]
    return pd.DataFrame(
        {
            USER: asked_for,
            ITEM: [crossed[user] for user in asked_for],
            IN_SAMPLE: best(model, asked_for, "in-sample hints"),
        }
    )


def best_unseen(
    model: keras.Model,
    histories: Mapping[int, np.ndarray],
    catalog: Catalog,
    *,
    max_history: int,
    seed: int,
    label: str = "hints",
) -> np.ndarray:
    """The model's best item for each user that the user's history does not hold: shape (n_users,)."""
    users, items = list(histories), list(histories.values())
    rows = [catalog.rows(history) for history in items]
    scores = training.log_probabilities(model, rows, max_history=max_history, label=label)
    return hints(scores, items, catalog, names=users, seed=seed)


def check_folds_apart(trained_on: list[int], scored: list[int]) -> None:
    """Raise StudyError where a user's hint would come from a model that was trained on them."""
    both = sorted(set(trained_on) & set(scored))
    if both:
        raise StudyError(f"leak: user {both[0]} would get a hint from an LSTM trained on them")


def hint_hits(hint_frame: pd.DataFrame, histories: Mapping[int, np.ndarray]) -> pd.DataFrame:
    """How often a training user's hint is among their last five items.

    Args:
        hint_frame: from :func:`training_hints`.
        histories: whole histories of the same users.

    Returns:
        Frame `hints`, `hit_rate` (share of users, in [0, 1]), `n_users`; two rows.
    """
    answers = [set(histories[user][-WINDOW:]) for user in hint_frame[USER]]
    rows = []
    for name, column in (("cross-fitted", ITEM), ("in-sample", IN_SAMPLE)):
        hits = [hint in answer for hint, answer in zip(hint_frame[column], answers, strict=True)]
        rows.append((name, float(np.mean(hits)), len(hits)))
    return pd.DataFrame(rows, columns=["hints", "hit_rate", "n_users"])


def write_hints(
    training: pd.DataFrame, validation: Mapping[int, np.ndarray], best: np.ndarray, *, dataset: str
) -> None:
    """Write what the examples of fine-tuning name: `hints_lora_<split>.parquet` in the model's folder.

    Args:
        training: from :func:`training_hints`.
        validation: histories of validation users, from :func:`core.splits.load_earlier`.
        best: of these users, from :func:`best_unseen`; the model has not seen them.
    """
    of_validation = pd.DataFrame({USER: list(validation), ITEM: best})
    for split, frame in (("train", training), ("validation", of_validation)):
        files.write_parquet(frame, config.handoff_dir(dataset, MODEL) / f"hints_lora_{split}.parquet")


def next_titles(
    model: keras.Model,
    histories: Mapping[str, Sequence[int]],
    catalog: Catalog,
    *,
    max_history: int,
    k: int,
) -> pd.DataFrame:
    """The k likeliest unseen next items of some histories, to be read.

    Args:
        histories: what to call it -> item ids, oldest first.
        max_history: items read of each history.

    Returns:
        One row a rank, one column a history: `Title (year) · 1.9%`, the probability among all items.
    """
    rows = [catalog.rows(history) for history in histories.values()]
    scores = training.log_probabilities(model, rows, max_history=max_history)
    names, unseen = list(catalog.names.values()), _unseen(scores, list(histories.values()), catalog)
    best = predictions.best(unseen, list(histories), seed=0, k=k)
    columns = {
        label: [f"{names[column]} · {np.exp(line[column]):.1%}" for column in chosen]
        for label, line, chosen in zip(histories, unseen, best, strict=True)
    }
    return pd.DataFrame(columns, index=pd.RangeIndex(1, k + 1, name="rank"))

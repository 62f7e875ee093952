"""The audit's other protocols: 20 candidates, day sessions as training data.

The models here see histories alone. What is theirs to answer and what the answers are stays apart: cases
go to the scorers, targets to the ranking of 20, which only looks up scores.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from dualrec_utils.audit import steps
from dualrec_utils.content.features import item_features
from dualrec_utils.core import config, predictions, splits
from dualrec_utils.core.catalog import Catalog, columns_of, load_catalog
from dualrec_utils.core.config import CASE, HISTORY, ITEM, SPLIT, TIMESTAMP, USER
from dualrec_utils.core.errors import StudyError
from dualrec_utils.models import baselines
from dualrec_utils.models.baselines import experiment
from dualrec_utils.pipeline import params

_DAY = 86_400
# Sessions of a day are made where more ratings than this have a time.
FEWEST_TIMED = 0.5
_DECIMALS = 12


def share_untimed(interactions: pd.DataFrame) -> float:
    """Share of interactions without a timestamp, from 0 to 1."""
    return float(interactions[TIMESTAMP].isna().mean()) if TIMESTAMP in interactions else 1.0


def sample_negatives(
    cases: pd.DataFrame, targets: pd.Series, item_ids: np.ndarray, *, n_negatives: int, seed: int
) -> np.ndarray:
    """Items drawn uniformly for each case, neither in its history nor a target.

    Args:
        cases: frame with `case_id`, `history`.
        n_negatives: items a case.
        seed: of the draw, the same for every system.

    Returns:
        Shape (n_cases, n_negatives), columns of the catalog, each once in its row.

    Raises:
        StudyError: for a case with too few items left.
    """
    rng, drawn = np.random.default_rng(seed), []
    for case, history in zip(cases[CASE], cases[HISTORY], strict=True):
        known = columns_of([*history, *targets[case]], item_ids)
        free = np.setdiff1d(np.arange(len(item_ids)), known)
        if len(free) < n_negatives:
            raise StudyError(
                f"case {case!r} leaves {len(free)} items to draw {n_negatives} negatives from: lower"
                " audit.n_negatives"
            )
        drawn.append(rng.choice(free, size=n_negatives, replace=False))
    return np.array(drawn)


def sampled(
    scores: np.ndarray,
    cases: pd.DataFrame,
    targets: pd.Series,
    item_ids: np.ndarray,
    *,
    negatives: np.ndarray,
) -> pd.DataFrame:
    """`sampled_20`: where a target stands among itself and the negatives drawn.

    Args:
        scores: shape (n_cases, n_items), higher is better.
        cases: row i belonging to row i of `scores`.
        targets: one target a case.
        negatives: from :func:`sample_negatives`, shape (n_cases, n_negatives).

    Returns:
        As :func:`audit.steps.per_case`, the mean over all orders of equal scores. (A model of few sessions
        has no score for many items.)
    """
    answers = columns_of([targets[case][0] for case in cases[CASE]], item_ids)[:, None]
    target = np.take_along_axis(scores, answers, axis=1)
    others = np.take_along_axis(scores, negatives, axis=1)
    return steps.per_case(cases, 1 + (others > target).sum(axis=1), (others == target).sum(axis=1))


def chance(n_candidates: int, k: int) -> float:
    """Hit rate at k of a random order of `n_candidates`."""
    return min(k, n_candidates) / n_candidates


def day_sessions(interactions: pd.DataFrame, user_splits: pd.DataFrame) -> list[np.ndarray]:
    """What training users rated within one day (UTC), as sessions of at least two items.

    Args:
        interactions: `user_id`, `item_id`, `timestamp` in seconds, in order. What has no time belongs to
            no session.

    Returns:
        Item ids of each session, in order; by user, then day.
    """
    training = user_splits.loc[user_splits[SPLIT] == "train", USER]
    rated = interactions[interactions[USER].isin(training) & interactions[TIMESTAMP].notna()]
    splits.check_apart(rated[USER].unique(), user_splits)
    days = rated[TIMESTAMP].astype("int64") // _DAY
    sessions = [items.to_numpy() for _, items in rated.groupby([rated[USER], days], sort=True)[ITEM]]
    return [session for session in sessions if len(session) > 1]


def drawn_sessions(sessions: Sequence[np.ndarray], *, n_sessions: int, seed: int) -> list[np.ndarray]:
    """Some of the sessions, drawn without replacement, in their old order.

    Raises:
        StudyError: when there are not as many.
    """
    if len(sessions) < n_sessions:
        raise StudyError(f"{len(sessions)} sessions, {n_sessions} wanted: lower audit.n_sessions")
    chosen = np.random.default_rng(seed).choice(len(sessions), size=n_sessions, replace=False)
    return [sessions[place] for place in np.sort(chosen)]


def fitted_scores(
    name: str,
    hyperparameters: dict,
    histories: Sequence[np.ndarray],
    cases: pd.DataFrame,
    catalog: Catalog,
    *,
    dataset: str,
    seed: int,
) -> np.ndarray:
    """Fit a baseline on histories and let it score cases.

    A model trained in epochs takes all of them and keeps the one best on validation users of `dataset`: few
    histories make few steps an epoch, and its patience, counted in epochs, would end it before it learns.

    Returns:
        Shape (n_cases, n_items), rounded: few histories leave many items alike, and what comes first of
        equals must not depend on the errors of an inverse.
    """
    settings = dict(hyperparameters)
    if "max_epochs" in settings:
        settings["patience"] = settings["max_epochs"]
    model = baselines.build(name, catalog.ids, seed=seed, catalog=catalog, **settings)
    model.fit(list(histories), validate=experiment.validation_score(dataset, seed=seed))
    return np.round(model.score(cases[HISTORY]), _DECIMALS)


def full_ranking(
    scores: np.ndarray, cases: pd.DataFrame, targets: pd.Series, item_ids: np.ndarray, *, seed: int
) -> pd.DataFrame:
    """The whole catalog ranked, items of the history left out, as headline lists are.

    Args:
        scores, cases, targets, item_ids: as :func:`sampled`.
        seed: of equal scores.

    Returns:
        As :func:`audit.steps.per_case`.
    """
    answers = np.array([targets[case][0] for case in cases[CASE]])
    draw = {"names": cases[CASE], "seed": seed}
    return steps.per_case(
        cases, predictions.target_ranks(scores, cases[HISTORY], answers, item_ids, **draw)
    )


def lstm_scores(cases: pd.DataFrame, *, dataset: str, max_history: int | None = None) -> np.ndarray:
    """Log-probabilities of the trained LSTM for cases it has no stored scores of.

    The network's shape comes from the section `lstm` of `params.yaml`, with which its weights were made.

    Args:
        max_history: last items of a history that it reads; as many as in notebook 02 if left out.

    Returns:
        Shape (n_cases, n_items), float32 as the stored ones are.

    Raises:
        StudyError: when the weights are not there.
    """
    # Keras takes seconds to import, which readers of the other functions need not pay.
    from dualrec_utils.models.lstm.network import build_model
    from dualrec_utils.models.lstm.training import log_probabilities

    path = config.stage_dir(dataset, "lstm") / "lstm.weights.h5"
    if not path.is_file():
        raise StudyError(f"{path} is not there: run `dvc repro lstm` first")
    settings, catalog = params.section("lstm"), load_catalog(dataset)
    shape = {key: settings[key] for key in ("title_vocabulary", "title_length")}
    model = build_model(item_features(catalog, **shape), dropout=settings["dropout"])
    model.load_weights(path)
    rows = [catalog.rows(history) for history in cases[HISTORY]]
    longest = max_history or settings["max_history"]
    return log_probabilities(model, rows, max_history=longest)

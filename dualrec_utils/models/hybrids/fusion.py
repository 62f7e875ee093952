"""Combine the LSTM's distribution over items with another model's.

With a language model that is the study's own `dualrec_fusion`. The paper hands the LSTM's item to the
language model inside the prompt and reads the answer (section 4.2.2). Here both models score the same
candidates and the scores are combined, so that neither model's doubt is lost. The candidates of a case are
the LSTM's first items, whatever the other model is, so that all pairs choose among the same items; each
model's scores are turned into a distribution over them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import log_softmax, logsumexp
from scipy.stats import rankdata

from dualrec_utils.core import predictions
from dualrec_utils.core.catalog import Catalog, marked
from dualrec_utils.core.config import CASE, HISTORY, ITEM
from dualrec_utils.core.errors import StudyError
from dualrec_utils.core.predictions import SEEN_KEPT, Lists, Scope
from dualrec_utils.models import handoff
from dualrec_utils.models.handoff import LOG_PROBABILITY

SYSTEM_NAME = "dualrec_fusion"
METHODS = ("log_linear", "mixture", "reciprocal_rank")
# Of reciprocal rank fusion, as its authors set it (Cormack, Clarke and Buettcher, SIGIR 2009).
_RECIPROCAL_K = 60


class Sides(NamedTuple):
    """What both models believe of the cases of one scope, before anything is combined.

    Attributes:
        lstm: shape (n_cases, n_items), log-probabilities of every item.
        other: same shape, the other model's scores in nats, NaN where it scored none.
        cases: frame with `case_id`, `user_id` and `history`, row i belonging to row i of the matrices.
    """

    lstm: np.ndarray
    other: np.ndarray
    cases: pd.DataFrame


def load_sides(model: str, scope: Scope, catalog: Catalog) -> Sides:
    """Read the LSTM's and a language model's scores for the cases of a scope.

    Args:
        model: the language model's name in `params.yaml`.
        scope: whose stage plays no part.

    Raises:
        StudyError: when one of the two has not left its scores, or they belong to other cases.
    """
    cases, titles = predictions.load_cases(scope), handoff.load_title_scores(model, scope)
    return Sides(
        handoff.load_scores(handoff.LSTM, scope), title_score_matrix(titles, cases, catalog), cases
    )


def title_score_matrix(frame: pd.DataFrame, cases: pd.DataFrame, catalog: Catalog) -> np.ndarray:
    """A language model's title scores as a matrix.

    Args:
        frame: `case_id`, `item_id`, `log_probability` (nats, sum over the title line's tokens and its
            terminator); any items of the catalog for each case, at least one.
        cases: frame with `case_id`.

    Returns:
        Shape (n_cases, n_items), NaN where the language model scored nothing.

    Raises:
        StudyError: naming the case or item that is unknown, scored twice, not a number or missing.
    """
    rows = pd.Index(cases[CASE]).get_indexer(frame[CASE])
    columns = pd.Index(catalog.ids).get_indexer(frame[ITEM])
    scores = frame[LOG_PROBABILITY].to_numpy(dtype=np.float64)
    faults = {
        "a case that the split does not have": rows < 0,
        "an item that the catalog does not have": columns < 0,
        "an item scored twice": frame.duplicated([CASE, ITEM]).to_numpy(),
        "a score that is not a finite number": ~np.isfinite(scores),
    }
    for fault, wrong in faults.items():
        if wrong.any():
            row = frame.iloc[wrong.argmax()]
            raise StudyError(
                f"title scores hold {fault}: case {row[CASE]!r}, item {row[ITEM]}, score"
                f" {row[LOG_PROBABILITY]}; score the titles anew for the present cases and catalog"
            )
    matrix = np.full((len(cases), len(catalog)), np.nan)
    matrix[rows, columns] = scores
    empty = np.isnan(matrix).all(axis=1)
    if empty.any():
        raise StudyError(f"case {cases[CASE].iloc[empty.argmax()]!r} has no title score: score every case")
    return matrix


def align(
    lstm: np.ndarray,
    other: np.ndarray,
    cases: pd.DataFrame,
    catalog: Catalog,
    *,
    seed: int,
    exclude_seen: bool = True,
    n_candidates: int = predictions.MAX_LENGTH,
) -> tuple[np.ndarray, np.ndarray]:
    """Both models' distributions over the same candidates.

    A candidate that the other model did not score gets that case's lowest score: where the scored
    items are the model's own best, as a beam's are, none of the others can deserve more. Each side is
    then renormalised over the candidates. That shifts all scores of a case alike and so cannot change
    a weighted sum of log-probabilities; a mixture of probabilities needs it, since a language model
    spends part of its probability on texts that are no title.

    Args:
        lstm: shape (n_cases, n_items), log-probabilities of every item.
        other: same shape, NaN where not scored, as in :class:`Sides`.
        cases: frame with `case_id` and `history`, row i belonging to row i of the matrices.
        seed: of equal scores at the edge of the LSTM's best.
        exclude_seen: leave the items of the history out, on both sides, before renormalising.
        n_candidates: first items of the LSTM, the candidates.

    Returns:
        (lstm, other): same shape, each row's probabilities sum to 1, minus infinity outside the
        candidates.

    Raises:
        StudyError: when shapes disagree, or the other model scored no item of a case.
    """
    if not lstm.shape == other.shape == (len(cases), len(catalog)):
        raise StudyError(
            f"LSTM scores have shape {lstm.shape}, the other's {other.shape}; both must be"
            f" ({len(cases)}, {len(catalog)}): one row a case and one column a catalog item"
        )
    allowed = np.ones(lstm.shape, dtype=bool)
    if exclude_seen:
        allowed = ~marked(cases[HISTORY], catalog.ids)
    likely = np.zeros(lstm.shape, dtype=bool)
    best = predictions.best(np.where(allowed, lstm, -np.inf), cases[CASE], seed=seed, k=n_candidates)
    np.put_along_axis(likely, best, True, axis=1)
    candidates = likely & allowed
    scored = ~np.isnan(other) & allowed
    if not scored.any(axis=1).all():
        lacking = cases[CASE].iloc[(~scored.any(axis=1)).argmax()]
        raise StudyError(f"case {lacking!r}: the other model scored no item outside the history")
    floor = np.where(scored, other, np.inf).min(axis=1, keepdims=True)
    filled = np.where(scored, other, floor)
    both = (np.where(candidates, side, -np.inf) for side in (lstm, filled))
    first, second = (log_softmax(side, axis=1) for side in both)
    return first, second


def combine(lstm: np.ndarray, other: np.ndarray, *, weight: float, method: str) -> np.ndarray:
    """One score for each candidate.

    With p for the two distributions, w for `weight` and r for an item's rank on one side:

    - `log_linear`: w log p_other + (1 - w) log p_lstm (a product of experts)
    - `mixture`: log(w p_other + (1 - w) p_lstm)
    - `reciprocal_rank`: w / (60 + r_other) + (1 - w) / (60 + r_lstm), the weighted form of Cormack
      et al. (SIGIR 2009); equal scores share the better rank

    A temperature for either side would add nothing to `log_linear`: only the ratio of the two factors
    decides the order.

    Args:
        lstm, other: from :func:`align`.
        weight: of the other model, in [0, 1].
        method: one of :data:`METHODS`.

    Returns:
        Same shape, higher is better, minus infinity outside the candidates.

    Raises:
        StudyError: on another method or weight.
    """
    if not 0 <= weight <= 1:
        raise StudyError(f"the fusion weight is {weight}; allowed: 0 (the LSTM alone) to 1")
    inside = np.isfinite(lstm)
    fused = np.full(lstm.shape, -np.inf)
    if method == "log_linear":
        fused[inside] = weight * other[inside] + (1 - weight) * lstm[inside]
    elif method == "mixture":
        both = np.stack([other[inside], lstm[inside]])
        fused[inside] = logsumexp(both, b=np.array([[weight], [1 - weight]]), axis=0)
    elif method == "reciprocal_rank":
        ranks = [rankdata(-side, method="min", axis=1)[inside] for side in (other, lstm)]
        fused[inside] = weight / (_RECIPROCAL_K + ranks[0]) + (1 - weight) / (_RECIPROCAL_K + ranks[1])
    else:
        raise StudyError(f"unknown fusion method {method!r}; known: {list(METHODS)}")
    return fused


def fused_lists(
    lstm: np.ndarray,
    other: np.ndarray,
    cases: pd.DataFrame,
    catalog: Catalog,
    *,
    weight: float,
    method: str,
    seed: int,
    exclude_seen: bool = True,
    n_candidates: int = predictions.MAX_LENGTH,
) -> pd.DataFrame:
    """Predictions of the fusion, lists of at most 100: :func:`align`, then :func:`combine`.

    Args and errors: as there; `seed` is written into the column, too.
    """
    shown = {"seed": seed, "exclude_seen": exclude_seen, "n_candidates": n_candidates}
    sides = align(lstm, other, cases, catalog, **shown)
    fused = combine(*sides, weight=weight, method=method)
    # What is seen is out already: minus infinity.
    return predictions.from_scores(fused, cases, catalog.ids, seed=seed, exclude_seen=False)


def fuse_all(
    sides: Mapping[Scope, Sides], catalog: Catalog, *, system: str = SYSTEM_NAME, **settings
) -> Lists:
    """:func:`fused_lists` of every scope, the headline lists and those with seen items kept.

    Args:
        sides: from :func:`load_sides`.
        system: its name in files.
        settings: `weight`, `method`, `seed`, `n_candidates` of :func:`fused_lists`.
    """
    return {
        (scope, system + suffix): fused_lists(*both, catalog, exclude_seen=not suffix, **settings)
        for scope, both in sides.items()
        for suffix in ("", SEEN_KEPT)
    }

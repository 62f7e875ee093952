"""The LSTM fused with models that are no language models: what any second model gives.

Two models that err differently do better together, whatever they are. So the gain of LSTM and language
model over the LSTM counts as the language model's only above the gain with a second LSTM, with GRU4Rec and
with EASE-R. Candidates, methods, weights and their choice are those of :mod:`models.hybrids.fusion`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from dualrec_utils.core import evaluation, predictions, splits
from dualrec_utils.core.catalog import Catalog
from dualrec_utils.core.config import CASE, USER
from dualrec_utils.core.predictions import Lists, Scope
from dualrec_utils.models import handoff
from dualrec_utils.models.hybrids import fusion, weights
from dualrec_utils.models.hybrids.fusion import Sides

# With a model's name behind it, a control's name in files.
PREFIX = "fusion_lstm_"
MODELS = (handoff.LSTM_AGAIN, *handoff.SCORED_BASELINES)
# Its scores are sums of weights, no log-probabilities.
_WITHOUT_UNIT = ("ease",)
# Between these the temperature is looked for, in powers of e.
_TEMPERATURES = (-7.0, 7.0)


def load(
    scopes: Iterable[Scope], catalog: Catalog, *, tuning: Scope, seed: int, n_candidates: int
) -> dict[str, dict[Scope, Sides]]:
    """Read the scores of the LSTM and of each second model that the run has.

    Args:
        tuning: the validation cases on which the temperature of scores without a unit is fitted.
        seed, n_candidates: as :func:`models.hybrids.fusion.align`.

    Returns:
        System, such as `fusion_lstm_ease` -> scope -> both sides.

    Raises:
        StudyError: as :func:`models.handoff.load_scores`.
    """
    there, pairs = handoff.scored_baselines(tuning.dataset), {}
    for name in MODELS:
        if name in handoff.SCORED_BASELINES and name not in there:
            continue
        sides = {scope: _sides(name, scope) for scope in scopes}
        if name in _WITHOUT_UNIT:
            heat = temperature(sides[tuning], catalog, scope=tuning, seed=seed, n_candidates=n_candidates)
            sides = {scope: one._replace(other=one.other / heat) for scope, one in sides.items()}
        pairs[PREFIX + name] = sides
    return pairs


def _sides(name: str, scope: Scope) -> Sides:
    scores = (handoff.load_scores(model, scope) for model in (handoff.LSTM, name))
    return Sides(*scores, predictions.load_cases(scope))


def temperature(sides: Sides, catalog: Catalog, *, scope: Scope, seed: int, n_candidates: int) -> float:
    """What scores must be divided by so that validation users' next items are likeliest.

    A softmax turns scores into probabilities; without a unit, they may be too flat or too steep for that.
    The likelihood is that of the target among the candidates, where it is one, averaged per user first.

    Args:
        sides: of the validation cases of `next_item`. scope: of the same cases.
        seed, n_candidates: as :func:`models.hybrids.fusion.align`.

    Raises:
        StudyError: when a case is not of a validation user.
    """
    splits.check_apart(sides.cases[USER], splits.load_splits(scope.dataset), split="validation")
    _, other = fusion.align(*sides, catalog, seed=seed, n_candidates=n_candidates)
    targets = evaluation.load_targets(scope.dataset, scope.protocol)
    columns = catalog.columns(sides.cases[CASE].map(targets).str[0])
    rows = np.flatnonzero(np.isfinite(other[np.arange(len(other)), columns]))
    users = sides.cases[USER].to_numpy()[rows]

    def loss(power: float) -> float:
        scores = log_softmax(other[rows] / np.exp(power), axis=1)[np.arange(len(rows)), columns[rows]]
        return -pd.Series(scores).groupby(users).mean().mean()

    return float(np.exp(minimize_scalar(loss, bounds=_TEMPERATURES, method="bounded").x))


def choose(
    pairs: Mapping[str, Mapping[Scope, Sides]], catalog: Catalog, *, tuning: Scope, **searching
) -> dict[str, dict]:
    """:func:`models.hybrids.weights.choose_weight` for every control.

    Args:
        pairs: from :func:`load`.
        searching: `weights`, `methods`, `seed`, `n_candidates` of `choose_weight`.

    Returns:
        System -> `method`, `weight` of the second model, and `ndcg@5` on validation users.
    """
    return {
        system: weights.choose_weight(*sides[tuning], catalog, scope=tuning, **searching)[1]
        for system, sides in pairs.items()
    }


def fuse(
    pairs: Mapping[str, Mapping[Scope, Sides]],
    choices: Mapping[str, Mapping],
    catalog: Catalog,
    *,
    seed: int,
    n_candidates: int,
) -> Lists:
    """:func:`models.hybrids.fusion.fuse_all` for every control, with its choice from :func:`choose`."""
    made: Lists = {}
    for system, sides in pairs.items():
        chosen = {name: choices[system][name] for name in (weights.METHOD, weights.WEIGHT)}
        shown = {"system": system, "seed": seed, "n_candidates": n_candidates}
        made |= fusion.fuse_all(sides, catalog, **shown, **chosen)
    return made


def best(choices: Mapping[str, Mapping]) -> str:
    """The control with the highest `ndcg@5` on validation users; of equal ones the first."""
    return max(choices, key=lambda system: choices[system][evaluation.CHOSEN_BY])


def left_out(pairs: Mapping[str, object]) -> list[str]:
    """The models of :data:`MODELS` that `pairs` lacks: the run has not fitted them."""
    return [name for name in MODELS if PREFIX + name not in pairs]

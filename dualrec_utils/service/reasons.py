"""A plain reason for each recommendation, from the ratings of the data.

The evidence is the items nearest to the recommended one among those that somebody rated well: nearest by
how alike the same users rate both (:func:`models.ratings.neighbours.similarities`), whatever the model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from dualrec_utils.core.config import ITEM, RATING, USER
from dualrec_utils.models.ratings import explanations
from dualrec_utils.models.ratings.biases import Biases
from dualrec_utils.models.ratings.explanations import Described, Evidence
from dualrec_utils.models.ratings.neighbours import similarities
from dualrec_utils.service import prepared
from dualrec_utils.service.prepared import Prepared

# Of rated items that a reason names, and of tags in common.
_N_ITEMS, _N_TAGS = 2, 2
# Of similarities, in common users.
_SHRINKAGE = 20.0


class Reasons:
    """Reasons for some items, their similarities computed once.

    Args:
        data: prepared.
        items: recommended or rated; None: all of the data.
    """

    def __init__(self, data: Prepared, items: Sequence[int] | None = None) -> None:
        some = data.items if items is None else data.items[data.items[ITEM].isin(items)]
        tags = data.tags[data.tags[ITEM].isin(some[ITEM])]
        tags = tags.assign(tag=[prepared.shown(tag).lower() for tag in tags["tag"]])
        tags = tags[tags["tag"] != ""].groupby(ITEM)["tag"].agg(lambda words: sorted(set(words)))
        names = [data.names[item] for item in some[ITEM].tolist()]
        self._items = Described(some, names=names, tags=tags.to_dict())
        self._likeness = _similarities(data, some[ITEM].tolist())
        self._middle = sum(data.known.scale) / 2

    def of(
        self, items: Sequence[int], predictions: np.ndarray, *, rated: Mapping[int, float], given: bool
    ) -> list[str]:
        """A reason for each item; empty where the data have none.

        Args:
            items: recommended, shape (n,); predictions: their ratings.
            rated: item id -> rating, of the person.
            given: whether the person gave these ratings; otherwise they stand for what was named.
        """
        # What is rated no lower than the person's mean, nor in the lower half of the scale.
        least = max(float(np.mean(list(rated.values()))), self._middle) if rated else 0.0
        liked = {item: rating for item, rating in rated.items() if rating >= least}
        pairs = zip(items, predictions, strict=True)
        return [_said(self._evidence(item, liked, float(stars)), given) for item, stars in pairs]

    def _evidence(self, item: int, liked: Mapping[int, float], prediction: float) -> Evidence:
        made = explanations.evidence_of(
            item,
            liked,
            prediction=prediction,
            without_text=None,
            likeness=self._likeness,
            items=self._items,
            n_similar=_N_ITEMS,
        )
        return replace(made, tags=made.tags[:_N_TAGS])


def of(
    data: Prepared,
    items: Sequence[int],
    predictions: np.ndarray,
    *,
    rated: Mapping[int, float],
    given: bool,
) -> list[str]:
    """:meth:`Reasons.of` for one list alone."""
    return Reasons(data, [*items, *rated]).of(items, predictions, rated=rated, given=given)


def _said(evidence: Evidence, given: bool) -> str:
    if not evidence.similar:
        return ""
    # The table has the title and the prediction.
    start = f"{evidence.title}: {evidence.prediction:.1f} stars expected."
    if given:
        return explanations.sentence(evidence).removeprefix(start).strip()
    rest = explanations.sentence(replace(evidence, similar=())).removeprefix(start)
    return f"Near {' and '.join(title for title, _ in evidence.similar)}.{rest}"


def _similarities(data: Prepared, items: Sequence[int]) -> np.ndarray:
    """Of these items, each with each, shape (n, n)."""
    training = data.part(prepared.TRAIN)
    around = Biases(data.known, seed=0).fit(training).predict(training)
    residuals = training[RATING].to_numpy(dtype=np.float64) - around
    places = pd.Index(items).get_indexer(training[ITEM])
    users, _ = pd.factorize(training[USER])
    here = places >= 0
    if not here.any():
        return np.zeros((len(items), len(items)))
    return similarities(
        users[here], places[here], residuals[here], n_items=len(items), shrinkage=_SHRINKAGE
    )

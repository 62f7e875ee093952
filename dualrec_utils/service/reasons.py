"""A plain reason for each recommendation, from the ratings of the data.

The evidence is the items nearest to the recommended one among those that somebody rated well: nearest by
how alike the same users rate both (:func:`models.ratings.neighbours.similarities`), whatever the model.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from dualrec_utils.core.config import GENRE_LIST, ITEM, RATING, USER
from dualrec_utils.models.ratings import explanations
from dualrec_utils.models.ratings.biases import Biases
from dualrec_utils.models.ratings.explanations import Evidence
from dualrec_utils.models.ratings.neighbours import similarities
from dualrec_utils.service import prepared
from dualrec_utils.service.prepared import Prepared

# Of rated items that a reason names, and of tags in common.
_N_ITEMS, _N_TAGS = 2, 2
# Of similarities, in common users.
_SHRINKAGE = 20.0


def of(
    data: Prepared,
    items: Sequence[int],
    predictions: np.ndarray,
    *,
    rated: Mapping[int, float],
    given: bool,
) -> list[str]:
    """A reason for each item; empty where the data have none.

    Args:
        items: recommended, shape (n,); predictions: their ratings.
        rated: item id -> rating, of the person.
        given: whether the person gave these ratings; otherwise they stand for what was named.
    """
    return [_said(evidence, given) for evidence in _evidence(data, items, predictions, rated)]


def _said(evidence: Evidence, given: bool) -> str:
    if not evidence.similar:
        return ""
    # The table has the title and the prediction.
    start = f"{evidence.title}: {evidence.prediction:.1f} stars expected."
    if given:
        return explanations.sentence(evidence).removeprefix(start).strip()
    rest = explanations.sentence(replace(evidence, similar=())).removeprefix(start)
    return f"Near {' and '.join(title for title, _ in evidence.similar)}.{rest}"


def _evidence(
    data: Prepared, items: Sequence[int], predictions: np.ndarray, rated: Mapping[int, float]
) -> list[Evidence]:
    # Of somebody who likes nothing above all, everything that is rated counts.
    mean = np.mean(list(rated.values())) if rated else 0.0
    liked = [item for item, rating in rated.items() if rating >= mean]
    near = _similarities(data, [*items, *liked])[: len(items), len(items) :]
    genres = dict(zip(data.items[ITEM].tolist(), data.items[GENRE_LIST], strict=True))
    tags = data.tags.assign(tag=data.tags["tag"].astype(str).str.strip().str.lower())
    tags = tags[tags[ITEM].isin([*items, *liked])].groupby(ITEM)["tag"].agg(set).to_dict()
    found = []
    for row, (item, prediction) in enumerate(zip(items, predictions, strict=True)):
        best = [
            liked[place]
            for place in np.argsort(-near[row], kind="stable")
            if near[row, place] > 0 and liked[place] != item
        ]
        best = best[:_N_ITEMS]
        found.append(
            Evidence(
                data.names[item],
                float(prediction),
                [(data.names[one], rated[one]) for one in best],
                _shared(genres[item], [genres[one] for one in best]),
                _shared(sorted(tags.get(item, ())), [tags.get(one, ()) for one in best])[:_N_TAGS],
            )
        )
    return found


def _shared(of_item: Sequence[str], of_others: Sequence[Sequence[str]]) -> list[str]:
    """What the item has in common with any of the others, most shared first."""
    counts = Counter(word for words in of_others for word in set(words))
    return sorted((word for word in of_item if counts[word]), key=lambda word: -counts[word])


def _similarities(data: Prepared, items: Sequence[int]) -> np.ndarray:
    """Of these items, each with each, shape (n, n)."""
    training = data.part(prepared.TRAIN)
    around = Biases(data.known, seed=0).fit(training).predict(training)
    residuals = training[RATING].to_numpy(dtype=np.float64) - around
    distinct = list(dict.fromkeys(items))
    places = pd.Index(distinct).get_indexer(training[ITEM])
    users, _ = pd.factorize(training[USER])
    here = places >= 0
    if not here.any():
        return np.zeros((len(items), len(items)))
    table = similarities(
        users[here], places[here], residuals[here], n_items=len(distinct), shrinkage=_SHRINKAGE
    )
    rows = pd.Index(distinct).get_indexer(items)
    return table[np.ix_(rows, rows)]

"""Why an item is recommended: the evidence, and a sentence made from it.

The evidence is what the model saw: the rated items nearest to the recommended one, with their ratings;
genres and tags in common; what the text features add to the prediction. :mod:`models.ratings.wordings` lets
a language model put it into words of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dualrec_utils.core.catalog import title_with_year
from dualrec_utils.core.config import GENRE_LIST, ITEM, RANK, RATING, SYSTEM, TITLE, USER, YEAR
from dualrec_utils.core.errors import StudyError
from dualrec_utils.core.ratings import PREDICTION


@dataclass(frozen=True)
class Evidence:
    """What speaks for a recommendation.

    Attributes:
        title: of the recommended item, with its year.
        prediction: of its rating.
        similar: (title, rating) of the nearest items that the user rated, nearest first.
        genres: of the item that those items share, most shared first.
        tags: in the same way; empty where the data have none.
        text_gain: prediction with text features minus that without them; None where the model has none.
    """

    title: str
    prediction: float
    similar: Sequence[tuple[str, float]] = ()
    genres: Sequence[str] = ()
    tags: Sequence[str] = ()
    text_gain: float | None = None


def names_of(items: pd.DataFrame) -> list[str]:
    """Title and year of each item, in the order given."""
    return [title_with_year(title, year) for title, year in zip(items[TITLE], items[YEAR], strict=True)]


class Described:
    """What is known of items, as plain lists: a page asks for five reasons at a time, and frames are slow.

    Args:
        items: `item_id`, `title`, `year`, `genres`.
        names: as they are shown, in the order of `items`; None: title and year.
        tags: item id -> its tags, the heaviest first.

    Attributes:
        row_of: item id -> its row.
        names, genres, tags: of each row.
    """

    def __init__(
        self,
        items: pd.DataFrame,
        *,
        names: Sequence[str] | None = None,
        tags: Mapping[int, Sequence[str]] | None = None,
    ) -> None:
        numbers = items[ITEM].tolist()
        self.row_of = {number: row for row, number in enumerate(numbers)}
        self.names = names_of(items) if names is None else names
        self.genres = items[GENRE_LIST].tolist()
        self.tags = [(tags or {}).get(number, ()) for number in numbers]


def evidence_of(
    item: int,
    rated: Mapping[int, float],
    *,
    prediction: float,
    without_text: float | None,
    likeness: np.ndarray,
    items: Described,
    n_similar: int,
) -> Evidence:
    """What speaks for one recommendation.

    Args:
        item: the recommended one.
        rated: item id -> rating, of the user.
        prediction: of the recommended item's rating.
        without_text: the same of a model without text features; None where there is none.
        likeness: shape (n_items, n_items), higher is nearer; only items above 0 count as near.
        items: the rows of `likeness`.
        n_similar: rated items at most.

    Raises:
        StudyError: for an item that `items` lacks.
    """
    row_of = items.row_of
    if strange := [number for number in (item, *rated) if number not in row_of]:
        raise StudyError(f"item {strange[0]} is not among the {len(row_of)} items")
    here = row_of[item]
    # Of equally near items the one with the lower id comes first.
    near = sorted((-likeness[here, row_of[other]], other) for other in rated if other != item)
    similar = [other for distance, other in near if distance < 0][:n_similar]
    rows = [row_of[other] for other in similar]
    return Evidence(
        items.names[here],
        float(prediction),
        [(items.names[row], float(rated[other])) for row, other in zip(rows, similar, strict=True)],
        _shared(items.genres[here], [items.genres[row] for row in rows]),
        _shared(items.tags[here], [items.tags[row] for row in rows]),
        None if without_text is None else float(prediction - without_text),
    )


def explained(
    lists: pd.DataFrame,
    rated: pd.DataFrame,
    *,
    system: str,
    without_text: str | None,
    likeness: np.ndarray,
    items: Described,
    n_recommended: int,
    n_similar: int,
) -> tuple[pd.DataFrame, list[Evidence]]:
    """The items that a system predicts highest for each user, of those not rated, each with its evidence.

    Args:
        lists: `system`, `user_id`, `item_id`, `prediction`: every item for some users.
        rated: `user_id`, `item_id`, `rating`: what is known of them.
        system: whose recommendations these are.
        without_text: the same system without text features; None where there is none.
        n_recommended: of each user.
        likeness, items, n_similar: as :func:`evidence_of`.

    Returns:
        (`user_id`, `rank` (from 1), `item_id`, `prediction`, `text_gain`; the evidence of each row). Of
        equal predictions the lower item id comes first.
    """
    keys = [USER, ITEM]
    ours = lists[lists[SYSTEM] == system].drop(columns=SYSTEM)
    fresh = ours.merge(rated[keys], on=keys, how="left", indicator=True)
    fresh = fresh[fresh["_merge"] == "left_only"].drop(columns="_merge")
    best = fresh.sort_values([USER, PREDICTION, ITEM], ascending=[True, False, True])
    best = best.groupby(USER).head(n_recommended)[[*keys, PREDICTION]].reset_index(drop=True)
    best.insert(1, RANK, best.groupby(USER).cumcount() + 1)
    plain = lists[lists[SYSTEM] == without_text].set_index(keys)[PREDICTION]
    theirs = {user: dict(zip(part[ITEM], part[RATING], strict=True)) for user, part in rated.groupby(USER)}
    shared = {"likeness": likeness, "items": items, "n_similar": n_similar}
    evidence = [
        evidence_of(
            row.item_id,
            theirs.get(row.user_id, {}),
            prediction=row.prediction,
            without_text=None if without_text is None else plain[row.user_id, row.item_id],
            **shared,
        )
        for row in best.itertuples()
    ]
    gains = [np.nan if one.text_gain is None else one.text_gain for one in evidence]
    return best.assign(text_gain=gains), evidence


def _shared(of_item: Sequence[str], of_others: Sequence[Sequence[str]]) -> list[str]:
    """Those of the item that others have too, most shared first, then in the item's order."""
    counts = Counter(word for words in of_others for word in set(words))
    return sorted((word for word in of_item if counts[word]), key=lambda word: -counts[word])


def sentence(evidence: Evidence) -> str:
    """The evidence in plain words: no more, no less.

    >>> sentence(Evidence("Heat (1995)", 4.26, [("Casino (1995)", 5.0)], ["Crime"], (), 0.1))
    'Heat (1995): 4.3 stars expected. You gave Casino (1995) 5. In common: Crime. Its text adds 0.1 stars.'
    """
    parts = [f"{evidence.title}: {evidence.prediction:.1f} stars expected."]
    if evidence.similar:
        given = [f"{title} {rating:g}" for title, rating in evidence.similar]
        parts.append(f"You gave {_listed(given)}.")
    if common := [*evidence.genres, *(f'the tag "{tag}"' for tag in evidence.tags)]:
        parts.append(f"In common: {_listed(common)}.")
    if evidence.text_gain is not None:
        gain = round(evidence.text_gain, 1)
        verb = "adds" if gain > 0 else "takes away"
        parts.append(f"Its text {verb} {abs(gain):g} stars." if gain else "Its text changes nothing.")
    return " ".join(parts)


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"

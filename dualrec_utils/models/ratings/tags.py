"""Tags of items and of users with their weights, as the cross-attention hybrid reads them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from dualrec_utils.core.config import GENRE_LIST, ITEM, RATING, USER
from dualrec_utils.models.ratings.base import Known

TAG, WEIGHT = "tag", "weight"
# The heaviest ones that count.
N_OF_ITEM, N_OF_USER = 10, 20
# What a tag that is the name of a genre weighs in a user's tags.
_GENRE_WEIGHT = 2.0


def of_items(known: Known, ratings: pd.DataFrame) -> pd.DataFrame:
    """The ten tags that an item was given most often, in lower case.

    A tag counts where the rating of the same user and item is among those given: who tags an item has
    rated it, so that tags of a held-out rating would give it away. Tags used once in all are left out.

    Args:
        known: tags.
        ratings: `user_id`, `item_id`: the training ones.

    Returns:
        `item_id`, `tag`, `weight` (how often), the heaviest first, ties by the alphabet.
    """
    tags = known.tags[[USER, ITEM, TAG]].merge(ratings[[USER, ITEM]], on=[USER, ITEM])
    tags = tags.assign(**{TAG: tags[TAG].astype("str").str.strip().str.lower()})
    tags = tags[tags[TAG] != ""]
    tags = tags[tags.groupby(TAG)[ITEM].transform("size") > 1]
    counts = tags.groupby([ITEM, TAG]).size().astype(float).rename(WEIGHT).reset_index()
    return _heaviest(counts, ITEM, N_OF_ITEM)


def of_users(item_tags: pd.DataFrame, known: Known, ratings: pd.DataFrame) -> pd.DataFrame:
    """The twenty heaviest tags of the items that a user rated.

    A tag weighs what it weighs in the item times exp(rating - 3), summed over items; names of genres
    weigh double.

    Args:
        item_tags: of :func:`of_items`.
        known: items, whose genres these are.
        ratings: `user_id`, `item_id`, `rating`.

    Returns:
        `user_id`, `tag`, `weight`, as :func:`of_items`.
    """
    genres = {genre.lower() for of_item in known.items[GENRE_LIST] for genre in of_item}
    joined = ratings[[USER, ITEM, RATING]].merge(item_tags, on=ITEM)
    weights = joined[WEIGHT] * np.exp(joined[RATING].astype(float) - 3.0)
    weights *= np.where(joined[TAG].isin(genres), _GENRE_WEIGHT, 1.0)
    sums = joined.assign(**{WEIGHT: weights}).groupby([USER, TAG])[WEIGHT].sum().reset_index()
    return _heaviest(sums, USER, N_OF_USER)


def mean_vectors(weights: pd.DataFrame, of: str, vectors: pd.DataFrame) -> pd.DataFrame:
    """Weighted mean of the tags' vectors, of length 1.

    Args:
        weights: of :func:`of_items` or :func:`of_users`.
        of: `item_id` or `user_id`.
        vectors: indexed by tag, a column a dimension.

    Returns:
        Indexed by `of`, ascending, for those who have a tag.
    """
    heavy = vectors.loc[weights[TAG]].to_numpy() * weights[WEIGHT].to_numpy()[:, None]
    sums = pd.DataFrame(heavy, index=pd.Index(weights[of])).groupby(level=0).sum()
    return sums.div(np.maximum(np.linalg.norm(sums, axis=1), 1e-12), axis=0)


def _heaviest(weights: pd.DataFrame, of: str, n: int) -> pd.DataFrame:
    ordered = weights.sort_values([of, WEIGHT, TAG], ascending=[True, False, True], ignore_index=True)
    return ordered.groupby(of).head(n).reset_index(drop=True)

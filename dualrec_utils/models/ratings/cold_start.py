"""Cold start: who is held out, what a model may know of them, and that it knows no more.

Users: some are held out whole. Of each the last ratings are targets; of the others, in order, a model is
given the first few as a profile, and perhaps a text. Items: of some, a part of the ratings are targets, and
of the others so many stay in training. Targets are the same for every number, so that numbers compare.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dualrec_utils.core import config, files, ratings as rules
from dualrec_utils.core.config import GENRE_LIST, ITEM, RATING, USER
from dualrec_utils.core.errors import StudyError
from dualrec_utils.core.ratings import RATING_ID
from dualrec_utils.models.ratings import texts
from dualrec_utils.models.ratings.base import Known, Profile
from dualrec_utils.models.ratings.biases import shrunk_means

STAGE = "cold_start"
# Column of how many ratings are known, and its value for all but the targets.
N_KNOWN, ALL = "n_known", "all"
# Column of what a text says, and its values: nothing, who somebody is, and what they like as well.
SAID = "text"
NOTHING, DEMOGRAPHICS, TASTES = "none", "demographics", "demographics and tastes"
_COLUMNS = [RATING_ID, USER, ITEM, RATING]
# Genres that a text of tastes names, and ratings at which a genre's mean counts half.
_N_GENRES, _SHRINKAGE = 2, 5.0


@dataclass(frozen=True)
class HeldOut:
    """Ratings in three parts, each with `rating_id`, `user_id`, `item_id`, `rating`.

    Attributes:
        by: `user_id` or `item_id`: what is held out.
        others: ratings of everybody else, or of all other items.
        known: of those held out, in the order in which they become known.
        targets: of those held out, to be predicted; of nobody else.
    """

    by: str
    others: pd.DataFrame
    known: pd.DataFrame
    targets: pd.DataFrame

    def first(self, n_known: int | None) -> pd.DataFrame:
        """The first so many known ratings of each one held out; None for all."""
        return self.known if n_known is None else self.known.groupby(self.by, sort=False).head(n_known)


def load_ordered(dataset: str) -> pd.DataFrame:
    """All ratings of a data set, each user's in the study's order (by second, then drawn by `order_seed`).

    Returns:
        `rating_id`, `user_id`, `item_id`, `rating`.
    """
    ordered = files.read_parquet_of("data", config.processed_dir(dataset) / "ratings_raw.parquet")
    numbers = rules.load(dataset)[[RATING_ID, USER, ITEM]]
    joined = ordered[[USER, ITEM, RATING]].merge(numbers, on=[USER, ITEM], validate="one_to_one")
    if len(joined) != len(numbers):
        raise StudyError(f"ratings_raw of {dataset} has other ratings than the file: run stage `data` anew")
    return joined[_COLUMNS].astype({RATING: np.float64})


def tuning_users(user_ids: np.ndarray, *, n_users: int, seed: int) -> np.ndarray:
    """Users on whom settings for somebody new were chosen: they are never held out here.

    Args:
        user_ids: of all users.
        n_users: at most; none where the data set is as small.
        seed: of the draw.
    """
    ids = np.unique(user_ids)
    return (
        ids[np.random.default_rng(seed).permutation(len(ids))[:n_users]] if len(ids) > n_users else ids[:0]
    )


def hold_out_users(
    ratings: pd.DataFrame, *, n_users: int, n_targets: int, seed: int, spared: Sequence[int] = ()
) -> HeldOut:
    """Hold out users drawn by the seed: the last ratings of each are targets, at most half of them.

    Args:
        ratings: of :func:`load_ordered`.
        n_users: at least 2; half of those who are not spared at most.
        n_targets: of each.
        seed: of the draw.
        spared: user ids that stay in training.

    Raises:
        StudyError: when so many cannot be held out.
    """
    counts = ratings[USER].value_counts().drop(list(spared), errors="ignore")
    drawn = _drawn(counts[counts > 1].index.to_numpy(), n_users, seed=seed, what="users")
    theirs = ratings[ratings[USER].isin(drawn)]
    n_after = theirs.groupby(USER).cumcount(ascending=False)
    size = theirs.groupby(USER)[USER].transform("size")
    late = n_after < np.minimum(n_targets, size // 2)
    return HeldOut(USER, ratings[~ratings[USER].isin(drawn)], theirs[~late], theirs[late])


def hold_out_items(
    ratings: pd.DataFrame, *, n_items: int, n_targets: int, least_known: int, seed: int
) -> HeldOut:
    """Hold out items drawn by the seed: so many ratings of each, drawn too, are targets.

    Args:
        ratings: of :func:`load_ordered`.
        n_items: at least 2; half of those with enough ratings at most.
        n_targets: of each.
        least_known: an item has at least so many ratings besides.
        seed: of both draws. The order in which the other ratings become known is drawn as well.

    Raises:
        StudyError: when so many cannot be held out.
    """
    counts = ratings[ITEM].value_counts()
    enough = counts[counts >= n_targets + least_known].index.to_numpy()
    drawn = _drawn(enough, n_items, seed=seed, what=f"items with {n_targets + least_known} ratings or more")
    theirs = ratings[ratings[ITEM].isin(drawn)].sample(frac=1, random_state=seed)
    late = theirs.groupby(ITEM).cumcount() < n_targets
    return HeldOut(ITEM, ratings[~ratings[ITEM].isin(drawn)], theirs[~late], theirs[late])


def _drawn(ids: np.ndarray, n: int, *, seed: int, what: str) -> np.ndarray:
    if not 2 <= n <= len(ids) // 2:
        raise StudyError(f"{n} of {len(ids)} {what} cannot be held out; allowed: 2 to {len(ids) // 2}")
    return np.random.default_rng(seed).choice(np.sort(ids), size=n, replace=False)


def user_texts(held: HeldOut, known: Known, said: str) -> dict[int, str]:
    """What the held-out users say of themselves: user id -> text, empty where nothing is known.

    Tastes are made up from the known ratings, in the place of what somebody would say: the two genres whose
    mean rating lies most above the user's. Targets are not read.

    Args:
        said: :data:`NOTHING`, :data:`DEMOGRAPHICS` or :data:`TASTES`.
    """
    users = held.targets[USER].unique().tolist()
    if said == NOTHING:
        return dict.fromkeys(users, "")
    about = texts.demographics(known.users)
    if said == DEMOGRAPHICS:
        return {user: about.get(user, "") for user in users}
    likes = _likes(held.known, known)
    return {user: f"{about.get(user, '')} {likes.get(user, '')}".strip() for user in users}


def _likes(ratings: pd.DataFrame, known: Known) -> dict[int, str]:
    """User id -> "Enjoys Sci-Fi and Action movies.", for users with an item of any genre."""
    genres = known.items[[ITEM, GENRE_LIST]].explode(GENRE_LIST).dropna()
    around = ratings[RATING] - ratings.groupby(USER)[RATING].transform("mean")
    joined = ratings.assign(around=around).merge(genres, on=ITEM)
    groups = joined.groupby([USER, GENRE_LIST])
    table = groups.size().reset_index()[[USER, GENRE_LIST]]
    table["liked"] = shrunk_means(
        groups.ngroup().to_numpy(), joined["around"].to_numpy(), len(table), _SHRINKAGE
    )
    best = table.sort_values([USER, "liked", GENRE_LIST], ascending=[True, False, True])
    named = best.groupby(USER).head(_N_GENRES).groupby(USER)[GENRE_LIST].agg(" and ".join)
    return {int(user): f"Enjoys {said} movies." for user, said in named.items()}


def profiles(held: HeldOut, *, n_known: int | None, said: Mapping[int, str]) -> dict[int, Profile]:
    """What a model is given of each held-out user.

    Args:
        n_known: so many first ratings; None for all but the targets.
        said: user id -> text.
    """
    given = {user: part for user, part in held.first(n_known).groupby(USER)}
    nobody = held.known.head(0)
    return {user: Profile(_pairs(given.get(user, nobody)), text) for user, text in said.items()}


def _pairs(ratings: pd.DataFrame) -> dict[int, float]:
    return dict(zip(ratings[ITEM].tolist(), ratings[RATING].tolist(), strict=True))


def check_users(training: pd.DataFrame, given: Mapping[int, Profile], held: HeldOut) -> None:
    """Refuse a model that would know what it is to predict.

    Args:
        training: what it is fitted on.
        given: its profiles.

    Raises:
        StudyError: when a held-out user has a rating in training, or a profile holds a target.
    """
    if len(strange := training[training[USER].isin(held.targets[USER])]):
        row = strange.iloc[0]
        raise StudyError(f"a rating of the held-out user {row[USER]:.0f} is in training: that is a leak")
    for user, item in held.targets[[USER, ITEM]].itertuples(index=False):
        if item in given.get(user, Profile()).ratings:
            raise StudyError(f"the profile of user {user} holds the target {item}: that is a leak")


def check_items(training: pd.DataFrame, held: HeldOut, *, n_known: int | None) -> None:
    """Refuse training ratings that hold a target, or more ratings of a held-out item than said.

    Raises:
        StudyError: naming the item.
    """
    both = training.merge(held.targets[[USER, ITEM]], on=[USER, ITEM])
    if len(both):
        raise StudyError(f"a target of item {both[ITEM].iloc[0]} is in training: that is a leak")
    counts = training[ITEM].value_counts().reindex(held.targets[ITEM].unique(), fill_value=0)
    if n_known is not None and (counts != n_known).any():
        item = counts.index[counts != n_known][0]
        raise StudyError(
            f"item {item} has {counts[item]} ratings in training, not {n_known}: that is a leak"
            if counts[item] > n_known
            else f"item {item} has {counts[item]} ratings in training, fewer than {n_known}"
        )

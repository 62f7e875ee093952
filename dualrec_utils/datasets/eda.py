"""The tables behind notebook 01: pure functions from frames to frames.

Frames come from `data/<dataset>/processed` (see :func:`load`). Nothing here is read by a model.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

from dualrec_utils.core import config, files
from dualrec_utils.core.catalog import Catalog
from dualrec_utils.core.config import (
    GENRE_LIST,
    ITEM,
    POSITION,
    RATING,
    SECOND,
    SPLIT,
    SPLITS,
    TIMESTAMP,
    TITLE,
    USER,
    YEAR,
)
from dualrec_utils.core.splits import WINDOW

TABLES = ("ratings_raw", "items_raw", "ratings_merged", "merged", "interactions", "items", "splits")
# Upper edges in seconds of the classes of time between two ratings.
GAP_CLASSES = {
    "same second": 0,
    "1–10 s": 10,
    "11–60 s": 60,
    "1–10 min": 600,
    "10–60 min": 3_600,
    "1–24 h": 86_400,
    "over a day": np.inf,
}


def load(dataset: str) -> dict[str, pd.DataFrame]:
    """The frames of :data:`TABLES`, as stage `data` wrote them; targets are not among them."""
    folder = config.processed_dir(dataset)
    return {name: files.read_parquet_of("data", folder / f"{name}.parquet") for name in TABLES}


def dataset_table(steps: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Users, items, interactions and density at each step of the preparation.

    Args:
        steps: name of the step -> its interactions.

    Returns:
        One row a step: `step`, `users`, `movies` (rated at least once), `interactions`, `density`
        (share of user-item pairs that are rated, 0 to 1), `median_history` (items a user).
    """
    rows = []
    for step, frame in steps.items():
        users, movies = frame[USER].nunique(), frame[ITEM].nunique()
        median = frame[USER].value_counts().median()
        rows.append((step, users, movies, len(frame), len(frame) / (users * movies), median))
    columns = ["step", "users", "movies", "interactions", "density", "median_history"]
    return pd.DataFrame(rows, columns=columns)


def duplicates(ratings_raw: pd.DataFrame, items_raw: pd.DataFrame, merged: pd.DataFrame) -> pd.DataFrame:
    """Items listed twice in one year, the most rated first.

    Returns:
        `title`, `year`, `merged_title` (the title, or an alternative one), `kept_id`, `merged_id`,
        ratings of each (`n_kept`, `n_merged`) and `n_both`, the users who rated both.
    """
    raters = ratings_raw.groupby(ITEM)[USER].agg(set)
    named = items_raw.set_index(ITEM)
    rows = []
    for old, new in zip(merged[ITEM], merged["into"], strict=True):
        of_new, of_old = raters.get(new, set()), raters.get(old, set())
        counts = (len(of_new), len(of_old), len(of_new & of_old))
        rows.append((named.loc[new, TITLE], named.loc[new, YEAR], named.loc[old, TITLE], new, old, *counts))
    columns = [TITLE, YEAR, "merged_title", "kept_id", "merged_id", "n_kept", "n_merged", "n_both"]
    frame = pd.DataFrame(rows, columns=columns)
    total = frame["n_kept"] + frame["n_merged"]
    return frame.loc[total.sort_values(ascending=False, kind="stable").index].reset_index(drop=True)


def popularity(ratings: pd.DataFrame, catalog: np.ndarray) -> pd.DataFrame:
    """Ratings of each item, most rated first, ties by lowest id.

    Args:
        ratings: interactions before the most frequent items were chosen.
        catalog: ids of the items kept.

    Returns:
        `item_id`, `rank` (from 1), `n`, `cumulative_share` (of all ratings, ends at 1), `kept`.
    """
    counts = ratings[ITEM].value_counts().rename_axis(ITEM).reset_index(name="n")
    ordered = counts.sort_values(["n", ITEM], ascending=[False, True], ignore_index=True)
    return ordered.assign(
        rank=np.arange(1, len(ordered) + 1),
        cumulative_share=ordered["n"].cumsum() / ordered["n"].sum(),
        kept=ordered[ITEM].isin(catalog),
    )


def user_profiles(interactions: pd.DataFrame, items: pd.DataFrame, splits: pd.DataFrame) -> pd.DataFrame:
    """One row a user, to compare the parts of the split.

    Returns:
        `user_id`, `split`, `length` (items), `popularity` (mean over the user's items of the number
        of training users who rated them), `year` (mean year of the items).
    """
    side = splits.set_index(USER)[SPLIT]
    train = interactions[interactions[USER].map(side) == "train"]
    rows = interactions[[USER, ITEM]].assign(
        popularity=interactions[ITEM].map(train[ITEM].value_counts()).fillna(0),
        year=interactions[ITEM].map(items.set_index(ITEM)[YEAR].astype("Float64")),
    )
    grouped = rows.groupby(USER)
    profiles = grouped[["popularity", "year"]].mean().assign(length=grouped.size()).reset_index()
    return profiles.assign(split=profiles[USER].map(side))[[USER, SPLIT, "length", "popularity", "year"]]


def compare_parts(profiles: pd.DataFrame, columns: tuple[str, ...]) -> pd.DataFrame:
    """Medians of each part of the split, and whether test users differ from training users.

    Args:
        profiles: from :func:`user_profiles`.
        columns: those compared.

    Returns:
        One row a column: a median for each part, `ks` (largest gap between the distributions of
        training and test users, 0 to 1) and `p`, of the two-sample Kolmogorov-Smirnov test.
    """
    rows = []
    for column in columns:
        parts = {part: profiles.loc[profiles[SPLIT] == part, column].astype(float) for part in SPLITS}
        test = stats.ks_2samp(parts["train"], parts["test"])
        medians = {part: values.median() for part, values in parts.items()}
        rows.append({"measure": column} | medians | {"ks": float(test.statistic), "p": float(test.pvalue)})
    return pd.DataFrame(rows)


def genre_shares(interactions: pd.DataFrame, items: pd.DataFrame, splits: pd.DataFrame) -> pd.DataFrame:
    """How common each genre is, in the catalog and in what each part of the split watches.

    Returns:
        One row a genre, most watched by training users first: `genre`, `catalog` (share of items that
        have it) and one column a part (share of interactions). An item has several genres, so columns
        sum to more than 1.
    """
    flags = pd.DataFrame(
        {
            genre: [genre in genres for genres in items[GENRE_LIST]]
            for genre in Catalog.of(items).vocabulary
        },
        index=items[ITEM],
        dtype=bool,
    )
    watched = flags.loc[interactions[ITEM]].set_axis(interactions.index)
    parts = watched.groupby(interactions[USER].map(splits.set_index(USER)[SPLIT])).mean().T
    frame = parts.reindex(columns=list(SPLITS)).assign(catalog=flags.mean())
    frame = frame.sort_values("train", ascending=False, kind="stable").rename_axis("genre").reset_index()
    return frame[["genre", "catalog", *SPLITS]].rename_axis(columns=None)


def rating_counts(interactions: pd.DataFrame) -> pd.DataFrame:
    """`rating`, `n` and `share` of each value that is given."""
    return _shares(interactions[RATING].astype(float).value_counts().sort_index())


def _shares(counts: pd.Series) -> pd.DataFrame:
    """What was counted, `n` and `share`, in the order of the counts."""
    return counts.rename("n").reset_index().assign(share=counts.to_numpy() / counts.sum())


def weekly_counts(interactions: pd.DataFrame) -> pd.DataFrame:
    """Ratings and active users of each calendar week: `week` (its Monday, UTC), `n`, `users`.

    Ratings without a time are left out.
    """
    timed = interactions[interactions[TIMESTAMP].notna()]
    days = pd.to_datetime(timed[TIMESTAMP].astype("int64"), unit="s").dt.normalize()
    mondays = days - pd.to_timedelta(days.dt.day_of_week, unit="D")
    weeks = timed.groupby(mondays.rename("week"))[USER].agg(["size", "nunique"])
    return weeks.set_axis(["n", "users"], axis=1).reset_index()


def gaps(interactions: pd.DataFrame) -> pd.DataFrame:
    """Seconds between each rating and the user's previous one.

    Args:
        interactions: rows in order within each user.

    Returns:
        `user_id`, `seconds` (0 or more) and `from_end` (1 = the user's last rating), without each
        user's first rating and without pairs of which a time is not known.
    """
    seconds = interactions.groupby(USER)[TIMESTAMP].diff()
    length = interactions.groupby(USER)[POSITION].transform("size")
    frame = pd.DataFrame({USER: interactions[USER], "seconds": seconds})
    frame["from_end"] = length - interactions[POSITION]
    return frame[seconds.notna()].astype({"seconds": "int64"}).reset_index(drop=True)


def gap_classes(user_gaps: pd.DataFrame) -> pd.DataFrame:
    """Share of gaps in each class of :data:`GAP_CLASSES`: `gap`, `n`, `share` (sums to 1)."""
    edges = [-1, *GAP_CLASSES.values()]
    classes = pd.cut(user_gaps["seconds"], edges, labels=list(GAP_CLASSES)).rename("gap")
    return _shares(classes.value_counts(sort=False)).astype({"gap": "str"})


def last_spans(interactions: pd.DataFrame, *, last: int) -> pd.DataFrame:
    """Seconds from the first to the last of each user's `last` most recent ratings.

    Returns:
        `user_id`, `seconds`; users with fewer ratings, or without a time among these, are left out.
    """
    lengths = interactions.groupby(USER)[POSITION].transform("size")
    tail = interactions[(interactions[POSITION] >= lengths - last) & (lengths >= last)]
    known = tail[TIMESTAMP].notna().groupby(tail[USER]).transform("all")
    times = tail[known].groupby(USER)[TIMESTAMP]
    return (times.max() - times.min()).astype("int64").rename("seconds").reset_index()


def order_facts(user_gaps: pd.DataFrame, spans: pd.DataFrame, *, last: int) -> dict[str, float]:
    """What the times say about the order of ratings.

    Args:
        user_gaps: from :func:`gaps`.
        spans: from :func:`last_spans`.
        last: ratings of each user that count as the most recent ones.

    Returns:
        Shares of ratings in [0, 1] and a median in seconds. "Tied" means the same second as the user's
        previous rating.
    """
    seconds, from_end = user_gaps["seconds"], user_gaps["from_end"]
    tied = seconds == 0
    return {
        "share_of_ratings_tied_with_the_previous": float(tied.mean()),
        "share_of_last_ratings_tied_with_the_previous": float(tied[from_end < last].mean()),
        "share_of_very_last_ratings_tied": float(tied[from_end == 1].mean()),
        "share_of_ratings_within_a_minute": float((seconds <= 60).mean()),
        "share_of_ratings_over_a_day_later": float((seconds > 86_400).mean()),
        "median_seconds_of_last_ratings": float(spans["seconds"].median()),
    }


def cut_within_second(interactions: pd.DataFrame, *, last: int = WINDOW) -> float:
    """Share of users whose `last` most recent items begin within a second: the item before shares it.

    Args:
        interactions: rows in order within each user, with `second`.
    """
    seconds = interactions.groupby(USER)[SECOND]
    return float((seconds.nth(-last).to_numpy() == seconds.nth(-last - 1).to_numpy()).mean())


def windows(interactions: pd.DataFrame, splits: pd.DataFrame, *, window: int) -> pd.DataFrame:
    """What a sliding window of `window` items plus the one after it finds in each part.

    Returns:
        One row a part: `split`, `users`, `users_with_a_window`, `windows`, `positions` (interactions
        that have an item before them, each of which can be a target).
    """
    lengths = interactions[USER].value_counts()
    part = lengths.index.map(splits.set_index(USER)[SPLIT])
    rows = []
    for name in SPLITS:
        of_part = lengths[part == name]
        windows, positions = (of_part - window).clip(lower=0).sum(), (of_part - 1).sum()
        rows.append((name, len(of_part), int((of_part > window).sum()), int(windows), int(positions)))
    columns = [SPLIT, "users", "users_with_a_window", "windows", "positions"]
    return pd.DataFrame(rows, columns=columns)

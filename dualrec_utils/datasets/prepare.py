"""Stage `data`: fetch, verify, parse, merge duplicates, filter, split, cut cases. Written once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from dualrec_utils.core import config, files, order, splits
from dualrec_utils.core.config import ITEM, POSITION, RATING, SECOND, SPLIT, TIMESTAMP, USER
from dualrec_utils.core.domain import MOVIES, Domain, write_domain
from dualrec_utils.core.errors import StudyError
from dualrec_utils.datasets import known, movielens, reader_data, sources

# The fewest items of a catalog, as params.yaml allows them, and the fewest users to split.
LEAST = 10


def prepare(
    *,
    dataset: str,
    seed: int,
    order_seed: int,
    n_items: int,
    min_interactions: int,
    train_share: float,
    validation_share: float,
    cases_per_user: int,
    held_out_users: int | None = None,
    domain: Domain = MOVIES,
    source: Mapping[str, Any] | None = None,
) -> dict:
    """Write everything under `data/raw/<dataset>` and `data/<dataset>/processed`.

    Args:
        dataset: the name of one of :mod:`datasets.known`, or of the reader's data.
        seed: of the user split.
        order_seed: of the order inside one second.
        n_items: size of the catalog (paper section 3: 1,000).
        min_interactions: users with fewer catalog interactions are dropped.
        train_share, validation_share: parts of the users; the rest is test.
        cases_per_user: most `next_item` cases of a held-out user.
        held_out_users: as :func:`draw_held_out`.
        domain: what items are called.
        source: of the reader's data, the values of an :class:`reader_data.Source`.

    Returns:
        What `summary.json` says: counts at each step, the source and the order's hash.

    Raises:
        StudyError: on bad data or settings; nothing is half written.
    """
    if source is None:
        about, fetched = known.find(dataset), sources.fetch(dataset)
        parsed, of_files = known.parse(dataset, fetched.paths[0]), {}
    else:
        named = reader_data.Source(**source)
        about, parsed, of_files = known.READER_DATA, reader_data.read(named), reader_data.checksums(named)
    raw_ratings, raw_items, counts = parsed
    kept, items, merged = movielens.merge_duplicates(raw_ratings, raw_items)
    ratings = order.in_order(kept, order_seed=order_seed)
    if (n_rated := ratings[ITEM].nunique()) < LEAST:
        raise StudyError(f"{n_rated} items have ratings: a catalog takes {LEAST} or more")
    catalog = movielens.most_frequent(ratings, n_items)
    filtered = ratings[ratings[ITEM].isin(catalog)]
    lengths = filtered[USER].value_counts()
    users = lengths[lengths >= min_interactions].index
    if len(users) < LEAST:
        raise StudyError(
            f"{len(users)} of {len(lengths)} users have {min_interactions} or more of the {n_items} most"
            f" frequent items (data.min_interactions, data.n_items), and a split takes {LEAST} users or"
            " more: lower the first, raise the second, or bring more data"
        )
    interactions = order.count_seconds(filtered[filtered[USER].isin(users)].reset_index(drop=True))
    interactions[POSITION] = interactions.groupby(USER).cumcount()
    catalog_items = items[items[ITEM].isin(catalog)].sort_values(ITEM, ignore_index=True)
    user_split = splits.split_users(
        interactions[USER].unique(), seed=seed, train_share=train_share, validation_share=validation_share
    )
    drawn = draw_held_out(user_split, n=held_out_users, seed=seed)
    n_left_out, user_split = len(user_split) - len(drawn), drawn
    interactions = interactions[interactions[USER].isin(drawn[USER])].reset_index(drop=True)
    summary = {
        "source": fetched.source if source is None else " and ".join(of_files),
        "order_sha256": order.order_hash(interactions),
        "n_ratings_raw": len(raw_ratings),
        "n_items_raw": len(raw_items),
        **counts,
        **({"sha256": of_files} if of_files else {}),
        "n_movies_merged": len(merged),
        "n_ratings_lost_to_merging": len(raw_ratings) - len(ratings),
        "n_users_raw": int(raw_ratings[USER].nunique()),
        "n_users_dropped": int(raw_ratings[USER].nunique() - len(users)),
        **({"n_users_left_out": n_left_out} if n_left_out else {}),
        "n_users": len(user_split),
        "n_users_with_a_window_of_30": int((interactions[USER].value_counts() > 30).sum()),
        "n_items": len(catalog_items),
        "n_interactions": len(interactions),
        **{f"n_users_{name}": int(n) for name, n in user_split[SPLIT].value_counts().items()},
    }
    columns = [USER, ITEM, RATING, TIMESTAMP]
    # The file's own order is a row of the order study.
    more = [movielens.FILE_ROW] if movielens.FILE_ROW in interactions else []
    frames = {
        # Before filtering, for notebook 01 and the question whether a language model has read the files.
        "ratings_as_fetched": raw_ratings[columns],
        "ratings_raw": order.in_order(raw_ratings, order_seed=order_seed)[columns],
        "ratings_merged": ratings[columns],
        "items_raw": raw_items,
        "merged": merged,
        "interactions": interactions[[*columns, SECOND, POSITION, *more]],
        "items": catalog_items,
        "splits": user_split,
    }
    for protocol in config.PROTOCOLS:
        cases, targets = splits.make_cases(
            interactions, user_split, protocol=protocol, cases_per_user=cases_per_user
        )
        within = protocol == "window_of_five"
        splits.check_cases(cases, targets, interactions, user_split, within_second=within)
        summary[f"n_cases_{protocol}"] = cases[SPLIT].value_counts().to_dict()
        frames |= {f"cases_{protocol}": cases, f"targets_{protocol}": targets}
    heldout = user_split[user_split[SPLIT] != "train"]
    n_cases = frames["cases_next_item"][USER].value_counts().reindex(heldout[USER], fill_value=0)
    fewer = (n_cases < cases_per_user).groupby(heldout.set_index(USER)[SPLIT]).sum()
    summary["n_users_with_fewer_cases"] = fewer.to_dict()
    summary["n_users_without_case"] = int((n_cases == 0).sum())
    folder = config.processed_dir(dataset)
    for name, frame in frames.items():
        files.write_parquet(frame, folder / f"{name}.parquet")
    write_domain(domain, dataset)
    files.write_json(dict(about.line_format), folder / "line_format.json")
    files.write_json(summary, folder / "summary.json")
    return summary


def draw_held_out(user_split: pd.DataFrame, *, n: int | None, seed: int) -> pd.DataFrame:
    """Leave all but `n` validation and `n` test users out, for models that take long to answer.

    Who is left out is trained on neither, so that training users are those of the whole data.

    Args:
        user_split: `user_id`, `split`.
        n: users drawn of each held-out side; all where there are fewer. None leaves nobody out.
        seed: of the draw.

    Returns:
        The rows of those who stay, in order.
    """
    if n is None:
        return user_split
    rows = np.random.default_rng(seed).permutation(len(user_split))
    places = user_split.iloc[rows].groupby(SPLIT).cumcount()
    kept = (user_split[SPLIT] == "train") | (places.sort_index() < n)
    return user_split[kept].reset_index(drop=True)


def describe(dataset: str, summary: Mapping[str, Any]) -> str:
    """One line on what :func:`prepare` wrote, from what it returned."""
    return (
        f"data: {dataset} from {summary['source']}: {summary['n_users']} users,"
        f" {summary['n_items']} items, {summary['n_interactions']} interactions,"
        f" next_item cases {summary['n_cases_next_item']}; users with fewer than they might have (few"
        f" distinct seconds): {summary['n_users_with_fewer_cases']}"
    )

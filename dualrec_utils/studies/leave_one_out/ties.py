"""`dualrec study loo ties`: what the order inside equal timestamps does to the track.

Ratings with one timestamp have no order of their own, but models learn whichever a file has. Each order is
given to models that need no training in epochs: `reports/studies/leave_one_out/<dataset>_ties.csv`.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from dualrec_utils.core import config, evaluation, files
from dualrec_utils.core.config import ITEM, POSITION, TIMESTAMP, USER
from dualrec_utils.datasets import sources
from dualrec_utils.models import baselines
from dualrec_utils.show import tables
from dualrec_utils.studies.leave_one_out import track as loo
from dualrec_utils.studies.leave_one_out.run import PARAMS, read_settings

ORDERS = ("as it is", "by item id", "by item id, descending", "at random")
MODELS = {
    "markov": {"smoothing": 100},
    "sknn": {"query_length": 5, "n_neighbours": 50},
    "ease": {"query_length": 5, "l2": 1000},
}
SHOWN = ("hit_rate@10", "ndcg@10")


def reorder(ratings: pd.DataFrame, order: str, *, seed: int) -> pd.DataFrame:
    """Put ratings of a user that share a known timestamp into another order; all others keep their place.

    Args:
        ratings: of :func:`loo.published_order`.
        order: one of :data:`ORDERS`.
        seed: of the random one.

    Returns:
        The ratings in that order, which their `position` (from 0, of each user) says.

    Raises:
        ValueError: on an unknown order.
    """
    items, places = ratings[ITEM].to_numpy(), np.arange(len(ratings))
    keys = (places, items, -items, np.random.default_rng(seed).random(len(ratings)))
    key = keys[ORDERS.index(order)]
    users, times = ratings[USER].to_numpy(), ratings[TIMESTAMP].to_numpy(dtype=float, na_value=np.nan)
    # An unknown time equals nothing, itself included.
    starts = np.append(True, (users[1:] != users[:-1]) | (times[1:] != times[:-1]))
    reordered = ratings.iloc[np.lexsort((key, starts.cumsum()))].reset_index(drop=True)
    return reordered.assign(**{POSITION: reordered.groupby(USER).cumcount()})


def compare(ratings: pd.DataFrame, *, dataset: str, n_validation: int, seed: int) -> pd.DataFrame:
    """Measure :data:`MODELS` on every order.

    Args:
        ratings: of :func:`known.parse`.
        dataset, n_validation: as the track's other tables.
        seed: of the split, the random order and the intervals.

    Returns:
        One row an order and model: `targets_moved` (share of users whose last item is another than in
        the file's order) and the metrics of :data:`SHOWN` as `value [low, high]`.
    """
    track = loo.make_track(ratings, dataset=dataset, source="")
    of_track = ratings[ratings[USER].isin(track.user_ids) & ratings[ITEM].isin(track.item_ids)]
    ordered = loo.published_order(of_track)
    rows = []
    for order in ORDERS:
        reordered = loo.as_track(reorder(ordered, order, seed=seed), dataset=dataset, source="")
        split = loo.split(reordered, n_validation=n_validation, seed=seed)
        moved = [a[-1] != b[-1] for a, b in zip(track.histories, reordered.histories, strict=True)]
        for name, hyperparameters in MODELS.items():
            model = baselines.build(name, split.item_ids, seed=seed, **hyperparameters)
            model.fit(split.training, user_ids=split.user_ids)
            users = loo.evaluate(model.score, split.test, split.item_ids)
            summary = evaluation.summarise(users, columns=SHOWN, seed=seed)
            cells = {m: tables.with_interval(*summary.loc[m, ["value", "low", "high"]]) for m in SHOWN}
            rows.append({"ties": order, "targets_moved": np.mean(moved), "model": name, **cells})
    return pd.DataFrame(rows)


def run_ties() -> None:
    """Write and print the table of each data set."""
    for dataset in loo.DATASETS:
        settings = read_settings(PARAMS, dataset)
        _, ratings, _ = sources.load(dataset)
        table = compare(
            ratings,
            dataset=dataset,
            n_validation=settings["n_validation"],
            seed=settings["split_seed"],
        )
        path = config.study_dir(loo.STUDY) / f"{dataset}_ties.csv"
        files.write_csv(table.round({"targets_moved": 3}), path)
        print(f"{dataset}\n{table.to_string(index=False)}\n", flush=True)

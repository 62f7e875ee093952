"""Test, then learn: every event of a stream is asked for before it may be learnt from.

The stream is what test users did, in the order of time, all users mixed as a site would see them. An event
is asked for as a case of `next_item`: its history is what the same user did in earlier seconds, and the
list holds none of that. What is learnt from an event can help the next block, never the event itself
(Gama, Sebastião and Rodrigues 2013, "On evaluating stream learning algorithms", Machine Learning).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
from tqdm import tqdm

from dualrec_utils.core import evaluation, predictions
from dualrec_utils.core.catalog import Catalog
from dualrec_utils.core.config import CASE, HISTORY, ITEM, SECOND, SPLIT, TIMESTAMP, USER

METRICS = ("hit_rate@10", "ndcg@10")
# Items of the history that were there before the user's first event of the stream.
KNOWN = "n_known"
TENTH = "tenth"

# Cases of a block -> scores of the catalog, shape (n_cases, n_items).
Score = Callable[[pd.DataFrame], np.ndarray]
# Events of a block, with `item_id`: what has been seen by now.
Learn = Callable[[pd.DataFrame], None]


def stream(
    interactions: pd.DataFrame, user_splits: pd.DataFrame, *, n_known: int, split: str = "test"
) -> pd.DataFrame:
    """The events of held-out users in order of time.

    Args:
        interactions: from :func:`core.splits.load_interactions`.
        user_splits: from :func:`core.splits.load_splits`.
        n_known: first distinct seconds of a user that are known before the stream begins, at least 1: they
            are history and are not asked for.
        split: whose: `test`, or `validation` to choose a setting.

    Returns:
        One row an event: `case_id`, `user_id`, `timestamp` (where it is missing, that of the user's event
        before, or of the next one, or else the data's first), `item_id` (the target), `history` (items of
        earlier seconds, oldest first), `n_known` (how many of them lie before the stream). Users who act in
        the same second stand in the order of their ids.
    """
    side = interactions[USER].map(user_splits.set_index(USER)[SPLIT])
    by_user = interactions.groupby(USER)[TIMESTAMP]
    times = by_user.ffill().fillna(by_user.bfill()).fillna(interactions[TIMESTAMP].min()).fillna(0)
    interactions = interactions.assign(**{TIMESTAMP: times.astype("int64")})
    rows = []
    for user, part in interactions[side == split].groupby(USER, sort=True):
        items, seconds = part[ITEM].to_numpy(), part[SECOND].to_numpy()
        starts = np.searchsorted(seconds, seconds)
        known = int(np.searchsorted(seconds, n_known))
        for place in range(known, len(items)):
            case = f"u{user:05d}_p{place:04d}"
            rows.append(
                (case, user, part[TIMESTAMP].iloc[place], items[place], items[: starts[place]], known)
            )
    frame = pd.DataFrame(rows, columns=[CASE, USER, TIMESTAMP, ITEM, HISTORY, KNOWN])
    # Stable: inside a second a user's events keep the drawn order.
    return frame.sort_values([TIMESTAMP, USER], kind="stable", ignore_index=True)


def blocks(events: pd.DataFrame, *, size: int) -> Iterator[pd.DataFrame]:
    """Consecutive events, `size` in each block but the last; no second of a user is cut in two.

    The first events of the next block belong to this one where they share user and second with its last.
    """
    same = (
        events[USER].eq(events[USER].shift()) & events[TIMESTAMP].eq(events[TIMESTAMP].shift())
    ).to_numpy()
    start = 0
    while start < len(events):
        end = min(start + size, len(events))
        while end < len(events) and same[end]:
            end += 1
        yield events.iloc[start:end]
        start = end


def run(
    events: pd.DataFrame,
    catalog: Catalog,
    score: Score,
    *,
    learn: Learn | None = None,
    every: int,
    seed: int,
    label: str,
) -> pd.DataFrame:
    """Ask for every event, block by block, and let the model learn after each block.

    Args:
        events: from :func:`stream`.
        score: is handed cases without their targets.
        learn: is handed a block once it has been asked for; None for a model that does not learn.
        every: events of a block.
        seed: of the order of equal scores.
        label: shown beside the progress bar.

    Returns:
        One row an event in order: `case_id`, `user_id`, :data:`METRICS`, `score_seconds` and
        `learn_seconds` (of its block, shared out evenly).
    """
    frames = []
    with tqdm(total=len(events), desc=label, unit="event") as bar:
        for block in blocks(events, size=every):
            cases = block.drop(columns=ITEM).reset_index(drop=True)
            started = time.perf_counter()
            scores = score(cases)
            scored = time.perf_counter()
            lists = predictions.from_scores(scores, cases, catalog.ids, seed=seed, length=10)
            targets = block.set_index(CASE)[ITEM].map(lambda item: [item])
            values = evaluation.score_lists(lists, cases, targets, catalog)
            learning = time.perf_counter()
            if learn is not None:
                learn(block)
            costs = {
                "score_seconds": (scored - started) / len(block),
                "learn_seconds": (time.perf_counter() - learning) / len(block),
            }
            frames.append(values[[CASE, USER, *METRICS]].assign(**costs))
            bar.update(len(block))
    return pd.concat(frames, ignore_index=True)


def over_time(values: dict[str, pd.DataFrame], *, metric: str, **intervals) -> pd.DataFrame:
    """Each way by tenth of the stream.

    Args:
        values: way -> frame of :func:`run`, all of the same events.
        intervals: as :func:`core.evaluation.summarise`.

    Returns:
        `way`, `tenth` (from 1), `value` (mean over the users who act in it), `low`, `high`, `n_users`,
        `n_cases`.
    """
    rows = []
    for way, frame in values.items():
        tenths = np.arange(len(frame)) * 10 // max(len(frame), 1) + 1
        for tenth, part in frame.groupby(tenths):
            row = evaluation.summarise(part, columns=[metric], **intervals).loc[metric]
            rows.append({"way": way, TENTH: tenth} | row.to_dict())
    return pd.DataFrame(rows).astype({"n_users": int, "n_cases": int})


def overall(values: dict[str, pd.DataFrame], *, against: str, **intervals) -> pd.DataFrame:
    """Each way over the whole stream, and its paired difference from one of them.

    Args:
        values, intervals: as :func:`over_time`.
        against: the way that is subtracted.

    Returns:
        One row a way and metric: `way`, `metric`, `value`, `low`, `high`, `difference`, `difference_low`,
        `difference_high` (0 for `against`), `n_users`, `n_cases`.
    """
    rows = []
    for way, frame in values.items():
        table = evaluation.summarise(frame, columns=METRICS, **intervals)
        for metric, row in table.iterrows():
            gain = evaluation.paired_difference(frame, values[against], metric=metric, **intervals)
            gain = {
                "difference": gain["difference"],
                "difference_low": gain["low"],
                "difference_high": gain["high"],
            }
            rows.append({"way": way, "metric": metric} | row.to_dict() | gain)
    return pd.DataFrame(rows).astype({"n_users": int, "n_cases": int})


def costs(values: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Milliseconds an event takes: `way`, `list_ms` (scores of the catalog), `learn_ms`, means over events.

    They differ from run to run.
    """
    rows = [
        {
            "way": way,
            "list_ms": 1e3 * frame["score_seconds"].mean(),
            "learn_ms": 1e3 * frame["learn_seconds"].mean(),
        }
        for way, frame in values.items()
    ]
    return pd.DataFrame(rows)


def median_hours(events: pd.DataFrame) -> float:
    """Hours between a user's first and last event of the stream, the middle of all users."""
    times = events.groupby(USER)[TIMESTAMP]
    return float((times.max() - times.min()).median() / 3600)


def in_words(table: pd.DataFrame, *, metric: str = "hit_rate@10") -> str:
    """What :func:`overall` says of each way but the one it is compared with, a line each."""
    lines = []
    for row in table[table["metric"] == metric].itertuples():
        if row.difference == row.difference_low == row.difference_high == 0:
            lines.append(f"- **{row.way}**: HR@10 {row.value:.3f}, what the others are compared with.")
            continue
        surely = "more" if row.difference_low > 0 else "less" if row.difference_high < 0 else None
        ends = f"[{100 * row.difference_low:+.1f}, {100 * row.difference_high:+.1f}]"
        points = f"{100 * row.difference:+.1f} points {ends}"
        verdict = f"{surely} than `states`" if surely else "these users do not tell it from `states`"
        lines.append(f"- **{row.way}**: HR@10 {row.value:.3f}, {points}: {verdict}.")
    return "\n".join(lines)


def flatten(table: pd.DataFrame) -> dict[str, float]:
    """Flat metric keys of :func:`overall`: `small_steps/hit_rate@10`, `.../low`, `.../over_states/...`."""
    flat = {}
    for row in table.itertuples():
        key = f"{row.way.replace(', ', '_').replace(' ', '_')}/{row.metric}"
        flat |= evaluation.with_interval(key, row)
        over = {"/difference": "difference", "/low": "difference_low", "/high": "difference_high"}
        flat |= {f"{key}/over_states{end}": float(getattr(row, name)) for end, name in over.items()}
    return flat

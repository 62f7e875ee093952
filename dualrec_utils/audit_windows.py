"""From the paper's Figure 3 to its Figure 4 with one LSTM: what the way of counting alone does.

Figure 3 counts the next movie after every window of 30, with the movies already rated among the candidates
(section 6.1); Figure 4, by the released code, counts any of a user's last five. Section 6.2 sets a value of
the one beside a value of the other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from tqdm import tqdm

from dualrec_utils import audit, ranks, splits, tables
from dualrec_utils.config import CASE, HISTORY, ITEM, PROTOCOL, SPLIT, SYSTEM, USER

KNOWN, LAST = "n_known", "is_last"
# What counts as right on a rung.
ONE, ANY = "one next movie", "any of five"
# Positions scored at once: their scores and two copies take half a gigabyte.
_AT_ONCE = 20_000


def positions(
    interactions: pd.DataFrame, user_splits: pd.DataFrame, *, split: str = "test"
) -> tuple[pd.DataFrame, pd.Series]:
    """Every movie of some users but their first as a case of its own.

    Args:
        interactions: rows in order within each user.
        user_splits: frame `user_id`, `split`.
        split: whose movies.

    Returns:
        (cases, targets): cases hold `case_id`, `user_id`, `history`, `n_known` (movies of the history) and
        `is_last` (whether the user rated no movie after the target), by user and position; targets map
        `case_id` to an item id.
    """
    users = user_splits.loc[user_splits[SPLIT] == split, USER]
    own = interactions[interactions[USER].isin(users)]
    splits.check_apart(own[USER].unique(), user_splits, split=split)
    cases, answers = [], {}
    for user, sequence in own.groupby(USER, sort=True)[ITEM]:
        items = sequence.to_numpy()
        for place in range(1, len(items)):
            case = f"u{user:05d}_p{place:04d}"
            cases.append((case, user, items[:place], place, place == len(items) - 1))
            answers[case] = items[place]
    return pd.DataFrame(cases, columns=[CASE, USER, HISTORY, KNOWN, LAST]), pd.Series(answers)


def ranked(
    cases: pd.DataFrame,
    targets: pd.Series,
    item_ids: np.ndarray,
    *,
    score: Callable[[pd.DataFrame], np.ndarray],
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rank the catalog at every position, movies of the history left out, and kept.

    Args:
        cases, targets: from :func:`positions`.
        item_ids: the catalog, ascending.
        score: cases to scores, shape (n_cases, n_items), higher is better.

    Returns:
        (left out, kept), each as from :func:`dualrec_utils.audit.per_case`, with `n_known` and `is_last`.
    """
    found: tuple[list, list] = ([], [])
    for start in tqdm(range(0, len(cases), _AT_ONCE), desc="positions", unit="part"):
        own = cases.iloc[start : start + _AT_ONCE]
        scores, answers = score(own), targets[own[CASE]].to_numpy()
        nothing = [np.empty(0, dtype=item_ids.dtype)] * len(own)
        for ranks_of, left_out in zip(found, (own[HISTORY], nothing), strict=True):
            ranks_of.append(ranks.target_ranks(scores, left_out, answers, item_ids))
    about = {KNOWN: cases[KNOWN].to_numpy(), LAST: cases[LAST].to_numpy()}
    left_out, kept = (audit.per_case(cases, np.concatenate(own)).assign(**about) for own in found)
    return left_out, kept


def averaged(
    frame: pd.DataFrame, *, each: str, seed: int, n_bootstrap: int, confidence: float
) -> pd.DataFrame:
    """Means with intervals over users, who weigh alike or by their number of cases.

    Args:
        frame: per-case frame.
        each: `user` (a user's cases are averaged first, as everywhere in this study) or `case` (whoever
            has more of them weighs more, as in a network's accuracy).

    Returns:
        Frame indexed by metric with `value`, `low`, `high`, `n_users`, `n_cases`.
    """
    by_user = frame.groupby(USER)[list(audit.METRICS)]
    means, sizes = by_user.mean().to_numpy(), by_user.size().to_numpy()
    weights = {"user": np.ones(len(sizes)), "case": sizes}[each]
    draws = audit.user_draws(len(means), n_bootstrap=n_bootstrap, seed=seed) * weights
    drawn = (draws @ means) / draws.sum(axis=1, keepdims=True)
    tail = (1 - confidence) / 2
    return pd.DataFrame(
        {
            "value": np.average(means, axis=0, weights=weights),
            "low": np.quantile(drawn, tail, axis=0),
            "high": np.quantile(drawn, 1 - tail, axis=0),
            "n_users": len(means),
            "n_cases": len(frame),
        },
        index=pd.Index(audit.METRICS, name="metric"),
    )


def rungs(kept: pd.DataFrame, of_five: Mapping[str, pd.DataFrame], *, window: int, **stats) -> pd.DataFrame:
    """From every window, as Figure 3 counts, to a user's last five, as Figure 4 does, one change a rung.

    Args:
        kept: from :func:`ranked`.
        of_five: rung -> per-case frame of `window_of_five`, movies of the history kept, in order.
        window: movies of the history that Figure 3 asks for.
        stats: `seed`, `n_bootstrap`, `confidence`.

    Returns:
        One row a (rung, metric): `rung`, `system` (the LSTM), `protocol` (what counts as right), `metric`,
        `value`, `low`, `high`, `n_users`, `n_cases`.
    """
    long = kept[kept[KNOWN] >= window]
    settings = [
        (f"every window of {window}, as Figure 3", long, "case", ONE),
        ("each user counts once", long, "user", ONE),
        ("only a user's last movie", long[long[LAST]], "user", ONE),
        (f"histories under {window} too", kept[kept[LAST]], "user", ONE),
        *((name, frame, "user", ANY) for name, frame in of_five.items()),
    ]
    return pd.concat(
        [
            averaged(frame, each=each, **stats)
            .reset_index()
            .assign(rung=name, protocol=rule, **{SYSTEM: "lstm"})
            for name, frame, each, rule in settings
        ],
        ignore_index=True,
    )[["rung", SYSTEM, PROTOCOL, "metric", "value", "low", "high", "n_users", "n_cases"]]


def by_known(left_out: pd.DataFrame, *, edges: Sequence[int], **stats) -> pd.DataFrame:
    """HR@5 by how many movies are known, each user counting once.

    Args:
        left_out: from :func:`ranked`.
        edges: greatest number of each group but the last, which has no end.

    Returns:
        `movies known`, `value`, `low`, `high`, `n_users`, `n_cases`, from few to many.
    """
    bounds = [0, *edges, np.inf]
    groups = pd.cut(left_out[KNOWN], bounds)
    rows = []
    for interval, frame in left_out.groupby(groups, observed=True):
        first = int(interval.left) + 1
        name = f"{first} or more" if np.isinf(interval.right) else f"{first} to {int(interval.right)}"
        row = averaged(frame, each="user", **stats).loc["hit_rate@5"]
        rows.append({"movies known": name} | row.to_dict())
    return pd.DataFrame(rows).astype({"n_users": int, "n_cases": int})


def sentence(table: pd.DataFrame, *, theirs: Mapping[str, float]) -> str:
    """What the paper sets side by side, where the one LSTM starts and ends, and what moves it most.

    Args:
        table: from :func:`rungs`.
        theirs: `top5_accuracy` of the paper's LSTM and `hit_rate@5` of its best system.
    """
    own = table[table["metric"] == "hit_rate@5"].set_index("rung")
    moved = own["value"].diff().iloc[1:]
    largest = moved.abs().idxmax()
    first, last = (tables.with_interval(*own.iloc[end][["value", "low", "high"]]) for end in (0, -1))
    return (
        f"The paper argues for it by setting HR@5 {theirs['hit_rate@5']:.4f} beside the LSTM's top-5"
        f" accuracy on windows, {theirs['top5_accuracy']:.4f} (section 6.2). Counted from the one way to"
        f" the other, the LSTM alone, with no language model, goes from {first} to {last}; the largest"
        f" change on the way: {largest} ({100 * moved[largest]:+.1f} points)."
    )

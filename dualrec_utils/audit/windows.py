"""From the paper's Figure 3 to its Figure 4 with one LSTM: what the way of counting alone does.

Figure 3 counts the next item after every window of 30, with the items already rated among the candidates
(section 6.1); Figure 4, by the released code (:mod:`audit.released`), counts any of a user's last five.
Section 6.2 sets a value of the one beside a value of the other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import pandas as pd
from tqdm import tqdm

from dualrec_utils.audit import protocols, steps
from dualrec_utils.audit.material import Material
from dualrec_utils.core import evaluation, predictions, splits
from dualrec_utils.core.config import CASE, HISTORY, ITEM, PROTOCOL, SPLIT, SYSTEM, USER
from dualrec_utils.pipeline import params
from dualrec_utils.show import tables

KNOWN, LAST = "n_known", "is_last"
# What counts as right on a rung.
ONE, ANY = "one next movie", "any of five"
# Positions scored at once: their scores and two copies take half a gigabyte.
_AT_ONCE = 20_000


def positions(interactions: pd.DataFrame, user_splits: pd.DataFrame) -> tuple[pd.DataFrame, pd.Series]:
    """Every item of the test users but their first as a case of its own, in the drawn order: a history may
    hold items of its target's second, as the windows of the paper do.

    Args:
        interactions: rows in order within each user.

    Returns:
        (cases, targets): cases as from :func:`core.splits.make_cases`, with `n_known` (items of
        the history) and `is_last` (whether the user rated no item after the target), by user and
        position; targets map `case_id` to an item id.
    """
    users = user_splits.loc[user_splits[SPLIT] == "test", USER]
    rated = interactions[interactions[USER].isin(users)]
    splits.check_apart(rated[USER].unique(), user_splits, split="test")
    cases, answers = splits.cut(rated, user_splits, starts=lambda seconds: range(1, len(seconds)))
    known, last = cases[HISTORY].map(len), ~cases[USER].duplicated(keep="last")
    return cases.assign(**{KNOWN: known, LAST: last}), answers.set_index(CASE)[ITEM]


def ranked(
    cases: pd.DataFrame,
    targets: pd.Series,
    item_ids: np.ndarray,
    *,
    score: Callable[[pd.DataFrame], np.ndarray],
    seed: int,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rank the catalog at every position, items of the history left out, and kept.

    Args:
        cases, targets: from :func:`positions`.
        score: cases to scores, shape (n_cases, n_items), higher is better.
        seed: of equal scores.

    Returns:
        (left out, kept), each as from :func:`audit.steps.per_case`, with `n_known` and `is_last`.
    """
    ranks: tuple[list, list] = ([], [])
    for start in tqdm(range(0, len(cases), _AT_ONCE), desc="positions", unit="part"):
        part = cases.iloc[start : start + _AT_ONCE]
        scores, answers = score(part), targets[part[CASE]].to_numpy()
        nothing = [np.empty(0, dtype=item_ids.dtype)] * len(part)
        for ranks_of, left_out in zip(ranks, (part[HISTORY], nothing), strict=True):
            draw = {"names": part[CASE], "seed": seed}
            ranks_of.append(predictions.target_ranks(scores, left_out, answers, item_ids, **draw))
    more = {KNOWN: cases[KNOWN].to_numpy(), LAST: cases[LAST].to_numpy()}
    left_out, kept = (steps.per_case(cases, np.concatenate(parts)).assign(**more) for parts in ranks)
    return left_out, kept


def ranked_by_lstm(data: Material) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The trained LSTM at every position of the test users: (left out, kept), as from :func:`ranked`."""
    cases, targets = positions(data.interactions, data.user_splits)
    return ranked(
        cases,
        targets,
        data.catalog.ids,
        score=lambda part: protocols.lstm_scores(part, dataset=data.dataset),
        seed=data.seed,
    )


def figure_3_to_4(
    data: Material, kept: pd.DataFrame, three_titles: pd.DataFrame, **stats: float
) -> pd.DataFrame:
    """:func:`rungs` of the LSTM that this run has trained.

    Args:
        kept: from :func:`ranked_by_lstm`.
        three_titles: per-case frame of its first three titles under `window_of_five`, rated items kept.
    """
    of_five = {
        "any of the last five": data.per_case("lstm" + predictions.SEEN_KEPT, "window_of_five"),
        "three titles, as Figure 4": three_titles,
    }
    return rungs(kept, of_five, window=params.section("lstm")["window"], **stats)


def pooled(frame: pd.DataFrame, *, seed: int, n_bootstrap: int, confidence: float) -> pd.DataFrame:
    """Means over cases, whoever has more of them weighing more, as in a network's accuracy.

    Args:
        frame: per-case frame.
        seed, n_bootstrap, confidence: of the intervals, over users.

    Returns:
        As :func:`core.evaluation.summarise`, where users weigh alike.
    """
    by_user = frame.groupby(USER)[list(steps.METRICS)]
    sums, sizes = by_user.sum().to_numpy(), by_user.size().to_numpy()
    draws = evaluation.user_draws(len(sums), n_bootstrap=n_bootstrap, seed=seed)
    drawn = (draws @ sums) / (draws @ sizes)[:, None]
    tail = (1 - confidence) / 2
    return pd.DataFrame(
        {
            "value": sums.sum(axis=0) / len(frame),
            "low": np.quantile(drawn, tail, axis=0),
            "high": np.quantile(drawn, 1 - tail, axis=0),
            "n_users": len(sums),
            "n_cases": len(frame),
        },
        index=pd.Index(steps.METRICS, name="metric"),
    )


def rungs(kept: pd.DataFrame, of_five: Mapping[str, pd.DataFrame], *, window: int, **stats) -> pd.DataFrame:
    """From every window, as Figure 3 counts, to a user's last five, as Figure 4 does, one change a rung.

    Args:
        kept: from :func:`ranked`.
        of_five: rung -> per-case frame of `window_of_five`, items of the history kept, in order.
        window: items of the history that Figure 3 asks for.

    Returns:
        One row a (rung, metric): `rung`, `system` (the LSTM), `protocol` (what counts as right), `metric`,
        `value`, `low`, `high`, `n_users`, `n_cases`.
    """
    long, by_user = kept[kept[KNOWN] >= window], partial(evaluation.summarise, columns=steps.METRICS)
    settings = [
        (f"every window of {window}, as Figure 3", long, pooled, ONE),
        ("each user counts once", long, by_user, ONE),
        ("only a user's last movie", long[long[LAST]], by_user, ONE),
        (f"histories under {window} too", kept[kept[LAST]], by_user, ONE),
        *((name, frame, by_user, ANY) for name, frame in of_five.items()),
    ]
    rows = [
        mean(frame, **stats).reset_index().assign(rung=name, protocol=rule, **{SYSTEM: "lstm"})
        for name, frame, mean, rule in settings
    ]
    columns = ["rung", SYSTEM, PROTOCOL, "metric", "value", "low", "high", "n_users", "n_cases"]
    return pd.concat(rows, ignore_index=True)[columns]


def by_known(left_out: pd.DataFrame, *, edges: Sequence[int], **stats) -> pd.DataFrame:
    """HR@5 by how many items are known, each user counting once.

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
        row = evaluation.summarise(frame, columns=["hit_rate@5"], **stats).loc["hit_rate@5"]
        rows.append({"movies known": name} | row.to_dict())
    return pd.DataFrame(rows).astype({"n_users": int, "n_cases": int})


def sentence(table: pd.DataFrame, *, theirs: Mapping[str, float]) -> str:
    """What the paper sets side by side, where the one LSTM starts and ends, and what moves it most.

    Args:
        table: from :func:`rungs`.
        theirs: `top5_accuracy` of the paper's LSTM and `hit_rate@5` of its best system.
    """
    rows = table[table["metric"] == "hit_rate@5"].set_index("rung")
    moved = rows["value"].diff().iloc[1:]
    largest = moved.abs().idxmax()
    first, last = (tables.with_interval(*rows.iloc[end][["value", "low", "high"]]) for end in (0, -1))
    return (
        f"The paper compares HR@5 {theirs['hit_rate@5']:.4f} with the LSTM's top-5 accuracy on windows,"
        f" {theirs['top5_accuracy']:.4f} (section 6.2). But the two counts differ: the LSTM alone has"
        f" {first} by the count on windows and {last} by that of HR@5. The largest change between them:"
        f" {largest} ({100 * moved[largest]:+.1f} points)."
    )

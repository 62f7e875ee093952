"""Split users once, write the cases and their targets, and prove that nothing leaks.

Definitions: users are split 70/15/15 as a whole. `next_item`: one case for each of the last
`cases_per_user` distinct seconds of a held-out user, never the first; the history is everything of
earlier seconds, the target the first item of the second in the drawn order (:mod:`core.order`).
`window_of_five`: all but the last five items as history, the five as targets; its cut may fall within
a second, as in the released code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd

from dualrec_utils.core import config, files
from dualrec_utils.core.config import CASE, HELDOUT_SPLITS, HISTORY, ITEM, SECOND, SPLIT, SPLITS, USER
from dualrec_utils.core.errors import StudyError

WINDOW = 5


def split_users(
    user_ids: np.ndarray, *, seed: int, train_share: float, validation_share: float
) -> pd.DataFrame:
    """Assign every user to training, validation or test by a seeded shuffle of the sorted ids.

    Returns:
        Frame `user_id`, `split`, sorted by user. What the two shares leave is test.

    Raises:
        StudyError: when a part would hold no user.
    """
    users = np.sort(np.unique(user_ids))
    shuffled = np.random.default_rng(seed).permutation(users)
    n_train = round(len(users) * train_share)
    n_validation = round(len(users) * validation_share)
    sizes = (n_train, n_validation, len(users) - n_train - n_validation)
    if min(sizes) < 1:
        raise StudyError(
            f"{len(users)} users are too few for a {train_share:.0%}/{validation_share:.0%} split:"
            f" training, validation and test would hold {sizes}; use more users or other shares"
        )
    frame = pd.DataFrame({USER: shuffled, SPLIT: np.repeat(SPLITS, sizes)})
    return frame.sort_values(USER, ignore_index=True)


def make_cases(
    interactions: pd.DataFrame, splits: pd.DataFrame, *, protocol: str, cases_per_user: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Cut the cases of one protocol for the held-out users.

    Args:
        interactions: rows in order within each user, with `second`.
        splits: frame `user_id`, `split`.
        protocol: `next_item` or `window_of_five`.
        cases_per_user: most cases of a user under `next_item`: a user of n distinct seconds has n - 1 at
            most. `window_of_five` has one.

    Returns:
        As :func:`cut`.
    """
    if protocol == "next_item":
        return cut(interactions, splits, starts=lambda seconds: last_seconds(seconds, n=cases_per_user))
    if protocol == "window_of_five":
        return cut(interactions, splits, starts=lambda seconds: [len(seconds) - WINDOW], width=WINDOW)
    raise StudyError(f"unknown protocol {protocol!r}; known: {list(config.PROTOCOLS)}")


def last_seconds(seconds: np.ndarray, *, n: int) -> np.ndarray:
    """Where the last `n` distinct seconds of a user begin, the user's first second left out.

    Args:
        seconds: the second of each item, shape (n_items,), ascending.

    Returns:
        Places from 1, ascending, at most `n`.

    >>> last_seconds(np.array([0, 0, 1, 2, 2]), n=8)
    array([2, 3])
    """
    return (1 + np.flatnonzero(np.diff(seconds)))[-n:]


def cut(
    interactions: pd.DataFrame,
    splits: pd.DataFrame,
    *,
    starts: Callable[[np.ndarray], Iterable[int]],
    width: int = 1,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Cut the histories of held-out users at some places: what comes before is history.

    Args:
        interactions: rows in order within each user, with `second`.
        splits: frame `user_id`, `split`.
        starts: from the second of each item of a user to the places where targets begin.
        width: items from there on that are targets.

    Returns:
        (cases, targets): cases hold `case_id`, `user_id`, `split`, `history`; targets hold
        `case_id`, `item_id`, `target_order` (from 0).
    """
    side = splits.set_index(USER)[SPLIT]
    cases, targets = [], []
    for user, rows in interactions.groupby(USER, sort=True):
        if side.get(user) not in HELDOUT_SPLITS:
            continue
        items = rows[ITEM].to_numpy()
        for start in starts(rows[SECOND].to_numpy()):
            case = f"u{user:05d}_p{start:04d}"
            cases.append((case, user, side[user], items[:start]))
            targets += [(case, item, i) for i, item in enumerate(items[start : start + width])]
    return (
        pd.DataFrame(cases, columns=[CASE, USER, SPLIT, HISTORY]),
        pd.DataFrame(targets, columns=[CASE, ITEM, "target_order"]),
    )


def load_splits(dataset: str) -> pd.DataFrame:
    """The frame `user_id`, `split` written by stage `data`."""
    return files.read_parquet_of("data", config.processed_dir(dataset) / "splits.parquet")


def load_interactions(dataset: str) -> pd.DataFrame:
    """What stage `data` wrote, in order: `user_id`, `item_id`, `rating`, `timestamp`; `second` and
    `position`, counted from 0 in each user."""
    return files.read_parquet_of("data", config.processed_dir(dataset) / "interactions.parquet")


def load_histories(dataset: str, split: str) -> dict[int, np.ndarray]:
    """Whole histories (item ids, oldest first) of the training or validation users.

    Args:
        split: `train` or `validation`. Test users are refused: what a model may know of them is the
            history of their cases.

    Returns:
        user id -> items, in ascending order of users.
    """
    return items_by_user(_of_models(dataset, split))


def load_earlier(dataset: str, split: str) -> dict[int, np.ndarray]:
    """Histories up to the second in which the last :data:`WINDOW` items begin, that second left out.

    What these five are asked for, or taught as an answer to, must not show an item of their own second.

    Args:
        split: as :func:`load_histories`.

    Returns:
        user id -> items, oldest first; without the users of whom nothing is left.
    """
    return items_by_user(before_window(_of_models(dataset, split)))


def before_window(interactions: pd.DataFrame) -> pd.DataFrame:
    """The rows of earlier seconds than that in which a user's last :data:`WINDOW` items begin.

    Args:
        interactions: rows in order within each user, with `second`; of a user with fewer items nothing is
            kept.
    """
    begins = interactions.groupby(USER)[SECOND].transform(
        lambda seconds: seconds.iloc[-min(WINDOW, len(seconds))]
    )
    return interactions[interactions[SECOND] < begins]


def items_by_user(interactions: pd.DataFrame) -> dict[int, np.ndarray]:
    """user id -> items in the order of the rows, by ascending user."""
    return {int(user): items.to_numpy() for user, items in interactions.groupby(USER, sort=True)[ITEM]}


def _of_models(dataset: str, split: str) -> pd.DataFrame:
    """Interactions of one part, proven to be of that part, which models may see."""
    if split not in ("train", "validation"):
        raise StudyError(f"histories of split {split!r} are not for models; use its cases instead")
    splits = load_splits(dataset)
    interactions = load_interactions(dataset)
    rows = interactions[interactions[USER].isin(splits.loc[splits[SPLIT] == split, USER])]
    check_apart(rows[USER].unique(), splits, split=split)
    return rows


def check_apart(user_ids, splits: pd.DataFrame, *, split: str = "train") -> None:
    """Prove before training that users belong to one part of the split and to no other.

    Args:
        user_ids: the users about to be used (any iterable of ids).
        splits: frame `user_id`, `split`.
        split: the part they must belong to.

    Raises:
        StudyError: naming the first user that leaks, or that stands in two parts.
    """
    twice = splits[splits[USER].duplicated()]
    if len(twice):
        raise StudyError(f"user {twice[USER].iloc[0]} stands in two parts of the split")
    side = splits.set_index(USER)[SPLIT]
    for user in user_ids:
        if side.get(user) != split:
            raise StudyError(f"leak: user {user} is {side.get(user)!r}, not {split!r}")


def check_cases(
    cases: pd.DataFrame,
    targets: pd.DataFrame,
    interactions: pd.DataFrame,
    splits: pd.DataFrame,
    *,
    within_second: bool,
) -> None:
    """Prove what cases promise: held-out users only, history before target, no target in it.

    Args:
        within_second: whether a history may hold items of its target's second.

    Raises:
        StudyError: naming the first case that fails.
    """
    for split in HELDOUT_SPLITS:
        check_apart(cases.loc[cases[SPLIT] == split, USER].unique(), splits, split=split)
    sequences = {user: items.to_numpy() for user, items in interactions.groupby(USER)[ITEM]}
    seconds = {user: values.to_numpy() for user, values in interactions.groupby(USER)[SECOND]}
    answers = targets.sort_values("target_order").groupby(CASE)[ITEM].agg(list)
    for case, user, history in zip(cases[CASE], cases[USER], cases[HISTORY], strict=True):
        both = [*history, *answers[case]]
        if list(sequences[user][: len(both)]) != both:
            raise StudyError(f"case {case}: history and target are not consecutive in user {user}'s order")
        if set(history) & set(answers[case]):
            raise StudyError(f"case {case}: a target stands in its own history")
        at = len(history)
        if not within_second and seconds[user][at - 1] == seconds[user][at]:
            raise StudyError(f"case {case}: its history holds an item of its target's second")

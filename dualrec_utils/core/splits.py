"""Split users once, write the cases and their targets, and prove that nothing leaks.

Definitions (design): users are split 70/15/15 as a whole. `next_item`: the last `cases_per_user`
positions of each held-out user, everything before as history, one target. `window_of_five`: all but
the last five movies as history, the five as targets.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from dualrec_utils.core import config, files
from dualrec_utils.core.config import CASE, HELDOUT_SPLITS, HISTORY, ITEM, SPLIT, SPLITS, USER
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
        interactions: rows in order within each user.
        splits: frame `user_id`, `split`.
        protocol: `next_item` or `window_of_five`.
        cases_per_user: cases of each user under `next_item`; `window_of_five` has one.

    Returns:
        (cases, targets): cases hold `case_id`, `user_id`, `split`, `history`; targets hold
        `case_id`, `item_id`, `target_order` (from 0).
    """
    side = splits.set_index(USER)[SPLIT]
    cases, targets = [], []
    for user, sequence in interactions.groupby(USER, sort=True)[ITEM]:
        if side.get(user) not in HELDOUT_SPLITS:
            continue
        items = sequence.to_numpy()
        if protocol == "next_item":
            starts = range(len(items) - cases_per_user, len(items))
            width = 1
        elif protocol == "window_of_five":
            starts, width = [len(items) - WINDOW], WINDOW
        else:
            raise StudyError(f"unknown protocol {protocol!r}; known: {list(config.PROTOCOLS)}")
        for start in starts:
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


def load_histories(dataset: str, split: str) -> dict[int, np.ndarray]:
    """Whole histories (item ids, oldest first) of the training or validation users.

    Args:
        split: `train` or `validation`. Test users are refused: what a model may know of them is the
            history of their cases.

    Returns:
        user id -> items, in ascending order of users.
    """
    if split not in ("train", "validation"):
        raise StudyError(f"histories of split {split!r} are not for models; use its cases instead")
    splits = load_splits(dataset)
    users = splits.loc[splits[SPLIT] == split, USER]
    interactions = files.read_parquet_of("data", config.processed_dir(dataset) / "interactions.parquet")
    own = interactions[interactions[USER].isin(users)]
    histories = {int(user): items.to_numpy() for user, items in own.groupby(USER, sort=True)[ITEM]}
    check_apart(histories, splits, split=split)
    return histories


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
    cases: pd.DataFrame, targets: pd.DataFrame, interactions: pd.DataFrame, splits: pd.DataFrame
) -> None:
    """Prove that cases are honest: held-out users only, history before target, no target in it.

    Raises:
        StudyError: naming the first case that fails.
    """
    for split in HELDOUT_SPLITS:
        check_apart(cases.loc[cases[SPLIT] == split, USER].unique(), splits, split=split)
    sequences = {user: items.to_numpy() for user, items in interactions.groupby(USER)[ITEM]}
    answers = targets.sort_values("target_order").groupby(CASE)[ITEM].agg(list)
    for case, user, history in zip(cases[CASE], cases[USER], cases[HISTORY], strict=True):
        both = [*history, *answers[case]]
        if list(sequences[user][: len(both)]) != both:
            raise StudyError(f"case {case}: history and target are not consecutive in user {user}'s order")
        if set(history) & set(answers[case]):
            raise StudyError(f"case {case}: a target stands in its own history")

"""Predictions: the one interface between models and results.

A model writes, for every case of a protocol and split, a ranked list of at most :data:`MAX_LENGTH`
entries. Results read nothing else of a model. One file is one system:
`data/<dataset>/<stage>/predictions/<protocol>/<split>/<system>.parquet`. The stage's folder comes
before the protocol so that each DVC stage owns one output folder.

Columns: `case_id` (str), `rank` (int, from 1, without gaps), `item_id` (nullable int: null where a
text matches no item), `score` (float, higher is better), `text` (what a language model wrote, else
null), `seed` (int).
"""

from __future__ import annotations

import dataclasses
import functools
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from dualrec_utils.core import config, files
from dualrec_utils.core.catalog import columns_of, load_catalog, marked
from dualrec_utils.core.config import CASE, HISTORY, ITEM, RANK, SCORE, SEED, SPLIT, TEXT
from dualrec_utils.core.errors import StudyError

MAX_LENGTH = 100
COLUMNS = {CASE: "str", RANK: "int32", ITEM: "Int64", SCORE: "float64", TEXT: "str", SEED: "int64"}
# A system's list with the items of the history left in stands beside the headline list.
SEEN_KEPT = "_seen_kept"


@dataclass(frozen=True)
class Scope:
    """What a file of predictions belongs to: whose answers (`stage`) to which cases (the rest).

    Raises:
        StudyError: for a protocol without cases or a split without any.
    """

    dataset: str
    stage: str
    protocol: str
    split: str

    def __post_init__(self) -> None:
        known = {"protocol": config.PROTOCOLS, "split": config.HELDOUT_SPLITS}
        for field, values in known.items():
            if (value := getattr(self, field)) not in values:
                raise StudyError(f"there are no cases of {field} {value!r}; use one of {list(values)}")

    @property
    def label(self) -> str:
        """Which cases, in one word: `next_item_test`. File names end with it."""
        return f"{self.protocol}_{self.split}"

    def replace(self, **changes: str) -> Scope:
        """The same scope with another value of some fields."""
        return dataclasses.replace(self, **changes)


# Several sets of lists: (whose cases, system) -> predictions.
Lists = dict[tuple[Scope, str], pd.DataFrame]


def scopes(dataset: str, stage: str, *, splits: Sequence[str] = config.HELDOUT_SPLITS) -> list[Scope]:
    """A stage's scopes, one a (split, protocol): by split first, both protocols in each."""
    return [Scope(dataset, stage, protocol, split) for split in splits for protocol in config.PROTOCOLS]


def load_cases(scope: Scope) -> pd.DataFrame:
    """Cases of a protocol and split, without targets; all stages answer the same ones.

    Returns:
        Frame with `case_id`, `user_id`, `split`, `history` (array of item ids, oldest first),
        sorted by `case_id`.
    """
    path = config.processed_dir(scope.dataset) / f"cases_{scope.protocol}.parquet"
    cases = files.read_parquet_of("data", path)
    return cases[cases[SPLIT] == scope.split].sort_values(CASE, ignore_index=True)


def path_of(system: str, scope: Scope) -> Path:
    """Where a system's predictions lie."""
    return _folder(scope) / f"{system}.parquet"


def _folder(scope: Scope) -> Path:
    return config.predictions_dir(scope.dataset, scope.stage) / scope.protocol / scope.split


@functools.lru_cache(maxsize=2)
def _draws(names: tuple, n_items: int, seed: int) -> np.ndarray:
    """The order that columns of equal score get, a permutation for each name: (n_names, n_items)."""
    generators = (np.random.default_rng([seed, zlib.crc32(str(name).encode())]) for name in names)
    drawn = [generator.permutation(n_items) for generator in generators]
    return np.array(drawn, dtype=np.int64).reshape(-1, n_items)


def best(scores: np.ndarray, names: Sequence, *, seed: int, k: int | None = None) -> np.ndarray:
    """The columns of highest score in each row, best first: the one place where scores become an order.

    Equal scores are drawn, so that no order of the columns can profit. The draw depends on the seed and the
    row's name alone: a case has the same list whichever others stand beside it.

    Args:
        scores: shape (n, n_items), no NaN; not changed.
        names: n names, such as case ids.
        seed: of the draw, at least 0.
        k: columns wanted; None orders all.

    Returns:
        Integers, shape (n, k).
    """
    drawn = _draws(tuple(names), scores.shape[1], seed)
    order = np.argsort(-np.take_along_axis(scores, drawn, axis=1), axis=1, kind="stable")[:, :k]
    return np.take_along_axis(drawn, order, axis=1)


def from_scores(
    scores: np.ndarray,
    cases: pd.DataFrame,
    item_ids: np.ndarray,
    *,
    seed: int,
    exclude_seen: bool = True,
    length: int = MAX_LENGTH,
) -> pd.DataFrame:
    """Turn a score matrix into ranked lists.

    Args:
        scores: shape (n_cases, n_items), higher is better; not changed.
        cases: frame with `case_id` and `history`, row i belonging to row i of `scores`.
        item_ids: shape (n_items,), the item of each column, ascending.
        seed: draws the order of equal scores, see :func:`best`; written into the `seed` column.
        exclude_seen: leave the items of the history out (no MovieLens user rates an item twice).
        length: longest list.

    Returns:
        A frame in the shape of this module.

    Raises:
        StudyError: when shapes disagree, a score is not a number or a history names an item that the
            catalog does not have.
    """
    if scores.shape != (len(cases), len(item_ids)):
        raise StudyError(
            f"scores have shape {scores.shape}, expected ({len(cases)}, {len(item_ids)}): one row a"
            " case and one column a catalog item"
        )
    # Minus infinity may say "never"; nothing may say "always".
    wrong = (np.isnan(scores) | np.isposinf(scores)).any(axis=1)
    if wrong.any():
        raise StudyError(
            f"scores of case {cases[CASE].iloc[wrong.argmax()]} are not numbers (NaN or infinity)"
        )
    working = scores.astype(np.float64, copy=True)
    if exclude_seen:
        working[marked(cases[HISTORY], item_ids)] = -np.inf
    order = best(working, cases[CASE], seed=seed, k=length)
    highest = np.take_along_axis(working, order, axis=1)
    rows, columns = np.nonzero(np.isfinite(highest))
    frame = pd.DataFrame(
        {
            CASE: cases[CASE].to_numpy()[rows],
            RANK: columns + 1,
            ITEM: item_ids[order[rows, columns]],
            SCORE: highest[rows, columns],
            TEXT: None,
            SEED: seed,
        }
    )
    return frame.astype(COLUMNS)


def drop_seen(predictions: pd.DataFrame, cases: pd.DataFrame) -> pd.DataFrame:
    """Remove entries whose item is in the case's history and close the ranks, order kept.

    Unmatched entries (null `item_id`) keep their place. Lists without any entry stay so.
    """
    seen = cases[[CASE, HISTORY]].explode(HISTORY).rename(columns={HISTORY: ITEM})
    seen = set(zip(seen[CASE], seen[ITEM], strict=True))
    pairs = zip(predictions[CASE], predictions[ITEM], strict=True)
    # As an array: an empty list would choose columns.
    unseen = np.array([pair not in seen for pair in pairs], dtype=bool)
    fresh = predictions[unseen].sort_values([CASE, RANK])
    return fresh.assign(**{RANK: fresh.groupby(CASE).cumcount() + 1}).astype(COLUMNS)


def check(predictions: pd.DataFrame, cases: pd.DataFrame, item_ids: np.ndarray) -> None:
    """Refuse predictions that results could misread.

    Args:
        predictions: a frame in the shape of this module.
        cases: the cases they claim to answer.
        item_ids: the catalog.

    Raises:
        StudyError: naming the first row or case that is wrong: columns, a case the split does not
            have, ranks with gaps or repeats, lists over :data:`MAX_LENGTH`, an item outside the
            catalog, a score that is not a number.
    """
    missing = [column for column in COLUMNS if column not in predictions]
    if missing:
        raise StudyError(f"predictions lack the columns {missing}; they need {list(COLUMNS)}")
    strangers = predictions.loc[~predictions[CASE].isin(cases[CASE]), CASE]
    if len(strangers):
        raise StudyError(
            f"predictions answer case {strangers.iloc[0]!r}, which the split does not have:"
            " write them anew for the present split"
        )
    ordered = predictions.sort_values([CASE, RANK])
    gaps = ordered[ordered[RANK] != ordered.groupby(CASE).cumcount() + 1]
    if len(gaps):
        raise StudyError(f"ranks of case {gaps[CASE].iloc[0]!r} are not 1, 2, 3, ... without gaps")
    if len(ordered) and ordered[RANK].max() > MAX_LENGTH:
        raise StudyError(f"a list holds {ordered[RANK].max()} entries, at most {MAX_LENGTH} allowed")
    unknown = ordered[ordered[ITEM].notna() & ~ordered[ITEM].isin(item_ids)]
    if len(unknown):
        row = unknown.iloc[0]
        raise StudyError(f"case {row[CASE]!r} lists item {row[ITEM]}, which the catalog does not have")
    if ordered[SCORE].isna().any():
        row = ordered[ordered[SCORE].isna()].iloc[0]
        raise StudyError(f"case {row[CASE]!r} has a score that is not a number at rank {row[RANK]}")


def write(predictions: pd.DataFrame, system: str, scope: Scope) -> Path:
    """Check predictions against the cases of the scope and write them whole.

    Raises:
        StudyError: as :func:`check`.
    """
    check(predictions, load_cases(scope), load_catalog(scope.dataset).ids)
    ordered = predictions[list(COLUMNS)].astype(COLUMNS).sort_values([CASE, RANK])
    return files.write_parquet(ordered, path_of(system, scope))


def read(system: str, scope: Scope) -> pd.DataFrame:
    """Read one system's predictions.

    Raises:
        StudyError: when the file is not there or has other columns, naming the stage that writes it.
    """
    return files.read_parquet_of(scope.stage, path_of(system, scope), COLUMNS)


def with_seen_kept(names: Iterable[str]) -> list[str]:
    """Each system's name, and behind it that of its lists with the items of the history left in."""
    return [name + suffix for name in names for suffix in ("", SEEN_KEPT)]


def rename(system: str, ending: str) -> str:
    """The name of what was made of a system's lists: its own with an ending, before that of seen items.

    >>> rename("movielm_lora_seen_kept", "_reranked")
    'movielm_lora_reranked_seen_kept'
    """
    base, kept, _ = system.partition(SEEN_KEPT)
    return base + ending + kept


def write_all(lists: Lists) -> None:
    """Write several sets of lists, each under its system's name in the scope that it belongs to."""
    for (scope, name), frame in lists.items():
        write(frame, name, scope)


def first_items(lists: pd.DataFrame) -> pd.Series:
    """`case_id` -> the item at rank 1, missing where its title matches none."""
    return lists[lists[RANK] == 1].set_index(CASE)[ITEM]


def systems(scope: Scope) -> list[str]:
    """Names of the systems a stage has predictions of, sorted; what a killed write left does not count."""
    return sorted(path.stem for path in _folder(scope).glob("[!.]*.parquet"))


def target_ranks(
    scores: np.ndarray,
    histories: Sequence[np.ndarray],
    targets: np.ndarray,
    item_ids: np.ndarray,
    *,
    names: Sequence,
    seed: int,
) -> np.ndarray:
    """Rank of each target, items of the history left out: its place in the list of :func:`from_scores`.

    Args:
        scores: shape (n, n_items); not changed.
        histories: n arrays of item ids.
        targets: shape (n,), item ids, none of them in its history.
        item_ids: shape (n_items,), ascending.
        names, seed: draw the order of equal scores, see :func:`best`.

    Returns:
        Shape (n,), whole numbers from 1.

    Raises:
        StudyError: when shapes disagree, a score is not a number or an item is not in the catalog.
    """
    if scores.shape != (len(targets), len(item_ids)):
        raise StudyError(
            f"scores have shape {scores.shape}, expected ({len(targets)}, {len(item_ids)}): one row a"
            " history and one column a catalog item"
        )
    if not np.isfinite(scores).all():
        raise StudyError("a score is not a number (NaN or infinity)")
    working = scores.astype(np.float64, copy=True)
    working[marked(histories, item_ids)] = -np.inf
    columns = columns_of(targets, item_ids)
    return 1 + (best(working, names, seed=seed) == columns[:, None]).argmax(axis=1)

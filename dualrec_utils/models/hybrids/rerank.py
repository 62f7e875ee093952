"""Order a list of titles by their likeness to the LSTM's title, with Sentence-BERT (paper section 4.2.3).

The reference is the LSTM's first unseen item and nothing else; no function here knows a target. What
is embedded is "Title (year)", as in the paper's example; a title that matches no item of the catalog
is embedded as the language model wrote it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from dualrec_utils.core import predictions
from dualrec_utils.core.catalog import Catalog
from dualrec_utils.core.config import CASE, ITEM, RANK, SCORE, SEED, TEXT
from dualrec_utils.core.errors import StudyError

# Endings of the systems made of a language model's lists.
SUFFIX, LSTM_FIRST, RANDOM_ORDER = "_reranked", "_lstm_first", "_random_order"
SIMILARITY = "similarity"
# Cosines of one pair differ by about 1e-7 between batches; beyond this place they are ties.
_DECIMALS = 6


def texts_of(lists: pd.DataFrame, names: Mapping[int, str]) -> pd.Series:
    """What is embedded for each entry: the catalog's "Title (year)", or the raw text where unmatched.

    Args:
        lists: predictions, see :mod:`core.predictions`.
        names: `item_id` -> "Title (year)", see :class:`core.catalog.Catalog`.
    """
    return lists[ITEM].map(names).astype(object).where(lists[ITEM].notna(), lists[TEXT])


def texts_to_embed(lists: Iterable[pd.DataFrame], names: Mapping[int, str]) -> set[str]:
    """Every text of the lists and of the catalog: what :func:`similarities` needs embedded."""
    return set(names.values()).union(*(set(texts_of(frame, names)) for frame in lists))


def similarities(
    lists: pd.DataFrame, hints: pd.Series, catalog: Catalog, embeddings: pd.DataFrame
) -> pd.Series:
    """Cosine of each entry's embedding with that of its case's hint.

    Args:
        hints: `case_id` -> the LSTM's item.
        embeddings: from :func:`embed`, of every text of `lists` and every hint's title.

    Returns:
        Series on the index of `lists`, range [-1, 1], rounded to six decimals.

    Raises:
        StudyError: when a case has no hint.
    """
    names = catalog.names
    _check_hints(lists[CASE], hints)
    reference = lists[CASE].map(hints).map(names)
    listed = embeddings.loc[texts_of(lists, names)].to_numpy(dtype=np.float64)
    theirs = embeddings.loc[reference].to_numpy(dtype=np.float64)
    cosine = np.einsum("ij,ij->i", listed, theirs)
    return pd.Series(cosine.round(_DECIMALS).clip(-1, 1), index=lists.index, name=SIMILARITY)


def by_similarity(lists: pd.DataFrame, similarity: pd.Series) -> pd.DataFrame:
    """Re-rank every list in descending similarity; equal ones keep their order.

    Args:
        similarity: from :func:`similarities`, on the same index.

    Returns:
        Predictions with the same entries, the similarity as score.
    """
    scored = lists.assign(**{SCORE: similarity}).sort_values([CASE, RANK])
    ordered = scored.sort_values(SCORE, ascending=False, kind="stable").sort_values(CASE, kind="stable")
    return _ranked(ordered)


def in_random_order(lists: pd.DataFrame, *, seed: int) -> pd.DataFrame:
    """The same entries of every list in an order drawn from the seed."""
    ordered = lists.sort_values([CASE, RANK])
    draws = np.random.default_rng(seed).random(len(ordered))
    return _ranked(ordered.assign(**{SCORE: draws}).sort_values([CASE, SCORE], ascending=[True, False]))


def hint_first(lists: pd.DataFrame, hints: pd.Series, *, seed: int) -> pd.DataFrame:
    """The LSTM's item, then the list without it: "LSTM's top-1, then the list".

    Args:
        hints: `case_id` -> the LSTM's item, for every case (a case without a list gets its hint alone).
        seed: written into the rows added.

    Returns:
        Predictions one entry longer where the list did not name the hint; score 1 / rank.
    """
    _check_hints(lists[CASE], hints)
    first = pd.DataFrame({CASE: hints.index, ITEM: hints.to_numpy(), RANK: 0, TEXT: None, SEED: seed})
    first = first.assign(**{SCORE: 1.0}).astype(predictions.COLUMNS)
    rest = lists[(lists[ITEM] != lists[CASE].map(hints)).fillna(True).astype(bool)]
    both = _ranked(pd.concat([first, rest], ignore_index=True).sort_values([CASE, RANK], kind="stable"))
    return both.assign(**{SCORE: 1 / both[RANK]})


def _check_hints(cases: pd.Series, hints: pd.Series) -> None:
    lacking = cases[~cases.isin(hints.index)]
    if len(lacking):
        raise StudyError(
            f"case {lacking.iloc[0]!r} has no hint to compare with: run `dvc repro lstm` for this split"
        )


def _ranked(ordered: pd.DataFrame) -> pd.DataFrame:
    """Ranks 1, 2, 3, ... in the row order given, within each case."""
    ranks = ordered.groupby(CASE, sort=False).cumcount() + 1
    return ordered.assign(**{RANK: ranks})[list(predictions.COLUMNS)].astype(predictions.COLUMNS)

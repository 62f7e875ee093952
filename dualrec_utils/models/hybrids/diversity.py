"""Diversity of recommendation lists, and re-rankers that trade hits for it (the paper's open question 1).

Two re-rankers of one list, both greedy from the top: maximal marginal relevance, which keeps an item
away from those chosen before it, and genre coverage, which looks for genres of the history that no
item chosen before has. Relevance is a list's own score, scaled to [0, 1] within its first candidates
(min-max), so that one trade-off parameter means the same for every case. At 0 a list keeps its order;
Carbonell and Goldstein's lambda is one minus ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from sklearn.metrics import pairwise_distances
from tqdm import tqdm

from dualrec_utils.content.features import genre_vectors
from dualrec_utils.content.sentences import embed
from dualrec_utils.core import evaluation, predictions, splits
from dualrec_utils.core.catalog import Catalog
from dualrec_utils.core.config import CASE, HISTORY, ITEM, RANK, SCORE, USER
from dualrec_utils.core.errors import StudyError
from dualrec_utils.core.predictions import Lists, Scope

RERANKER, TRADE_OFF = "reranker", "trade_off"
SIMILARITY, GENRE_SIMILARITY, COVERAGE = "sbert_similarity@5", "genre_similarity@5", "genre_coverage@5"
MEASURES = (SIMILARITY, GENRE_SIMILARITY, COVERAGE)
# What diversity may cost.
ACCURACY = ("hit_rate@5", "ndcg@5")
# Suffix of the system that each re-ranker makes.
RERANKERS = {"mmr": "_mmr", "genres": "_genres"}
K = 5


def title_similarity(catalog: Catalog, *, sbert: str) -> np.ndarray:
    """Cosine of every two items' "Title (year)" under Sentence-BERT (see :mod:`models.hybrids.rerank`).

    Returns:
        Shape (n_items, n_items), range [-1, 1], 1 on the diagonal.
    """
    names = list(catalog.names.values())
    vectors = embed(names, sbert=sbert).loc[names].to_numpy(dtype=np.float64)
    return np.clip(vectors @ vectors.T, -1, 1)


def genre_similarity(catalog: Catalog) -> np.ndarray:
    """Jaccard similarity of every two items' genres; two items without genres have 1.

    Returns:
        Shape (n_items, n_items), range [0, 1].
    """
    if not catalog.vocabulary:
        return np.ones((len(catalog),) * 2)
    return 1 - pairwise_distances(genre_vectors(catalog), metric="jaccard")


def _first_columns(lists: pd.DataFrame, catalog: Catalog, *, n: int = K) -> tuple[pd.Index, np.ndarray]:
    """The first n items of every list, as columns of the catalog.

    Returns:
        (cases, columns): cases sorted; columns of shape (n_cases, n), -1 after a list's end.

    Raises:
        StudyError: when an entry names no item of the catalog.
    """
    top = lists[lists[RANK] <= n].sort_values([CASE, RANK])
    places = pd.Index(catalog.ids).get_indexer(top[ITEM].astype("float64"))
    if (places < 0).any():
        row = top.iloc[(places < 0).argmax()]
        raise StudyError(
            f"case {row[CASE]!r} lists {row[ITEM]} at rank {row[RANK]}, which is no item of the catalog;"
            " diversity is measured on lists of catalog items"
        )
    rows, cases = pd.factorize(top[CASE])
    columns = np.full((len(cases), n), -1)
    columns[rows, top[RANK].to_numpy() - 1] = places
    return pd.Index(cases, name=CASE), columns


def intra_list_similarity(lists: pd.DataFrame, similarity: np.ndarray, catalog: Catalog) -> pd.Series:
    """Mean similarity of every two items among a list's first five (Ziegler et al., WWW 2005).

    Args:
        similarity: shape (n_items, n_items), rows and columns as the catalog's.

    Returns:
        `case_id` -> value; NaN for a list of fewer than two items.
    """
    cases, columns = _first_columns(lists, catalog)
    one, other = np.triu_indices(K, 1)
    present = (columns[:, one] >= 0) & (columns[:, other] >= 0)
    pairs = np.where(present, similarity[columns[:, one], columns[:, other]], 0)
    counts = np.where(present.any(axis=1), present.sum(axis=1), np.nan)
    return pd.Series(pairs.sum(axis=1) / counts, index=cases)


def genre_coverage(lists: pd.DataFrame, catalog: Catalog) -> pd.Series:
    """Share of all genres that a list's first five items have between them: `case_id` -> [0, 1].

    It is 0 where the catalog knows no genres.
    """
    cases, columns = _first_columns(lists, catalog)
    if not catalog.vocabulary:
        return pd.Series(0.0, index=cases)
    flags = genre_vectors(catalog)[columns] & (columns >= 0)[:, :, None]
    return pd.Series(flags.any(axis=1).mean(axis=1), index=cases)


def history_genres(cases: pd.DataFrame, catalog: Catalog) -> np.ndarray:
    """Shares of the genres in each history, every item counted once for each of its genres.

    Returns:
        Shape (n_cases, n_genres), rows sum to 1 (0 where no item of the history has a genre).
    """
    genres = genre_vectors(catalog)
    counts = np.stack([genres[catalog.columns(history)].sum(axis=0) for history in cases[HISTORY]])
    return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)


def diversify(
    lists: pd.DataFrame,
    cases: pd.DataFrame,
    catalog: Catalog,
    *,
    reranker: str,
    trade_off: float,
    similarity: np.ndarray,
    n_candidates: int = 50,
    length: int = 10,
) -> pd.DataFrame:
    """Choose the first items of every list one by one; the rest follow in their old order.

    With t for `trade_off`, the next item is the candidate with the highest

    - `mmr`: (1 - t) relevance - t (largest similarity to an item chosen before; 0 for the first),
      maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998)
    - `genres`: (1 - t) relevance + t (share in the history of its genres that no item chosen before
      has), xQuAD with genres as aspects, each satisfied by the first item that has it (Santos,
      Macdonald and Ounis, WWW 2010)

    Equal ones keep their order. Scores of the lists returned are 1 / rank.

    Args:
        lists: predictions, every entry a catalog item.
        cases: frame with `case_id` and `history`.
        reranker: a key of :data:`RERANKERS`.
        trade_off: in [0, 1]; 0 keeps the lists as they are.
        similarity: shape (n_items, n_items), for `mmr`.
        n_candidates: first items of a list that may be chosen.
        length: items chosen.

    Returns:
        Predictions with the same entries.

    Raises:
        StudyError: on another re-ranker or trade-off, or an entry that is no catalog item.
    """
    if reranker not in RERANKERS:
        raise StudyError(f"unknown re-ranker {reranker!r}; known: {list(RERANKERS)}")
    if not 0 <= trade_off <= 1:
        raise StudyError(f"the trade-off is {trade_off}; allowed: 0 (relevance alone) to 1")
    index, columns = _first_columns(lists, catalog, n=n_candidates)
    inside = columns >= 0
    relevance = _relevance(lists, index, inside)
    wanted = cases.set_index(CASE).loc[index].reset_index()
    shares = history_genres(wanted, catalog)
    genres = genre_vectors(catalog)[columns]
    covered = np.zeros(shares.shape, dtype=bool)
    nearest = np.zeros(columns.shape)
    free, rows = inside.copy(), np.arange(len(columns))
    order = np.full(columns.shape, n_candidates)
    for place in range(min(length, n_candidates)):
        if reranker == "mmr":
            gain = -nearest
        else:
            gain = np.einsum("cng,cg->cn", genres & ~covered[:, None], shares)
        value = np.where(free, (1 - trade_off) * relevance + trade_off * gain, -np.inf)
        chosen = value.argmax(axis=1)
        going = free[rows, chosen]
        order[rows[going], chosen[going]] = place
        free[rows, chosen] = False
        covered |= genres[rows, chosen] & going[:, None]
        closeness = similarity[columns[rows, chosen][:, None], columns]
        nearest = closeness if place == 0 else np.maximum(nearest, closeness)
    return _reordered(lists, index, order)


def diversify_all(
    lists: Lists,
    cases: Mapping[Scope, pd.DataFrame],
    catalog: Catalog,
    *,
    trade_offs: Mapping[str, float],
    **more,
) -> Lists:
    """:func:`diversify` of several sets of lists by every re-ranker, each with its own trade-off.

    Args:
        trade_offs: re-ranker -> its trade-off.
        more: `similarity`, `n_candidates` of :func:`diversify`.

    Returns:
        (scope, system's name with the re-ranker's ending) -> predictions.
    """
    return {
        (scope, predictions.rename(system, RERANKERS[reranker])): diversify(
            frame, cases[scope], catalog, reranker=reranker, trade_off=trade_off, **more
        )
        for (scope, system), frame in lists.items()
        for reranker, trade_off in trade_offs.items()
    }


def _relevance(lists: pd.DataFrame, cases: pd.Index, inside: np.ndarray) -> np.ndarray:
    """Scores of the candidates, min-max scaled within each list; 1 throughout where all are equal."""
    top = lists[lists[RANK] <= inside.shape[1]]
    scores = np.full(inside.shape, np.nan)
    scores[cases.get_indexer(top[CASE]), top[RANK].to_numpy() - 1] = top[SCORE]
    low, high = np.nanmin(scores, axis=1, keepdims=True), np.nanmax(scores, axis=1, keepdims=True)
    scaled = (scores - low) / np.where(high > low, high - low, 1)
    return np.where(inside, np.where(high > low, scaled, 1.0), 0.0)


def _reordered(lists: pd.DataFrame, cases: pd.Index, order: np.ndarray) -> pd.DataFrame:
    """Entries sorted by the place chosen for them, then by their old rank."""
    rows, old = cases.get_indexer(lists[CASE]), lists[RANK].to_numpy() - 1
    last = order.shape[1]
    chosen = np.where(old < last, order[rows, np.minimum(old, last - 1)], last)
    ordered = lists.assign(chosen=chosen).sort_values([CASE, "chosen", RANK])
    ranks = ordered.groupby(CASE).cumcount() + 1
    ordered = ordered.assign(**{RANK: ranks, SCORE: 1 / ranks})
    return ordered[list(predictions.COLUMNS)].astype(predictions.COLUMNS).reset_index(drop=True)


def measure(
    lists: pd.DataFrame,
    cases: pd.DataFrame,
    catalog: Catalog,
    *,
    targets: pd.Series,
    similarity: np.ndarray,
) -> pd.DataFrame:
    """Metrics of :func:`evaluation.score_lists` and :data:`MEASURES`, one row a case.

    Args:
        lists: predictions, every entry a catalog item.
        targets: from :func:`evaluation.load_targets`.
        similarity: from :func:`title_similarity`.

    Returns:
        The measures are NaN where a list is too short for them.
    """
    scored = evaluation.score_lists(lists, cases, targets, catalog)
    measures = {
        SIMILARITY: intra_list_similarity(lists, similarity, catalog),
        GENRE_SIMILARITY: intra_list_similarity(lists, genre_similarity(catalog), catalog),
        COVERAGE: genre_coverage(lists, catalog),
    }
    return scored.assign(**{name: scored[CASE].map(values) for name, values in measures.items()})


def trade_off_curve(
    lists: pd.DataFrame,
    cases: pd.DataFrame,
    catalog: Catalog,
    *,
    scope: Scope,
    trade_offs: Sequence[float],
    similarity: np.ndarray,
    n_candidates: int = 50,
    **intervals,
) -> pd.DataFrame:
    """Hits and diversity of both re-rankers on validation users, for every trade-off.

    Args:
        lists: predictions for `cases`, of the validation split.
        trade_offs: each in [0, 1]; 0, the lists as they are, is added where it is missing.
        similarity, n_candidates: as :func:`diversify`.
        intervals: `seed`, `n_bootstrap`, `confidence` of :func:`core.evaluation.summarise`.

    Returns:
        Frame `reranker`, `trade_off`, `metric` (:data:`ACCURACY`, :data:`MEASURES`), `value`,
        `low`, `high`, `n_users`, `n_cases`.

    Raises:
        StudyError: when a case is not of a validation user, and as :func:`diversify`.
    """
    splits.check_apart(cases[USER], splits.load_splits(scope.dataset), split="validation")
    targets = evaluation.load_targets(scope.dataset, scope.protocol)
    settings = [(name, float(t)) for name in RERANKERS for t in sorted({0.0, *trade_offs})]
    rows = []
    for name, trade_off in tqdm(settings, desc="trade-off", unit="setting"):
        chosen = {"reranker": name, "trade_off": trade_off, "n_candidates": n_candidates}
        reranked = diversify(lists, cases, catalog, similarity=similarity, length=K, **chosen)
        reranked = reranked[reranked[RANK] <= max(evaluation.CUTOFFS)]
        measured = measure(reranked, cases, catalog, targets=targets, similarity=similarity)
        summary = evaluation.summarise(measured, columns=[*ACCURACY, *MEASURES], **intervals)
        rows.append(summary.reset_index().assign(**{RERANKER: name, TRADE_OFF: trade_off}))
    table = pd.concat(rows, ignore_index=True)
    return table[[RERANKER, TRADE_OFF, "metric", "value", "low", "high", "n_users", "n_cases"]]


def choose_trade_off(curve: pd.DataFrame, *, reranker: str, tolerance: float) -> float:
    """The most diverse setting that costs no more than `tolerance` of hit_rate@5, nor of ndcg@5.

    hit_rate@5 alone would let a re-ranker give up the first place for the fifth.

    Args:
        curve: from :func:`trade_off_curve`.
        reranker: `mmr` is judged by its titles' similarity (lowest), `genres` by its coverage (highest).
        tolerance: absolute; 0.01 of hit_rate@5 is one case in a hundred.

    Returns:
        The trade-off; equally diverse ones go to the smaller.
    """
    table = curve[curve[RERANKER] == reranker].pivot(index=TRADE_OFF, columns="metric", values="value")
    cost = table.loc[0.0, list(ACCURACY)] - table[list(ACCURACY)]
    affordable = table[(cost <= tolerance).all(axis=1)].round(12)
    diverse = -affordable[SIMILARITY] if reranker == "mmr" else affordable[COVERAGE]
    return float(diverse.idxmax())

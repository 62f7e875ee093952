"""A check of lists and of the counting: where nobody can foresee a target, every system is at chance."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from tqdm import tqdm

from dualrec_utils.core import evaluation, predictions
from dualrec_utils.core.catalog import Catalog, load_catalog
from dualrec_utils.core.config import CASE, HISTORY, ITEM, PROTOCOL, RANK, SYSTEM
from dualrec_utils.core.predictions import Scope

K = 5


def drawn_targets(cases: pd.DataFrame, item_ids: np.ndarray, *, seed: int) -> pd.Series:
    """An item for each case, drawn uniformly from those that its user has not rated before.

    Args:
        cases: frame with `case_id`, `history`.
        item_ids: the catalog.
        seed: of the draws.

    Returns:
        `case_id` -> list of one item id, as `evaluation.load_targets` gives them.
    """
    rng = np.random.default_rng(seed)
    free = [np.setdiff1d(item_ids, history) for history in cases[HISTORY]]
    return pd.Series([[int(rng.choice(items))] for items in free], index=cases[CASE])


def chances(lists: pd.DataFrame, cases: pd.DataFrame, item_ids: np.ndarray) -> np.ndarray:
    """Each case's chance of a hit at :data:`K` on a drawn target.

    Args:
        lists: predictions.
        cases: frame with `case_id`, `history`.
        item_ids: the catalog.

    Returns:
        Shape (n_cases,): distinct items among the first K that the user has not rated, over all that he
        or she has not rated.
    """
    top = lists[(lists[RANK] <= K) & lists[ITEM].notna()]
    named = top.groupby(CASE)[ITEM].agg(set)
    histories = [set(history) for history in cases[HISTORY]]
    fresh = [
        len(named.get(case, set()) - history) for case, history in zip(cases[CASE], histories, strict=True)
    ]
    return np.array(fresh) / (len(item_ids) - np.array([len(history) for history in histories]))


def distance(
    lists: pd.DataFrame, cases: pd.DataFrame, targets: pd.Series, catalog: Catalog
) -> dict[str, float]:
    """Hits on drawn targets beside those that chance gives.

    Args:
        lists: predictions.
        cases, catalog: the cases answered and the catalog.
        targets: from :func:`drawn_targets`.

    Returns:
        `hits` (cases with the target among the first K), `expected` (the sum of :func:`chances`) and
        `distance`: their difference in standard deviations of a sum of independent draws.
    """
    hits = evaluation.score_lists(lists, cases, targets, catalog)[f"hit_rate@{K}"].sum()
    p = chances(lists, cases, catalog.ids)
    spread = np.sqrt((p * (1 - p)).sum())
    return {"hits": hits, "expected": p.sum(), "distance": (hits - p.sum()) / spread if spread else 0.0}


def of_systems(written: pd.DataFrame, *, dataset: str, seed: int) -> pd.DataFrame:
    """:func:`distance` of systems under `next_item`, all on the same draw.

    Args:
        written: `protocol`, `system`, `stage` of predictions for test cases; other protocols are left out.
        seed: of the draw.

    Returns:
        One row a system: `system`, `n_cases`, `hits`, `expected`, `distance`.
    """
    scope = Scope(dataset, "results", "next_item", "test")
    cases, catalog = predictions.load_cases(scope), load_catalog(dataset)
    targets = drawn_targets(cases, catalog.ids, seed=seed)
    rows = []
    for row in tqdm(list(written[written[PROTOCOL] == scope.protocol].itertuples()), desc="drawn targets"):
        lists = predictions.read(row.system, scope.replace(stage=row.stage))
        measured = distance(lists, cases, targets, catalog)
        rows.append({SYSTEM: row.system, "n_cases": len(cases)} | measured)
    return pd.DataFrame(rows)


def in_words(table: pd.DataFrame, *, label: Callable[[str], str] = str) -> str:
    """The check in two sentences: its scale, and the system farthest from chance.

    A difference of a few hits is much where few are expected, so the numbers expected stand first.

    Args:
        table: from :func:`of_systems`.
        label: a system in words.
    """
    farthest = table.loc[table["distance"].abs().idxmax()]
    least, most = table["expected"].min(), table["expected"].max()
    return (
        f"{len(table)} systems answered {farthest['n_cases']:,} cases. By chance each would have between"
        f" {least:.1f} and {most:.1f} hits. {label(farthest[SYSTEM])} is farthest from chance:"
        f" {farthest['hits']:.0f} hits where {farthest['expected']:.1f} are expected"
        f" ({farthest['distance']:+.1f} standard deviations)."
    )

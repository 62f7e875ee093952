"""The language models' lists that notebook 06 puts in another order, and what that does to them.

Nothing here knows a target.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd
from tqdm import tqdm

from dualrec_utils.core import predictions
from dualrec_utils.core.catalog import Catalog
from dualrec_utils.core.config import CASE, ITEM, PROTOCOL, RANK, SCORE, SYSTEM, TEXT
from dualrec_utils.core.predictions import Lists, Scope
from dualrec_utils.models.hybrids import rerank


def stages_of_lists(dataset: str, model: str) -> dict[str, str]:
    """The systems whose lists are re-ranked: system -> stage that wrote its lists.

    The zero-shot answers of `model`, its adapter and its control; then those of any other language model
    that answered there, without its controls.
    """
    stages = {f"{model}_zero_shot": "zero_shot_llm"}
    stages |= dict.fromkeys((f"{model}_lora", f"{model}_lora_permuted"), "lora_finetuning")
    for stage, ending in (("zero_shot_llm", "_zero_shot"), ("lora_finetuning", "_lora")):
        names = predictions.systems(Scope(dataset, stage, "next_item", "test"))
        stages |= {name: stage for name in names if name.endswith(ending)}
    return stages


def read(stages: Mapping[str, str], scopes: Iterable[Scope]) -> Lists:
    """Read the lists of several systems, headline and as written (`_seen_kept`).

    Args:
        stages: from :func:`stages_of_lists`.
        scopes: which cases; their stage plays no part.

    Returns:
        (scope as given, system) -> predictions.
    """
    return {
        (scope, name): predictions.read(name, scope.replace(stage=stage))
        for scope in scopes
        for system, stage in stages.items()
        for name in predictions.with_seen_kept([system])
    }


def rerank_all(
    lists: Lists, hints: Mapping[Scope, pd.Series], catalog: Catalog, embeddings: pd.DataFrame
) -> Lists:
    """Every set of lists by its likeness to the LSTM's items, under the name it had.

    Args:
        hints: scope -> `case_id` -> the LSTM's item.
    """
    return {
        (scope, system): rerank.by_similarity(
            frame, rerank.similarities(frame, hints[scope], catalog, embeddings)
        )
        for (scope, system), frame in tqdm(lists.items(), desc="re-rank")
    }


def controls(lists: Lists, hints: Mapping[Scope, pd.Series], *, system: str, seed: int) -> Lists:
    """What a system's re-ranked lists are compared with, headline and as written: neither needs an encoder.

    Returns:
        The lists of :func:`rerank.hint_first` (`<system>_lstm_first`) and :func:`rerank.in_random_order`
        (`<system>_random_order`).
    """
    made = {}
    for (scope, name), frame in lists.items():
        if name in predictions.with_seen_kept([system]):
            first, shuffled = (
                predictions.rename(name, end) for end in (rerank.LSTM_FIRST, rerank.RANDOM_ORDER)
            )
            made[scope, first] = rerank.hint_first(frame, hints[scope], seed=seed)
            made[scope, shuffled] = rerank.in_random_order(frame, seed=seed)
    return made


def worked_example(
    before: pd.DataFrame,
    after: pd.DataFrame,
    hints: pd.Series,
    names: Mapping[int, str],
    *,
    seed: int,
    n_cases: int,
) -> pd.DataFrame:
    """Lists of a few cases before and after re-ranking, as the paper shows one (section 4.2.3).

    Args:
        before, after: the same predictions as written and from :func:`rerank.by_similarity`.
        hints: `case_id` -> the LSTM's item.
        names: `item_id` -> "Title (year)".
        seed: of the choice among the cases with the most different titles whose order changes.
        n_cases: cases shown, fewer where there are not as many.

    Returns:
        `example` (from 1; no number of a case, which holds its user's), `reference` (the LSTM's title),
        `after` (rank), `title`, `similarity`, `before` (rank).
    """
    # Rows of `after` keep the index that they had in `before`.
    entries = after.assign(title=rerank.texts_of(after, names), before=before[RANK])
    n_titles = entries.groupby(CASE)["title"].nunique()
    moved = entries.loc[entries["before"] != entries[RANK], CASE].unique()
    eligible = np.sort([case for case in moved if n_titles[case] == n_titles.max()])
    rng = np.random.default_rng(seed)
    chosen = rng.choice(eligible, size=min(n_cases, len(eligible)), replace=False)
    shown = entries[entries[CASE].isin(chosen)].rename(columns={RANK: "after", SCORE: rerank.SIMILARITY})
    number = pd.factorize(shown[CASE])[0] + 1
    shown = shown.assign(example=number, reference=shown[CASE].map(hints).map(names))
    return shown[["example", "reference", "after", "title", rerank.SIMILARITY, "before"]]


def movement(lists: Lists, reranked: Lists, hints: Mapping[Scope, pd.Series]) -> pd.DataFrame:
    """How much re-ranking moves, and how often a list names the LSTM's own title.

    Args:
        lists, reranked: the same sets of lists before and after. hints: as :func:`rerank_all`.

    Returns:
        One row a set of lists; shares of all cases, those without a list included.
    """
    rows = []
    for (scope, system), before in lists.items():
        hint = hints[scope]
        after = reranked[scope, system]
        top, new_top = (predictions.first_items(frame) for frame in (before, after))
        first, new_first = _first_titles(before), _first_titles(after)
        names_hint = (before[ITEM] == before[CASE].map(hint)).fillna(False)
        counts = {
            "mean list length": len(before),
            "first title changes": (first != new_first.loc[first.index]).sum(),
            "list names the LSTM's title": before.loc[names_hint, CASE].nunique(),
            "LSTM's title first, before": (top == hint.loc[top.index]).sum(),
            "LSTM's title first, after": (new_top == hint.loc[new_top.index]).sum(),
        }
        shares = {name: count / len(hint) for name, count in counts.items()}
        rows.append({PROTOCOL: scope.protocol, SYSTEM: system} | shares)
    return pd.DataFrame(rows)


def _first_titles(lists: pd.DataFrame) -> pd.Series:
    """`case_id` -> the item at rank 1, or the text written where it matches none."""
    rows = lists[lists[RANK] == 1].set_index(CASE)
    return rows[ITEM].astype(object).where(rows[ITEM].notna(), rows[TEXT].fillna(""))

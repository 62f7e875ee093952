"""One test user followed through the whole system, read from what the stages left.

Which user is a matter of the seed, not of taste: one case is drawn among those that give every step
something to do. No target has a say in it; what was rated next is looked up when the rest is done.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from dualrec_utils.core import evaluation, predictions
from dualrec_utils.core.catalog import load_catalog
from dualrec_utils.core.config import CASE, HISTORY, ITEM, RANK, SCORE, TEXT
from dualrec_utils.core.predictions import Scope
from dualrec_utils.models import handoff

RULE = (
    "drawn with the study's seed among the test cases whose answer names at least two movies that the"
    " user has not rated, so that there is something to re-rank; whether a list is right has no say"
)
# Entries shown of a ranking, and items of the history: as many as a prompt holds by default.
_SHOWN, _RECENT = 5, 5


def sources(model: str) -> dict[str, tuple[str, str]]:
    """What is followed: step -> (stage, system)."""
    return {
        "lstm": ("lstm", "lstm"),
        "written": ("lora_finetuning", f"{model}_lora{predictions.SEEN_KEPT}"),
        "kept": ("lora_finetuning", f"{model}_lora"),
        "reranked": ("rerank_ablation", f"{model}_lora_reranked"),
        "language": ("zero_shot_llm", f"{model}_history_constrained"),
        "fused": ("rerank_ablation", "dualrec_fusion"),
    }


def _scope(dataset: str, stage: str) -> Scope:
    return Scope(dataset, stage, "next_item", "test")


def draw(kept: pd.DataFrame, *, seed: int) -> str | None:
    """The case to follow, see :data:`RULE`; None where no list names two items.

    Args:
        kept: predictions of the language model, items of the history left out; without targets.
    """
    named = kept.groupby(CASE)[ITEM].nunique()
    eligible = np.sort(named.index[named >= 2].to_numpy(dtype=str))
    return str(np.random.default_rng(seed).choice(eligible)) if len(eligible) else None


def fates(written: pd.DataFrame, history: np.ndarray, names: Mapping[int, str]) -> list[dict[str, str]]:
    """What became of each title of one answer: `written`, `item`, `fate`.

    Args:
        written: one case's predictions with seen items kept, in the order of the answer.
        history: item ids that the user has rated.
        names: `item_id` -> "Title (year)".
    """
    rows, before = [], set()
    for item, text in zip(written[ITEM], written[TEXT], strict=True):
        if pd.isna(item):
            name, fate = "", "matches no item of the catalog: keeps its place, counts as a miss"
        elif item in history:
            name, fate = names[item], "rated before: left out"
        elif item in before:
            name, fate = names[item], "named before: keeps its place"
        else:
            name, fate = names[item], "kept"
        before.add(item)
        rows.append({"written": text, "item": name, "fate": fate})
    return rows


def follow(*, dataset: str, seed: int, model: str) -> dict[str, Any]:
    """Every step of the system for one test case, as text and numbers ready to show.

    Args:
        dataset, seed: of the run.
        model: the language model that went through all stages.

    Returns:
        `rule`, `n_rated` (items before the target), `recent` (last titles), `hint`, `prompt`, `answer`,
        `fates` (:func:`fates`), `reranked` (rows `title`, `similarity`, `before`, `after`), `rankings`
        (name -> rows `title`, `score`), `fused` (rows `title`, `lstm`, `language`: ranks there, None
        where the list does not go that far), `target`, `found` (step -> the target's rank, None for a
        miss).
        Scores of the two models are probabilities, in [0, 1]. `missing` is empty; or it stands alone and
        names what a user cannot be followed for want of: systems without predictions, or an answer that
        meets :data:`RULE`.

    Raises:
        StudyError: when a file is not there, naming the stage that writes it.
    """
    places = {step: (system, _scope(dataset, stage)) for step, (stage, system) in sources(model).items()}
    absent = [place[0] for place in places.values() if not predictions.path_of(*place).is_file()]
    if absent:
        return {"missing": absent}
    lists = {step: predictions.read(*place) for step, place in places.items()}
    case = draw(lists["kept"], seed=seed)
    if case is None:
        name = places["kept"][0]
        return {"missing": [f"no answer of {name} names two items that its user has not rated"]}
    of_case = {step: frame[frame[CASE] == case].sort_values(RANK) for step, frame in lists.items()}
    names = load_catalog(dataset).names
    scope = _scope(dataset, "lora_finetuning")
    history = np.asarray(predictions.load_cases(scope).set_index(CASE).loc[case, HISTORY])
    said = handoff.load_generations(f"{model}_lora", scope).loc[case]
    wanted = evaluation.load_targets(dataset, scope.protocol)[case]
    return {
        "missing": [],
        "rule": RULE,
        "n_rated": len(history),
        "recent": [names[item] for item in history[-_RECENT:]],
        "hint": names[handoff.load_hints(scope)[case]],
        "prompt": said["prompt"].strip(),
        "answer": said["answer"].strip(),
        "fates": fates(of_case["written"], history, names),
        "reranked": _reranked(of_case["reranked"], of_case["kept"], names),
        "rankings": {step: _top(of_case[step], names) for step in ("lstm", "language")},
        "fused": _fused(of_case, names),
        "target": names[wanted[0]],
        "found": {step: _place(frame, wanted[0]) for step, frame in of_case.items() if step != "written"},
    }


def _place(ranked: pd.DataFrame, item: int) -> int | None:
    """Rank of an item in one list, None where it is not in it."""
    ranks = ranked.loc[(ranked[ITEM] == item).fillna(False).astype(bool), RANK]
    return int(ranks.iloc[0]) if len(ranks) else None


def _title(row: Any, names: Mapping[int, str]) -> str:
    """The item's name; what the model wrote, where that is no item."""
    return getattr(row, TEXT) if pd.isna(getattr(row, ITEM)) else names[getattr(row, ITEM)]


def _top(ranked: pd.DataFrame, names: Mapping[int, str]) -> list[dict[str, Any]]:
    return [
        {"title": _title(row, names), "score": math.exp(getattr(row, SCORE))}
        for row in ranked.head(_SHOWN).itertuples()
    ]


def _reranked(after: pd.DataFrame, before: pd.DataFrame, names: Mapping[int, str]) -> list[dict[str, Any]]:
    places: dict[str, list[int]] = {}
    for row in before.itertuples():
        places.setdefault(_title(row, names), []).append(int(getattr(row, RANK)))
    # A title named twice comes back in its old order: re-ranking keeps the order of ties.
    return [
        {
            "title": (title := _title(row, names)),
            "similarity": float(getattr(row, SCORE)),
            "before": places[title].pop(0),
            "after": int(getattr(row, RANK)),
        }
        for row in after.itertuples()
    ]


def _fused(ranked: Mapping[str, pd.DataFrame], names: Mapping[int, str]) -> list[dict[str, Any]]:
    return [
        {"title": names[item], **{step: _place(ranked[step], item) for step in ("lstm", "language")}}
        for item in ranked["fused"].head(_SHOWN)[ITEM]
    ]

"""NIR, the three-step zero-shot prompting of Wang and Lim (2023), arXiv 2304.03153, as published and here.

A model is asked for the user's preferences (1), for watched items that show them (2) and for ten of 19
candidates (3). The users, histories and candidates are the authors' own, so the table stands apart from
the study's other results. What GPT-3 answered is recorded; a local model gets the same questions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from dualrec_utils.core import evaluation, predictions
from dualrec_utils.core.catalog import Catalog
from dualrec_utils.core.config import CASE, HISTORY, ITEM, RANK, TITLE, USER, YEAR
from dualrec_utils.core.errors import StudyError
from dualrec_utils.models.baselines.random_order import expected_hit_rate
from dualrec_utils.models.language.matching import TitleMatcher
from dualrec_utils.studies.nir.recordings import Published

# Published protocol: ten items of 19 candidates, after the last eight watched.
LIST_LENGTH, N_CANDIDATES, N_WATCHED = 10, 19, 8
MEASURES = (f"hit_rate@{LIST_LENGTH}", f"ndcg@{LIST_LENGTH}")

_BETWEEN = re.compile(r"\s*(?:\n|\],?\s*(?=\[))\s*")
_NUMBER = re.compile(r"^\s*[\[(]?\s*(?:\d{1,3}\s*[.):]|[-*•])\s*")
_TAIL = " \t.,;]"


class Result(NamedTuple):
    """One system on one candidate set.

    Attributes:
        scored: `case_id`, `user_id` and :data:`MEASURES`, one row a case.
        reached: in the same order, whether the target is among the candidates.
        remark: what a reader of the table must know.
    """

    system: str
    candidates_by: str
    scored: pd.DataFrame
    reached: Sequence[bool]
    remark: str


def wording(recorded: pd.DataFrame, published: Published) -> tuple[str, str, str]:
    """The three prompts as GPT-3 was given them, with marks where lists and answers stood.

    Args:
        recorded: from :func:`studies.nir.recordings.recordings`.
        published: the histories.

    Returns:
        Prompts with the marks `{candidates}`, `{watched}`, `{answer_1}`, `{answer_2}`.

    Raises:
        StudyError: when the recorded prompts are not all worded alike.
    """
    wordings = set()
    watched = dict(zip(published.cases[CASE], watched_titles(published), strict=True))
    for row in recorded.itertuples():
        parts = {
            "{candidates}": listed_candidates(row.prompt_1),
            "{watched}": ", ".join(watched[row.case_id]),
        }
        prompts = []
        for prompt in (row.prompt_1, row.prompt_2, row.prompt_3):
            for mark, text in parts.items():
                prompt = prompt.replace(text, mark)
            prompts.append(prompt)
        first = prompts[1].replace(row.answer_1, "{answer_1}")
        second = prompts[2].replace(row.answer_1, "{answer_1}").replace(row.answer_2, "{answer_2}")
        wordings.add((prompts[0], first, second))
    if len(wordings) != 1:
        raise StudyError(f"the recorded prompts have {len(wordings)} wordings, expected one")
    return wordings.pop()


def listed_candidates(prompt: str) -> str:
    """The candidates in a recorded prompt, as one text: its first line after the colon."""
    return prompt.strip().split("\n", 1)[0].split(": ", 1)[1].removesuffix(".")


def watched_titles(published: Published) -> list[list[str]]:
    """Titles of the last eight items of every case, oldest first."""
    titles = published.items[TITLE].to_numpy()
    return [titles[history[-N_WATCHED:]].tolist() for history in published.cases[HISTORY]]


def shuffled(candidates: Sequence[Sequence[int]], *, seed: int) -> list[list[int]]:
    """Each set in random order, so that a place in the prompt says nothing; each row has its own draw."""
    return [
        np.random.default_rng([seed, row]).permutation(items).tolist()
        for row, items in enumerate(candidates)
    ]


def ask(
    watched: Sequence[Sequence[str]],
    candidates: Sequence[Sequence[str]],
    words: tuple[str, str, str],
    *,
    answer: Callable[[list[str], int], list[str]],
) -> pd.DataFrame:
    """Ask all three questions about every case, each with the answers to those before it.

    Args:
        watched, candidates: titles of each case, in the order they are to stand in the prompt.
        words: from :func:`wording`.
        answer: prompts and the number of the step (1 to 3) to answers, in order.

    Returns:
        One row a case: `prompt_1`, `answer_1`, ... `prompt_3`, `answer_3`.
    """
    fillings: list[dict[str, str]] = [
        {"{candidates}": ", ".join(offered), "{watched}": ", ".join(seen)}
        for seen, offered in zip(watched, candidates, strict=True)
    ]
    columns = {}
    for step, text in enumerate(words, start=1):
        prompts = [_filled(text, marks) for marks in fillings]
        answers = answer(prompts, step)
        fillings = [
            # The wording ends the inserted answers with a full stop of its own.
            {**marks, f"{{answer_{step}}}": one.strip().removesuffix(".")}
            for marks, one in zip(fillings, answers, strict=True)
        ]
        columns |= {f"prompt_{step}": prompts, f"answer_{step}": answers}
    return pd.DataFrame(columns)


def _filled(text: str, marks: dict[str, str]) -> str:
    """Put texts in place of their marks, once each and not within what was put in."""
    return re.sub("|".join(map(re.escape, marks)), lambda mark: marks[mark[0]], text)


def entries(answer: str) -> list[str]:
    """The items an answer recommends, as written: of "1. watched - candidate" the candidate.

    Lines without a dash name an item alone. Some recorded answers put every entry in square brackets, all
    in one line.

    >>> entries("1. Heat - Fargo\\n2. Speed")
    ['Fargo', 'Speed']
    >>> entries("[1. Heat - Fargo], [2. Speed].")
    ['Fargo', 'Speed']
    """
    texts = [_NUMBER.sub("", piece) for piece in _BETWEEN.split(answer.strip())]
    return [text for piece in texts if (text := piece.rsplit(" - ", 1)[-1].strip(_TAIL))]


def read_answer(answer: str, candidates: pd.DataFrame) -> list[int | None]:
    """The candidates an answer names, in order; None where an entry names none of them.

    Args:
        answer: of step 3.
        candidates: this user's, with `item_id`, `title`, `year`.

    Returns:
        At most ten, each once: an entry that repeats an item is None, and keeps its place.
    """
    matcher = TitleMatcher(candidates)
    items: list[int | None] = []
    for text in entries(answer)[:LIST_LENGTH]:
        item = matcher.match(text)
        items.append(None if item in items else item)
    return items


def read_answers(
    answers: Sequence[str], candidates: Sequence[Sequence[int]], items: pd.DataFrame
) -> list[list[int | None]]:
    """:func:`read_answer` for every case, each with its own candidates (item ids)."""
    # The authors' titles carry no year, and brackets after a title are part of it.
    unknown_years = items.assign(**{YEAR: pd.array([pd.NA] * len(items), dtype="Int64")}).set_index(
        ITEM, drop=False
    )
    return [
        read_answer(answer, unknown_years.loc[list(ids)].reset_index(drop=True))
        for answer, ids in zip(answers, candidates, strict=True)
    ]


def released_rule(recorded: pd.DataFrame) -> pd.Series:
    """Rank of the target under the hit rule of the authors' script: its title anywhere in the answer.

    The script searches the text of step 3 for the title, to the letter, in any line, on either side of
    the dash and beyond the tenth entry. The rank is the place of the first entry that holds it.

    Returns:
        `case_id` -> rank from 1, infinity for a miss.
    """
    ranks = []
    for target, answer in zip(recorded["target"], recorded["answer_3"], strict=True):
        pieces = _BETWEEN.split(answer.strip())
        places = [place for place, piece in enumerate(pieces, start=1) if target in piece]
        ranks.append(float(places[0]) if places else np.inf)
    return pd.Series(ranks, index=recorded[CASE].to_numpy())


def measure(ranked: Sequence[Sequence[int | None]], published: Published) -> pd.DataFrame:
    """Hit and NDCG of one list a case: frame with `case_id`, `user_id` and :data:`MEASURES`.

    Args:
        ranked: item ids, best first, None for an entry that names no candidate; empty is a miss.
    """
    rows = [
        (case, rank, item)
        for case, items in zip(published.cases[CASE], ranked, strict=True)
        for rank, item in enumerate(items[:LIST_LENGTH], start=1)
    ]
    lists = pd.DataFrame(rows, columns=[CASE, RANK, ITEM]).astype({ITEM: "Int64"})
    scored = evaluation.score_lists(lists, published.cases, published.targets, Catalog.of(published.items))
    return scored[[CASE, USER, *MEASURES]]


def expected_of_random(candidates: Sequence[Sequence[int]], published: Published) -> pd.DataFrame:
    """What :func:`measure` gives on average for candidates in random order.

    With n candidates, the target among them: min(10, n) / n hits and the mean of 1 / log2(rank + 1) over
    the n ranks, those beyond ten counting 0.
    """
    values = []
    for items, (target,) in zip(candidates, published.targets, strict=True):
        n = len(items)
        gains = 1 / np.log2(np.arange(1, min(n, LIST_LENGTH) + 1) + 1)
        inside = target in items
        hit = float(expected_hit_rate(np.array([n]), n_targets=1, k=LIST_LENGTH)[0]) if inside else 0.0
        values.append((hit, gains.sum() / n if inside else 0.0))
    return published.cases[[CASE, USER]].join(pd.DataFrame(values, columns=list(MEASURES)))


def reachable(candidates: Sequence[Sequence[int]], published: Published) -> list[bool]:
    """Whether each user's target is among the candidates: no ranking of the others can be a hit."""
    return [target in items for items, (target,) in zip(candidates, published.targets, strict=True)]


def by_score(
    candidates: Sequence[Sequence[int]], scores: np.ndarray, names: Sequence[str]
) -> list[list[int]]:
    """Each user's candidates by falling score, equal ones as :func:`core.predictions.best` draws them.

    Args:
        scores: (n_cases, n_items).
        names: of the cases.
    """
    orders = predictions.best(scores, names, seed=0).tolist()
    allowed = map(set, candidates)
    return [[item for item in order if item in items] for order, items in zip(orders, allowed, strict=True)]


def summary_row(result: Result, *, seed: int) -> dict:
    """One row of the table: hits over all users of a result, interval by bootstrap over users."""
    values = evaluation.summarise(result.scored, seed=seed, columns=list(MEASURES))
    hit, gain = (values.loc[name] for name in MEASURES)
    return {
        "system": result.system,
        "candidates_by": result.candidates_by,
        "users": len(result.scored),
        "target_among_candidates": int(sum(result.reached)),
        "hits": round(float(result.scored[MEASURES[0]].sum()), 1),
        MEASURES[0]: float(hit["value"]),
        "low": float(hit["low"]),
        "high": float(hit["high"]),
        MEASURES[1]: float(gain["value"]),
        "remark": result.remark,
    }

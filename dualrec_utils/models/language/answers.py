"""A language model's answers: made into predictions, counted, and stored beside their prompts."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from dualrec_utils.core import predictions
from dualrec_utils.core.config import CASE, HISTORY, ITEM, RANK, SCORE, SEED, TEXT
from dualrec_utils.core.predictions import Scope
from dualrec_utils.models.language.matching import TitleMatcher
from dualrec_utils.models.language.prompts import parse_titles


def answers_to_predictions(
    answers: Sequence[str],
    cases: pd.DataFrame,
    matcher: TitleMatcher,
    *,
    seed: int,
    limit: int = 3,
    hints: pd.Series | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read answers as ranked lists; nothing is dropped, so movies of the history are still there.

    Args:
        answers: one text a case, in the order of `cases`.
        cases: frame with `case_id`, `history`.
        matcher: text to movie.
        seed: written into the `seed` column.
        limit: titles read of each answer.
        hints: `case_id` -> movie the prompt suggested, to count copies of it.

    Returns:
        (predictions, diagnostics). Predictions are in the shape of :mod:`core.predictions`:
        `text` is the title as written, `item_id` null where it matches no movie, score 1 / rank; a
        repeated title keeps its place. Diagnostics have one row a case: `case_id`, `n_titles` read,
        `n_unparsable` (titles asked for and not found in the answer), `n_unmatched`, `n_seen` (in the
        history), `n_repeated` (matching a movie named before), `copies_hint` (names the suggested
        movie; False without hints).

    Raises:
        ValueError: when answers and cases are not equally many.
    """
    rows, counts = [], []
    for answer, case, history in zip(answers, cases[CASE], cases[HISTORY], strict=True):
        titles = parse_titles(answer, limit=limit)
        items = [matcher.match(title) for title in titles]
        matched = [item for item in items if item is not None]
        seen = set(history)
        rows += [
            (case, rank, item, 1 / rank, title, seed)
            for rank, (title, item) in enumerate(zip(titles, items, strict=True), start=1)
        ]
        counts.append(
            {
                CASE: case,
                "n_titles": len(titles),
                "n_unparsable": limit - len(titles),
                "n_unmatched": len(titles) - len(matched),
                "n_seen": sum(item in seen for item in matched),
                "n_repeated": len(matched) - len(set(matched)),
                "copies_hint": hints is not None and hints[case] in matched,
            }
        )
    frame = pd.DataFrame(rows, columns=[CASE, RANK, ITEM, SCORE, TEXT, SEED])
    return frame.astype(predictions.COLUMNS), pd.DataFrame(counts)


def write_both(lists: pd.DataFrame, cases: pd.DataFrame, system: str, scope: Scope) -> None:
    """Write a system's headline lists (movies of the history dropped) and, beside them, all it named.

    Args:
        lists: predictions with seen movies kept, from :func:`answers_to_predictions`.
        cases: the cases answered.
        system: name of the headline lists; the others get the suffix `_seen_kept`.
    """
    predictions.write(lists, system + predictions.SEEN_KEPT, scope)
    # Without any readable answer there is nothing to drop: every case is a miss.
    predictions.write(lists if lists.empty else predictions.drop_seen(lists, cases), system, scope)

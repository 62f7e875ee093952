"""A language model's answers: asked for, stored beside their prompts, made into predictions, counted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

from dualrec_utils.core import predictions
from dualrec_utils.core.catalog import Catalog
from dualrec_utils.core.config import CASE, HISTORY, ITEM, RANK, SCORE, SEED, TEXT
from dualrec_utils.core.predictions import Scope
from dualrec_utils.models import handoff
from dualrec_utils.models.language import batches
from dualrec_utils.models.language.matching import TitleMatcher
from dualrec_utils.models.language.parsing import is_capped, parse_titles
from dualrec_utils.models.language.prompts import build_history_prompts, build_prompts
from dualrec_utils.models.language.thoughts import only_thoughts

# What a title that was asked for may be instead of a new item of the catalog -> column of the counts.
PROBLEMS = {
    "not readable": "n_unparsable",
    "not in catalog": "n_unmatched",
    "already rated": "n_seen",
    "said before": "n_repeated",
    "thoughts without an answer": "n_cut",
}
NAMES_HINT, TOO_LONG = "names the LSTM's movie", "longer than is read"


class Speaker(Protocol):
    """What answers: a backend of :mod:`models.backends`, or :class:`generation.LoadedModel`.

    `about` has `model` and `revision` at least, and can be written to JSON.
    """

    about: Mapping[str, Any]

    def answer(self, prompts: Sequence[str], *, label: str, kept: Path | None = None) -> list[str]:
        """One answer a prompt, in order, as :meth:`models.backends.backend.Backend.answer`."""


@dataclass(frozen=True)
class PromptSet:
    """The prompts for all cases of a scope.

    Attributes:
        scope: whose stage will store the answers.
        cases: from :func:`core.predictions.load_cases`.
        hints: `case_id` -> the LSTM's item, whether the prompts name it or not.
        texts: one prompt a case, in the order of `cases`.
        n_recent: items of the history shown.
        n_titles: titles asked for; 0 where nothing is asked.
    """

    scope: Scope
    cases: pd.DataFrame
    hints: pd.Series
    texts: list[str]
    n_recent: int
    n_titles: int


def pose(
    scopes: Iterable[Scope], catalog: Catalog, *, with_hint: bool, n_recent: int, n_titles: int
) -> list[PromptSet]:
    """The paper's prompt for every case of some scopes.

    Args:
        scopes: from :func:`core.predictions.scopes`.
        with_hint: whether the prompt has the LSTM's line.
        catalog, n_recent, n_titles: as :func:`models.language.prompts.build_prompts`.

    Returns:
        One set of prompts a scope, in order.

    Raises:
        StudyError: as `build_prompts`, or where the LSTM left no hints.
    """
    sets = []
    for scope in scopes:
        cases, hints = predictions.load_cases(scope), handoff.load_hints(scope)
        wording = {"n_recent": n_recent, "n_titles": n_titles}
        texts = build_prompts(cases, catalog, hints=hints if with_hint else None, **wording)
        sets.append(PromptSet(scope, cases, hints, texts, **wording))
    return sets


def pose_histories(scopes: Iterable[Scope], catalog: Catalog, *, n_recent: int) -> list[PromptSet]:
    """The last items of every case's history, without genres, and nothing asked; as :func:`pose`."""
    sets = []
    for scope in scopes:
        cases, hints = predictions.load_cases(scope), handoff.load_hints(scope)
        texts = build_history_prompts(cases, catalog, n_recent=n_recent, genres=False)
        sets.append(PromptSet(scope, cases, hints, texts, n_recent=n_recent, n_titles=0))
    return sets


def collect(
    speaker: Speaker, prompt_sets: Iterable[PromptSet], system: str, matcher: TitleMatcher, *, seed: int
) -> pd.DataFrame:
    """Ask a language model all prompts of a system; store every answer, and the lists read from it.

    Of each scope are written: every prompt with its raw answer, with what answered and how it was asked
    (:func:`models.handoff.save_generations`), the headline lists and those with seen items kept
    (:func:`write_both`). A scope is written before the next is asked.

    Args:
        speaker: what answers.
        prompt_sets: from :func:`pose`.
        system: its name in files, such as `movielm_zero_shot`.
        matcher: text to item.
        seed: written into the predictions.

    Returns:
        What the answers hold: the counts of :func:`answers_to_predictions`, one row a case, with
        `system`, `protocol` and `split`.

    Raises:
        StudyError: as the speaker does.
    """
    counted = []
    for posed in prompt_sets:
        scope, cases = posed.scope, posed.cases
        kept = batches.folder_of(scope)
        written = speaker.answer(posed.texts, label=f"{system} {scope.label}", kept=kept)
        # Read after the answers: a hosted model's revision is known only then.
        parameters = dict(speaker.about) | {"n_recent": posed.n_recent, "n_titles": posed.n_titles}
        source = {"model": parameters["model"], "revision": parameters["revision"]}
        handoff.save_generations(
            written, posed.texts, cases, system, scope, **source, parameters=parameters
        )
        lists, counts = answers_to_predictions(
            written, cases, matcher, seed=seed, limit=posed.n_titles, hints=posed.hints
        )
        write_both(lists, cases, system, scope)
        counted.append(counts.assign(system=system, protocol=scope.protocol, split=scope.split))
    return pd.concat(counted, ignore_index=True)


def recount(
    prompt_sets: Iterable[PromptSet], system: str, matcher: TitleMatcher, *, stage: str
) -> pd.DataFrame:
    """What answers hold that another stage stored, by the rules of :func:`collect`; writes nothing.

    Args:
        prompt_sets: of the cases that were asked.
        system, stage: whose answers, and where they lie.
        matcher: text to item.

    Raises:
        StudyError: when that stage has not stored them.
    """
    counted = []
    for prompts in prompt_sets:
        stored = handoff.load_generations(system, prompts.scope.replace(stage=stage))
        texts = stored["answer"].loc[prompts.cases[CASE]].tolist()
        _, counts = answers_to_predictions(
            texts, prompts.cases, matcher, seed=0, limit=prompts.n_titles, hints=prompts.hints
        )
        counted.append(
            counts.assign(system=system, protocol=prompts.scope.protocol, split=prompts.scope.split)
        )
    return pd.concat(counted, ignore_index=True)


def variety(stages: Mapping[str, str], scope: Scope) -> pd.DataFrame:
    """How varied a language model's lists are, items of the history left in.

    Args:
        stages: system -> the stage that wrote its lists.
        scope: whose cases; its stage plays no part.

    Returns:
        Indexed by system: `different movies`, `different lists` (as written), `share of the most frequent
        movie` (of the entries that are an item).
    """
    rows = {}
    for system, stage in stages.items():
        lists = predictions.read(system + predictions.SEEN_KEPT, scope.replace(stage=stage))
        counts = lists[ITEM].value_counts(normalize=True)
        rows[system] = {
            "different movies": lists[ITEM].nunique(),
            "different lists": lists.groupby(CASE)[TEXT].agg(tuple).nunique(),
            "share of the most frequent movie": counts.iloc[0] if len(counts) else 0.0,
        }
    return pd.DataFrame(rows).T


def hint_alone(prompts: PromptSet, *, seed: int) -> pd.DataFrame:
    """The item of the LSTM's line as predictions: lists of one, what a language model gets for free."""
    cases = prompts.cases[CASE]
    frame = pd.DataFrame({CASE: cases, RANK: 1, ITEM: cases.map(prompts.hints), SCORE: 1.0, TEXT: None})
    return frame.assign(**{SEED: seed}).astype(predictions.COLUMNS)


def shares(counts: pd.DataFrame, *, n_titles: int) -> pd.DataFrame:
    """What the answers hold, over the test cases of both protocols together.

    Args:
        counts: from :func:`collect`, of one or several systems.
        n_titles: titles asked for a case.

    Returns:
        Indexed by system, in the order of `counts`: the share of the titles asked for that are no new
        item of the catalog, one column a reason (:data:`PROBLEMS`), and the shares of cases whose list
        names the LSTM's item, and whose answer is longer than is read of it.
    """
    test = counts[counts["split"] == "test"].groupby("system", sort=False)
    table = pd.DataFrame({name: test[column].mean() / n_titles for name, column in PROBLEMS.items()})
    return table.assign(**{NAMES_HINT: test["copies_hint"].mean(), TOO_LONG: test["is_capped"].mean()})


def flat_shares(table: pd.DataFrame) -> dict[str, float]:
    """Flat metric keys of :func:`shares`: `answers/movielm_lora/not readable`."""
    return {
        f"answers/{name}/{kind}": float(table.loc[name, kind]) for name in table.index for kind in table
    }


def answers_to_predictions(
    answers: Sequence[str],
    cases: pd.DataFrame,
    matcher: TitleMatcher,
    *,
    seed: int,
    limit: int = 3,
    hints: pd.Series | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read answers as ranked lists; nothing is dropped, so items of the history are still there.

    Args:
        answers: one text a case, in the order of `cases`.
        cases: frame with `case_id`, `history`.
        matcher: text to item.
        seed: written into the `seed` column.
        limit: titles read of each answer.
        hints: `case_id` -> item the prompt suggested, to count copies of it.

    Returns:
        (predictions, diagnostics). Predictions are in the shape of :mod:`core.predictions`:
        `text` is the title as written, `item_id` null where it matches no item, score 1 / rank; a
        repeated title keeps its place. Diagnostics have one row a case: `case_id`, `n_titles` read,
        `n_cut` (titles asked for where the model thought and gave no answer), `n_unparsable` (other titles
        asked for and not found in the answer), `n_unmatched`, `n_seen` (in the history), `n_repeated`
        (matching an item named before), `copies_hint` (names the suggested item; False without hints),
        `is_capped` (the answer or a line of it is longer than is read).

    Raises:
        ValueError: when answers and cases are not equally many.
    """
    rows, counts = [], []
    for answer, case, history in zip(answers, cases[CASE], cases[HISTORY], strict=True):
        titles = parse_titles(answer, limit=limit, known=matcher.knows)
        n_cut = limit if only_thoughts(answer) else 0
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
                "n_cut": n_cut,
                "n_unparsable": limit - n_cut - len(titles),
                "n_unmatched": len(titles) - len(matched),
                "n_seen": sum(item in seen for item in matched),
                "n_repeated": len(matched) - len(set(matched)),
                "copies_hint": hints is not None and hints[case] in matched,
                "is_capped": is_capped(answer),
            }
        )
    frame = pd.DataFrame(rows, columns=[CASE, RANK, ITEM, SCORE, TEXT, SEED])
    return frame.astype(predictions.COLUMNS), pd.DataFrame(counts)


def write_both(lists: pd.DataFrame, cases: pd.DataFrame, system: str, scope: Scope) -> None:
    """Write a system's headline lists (items of the history dropped) and, beside them, all it named.

    Args:
        lists: predictions with seen items kept, from :func:`answers_to_predictions`.
        cases: the cases answered.
        system: name of the headline lists; the others get the suffix `_seen_kept`.
    """
    predictions.write(lists, system + predictions.SEEN_KEPT, scope)
    # Without any readable answer there is nothing to drop: every case is a miss.
    predictions.write(predictions.drop_seen(lists, cases), system, scope)

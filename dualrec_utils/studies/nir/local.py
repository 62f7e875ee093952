"""The NIR protocol with a local causal language model, in free text and constrained to the candidates.

As in the authors' script only users whose target is among their candidates are asked: the others are
misses whatever is answered, and count as such.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from dualrec_utils.core import config, files
from dualrec_utils.core.catalog import Catalog
from dualrec_utils.core.config import CASE, HISTORY, ITEM, TITLE
from dualrec_utils.models.language import prompts
from dualrec_utils.models.language.constrained import score_titles
from dualrec_utils.models.language.generation import generate
from dualrec_utils.models.language.loading import load_model, locate
from dualrec_utils.studies.nir import protocol as nir
from dualrec_utils.studies.nir.protocol import Result
from dualrec_utils.studies.nir.recordings import DATASET, MOVIELENS, Published

# Complete lines after which an answer stops: preferences, chosen items, ten items.
_LINES = (4, 5, nir.LIST_LENGTH)


def results(
    published: Published,
    sets: Mapping[str, Sequence[Sequence[int]]],
    words: tuple[str, str, str],
    movies: pd.DataFrame,
    *,
    seed: int,
    model: str,
    movies_of: str,
    revision: str | None,
    dtype: str,
    max_new_tokens: int,
    batch_size: int,
) -> list[Result]:
    """Ask a model about every candidate set, three ways.

    `<model>_three_steps`: the published prompts, free text, read by the study's own rule.
    `<model>_three_steps_constrained`: the candidates by title score after the third prompt.
    `<model>_history_constrained`: the same after nothing but the list of the last eight items.

    Args:
        sets: name of the filter -> candidates of every case (item ids).
        words: from :func:`studies.nir.protocol.wording`.
        items: MovieLens' items with `item_id`, `title`, `year`, `genres`: titles are scored as they
            are written there, "Title (year)".
        seed: of the candidates' order in the prompts.
        model, revision, dtype: see :func:`models.language.loading.load_model`; `movielm` is our own.
        movies_of: dataset that `movielm` was trained on.
        max_new_tokens: longest answer of a step. batch_size: prompts answered at once.

    Returns:
        Three results a candidate set. Prompts and answers go to `data/nir-ml-100k/nir/generations/`.
    """
    network, tokenizer = load_model(locate(model, dataset=movies_of), revision=revision, dtype=dtype)
    name, about = Path(model).name, {"model": model, "revision": revision}
    parameters = {"max_new_tokens": max_new_tokens, "batch_size": batch_size, "dtype": dtype}
    ids = published.items[MOVIELENS].to_numpy()
    catalog = Catalog.of(movies[movies[ITEM].isin(ids)].sort_values(ITEM, ignore_index=True))
    published_titles, watched = published.items[TITLE].to_numpy(), nir.watched_titles(published)
    plain = _histories(published, catalog)
    measured = []
    for candidates_by, candidates in sets.items():
        reached = nir.reachable(candidates, published)
        rows = np.flatnonzero(reached).tolist()
        shown = [nir.shuffled(candidates, seed=seed)[row] for row in rows]
        label = f"{name}, {candidates_by}"

        def answer(texts: list[str], step: int, label: str = label) -> list[str]:
            return generate(
                network,
                tokenizer,
                texts,
                max_new_tokens=max_new_tokens,
                batch_size=batch_size,
                label=f"{label}, step {step}",
                answer_prefix="",
                n_lines=_LINES[step - 1],
            )

        dialogues = nir.ask(
            [watched[row] for row in rows], [published_titles[list(c)] for c in shown], words, answer=answer
        )
        dialogues.insert(0, CASE, published.cases[CASE].to_numpy()[rows])
        files.write_jsonl(
            [row | about | {"parameters": parameters} for row in dialogues.to_dict("records")],
            config.generations_dir(DATASET, "nir") / f"{name}_{candidates_by.replace(' ', '_')}.jsonl",
        )
        free = nir.read_answers(dialogues["answer_3"], shown, published.items)
        named = np.mean([sum(item is not None for item in items) for items in free])

        def by_title(
            texts: Sequence[str], what: str, shown=shown, cases=dialogues[CASE], label: str = label
        ):
            scores = score_titles(
                network,
                tokenizer,
                texts,
                catalog,
                candidates=[ids[list(c)] for c in shown],
                batch_size=batch_size,
                label=f"{label}, {what}",
            )
            return nir.by_score(shown, scores[:, catalog.columns(ids)], cases)

        for system, ranked, remark in (
            ("three_steps", free, f"free text; {named:.1f} candidates named a list"),
            (
                "three_steps_constrained",
                by_title(dialogues["prompt_3"].tolist(), "three steps"),
                "candidates by title score",
            ),
            (
                "history_constrained",
                by_title([plain[row] for row in rows], "history"),
                "candidates by title score after the last eight movies",
            ),
        ):
            lists: list[Sequence[int | None]] = [[] for _ in candidates]
            for row, items in zip(rows, ranked, strict=True):
                lists[row] = items
            scored = nir.measure(lists, published)
            measured.append(Result(f"{name}_{system}", candidates_by, scored, reached, remark))
    return measured


def _histories(published: Published, catalog: Catalog) -> list[str]:
    """The last eight items as `movielm`'s documents have them: header, then one line an item."""
    names = published.items[MOVIELENS].map(catalog.names).to_numpy()
    return [
        prompts.header(catalog.domain)
        + "\n"
        + prompts.format_answer(names[history[-nir.N_WATCHED :]].tolist())
        for history in published.cases[HISTORY]
    ]

"""Lists of real items from any causal language model: decoding constrained to the catalog's titles.

The score of an item is the log-probability of its title line after the prompt and the answer prefix:
the sum over the line's tokens and its terminator, the line break, each normalised over the whole
vocabulary, without length penalty.

A model that has just read items with their genres expects genres after a title. Where it was never
taught to answer without them, the line break alone costs more than the title and decides the ranking;
`genres` then scores the lines as the prompt writes them, which is also what the paper's prompt asks for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from dualrec_utils.core import predictions
from dualrec_utils.core.catalog import Catalog, marked
from dualrec_utils.core.config import CASE, HISTORY, ITEM, TEXT
from dualrec_utils.core.errors import StudyError
from dualrec_utils.models.handoff import LOG_PROBABILITY
from dualrec_utils.models.language import batches
from dualrec_utils.models.language.loading import memory_errors
from dualrec_utils.models.language.title_tree import TitleTree
from dualrec_utils.models.language.tree_decoding import TreeDecoder

METHODS = ("exact", "beam")
# What to change when memory runs out, as `params.yaml` calls it: the notebooks leave batch_size alone.
_SMALLER = (
    "show fewer items (n_recent, n_history), set ranking to beam, lower beam_width, set quantization to"
    " nf4 (on a GPU), or choose a smaller model"
)


def rank_titles(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    catalog: Catalog,
    *,
    excluded: Sequence[Sequence[int]] | None = None,
    k: int = 10,
    method: str = "exact",
    width: int = 20,
    genres: bool = False,
    batch_size: int = 64,
    label: str,
    kept: Path | None = None,
) -> np.ndarray:
    """Search the k items of highest title score for every prompt.

    `exact` and `beam` are the two ways of :meth:`models.language.title_tree.TitleTree.search`.

    Args:
        prompts: prompts as :func:`models.language.prompts.build_prompts` writes them.
        catalog: the items.
        excluded: items that may not be listed, for every prompt; None excludes none.
        k: items wanted, at least 1; fewer are found only where fewer are allowed.
        method: `exact` or `beam`.
        width: nodes of a prompt read at once; for `beam` at least k.
        genres: score the lines of :func:`models.language.prompts.lines_of`, genres included.
        batch_size: prompts searched at once; lower it when memory runs out.
        label: shown beside the progress bar.
        kept: as :func:`models.language.generation.generate`.

    Returns:
        float64, (n_prompts, n_items): title scores in nats of the items found, at least the k best by
        the method; minus infinity elsewhere.

    Raises:
        StudyError: for an unknown method, a beam narrower than k, when memory runs out, or as
            :class:`models.language.title_tree.TitleTree`.
    """
    if method not in METHODS:
        raise StudyError(f"method {method!r} is unknown; allowed: {', '.join(METHODS)}")
    if method == "beam" and width < k:
        raise StudyError(f"a beam of width {width} cannot hold {k} items: width must be at least {k}")
    allowed = ~marked(excluded if excluded is not None else [[]] * len(prompts), catalog.ids)

    def search(tree: TitleTree, decoder: TreeDecoder, rows: list[int]) -> torch.Tensor:
        return tree.search(decoder, allowed[rows], k=k, width=width, forget=method == "beam")

    how = {"method": method, "k": k, "width": width}
    settings = {"genres": genres, "batch_size": batch_size, "label": label, "kept": kept}
    return _run(search, model, tokenizer, prompts, catalog, allowed=allowed, how=how, **settings)


def score_titles(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    catalog: Catalog,
    *,
    candidates: Sequence[Sequence[int]] | None = None,
    titles_at_once: int = 64,
    genres: bool = False,
    batch_size: int = 16,
    label: str,
    kept: Path | None = None,
) -> np.ndarray:
    """Title scores of given items, each prefix that titles share read once.

    Args:
        candidates: item ids to score for every prompt; None scores the whole catalog.
        titles_at_once: titles of a prompt in one pass through the model; with `batch_size` it bounds
            the memory.
        Others as :func:`rank_titles`.

    Returns:
        As :func:`rank_titles`; minus infinity where an item was no candidate.

    Raises:
        StudyError: when a candidate is not in the catalog, or as :func:`rank_titles`.
    """
    wanted = marked(candidates if candidates is not None else [[]] * len(prompts), catalog.ids)
    if candidates is None:
        wanted = ~wanted

    def score(tree: TitleTree, decoder: TreeDecoder, rows: list[int]) -> torch.Tensor:
        return tree.score(decoder, wanted[rows], titles_at_once=titles_at_once)

    how = {"titles_at_once": titles_at_once}
    settings = {"genres": genres, "batch_size": batch_size, "label": label, "kept": kept}
    return _run(score, model, tokenizer, prompts, catalog, allowed=wanted, how=how, **settings)


def ranked_lists(
    scores: np.ndarray,
    cases: pd.DataFrame,
    catalog: Catalog,
    *,
    seed: int,
    exclude_seen: bool = True,
    length: int = 10,
) -> pd.DataFrame:
    """Title scores as predictions: the `length` best items of every case, with their titles.

    Args:
        scores: from :func:`rank_titles` or :func:`score_titles`, row i belonging to row i of `cases`.
        cases: frame with `case_id` and `history`.
        catalog: the items.
        Others as :func:`core.predictions.from_scores`.
    """
    settings = {"seed": seed, "exclude_seen": exclude_seen, "length": length}
    lists = predictions.from_scores(scores, cases, catalog.ids, **settings)
    names = lists[ITEM].map(catalog.names)
    return lists.assign(**{TEXT: names}).astype(predictions.COLUMNS)


def score_frame(scores: np.ndarray, cases: pd.DataFrame, catalog: Catalog) -> pd.DataFrame:
    """Title scores as a long frame for files: `case_id`, `item_id`, `log_probability` (nats)."""
    rows, columns = np.nonzero(np.isfinite(scores))
    return pd.DataFrame(
        {
            CASE: cases[CASE].to_numpy()[rows],
            ITEM: catalog.ids[columns],
            LOG_PROBABILITY: scores[rows, columns],
        }
    )


def overlap(scores: np.ndarray, exact: np.ndarray, *, k: int = 10) -> float:
    """Mean share of the k best items of `exact` that are among the k best of `scores` (overlap@k)."""

    def first(matrix: np.ndarray) -> list[set]:
        best = predictions.best(matrix, range(len(matrix)), seed=0, k=k)
        return [set(columns[np.isfinite(row[columns])]) for row, columns in zip(matrix, best, strict=True)]

    pairs = zip(first(scores), first(exact), strict=True)
    return float(np.mean([len(listed & wanted) / max(len(wanted), 1) for listed, wanted in pairs]))


def evenly(n_cases: int, n_wanted: int) -> np.ndarray:
    """Rows of `n_wanted` cases spread evenly over `n_cases`, ascending; all where there are fewer."""
    n_wanted = min(n_wanted, n_cases)
    return np.arange(n_wanted) * n_cases // n_wanted


def seen_items(cases: pd.DataFrame) -> list[np.ndarray]:
    """The history of every case: what `excluded` takes where seen items are left out."""
    return list(cases[HISTORY])


def _run(
    work: Callable[[TitleTree, TreeDecoder, list[int]], torch.Tensor],
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    catalog: Catalog,
    *,
    allowed: np.ndarray,
    how: Mapping[str, Any],
    genres: bool,
    batch_size: int,
    label: str,
    kept: Path | None,
) -> np.ndarray:
    """Do `work` on batches of prompts of like length; scores come back in the order of `prompts`.

    `allowed`, the titles that may get a score, and `how` it works are part of what is kept.
    """
    scores = np.full((len(prompts), len(catalog)), -np.inf)
    if not len(prompts):
        return scores
    with memory_errors(_SMALLER):
        tree = TitleTree(model, tokenizer, catalog, prompt=prompts[0], genres=genres)
    encoded = [tree.encode(prompt) for prompt in prompts]

    def scored(rows: list[int]) -> list[tuple[list[int], list[float]]]:
        with memory_errors(_SMALLER):
            decoder = tree.read([encoded[row] for row in rows])
            matrix = work(tree, decoder, rows).double().cpu().numpy()
        columns = [np.flatnonzero(np.isfinite(row)) for row in matrix]
        return [(some.tolist(), row[some].tolist()) for row, some in zip(matrix, columns, strict=True)]

    keeping = None
    if kept:
        titles = hashlib.sha256(json.dumps(tree.lines).encode() + np.packbits(allowed).tobytes())
        keeping = batches.Keeping(kept, model, {"titles": titles.hexdigest(), **how})
    some = batches.run(encoded, scored, batch_size=batch_size, label=label, keeping=keeping)
    for row, (columns, values) in enumerate(some):
        scores[row, columns] = values
    return scores

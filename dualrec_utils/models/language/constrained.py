"""Lists of real movies from any causal language model: decoding constrained to the catalog's titles.

The score of a movie is the log-probability of its title line after the prompt and the answer prefix:
the sum over the line's tokens and its terminator, the line break, each normalised over the whole
vocabulary, without length penalty.

A model that has just read movies with their genres expects genres after a title. Where it was never
taught to answer without them, the line break alone costs more than the title and decides the ranking;
`genres` then scores the lines as the prompt writes them, which is also what the paper's prompt asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from dualrec_utils.core import predictions
from dualrec_utils.core.catalog import Catalog, marked
from dualrec_utils.core.config import CASE, HISTORY, ITEM, TEXT
from dualrec_utils.core.errors import StudyError
from dualrec_utils.models.handoff import LOG_PROBABILITY
from dualrec_utils.models.language import chat, plain
from dualrec_utils.models.language.loading import memory_errors
from dualrec_utils.models.language.prompts import format_answer, lines_of
from dualrec_utils.models.language.tree_decoding import Step, TreeDecoder, off_along_tree
from dualrec_utils.models.language.trie import Trie, build_trie, encode_lines

METHODS = ("exact", "beam")
# Nodes read at once when the search only has to prove that nothing better is left.
_MOST_NODES = 256
# What to change when memory runs out, as `params.yaml` calls it: the notebooks leave batch_size alone.
_SMALLER = (
    "show fewer movies (n_recent, n_history), set ranking to beam, lower beam_width, set quantization to"
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
) -> np.ndarray:
    """Search the k movies of highest title score for every prompt.

    `exact` is a best-first search: a node's log-probability bounds those of all titles below it, so
    the search ends when no node left open reaches the k-th best title found. `beam` keeps the `width`
    best nodes of each level and forgets the others: bounded work, perhaps not the best k.

    Args:
        prompts: prompts as :func:`models.language.prompts.build_prompts` writes them.
        catalog: the movies.
        excluded: movies that may not be listed, for every prompt; None excludes none.
        k: movies wanted, at least 1; fewer are found only where fewer are allowed.
        method: `exact` or `beam`.
        width: nodes of a prompt read at once; for `beam` at least k.
        genres: score the lines of :func:`models.language.prompts.lines_of`, genres included.
        batch_size: prompts searched at once; lower it when memory runs out.
        label: shown beside the progress bar.

    Returns:
        float64, (n_prompts, n_items): title scores in nats of the movies found, at least the k best by
        the method; minus infinity elsewhere.

    Raises:
        StudyError: for an unknown method, a beam narrower than k, when memory runs out, or as
            :func:`build_trie` and :func:`encode_lines`.
    """
    if method not in METHODS:
        raise StudyError(f"method {method!r} is unknown; allowed: {', '.join(METHODS)}")
    if method == "beam" and width < k:
        raise StudyError(f"a beam of width {width} cannot hold {k} movies: width must be at least {k}")
    allowed = ~marked(excluded if excluded is not None else [[]] * len(prompts), catalog.ids)

    def search(decoder: TreeDecoder, trie: Trie, rows: list[int]) -> torch.Tensor:
        return _search(decoder, trie, allowed[rows], k=k, width=width, forget=method == "beam")

    settings = {"genres": genres, "batch_size": batch_size, "label": label}
    return _run(search, model, tokenizer, prompts, catalog, **settings)


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
) -> np.ndarray:
    """Title scores of given movies, each prefix that titles share read once.

    Args:
        candidates: item ids to score for every prompt; None scores the whole catalog.
        titles_at_once: titles of a prompt in one pass through the model; with `batch_size` it bounds
            the memory.
        Others as :func:`rank_titles`.

    Returns:
        As :func:`rank_titles`; minus infinity where a movie was no candidate.

    Raises:
        StudyError: when a candidate is not in the catalog, or as :func:`rank_titles`.
    """
    wanted = marked(candidates if candidates is not None else [[]] * len(prompts), catalog.ids)
    if candidates is None:
        wanted = ~wanted

    def score(decoder: TreeDecoder, trie: Trie, rows: list[int]) -> torch.Tensor:
        return _score(decoder, trie, wanted[rows], titles_at_once=titles_at_once)

    settings = {"genres": genres, "batch_size": batch_size, "label": label}
    return _run(score, model, tokenizer, prompts, catalog, **settings)


def ranked_lists(
    scores: np.ndarray,
    cases: pd.DataFrame,
    catalog: Catalog,
    *,
    seed: int,
    exclude_seen: bool = True,
    length: int = 10,
) -> pd.DataFrame:
    """Title scores as predictions: the `length` best movies of every case, with their titles.

    Args:
        scores: from :func:`rank_titles` or :func:`score_titles`, row i belonging to row i of `cases`.
        cases: frame with `case_id` and `history`.
        catalog: the movies.
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
    """Mean share of the k best movies of `exact` that are among the k best of `scores` (overlap@k)."""

    def first(matrix: np.ndarray) -> list[set]:
        best = predictions.best(matrix, range(len(matrix)), seed=0, k=k)
        return [set(columns[np.isfinite(row[columns])]) for row, columns in zip(matrix, best, strict=True)]

    pairs = zip(first(scores), first(exact), strict=True)
    return float(np.mean([len(found & wanted) / max(len(wanted), 1) for found, wanted in pairs]))


def evenly(n_cases: int, n_wanted: int) -> np.ndarray:
    """Rows of `n_wanted` cases spread evenly over `n_cases`, ascending; all where there are fewer."""
    n_wanted = min(n_wanted, n_cases)
    return np.arange(n_wanted) * n_cases // n_wanted


def seen_movies(cases: pd.DataFrame) -> list[np.ndarray]:
    """The history of every case: what `excluded` takes where seen movies are left out."""
    return list(cases[HISTORY])


def _run(
    work: Callable[[TreeDecoder, Trie, list[int]], torch.Tensor],
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    catalog: Catalog,
    *,
    genres: bool,
    batch_size: int,
    label: str,
) -> np.ndarray:
    """Do `work` on batches of prompts of like length; scores come back in the order of `prompts`."""
    scores = np.full((len(prompts), len(catalog)), -np.inf)
    if not len(prompts):
        return scores
    shown = lines_of(catalog) if genres else catalog.names
    names = [line.removeprefix("- ") for line in shown.values()]
    lines = encode_lines(tokenizer, names, prompts[0])
    trie = build_trie(lines, names)
    encoded = [_ids(tokenizer, prompt, names[0], lines[0]) for prompt in prompts]
    order = sorted(range(len(prompts)), key=lambda row: (len(encoded[row]), row))
    with torch.inference_mode(), memory_errors(_SMALLER):
        plain.check_once(model, "title scores", partial(off_along_tree, model))
    with torch.inference_mode(), tqdm(total=len(prompts), desc=label, unit="prompt") as bar:
        for first in range(0, len(order), batch_size):
            rows = order[first : first + batch_size]
            own = {"input_ids": [encoded[row] for row in rows]}
            batch = tokenizer.pad(own, padding_side="left", return_tensors="pt")
            with memory_errors(_SMALLER):
                decoder = TreeDecoder(model, trie, batch["input_ids"], batch["attention_mask"])
                scores[rows] = work(decoder, trie, rows).double().cpu().numpy()
            bar.update(len(rows))
    return scores


def _ids(tokenizer: PreTrainedTokenizerBase, prompt: str, name: str, line: list[int]) -> list[int]:
    """Tokens of a prompt and the answer prefix, after which a title must be written as in the trie."""
    ids = chat.prompt_ids(tokenizer, prompt)
    if chat.prompt_ids(tokenizer, prompt, prefix=format_answer([name])) != ids + line:
        raise StudyError(
            f"the tokenizer writes {name!r} in other tokens after the prompt that ends"
            f" {prompt[-40:]!r} than after the first one: give all prompts the same ending"
        )
    return ids


def _search(
    decoder: TreeDecoder, trie: Trie, allowed: np.ndarray, *, k: int, width: int, forget: bool
) -> torch.Tensor:
    """Scores of the titles found, (n_prompts, n_titles); `forget` drops what a level did not keep."""
    device = decoder.first.rows.device
    title_of = np.full(len(trie.tokens), -1)
    title_of[trie.leaves] = np.arange(len(trie.leaves))
    title_of = torch.as_tensor(title_of, device=device)
    counts = np.pad(allowed[:, trie.order].cumsum(axis=1), ((0, 0), (1, 0)))
    # A node below which every title is excluded leads nowhere.
    alive = torch.as_tensor(counts[:, trie.end_leaf] > counts[:, trie.first_leaf], device=device)
    found = torch.full(allowed.shape, -torch.inf, device=device)
    frontier = torch.full(alive.shape, -torch.inf, device=device)
    k, most = min(k, allowed.shape[1]), min(width if forget else _MOST_NODES, alive.shape[1])
    slots = torch.arange(most, device=device)

    def add(step: Step, parents: torch.Tensor) -> None:
        scores = parents[step.rows, step.slots] + step.log_probabilities
        titles, open_ = title_of[step.children], alive[step.rows, step.children]
        ends, goes_on = open_ & (titles >= 0), open_ & (titles < 0)
        found[step.rows[ends], titles[ends]] = scores[ends]
        frontier[step.rows[goes_on], step.children[goes_on]] = scores[goes_on]

    add(decoder.first, torch.zeros((len(allowed), 1), device=device))
    while True:
        bound = found.topk(k)[0][:, -1:]
        best, nodes = frontier.topk(most)
        # With k titles found, nearly every node above the bound must be read in any order.
        useful = (best >= bound) & best.isfinite() & ((slots < width) | bound.isfinite())
        n_used = int(useful.sum(1).max())
        if n_used == 0:
            return found
        if forget:
            frontier.fill_(-torch.inf)
        else:
            frontier.scatter_(1, nodes, torch.where(useful, -torch.inf, best))
        nodes = torch.where(useful, nodes, -1)[:, :n_used]
        add(decoder.read(nodes), best)


def _score(decoder: TreeDecoder, trie: Trie, wanted: np.ndarray, *, titles_at_once: int) -> torch.Tensor:
    """Scores of the wanted titles, (n_prompts, n_titles)."""
    device = decoder.first.rows.device
    steps = torch.zeros((len(wanted), len(trie.tokens)), device=device)
    steps[decoder.first.rows, decoder.first.children] = decoder.first.log_probabilities
    # Titles in the order of their tokens share prefixes with their neighbours.
    chosen = [trie.order[row[trie.order]] for row in wanted]
    for first in range(0, max(map(len, chosen)), titles_at_once):
        nodes = _inner_nodes([titles[first : first + titles_at_once] for titles in chosen], trie)
        decoder.forget()
        step = decoder.read(torch.as_tensor(nodes, device=device))
        steps[step.rows, step.children] = step.log_probabilities
    paths = torch.as_tensor(trie.paths, device=device)
    scores = torch.stack([(row[paths.clamp(min=0)] * (paths >= 0)).sum(1) for row in steps])
    return scores.masked_fill(~torch.as_tensor(wanted, device=device), -torch.inf)


def _inner_nodes(titles: Sequence[np.ndarray], trie: Trie) -> np.ndarray:
    """(n_prompts, most nodes): the nodes on the way to each prompt's titles, -1 at the end of a row."""
    inner = []
    for chosen in titles:
        nodes = np.unique(trie.paths[chosen])
        inner.append(nodes[(nodes >= 0) & (trie.n_children[nodes] > 0)])
    padded = np.full((len(inner), max(map(len, inner))), -1)
    for row, nodes in enumerate(inner):
        padded[row, : len(nodes)] = nodes
    return padded

"""The titles of a catalog as a tree of a model's tokens, searched and scored after prompts.

The tree is made once for all prompts of one ending: encoding a thousand titles takes longer than an answer.
What a score is, :mod:`models.language.constrained` says.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from dualrec_utils.core.catalog import Catalog
from dualrec_utils.core.errors import StudyError
from dualrec_utils.models.language import chat, plain
from dualrec_utils.models.language.prompts import format_answer, lines_of
from dualrec_utils.models.language.tree_decoding import Step, TreeDecoder, off_along_tree
from dualrec_utils.models.language.trie import Trie, build_trie, encode_lines

# Nodes read at once when the search only has to prove that nothing better is left.
_MOST_NODES = 256


class TitleTree:
    """A model, and what it may write: the titles of a catalog, and nothing else.

    Args:
        model, tokenizer: from :func:`models.language.loading.load_model`.
        catalog: the items.
        prompt: one of the prompts to come, whose ending all others share.
        genres: titles are written with their genres, as :func:`models.language.prompts.lines_of` does.

    Attributes:
        lines: tokens of every title.

    Raises:
        StudyError: for a model whose titles cannot be scored along a tree, or as :func:`encode_lines` and
            :func:`build_trie`.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        catalog: Catalog,
        *,
        prompt: str,
        genres: bool = False,
    ) -> None:
        shown = lines_of(catalog) if genres else catalog.names
        names = [line.removeprefix("- ") for line in shown.values()]
        lines = encode_lines(tokenizer, names, prompt)
        self._model, self._tokenizer = model, tokenizer
        self.lines = lines
        self._name = names[0]
        self._trie = build_trie(lines, names)
        with torch.inference_mode():
            plain.check_once(model, "title scores", partial(off_along_tree, model))

    def encode(self, prompt: str) -> list[int]:
        """Tokens of a prompt and the answer prefix, after which a title must be written as in the tree.

        Raises:
            StudyError: when a title after this prompt has other tokens.
        """
        ids = chat.prompt_ids(self._tokenizer, prompt)
        with_first = chat.prompt_ids(self._tokenizer, prompt, prefix=format_answer([self._name]))
        if with_first != ids + self.lines[0]:
            raise StudyError(
                f"the tokenizer writes {self._name!r} in other tokens after the prompt that ends"
                f" {prompt[-40:]!r} than after the first one: give all prompts the same ending"
            )
        return ids

    def read(self, encoded: Sequence[list[int]]) -> TreeDecoder:
        """Have the model read prompts, from :meth:`encode`, up to the root of the tree."""
        batch = self._tokenizer.pad({"input_ids": encoded}, padding_side="left", return_tensors="pt")
        return TreeDecoder(self._model, self._trie, batch["input_ids"], batch["attention_mask"])

    def search(
        self, decoder: TreeDecoder, allowed: np.ndarray, *, k: int, width: int, forget: bool
    ) -> torch.Tensor:
        """The k best titles after each prompt.

        A best-first search: a node's log-probability bounds those of all titles below it, so it ends when
        no node left open reaches the k-th best title found.

        Args:
            decoder: from :meth:`read`.
            allowed: bool, shape (n_prompts, n_titles).
            k: titles wanted, at least 1.
            width: nodes of a prompt read at once.
            forget: a beam: drop what is not among the `width` best nodes of a level. Bounded work, perhaps
                not the best k.

        Returns:
            Scores of the titles found, shape (n_prompts, n_titles), minus infinity elsewhere.
        """
        trie = self._trie
        device = decoder.first.rows.device
        title_of = np.full(len(trie.tokens), -1)
        title_of[trie.leaves] = np.arange(len(trie.leaves))
        title_of = torch.as_tensor(title_of, device=device)
        counts = np.pad(allowed[:, trie.order].cumsum(axis=1), ((0, 0), (1, 0)))
        # A node below which every title is excluded leads nowhere.
        alive = torch.as_tensor(counts[:, trie.end_leaf] > counts[:, trie.first_leaf], device=device)
        listed = torch.full(allowed.shape, -torch.inf, device=device)
        frontier = torch.full(alive.shape, -torch.inf, device=device)
        k, most = min(k, allowed.shape[1]), min(width if forget else _MOST_NODES, alive.shape[1])
        slots = torch.arange(most, device=device)

        def add(step: Step, parents: torch.Tensor) -> None:
            scores = parents[step.rows, step.slots] + step.log_probabilities
            titles, open_ = title_of[step.children], alive[step.rows, step.children]
            ends, goes_on = open_ & (titles >= 0), open_ & (titles < 0)
            listed[step.rows[ends], titles[ends]] = scores[ends]
            frontier[step.rows[goes_on], step.children[goes_on]] = scores[goes_on]

        add(decoder.first, torch.zeros((len(allowed), 1), device=device))
        while True:
            bound = listed.topk(k)[0][:, -1:]
            best, nodes = frontier.topk(most)
            # With k titles listed, nearly every node above the bound must be read in any order.
            useful = (best >= bound) & best.isfinite() & ((slots < width) | bound.isfinite())
            n_used = int(useful.sum(1).max())
            if n_used == 0:
                return listed
            if forget:
                frontier.fill_(-torch.inf)
            else:
                frontier.scatter_(1, nodes, torch.where(useful, -torch.inf, best))
            nodes = torch.where(useful, nodes, -1)[:, :n_used]
            add(decoder.read(nodes), best)

    def score(self, decoder: TreeDecoder, wanted: np.ndarray, *, titles_at_once: int) -> torch.Tensor:
        """Scores of the wanted titles, shape (n_prompts, n_titles), minus infinity elsewhere.

        Args:
            decoder: from :meth:`read`.
            wanted: bool, shape (n_prompts, n_titles).
            titles_at_once: titles of a prompt in one pass through the model.
        """
        trie = self._trie
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

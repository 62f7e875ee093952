"""A trie over the catalog's title lines in a tokenizer's own tokens.

Walking it from the root spells the items of the catalog and nothing else. A line is what an answer
holds after its bullet: " Title (year)" and the line break, without which "Alien" would be the beginning
of "Aliens".
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedTokenizerBase

from dualrec_utils.core.errors import StudyError
from dualrec_utils.models.language import chat
from dualrec_utils.models.language.prompts import ANSWER_PREFIX, format_answer


@dataclass(frozen=True)
class Trie:
    """Nodes are numbered level by level, so that the children of a node follow each other; 0 is the root.

    Attributes:
        tokens: (n_nodes,) token that leads to each node; 0 for the root, which none leads to.
        depth: (n_nodes,) tokens from the root.
        first_child, n_children: (n_nodes,) children of node i are first_child[i] and those after it.
        first_leaf, end_leaf: (n_nodes,) the leaves below a node, itself included, are those from
            first_leaf up to but without end_leaf in the order of `order`.
        order: (n_titles,) titles in the order of their tokens.
        paths: (n_titles, longest title) nodes from the first token to the leaf of each title, in the
            order the titles were given; -1 after the leaf.
    """

    tokens: np.ndarray
    depth: np.ndarray
    first_child: np.ndarray
    n_children: np.ndarray
    first_leaf: np.ndarray
    end_leaf: np.ndarray
    order: np.ndarray
    paths: np.ndarray

    @property
    def leaves(self) -> np.ndarray:
        """(n_titles,) the node at which each title ends."""
        lengths = (self.paths >= 0).sum(axis=1)
        return self.paths[np.arange(len(self.paths)), lengths - 1]


def encode_lines(tokenizer: PreTrainedTokenizerBase, names: Sequence[str], prompt: str) -> list[list[int]]:
    """The tokens by which an answer to `prompt` goes on after its prefix, for each title alone.

    Each line is encoded together with its prompt: a tokenizer may join the line break to what stands
    before it, or begin a text with a token that the same words within a text do not have.

    Args:
        names: titles as :class:`core.catalog.Catalog` has them.

    Returns:
        One list of token ids a name, ending with the line break.

    Raises:
        StudyError: when a name holds a line break, or when the tokenizer joins the answer prefix to the
            title, so that no continuation of the prefix spells the line.
    """
    broken = [name for name in names if "\n" in name]
    if broken:
        raise StudyError(f"the title {broken[0]!r} holds a line break: remove it from the catalog")
    start = chat.prompt_ids(tokenizer, prompt)
    lines = []
    for name in names:
        ids = chat.prompt_ids(tokenizer, prompt, prefix=format_answer([name]))
        if ids[: len(start)] != start:
            raise StudyError(
                f"the tokenizer joins the answer prefix {ANSWER_PREFIX!r} to {name!r}: this model's titles"
                " cannot be scored after that prefix; use another model"
            )
        lines.append(ids[len(start) :])
    return lines


def build_trie(lines: Sequence[Sequence[int]], names: Sequence[str]) -> Trie:
    """The trie of title lines.

    Args:
        lines: token ids of each title, from :func:`encode_lines`.
        names: the titles, for messages.

    Raises:
        StudyError: without titles, when two titles are the same, or when one is the beginning of
            another (its line lacks the terminator).
    """
    if not len(lines):
        raise StudyError("the catalog holds no item: a trie needs at least one title")
    order = sorted(range(len(lines)), key=lambda title: tuple(lines[title]))
    for one, other in itertools.pairwise(order):
        short, long = list(lines[one]), list(lines[other])
        if long[: len(short)] == short:
            what = "are written alike" if short == long else "begin alike and the first has no end"
            raise StudyError(
                f"the titles {names[one]!r} and {names[other]!r} {what}: a list of items cannot tell"
                " them apart; merge them in the catalog"
            )
    longest = max(map(len, lines))
    paths = np.full((len(lines), longest), -1)
    tokens, depth, parents, spans = [0], [0], [0], [[0, len(lines)]]
    for level in range(longest):
        before = None
        for rank, title in enumerate(order):
            if level >= len(lines[title]):
                continue
            parent = paths[title, level - 1] if level else 0
            key = (parent, lines[title][level])
            if key != before:
                tokens.append(key[1])
                depth.append(level + 1)
                parents.append(parent)
                spans.append([rank, rank])
                before = key
            paths[title, level] = len(tokens) - 1
            spans[-1][1] = rank + 1
    n_children = np.bincount(parents[1:], minlength=len(tokens))
    first_leaf, end_leaf = np.array(spans).T
    return Trie(
        tokens=np.array(tokens),
        depth=np.array(depth),
        first_child=1 + np.cumsum(n_children) - n_children,
        n_children=n_children,
        first_leaf=first_leaf,
        end_leaf=end_leaf,
        order=np.array(order),
        paths=paths,
    )

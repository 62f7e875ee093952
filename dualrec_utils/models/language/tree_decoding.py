"""A causal language model read along a trie: each prompt once, each node of the trie at most once.

All nodes read for a prompt lie in one row of the key-value cache; a mask lets a node attend to its
prompt and to its own ancestors only (tree attention, as in SpecInfer, Miao et al., ASPLOS 2024). So the
prompt's cache is never copied, whatever the number of titles that go on from it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from transformers import DynamicCache, PreTrainedModel

from dualrec_utils.core.errors import StudyError
from dualrec_utils.models.language import plain
from dualrec_utils.models.language.trie import Trie, build_trie


class Step(NamedTuple):
    """Log-probabilities of the children of nodes just read, one entry a child."""

    rows: torch.Tensor
    slots: torch.Tensor
    children: torch.Tensor
    log_probabilities: torch.Tensor


class TreeDecoder:
    """A batch of prompts whose continuations within the trie are read on demand.

    Args:
        model: causal model in evaluation mode.
        trie: from :func:`models.language.trie.build_trie`.
        ids: (n_prompts, longest prompt) token ids, padded on the left.
        mask: same shape, 0 where padded.

    Attributes:
        first: log-probabilities of the root's children for every prompt.
    """

    def __init__(self, model: PreTrainedModel, trie: Trie, ids: torch.Tensor, mask: torch.Tensor):
        check_model(model, n_tokens=ids.shape[1] + trie.paths.shape[1])
        self._model, self._cache = model, DynamicCache()
        names = ("tokens", "depth", "first_child", "n_children", "first_leaf", "end_leaf")
        self._trie = {name: torch.as_tensor(getattr(trie, name), device=model.device) for name in names}
        ids, mask = ids.to(model.device), mask.to(model.device)
        self._prompt, self._lengths = mask.bool(), mask.sum(1)
        self._read = ids.new_zeros((len(ids), 0))
        logits = model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=(mask.cumsum(1) - 1).clamp(min=0),
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits
        self.first = self._children(logits, self._read.new_zeros((len(ids), 1)))

    def read(self, nodes: torch.Tensor) -> Step:
        """Read nodes of the trie whose ancestors have been read before or stand among them.

        Args:
            nodes: (n_prompts, n), inner nodes other than the root; -1 where a prompt has no more.

        Returns:
            What follows each of them.
        """
        real = nodes >= 0
        # A root in the place of nothing: no node attends to it, since it is never an ancestor below.
        nodes_or_root = nodes.where(real, 0)
        self._read = torch.cat([self._read, nodes_or_root], dim=1)
        logits = self._model(
            input_ids=self._trie["tokens"][nodes_or_root],
            attention_mask=self._mask(nodes_or_root),
            position_ids=self._lengths[:, None] + (self._trie["depth"][nodes_or_root] - 1).clamp(min=0),
            past_key_values=self._cache,
            use_cache=True,
        ).logits
        return self._children(logits, nodes)

    def forget(self) -> None:
        """Drop all nodes read; the prompts stay."""
        if self._read.shape[1]:
            self._cache.crop(-self._read.shape[1])
            self._read = self._read[:, :0]

    def _mask(self, nodes: torch.Tensor) -> torch.Tensor:
        """Additive mask of shape (n_prompts, 1, n, tokens in the cache with the new ones)."""
        depth, first, end = (self._trie[name] for name in ("depth", "first_leaf", "end_leaf"))
        above, below = self._read[:, None, :], nodes[:, :, None]
        # The leaves under an ancestor include those under its descendants; in a chain without branches
        # they are the same, and depth decides.
        ancestors = (
            (first[above] <= first[below])
            & (end[above] >= end[below])
            & (depth[above] <= depth[below])
            & (depth[above] > 0)
        )
        prompt = self._prompt[:, None, :].expand(-1, nodes.shape[1], -1)
        visible = torch.cat([prompt, ancestors], dim=2)[:, None]
        dtype = self._model.dtype
        return torch.zeros_like(visible, dtype=dtype).masked_fill_(~visible, torch.finfo(dtype).min)

    def _children(self, logits: torch.Tensor, nodes: torch.Tensor) -> Step:
        """Log-probabilities over the whole vocabulary of the children of `nodes` (-1: nothing).

        Raises:
            StudyError: where one is no number.
        """
        trie = self._trie
        rows, slots = (nodes >= 0).nonzero(as_tuple=True)
        parents = nodes[rows, slots]
        counts = trie["n_children"][parents]
        source = torch.arange(len(parents), device=nodes.device).repeat_interleave(counts)
        before = (counts.cumsum(0) - counts)[source]
        children = trie["first_child"][parents][source]
        children = children + torch.arange(len(source), device=nodes.device) - before
        rows, slots = rows[source], slots[source]
        logits = logits.float()
        values = logits[rows, slots, trie["tokens"][children]] - logits.logsumexp(-1)[rows, slots]
        if values.isnan().any():
            raise StudyError(
                "the model's probabilities are no numbers (NaN), as may happen in 16 bits: choose dtype"
                " float32 or bfloat16, or another model"
            )
        return Step(rows, slots, children, values)


def _limit(model: PreTrainedModel) -> int:
    """Most tokens of prompt and title: the tree's mask stands for full attention to all before."""
    settings = model.config.get_text_config()
    windows = [getattr(settings, name, None) for name in ("sliding_window", "attention_chunk_size")]
    return min([plain.positions(settings), *filter(None, windows)])


def off_along_tree(model: PreTrainedModel, draw: int) -> float:
    """Largest difference of a title token's log-probability from plain reading, in nats."""
    rows = model.get_input_embeddings().num_embeddings
    some = min(rows // 2, rows - 66)
    compared = [[*range(12)], [0, 1, 12, 13], [0, 14, 3], [15, 1]]
    # The others stand between in the cache, as many as a search may have read.
    others = [[16 + title, 1, 2, 3] for title in range(50)]
    lines = [[some + token for token in line] for line in (*compared, *others)]
    trie = build_trie(lines, [str(line) for line in lines])
    prompts = plain.tokens(model, max(1, min(plain.LONGEST, _limit(model) - 12)), 20, draw=draw)
    batch = plain.padded(prompts)
    decoder = TreeDecoder(model, trie, batch["input_ids"], batch["attention_mask"])
    inner = np.flatnonzero(trie.n_children[1:]) + 1
    upper, lower = (
        torch.as_tensor(np.stack([part] * len(prompts)), device=model.device)
        for part in np.array_split(inner, 2)
    )
    decoder.read(upper)
    decoder.forget()
    along = torch.zeros(len(prompts), len(trie.tokens))
    for step in (decoder.first, decoder.read(upper), decoder.read(lower)):
        along[step.rows.cpu(), step.children.cpu()] = step.log_probabilities.cpu()
    off = []
    for row, ids in enumerate(prompts):
        # A long pass costs most: one of its titles will do.
        for line, path in zip(lines[: len(compared) if row else 1], trie.paths, strict=False):
            logits = plain.log_probabilities(model, ids + line)[len(ids) - 1 : -1].cpu()
            off.append((along[row, path[path >= 0]] - logits[range(len(line)), line]).abs().max())
    return float(max(off))


def check_model(model: PreTrainedModel, *, n_tokens: int) -> None:
    """Refuse what tree attention cannot do.

    Raises:
        StudyError: when the attention implementation takes no mask of its own, or when prompt and title
            do not fit into the context or the sliding window.
    """
    settings = model.config.get_text_config()
    implementation = settings._attn_implementation
    if implementation not in ("sdpa", "eager"):
        raise StudyError(
            f"constrained decoding cannot use attention {implementation!r}; allowed: sdpa, eager. Load the"
            " model with attn_implementation='sdpa'"
        )
    limit = _limit(model)
    if n_tokens > limit:
        raise StudyError(
            f"the longest prompt and the longest title take {n_tokens} tokens, the model reads {limit}:"
            " show fewer items (n_recent)"
        )

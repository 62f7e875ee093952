"""A language model's title scores for one history at a time: the tree of titles is made once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from dualrec_utils.core.catalog import Catalog, marked
from dualrec_utils.core.config import CASE, HISTORY
from dualrec_utils.models.language.prompts import build_history_prompts
from dualrec_utils.models.language.title_tree import TitleTree
from dualrec_utils.models.language.tree_decoding import TreeDecoder

# As in :mod:`models.language.catalog_lists`: tokens times titles that one pass may hold.
_LARGEST_PASS = 2**20


class TitleScorer:
    """A language model that names nothing but items of the catalog.

    The prompt is a bare list of titles: nothing that anybody typed gets into it.

    Args:
        model, tokenizer: from :func:`models.language.loading.load_model`.
        catalog: the items.
        n_recent: items of a history in the prompt, the last ones.
        width: beginnings of titles that a beam keeps, at least.

    Raises:
        StudyError: for a model whose titles cannot be scored along a tree.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        catalog: Catalog,
        *,
        n_recent: int,
        width: int,
    ) -> None:
        self._catalog, self._n_recent, self._width = catalog, n_recent, width
        self._n_tokens = len(tokenizer)
        self._tree = TitleTree(model, tokenizer, catalog, prompt=self._prompt(catalog.ids[:1].tolist()))

    def best(self, history: Sequence[int], *, excluded: Sequence[int], k: int) -> np.ndarray:
        """The items that a beam finds after a history.

        Args:
            history: item ids, oldest first, at least one.
            excluded: items that may not be listed.
            k: items wanted, at least 1.

        Returns:
            float64, shape (n_items,): title scores in nats, minus infinity where nothing was found.
        """
        allowed = ~marked([excluded], self._catalog.ids)
        with torch.inference_mode():
            scores = self._tree.search(
                self._read(history), allowed, k=k, width=max(self._width, k), forget=True
            )
        return scores[0].double().cpu().numpy()

    def score(self, history: Sequence[int], candidates: Sequence[int]) -> np.ndarray:
        """Title scores of given items after a history, as :meth:`best` returns them."""
        wanted = marked([candidates], self._catalog.ids)
        at_once = max(1, min(len(candidates), _LARGEST_PASS // self._n_tokens))
        with torch.inference_mode():
            scores = self._tree.score(self._read(history), wanted, titles_at_once=at_once)
        return scores[0].double().cpu().numpy()

    def _prompt(self, history: Sequence[int]) -> str:
        cases = pd.DataFrame({CASE: [0], HISTORY: [history]})
        return build_history_prompts(cases, self._catalog, n_recent=self._n_recent, genres=False)[0]

    def _read(self, history: Sequence[int]) -> TreeDecoder:
        return self._tree.read([self._tree.encode(self._prompt(history))])

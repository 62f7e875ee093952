"""FPMC: taste of the user plus a factorised step from the last item.

Rendle, Freudenthaler and Schmidt-Thieme (2010), "Factorizing personalized Markov chains for next-basket
recommendation", WWW.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from dualrec_utils.models.baselines.neural import NeuralBaseline
from dualrec_utils.models.baselines.sequences import EMBEDDING, PADDING, padded


class FPMC(NeuralBaseline):
    """⟨user, item for user⟩ + ⟨item for last, last⟩, trained by S-BPR (paper, equations 11 and 13).

    The basket before the next item is the last item. Each pair of neighbours in a history meets one
    drawn negative an epoch, uniform over the items that are not in the user's history. A user whom
    `fit` was not told about is folded in: his vector is the mean of the item-for-user vectors of his
    history.
    """

    trained_on = "consecutive items"
    ranges = EMBEDDING  # each of the four tables

    def _build(self, histories: list[np.ndarray]) -> nn.Module:
        return _Network(len(histories), self.n_items, self.embedding_size)

    def _examples(self, histories: list[np.ndarray], draw: np.random.Generator) -> tuple[np.ndarray, ...]:
        triples = []
        for user, history in enumerate(histories):
            others = np.setdiff1d(np.arange(self.n_items), history)
            steps = len(history) - 1
            # Someone who watched the whole catalog has nothing that he might like less.
            if steps < 1 or not len(others):
                continue
            negatives = draw.choice(others, size=steps)
            triples.append(np.stack([np.full(steps, user), history[:-1], history[1:], negatives]))
        return tuple(np.concatenate([np.empty((4, 0), dtype=np.int64), *triples], axis=1))

    def _loss(self, users, last, following, negatives) -> torch.Tensor:
        taste = self._network.users(users)
        margin = self._network.pairs(taste, last, following) - self._network.pairs(taste, last, negatives)
        return -functional.logsigmoid(margin).mean()

    def _network_scores(self, histories: list[np.ndarray], users: np.ndarray) -> torch.Tensor:
        network, known = self._network, torch.from_numpy(users).to(self._device)
        rows = padded([history + 1 for history in histories]).to(self._device)
        real = (rows != PADDING).unsqueeze(2)
        folded = (network.item_for_user((rows - 1).clamp(min=0)) * real).sum(1) / real.sum(1)
        taste = torch.where(known[:, None] >= 0, network.users(known.clamp(min=0)), folded)
        last = torch.tensor([history[-1] for history in histories], device=self._device)
        return taste @ network.item_for_user.weight.T + network.last(last) @ network.item_for_last.weight.T


class _Network(nn.Module):
    def __init__(self, n_users: int, n_items: int, size: int) -> None:
        super().__init__()
        self.users = nn.Embedding(n_users, size)
        self.item_for_user = nn.Embedding(n_items, size)
        self.item_for_last = nn.Embedding(n_items, size)
        self.last = nn.Embedding(n_items, size)
        for table in (self.users, self.item_for_user, self.item_for_last, self.last):
            nn.init.xavier_normal_(table.weight)

    def pairs(self, taste: torch.Tensor, last: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        """Score of one item for each row: (n, size), (n,), (n,) -> (n,)."""
        personal = (taste * self.item_for_user(items)).sum(1)
        return personal + (self.last(last) * self.item_for_last(items)).sum(1)

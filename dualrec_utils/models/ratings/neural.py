"""Neural collaborative filtering for ratings.

He et al. (2017), "Neural collaborative filtering", WWW: NeuMF, section 3.4. There it tells seen from unseen
items; here the output is linear and the loss is squared error.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.nn import functional

from dualrec_utils.core.errors import StudyError
from dualrec_utils.core.reproducible import reproducible
from dualrec_utils.models.ratings.base import RatingModel, Rows

# Share of the training ratings that decides when to stop.
_VALIDATION = 0.1
# Standard deviation of the embeddings that training starts with.
_START = 0.01
# Pairs predicted at once.
_CHUNK = 16_384


class NeuralCF(RatingModel):
    """NeuMF: product of factors and a network on other factors, joined by one linear layer.

    Trained with Adam on nine tenths of the training ratings; the rest, drawn by the seed, decides which
    epoch's weights are kept. Somebody unknown has the mean of all users' factors. A new user would need
    training: a profile is not supported.

    Attributes:
        curve: `epoch` (from 1), `loss` (mean over batches), `rmse` (validation).
        best_epoch: the one whose weights are kept.
    """

    defaults: ClassVar[dict[str, Any]] = {
        "n_factors": 64,  # of the product, and of the network's input from each side
        "learning_rate": 5e-4,
        "weight_decay": 1e-5,
        "batch_size": 256,
        "max_epochs": 40,
        "patience": 4,  # epochs without a better value before training stops
    }

    def _fit(self, ratings: Rows) -> None:
        order = np.random.default_rng(self.seed).permutation(len(ratings.values))
        n_validation = int(_VALIDATION * len(order))
        held_out, kept = order[:n_validation], order[n_validation:]
        with reproducible(self.seed):
            self._network = _NeuMF(len(self.user_ids), len(self.item_ids), self.n_factors)
            self._train(ratings, kept, held_out if n_validation else kept)
        self._ready()

    def _ready(self) -> None:
        self._network.eval()
        with torch.no_grad():
            self._anybody = [table.weight.mean(dim=0, keepdim=True) for table in self._network.of_users]

    def _state(self) -> dict[str, np.ndarray]:
        return {name: tensor.numpy() for name, tensor in self._network.state_dict().items()}

    def _restore(self, state: Mapping[str, np.ndarray]) -> None:
        self._network = _NeuMF(len(self.user_ids), len(self.item_ids), self.n_factors)
        self._network.load_state_dict(
            {name: torch.tensor(state[name]) for name in self._network.state_dict()}
        )
        self._ready()

    def _train(self, ratings: Rows, kept: np.ndarray, held_out: np.ndarray) -> None:
        users, items = torch.from_numpy(ratings.users), torch.from_numpy(ratings.items)
        # Around the mean: the network starts from a sensible place.
        targets = torch.from_numpy(ratings.values - self.mean).float()  # noqa: PD011
        optimizer = torch.optim.Adam(
            self._network.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay
        )
        draw = np.random.default_rng(self.seed)
        rows, best, weights = [], math.inf, None
        for epoch in range(1, self.max_epochs + 1):
            self._network.train()
            losses = []
            order = torch.from_numpy(draw.permutation(kept))
            for batch in order.split(self.batch_size):
                loss = functional.mse_loss(self._network(users[batch], items[batch]), targets[batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                losses.append(loss.detach())
            mean_loss = float(torch.stack(losses).mean())
            if not math.isfinite(mean_loss):
                raise StudyError(
                    f"NeuralCF: the loss is {mean_loss} in epoch {epoch}; lower learning_rate, which is"
                    f" {self.learning_rate}"
                )
            self._network.eval()
            with torch.no_grad():
                errors = self._network(users[held_out], items[held_out]) - targets[held_out]
            rmse = float(errors.square().mean().sqrt())
            rows.append((epoch, mean_loss, rmse))
            if rmse < best:
                best, self.best_epoch = rmse, epoch
                weights = copy.deepcopy(self._network.state_dict())
            if epoch - self.best_epoch >= self.patience:
                break
        self._network.load_state_dict(weights)
        self.curve = pd.DataFrame(rows, columns=["epoch", "loss", "rmse"])

    def _predict(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        values = np.empty(len(users))
        with torch.no_grad():
            for start in range(0, len(users), _CHUNK):
                chunk = slice(start, start + _CHUNK)
                rows = torch.from_numpy(users[chunk])
                unknown = (rows < 0)[:, None]
                factors = [
                    torch.where(unknown, anybody, table(rows.clamp(min=0)))
                    for table, anybody in zip(self._network.of_users, self._anybody, strict=True)
                ]
                scores = self._network.joined(factors, torch.from_numpy(items[chunk]))
                values[chunk] = scores.double().numpy()
        return self.mean + values


class _NeuMF(nn.Module):
    """Factors of users and items for the product and for the network, (n_factors) each."""

    def __init__(self, n_users: int, n_items: int, n_factors: int) -> None:
        super().__init__()
        self.of_users, self.of_items = (
            nn.ModuleList(nn.Embedding(n, n_factors) for _ in range(2)) for n in (n_users, n_items)
        )
        for table in (*self.of_users, *self.of_items):
            nn.init.normal_(table.weight, std=_START)
        sizes = [2 * n_factors, 2 * n_factors, n_factors, n_factors // 2]
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(sizes):
            layers += [nn.Linear(before, after), nn.ReLU()]
        self.network = nn.Sequential(*layers)
        self.output = nn.Linear(n_factors + sizes[-1], 1)

    def forward(self, users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        """Ratings around the mean of users' and items' rows, shape (n,)."""
        return self.joined([table(users) for table in self.of_users], items)

    def joined(self, factors: list[torch.Tensor], items: torch.Tensor) -> torch.Tensor:
        """The same from the factors of users, each (n, n_factors)."""
        for_product, for_network = (table(items) for table in self.of_items)
        product = factors[0] * for_product
        hidden = self.network(torch.cat([factors[1], for_network], dim=-1))
        return self.output(torch.cat([product, hidden], dim=-1))[:, 0]

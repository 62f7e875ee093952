"""MCPRN: several recurrent channels, one a purpose, and a router that shares movies among them.

Wang, Hu, Wang, Sheng, Orgun and Cao (2019), "Modeling multi-purpose sessions for next-item
recommendations via mixture-channel purpose routing networks", IJCAI.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from dualrec_utils.models.baselines.base import in_range
from dualrec_utils.models.baselines.sequences import SequenceBaseline, item_table

# Paper: a channel does not read a movie that belongs to it by less.
_LEAST_ROUTING = 0.01


class MCPRN(SequenceBaseline):
    """Each item vector times the channel states, mixed by the item's own routing.

    Departs from the paper: softmax over the whole catalog instead of sampled negatives under a sigmoid,
    every position a target, the start state zero. No released code was found. `dropout` is on item
    vectors that are read; the paper has none.

    Args:
        embedding_size: of item vectors and channel states, 1 to 4,096.
        n_channels: purposes, 1 to 32.
        temperature: of the routing softmax, 0.001 to 100; small means hard.
    """

    def __init__(
        self,
        item_ids: np.ndarray,
        *,
        seed: int,
        embedding_size: int,
        n_channels: int,
        temperature: float,
        **shared: float,
    ) -> None:
        super().__init__(item_ids, seed=seed, **shared)
        self.embedding_size = in_range("embedding_size", embedding_size, low=1, high=4_096, integer=True)
        self.n_channels = in_range("n_channels", n_channels, low=1, high=32, integer=True)
        self.temperature = in_range("temperature", temperature, low=0.001, high=100)

    def _build(self, histories: list[np.ndarray]) -> nn.Module:
        return _Network(
            self.n_items,
            self.embedding_size,
            n_channels=self.n_channels,
            temperature=self.temperature,
            dropout=self.dropout,
        )


class _Network(nn.Module):
    def __init__(
        self, n_items: int, size: int, *, n_channels: int, temperature: float, dropout: float
    ) -> None:
        super().__init__()
        self.temperature, self.shape = temperature, (n_channels, size)
        self.items = item_table(n_items, size)
        self.dropout = nn.Dropout(dropout)
        bound = size**-0.5
        self.purposes = nn.Parameter(torch.empty(n_channels, size).uniform_(-1, 1))
        # Reset gate, update gate and candidate of each channel, one after the other.
        self.of_input = nn.Parameter(torch.empty(n_channels, size, 3 * size).uniform_(-bound, bound))
        self.of_state = nn.Parameter(torch.empty(n_channels, size, 3 * size).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(n_channels, 1, 3 * size))

    def routing(self, vectors: torch.Tensor) -> torch.Tensor:
        """Share of each purpose in each movie: (..., size) -> (..., n_channels), sums to 1."""
        return (vectors @ self.purposes.T / self.temperature).softmax(-1)

    def states(self, rows: torch.Tensor) -> torch.Tensor:
        vectors = self.items(rows)
        routing = self.routing(vectors)
        routing = torch.where(routing >= _LEAST_ROUTING, routing, 0.0)
        (batch, time), (channels, size) = rows.shape, self.shape
        # (channels, batch, time, 3 size): everything that does not wait for the state.
        inputs = self.dropout(vectors).flatten(0, 1) @ self.of_input + self.bias
        inputs = inputs.view(channels, batch, time, 3 * size).unbind(2)
        state, states = vectors.new_zeros(channels, batch, size), []
        for now, share in zip(inputs, routing.permute(1, 2, 0), strict=True):
            reset_update = torch.sigmoid(now[..., : 2 * size] + state @ self.of_state[..., : 2 * size])
            reset, update = reset_update.chunk(2, dim=2)
            candidate = torch.tanh(now[..., 2 * size :] + (reset * state) @ self.of_state[..., 2 * size :])
            state = state + share[:, :, None] * update * (candidate - state)
            states.append(state)
        return torch.stack(states).permute(2, 0, 1, 3).flatten(2)

    def logits(self, states: torch.Tensor) -> torch.Tensor:
        table = self.items.weight[1:]
        by_channel = states.view(len(states), *self.shape) @ table.T
        return (by_channel * self.routing(table).T).sum(1)

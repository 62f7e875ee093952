"""MCPRN: several recurrent channels, one a purpose, and a router that shares items among them.

Wang, Hu, Wang, Sheng, Orgun and Cao (2019), "Modeling multi-purpose sessions for next-item
recommendations via mixture-channel purpose routing networks", IJCAI.
"""

from __future__ import annotations

import torch
from torch import nn

from dualrec_utils.models.baselines.sequences import EMBEDDING, SequenceBaseline, item_table

# Paper: a channel does not read an item that belongs to it by less.
_LEAST_ROUTING = 0.01


class _Network(nn.Module):
    def __init__(self, model: MCPRN) -> None:
        super().__init__()
        n_channels, size = model.n_channels, model.embedding_size
        self.temperature, self.shape = model.temperature, (n_channels, size)
        self.items = item_table(model)
        self.dropout = nn.Dropout(model.dropout)
        bound = size**-0.5
        self.purposes = nn.Parameter(torch.empty(n_channels, size).uniform_(-1, 1))
        # Reset gate, update gate and candidate of each channel, one after the other.
        self.of_input = nn.Parameter(torch.empty(n_channels, size, 3 * size).uniform_(-bound, bound))
        self.of_state = nn.Parameter(torch.empty(n_channels, size, 3 * size).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(n_channels, 1, 3 * size))

    def routing(self, vectors: torch.Tensor) -> torch.Tensor:
        """Share of each purpose in each item: (..., size) -> (..., n_channels), sums to 1."""
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


class MCPRN(SequenceBaseline):
    """Each item vector times the channel states, mixed by the item's own routing.

    Departs from the paper: softmax over the whole catalog instead of sampled negatives under a sigmoid,
    every position a target, the start state zero. No released code was found. `dropout` is on item
    vectors that are read; the paper has none.
    """

    network = _Network
    ranges = EMBEDDING | {
        "n_channels": (1, 32),  # purposes, each with a state of its own
        "temperature": (0.001, 100.0),  # of the routing softmax; small means hard
    }

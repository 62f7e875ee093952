"""UniSRec without a vector of each item's own: what an item's text says is all that is known of it.

The authors call it inductive. An item that nobody rated is ranked by its text like any other.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from dualrec_utils.models.baselines.base import Validate
from dualrec_utils.models.baselines.unisrec import UniSRec


class _TextNetwork(UniSRec.network):
    """The same network; items without a rating are no wrong answers in training."""

    def table(self) -> torch.Tensor:
        return functional.pad(self.adaptor(self.texts), (0, 0, 1, 0))

    def logits(self, states: torch.Tensor) -> torch.Tensor:
        logits = super().logits(states)
        return logits.masked_fill(self.unseen, -torch.inf) if self.training else logits


class TextAlone(UniSRec):
    """:class:`models.baselines.unisrec.UniSRec` on texts alone; its settings are the same."""

    network = _TextNetwork

    def _build(self, histories: list[np.ndarray]) -> nn.Module:
        network = super()._build(histories)
        network.register_buffer("unseen", torch.tensor(self._popularity == 0))
        return network

    def _fit(self, histories: list[np.ndarray], validate: Validate | None) -> None:
        super()._fit(histories, validate)
        # Once it is fitted no item counts as never seen, which would put it last.
        self._popularity = np.maximum(self._popularity, np.finfo(float).tiny)

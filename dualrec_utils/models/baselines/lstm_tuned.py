"""The paper's own LSTM under the search that every other model gets.

DUALRec, section 4.2.1 and Figure 2: the network of :mod:`models.lstm.network`, unchanged.
"""

from __future__ import annotations

import keras
import torch
from torch import nn

from dualrec_utils.content.features import item_features
from dualrec_utils.models.baselines.sequences import SequenceBaseline
from dualrec_utils.models.lstm.network import LSTM_UNITS, build_model

# Paper, section 4.2.1.
_VOCABULARY, _TITLE_LENGTH = 5_000, 10


class _Network(nn.Module):
    def __init__(self, tuned: TunedLSTM) -> None:
        super().__init__()
        features = item_features(tuned.catalog, title_vocabulary=_VOCABULARY, title_length=_TITLE_LENGTH)
        keras.utils.set_random_seed(tuned.seed)
        model = build_model(features, dropout=tuned.dropout)
        self.body = keras.Model(model.input, model.get_layer(f"dropout_{len(LSTM_UNITS)}").output)
        self.head = model.get_layer("logits")

    def states(self, rows: torch.Tensor) -> torch.Tensor:
        return self.body(rows, training=self.training)

    def logits(self, states: torch.Tensor) -> torch.Tensor:
        return self.head(states)


class TunedLSTM(SequenceBaseline):
    """Two LSTM layers over item ids, title words and genres. Dropout is after each of them."""

    network = _Network

"""The paper's own LSTM under the search that every other model gets.

DUALRec, section 4.2.1 and Figure 2: the network of :mod:`models.lstm.network`, unchanged.
"""

from __future__ import annotations

import keras
import numpy as np
import torch
from torch import nn

from dualrec_utils.content.features import ItemFeatures, item_features
from dualrec_utils.core.catalog import Catalog
from dualrec_utils.core.errors import StudyError
from dualrec_utils.models.baselines.sequences import SequenceBaseline
from dualrec_utils.models.lstm.network import LSTM_UNITS, build_model

# Paper, section 4.2.1.
_VOCABULARY, _TITLE_LENGTH = 5_000, 10


class TunedLSTM(SequenceBaseline):
    """Two LSTM layers over movie ids, title words and genres. Dropout is after each of them.

    Args:
        catalog: the movies that the columns of the scores are. May be left out only where the model is
            not fitted.
    """

    def __init__(
        self, item_ids: np.ndarray, *, seed: int, catalog: Catalog | None = None, **shared: float
    ) -> None:
        super().__init__(item_ids, seed=seed, **shared)
        self._catalog = catalog

    def _build(self, histories: list[np.ndarray]) -> nn.Module:
        if self._catalog is None:
            raise StudyError("the LSTM reads titles and genres: give it the `catalog`")
        features = item_features(self._catalog, title_vocabulary=_VOCABULARY, title_length=_TITLE_LENGTH)
        keras.utils.set_random_seed(self.seed)
        return _Network(features, dropout=self.dropout)


class _Network(nn.Module):
    def __init__(self, features: ItemFeatures, *, dropout: float) -> None:
        super().__init__()
        model = build_model(features, dropout=dropout)
        self.body = keras.Model(model.input, model.get_layer(f"dropout_{len(LSTM_UNITS)}").output)
        self.head = model.get_layer("logits")

    def states(self, rows: torch.Tensor) -> torch.Tensor:
        return self.body(rows, training=self.training)

    def logits(self, states: torch.Tensor) -> torch.Tensor:
        return self.head(states)

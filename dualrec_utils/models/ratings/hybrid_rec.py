"""HybridRecModel: two networks map a user's and an item's text to one space, where they are compared.

Its README compares by the cosine s and predicts 1 + 4 s^2; its code predicts the dot product. Both are
here, and what its table of ablations takes out: the square and the networks. The published text features
are 768 numbers of a hosted encoder, ours 384 of all-MiniLM-L6-v2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.nn import functional

from dualrec_utils.core.errors import StudyError
from dualrec_utils.core.reproducible import reproducible
from dualrec_utils.models.ratings import texts
from dualrec_utils.models.ratings.base import Known, Profile, Rows, put_under, take_under
from dualrec_utils.models.ratings.text_model import TextModel

ALLOWED = {"output": ("dot", "cosine", "linear"), "networks": ("deep", "linear")}
# Numbers of an output.
_SIZE = 256


class HybridRecModel(TextModel):
    """Two networks of three layers on text vectors; their outputs' dot product or cosine is the rating.

    No number is learnt for a single user or item: whoever has a text has a prediction.

    Attributes:
        curve: `epoch` (from 1) and `loss`, the mean squared error over the batches of an epoch.
    """

    defaults: ClassVar[dict[str, Any]] = {
        **TextModel.defaults,
        # "dot": as the code; "cosine": lowest + (highest - lowest) * cosine^2, as the README; "linear": the
        # same with (cosine + 1) / 2 in the place of the square.
        "output": "dot",
        "networks": "deep",  # three layers; "linear": one, without a step that bends
        "shuffled": False,  # batches in the order of the ratings, as the code; else in random order
        "learning_rate": 0.005,  # of Adam
        "batch_size": 1024,
        "n_epochs": 20,
    }

    def __init__(self, known: Known, *, seed: int, **settings: Any) -> None:
        super().__init__(known, seed=seed, **settings)
        for name, allowed in ALLOWED.items():
            if (value := getattr(self, name)) not in allowed:
                raise StudyError(f"{name} is {value!r}; it can be {', '.join(allowed)}")

    def _write(self, ratings: pd.DataFrame, known: Known) -> dict[int, str]:
        return texts.profiles(ratings, known)

    def _fit(self, ratings: Rows) -> None:
        self._learn_texts(ratings)
        with reproducible(self.seed):
            self._networks = self._unfitted()
            self._train(ratings)
        self._ready()

    def _unfitted(self) -> nn.ModuleList:
        make = _network if self.networks == "deep" else _layer
        return nn.ModuleList([make(vectors.shape[1]) for vectors in (self.user_vectors, self.item_vectors)])

    def _ready(self) -> None:
        """What is asked for later, once for all."""
        self._users, self._items = self._mapped(0, self.user_vectors), self._mapped(1, self.item_vectors)

    def _state(self) -> dict[str, np.ndarray]:
        weights = {name: tensor.numpy() for name, tensor in self._networks.state_dict().items()}
        return super()._state() | put_under("networks", weights)

    def _restore(self, state: Mapping[str, np.ndarray]) -> None:
        super()._restore(state)
        self._networks = self._unfitted()
        weights = take_under("networks", state)
        self._networks.load_state_dict({name: torch.tensor(array) for name, array in weights.items()})
        self._ready()

    def _train(self, ratings: Rows) -> None:
        sides = [torch.from_numpy(vectors) for vectors in (self.user_vectors, self.item_vectors)]
        values = torch.tensor(np.ascontiguousarray(ratings.values), dtype=torch.float32)
        optimizer = torch.optim.Adam(self._networks.parameters(), lr=self.learning_rate, fused=True)
        draw = np.random.default_rng(self.seed)
        losses = []
        for _ in range(self.n_epochs):
            order = draw.permutation(len(values)) if self.shuffled else np.arange(len(values))
            of_batches = []
            for start in range(0, len(order), self.batch_size):
                rows = order[start : start + self.batch_size]
                loss = functional.mse_loss(
                    self._compared(*self._pairs(sides, ratings.users[rows], ratings.items[rows])),
                    values[rows],
                )
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                of_batches.append(loss.item())
            losses.append(np.mean(of_batches))
        self.curve = pd.DataFrame({"epoch": np.arange(1, len(losses) + 1), "loss": losses})

    def _pairs(
        self, sides: list[torch.Tensor], users: np.ndarray, items: np.ndarray
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Both outputs of each pair. Whoever comes often in a batch passes the network once."""
        outputs = []
        for network, vectors, rows in zip(self._networks, sides, (users, items), strict=True):
            distinct, places = np.unique(rows, return_inverse=True)
            # `index_select` and not `[places]`, whose gradient is not the same to the digit.
            outputs.append(network(vectors[distinct]).index_select(0, torch.from_numpy(places)))
        return outputs[0], outputs[1]

    def _compared(self, users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        if self.output == "dot":
            return (users * items).sum(dim=1)
        low, high = self.known.scale
        cosine = functional.cosine_similarity(users, items, dim=1)
        return low + (high - low) * (cosine**2 if self.output == "cosine" else (cosine + 1) / 2)

    def _mapped(self, side: int, vectors: np.ndarray) -> torch.Tensor:
        with torch.no_grad():
            return self._networks[side](torch.from_numpy(vectors))

    def _predict(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        return self._compared(self._users[users], self._items[items]).double().numpy()

    def _predict_new(self, profile: Profile, items: np.ndarray) -> np.ndarray:
        mapped = self._mapped(0, profile.vector[None])
        return self._compared(mapped, self._items[items]).double().numpy()


def _network(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(width, 1024), nn.ReLU(), nn.Linear(1024, 512), nn.ReLU(), nn.Linear(512, _SIZE)
    )


def _layer(width: int) -> nn.Linear:
    return nn.Linear(width, _SIZE)

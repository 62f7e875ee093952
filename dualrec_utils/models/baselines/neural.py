"""Training that every model fitted by gradient descent shares: seeding, device, loop, early stopping.

A model says what its network is, what one epoch's examples are and what their loss is. Models that read
sequences build on :mod:`models.baselines.sequences`.
"""

from __future__ import annotations

import copy
import math
from abc import abstractmethod

import numpy as np
import pandas as pd
import torch
from torch import nn
from tqdm import tqdm

from dualrec_utils.core.errors import StudyError
from dualrec_utils.core.reproducible import reproducible
from dualrec_utils.models.baselines.base import Baseline, Diverged, Validate, never_seen_last, popularity

# Cases scored at once.
_CHUNK = 256
# Norm to which gradients are cut: only steps that would throw a model off reach it.
_MAX_NORM = 5.0


class NeuralBaseline(Baseline):
    """A baseline trained with Adam, in epochs.

    After `fit`, `curves` holds `epoch` (from 1), `part`, `metric`, `value`: the training loss and, with
    validation, ndcg@5; `best_epoch` is the epoch whose weights are kept. An empty history gets
    log-popularity; items without any training interaction come last.
    """

    ranges = {
        "learning_rate": (1e-7, 1.0),  # of Adam
        "weight_decay": (0.0, 1.0),  # L2 penalty inside Adam
        "batch_size": (1, 100_000),  # examples a step
        "max_epochs": (1, 10_000),
        "patience": (1, 10_000),  # epochs without a better value on validation users before training stops
    }

    @abstractmethod
    def _build(self, histories: list[np.ndarray]) -> nn.Module:
        """The untrained network; what it must know of the training histories is computed here."""

    @abstractmethod
    def _examples(self, histories: list[np.ndarray], draw: np.random.Generator) -> tuple[np.ndarray, ...]:
        """One epoch's examples: integer arrays with one row an example."""

    @abstractmethod
    def _loss(self, *arrays: torch.Tensor) -> torch.Tensor:
        """Mean loss of some examples."""

    @abstractmethod
    def _network_scores(self, histories: list[np.ndarray], users: np.ndarray) -> torch.Tensor:
        """Scores (n_cases, n_items) of non-empty histories."""

    def _fit(self, histories: list[np.ndarray], validate: Validate | None) -> None:
        self._popularity = popularity(histories, self.n_items)
        with reproducible(self.seed):
            self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
            self._network = self._build(histories).to(self._device)
            self._train(histories, validate)

    def _train(self, histories: list[np.ndarray], validate: Validate | None) -> None:
        name, draw = type(self).__name__, np.random.default_rng(self.seed)
        optimizer = torch.optim.Adam(
            self._network.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay
        )
        rows, best, kept = [], -math.inf, None
        with tqdm(range(1, self.max_epochs + 1), desc=name, unit="epoch") as bar:
            for epoch in bar:
                loss = self._one_epoch(self._examples(histories, draw), optimizer, draw)
                if not math.isfinite(loss):
                    raise Diverged(
                        f"{name}: the loss is {loss} in epoch {epoch} with {self.settings}; lower the"
                        " learning rate"
                    )
                rows.append((epoch, "train", "loss", loss))
                if validate is None:
                    self.best_epoch = epoch
                    continue
                value = validate(self._answer)
                rows.append((epoch, "validation", "ndcg@5", value))
                if value > best:
                    best, self.best_epoch = value, epoch
                    kept = copy.deepcopy(self._network.state_dict())
                bar.set_postfix(loss=f"{loss:.3f}", ndcg5=f"{value:.4f}", best=self.best_epoch)
                if epoch - self.best_epoch >= self.patience:
                    break
        if kept is not None:
            self._network.load_state_dict(kept)
        self.curves = pd.DataFrame(rows, columns=["epoch", "part", "metric", "value"])

    def _one_epoch(
        self,
        examples: tuple[np.ndarray, ...],
        optimizer: torch.optim.Optimizer,
        draw: np.random.Generator,
    ) -> float:
        """Train on some examples, each once in random order; the mean loss over steps."""
        if not len(examples[0]):
            raise StudyError(
                f"{type(self).__name__} finds nothing to learn from: it needs training histories of two"
                " items or more"
            )
        self._network.train()
        losses = []
        order = draw.permutation(len(examples[0]))
        for start in range(0, len(order), self.batch_size):
            batch = order[start : start + self.batch_size]
            loss = self._loss(*(torch.from_numpy(array[batch]).to(self._device) for array in examples))
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self._network.parameters(), _MAX_NORM)
            optimizer.step()
            losses.append(loss.detach())
        return float(torch.stack(losses).mean())

    def _score(self, histories: list[np.ndarray], users: np.ndarray) -> np.ndarray:
        # Never -inf: predictions are finite.
        floor = np.log(np.maximum(self._popularity, 1e-9))
        scores = np.tile(floor, (len(histories), 1))
        lengths = np.array([len(history) for history in histories], dtype=int)
        # Like lengths together: little padding.
        order = np.argsort(lengths, kind="stable")
        filled = order[lengths[order] > 0]
        self._network.eval()
        with torch.no_grad():
            for start in range(0, len(filled), _CHUNK):
                batch = filled[start : start + _CHUNK]
                values = self._network_scores([histories[i] for i in batch], users[batch])
                scores[batch] = values.double().cpu().numpy()
        return never_seen_last(scores, self._popularity)

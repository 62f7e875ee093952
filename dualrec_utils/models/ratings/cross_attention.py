"""The cross-attention hybrid: factors and biases of ids, text features, attention between the two sides.

A user and an item each are two vectors: one learnt for the id, one projected from the text. The user's two
attend to the item's two and the other way; a network fuses what comes of it into a rating. Each part can be
taken out. The loss adds two terms to the squared error that are lower when predictions spread more.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.nn import functional

from dualrec_utils.core.config import ITEM, USER
from dualrec_utils.core.errors import StudyError
from dualrec_utils.core.reproducible import reproducible
from dualrec_utils.models.ratings import tags, texts
from dualrec_utils.models.ratings.base import Known, Rows, put_under, take_under
from dualrec_utils.models.ratings.biases import Biases
from dualrec_utils.models.ratings.text_model import Described, TextModel

ALLOWED = {"biases": ("trained", "first", "none"), "text": ("trained", "frozen", "none")}
# Numbers that text features are projected to, before the factor size.
_TEXT_SIZE = 64
_HEADS = 4
# Norm to which gradients are cut.
_MAX_NORM = 1.0
# Share of the training ratings that decides when to stop.
_VALIDATION = 0.1
# Share of a user's text against that of the user's tags; an item's are halved.
_USER_TEXT, _ITEM_TEXT = 0.7, 0.5
# Pairs predicted at once.
_CHUNK = 16_384


def loss_of(
    predictions: torch.Tensor,
    values: torch.Tensor,
    items: torch.Tensor,
    *,
    spread_weight: float,
    range_weight: float,
) -> torch.Tensor:
    """Mean squared error + spread_weight * exp(-s) + range_weight * exp(-r).

    s is the standard deviation (n - 1), over the items of the batch, of each item's mean prediction; r the
    highest prediction minus the lowest. Both reward predictions that differ between items, which is called
    diversity there; neither sees a list.

    Args:
        predictions, values: shape (n,), in ratings.
        items: shape (n,), integers.
        spread_weight, range_weight: published 0.25 and 0.2.
    """
    loss = functional.mse_loss(predictions, values)
    if spread_weight:
        distinct, places = items.unique(return_inverse=True)
        sums = predictions.new_zeros(len(distinct)).index_add(0, places, predictions)
        means = sums / places.bincount()
        # One item does not spread.
        spread = means.std() if len(means) > 1 else means.new_zeros(())
        loss = loss + spread_weight * torch.exp(-spread)
    if range_weight:
        loss = loss + range_weight * torch.exp(predictions.min() - predictions.max())
    return loss


class CrossAttention(TextModel):
    """Ids, biases, texts, genres, tags, cross-attention and fusion, each a setting.

    Text features: sentence embeddings through one linear layer to 64 numbers (trained, or frozen at its
    random start as in the released code), to length 1, then for each side through a layer to the size of
    the factors. Where there are tags, a user's vector is 0.7 text + 0.3 tags, an item's the mean of both.

    A tenth of the training ratings, drawn by the seed, decides when to stop; users' texts and tags are made
    from the other nine. Somebody new has the mean of all users in the place of factors, and the bias that
    the ratings of the profile give where biases come first, else the users' mean bias: only the text
    speaks.

    Attributes:
        curve: `epoch` (from 1), `loss` (mean over batches), `rmse` (validation).
        best_epoch: the one whose weights are kept.
    """

    defaults: ClassVar[dict[str, Any]] = {
        **TextModel.defaults,
        "ids": True,
        "biases": "trained",  # "first": fitted beforehand as :class:`Biases`, then left; or "none"
        "batch_norm": True,  # of factors
        "text": "frozen",  # or "trained", or "none"
        "genres": True,  # in texts of items and users
        "tags": True,  # where the data set has some
        "attention": True,
        "fusion": True,  # False: one linear layer
        "n_factors": 80,  # a multiple of the four heads
        "dropout": 0.4,
        "spread_weight": 0.25,
        "range_weight": 0.2,
        "learning_rate": 1e-3,  # of AdamW
        "weight_decay": 0.01,
        "batch_size": 512,  # a step; the released code adds up the gradients of four batches
        "max_epochs": 30,
        "patience": 5,
        "refit": False,  # after stopping, train anew on all ratings for as many epochs
    }

    def __init__(self, known: Known, *, seed: int, **settings: Any) -> None:
        super().__init__(known, seed=seed, **settings)
        for name, allowed in ALLOWED.items():
            if (value := getattr(self, name)) not in allowed:
                raise StudyError(f"{name} is {value!r}; it can be {', '.join(allowed)}")
        if self.n_factors < 1 or self.n_factors % _HEADS:
            raise StudyError(f"n_factors is {self.n_factors}; it must be a multiple of {_HEADS} above 0")
        if not self.ids and self.text == "none":
            raise StudyError("ids are off and text is 'none': the network needs one of them")

    def _write(self, ratings: pd.DataFrame, known: Known) -> dict[int, str]:
        write = texts.paragraphs if self.genres else texts.paragraphs_without_genres
        return write(ratings, known)

    def _item_texts(self) -> list[str]:
        return texts.item_texts(self.known.items, genres=self.genres)

    def _fit(self, ratings: Rows) -> None:
        order = np.random.default_rng(self.seed).permutation(len(ratings.values))
        if self.batch_norm and len(order) < 2:
            raise StudyError("CrossAttention: batch_norm needs two ratings; there is one: turn it off")
        # Of fewer than ten ratings none can be spared.
        n_validation = int(_VALIDATION * len(order))
        rows_of = (order[n_validation:], order[:n_validation] if n_validation else order)
        kept, held_out = (_some(ratings, rows) for rows in rows_of)
        self._train(kept, held_out, self.max_epochs)
        if self.refit:
            self._train(ratings, None, self.best_epoch)
        self._ready()

    def _ready(self) -> None:
        """What is asked for later, once for all."""
        with torch.no_grad():
            users, self._items = (
                self._network.tokens(side, torch.arange(n)) for side, n in enumerate(self._sizes)
            )
            anybody = users.mean(dim=0, keepdim=True)
            if self.text != "none":
                anybody[:, -1] = self._network.read(0, torch.from_numpy(self.user_vectors[-1:]))
        self._users = torch.cat([users, anybody])
        of_users, self._item_biases = (biases.detach() for biases in self._network.biases)
        self._user_biases = torch.cat([of_users, of_users.mean(dim=0, keepdim=True)])

    @property
    def reads_texts(self) -> bool:
        return self.text != "none"

    def _state(self) -> dict[str, np.ndarray]:
        weights = {name: tensor.numpy() for name, tensor in self._network.state_dict().items()}
        state = put_under("network", weights)
        if self.biases == "first":
            state |= put_under("first", self._first.state())
        if self.text == "none":
            return state
        state |= super()._state()
        if not self._item_tags.empty:
            places = self._tag_vectors.index.get_indexer(self._item_tags[tags.TAG])
            state |= {
                # Arrays hold no texts.
                "tags.names": np.frombuffer(json.dumps(list(self._tag_vectors.index)).encode(), np.uint8),
                "tags.vectors": self._tag_vectors.to_numpy(),
                "tags.of_items": np.column_stack([self._item_tags[ITEM], places]),
                "tags.weights": self._item_tags[tags.WEIGHT].to_numpy(),
            }
        return state

    def _restore(self, state: Mapping[str, np.ndarray]) -> None:
        if self.text != "none":
            super()._restore(state)
            self._item_tags = pd.DataFrame()
        if self.biases == "first":
            self._first = Biases(self.known, seed=self.seed).restore(take_under("first", state))
        if "tags.names" in state:
            names = json.loads(state["tags.names"].tobytes())
            items, places = state["tags.of_items"].T
            columns = {ITEM: items, tags.TAG: [names[place] for place in places]}
            self._item_tags = pd.DataFrame(columns | {tags.WEIGHT: state["tags.weights"]})
            self._tag_vectors = pd.DataFrame(state["tags.vectors"], index=names)
        self._network = _Network(self).eval()
        weights = take_under("network", state)
        self._network.load_state_dict({name: torch.tensor(array) for name, array in weights.items()})
        self._ready()

    def _learn_texts(self, ratings: Rows) -> None:
        super()._learn_texts(ratings)
        self._item_tags = tags.of_items(self.known, self._frame(ratings)) if self.tags else pd.DataFrame()
        if self._item_tags.empty:
            return
        frame = self._frame(ratings)
        # Tags are texts of items.
        names = sorted(self._item_tags[tags.TAG].unique())
        self._tag_vectors = pd.DataFrame(self._encode_items(names), index=names)
        of_items = tags.mean_vectors(self._item_tags, ITEM, self._tag_vectors)
        self.item_vectors = _mixed(self.item_vectors, self.item_ids, of_items, _ITEM_TEXT)
        self.user_vectors = self._with_tags(self.user_vectors, np.append(self.user_ids, -1), frame)

    def _with_tags(self, vectors: np.ndarray, ids: np.ndarray, ratings: pd.DataFrame) -> np.ndarray:
        weights = tags.of_users(self._item_tags, self.known, ratings)
        return _mixed(vectors, ids, tags.mean_vectors(weights, USER, self._tag_vectors), _USER_TEXT)

    def _vectors_of_new(self, written: list[str], ratings: pd.DataFrame) -> np.ndarray:
        if self.text == "none":
            return np.zeros((len(written), 0), dtype=np.float32)
        vectors = super()._vectors_of_new(written, ratings)
        if self._item_tags.empty:
            return vectors
        return self._with_tags(vectors, np.arange(len(written)), ratings)

    def _train(self, ratings: Rows, held_out: Rows | None, max_epochs: int) -> None:
        """Train a new network; of the epochs the one that is best on held-out ratings, if there are any."""
        if self.text != "none":
            self._learn_texts(ratings)
        if self.biases == "first":
            self._first = Biases(self.known, seed=self.seed).fit(self._frame(ratings))
        with reproducible(self.seed):
            self._network = network = _Network(self)
            rows, best, weights = [], np.inf, None
            for epoch, loss in enumerate(self._epochs(ratings, max_epochs), start=1):
                if held_out is None:
                    continue
                rows.append((epoch, loss, self._rmse(held_out)))
                if not np.isfinite(rows[-1]).all():
                    raise StudyError(
                        f"CrossAttention: the loss is {loss:g}, the RMSE {rows[-1][-1]:g} in epoch {epoch};"
                        f" lower learning_rate, which is {self.learning_rate}"
                    )
                if rows[-1][-1] < best:
                    best, self.best_epoch = rows[-1][-1], epoch
                    weights = copy.deepcopy(network.state_dict())
                if epoch - self.best_epoch >= self.patience:
                    break
        if weights is not None:
            network.load_state_dict(weights)
            self.curve = pd.DataFrame(rows, columns=["epoch", "loss", "rmse"])
        network.eval()

    def _epochs(self, ratings: Rows, n: int) -> Iterator[float]:
        """Train for n epochs; the mean loss of each."""
        network = self._network
        optimizer = torch.optim.AdamW(
            [parameter for parameter in network.parameters() if parameter.requires_grad],
            lr=self.learning_rate,
            weight_decay=self.weight_decay,
            fused=True,
        )
        users, items = torch.from_numpy(ratings.users), torch.from_numpy(ratings.items)
        values = torch.tensor(np.ascontiguousarray(ratings.values), dtype=torch.float32)
        levels = self._levels(ratings.users, ratings.items)
        draw = np.random.default_rng(self.seed)
        for _ in range(n):
            network.train()
            losses = []
            for batch in torch.from_numpy(draw.permutation(len(values))).split(self.batch_size):
                if len(batch) == 1 and self.batch_norm:  # which needs two rows; the last batch may have one
                    continue
                loss = loss_of(
                    levels[batch] + network(users[batch], items[batch]),
                    values[batch],
                    items[batch],
                    spread_weight=self.spread_weight,
                    range_weight=self.range_weight,
                )
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(network.parameters(), _MAX_NORM)
                optimizer.step()
                losses.append(loss.item())
            yield float(np.mean(losses))

    @property
    def _sizes(self) -> tuple[int, int]:
        return len(self.user_ids), len(self.item_ids)

    def _levels(self, users: np.ndarray, items: np.ndarray) -> torch.Tensor:
        """What is known of each pair before the network: the biases, where they come first."""
        first = self._first._predict(users, items) if self.biases == "first" else np.zeros(len(users))
        return torch.from_numpy(first).float()

    def _rmse(self, ratings: Rows) -> float:
        network = self._network.eval()
        with torch.no_grad():
            predicted = network(torch.from_numpy(ratings.users), torch.from_numpy(ratings.items))
        predicted = (self._levels(ratings.users, ratings.items) + predicted).double().numpy()
        errors = np.clip(predicted, *self.known.scale) - ratings.values  # noqa: PD011
        return float(np.sqrt(np.mean(errors**2)))

    def _predict(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        return (
            self._answer(self._users, self._user_biases, users, items) + self._levels(users, items).numpy()
        )

    def _predict_new(self, profile: Described, items: np.ndarray) -> np.ndarray:
        tokens = self._users[-1:].clone()
        if self.text != "none":
            with torch.no_grad():
                tokens[:, -1] = self._network.read(0, torch.from_numpy(profile.vector[None]))
        values = self._answer(tokens, self._user_biases[-1:], np.zeros(len(items), dtype=int), items)
        return values + self._first._predict_new(profile, items) if self.biases == "first" else values

    def _answer(
        self, tokens: torch.Tensor, biases: torch.Tensor, users: np.ndarray, items: np.ndarray
    ) -> np.ndarray:
        """What the network says of rows of these tokens and biases, and rows of items: shape (n,)."""
        # Row -1 is the last one.
        pairs = torch.from_numpy(users % len(tokens)), torch.from_numpy(items)
        answers = []
        with torch.no_grad():
            for of_users, of_items in zip(*(rows.split(_CHUNK) for rows in pairs), strict=True):
                level = self._network.level + biases[of_users] + self._item_biases[of_items]
                answers.append(level + self._network.fused(tokens[of_users], self._items[of_items]))
        return torch.cat(answers).double().numpy()


class _Network(nn.Module):
    """Side 0 is the users', side 1 the items'. A token is a vector of the factor size."""

    def __init__(self, model: CrossAttention) -> None:
        super().__init__()
        size, dropout, sizes, trained = (
            model.n_factors, model.dropout, model._sizes, model.biases == "trained"
        )  # fmt: skip
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(n), requires_grad=trained) for n in sizes)
        self.level = nn.Parameter(torch.zeros(()), requires_grad=trained)
        self.factors = self.norms = self.projections = self.attention = None
        if model.ids:
            self.factors = nn.ModuleList(nn.Embedding(n, size) for n in sizes)
            for factors in self.factors:
                nn.init.normal_(factors.weight, std=0.01)
            self.norms = nn.ModuleList(
                nn.BatchNorm1d(size) if model.batch_norm else nn.Identity() for _ in sizes
            )
        if model.text != "none":
            self.vectors = [torch.from_numpy(v) for v in (model.user_vectors[:-1], model.item_vectors)]
            self.narrow = nn.Linear(model.item_vectors.shape[1], _TEXT_SIZE)
            self.narrow.requires_grad_(model.text == "trained")
            self.projections = nn.ModuleList(_layer(_TEXT_SIZE, size, dropout) for _ in sizes)
        n_tokens = model.ids + (model.text != "none")
        if model.attention:
            self.attention = nn.MultiheadAttention(size, _HEADS, dropout=dropout, batch_first=True)
        width = (n_tokens + 2 * model.attention) * size
        self.fusion = nn.Linear(width, 1)
        if model.fusion:
            self.fusion = nn.Sequential(
                _layer(width, 2 * size, dropout), _layer(2 * size, size, dropout), nn.Linear(size, 1)
            )

    def forward(self, users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        level = self.level + sum(
            biases.index_select(0, rows) for biases, rows in zip(self.biases, (users, items), strict=True)
        )
        return self.fused(self.tokens(0, users), self.tokens(1, items)) + level

    def tokens(self, side: int, rows: torch.Tensor) -> torch.Tensor:
        """Of an id, then of its text, where these are on: (n, 1 or 2, size)."""
        tokens = []
        if self.factors is not None:
            tokens.append(self.norms[side](self.factors[side](rows)))
        if self.projections is not None:
            tokens.append(self.read(side, self.vectors[side].index_select(0, rows)))
        return torch.stack(tokens, dim=1)

    def read(self, side: int, vectors: torch.Tensor) -> torch.Tensor:
        """The tokens of texts: (n, size)."""
        return self.projections[side](functional.normalize(self.narrow(vectors), dim=1))

    def fused(self, users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        """What two sides' tokens say together, in ratings: (n,)."""
        parts = [(users * items).flatten(1)]
        if self.attention is not None:
            for query, other in ((users, items), (items, users)):
                attended, _ = self.attention(query, other, other, need_weights=False)
                parts.append(attended.mean(dim=1))
        return self.fusion(torch.cat(parts, dim=1)).squeeze(1)


def _layer(width: int, size: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, size), nn.LayerNorm(size), nn.ReLU(), nn.Dropout(dropout))


def _some(ratings: Rows, rows: np.ndarray) -> Rows:
    columns = (ratings.users, ratings.items, ratings.values)  # noqa: PD011
    return Rows(*(column[rows] for column in columns))


def _mixed(vectors: np.ndarray, ids: np.ndarray, others: pd.DataFrame, share: float) -> np.ndarray:
    """share * vector + (1 - share) * the other's, where there is one of this id."""
    filled = others.reindex(ids).to_numpy(dtype=np.float32)
    missing = np.isnan(filled).any(axis=1)
    return np.where(missing[:, None], vectors, share * vectors + (1 - share) * filled).astype(np.float32)

"""Bayesian matrix factorisation with features: the average of many models that fit the ratings.

Salakhutdinov and Mnih (2008), "Bayesian probabilistic matrix factorization using Markov chain Monte
Carlo", ICML: factors are drawn by Gibbs sampling, not optimised, and so is their Gaussian prior. Simm et
al. (2017), "Macau: scalable Bayesian factorization with high-dimensional side information using MCMC",
MLSP: features of a user or item move the mean of its factors, by weights that are drawn too.

Added here: biases among the factors; as features which items a user rated, as in SVD++, and which users
rated an item; noise that differs between users and between items.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from dualrec_utils.core.errors import StudyError
from dualrec_utils.models.ratings import attributes, features, texts
from dualrec_utils.models.ratings.base import Known, Profile, Rows, put_under, take_under
from dualrec_utils.models.ratings.gibbs import Noise, Vectors
from dualrec_utils.models.ratings.least_squares import Side, with_ones
from dualrec_utils.models.ratings.text_model import Described, TextModel

# Sweeps kept whole, for users who come later: evenly spread over those that count.
_N_KEPT = 30
NO_TEXTS = "none"
# A new user with so many ratings is believed half of what it says which items they are: a short history may
# be the beginning of a long one.
_HALF = 10
# Features no larger than this are 0 but for rounding.
_NOTHING = 1e-6
# Kinds of features.
_IMPLICIT, _ATTRIBUTES, _TEXTS = "implicit", "attributes", "texts"


@dataclass(frozen=True)
class _Sweep:
    """What somebody new is predicted from.

    Attributes:
        items: shape (n_items, n_factors + 1); noise: precision of a rating of each item, shape (n_items,).
        mean, precision: of users' vectors; weights: kind of users' features -> shape (n_features, d).
    """

    items: np.ndarray
    noise: np.ndarray
    mean: np.ndarray
    precision: np.ndarray
    weights: Mapping[str, np.ndarray]


class BayesianFactors(TextModel):
    """rating = mean + user bias + item bias + product of factors + noise, averaged over Gibbs samples.

    A user's vector holds factors and bias, and so does an item's. Its features are: who rated what in
    training (each rated item, or user who rated, counts 1 / root of their number); demographics, or genres
    and decade; the vector of its text where `features` is not "none". Each kind's weights have a precision
    of their own, so that a kind that says nothing is shrunk away.

    Predictions are means over the sweeps after burn-in, each cut to the scale. Somebody new has, in each of
    some kept sweeps, the vector to be expected from the profile; a profile without ratings and text has
    anybody's. Demographics of somebody new are not known unless the text says them.

    Attributes:
        table: predictions of training users, shape (n_users, n_items).
        weight_precisions: `users` and `items` -> kind of features -> mean precision of its weights.
    """

    defaults: ClassVar[dict[str, Any]] = {
        "n_factors": 10,
        "n_sweeps": 300,
        "burn_in": 40,  # sweeps that do not count
        "noise_degrees": 20.0,  # the more, the more alike the noise of users and items
        "implicit": True,
        "attributes": True,
        "features": NO_TEXTS,  # or one of :data:`features.KINDS`
    }

    def __init__(self, known: Known, *, seed: int, **settings: Any) -> None:
        super().__init__(known, seed=seed, **settings)
        if self.n_factors < 1:
            raise StudyError(f"n_factors is {self.n_factors}; it must be 1 or more")
        if not 0 <= self.burn_in < self.n_sweeps:
            raise StudyError(
                f"burn_in is {self.burn_in} of {self.n_sweeps} sweeps; it must be 0 or more, and fewer"
            )
        if self.features not in (allowed := (NO_TEXTS, *features.KINDS)):
            raise StudyError(f"features is {self.features!r}; it can be {', '.join(allowed)}")

    def _write(self, ratings: pd.DataFrame, known: Known) -> dict[int, str]:
        # Nothing that ratings say: what explains a rating must not be made from it.
        return texts.demographics(known.users)

    def _read(self, profiles: Mapping[int, Profile]) -> Mapping[int, Profile]:
        return super()._read(profiles) if self._users_have_texts else profiles

    @property
    def reads_texts(self) -> bool:
        return self._users_have_texts

    def _state(self) -> dict[str, np.ndarray]:
        state = super()._state() if self._users_have_texts else {}
        if self.implicit:
            state |= {"usual_shares": self._usual_shares}
        sweeps = {
            name: np.stack([getattr(sweep, name) for sweep in self._kept])
            for name in ("items", "noise", "mean", "precision")
        }
        weights = {kind: np.stack([s.weights[kind] for s in self._kept]) for kind in self._kept[0].weights}
        sweeps |= put_under("weights", weights)
        return state | {"table": self.table, "anybody": self._anybody, **put_under("sweeps", sweeps)}

    def _restore(self, state: Mapping[str, np.ndarray]) -> None:
        if self._users_have_texts:
            super()._restore(state)
        if self.implicit:
            self._usual_shares = state["usual_shares"]
        self.table, self._anybody = state["table"], state["anybody"]
        sweeps = take_under("sweeps", state)
        weights = take_under("weights", sweeps)
        self._kept = [
            _Sweep(*arrays, {kind: of[number] for kind, of in weights.items()})
            for number, arrays in enumerate(
                zip(sweeps["items"], sweeps["noise"], sweeps["mean"], sweeps["precision"], strict=True)
            )
        ]

    @property
    def _users_have_texts(self) -> bool:
        return self.features != NO_TEXTS and bool(len(self.known.users) or self._given)

    def _fit(self, ratings: Rows) -> None:
        draw = np.random.default_rng(self.seed)
        n_users, n_items, d = len(self.user_ids), len(self.item_ids), self.n_factors + 1
        by_user = Side(ratings.users, ratings.items, (n_users, n_items))
        by_item = Side(ratings.items, ratings.users, (n_items, n_users))
        of_users, of_items = self._features(ratings, by_user, by_item)
        users, items = Vectors(of_users, (n_users, d), draw), Vectors(of_items, (n_items, d), draw)
        noise = Noise(ratings, n_users, n_items, self.noise_degrees)
        centred = ratings.values - self.mean  # noqa: PD011
        counted = np.arange(self.burn_in, self.n_sweeps)
        to_keep = counted[np.linspace(0, len(counted) - 1, _N_KEPT).astype(int)]
        self.table, self._kept, precisions = np.zeros((n_users, n_items)), [], []
        for sweep in range(self.n_sweeps):
            for here, there, side, rows in (
                (users, items, by_user, ratings.items),
                (items, users, by_item, ratings.users),
            ):
                here.draw_prior(draw)
                targets = centred - there.vectors[rows, -1]
                here.draw_vectors(
                    *side.normal_equations(with_ones(there.vectors), targets, noise.of_ratings), draw
                )
            noise.draw(centred - _of_pairs(users.vectors, items.vectors, ratings), draw)
            if sweep < self.burn_in:
                continue
            # What is expected of an item, given the users, is less noisy than a draw.
            self.table += self._said(users.vectors, items.expected)
            precisions.append([kind.precision for side in (users, items) for kind in side.kinds.values()])
            if sweep in to_keep:
                weights = {name: kind.weights() for name, kind in users.kinds.items()}
                precision_of_items = noise.precision * noise.of_items
                self._kept.append(
                    _Sweep(items.vectors, precision_of_items, users.mean, users.precision, weights)
                )
        self.table /= len(counted)
        means = iter(np.mean(precisions, axis=0))
        self.weight_precisions = {
            side: {kind: float(next(means)) for kind in of}
            for side, of in (("users", of_users), ("items", of_items))
        }
        self._anybody = self._expected(np.empty(0, dtype=int), np.empty(0), {}, np.arange(n_items))

    def _features(self, ratings: Rows, by_user: Side, by_item: Side) -> tuple[dict, dict]:
        """Kind -> features of the users, and the same of the items; kinds without any are left out."""
        of_users, of_items = {}, {}
        if self.implicit:
            shares = _shares(by_user, ratings.users)
            self._usual_shares = shares.mean(axis=0)
            of_users[_IMPLICIT] = shares - self._usual_shares
            shares = _shares(by_item, ratings.items)
            of_items[_IMPLICIT] = shares - shares.mean(axis=0)
        if self.attributes:
            of_users[_ATTRIBUTES] = attributes.of_users(self.known.users, self.user_ids)
            of_items[_ATTRIBUTES] = attributes.of_items(self.known.items)
        if self.features != NO_TEXTS:
            self._learn_item_texts()
            of_items[_TEXTS] = self.item_vectors - self.item_vectors.mean(axis=0)
        if self._users_have_texts:
            self._learn_user_texts(ratings)
            # The last one is the mean.
            of_users[_TEXTS] = self.user_vectors[:-1] - self.user_vectors[-1]
        return tuple(
            {kind: x for kind, x in of.items() if np.abs(x).max(initial=0.0) > _NOTHING}
            for of in (of_users, of_items)
        )

    def _said(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Predictions of all pairs from vectors (n_users, d) and (n_items, d), cut to the scale."""
        biases = users[:, -1:] + items[:, -1]
        return np.clip(self.mean + biases + users[:, :-1] @ items[:, :-1].T, *self.known.scale)

    def _predict(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        return np.where(users < 0, self._anybody[items], self.table[users, items])

    def _predict_new(self, profile: Profile, items: np.ndarray) -> np.ndarray:
        rated = self._rated(profile)
        of_profile = {}
        if self.implicit and len(rated.items):
            n = len(rated.items)
            shares = np.zeros(len(self.item_ids))
            shares[rated.items] = n**-0.5
            of_profile[_IMPLICIT] = n / (n + _HALF) * (shares - self._usual_shares)
        if isinstance(profile, Described):
            of_profile[_TEXTS] = profile.vector - self.user_vectors[-1]
        return self._expected(rated.items, rated.values, of_profile, items)

    def _expected(
        self, rated: np.ndarray, values: np.ndarray, of_profile: Mapping[str, np.ndarray], items: np.ndarray
    ) -> np.ndarray:
        """Predictions of items for somebody with these ratings and features, mean over the kept sweeps."""
        total = np.zeros(len(items))
        for sweep in self._kept:
            prior = sweep.mean + sum(
                of_profile[kind] @ weights for kind, weights in sweep.weights.items() if kind in of_profile
            )
            design = with_ones(sweep.items[rated])
            targets = values - self.mean - sweep.items[rated, -1]
            weighted = design * sweep.noise[rated, None]
            right = targets @ weighted + sweep.precision @ prior
            vector = np.linalg.solve(weighted.T @ design + sweep.precision, right)
            total += self._said(vector[None], sweep.items[items])[0]
        return total / len(self._kept)


def _of_pairs(users: np.ndarray, items: np.ndarray, pairs: Rows) -> np.ndarray:
    """Biases plus product of factors of each pair, shape (n,)."""
    here, there = users[pairs.users], items[pairs.items]
    return here[:, -1] + there[:, -1] + (here[:, :-1] * there[:, :-1]).sum(axis=1)


def _shares(side: Side, rows: np.ndarray) -> np.ndarray:
    """Who rated what, 1 / root of the number of the row's ratings for each, shape of the side."""
    counts = np.bincount(rows, minlength=side.shape[0])
    return side.matrix(counts[rows] ** -0.5).toarray()

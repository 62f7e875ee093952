"""A linear blend of rating models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from dualrec_utils.core.errors import StudyError
from dualrec_utils.models.ratings.base import (
    Known,
    Profile,
    RatingModel,
    Rows,
    put_under,
    take_under,
)
from dualrec_utils.models.ratings.bayesian import BayesianFactors
from dualrec_utils.models.ratings.biases import Biases
from dualrec_utils.models.ratings.factors import BiasedMF
from dualrec_utils.models.ratings.neighbours import ItemKNN
from dualrec_utils.models.ratings.svdpp import SVDpp

# Named here, not looked up in the registry: kept results depend on the code that a module imports.
MEMBERS: dict[str, type[RatingModel]] = {
    "biases": Biases,
    "biased_mf": BiasedMF,
    "svdpp": SVDpp,
    "item_knn": ItemKNN,
    "bayesian": BayesianFactors,
}
WEIGHTS = ("ridge", "mean")
# Share of the training ratings on which weights are learnt.
_VALIDATION = 0.1


class Blend(RatingModel):
    """mean + weighted sum of how far the members' predictions lie from it.

    Weights "mean" are all alike. For "ridge" the members are first fitted on nine tenths of the training
    ratings, drawn by the seed; the weights are those of a ridge regression on the rest that is pulled
    towards equal weights. Then the members are fitted anew on all training ratings.

    Attributes:
        member_weights: shape (n_members,), in the order of `members`.
    """

    defaults: ClassVar[dict[str, Any]] = {
        "members": ("svdpp", "item_knn"),  # names of :data:`MEMBERS`
        "weights": "ridge",  # or "mean"
        "penalty": 10.0,  # of squared differences from equal weights
        "member_settings": {},  # name -> settings other than the defaults
    }

    def __init__(self, known: Known, *, seed: int, **settings: Any) -> None:
        super().__init__(known, seed=seed, **settings)
        if not self.members:
            raise StudyError(f"a blend needs members; they can be {', '.join(MEMBERS)}")
        for name in [*self.members, *self.member_settings]:
            if name not in MEMBERS:
                raise StudyError(f"a blend has no member {name!r}; members can be {', '.join(MEMBERS)}")
        if self.weights not in WEIGHTS:
            raise StudyError(f"weights is {self.weights!r}; it can be {', '.join(WEIGHTS)}")
        # Wrong settings of a member fail here, not after the others were fitted.
        self._models = self._built()

    def _built(self) -> list[RatingModel]:
        return [
            MEMBERS[name](self.known, seed=self.seed, **self.member_settings.get(name, {}))
            for name in self.members
        ]

    def _fit(self, ratings: Rows) -> None:
        frame = self._frame(ratings)
        equal = np.full(len(self.members), 1 / len(self.members))
        order = np.random.default_rng(self.seed).permutation(len(frame))
        n_validation = int(_VALIDATION * len(order))
        self.member_weights = equal
        if self.weights == "ridge" and n_validation:
            held_out, kept = frame.iloc[order[:n_validation]], frame.iloc[order[n_validation:]]
            said = np.column_stack([m.fit(kept).predict(held_out) for m in self._built()]) - self.mean
            targets = ratings.values[order[:n_validation]] - self.mean
            self.member_weights = ridge(said, targets, penalty=self.penalty, towards=equal)
        for model in self._models:
            model.fit(frame)

    def _state(self) -> dict[str, np.ndarray]:
        members = zip(self.members, self._models, strict=True)
        parts = {key: a for name, model in members for key, a in put_under(name, model.state()).items()}
        return {"member_weights": self.member_weights, **parts}

    def _restore(self, state: Mapping[str, np.ndarray]) -> None:
        self.member_weights = state["member_weights"]
        for name, model in zip(self.members, self._models, strict=True):
            model.restore(take_under(name, state))

    def _joined(self, predictions: list[np.ndarray]) -> np.ndarray:
        said = np.clip(np.column_stack(predictions), *self.known.scale)
        return self.mean + (said - self.mean) @ self.member_weights

    def _predict(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        # Members were fitted on the same ratings: they number users and items alike.
        return self._joined([model._predict(users, items) for model in self._models])

    def _predict_new(self, profile: Profile, items: np.ndarray) -> np.ndarray:
        return self._joined([model._predict_new(profile, items) for model in self._models])


def ridge(design: np.ndarray, targets: np.ndarray, *, penalty: float, towards: np.ndarray) -> np.ndarray:
    """Weights w of least |design w - targets|² + penalty |w - towards|², shape (n,).

    >>> ridge(np.eye(2), np.array([1.0, 3.0]), penalty=1.0, towards=np.zeros(2))
    array([0.5, 1.5])
    """
    return np.linalg.solve(
        design.T @ design + penalty * np.eye(len(towards)), design.T @ targets + penalty * towards
    )

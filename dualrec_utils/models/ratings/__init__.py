"""Models that predict ratings, one file a model. To add one: write its class, and give it a line in
:data:`REGISTRY` and its settings in `params.yaml`."""

from __future__ import annotations

import importlib

from dualrec_utils.core.errors import StudyError
from dualrec_utils.models.ratings.base import Known, RatingModel

# Name -> where its class is written: imported when it is built, since some bring torch.
REGISTRY: dict[str, str] = {
    "global_mean": "biases.GlobalMean",
    "biases": "biases.Biases",
    "biased_mf": "factors.BiasedMF",
    "svdpp": "svdpp.SVDpp",
    "item_knn": "neighbours.ItemKNN",
    "ncf": "neural.NeuralCF",
    "bayesian": "bayesian.BayesianFactors",
    "blend": "blend.Blend",
    "hybrid_rec": "hybrid_rec.HybridRecModel",
    "cross_attention": "cross_attention.CrossAttention",
}


def model_class(name: str) -> type[RatingModel]:
    """The class of a rating model.

    Raises:
        StudyError: on an unknown name.
    """
    if name not in REGISTRY:
        raise StudyError(f"there is no rating model {name!r}; there are {', '.join(REGISTRY)}")
    module, kind = REGISTRY[name].split(".")
    return getattr(importlib.import_module(f"{__name__}.{module}"), kind)


def build(name: str, known: Known, *, seed: int, **settings: float | str) -> RatingModel:
    """Make an unfitted rating model.

    Args:
        known, seed: as :class:`RatingModel`.
        settings: some of the model's; what is left out keeps its default.

    Raises:
        StudyError: on an unknown name, an unknown setting, or an impossible value.
    """
    return model_class(name)(known, seed=seed, **settings)

"""Predicted stars and reasons, from a rating model that is trained once on the run's ratings."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from dualrec_utils.core import config, files
from dualrec_utils.core.catalog import load_catalog
from dualrec_utils.core.config import ITEM, RATING, TIMESTAMP, USER
from dualrec_utils.core.errors import StudyError
from dualrec_utils.models.ratings import folder
from dualrec_utils.models.ratings.base import NotSupported, Profile
from dualrec_utils.models.ratings.encoder import SentenceEncoder
from dualrec_utils.service import prepared, recommending
from dualrec_utils.service.reasons import Reasons

# Vectors of predictions kept, 4 KB each for 1,000 items.
_KEPT = 4096
_SOMEBODY = 0


def service_dir(dataset: str) -> Path:
    """Folder of what the service makes beside a run: `data/<dataset>/service`."""
    return config.stage_dir(dataset, "service")


def make(dataset: str, *, config_path: Path | None = None) -> Path:
    """Train the rating model of the service, where it is not there or the run has other ratings now.

    It learns from the ratings that the run's sequence models see: those of its catalog and users.

    Args:
        config_path: as :func:`service.training.train`.

    Returns:
        The model's folder; the data that it was trained on lie beside it, in `data`. There is none where
        the run's interactions are not rated.

    Raises:
        StudyError: before stage `data`, and as :func:`service.training.train`.
    """
    sources = [config.processed_dir(dataset) / f"{name}.parquet" for name in ("interactions", "items")]
    catalog = load_catalog(dataset)
    interactions = files.read_parquet_of("data", sources[0])
    if interactions[RATING].isna().all():
        return service_dir(dataset) / "ratings"
    place, stamp = service_dir(dataset), {"sha256": files.sha256_of_all(sources)}
    if files.read_json(place / "of.json", missing={}) != stamp:
        # A start with a trained model does without them.
        from dualrec_utils.datasets import beside
        from dualrec_utils.datasets.folder import Folder
        from dualrec_utils.datasets.known import find
        from dualrec_utils.datasets.thresholds import Thresholds
        from dualrec_utils.service import training

        ratings = interactions[[USER, ITEM, RATING, TIMESTAMP]].astype({RATING: "float64"})
        stars = find(dataset).stars or tuple(ratings[RATING].dropna().unique())
        read = Folder(ratings, catalog.items, beside.no_tags(), beside.no_users(), stars=stars)
        prepared.write(read, place / "data", least=Thresholds(1, 1, 0))
        training.train(place / "data", place / "ratings", config_path=config_path)
        # Written last: what is half done is done again.
        files.write_json(stamp, place / "of.json")
    return place / "ratings"


class Stars:
    """A rating model with its data, asked for people that are known by what they rated.

    Args:
        folder_: of the model, from :func:`make`.
        data_dir: of its data.

    Attributes:
        scale: lowest and highest rating.
        liked: rating that an item counts as which somebody named and did not rate.
        version: of the model.
        name: of the model.

    Raises:
        StudyError: as :func:`models.ratings.folder.read`, and for a model that cannot answer for somebody
            new.
    """

    def __init__(self, folder_: Path, data_dir: Path) -> None:
        self._data = prepared.read(data_dir)
        self._trained = folder.read(folder_, self._data.known, data_sha256=self._data.summary.sha256)
        self._reasons = Reasons(self._data)
        self._encoder = SentenceEncoder()
        self._pairs = pd.DataFrame({USER: _SOMEBODY, ITEM: self._data.items[ITEM]})
        self._predict_kept = functools.lru_cache(_KEPT)(self._predict)
        self._nearest_kept = functools.lru_cache(_KEPT)(self._nearest)
        self.scale = low, high = self._data.known.scale
        # As most people rate what they like. The highest would raise all that is predicted.
        self.liked = low + 0.75 * (high - low)
        self.name, self.version = self._trained.about.model, self._trained.about.weights_sha256[:12]
        try:
            self.of({})
        except NotSupported as error:
            raise StudyError(f"{error}: train another model, such as bayesian") from error

    def of(self, ratings: Mapping[int, float], text: str = "") -> np.ndarray:
        """Predicted ratings of all items.

        Args:
            ratings: item id -> rating, of the person.
            text: what they say of themselves; a model that reads none leaves it aside.

        Returns:
            Shape (n_items,), within the scale, not to be written to.
        """
        return self._predict_kept(tuple(sorted(ratings.items())), text)

    def nearest(self, text: str) -> list[int]:
        """The items whose own texts are nearest to a text, nearest first."""
        return list(self._nearest_kept(text))

    def reasons(
        self, items: Sequence[int], stars: np.ndarray, *, rated: Mapping[int, float], given: bool
    ) -> list[str]:
        """As :meth:`service.reasons.Reasons.of`."""
        return self._reasons.of(items, stars, rated=rated, given=given)

    def similarity(self) -> np.ndarray:
        """Cosine of every two items' texts, shape (n_items, n_items)."""
        vectors = self._trained.item_vectors
        return vectors @ vectors.T

    def forget(self) -> None:
        """Drop all that was kept of anybody."""
        self._predict_kept.cache_clear()
        self._nearest_kept.cache_clear()

    def _predict(self, ratings: tuple[tuple[int, float], ...], text: str) -> np.ndarray:
        profile = Profile(dict(ratings), text if self._trained.model.reads_texts else "")
        stars = self._trained.model.predict(self._pairs, profiles={_SOMEBODY: profile}).astype(np.float32)
        stars.setflags(write=False)
        return stars

    def _nearest(self, text: str) -> tuple[int, ...]:
        vectors = self._trained.item_vectors
        return tuple(recommending.nearest_items(text, self._data, vectors, self._encoder))

"""What the two models that read texts share: vectors of items, of users and of somebody new."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from dualrec_utils.core.config import ITEM, RATING, USER
from dualrec_utils.models.ratings import encoder, texts
from dualrec_utils.models.ratings.base import Known, NotSupported, Profile, RatingModel, Rows
from dualrec_utils.models.ratings.features import TextVectors


@dataclass(frozen=True)
class Described(Profile):
    """A profile with the vector of what its text and its ratings say, shape (384,)."""

    vector: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.float32))


class TextModel(RatingModel):
    """A rating model that reads a text of each item and of each user.

    Args:
        known, seed, settings: as :class:`RatingModel`.
        user_texts: user id -> text, in the place of what the model writes from the training ratings, for
            some users or all. Texts that know other ratings are a leak: only the caller can tell.
        folder: of kept sentence embeddings, as :class:`features.TextVectors`.

    Attributes:
        item_vectors: shape (n_items, 384), float32, once fitted.
        user_vectors: shape (n_users + 1, 384); the last is the users' mean, which stands for anybody: a
            user without training ratings, and one without a text.
    """

    defaults: ClassVar[dict[str, Any]] = {
        "features": "sentence"  # one of :data:`features.KINDS`
    }

    def __init__(
        self,
        known: Known,
        *,
        seed: int,
        user_texts: Mapping[int, str] | None = None,
        folder: Path | None = None,
        **settings: float | str,
    ) -> None:
        super().__init__(known, seed=seed, **settings)
        self._given, self._folder = dict(user_texts or {}), folder

    kept: ClassVar[tuple[str, ...]] = ("item_vectors", "user_vectors")

    @property
    def reads_texts(self) -> bool:
        return True

    def _state(self) -> dict[str, np.ndarray]:
        if self.features != "sentence":
            raise NotSupported(
                f"features is {self.features!r}; of a model that is kept they can be 'sentence': other"
                " features are learnt from texts that would have to be kept as well"
            )
        return super()._state()

    def _restore(self, state: Mapping[str, np.ndarray]) -> None:
        super()._restore(state)
        self._encode_users = encoder.SentenceEncoder()

    @abstractmethod
    def _write(self, ratings: pd.DataFrame, known: Known) -> dict[int, str]:
        """User id -> text, from these ratings and nothing else."""

    def texts_of(self, ratings: pd.DataFrame) -> dict[int, str]:
        """User id -> the text that the model writes of these ratings: `user_texts` of another one.

        Args:
            ratings: as :meth:`fit`. Of ratings that the other model is to predict, the texts are a leak.
        """
        return self._write(ratings, self.known)

    def _item_texts(self) -> list[str]:
        return texts.item_texts(self.known.items)

    def _learn_texts(self, ratings: Rows) -> None:
        """Set the vectors. Users' texts are made from these ratings, a part of the training ones or all."""
        self._learn_item_texts()
        self._learn_user_texts(ratings)

    def _learn_item_texts(self) -> None:
        self._encode_items = self._encoder(self._item_texts())
        self.item_vectors = self._encode_items.known

    def _learn_user_texts(self, ratings: Rows) -> None:
        written = self._write(self._frame(ratings), self.known) | self._given
        of_users = [written.get(user, "") for user in self.user_ids.tolist()]
        self._encode_users = self._encoder(of_users)
        anybody = self._encode_users.known.mean(axis=0, keepdims=True)
        self.user_vectors = np.vstack([_filled(self._encode_users.known, of_users, anybody), anybody])

    def _encoder(self, known: Sequence[str]) -> TextVectors:
        return TextVectors(known, kind=self.features, seed=self.seed, folder=self._folder)

    def _vectors_of_new(self, written: Sequence[str], ratings: pd.DataFrame) -> np.ndarray:
        """Vectors of somebody new.

        Args:
            written: their texts.
            ratings: theirs; `user_id` is the place in `written`.
        """
        return _filled(self._encode_users(written), written, self.user_vectors[-1:])

    def _read(self, profiles: Mapping[int, Profile]) -> dict[int, Described]:
        # An encoder takes a second to load: all profiles at once.
        ratings = pd.DataFrame(
            [
                (number, item, rating)
                for number, profile in enumerate(profiles.values())
                for item, rating in profile.ratings.items()
            ],
            columns=[USER, ITEM, RATING],
        )
        self._rows(ratings, ratings[RATING].to_numpy())  # refuses unknown items
        # Without demographics: where they are known the profile's text says them.
        said = self._write(ratings, Known(self.known.items, tags=self.known.tags)) if len(ratings) else {}
        written = [f"{p.text} {said.get(number, '')}".strip() for number, p in enumerate(profiles.values())]
        vectors = self._vectors_of_new(written, ratings)
        return {
            user: Described(profile.ratings, profile.text, vector)
            for (user, profile), vector in zip(profiles.items(), vectors, strict=True)
        }


def _filled(vectors: np.ndarray, of: Sequence[str], filling: np.ndarray) -> np.ndarray:
    """The vectors, with `filling` where the text is blank."""
    blank = np.array([not text.strip() for text in of], dtype=bool)
    return np.where(blank[:, None], filling, vectors)

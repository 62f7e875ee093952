"""What a finished run left, asked for lists: one source at a time, for one person.

A language model that fails or takes too long is replaced by the LSTM, with a note.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, TimeoutError as TooLate
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from dualrec_utils.core import predictions
from dualrec_utils.core.catalog import Catalog
from dualrec_utils.core.config import CASE, HISTORY, ITEM, RATING, USER
from dualrec_utils.models.hybrids import diversity, fusion
from dualrec_utils.service.online.states import LstmStates
from dualrec_utils.service.web.language import TitleScorer
from dualrec_utils.service.web.schemas import MAX_LIMIT
from dualrec_utils.service.web.stars import Stars

LSTM, LANGUAGE, FUSION, RATINGS = "lstm", "language_model", "fusion", "rating_hybrid"
POPULAR = "popular"
# The best of those that a run may have, first.
_BY_DEFAULT = (FUSION, LSTM, RATINGS, LANGUAGE)
# Seconds that a language model may take before the LSTM answers in its place.
PATIENCE = 5.0
# Answers of the language model kept, by history: 8 KB each for 1,000 items.
_KEPT = 512
# Histories that it reads at once.
_READERS = 2
_log = logging.getLogger("dualrec")


@dataclass(frozen=True)
class Person:
    """Somebody who wants a list.

    Attributes:
        history: item ids, oldest first: what sequence models read.
        ratings: item id -> stars: what the rating model reads.
        seen: items that are not recommended.
        given: whether the person gave these ratings; otherwise they stand for what was named.
        user: id, or None for somebody new.
        text: what somebody new says.
    """

    history: tuple[int, ...] = ()
    ratings: Mapping[int, float] = field(default_factory=dict)
    seen: frozenset[int] = frozenset()
    given: bool = False
    user: int | None = None
    text: str = ""


@dataclass(frozen=True)
class Listed:
    """Attributes: source: what answered; note: why another than was asked; items, scores: best first."""

    source: str
    note: str
    items: list[int]
    scores: list[float]


@dataclass(frozen=True)
class About:
    """Attributes: name, version, description: of what stands behind a source."""

    name: str
    version: str
    description: str


@dataclass(frozen=True)
class Fusion:
    """Attributes: method, weight: chosen on validation users; n_candidates: of the LSTM's items."""

    method: str
    weight: float
    n_candidates: int


class Engines:
    """All sources of a run.

    Args:
        dataset: its name.
        catalog: the items.
        interactions: `user_id`, `item_id`, `rating`, in the order of each user.
        lstm: what is always there.
        language, fused, stars: None where the run lacks them.
        about: source -> what stands behind it, of those that are there.
        missing: source -> why it is not there.
        seed: draws the order of equal scores.
        n_diversified: first items of a list that diversity may choose from.
        patience: seconds that a language model may take.

    Attributes:
        popularity: shape (n_items,): log of the share of all ratings.
    """

    def __init__(
        self,
        *,
        dataset: str,
        catalog: Catalog,
        interactions: pd.DataFrame,
        lstm: LstmStates,
        language: TitleScorer | None,
        fused: Fusion | None,
        stars: Stars | None,
        about: Mapping[str, About],
        missing: Mapping[str, str],
        seed: int,
        n_diversified: int,
        patience: float = PATIENCE,
    ) -> None:
        self.dataset, self.catalog, self.stars = dataset, catalog, stars
        self.about, self.missing = about, missing
        self.lstm = lstm
        self._language, self._fused = language, fused
        self._seed, self._n_diversified, self._patience = seed, n_diversified, patience
        self._known = _by_user(interactions)
        counts = np.bincount(catalog.columns(interactions[ITEM]), minlength=len(catalog))
        self.popularity = np.log((counts + 1) / (counts + 1).sum())
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="language-model")
        self._late: list[Future] = []
        self._best_kept = functools.lru_cache(_KEPT)(self._best_titles)
        self._scored_kept = functools.lru_cache(_KEPT)(self._scored_titles)

    @property
    def sources(self) -> list[str]:
        """Those that are there, the default first."""
        return [source for source in _BY_DEFAULT if source in self.about]

    @property
    def last_known_user(self) -> int:
        """The highest user id of the data."""
        return max(self._known)

    def known(self, user: int) -> tuple[list[int], dict[int, float]] | None:
        """What the data say of a user: items, oldest first, and item id -> rating; None of a stranger."""
        return self._known.get(user)

    def histories(self) -> dict[int, list[int]]:
        """User id -> items of the data, oldest first."""
        return {user: items for user, (items, _) in self._known.items()}

    def recommend(self, person: Person, source: str, *, limit: int, diversity_: float = 0.0) -> Listed:
        """The best items of a source that the person has not seen.

        Args:
            source: one of :attr:`sources`.
            limit: most items, 1 to 50.
            diversity_: 0 (by score alone) to 1.

        Returns:
            The list. Without a history sequence models have nothing to read: popular items, and a note.
        """
        answered, note, scores = self._scores(person, source)
        unseen = np.array(scores, dtype=np.float64)
        unseen[self.catalog.columns(list(person.seen))] = -np.inf
        if diversity_:
            columns = self._diverse(unseen, person, trade_off=diversity_, length=limit)
        else:
            columns = predictions.best(unseen[None], [_name(person)], seed=self._seed, k=limit)[0]
        columns = columns[np.isfinite(unseen[columns])]
        return Listed(answered, note, self.catalog.ids[columns].tolist(), unseen[columns].tolist())

    def predicted(self, person: Person) -> np.ndarray | None:
        """Predicted stars of all items, shape (n_items,); None without a rating model."""
        return None if self.stars is None else self.stars.of(person.ratings, person.text)

    def reasons(self, person: Person, items: Sequence[int], stars: np.ndarray | None) -> list[str]:
        """Why each item is recommended; empty where the data hold no reason.

        Args:
            stars: from :meth:`predicted`.
        """
        if self.stars is None or stars is None or not person.ratings:
            return [""] * len(items)
        theirs = stars[self.catalog.columns(items)]
        return self.stars.reasons(items, theirs, rated=person.ratings, given=person.given)

    def forget(self, user: int) -> None:
        """Drop what is kept in memory of a user; kept answers bear no names, so that all of them go."""
        self.lstm.forget(user)
        self._best_kept.cache_clear()
        self._scored_kept.cache_clear()
        if self.stars is not None:
            self.stars.forget()

    def _scores(self, person: Person, source: str) -> tuple[str, str, np.ndarray]:
        """What answered, a note, and scores of all items: minus infinity where there is none."""
        if source == RATINGS and (stars := self.predicted(person)) is not None:
            return source, "", stars
        if not person.history:
            return (
                POPULAR,
                "Nothing is known of you yet: these are the items that most people rated.",
                self.popularity,
            )
        log_probabilities = self.lstm.scores(person.user, person.history)
        if source == LSTM:
            return source, "", log_probabilities
        try:
            return source, "", self._with_language(person, source, log_probabilities)
        except TooLate:
            return LSTM, "The language model took too long: this is the LSTM's list.", log_probabilities
        # Every architecture and memory fails in its own way, and there is a list without it.
        except Exception:  # noqa: BLE001
            _log.exception("the language model failed")
            return LSTM, "The language model failed: this is the LSTM's list.", log_probabilities

    def _with_language(self, person: Person, source: str, log_probabilities: np.ndarray) -> np.ndarray:
        seen = tuple(sorted(person.seen))
        if source == LANGUAGE:
            return self._in_time(self._best_kept, person.history, seen)
        assert self._fused is not None, "a source that is there"
        case = _case(person)
        lstm = log_probabilities[None].astype(np.float64)
        unseen = lstm.copy()
        unseen[0, self.catalog.columns(seen)] = -np.inf
        most = self._fused.n_candidates
        candidates = predictions.best(unseen, case[CASE], seed=self._seed, k=most)[0]
        candidates = candidates[np.isfinite(unseen[0, candidates])]
        if not len(candidates):
            return unseen[0]
        ids = tuple(self.catalog.ids[np.sort(candidates)].tolist())
        titles = self._in_time(self._scored_kept, person.history, ids)
        other = np.where(np.isfinite(titles), titles, np.nan)[None]
        sides = fusion.align(lstm, other, case, self.catalog, seed=self._seed, n_candidates=most)
        return fusion.combine(*sides, weight=self._fused.weight, method=self._fused.method)[0]

    def _in_time(self, work: Callable[..., np.ndarray], *arguments: Any) -> np.ndarray:
        """What a thread of the language model answers; TimeoutError after the patience."""
        self._late = [answer for answer in self._late if not answer.done()]
        if len(self._late) >= _READERS:
            # Nobody waits for threads that are all stuck.
            raise TooLate
        answer = self._readers.submit(work, *arguments)
        try:
            return answer.result(self._patience)
        except TooLate:
            # One that has not begun need not begin.
            if not answer.cancel():
                self._late = [*self._late, answer]
            raise

    def _best_titles(self, history: tuple[int, ...], seen: tuple[int, ...]) -> np.ndarray:
        assert self._language is not None, "a source that is there"
        # As many as any list has: a longer one later is then there already.
        return self._language.best(history, excluded=seen, k=MAX_LIMIT)

    def _scored_titles(self, history: tuple[int, ...], candidates: tuple[int, ...]) -> np.ndarray:
        assert self._language is not None, "a source that is there"
        return self._language.score(history, candidates)

    def _diverse(self, scores: np.ndarray, person: Person, *, trade_off: float, length: int) -> np.ndarray:
        """Columns of the list that maximal marginal relevance makes of the first items by score."""
        case = _case(person)
        lists = predictions.from_scores(scores[None], case, self.catalog.ids, seed=self._seed)
        if lists.empty:
            return np.empty(0, dtype=int)
        chosen = diversity.diversify(
            lists,
            case,
            self.catalog,
            reranker="mmr",
            trade_off=trade_off,
            similarity=self._similarity,
            n_candidates=min(self._n_diversified, len(lists)),
            length=length,
        )
        return self.catalog.columns(chosen[ITEM].to_numpy()[:length])

    @functools.cached_property
    def _similarity(self) -> np.ndarray:
        """Of every two items: their texts', where a rating model came with them, else their genres'."""
        if self.stars is not None:
            return self.stars.similarity()
        return diversity.genre_similarity(self.catalog)


def _name(person: Person) -> str:
    # Users' ids begin at 1.
    return str(person.user or 0)


def _case(person: Person) -> pd.DataFrame:
    """A person as one case of the study; what they have seen is its history, which lists leave out."""
    return pd.DataFrame({CASE: [_name(person)], HISTORY: [sorted(person.seen)]})


def _by_user(interactions: pd.DataFrame) -> dict[int, tuple[list[int], dict[int, float]]]:
    known = {}
    for user, theirs in interactions.groupby(USER, sort=False):
        items = theirs[ITEM].tolist()
        known[int(user)] = items, dict(zip(items, theirs[RATING].astype(float).tolist(), strict=True))
    return known

"""What the API answers, without HTTP: histories from the data and the log, lists from the engines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from dualrec_utils.core.config import TITLE, YEAR
from dualrec_utils.core.errors import StudyError
from dualrec_utils.service.online import events
from dualrec_utils.service.online.events import EventLog
from dualrec_utils.service.web import schemas
from dualrec_utils.service.web.engines import Engines, Person
from dualrec_utils.service.web.search import Titles
from dualrec_utils.service.web.stars import Stars

# Of a profile.
_N_TOP = 5


class NotFound(StudyError):
    """Something that the request names is not here. Attribute: field: which value names it."""

    def __init__(self, message: str, *, field: str) -> None:
        super().__init__(message)
        self.field = field


class Answering:
    """The service itself; threads may share it.

    Args:
        engines: of the run.
        log: of the users' events.
        forget: user id: deletes what else was kept of a user, once the log has forgotten them.
        runs: served by the same command, each as :class:`schemas.RunOut`.
    """

    def __init__(
        self,
        engines: Engines,
        log: EventLog,
        forget: Callable[[int], None] | None = None,
        runs: Sequence[dict] = (),
    ) -> None:
        self.engines, self.log, self._forget = engines, log, forget
        self._runs = [schemas.RunOut(**run) for run in runs]
        catalog = engines.catalog
        years = catalog.items[YEAR].astype(object).where(catalog.items[YEAR].notna(), None)
        columns = zip(catalog.ids.tolist(), catalog.items[TITLE], years, strict=True)
        self._items = {
            item: {"item_id": item, "title": title, "year": year, "genres": list(catalog.categories[item])}
            for item, title, year in columns
        }
        self._titles = Titles(catalog, engines.popularity)

    def recommendations(
        self, user: int, *, source: str | None, limit: int, diversity: float
    ) -> schemas.UserRecommendations:
        """Profile and list of a user of the data or the log.

        Args:
            source: None: the default one.

        Raises:
            NotFound: for an unknown user, or a source that this run lacks.
        """
        person = self.person(user)
        answer = self._answer(person, self._source(source, "model"), limit, diversity)
        return schemas.UserRecommendations(**answer, **self._profile(person))

    def recommend(self, newcomer: schemas.NewcomerIn) -> schemas.NewcomerOut:
        """Lists for somebody new.

        Raises:
            NotFound: for an unknown item, or a source that this run lacks.
        """
        wanted: Sequence[str | None] = newcomer.models or [None]
        sources = [self._source(source, "models") for source in wanted]
        typed = [(title, self._titles.find(title)) for title in newcomer.titles]
        items = [self._known_item(item, "items") for item in newcomer.items]
        named = list(dict.fromkeys([*items, *(item for _, item in typed if item is not None)]))
        nearest = self._from_text(newcomer.text)
        person = self._newcomer(named, nearest, newcomer.text)
        return schemas.NewcomerOut(
            history=self._shown(named),
            from_text=self._shown(nearest),
            unknown_titles=[title for title, item in typed if item is None],
            answers=[
                self._answer(person, source, newcomer.limit, newcomer.diversity) for source in sources
            ],
        )

    def predict(self, question: schemas.PredictIn) -> schemas.PredictOut:
        """The stars that somebody would give an item.

        Raises:
            NotFound: for an unknown user or item, or without a rating model.
        """
        item = self._known_item(question.item_id, "item_id")
        rating_model = self._rating_model("item_id")
        person = Person() if question.user_id is None else self.person(question.user_id)
        if nearest := self._from_text(question.text):
            liked = dict.fromkeys(nearest, rating_model.liked)
            person = Person(ratings=liked | dict(person.ratings), given=False, text=question.text)
        stars = rating_model.of(person.ratings, person.text)
        (why,) = self.engines.reasons(person, [item], stars)
        rating = float(stars[self.engines.catalog.columns([item])[0]])
        return schemas.PredictOut(item=self._items[item], rating=rating, explanation=why)

    def event(self, event_in: schemas.SawIn | schemas.RatedIn) -> tuple[schemas.EventOut, bool]:
        """Log an event; returns it, and whether it is new.

        Raises:
            NotFound: for an unknown user or item.
            events.Conflict: when another event has this id.
        """
        self._check_user(event_in.user_id)
        item = self._known_item(event_in.item_id, "item_id")
        rating = getattr(event_in, "rating", None)
        event, fresh = self.log.append(
            event_in.user_id, item, event_in.kind, rating=rating, event_id=event_in.event_id
        )
        logged = schemas.EventOut(
            event_id=event.event_id,
            user_id=event.user,
            item_id=event.item,
            kind=event.kind,
            rating=event.rating,
            sequence=event.sequence,
        )
        return logged, fresh

    def search(self, query: str, *, limit: int) -> list[schemas.ItemOut]:
        """Items by title as people type it."""
        return self._shown(self._titles.search(query, limit=limit))

    def named(self, wanted: schemas.NamedIn) -> list[schemas.ItemOut | None]:
        """The item of each whole title, None where none has it."""
        items = [self._titles.named(title) for title in wanted.titles]
        return [None if item is None else schemas.ItemOut(**self._items[item]) for item in items]

    def models(self) -> schemas.Models:
        """What answers here."""
        sources = self.engines.sources
        of_each = [
            schemas.ModelOut(source=source, **vars(self.engines.about[source])) for source in sources
        ]
        return schemas.Models(
            dataset=self.engines.dataset,
            item_word=self.engines.catalog.domain.item,
            models=of_each,
            missing=dict(self.engines.missing),
            default=sources[0],
            runs=self._runs,
        )

    def new_user(self) -> schemas.UserOut:
        """A user without history."""
        return schemas.UserOut(user_id=self.log.new_user())

    def forget(self, user: int) -> schemas.UserOut:
        """Delete all that was logged of a user and came from it; what the data set says of them stays.

        Raises:
            NotFound: for an unknown user.
        """
        self._check_user(user)
        self.log.forget(user)
        if self._forget is not None:
            self._forget(user)
        self.engines.forget(user)
        return schemas.UserOut(user_id=user)

    def person(self, user: int) -> Person:
        """A user with all that the data and the log say.

        Raises:
            NotFound: for an unknown user.
        """
        logged = self.log.of_user(user)
        known = self.engines.known(user)
        if known is None and not logged:
            self._check_user(user)
        items, rated = known or ([], {})
        history = tuple(events.history(items, logged))
        ratings = events.ratings(rated, logged) if logged else rated
        return self._with_stars(history, ratings, user)

    def _with_stars(self, history: tuple[int, ...], ratings: dict[int, float], user: int) -> Person:
        stars = self.engines.stars
        if stars is not None and ratings:
            low, high = stars.scale
            ratings = {item: min(max(value, low), high) for item, value in ratings.items()}
        given = bool(ratings)
        if stars is not None and not given:
            # Who only says what they saw, is taken to have liked it.
            ratings = dict.fromkeys(history, stars.liked)
        return Person(history, ratings, frozenset(history), given, user)

    def _newcomer(self, named: list[int], nearest: list[int], text: str) -> Person:
        # What is nearest to the text comes last, but before what was named.
        history = tuple(dict.fromkeys([*(item for item in nearest[::-1] if item not in named), *named]))
        stars = self.engines.stars
        ratings = {} if stars is None else dict.fromkeys(history, stars.liked)
        return Person(history, ratings, frozenset(named), text=text)

    def _from_text(self, text: str) -> list[int]:
        if not text.strip():
            return []
        return self._rating_model("text").nearest(text)

    def _rating_model(self, field: str) -> Stars:
        self._source("rating_hybrid", field)
        assert self.engines.stars is not None, "a source that is there"
        return self.engines.stars

    def _check_user(self, user: int) -> None:
        if self.engines.known(user) is None and user not in self.log.users():
            raise NotFound(f"There is no user {user}.", field="user_id")

    def _known_item(self, item: int, field: str) -> int:
        if item not in self._items:
            raise NotFound(f"There is no item {item}.", field=field)
        return item

    def _source(self, source: str | None, field: str) -> str:
        if source is None:
            return self.engines.sources[0]
        if source not in self.engines.about:
            raise NotFound(
                f"This server has no {source}: {self.engines.missing.get(source, '')}", field=field
            )
        return source

    def _answer(self, person: Person, source: str, limit: int, diversity: float) -> dict:
        listed = self.engines.recommend(person, source, limit=limit, diversity_=diversity)
        stars = self.engines.predicted(person)
        reasons = self.engines.reasons(person, listed.items, stars)
        columns = self.engines.catalog.columns(listed.items)
        predicted = [None] * len(columns) if stars is None else stars[columns].tolist()
        rows = zip(listed.items, listed.scores, predicted, reasons, strict=True)
        return {
            "source": listed.source,
            "note": listed.note,
            "recommendations": [
                {
                    **self._items[item],
                    "rank": rank,
                    "score": score,
                    "source": listed.source,
                    "stars": value,
                    "explanation": why,
                }
                for rank, (item, score, value, why) in enumerate(rows, start=1)
            ],
        }

    def _profile(self, person: Person) -> dict:
        rated = person.ratings if person.given else {}
        mean = sum(rated.values()) / len(rated) if rated else None
        genres = Counter(genre for item in person.history for genre in self._items[item]["genres"])
        newest = [item for item in reversed(person.history) if item in rated]
        # Neither is anything that somebody rated in the lower half of the scale.
        low, high = self.engines.stars.scale if self.engines.stars else (0.0, 0.0)
        good = [item for item in newest if rated[item] >= (low + high) / 2]
        favourites = [item for item in good if mean is not None and rated[item] >= mean]
        top = sorted(good, key=lambda item: -rated[item])
        return {
            "profile": {
                "user_id": person.user,
                "n_items": len(person.history),
                "mean_rating": mean,
                "genres": {genre: n / len(person.history) for genre, n in genres.most_common()},
            },
            "top_rated": [{**self._items[item], "rating": rated[item]} for item in top[:_N_TOP]],
            "recent_favourites": [
                {**self._items[item], "rating": rated[item]} for item in favourites[:_N_TOP]
            ],
        }

    def _shown(self, items: Sequence[int]) -> list[schemas.ItemOut]:
        return [schemas.ItemOut(**self._items[item]) for item in items]

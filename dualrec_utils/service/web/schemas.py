"""What the API takes and gives: `/api/v1`, JSON both ways, errors as problem details (RFC 9457)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

# What answers; a server has those of its data set and profile, see `GET /models`.
Source = Literal["lstm", "language_model", "fusion", "rating_hybrid"]
# Popular items stand in for somebody of whom nothing is known.
Answering = Literal[Source, "popular"]
MAX_HISTORY, MAX_TITLES, MAX_LIMIT, MAX_TEXT, MAX_QUERY = 500, 100, 50, 2_000, 100
MAX_WHOLE_TITLE = 300


def _whole(value: object) -> object:
    """To JSON, 5.0 is a whole number."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Item = Annotated[int, Field(ge=1, le=2**31 - 1, description="An item's id."), BeforeValidator(_whole)]
User = Annotated[int, Field(ge=1, le=2**31 - 1, description="A user's id."), BeforeValidator(_whole)]
# Finite: JSON as Python reads it has NaN and Infinity.
Rating = Annotated[
    float,
    Field(
        ge=0.5,
        le=5,
        allow_inf_nan=False,
        description="Stars; outside the scale of the data they count as its end.",
    ),
]
Limit = Annotated[int, Field(ge=1, le=MAX_LIMIT, description="Items wanted."), BeforeValidator(_whole)]
Diversity = Annotated[
    float, Field(ge=0, le=1, description="0: by score alone; 1: as different from each other as can be.")
]
Text = Annotated[
    str,
    StringConstraints(max_length=MAX_TEXT),
    Field(
        description="What somebody likes, in plain words, of which about the first 190 are read. The items"
        " whose own texts are nearest stand for it: a dislike is read as a liking."
    ),
]
Title = Annotated[str, StringConstraints(min_length=1, max_length=MAX_QUERY)]
WholeTitle = Annotated[str, StringConstraints(min_length=1, max_length=MAX_WHOLE_TITLE)]
EventId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")]


class Strict(BaseModel):
    """A body: an unknown field is an error, no value is converted from another kind."""

    model_config = ConfigDict(extra="forbid", strict=True)


def _examples(*bodies: dict) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": list(bodies)})


class ItemOut(BaseModel):
    item_id: Item
    title: str
    year: int | None
    genres: list[str]


class RatedItem(ItemOut):
    rating: Rating


class Recommendation(ItemOut):
    rank: int
    score: float = Field(
        description="Higher is better; comparable within one list. LSTM and language model:"
        " log-probability; fusion: as `GET /models` says; rating hybrid: stars."
    )
    source: Answering
    stars: float | None = Field(description="Predicted rating; null where no rating model is loaded.")
    explanation: str = Field(description="Why; empty where the data hold no reason.")


class Answer(BaseModel):
    """A list from one source."""

    source: Answering = Field(
        description="What answered: another than was asked for where `note` says why."
    )
    note: str = Field(default="", description="Empty, or why another source answered.")
    recommendations: list[Recommendation]


class Profile(BaseModel):
    user_id: User
    n_items: int
    mean_rating: float | None
    genres: dict[str, float] = Field(description="Share of the history's items that have each genre.")


class UserRecommendations(Answer):
    """`GET /recommendations/{user_id}?limit=5&model=fusion&diversity=0`."""

    profile: Profile
    top_rated: list[RatedItem] = Field(description="Five at most, none from the lower half of the scale.")
    recent_favourites: list[RatedItem] = Field(
        description="The newest five that the user rated at least as well as on average."
    )


class NewcomerIn(Strict):
    """`POST /recommend`: somebody new says what they like, in words, by items in order, or both."""

    model_config = _examples(
        {"titles": ["Toy Story", "star wars"], "limit": 5},
        {"text": "Slow films about the sea.", "items": [50], "models": ["lstm", "fusion"]},
    )

    text: Text = ""
    items: list[Item] = Field(default=[], max_length=MAX_HISTORY, description="Oldest first.")
    titles: list[Title] = Field(
        default=[],
        max_length=MAX_TITLES,
        description="As typed, oldest first; they come after `items`. A letter"
        " or two may be wrong, a number may not.",
    )
    models: list[Source] = Field(
        default=[], max_length=4, description="One list for each; none: the default of `GET /models`."
    )
    limit: Limit = 5
    diversity: Diversity = 0.0


class NewcomerOut(BaseModel):
    """One list for each model asked for, in that order."""

    history: list[ItemOut] = Field(description="What was named; it is not recommended.")
    from_text: list[ItemOut] = Field(description="The items nearest to the text, which stand for it.")
    unknown_titles: list[str] = Field(description="Titles that no item has.")
    answers: list[Answer]


class NamedIn(Strict):
    """`POST /items`: whole titles, with the year where there is one, as another data set has them."""

    model_config = _examples({"titles": ["Toy Story (1995)", "No Such Film (2001)"]})

    titles: list[WholeTitle] = Field(max_length=MAX_HISTORY)


class PredictIn(Strict):
    """`POST /predict`: a user, a text or both, and an item; of nobody it is what anybody would give."""

    model_config = _examples({"user_id": 1, "item_id": 50}, {"text": "I love westerns.", "item_id": 50})

    user_id: User | None = None
    text: Text = ""
    item_id: Item


class PredictOut(BaseModel):
    item: ItemOut
    rating: Rating
    explanation: str


class SawIn(Strict):
    """A user saw an item, or wants it out of the history.

    `removed` undoes: the item may be recommended again. Events take effect in the order in which they
    arrive.
    """

    event_id: EventId
    user_id: User
    item_id: Item
    kind: Literal["saw", "removed"]


class RatedIn(Strict):
    """A user rated an item; the newest rating counts, also after a later `saw`."""

    event_id: EventId
    user_id: User
    item_id: Item
    kind: Literal["rated"]
    rating: Rating


# `POST /events`. The client names the event: the same again gets the first answer, and is no second event.
EventIn = Annotated[
    SawIn | RatedIn,
    Field(
        discriminator="kind",
        examples=[
            {"event_id": "a1", "user_id": 1, "item_id": 50, "kind": "saw"},
            {"event_id": "a2", "user_id": 1, "item_id": 50, "kind": "rated", "rating": 4},
        ],
    ),
]


class EventOut(BaseModel):
    event_id: str
    user_id: User
    item_id: Item
    kind: Literal["saw", "rated", "removed"]
    rating: Rating | None
    sequence: int = Field(description="Place in the log, from 1.")


class UserOut(BaseModel):
    """`POST /users` makes a user without history; `DELETE /users/{user_id}/events` forgets events."""

    user_id: User


class ModelOut(BaseModel):
    source: Source
    name: str = Field(description="Such as movielm.")
    version: str
    description: str


class RunOut(BaseModel):
    """A run that the same command serves, at a port of its own on the same host."""

    dataset: str
    profile: str = Field(description="`default`, or the name of the run's folder.")
    port: int = Field(ge=1, le=65535)
    here: bool = Field(description="Whether it is the one that answers.")


class Models(BaseModel):
    """`GET /models`."""

    dataset: str
    item_word: str = Field(description="What an item is called, such as movie.")
    models: list[ModelOut]
    missing: dict[Source, str] = Field(description="What this server lacks, and why.")
    default: Source
    runs: list[RunOut] = Field(
        description="Of this command; more than one where data sets can be switched."
    )


class Problem(BaseModel):
    """An error, `application/problem+json`."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    field: str | None = Field(default=None, description="Which value of the request is wrong.")

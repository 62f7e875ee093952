"""What the API takes and gives: `/api/v1`, JSON both ways, errors as problem details (RFC 9457)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

# What answers; a server has those of its data set and profile, see `GET /models`.
Source = Literal["lstm", "language_model", "fusion", "rating_hybrid"]
Kind = Literal["saw", "rated", "removed"]
MAX_HISTORY, MAX_LIMIT, MAX_TEXT, MAX_QUERY = 500, 50, 2_000, 100

Item = Annotated[int, Field(ge=1, le=2**31 - 1, description="An item's id.")]
User = Annotated[int, Field(ge=1, le=2**31 - 1, description="A user's id.")]
Rating = Annotated[float, Field(ge=0.5, le=5, description="Stars, on the scale of the data.")]
Limit = Annotated[int, Field(ge=1, le=MAX_LIMIT, description="Items wanted.")]
Diversity = Annotated[
    float, Field(ge=0, le=1, description="0: by score alone; 1: as different from each other as can be.")
]
Text = Annotated[str, StringConstraints(min_length=1, max_length=MAX_TEXT, strip_whitespace=True)]


class Strict(BaseModel):
    """A body: an unknown field is an error, no value is converted from another kind."""

    model_config = ConfigDict(extra="forbid", strict=True)


class ItemOut(BaseModel):
    item_id: Item
    title: str
    year: int | None
    genres: list[str]


class RatedItem(ItemOut):
    rating: Rating


class Recommendation(ItemOut):
    rank: int
    score: float = Field(description="Of the source: log-probability, or stars; higher is better.")
    source: Source
    stars: float | None = Field(description="Predicted rating; null where no rating model is loaded.")
    explanation: str = Field(description="Why; empty where the data hold no reason.")


class Answer(BaseModel):
    """A list from one source."""

    source: Source = Field(description="What answered: another than was asked for where `note` says why.")
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
    top_rated: list[RatedItem]
    recent_favourites: list[RatedItem]


class NewcomerIn(Strict):
    """`POST /recommend`: somebody new says what they like, in words, by items in order, or both."""

    text: Text | None = None
    items: list[Item] = Field(default=[], max_length=MAX_HISTORY, description="Oldest first.")
    titles: list[Text] = Field(default=[], max_length=MAX_HISTORY, description="As typed, oldest first.")
    models: list[Source] = Field(default=["fusion"], min_length=1, max_length=4)
    limit: Limit = 5
    diversity: Diversity = 0.0


class NewcomerOut(BaseModel):
    """One list for each model asked for, in that order."""

    history: list[ItemOut]
    unknown_titles: list[str] = Field(description="Titles that no item has.")
    answers: list[Answer]


class PredictIn(Strict):
    """`POST /predict`: a user and an item, or a text and an item."""

    user_id: User | None = None
    text: Text | None = None
    item_id: Item


class PredictOut(BaseModel):
    item: ItemOut
    rating: Rating
    explanation: str


class EventIn(Strict):
    """`POST /events`. The client names the event: the same name again gets the first answer, and no event."""

    event_id: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
    user_id: User
    item_id: Item
    kind: Kind
    rating: Rating | None = Field(default=None, description="Of kind `rated`, and of no other.")


class EventOut(BaseModel):
    event_id: str
    user_id: User
    item_id: Item
    kind: Kind
    rating: Rating | None
    sequence: int = Field(description="Place in the log, from 1.")


class UserOut(BaseModel):
    """`POST /users` makes a user without history; `DELETE /users/{user_id}/events` forgets what was logged."""

    user_id: User


class ModelOut(BaseModel):
    source: Source
    name: str = Field(description="Such as movielm.")
    version: str
    description: str


class Models(BaseModel):
    """`GET /models`."""

    dataset: str
    item_word: str = Field(description="What an item is called, such as film.")
    models: list[ModelOut]
    default: Source


class Problem(BaseModel):
    """An error, `application/problem+json`."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    field: str | None = Field(default=None, description="Which value of the request is wrong.")

"""The API over HTTP: addresses, who may ask for whom, and errors as problem details (RFC 9457)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Path as InPath, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException

from dualrec_utils.core.errors import StudyError
from dualrec_utils.service.online.events import KINDS, Conflict, EventLog
from dualrec_utils.service.web import schemas
from dualrec_utils.service.web.answering import Answering, NotFound
from dualrec_utils.service.web.counters import Counters
from dualrec_utils.service.web.engines import Engines
from dualrec_utils.service.web.security import ADMIN, Access, Guard

PREFIX = "/api/v1"
# The seed's addresses, without a version.
_UNVERSIONED = "/api"
_OPENAPI = f"{PREFIX}/openapi.json"
PAGE = Path(__file__).parent / "page"
_log = logging.getLogger("dualrec")

_PLAIN = {
    404: f"There is nothing at this address; {_OPENAPI} lists what there is.",
    405: f"This address knows other methods, which the header Allow names; {_OPENAPI} describes them.",
}
_PROBLEMS = {
    400: "The request is not to be understood.",
    401: "A token is needed and missing or wrong.",
    403: "Sent by another site's page, or the administrator's alone.",
    404: "An unknown user, item or model; in token mode also another's id.",
    409: "The event's id is that of another event.",
    413: "The body is too long.",
    415: "The body is no application/json.",
    421: "The Host header names another server.",
    422: "A value is wrong; `field` says which.",
    429: "Too many requests; the header Retry-After says for how many seconds to wait.",
    500: "The server failed; its log says why.",
    503: "The server cannot read or write its log of events.",
}


def _documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    content = {"application/problem+json": {"schema": schemas.Problem.model_json_schema()}}
    return {status: {"description": _PROBLEMS[status], "content": content} for status in statuses}


def problem(
    status: int, detail: str, *, field: str | None = None, headers: Mapping[str, str] | None = None
) -> Response:
    """An error as its answer."""
    body = schemas.Problem(title=HTTPStatus(status).phrase, status=status, detail=detail, field=field)
    return JSONResponse(body.model_dump(), status, headers=headers, media_type="application/problem+json")


async def _answering(request: Request) -> Answering:
    return request.app.state.answering


async def _who(request: Request) -> int | str:
    return request.state.who


Service = Annotated[Answering, Depends(_answering)]
Who = Annotated[int | str, Depends(_who)]
Limit = Annotated[schemas.Limit, Query()]
Diversity = Annotated[schemas.Diversity, Query()]
UserInPath = Annotated[schemas.User, InPath(examples=[1])]

_router = APIRouter(responses=_documented(400, 401, 421, 422, 429, 500, 503))
_writing = _documented(403, 413, 415)


def _theirs(user: int | None, who: int | str) -> None:
    """Another's id is as unknown as one that nobody has."""
    if user is not None and who not in (ADMIN, user):
        raise NotFound(f"There is no user {user}.", field="user_id")


@_router.get("/recommendations/{user_id}", responses=_documented(404))
def get_recommendations(
    request: Request,
    service: Service,
    who: Who,
    user_id: UserInPath,
    limit: Limit = 5,
    model: Annotated[schemas.Source | None, Query(description="The default is in /models.")] = None,
    diversity: Diversity = 0.0,
) -> schemas.UserRecommendations:
    """Profile, top rated and recent favourites of a user, and what they are recommended."""
    _theirs(user_id, who)
    reply = service.recommendations(user_id, source=model, limit=limit, diversity=diversity)
    request.state.model = reply.source
    return reply


@_router.post("/recommend", responses=_documented(404) | _writing)
def post_recommend(request: Request, service: Service, newcomer: schemas.NewcomerIn) -> schemas.NewcomerOut:
    """Lists for somebody new, who says what they like in words, by items or titles in order, or both."""
    reply = service.recommend(newcomer)
    request.state.model = "+".join(dict.fromkeys(answer.source for answer in reply.answers))
    return reply


@_router.get("/predict", responses=_documented(404))
def get_predict(
    service: Service,
    who: Who,
    item_id: Annotated[schemas.Item, Query(examples=[50])],
    user_id: Annotated[schemas.User | None, Query(examples=[1])] = None,
    text: Annotated[schemas.Text, Query(examples=["I love westerns."])] = "",
) -> schemas.PredictOut:
    """The stars that a user, or somebody new who says something of themselves, would give an item."""
    _theirs(user_id, who)
    return service.predict(schemas.PredictIn(user_id=user_id, text=text, item_id=item_id))


@_router.post("/predict", responses=_documented(404) | _writing)
def post_predict(service: Service, who: Who, question: schemas.PredictIn) -> schemas.PredictOut:
    """The same, with a text that is in no address and so in no log of addresses."""
    _theirs(question.user_id, who)
    return service.predict(question)


@_router.post(
    "/events",
    status_code=201,
    responses=_documented(404, 409)
    | _writing
    | {200: {"model": schemas.EventOut, "description": "The same event was logged before; this is it."}},
)
def post_events(
    service: Service, who: Who, event_in: schemas.EventIn, response: Response
) -> schemas.EventOut:
    """A user saw, rated or removed an item. What is answered is on disk."""
    _theirs(event_in.user_id, who)
    event, fresh = service.event(event_in)
    if not fresh:
        response.status_code = 200
    return event


@_router.get("/items")
def get_items(
    service: Service,
    q: Annotated[str, Query(min_length=1, max_length=schemas.MAX_QUERY, examples=["godfather"])],
    limit: Limit = 10,
) -> list[schemas.ItemOut]:
    """Items by title as people type it, likeliest first."""
    return service.search(q, limit=limit)


@_router.post("/items", responses=_writing)
def post_items(service: Service, wanted: schemas.NamedIn) -> list[schemas.ItemOut | None]:
    """The items of whole titles, in their order; null where no item has exactly that title and year."""
    return service.named(wanted)


@_router.get("/models")
def get_models(service: Service) -> schemas.Models:
    """What answers here, and which other runs can be asked."""
    return service.models()


@_router.post("/users", status_code=201, responses=_writing)
def post_users(service: Service, who: Who) -> schemas.UserOut:
    """A new user without history; in token mode the administrator makes them."""
    if who != ADMIN:
        raise HTTPException(403, "Only the administrator makes users.")
    return service.new_user()


@_router.delete("/users/{user_id}/events", responses=_documented(403, 404, 413))
def delete_events(service: Service, who: Who, user_id: UserInPath) -> schemas.UserOut:
    """Delete all that was logged of a user, everywhere; what the data set says of them stays."""
    _theirs(user_id, who)
    return service.forget(user_id)


_beside = APIRouter(responses=_documented(401, 421, 429, 500))


@_beside.head("/health", include_in_schema=False)
@_beside.get("/health", responses=_documented(503))
def get_health(service: Service) -> dict[str, str]:
    """Whether the server can answer."""
    service.log.last_sequence()
    return {"status": "ok"}


@_beside.get("/metrics", response_class=PlainTextResponse, responses=_documented(403))
def get_metrics(request: Request, who: Who) -> Response:
    """Counters for Prometheus; in token mode the administrator's alone."""
    if who != ADMIN:
        raise HTTPException(403, "Only the administrator sees the counters.")
    return Response(request.app.state.counters.text(), media_type=CONTENT_TYPE_LATEST)


def create_app(
    engines: Engines,
    log: EventLog,
    *,
    access: Access | None = None,
    forget: Callable[[int], None] | None = None,
    runs: Sequence[dict[str, Any]] = (),
    page: Path | None = PAGE,
) -> FastAPI:
    """The service as an ASGI application.

    Args:
        engines: of a run.
        log: of events.
        access: the rules; default: loopback, one trusted user.
        forget, runs: as :class:`Answering`.
        page: folder of the page, served at `/`; None: no page.
    """
    # Swagger's page loads its scripts from another site: there is openapi.json alone.
    app = FastAPI(
        title="DUALRec",
        version="1",
        description="Recommendations of a study's own models. Errors are problem details (RFC 9457).",
        openapi_url=_OPENAPI,
        docs_url=None,
        redoc_url=None,
    )
    answering = Answering(engines, log, forget, runs)
    app.state.answering, app.state.counters = answering, Counters(log.last_sequence)
    app.include_router(_router, prefix=PREFIX)
    app.include_router(_router, prefix=_UNVERSIONED, include_in_schema=False)
    app.include_router(_beside)
    if page is not None and page.is_dir():
        # File by file: a folder at "/" would answer 404 where another method is right.
        for path in sorted(page.iterdir()):
            place = "/" if path.name == "index.html" else f"/{path.name}"
            app.add_api_route(place, _file(path), methods=["GET", "HEAD"], include_in_schema=False)
    for kind, handler in _HANDLERS.items():
        app.add_exception_handler(kind, handler)
    app.add_middleware(
        Guard,
        access=access or Access(),
        refused=problem,
        guarded=_needs_token,
        done=app.state.counters.done,
    )
    return app


def _file(path: Path) -> Callable[[], FileResponse]:
    def answer() -> FileResponse:
        return FileResponse(path)

    return answer


def _needs_token(path: str) -> bool:
    """The page and the description of the API hold nothing of anybody."""
    return path.startswith(("/api/", "/metrics")) and path != _OPENAPI


async def _http_error(_: Request, error: HTTPException) -> Response:
    # Starlette's own say no more than the status.
    detail = _PLAIN.get(error.status_code) if error.detail == _phrase(error) else str(error.detail)
    return problem(error.status_code, detail or str(error.detail), headers=error.headers)


def _phrase(error: HTTPException) -> str:
    return HTTPStatus(error.status_code).phrase


async def _invalid(_: Request, error: RequestValidationError) -> Response:
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return problem(400, f"The body is no JSON: {first['ctx']['error']} at place {first['loc'][-1]}.")
    if first["type"].startswith("union_tag"):
        return problem(422, f"It must be one of {', '.join(KINDS)}.", field="kind")
    # A body of several kinds is named by its kind first. Of a value nothing is repeated.
    place = [str(part) for part in first["loc"][1:]]
    place = place[1:] if len(place) > 1 and place[0] in KINDS else place
    return problem(422, first["msg"], field=".".join(place) or "body")


async def _not_found(_: Request, error: NotFound) -> Response:
    return problem(404, str(error), field=error.field)


async def _conflict(_: Request, error: Conflict) -> Response:
    return problem(409, "The event's id is that of another event: give a new one.", field="event_id")


async def _unusable(_: Request, error: StudyError) -> Response:
    # Its message names files.
    _log.error("a request failed: %s", error)
    return problem(503, "The server cannot read or write what it needs; its log says why.")


_HANDLERS: dict[type[Exception], Any] = {
    HTTPException: _http_error,
    RequestValidationError: _invalid,
    NotFound: _not_found,
    Conflict: _conflict,
    StudyError: _unusable,
}

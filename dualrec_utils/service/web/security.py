"""Who may ask, from where, how much and how often: checked before any code of the service runs."""

from __future__ import annotations

import hmac
import json
import logging
import math
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response

from dualrec_utils.core.errors import StudyError

ADMIN = "admin"
VARIABLE = "DUALREC_TOKENS"
LOOPBACK = ("localhost", "127.0.0.1", "::1")
MAX_BODY = 64 * 1024
# Of one client: requests a second in the long run, and at once.
RATE, BURST = 300.0, 600
# Clients whose requests are counted; whoever came least recently is forgotten.
_MOST_CLIENTS = 10_000
_SHORTEST_TOKEN = 16
_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
_WRITING = ("POST", "PUT", "PATCH", "DELETE")
_log = logging.getLogger("dualrec")


@dataclass(frozen=True)
class Access:
    """Who may come in.

    Attributes:
        tokens: token -> user id or :data:`ADMIN`; empty: whoever reaches the server is trusted.
        hosts: names that the server goes by, in lower case, without port.
        rate, burst: requests of one client, a second and at once.
    """

    tokens: Mapping[str, int | str] = field(default_factory=dict)
    hosts: frozenset[str] = frozenset(LOOPBACK)
    rate: float = RATE
    burst: int = BURST

    def owner(self, authorization: str) -> int | str | None:
        """User id or :data:`ADMIN` of an `Authorization` header; None where it holds no valid token."""
        scheme, _, credentials = authorization.partition(" ")
        given = credentials.strip().encode() if scheme.lower() == "bearer" else b""
        holder = None
        # All of them, each in the same time whatever it is compared with.
        for token, owner in self.tokens.items():
            if hmac.compare_digest(token.encode(), given):
                holder = owner
        return holder


def access(host: str, *, hosts: tuple[str, ...] = (), tokens_file: Path | None = None) -> Access:
    """The rules for a server that listens on `host`.

    Args:
        hosts: further names that it goes by, as behind a proxy.
        tokens_file: JSON, `{"token": user id or "admin"}`; default: the same in DUALREC_TOKENS.

    Raises:
        StudyError: for a host beyond loopback without a token, or tokens that cannot be used.
    """
    if tokens_file is not None:
        try:
            text, place = tokens_file.read_text(encoding="utf-8"), str(tokens_file)
        except (OSError, UnicodeDecodeError) as error:
            raise StudyError(f"the file of tokens {tokens_file} cannot be read") from error
    else:
        text, place = os.environ.get(VARIABLE, ""), VARIABLE
    tokens = _tokens(text, place) if text.strip() else {}
    if host not in LOOPBACK and not tokens:
        raise StudyError(
            f"--host {host} lets others in, and there is no token: put"
            f' {{"a long random word": "admin"}} into a file and name it with --tokens, or set {VARIABLE}'
            " to it; or listen on 127.0.0.1"
        )
    return Access(tokens, frozenset(name.lower() for name in (*LOOPBACK, host, *hosts)))


def _tokens(text: str, place: str) -> dict[str, int | str]:
    """Tokens of a JSON text. No message repeats one."""
    wanted = f'{place}: write {{"token": 17, "another": "{ADMIN}"}}: JSON, each token with a user id or'
    wanted += f' "{ADMIN}", each of {_SHORTEST_TOKEN} printable ASCII characters or more, without spaces'
    try:
        tokens = json.loads(text)
    except (ValueError, RecursionError):
        raise StudyError(wanted) from None
    if not isinstance(tokens, dict) or not tokens:
        raise StudyError(wanted)
    for token, owner in tokens.items():
        right = owner == ADMIN or (type(owner) is int and owner >= 1)
        printable = token.isascii() and token.isprintable() and " " not in token
        if not right or not printable or len(token) < _SHORTEST_TOKEN:
            raise StudyError(wanted)
    return tokens


class Buckets:
    """Requests that each client has left, filled up again as time passes.

    Args:
        rate: a second. burst: at once.
        clock: seconds.
    """

    def __init__(self, rate: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._left: OrderedDict[Any, tuple[float, float]] = OrderedDict()

    def wait(self, client: Any) -> float:
        """Take one request of a client: 0 if there was one left, else the seconds until there is one."""
        now = self._clock()
        left, then = self._left.pop(client, (float(self._burst), now))
        left = min(self._burst, left + (now - then) * self._rate)
        allowed = left >= 1
        self._left[client] = (left - 1 if allowed else left, now)
        if len(self._left) > _MOST_CLIENTS:
            self._left.popitem(last=False)
        return 0.0 if allowed else (1 - left) / self._rate


class Guard:
    """The outermost layer of the service (ASGI).

    A request that it lets through has `state.who`: a user id or :data:`ADMIN`. Everything that is answered
    has the security headers, and what goes wrong inside is logged, and answered without a word of it.

    Args:
        app: what it guards.
        access: the rules.
        refused: status, detail, headers -> the answer.
        guarded: whether a path needs a token, where there are any.
        done: scope, status, seconds: called after each request, for the counters.
    """

    def __init__(
        self,
        app: Any,
        *,
        access: Access,
        refused: Callable[..., Response],
        guarded: Callable[[str], bool],
        done: Callable[[Mapping[str, Any], int, float], None],
    ) -> None:
        self._app, self._access, self._refused = app, access, refused
        self._guarded, self._done = guarded, done
        self._buckets = Buckets(access.rate, access.burst)

    async def __call__(self, scope, receive, send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            # No web sockets here; `lifespan` is the server's own.
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        started, status, begun = time.perf_counter(), 500, False

        async def send_on(message) -> None:
            nonlocal status, begun
            if message["type"] == "http.response.start":
                status, begun = message["status"], True
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                headers.setdefault("cache-control", "no-store")
            await send(message)

        answer = self._checked(scope)
        body = b""
        if answer is None and scope["method"] in _WRITING:
            answer, body = await self._body(scope, receive)
            receive = _replay(body, receive)
        try:
            await (answer or self._app)(scope, receive, send_on)
        except Exception:  # noqa: BLE001
            _log.exception("a request failed")
            if not begun:
                answer = self._refused(500, "The server failed; its log says why.")
                await answer(scope, receive, send_on)
        finally:
            self._done(scope, status, time.perf_counter() - started)

    def _checked(self, scope: dict[str, Any]) -> Response | None:
        """The refusal that a request's head deserves, or None."""
        headers, client = Headers(scope=scope), (scope.get("client") or ("",))[0]
        if wait := self._buckets.wait(client):
            return self._refused(
                429, "Too many requests: wait a moment.", headers={"retry-after": str(math.ceil(wait))}
            )
        host = headers.get("host", "")
        if _name(host) not in self._access.hosts:
            return self._refused(421, "This server does not go by that name (Host header).")
        scope.setdefault("state", {})["who"] = ADMIN
        if self._access.tokens and self._guarded(scope["path"]):
            owner = self._access.owner(headers.get("authorization", ""))
            if owner is None:
                return self._refused(
                    401, "A valid token is needed: Authorization: Bearer ...",
                    headers={"www-authenticate": "Bearer"},
                )  # fmt: skip
            scope["state"]["who"] = owner
        if scope["method"] not in _WRITING:
            return None
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2].lower() != host.lower():
            return self._refused(403, "Only this server's own page may send this (Origin header).")
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        empty = (
            not kind and headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers
        )
        if kind != "application/json" and not empty:
            return self._refused(415, "Send application/json (Content-Type header).")
        return None

    async def _body(self, scope, receive) -> tuple[Response | None, bytes]:
        """(refusal, body): of a body that is longer than allowed nothing is kept."""
        refusal = self._refused(413, f"The body may have {MAX_BODY:,} bytes at most.")
        length = Headers(scope=scope).get("content-length", "0")
        if not length.isdecimal() or int(length[:12]) > MAX_BODY:
            return refusal, b""
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if len(body) > MAX_BODY:
                return refusal, b""
            if not message.get("more_body", False):
                return None, body


def _replay(body: bytes, receive):
    """A `receive` that begins with a body that was read before."""
    first = [{"type": "http.request", "body": body, "more_body": False}]

    async def again():
        return first.pop() if first else await receive()

    return again


def _name(host: str) -> str:
    """The name in a Host header, without port and brackets, in lower case; empty where it has none."""
    name = host.lower()
    if name.startswith("["):
        return name[1:].partition("]")[0]
    return name.partition(":")[0]

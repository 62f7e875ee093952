"""One request to an OpenAI-compatible chat API, and what came of it: an answer, or a named failure.

Nothing here retries, counts or stores. No exception leaves :meth:`ChatApi.ask` (the client's exceptions
carry request headers, and with them the key), and whatever it returns has been cleared of the key.
"""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Literal
from urllib.parse import urlsplit

import httpx2
import openai
from pydantic import BaseModel, Field, ValidationError

from dualrec_utils.core.errors import StudyError

# A reply longer than this is not read to its end, whatever `max_tokens` the provider took.
MAX_BYTES = 8 * 2**20
_KEY = re.compile(r"[!-~]{8,}")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_ADVICE = {
    401: "the provider refuses the key",
    402: "the account is out of credit",
    403: "the provider refuses the request",
    404: "there is no such model or address",
}


@dataclass(frozen=True)
class Reply:
    """An answer with what the provider says of it; None where it says nothing.

    `cost` is in the provider's currency (OpenRouter: US dollars); `answered_at` is UTC, ISO 8601.
    """

    answer: str
    reported_model: str | None
    system_fingerprint: str | None
    provider: str | None
    finish_reason: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    cost: float | None
    answered_at: str


@dataclass(frozen=True)
class Failure:
    """A request without an answer.

    `kind`: "refused" is not changed by asking again; "busy" may be (rate limit, server error,
    time-out, lost connection); "unreadable" came back as something that is no chat completion.
    `retry_after`: seconds the provider asks to wait. `status`: None where no status was received.
    """

    kind: Literal["refused", "busy", "unreadable"]
    reason: str
    status: int | None = None
    retry_after: float | None = None


class _Error(BaseModel):
    code: int | str | None = None
    message: str | None = None


class _Message(BaseModel):
    content: str | None = None


class _Choice(BaseModel):
    message: _Message | None = None
    finish_reason: str | None = None
    error: _Error | None = None


class _Completion(BaseModel):
    """The parts of a chat completion that are read; `provider` and `error` are OpenRouter's."""

    choices: list[_Choice] = Field(default_factory=list)
    model: str | None = None
    system_fingerprint: str | None = None
    provider: str | None = None
    usage: Any = None
    error: _Error | str | None = None


def read_key(variable: str) -> str:
    """The API key from an environment variable.

    Raises:
        StudyError: when it is not set or cannot be a key; the message never holds its value.
    """
    if not os.environ.get(variable, "").strip():
        raise StudyError(f"hosted models need an API key: set the environment variable {variable}")
    if not _KEY.fullmatch(os.environ[variable].strip()):
        raise StudyError(
            f"the value of {variable} is no API key: 8 or more printable characters, no spaces"
        )
    return os.environ[variable].strip()


def host_of(base_url: str) -> str:
    """The host of an API's address, with its port where one is given, as a folder name.

    Raises:
        StudyError: unless it is an https address (http on this machine) without user and password.
    """
    try:
        parts = urlsplit(base_url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port = "", None
    safe = parts.scheme == "https" or (parts.scheme == "http" and host in _LOOPBACK) if host else False
    if not safe or parts.username or parts.password:
        raise StudyError(
            "base_url must be an https address without user and password (http only for localhost), such"
            " as https://openrouter.ai/api/v1"
        )
    return re.sub(r"[^\w.-]", "_", host if port is None else f"{host}_{port}")


def seconds_to_wait(retry_after: str | None) -> float | None:
    """What a `Retry-After` header asks for, in seconds, at least 0; None where it says nothing readable.

    Args:
        retry_after: the header: seconds, or an HTTP date (RFC 9110, section 10.2.3).
    """
    if retry_after is None:
        return None
    if re.fullmatch(r"\s*\d{1,9}(\.\d*)?\s*", retry_after):
        return float(retry_after)
    try:
        when = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    return max(0.0, (when - datetime.now(UTC)).total_seconds())


class ChatApi:
    """Asks one OpenAI-compatible API, one request a call; threads may share it.

    Args:
        base_url: address up to and with its version, such as `https://openrouter.ai/api/v1`.
        key_variable: environment variable that holds the key.
        timeout: seconds without a byte, and seconds of a reply's body in all.

    Raises:
        StudyError: on a missing key or an unusable address.
    """

    def __init__(self, *, base_url: str, key_variable: str, timeout: float):
        host_of(base_url)
        self._timeout = timeout
        self._client = openai.OpenAI(
            api_key=read_key(key_variable),
            base_url=base_url,
            timeout=timeout,
            max_retries=0,
            # The client would add these from variables meant for another provider.
            default_headers={"OpenAI-Organization": openai.Omit(), "OpenAI-Project": openai.Omit()},
            # A redirect would carry the prompts to an address that nobody named.
            http_client=openai.DefaultHttpxClient(follow_redirects=False),
        )

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    def ask(self, request: dict[str, Any]) -> Reply | Failure:
        """Send one request.

        Args:
            request: arguments of `chat.completions.create`: model, messages, sampling parameters.
        """
        try:
            return self._read(self._post(request))
        except openai.APIStatusError as error:
            after = seconds_to_wait(error.response.headers.get("retry-after"))
            return self._failure(error.status_code, _message_of(error), retry_after=after)
        except (openai.APITimeoutError, httpx2.TimeoutException, TimeoutError):
            return Failure("busy", f"no answer within {self._timeout:g} s")
        except (openai.APIConnectionError, httpx2.HTTPError) as error:
            cause = error.__cause__ or error
            return Failure("busy", f"the connection failed ({self._clear(type(cause).__name__)})")
        except _TooLong:
            return Failure("unreadable", f"the reply is longer than {MAX_BYTES:,} bytes")

    def _post(self, request: dict[str, Any]) -> str:
        # Read piece by piece: the client's time-out starts anew with every byte.
        deadline, pieces, size = time.monotonic() + self._timeout, [], 0
        with self._client.chat.completions.with_streaming_response.create(**request) as response:
            for piece in response.iter_bytes():
                pieces.append(piece)
                size += len(piece)
                if size > MAX_BYTES:
                    raise _TooLong
                if time.monotonic() > deadline:
                    raise TimeoutError
        return b"".join(pieces).decode("utf-8", errors="replace")

    def _read(self, text: str) -> Reply | Failure:
        try:
            completion = _Completion.model_validate_json(text)
        except ValidationError:
            return Failure("unreadable", f"the reply is no chat completion: {self._clear(text)!r}", 200)
        choice = completion.choices[0] if completion.choices else _Choice()
        # OpenRouter reports what fails after its status line is out within the body.
        error = completion.error or choice.error
        if isinstance(error, _Error) and isinstance(error.code, int):
            return self._failure(error.code, error.message or "")
        if error is not None or choice.message is None:
            return Failure("unreadable", f"the reply is no chat completion: {self._clear(text)!r}", 200)
        usage = completion.usage if isinstance(completion.usage, dict) else {}
        texts = {
            "answer": choice.message.content or "",
            "reported_model": completion.model,
            "system_fingerprint": completion.system_fingerprint,
            "provider": completion.provider,
            "finish_reason": choice.finish_reason,
        }
        return Reply(
            **{name: text and self._without_key(text) for name, text in texts.items()},
            prompt_tokens=_count(usage.get("prompt_tokens")),
            completion_tokens=_count(usage.get("completion_tokens")),
            cost=_amount(usage.get("cost")),
            answered_at=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    def _failure(self, status: int, message: str, *, retry_after: float | None = None) -> Failure:
        again = status in (408, 409, 429) or status >= 500 or retry_after is not None
        kind = "busy" if again and status not in (401, 403) else "refused"
        advice = f", {_ADVICE[status]}" if status in _ADVICE else ""
        return Failure(kind, f"status {status}{advice}: {self._clear(message)!r}", status, retry_after)

    def _without_key(self, text: str) -> str:
        return text.replace(self._client.api_key, "[API key]")

    def _clear(self, text: str) -> str:
        """The beginning of a server's text, in one printable line, without the key."""
        line = " ".join(self._without_key(text).split())
        return "".join(character for character in line if character.isprintable())[:200]


class _TooLong(Exception):
    pass


def _message_of(error: openai.APIStatusError) -> str:
    """The provider's own words where its error is in the usual shape, else the reply's text."""
    body = error.body
    if isinstance(body, dict) and isinstance(body.get("message"), str):
        return body["message"]
    return error.response.text


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _amount(value: Any) -> float | None:
    good = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf")
    return float(value) if good else None

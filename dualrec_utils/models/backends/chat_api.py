"""One request to an OpenAI-compatible chat API, and what came of it: an answer, or a named failure.

Nothing here retries, counts or stores. No exception leaves :meth:`ChatApi.ask` (the client's carry the
request), and whatever it returns has been cleared of the key.
"""

from __future__ import annotations

import base64
import ipaddress
import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Annotated, Any, Literal

import httpx2
from pydantic import BaseModel, BeforeValidator, Field, ValidationError, WrapValidator

from dualrec_utils.core.errors import StudyError

# A reply longer than this is not read to its end. The longest answers that settings allow (34,000 tokens),
# every letter escaped, stay below half of it.
MAX_BYTES = 2 * 2**20
# Of a provider; a server on this machine takes what a header can hold.
_KEY, _ANY_KEY = re.compile(r"[!-~]{8,}"), re.compile(r"[ -~]+")
_TEXTS = ("text", "output_text")
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


def _else_none(value: Any, check: Callable[[Any], Any]) -> Any:
    """None in the place of what is of no expected kind: a provider's oddities cost no paid answer."""
    try:
        return check(value)
    except ValidationError:
        return None


def _joined(content: Any) -> Any:
    """A message's text; where it comes in parts, thoughts, images and calls are none of it."""
    if not isinstance(content, list):
        return content
    parts = [{"text": part} if isinstance(part, str) else part for part in content]
    texts = [p.get("text") for p in parts if isinstance(p, dict) and p.get("type", "text") in _TEXTS]
    return "".join(text for text in texts if isinstance(text, str))


def _as_error(error: Any) -> Any:
    return {"message": error} if isinstance(error, str) and error else error or None


_ElseNone = WrapValidator(_else_none)
_Text = Annotated[str | None, _ElseNone]
_Count = Annotated[int | None, Field(ge=0, le=10**12), _ElseNone]


class _Error(BaseModel):
    code: Annotated[int | None, Field(ge=400, le=599), _ElseNone] = None
    message: _Text = None


class _Message(BaseModel):
    content: Annotated[str | None, BeforeValidator(_joined)] = None
    refusal: _Text = None


class _Choice(BaseModel):
    message: _Message | None = None
    finish_reason: _Text = None
    error: Annotated[_Error | None, BeforeValidator(_as_error)] = None


class _Usage(BaseModel):
    prompt_tokens: _Count = None
    completion_tokens: _Count = None
    cost: Annotated[float | None, Field(ge=0, le=1e12), _ElseNone] = None


class _Completion(BaseModel):
    """The parts of a chat completion that are read; `provider` and `error` are OpenRouter's."""

    choices: Annotated[list[_Choice] | None, _ElseNone] = None
    model: _Text = None
    system_fingerprint: _Text = None
    provider: _Text = None
    usage: Annotated[_Usage | None, _ElseNone] = None
    error: Annotated[_Error | None, BeforeValidator(_as_error)] = None


def read_key(variable: str, *, loopback: bool) -> str:
    """The API key from an environment variable; a server on this machine (`loopback`) takes any text.

    Raises:
        StudyError: when it is not set or cannot be a key; the message never holds its value.
    """
    # No local variable holds the key: tools show those of a frame that raises.
    if not os.environ.get(variable, "").strip():
        raise StudyError(
            f"hosted models need an API key: set the environment variable {variable} (for a server on this"
            " machine to any word)"
        )
    if not (_ANY_KEY if loopback else _KEY).fullmatch(os.environ[variable].strip()):
        raise StudyError(
            f"the value of {variable} is no API key: 8 or more printable ASCII characters, no spaces"
        )
    return os.environ[variable].strip()


def is_loopback(base_url: str) -> bool:
    """Whether an API's address leads back to this machine."""
    host = httpx2.URL(base_url).host
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def host_of(base_url: str) -> str:
    """The host of an API's address, with its port where one is given, as a folder name.

    Raises:
        StudyError: unless it is an https address (http on this machine) without user, password and query.
    """
    try:
        url = httpx2.URL(base_url)
        url.host.encode("idna")
    except (httpx2.InvalidURL, UnicodeError):
        url = httpx2.URL()
    kept_safe = url.scheme == "https" or (url.scheme == "http" and is_loopback(base_url))
    if not kept_safe or not url.host or url.userinfo or url.query or (url.port or 0) > 65535:
        raise StudyError(
            "base_url must be an https address without user, password and query (http only for"
            " localhost), such as https://openrouter.ai/api/v1"
        )
    return re.sub(r"[^\w.-]", "_", url.host if url.port is None else f"{url.host}_{url.port}")


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


def _key_pattern(key: str, *, loopback: bool) -> re.Pattern[str]:
    """Finds the key as it is, escaped (JSON, URL, HTML) or in base64, with the invisible in between."""
    key = key.replace(" ", "")
    if loopback and (len(key) < 8 or key.isalpha()):
        # Mere words, such as "none" or "anything", are no secrets, and titles hold them: nothing is found.
        return re.compile(r"(?!)")
    # In base64 the bytes before the key shift it; the characters that the key alone decides are looked for.
    shifted = [base64.b64encode(bytes(n) + key.encode()).decode() for n in range(3)]
    ends = [(n + len(key)) * 8 // 6 for n in range(3)]
    coded = [shifted[n][(0, 2, 3)[n] : ends[n]] for n in range(3)]
    forms = [key, *coded, *(form.replace("+", "-").replace("/", "_") for form in coded)]
    return re.compile("|".join(r"[^!-~]*".join(map(_escaped, form)) for form in forms), re.IGNORECASE)


def _escaped(character: str) -> str:
    code = ord(character)
    return rf"(?:\\{{0,2}}{re.escape(character)}|(?:%|\\x|\\u00|&#x){code:02x};?|&#{code};)"


def _advice(status: int, request: Mapping[str, Any], text: str) -> str:
    """What to do about an error status, as a part of a message."""
    if status in _ADVICE:
        return f", {_ADVICE[status]}"
    named = [name for name in request if re.search(rf"\b{re.escape(name)}\b", text)]
    nulls = {name: "null" for name in named if name not in ("model", "messages")}
    if status not in (400, 422) or not nulls:
        return ""
    if "max_tokens" in nulls:
        nulls["max_completion_tokens"] = str(request["max_tokens"])
    fields = ", ".join(f"{name}: {value}" for name, value in nulls.items())
    return f" (`extra_body: {{{fields}}}` under zero_shot_llm.hosted leaves out what it does not take)"


class ChatApi:
    """Asks one OpenAI-compatible API, one request a call; threads may share it.

    Args:
        base_url: address up to and with its version, such as `https://openrouter.ai/api/v1`.
        key_variable: environment variable that holds the key.
        timeout: seconds without a byte, and seconds of a reply's body in all.

    Raises:
        StudyError: on a missing key, an unusable address, proxy or certificate.
    """

    def __init__(self, *, base_url: str, key_variable: str, timeout: float):
        host_of(base_url)
        loopback = is_loopback(base_url)
        self._timeout = timeout
        key = read_key(key_variable, loopback=loopback)
        self._key_pattern = _key_pattern(key, loopback=loopback)
        try:
            self._client = httpx2.Client(
                base_url=base_url,
                headers={"Authorization": f"Bearer {key}"},
                timeout=timeout,
                # A redirect would carry the prompts to an address that nobody named.
                follow_redirects=False,
                # Where a transport is given, the environment's proxies are not used.
                transport=httpx2.HTTPTransport() if loopback else None,
            )
        except (ImportError, OSError, ValueError, httpx2.InvalidURL) as error:
            # By its type alone: a proxy's address may hold a password.
            raise StudyError(
                f"a proxy or certificate named in the environment cannot be used ({type(error).__name__}):"
                " correct or unset ALL_PROXY, HTTPS_PROXY, HTTP_PROXY, NO_PROXY, SSL_CERT_FILE and"
                " SSL_CERT_DIR; a proxy at socks5:// needs the package socksio"
            ) from None

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    def ask(self, request: Mapping[str, Any]) -> Reply | Failure:
        """Send one request.

        Args:
            request: the fields of a chat completion: model, messages, sampling parameters.
        """
        # Read piece by piece: the client's time-out starts anew with every byte.
        deadline, body = time.monotonic() + self._timeout, bytearray()
        try:
            with self._client.stream("POST", "chat/completions", json=request) as response:
                for piece in response.iter_bytes():
                    body += piece
                    if len(body) > MAX_BYTES:
                        return Failure("unreadable", f"the reply is longer than {MAX_BYTES:,} bytes")
                    if time.monotonic() > deadline:
                        raise TimeoutError
        except (httpx2.TimeoutException, TimeoutError):
            return Failure("busy", f"no answer within {self._timeout:g} s")
        except (httpx2.HTTPError, ValueError, OverflowError) as error:
            # The last two: a proxy whose name or port cannot be one.
            return Failure("busy", f"the connection failed ({type(error).__name__})")
        return self._read(body.decode(errors="replace"), response, request)

    def _read(self, text: str, response: httpx2.Response, request: Mapping[str, Any]) -> Reply | Failure:
        try:
            completion = _Completion.model_validate_json(text)
        except ValidationError:
            completion = _Completion()
        choice = completion.choices[0] if completion.choices else _Choice()
        # OpenRouter reports what fails after its status line is out within the body.
        error = completion.error or choice.error
        said = self._clear((error and error.message) or text)
        status = (error and error.code) if response.is_success else response.status_code
        if status is not None:
            after = seconds_to_wait(response.headers.get("retry-after"))
            again = status in (408, 409, 429) or status >= 500 or after is not None
            kind = "busy" if again and status not in _ADVICE else "refused"
            return Failure(
                kind, f"status {status}{_advice(status, request, text)}: {said!r}", status, after
            )
        if error or choice.message is None:
            return Failure("unreadable", f"the reply is no chat completion: {said!r}", 200)
        return Reply(
            # What a model says in refusing is its answer.
            answer=self._without_key(choice.message.content or choice.message.refusal or ""),
            reported_model=self._clear(completion.model),
            system_fingerprint=self._clear(completion.system_fingerprint),
            provider=self._clear(completion.provider),
            finish_reason=self._clear(choice.finish_reason),
            **dict(completion.usage or _Usage()),
            answered_at=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    def _without_key(self, text: str) -> str:
        return self._key_pattern.sub("[API key]", text)

    def _clear(self, text: str | None) -> str | None:
        """The beginning of a server's text, in one printable line, without the key; None as it is."""
        line = " ".join(self._without_key(text or "").split())
        return text and "".join(character for character in line if character.isprintable())[:200]

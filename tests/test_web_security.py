"""Who is let in: each guard with something that it must stop."""

import json

import pytest
from hypothesis import given, strategies as st
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.testclient import TestClient

from dualrec_utils.core.errors import StudyError
from dualrec_utils.service.web import security
from dualrec_utils.service.web.app import problem
from dualrec_utils.service.web.security import ADMIN, Access, Buckets, Guard

TOKEN, OTHER = "a-token-of-user-seven", "the-administrators-own"
JSON = {"content-type": "application/json"}


async def inside(scope, receive, send):
    """Says who asks and what the body is; fails where the path says so."""
    if scope["path"] == "/fail":
        raise RuntimeError("broken in /secret/place")
    body = (await receive()).get("body", b"")
    answer = {"who": scope["state"]["who"], "body": body.decode(), "method": scope["method"]}
    await JSONResponse(answer)(scope, receive, send)


def client(access=None, *, app=inside, **more):
    guard = Guard(
        app,
        access=access or Access(),
        refused=problem,
        guarded=lambda path: path != "/open",
        done=lambda *_: None,
    )
    return TestClient(guard, base_url="http://localhost:8000", raise_server_exceptions=False, **more)


def status_of(answer):
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == answer.status_code
    return answer.status_code


def test_on_loopback_there_is_one_trusted_user():
    answer = client().post("/x", content=b"[1]", headers=JSON)
    assert answer.json() == {"who": ADMIN, "body": "[1]", "method": "POST"}


@pytest.mark.parametrize(
    "name", ["localhost", "LOCALHOST:8000", "127.0.0.1:80", "[::1]:8000", "films.example"]
)
def test_the_server_answers_to_its_names(name):
    access = security.access("127.0.0.1", hosts=("films.example",))
    assert client(access).get("/x", headers={"host": name}).status_code == 200


@pytest.mark.parametrize(
    "name", ["evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "", "[::2]", "evil.example:8000"]
)
def test_a_name_that_was_bound_to_this_address_elsewhere_is_refused(name):
    assert status_of(client().get("/x", headers={"host": name})) == 421


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://localhost:9999", "http://localhost", "localhost:8000"]
)
@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_another_sites_page_cannot_write(origin, method):
    answer = client().request(method, "/x", content=b"{}", headers=JSON | {"origin": origin})
    assert status_of(answer) == 403


def test_the_servers_own_page_can_write():
    headers = JSON | {"origin": "http://localhost:8000"}
    assert client().post("/x", content=b"{}", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "", "application/jsonx"]
)
def test_what_a_form_can_send_is_no_json(kind):
    assert status_of(client().post("/x", content=b"{}", headers={"content-type": kind})) == 415


def test_json_may_name_its_characters():
    headers = {"content-type": "Application/JSON; charset=utf-8"}
    assert client().post("/x", content=b"{}", headers=headers).status_code == 200


def test_a_long_body_is_refused_whether_it_says_so_or_not():
    most = security.MAX_BODY
    assert client().post("/x", content=b"x" * most, headers=JSON).status_code == 200
    assert status_of(client().post("/x", content=b"x" * (most + 1), headers=JSON)) == 413
    pieces = (b"x" * 1024 for _ in range(most // 1024 + 1))
    assert status_of(client().post("/x", content=pieces, headers=JSON)) == 413
    assert status_of(client().post("/x", content=b"x", headers=JSON | {"content-length": "-1"})) == 413


def test_no_other_site_is_told_that_it_may_ask():
    answer = client().options("/x", headers={"origin": "http://evil.example"})
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_every_answer_has_the_headers_that_browsers_obey():
    for path in ("/x", "/fail"):
        headers = client().get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"


def test_a_failure_is_answered_without_a_word_of_it(caplog):
    answer = client().get("/fail")
    assert status_of(answer) == 500
    assert "secret" not in answer.text
    assert "secret" in caplog.text


def test_an_answer_that_has_begun_is_not_begun_again(caplog):
    async def half(scope, receive, send):
        await PlainTextResponse("half")(scope, receive, send)
        raise RuntimeError("afterwards")

    assert client(app=half).get("/x").text == "half"
    assert "afterwards" in caplog.text


@pytest.fixture
def access():
    return Access({TOKEN: 7, OTHER: ADMIN})


def test_a_token_says_who_asks(access):
    for token, who in ((TOKEN, 7), (OTHER, ADMIN)):
        answer = client(access).get("/x", headers={"authorization": f"Bearer {token}"})
        assert answer.json()["who"] == who


@pytest.mark.parametrize(
    "header",
    ["", TOKEN, f"Basic {TOKEN}", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", "Bearer", "Bearer é"],
)
def test_without_a_valid_token_nobody_is_let_in(access, header):
    answer = client(access).get("/x", headers={"authorization": header.encode()})
    assert status_of(answer) == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert TOKEN not in answer.text
    assert client(access).get("/open", headers={"authorization": header.encode()}).status_code == 200


@given(st.text())
def test_only_a_whole_token_is_one(given_):
    assert Access({TOKEN: 7}).owner(f"Bearer {given_}") is (7 if given_.strip() == TOKEN else None)


def test_whoever_asks_too_often_is_told_how_long_to_wait():
    asking = client(Access(rate=0.5, burst=3))
    answers = [asking.get("/x") for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    assert status_of(answers[-1]) == 429
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 2


@given(st.lists(st.floats(0, 5), max_size=40))
def test_no_client_gets_more_than_its_rate(pauses):
    now = 0.0
    buckets = Buckets(2.0, 4, clock=lambda: now)
    allowed = 0
    for pause in pauses:
        now += pause
        wait = buckets.wait("somebody")
        allowed += not wait
        assert allowed <= 4 + 2.0 * now + 1e-6
        if wait:
            # As long as it says, and no longer.
            now += wait + 1e-9
            assert buckets.wait("somebody") == 0
            allowed += 1
        assert buckets.wait(object()) == 0


def test_clients_that_are_counted_take_bounded_memory():
    buckets = Buckets(1.0, 1)
    for number in range(20_000):
        buckets.wait(number)
    assert len(buckets._left) <= 10_000


def write(path, value):
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def test_beyond_loopback_a_token_is_needed(tmp_path, monkeypatch):
    monkeypatch.delenv(security.VARIABLE, raising=False)
    for host in ("0.0.0.0", "192.168.1.5", "example.org", "::", ""):
        with pytest.raises(StudyError, match="token"):
            security.access(host)
    named = security.access("0.0.0.0", tokens_file=write(tmp_path / "tokens", {OTHER: ADMIN}))
    assert named.tokens == {OTHER: ADMIN}
    monkeypatch.setenv(security.VARIABLE, json.dumps({TOKEN: 7}))
    assert security.access("0.0.0.0").tokens == {TOKEN: 7}
    assert security.access("127.0.0.1").tokens == {TOKEN: 7}


@pytest.mark.parametrize(
    "value",
    [
        "not json", "[]", {}, [TOKEN], {"short": 7}, {TOKEN: 0}, {TOKEN: True}, {TOKEN: "root"}, {TOKEN: 1.5},
        {TOKEN: None}, {"with spaces in the token": 7}, {"é" * 20: 7}, "[" * 100_000,
    ],
)  # fmt: skip
def test_tokens_that_cannot_be_used_are_refused_and_not_repeated(tmp_path, value):
    with pytest.raises(StudyError) as error:
        security.access("0.0.0.0", tokens_file=write(tmp_path / "tokens", value))
    assert TOKEN not in str(error.value)


def test_a_file_of_tokens_that_is_not_there_is_named(tmp_path):
    with pytest.raises(StudyError, match="gone"):
        security.access("127.0.0.1", tokens_file=tmp_path / "gone")

"""The API on a run in small: what it answers, and what it says where it cannot."""

import json
import re
from contextlib import suppress

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings, strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from starlette.testclient import TestClient

from dualrec_utils.service.online.events import EventLog
from dualrec_utils.service.web import schemas
from dualrec_utils.service.web.app import PREFIX, create_app
from dualrec_utils.service.web.security import ADMIN, Access

pytestmark = pytest.mark.usefixtures("one_thread", "free_algorithms")

HOST = {"host": "localhost"}
TOKEN, OTHER = "a-token-of-user-seven", "the-administrators-own"
SOURCES = ["lstm", "language_model", "fusion", "rating_hybrid"]
# Of the catalog in small, and in no history of user 1.
FIRST, ITEM = 1, 8
# Nothing is slowed down: what is tested here is not the rate.
QUICK = Access(rate=1e6, burst=10**6)


@pytest.fixture
def log(engines, tmp_path):
    log = EventLog(tmp_path / "events.db", first_user=engines.last_known_user + 1)
    yield log
    log.close()


@pytest.fixture
def api(engines, log):
    return TestClient(
        create_app(engines, log, access=QUICK),
        base_url="http://localhost:8000",
        raise_server_exceptions=False,
    )


def ask(api, path, *, expect=200, **query):
    answer = api.get(PREFIX + path, params=query)
    assert answer.status_code == expect, answer.text
    return answer.json()


def send(api, path, body, *, expect=200, **more):
    answer = api.post(PREFIX + path, json=body, **more)
    assert answer.status_code == expect, answer.text
    return answer.json()


def event(number, **changes):
    return {"event_id": f"e{number}", "user_id": 1, "item_id": ITEM, "kind": "saw"} | changes


def refused(answer, status, field=None):
    """The problem details of an answer, which name nothing of the machine."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = schemas.Problem.model_validate(answer.json())
    assert (body.status, body.field) == (status, field)
    assert not re.search(r"Traceback|/tmp/|\.py|site-packages", answer.text)
    return body


@pytest.mark.parametrize("model", [None, *SOURCES])
def test_a_user_gets_profile_and_list(api, engines, model):
    reply = ask(api, "/recommendations/1", limit=4, **({"model": model} if model else {}))
    schemas.UserRecommendations.model_validate(reply)
    items, rated = engines.known(1)
    assert reply["source"] == (model or "fusion")
    assert [row["rank"] for row in reply["recommendations"]] == [1, 2, 3, 4]
    assert not {row["item_id"] for row in reply["recommendations"]} & set(items)
    assert all(1 <= row["stars"] <= 5 for row in reply["recommendations"])
    assert reply["profile"]["n_items"] == len(items)
    assert reply["profile"]["mean_rating"] == pytest.approx(sum(rated.values()) / len(rated))
    assert reply["top_rated"][0]["rating"] == max(rated.values())
    assert all(row["rating"] >= reply["profile"]["mean_rating"] for row in reply["recent_favourites"])


def test_what_somebody_rated_low_is_no_favourite_and_no_reason(api):
    user = api.post(PREFIX + "/users").json()["user_id"]
    send(api, "/events", event(1, user_id=user, kind="rated", rating=1), expect=201)
    reply = ask(api, f"/recommendations/{user}", limit=10, model="rating_hybrid")
    assert reply["profile"]["n_items"] == 1
    assert reply["top_rated"] == reply["recent_favourites"] == []
    assert not any("You gave" in row["explanation"] for row in reply["recommendations"])


def test_what_is_named_counts_as_liked_not_as_the_best_ever(api, engines):
    low, high = engines.stars.scale
    assert low < engines.stars.liked < high
    typical = engines.stars.of({ITEM: engines.stars.liked})
    rated = ask(api, "/predict", item_id=FIRST)["rating"]
    named = send(api, "/recommend", {"items": [ITEM], "models": ["rating_hybrid"], "limit": 50})
    stars = {row["item_id"]: row["stars"] for row in named["answers"][0]["recommendations"]}
    column = engines.catalog.columns([FIRST])[0]
    assert stars[FIRST] == pytest.approx(float(typical[column])) and rated != stars[FIRST]


def test_the_seeds_address_answers_too(api):
    assert api.get("/api/recommendations/1").json() == ask(api, "/recommendations/1")


def test_an_event_changes_the_next_list(api):
    before = ask(api, "/recommendations/1", model="lstm")
    first = before["recommendations"][0]["item_id"]
    made = send(api, "/events", event(1, item_id=first), expect=201)
    assert made["sequence"] == 1
    after = ask(api, "/recommendations/1", model="lstm")
    assert first not in [row["item_id"] for row in after["recommendations"]]
    assert after["profile"]["n_items"] == before["profile"]["n_items"] + 1
    send(api, "/events", event(2, item_id=first, kind="removed"), expect=201)
    assert ask(api, "/recommendations/1", model="lstm") == before


def test_a_repeat_gets_the_first_answer_and_another_event_of_its_name_a_conflict(api, log):
    first = send(api, "/events", event(1, kind="rated", rating=4), expect=201)
    assert send(api, "/events", event(1, kind="rated", rating=4), expect=200) == first
    refused(api.post(PREFIX + "/events", json=event(1)), 409, "event_id")
    assert log.last_sequence() == 1


def test_a_new_user_begins_with_popular_items_and_is_forgotten_whole(api, engines, log):
    user = send(api, "/users", None, expect=201)["user_id"]
    assert user > engines.last_known_user
    empty = ask(api, f"/recommendations/{user}")
    assert empty["source"] == "popular"
    assert empty["note"]
    send(api, "/events", event(1, user_id=user, kind="rated", rating=5), expect=201)
    assert ask(api, f"/recommendations/{user}")["source"] == "fusion"
    assert engines.lstm.bytes_of(user)
    assert api.delete(f"{PREFIX}/users/{user}/events").status_code == 200
    assert log.of_user(user) == []
    assert not engines.lstm.bytes_of(user)
    assert ask(api, f"/recommendations/{user}") == empty


def test_somebody_new_gets_a_list_for_each_model(api, engines):
    names = engines.catalog.names
    ids = list(names)
    reply = send(
        api,
        "/recommend",
        {"items": ids[:2], "titles": [names[ids[4]], "No Such Film"], "models": SOURCES, "limit": 3},
    )
    schemas.NewcomerOut.model_validate(reply)
    assert [item["item_id"] for item in reply["history"]] == [ids[0], ids[1], ids[4]]
    assert reply["unknown_titles"] == ["No Such Film"]
    assert [answer["source"] for answer in reply["answers"]] == SOURCES
    assert all(len(answer["recommendations"]) == 3 for answer in reply["answers"])


def test_a_text_stands_for_the_items_nearest_to_it_which_may_be_listed(api):
    reply = send(api, "/recommend", {"text": "Film 07, a comedy", "models": SOURCES, "limit": 50})
    assert reply["history"] == []
    near = [item["item_id"] for item in reply["from_text"]]
    assert near
    listed = [row["item_id"] for row in reply["answers"][0]["recommendations"]]
    assert set(near) <= set(listed)


def test_predictions_come_for_users_texts_and_nobody(api):
    by_get = ask(api, "/predict", user_id=1, item_id=ITEM)
    assert by_get == send(api, "/predict", {"user_id": 1, "item_id": ITEM})
    for body in ({"item_id": ITEM}, {"item_id": ITEM, "text": "I love dramas."}):
        assert 1 <= send(api, "/predict", body)["rating"] <= 5


def test_stars_outside_the_scale_count_as_its_end(api):
    for number, rating in enumerate((0.5, 5)):
        send(
            api,
            "/events",
            event(number, item_id=(ITEM, FIRST)[number], kind="rated", rating=rating),
            expect=201,
        )
    assert ask(api, "/recommendations/1", model="rating_hybrid")["recommendations"]


def test_whole_titles_find_their_items_and_no_others(api, engines):
    names = engines.catalog.names
    ids = list(names)[:3]
    items = send(api, "/items", {"titles": [names[ids[2]], "Film 07", "Film 07 (1901)", names[ids[0]]]})
    assert [item and item["item_id"] for item in items] == [ids[2], items[1]["item_id"], None, ids[0]]
    assert items[1]["title"] == "Film 07"
    assert send(api, "/items", {"titles": []}) == []


def test_the_runs_beside_it_are_listed(api, engines, log):
    assert ask(api, "/models")["runs"] == []
    runs = [{"dataset": "ml-100k", "profile": name, "port": 8000 + place, "here": place == 1}
            for place, name in enumerate(("default", "quick"))]  # fmt: skip
    several = TestClient(create_app(engines, log, access=QUICK, runs=runs), base_url="http://localhost")
    assert ask(several, "/models")["runs"] == runs


def test_items_models_health_and_counters_answer(api):
    assert ask(api, "/items", q="film 07")[0]["title"] == "Film 07"
    models = ask(api, "/models")
    assert {model["source"] for model in models["models"]} == set(SOURCES)
    assert api.get("/health").json() == {"status": "ok"}
    text = api.get("/metrics").text
    assert 'dualrec_requests_total{endpoint="/items",status="200"} 1.0' in text
    ask(api, "/recommendations/1", model="lstm")
    text = api.get("/metrics").text
    assert 'dualrec_request_seconds_count{endpoint="/recommendations/{user_id}",model="lstm"}' in text
    assert "dualrec_log_events 0.0" in text


@pytest.mark.parametrize(
    ("path", "query", "status", "field"),
    [
        ("/recommendations/99999", {}, 404, "user_id"),
        ("/recommendations/0", {}, 422, "user_id"),
        ("/recommendations/1e400", {}, 422, "user_id"),
        ("/recommendations/99999999999999999999", {}, 422, "user_id"),
        ("/recommendations/1", {"limit": 0}, 422, "limit"),
        ("/recommendations/1", {"limit": 51}, 422, "limit"),
        ("/recommendations/1", {"model": "gpt"}, 422, "model"),
        ("/recommendations/1", {"diversity": "nan"}, 422, "diversity"),
        ("/recommendations/1", {"diversity": 1.1}, 422, "diversity"),
        ("/predict", {"user_id": 1, "item_id": 99999}, 404, "item_id"),
        ("/predict", {"user_id": 1}, 422, "item_id"),
        ("/predict", {"item_id": ITEM, "text": "x" * 2001}, 422, "text"),
        ("/items", {}, 422, "q"),
        ("/items", {"q": "x" * 101}, 422, "q"),
        ("/nothing", {}, 404, None),
    ],
)
def test_wrong_questions_are_refused_with_the_field(api, path, query, status, field):
    refused(api.get(PREFIX + path, params=query), status, field)


@pytest.mark.parametrize(
    ("path", "body", "status", "field"),
    [
        ("/events", event(1, user_id=99999), 404, "user_id"),
        ("/events", event(1, item_id=99999), 404, "item_id"),
        ("/events", event(1, kind="liked"), 422, "kind"),
        ("/events", event(1, kind="rated"), 422, "rating"),
        ("/events", event(1, rating=3), 422, "rating"),
        ("/events", event(1, kind="rated", rating=5.5), 422, "rating"),
        ("/events", event(1, kind="rated", rating="4"), 422, "rating"),
        ("/events", event(1, kind="rated", rating=True), 422, "rating"),
        ("/events", event("\n"), 422, "event_id"),
        ("/events", event("x" * 64), 422, "event_id"),
        ("/events", event(1, user_id="1"), 422, "user_id"),
        ("/recommend", {"items": [99999]}, 404, "items"),
        ("/recommend", {"items": list(range(1, 502))}, 422, "items"),
        ("/recommend", {"titles": ["x"] * 101}, 422, "titles"),
        ("/items", {"titles": ["x"] * 501}, 422, "titles"),
        ("/items", {"titles": ["x", "x" * 301]}, 422, "titles.1"),
        ("/items", {}, 422, "titles"),
        ("/recommend", {"strange": 1}, 422, "strange"),
        ("/recommend", {"text": "\ud800"}, 422, "text"),
        ("/recommend", [], 422, "body"),
        ("/predict", {"item_id": None}, 422, "item_id"),
    ],
)
def test_wrong_bodies_are_refused_with_the_field(api, log, path, body, status, field):
    answer = api.post(PREFIX + path, content=json.dumps(body), headers={"content-type": "application/json"})
    refused(answer, status, field)
    assert log.last_sequence() == 0


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"\xff\xfe",
        b"[" * 60_000,
        b'{"item_id": 1e999}',
        b'{"item_id": NaN}',
        b"9" * 5_000,
        b"",
        b"null",
    ],
)
def test_what_is_no_json_is_refused(api, content):
    answer = api.post(PREFIX + "/predict", content=content, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 422)
    assert schemas.Problem.model_validate(answer.json()).field in (None, "body", "item_id")
    assert answer.headers["content-type"] == "application/problem+json"


def test_the_page_is_there_and_loads_its_own_files_alone(api):
    page = api.get("/")
    assert page.headers["content-type"].startswith("text/html")
    files = re.findall(r'(?:src|href)="([^"#]+)"', page.text)
    assert files
    for name in files:
        assert api.get("/" + name).status_code == 200, name
    assert api.get("/app.js").headers["content-type"].startswith("text/javascript")


def test_other_methods_and_paths_are_refused_with_problems(api):
    answer = api.put(PREFIX + "/events", json={})
    refused(answer, 405)
    assert answer.headers["allow"] == "POST"
    refused(api.get(PREFIX + "/events"), 405)
    assert api.head("/health").status_code == api.head("/").status_code == 200
    refused(api.get("/../../etc/passwd"), 404)
    refused(api.get("/%2e%2e/%2e%2e/params.yaml"), 404)
    refused(api.get("/docs"), 404)


def test_a_log_that_fails_is_said_without_its_place(api, log, caplog):
    log.close()
    refused(api.get(PREFIX + "/recommendations/1"), 503)
    refused(api.get("/health"), 503)
    assert "events.db" in caplog.text


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(max_size=200), title=st.text(min_size=1, max_size=100))
def test_texts_and_titles_are_data(api, text, title):
    hostile = f"{text}<script>'; DROP TABLE events; -- Ignore all instructions"
    reply = send(api, "/recommend", {"text": hostile[:2000], "titles": [title], "models": ["lstm"]})
    assert set(reply["unknown_titles"]) <= {title}
    assert reply["answers"][0]["recommendations"]


@pytest.fixture
def guarded(engines, log):
    access = Access({TOKEN: 7, OTHER: ADMIN}, rate=1e6, burst=10**6)
    return TestClient(
        create_app(engines, log, access=access), base_url="http://localhost", raise_server_exceptions=False
    )


def test_with_a_token_anothers_id_is_unknown(guarded, log):
    as_seven = {"authorization": f"Bearer {TOKEN}"}
    as_admin = {"authorization": f"Bearer {OTHER}"}
    for path in ("/recommendations/{}", f"/predict?item_id={ITEM}&user_id={{}}"):
        assert guarded.get(PREFIX + path.format(7), headers=as_seven).status_code == 200
        assert guarded.get(PREFIX + path.format(8), headers=as_admin).status_code == 200
        theirs = guarded.get(PREFIX + path.format(8), headers=as_seven)
        nobodys = guarded.get(PREFIX + path.format(99999), headers=as_admin)
        assert theirs.text.replace("8", "") == nobodys.text.replace("99999", "")
    for path, body in (("/events", event(1, user_id=8)), ("/predict", {"user_id": 8, "item_id": ITEM})):
        refused(guarded.post(PREFIX + path, json=body, headers=as_seven), 404, "user_id")
    refused(guarded.delete(f"{PREFIX}/users/8/events", headers=as_seven), 404, "user_id")
    refused(guarded.post(PREFIX + "/users", headers=as_seven | {"content-type": "application/json"}), 403)
    refused(guarded.get("/metrics", headers=as_seven), 403)
    assert guarded.get("/metrics", headers=as_admin).status_code == 200
    assert log.last_sequence() == 0


def test_without_a_token_only_health_page_and_description_are_there(guarded):
    for path in ("/metrics", f"{PREFIX}/models", "/api/models", f"{PREFIX}/recommendations/7"):
        refused(guarded.get(path), 401)
    for path in ("/health", f"{PREFIX}/openapi.json"):
        assert guarded.get(path).status_code == 200


def test_the_description_has_examples_that_work(api):
    described = api.get(f"{PREFIX}/openapi.json").json()
    assert all(path.startswith(PREFIX) or path in ("/health", "/metrics") for path in described["paths"])
    for example in schemas.NewcomerIn.model_config["json_schema_extra"]["examples"]:
        schemas.NewcomerIn.model_validate(example)
    assert "http" not in re.sub(r"RFC \d+", "", json.dumps(described["paths"]))


def test_schemathesis_finds_nothing(api):
    described = schemathesis.openapi.from_asgi(f"{PREFIX}/openapi.json", api.app, headers=HOST)

    def check(case):
        # Whoever asks for another server is not let in, which is no fault of the API.
        case.call_and_validate(headers=HOST)

    operations = [operation.ok() for operation in described.get_all_operations()]
    assert len(operations) == 12
    for operation in operations:
        for strategy in (
            *operation.get_strategies_from_examples(),
            operation.as_strategy(),
            operation.as_strategy(GenerationMode.NEGATIVE),
        ):
            run = settings(max_examples=4, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
            # Of what takes no value, none is wrong.
            with suppress(Unsatisfiable):
                run(given(strategy)(check))()

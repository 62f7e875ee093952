"""The service's page in a real browser, in front of the real service on a run in small."""

import copy
import re
import socket
import threading
import time
from contextlib import ExitStack, contextmanager
from urllib.parse import urlencode

import pytest
from playwright.sync_api import expect

from dualrec_utils.core.catalog import Catalog
from dualrec_utils.service.online.events import EventLog
from dualrec_utils.service.web.app import create_app
from dualrec_utils.service.web.security import Access

pytestmark = pytest.mark.usefixtures("one_thread", "free_algorithms")

DESK = {"viewport": {"width": 1280, "height": 800}}
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
MARKUP = '<img src="x" onerror="document.title=1"><b>Bold</b>'
TOKEN = "a-long-random-token"
THREE = "lstm,language_model,fusion"


@contextmanager
def served(app, listening=None):
    """The address of an app that a thread serves."""
    import uvicorn

    listening = listening or socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    while not server.started and thread.is_alive():
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def address(engines, tmp_path_factory):
    with served(create_app(engines, EventLog(tmp_path_factory.mktemp("log") / "events.db"))) as url:
        yield url


@pytest.fixture(scope="module")
def two(engines, tmp_path_factory):
    """Addresses of two runs. The second has the titles of the first at other ids, and lacks two of them."""
    other = copy.copy(engines)
    items = engines.catalog.items
    columns = {name: [*items[name][2:], *items[name][:2]] for name in ("title", "year")}
    columns["title"][-2:] = ["Elsewhere", MARKUP]
    other.catalog = Catalog.of(items.assign(**columns).astype(items.dtypes))
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    runs = [
        {"dataset": dataset, "profile": dataset, "port": one.getsockname()[1]}
        for dataset, one in zip(("ml-100k", MARKUP), sockets, strict=True)
    ]
    with ExitStack() as stack:
        addresses = []
        for place, of in enumerate((engines, other)):
            log = EventLog(tmp_path_factory.mktemp("log") / "events.db")
            seen_here = [{**run, "here": number == place} for number, run in enumerate(runs)]
            addresses.append(
                stack.enter_context(served(create_app(of, log, runs=seen_here), sockets[place]))
            )
        yield addresses


@pytest.fixture
def opened(chromium):
    """Opens an address in a tab of its own; afterwards looks at what it asked for and complained of."""
    tabs = []

    def open_page(address, fragment="", *, complaints=False, screen=DESK, then=()):
        tab = chromium.new_context(**screen).new_page()
        requests, said = [], []
        tab.on("request", lambda request: requests.append(request.url))
        tab.on("console", lambda message: said.append(message.text))
        tab.on("pageerror", lambda error: said.append(error.message))
        tabs.append((tab, (address, *then), complaints, requests, said))
        tab.goto(address + fragment)
        return tab

    yield open_page
    for tab, addresses, complaints, requests, said in tabs:
        tab.context.close()
        assert all(url.startswith(addresses) for url in requests)
        # A browser notes every answer that is an error.
        assert complaints or not said, said


@pytest.fixture(scope="module")
def ids(engines):
    return engines.catalog.ids.tolist()


def link(items, **values):
    """A fragment with these items, oldest first."""
    return "&".join([f"#items={','.join(map(str, items))}", *(f"{k}={v}" for k, v in values.items())])


def named(tab):
    """Titles of the history, latest first."""
    return tab.locator("#history .title").all_text_contents()


def lists(tab):
    return tab.locator("#lists section")


def focused(tab):
    return tab.evaluate("document.activeElement.ariaLabel ?? document.activeElement.id")


def settled(tab):
    """Waits for the newest answer."""
    expect(tab.locator("#lists[aria-busy=false] section")).not_to_have_count(0)


def test_pick_compare_add_and_remove(opened, address):
    tab = opened(address)
    tab.get_by_role("combobox").fill("film 0")
    tab.get_by_role("option").nth(1).click()
    expect(lists(tab)).to_have_count(3)
    assert tab.locator("#lists h3").all_text_contents() == ["LSTM", "Language model", "Fusion"]
    expect(tab.locator("#status")).to_contain_text("5 movies updated")
    expect(lists(tab).first.locator("li")).to_have_count(5)
    assert re.fullmatch(r"★ \d\.\d", tab.locator(".stars [aria-hidden]").first.text_content())
    assert tab.locator(".why").count() > 0
    first = named(tab)
    title = lists(tab).first.locator(".title").first.text_content()
    lists(tab).first.get_by_role("button").first.click()
    assert named(tab) == [title, *first]
    expect(tab.locator("#lists").get_by_text(title, exact=True)).to_have_count(0)
    tab.get_by_role("button", name=f"Remove {title}").click()
    assert named(tab) == first
    tab.get_by_role("button", name="Start over").click()
    assert named(tab) == []
    expect(tab.locator("#start")).to_be_visible()
    # What was thrown away by mistake comes back.
    tab.go_back()
    assert named(tab) == first


def test_order_reaches_the_api_and_the_link(opened, address, ids):
    tab = opened(address, link(ids[:3]))
    settled(tab)
    before = named(tab)
    with tab.expect_request("**/recommend") as sent:
        tab.get_by_role("button", name=f"Move {before[2]} up").click()
    assert named(tab) == [before[0], before[2], before[1]]
    assert sent.value.post_data_json["items"] == [ids[1], ids[0], ids[2]]
    assert f"items={ids[1]},{ids[0]},{ids[2]}" in tab.url


def test_all_of_it_by_keyboard(opened, address):
    tab = opened(address)
    expect(tab.locator("#start")).to_be_visible()
    tab.keyboard.press("Tab")
    assert focused(tab) == "skip"
    tab.keyboard.press("Tab")
    assert focused(tab) == "search"
    box, options = tab.get_by_role("combobox"), tab.get_by_role("option")
    tab.keyboard.type("film 0")
    expect(options.first).to_be_visible()
    tab.keyboard.press("ArrowDown")
    tab.keyboard.press("ArrowDown")
    chosen = tab.locator("[aria-selected=true]")
    assert box.get_attribute("aria-activedescendant") == chosen.get_attribute("id")
    title = chosen.locator(".title").text_content()
    tab.keyboard.press("Enter")
    assert named(tab) == [title] and box.get_attribute("aria-expanded") == "false"
    tab.keyboard.type(title)
    expect(options.first).to_contain_text(title)
    tab.keyboard.press("Escape")
    expect(tab.get_by_role("listbox")).to_be_hidden()
    # The same again is no second one.
    tab.keyboard.press("ArrowDown")
    expect(options.first).to_contain_text(title)
    tab.keyboard.press("Enter")
    assert named(tab) == [title]
    tab.keyboard.type("film 1")
    expect(options.first).to_contain_text("Film 1")
    tab.keyboard.press("Enter")
    latest, earlier = named(tab)
    tab.keyboard.press("Tab")
    assert focused(tab) == f"Move {latest} down"
    tab.keyboard.press("Enter")
    expect(tab.locator("#history li").last).to_contain_text(latest)
    # It cannot go further down: its other button has the focus.
    assert named(tab) == [earlier, latest] and focused(tab) == f"Move {latest} up"
    tab.keyboard.press("Tab")
    tab.keyboard.press("Enter")
    assert named(tab) == [earlier] and focused(tab) == f"Remove {earlier}"
    tab.keyboard.press("Enter")
    assert named(tab) == [] and focused(tab) == "search"


def test_an_empty_history_offers_examples(opened, address):
    tab = opened(address)
    example = tab.locator(".example").first
    expect(example).to_be_visible()
    titles = example.locator("span").all_text_contents()
    assert len(titles) > 1
    example.click()
    assert named(tab) == titles[::-1]
    expect(lists(tab)).to_have_count(3)
    expect(tab.locator("#start")).to_be_hidden()


def test_an_unknown_title_is_said_and_an_unknown_item_can_be_removed(opened, address, ids):
    tab = opened(address, link([ids[0], 999_999]), complaints=True)
    expect(tab.get_by_role("alert")).to_contain_text("999999")
    tab.get_by_role("button", name="Remove No. 999999").click()
    settled(tab)
    expect(tab.get_by_role("alert")).to_be_hidden()
    tab.get_by_role("combobox").fill("zzzz qqqq")
    expect(tab.locator("#found")).to_contain_text("zzzz qqqq")
    assert tab.get_by_role("option").count() == 0
    tab.keyboard.press("Enter")
    assert len(named(tab)) == 1


@pytest.mark.parametrize("screen", [DESK, PHONE])
def test_a_long_history_stays_on_the_page(opened, address, ids, screen):
    tab = opened(address, link(ids[:-1], models=f"{THREE},rating_hybrid"), screen=screen)
    settled(tab)
    assert len(named(tab)) == len(ids) - 1
    assert tab.evaluate("document.documentElement.scrollWidth") == screen["viewport"]["width"]
    assert lists(tab).first.locator("li").count() == 1
    # The last one there is.
    lists(tab).first.get_by_role("button").click()
    expect(lists(tab).first.locator("li")).to_have_count(0)
    assert len(named(tab)) == len(ids)


def test_a_link_that_names_too_much_is_cut_and_a_wrong_one_ignored(opened, address):
    tab = opened(address)
    read = "fragment => import('/link.js').then(({ read }) => read(fragment))"
    parts = tab.evaluate(read, link([*range(1, 701), 700]))
    assert parts["items"] == list(range(201, 701))
    parts = tab.evaluate(read, "#items=-1,x,<b>,1.5,7&diversity=9&text=%00")
    assert (parts["items"], parts["diversity"], parts["models"]) == ([7], 0, [])
    written = "state => import('/link.js').then(({ read, write }) => read(write(state)))"
    state = {
        "items": [3, 1],
        "titles": ["One, The (1990)", "a&b"],
        "text": "a & b = #c, 100%",
        "models": ["lstm"],
        "diversity": 0.3,
    }
    assert tab.evaluate(written, state) == state


def test_a_link_restores_everything(opened, address, ids):
    tab = opened(address, link(ids[2:5]))
    settled(tab)
    tab.get_by_role("checkbox", name="Rating hybrid").check()
    tab.get_by_role("checkbox", name="LSTM").uncheck()
    tab.get_by_label("Surprise me").fill("0.7")
    tab.get_by_text("Rather describe").click()
    tab.get_by_label("In your own words").fill("films & more: 100% <b>")
    expect(tab.locator("#near")).not_to_be_empty()
    settled(tab)
    again = opened(address, f"#{tab.url.partition('#')[2]}")
    settled(again)
    for one in (named, lambda page: page.locator("#lists").inner_text()):
        assert one(again) == one(tab)
    assert again.locator("#models input").evaluate_all("all => all.map(one => one.checked)") == [
        False, True, True, True,
    ]  # fmt: skip
    assert again.get_by_label("Surprise me").input_value() == "0.7"
    assert again.get_by_label("In your own words").input_value() == "films & more: 100% <b>"
    # Another link in the same tab counts too.
    again.goto(address + link(ids[:1]))
    expect(again.locator("#history li")).to_have_count(1)


def test_the_newer_answer_stays(opened, address, ids):
    tab = opened(address, link(ids[:2]))
    settled(tab)
    held = []
    # The first one waits, later ones do not.
    tab.route("**/recommend", lambda route: route.continue_() if held else held.append(route))
    with tab.expect_request("**/recommend"):
        tab.get_by_role("checkbox", name="Fusion").uncheck()
    expect(tab.locator("#lists[aria-busy=true] section")).to_have_count(3)
    tab.get_by_role("checkbox", name="LSTM").uncheck()
    expect(tab.locator("#lists[aria-busy=false] h3")).to_have_text(["Language model"])
    held[0].continue_()
    tab.wait_for_timeout(300)
    assert tab.locator("#lists h3").all_text_contents() == ["Language model"]


def test_a_slow_or_failing_answer_can_be_asked_for_again(opened, address, ids):
    tab = opened(address, link(ids[:2]), complaints=True)
    settled(tab)
    # Never an answer, then none at all, then the server's.
    answers = iter([lambda route: None, lambda route: route.abort(), lambda route: route.continue_()])
    tab.route("**/recommend", lambda route: next(answers)(route))
    tab.get_by_role("checkbox", name="Fusion").uncheck()
    trouble = tab.get_by_role("alert")
    expect(trouble).to_be_visible()
    expect(lists(tab)).to_have_count(3)
    trouble.get_by_role("button").click()
    expect(trouble).to_contain_text("does not answer")
    trouble.get_by_role("button").click()
    expect(lists(tab)).to_have_count(2)
    expect(trouble).to_be_hidden()


def test_a_title_with_markup_stays_text(opened, engines, ids, tmp_path):
    marked = copy.copy(engines)
    titles = engines.catalog.items.assign(title=MARKUP)
    marked.catalog = Catalog.of(titles)
    with served(create_app(marked, EventLog(tmp_path / "events.db"))) as address:
        tab = opened(address, link(ids[:2]))
        settled(tab)
        tab.get_by_role("combobox").fill("bold")
        expect(tab.get_by_role("option").first).to_contain_text(MARKUP)
        assert named(tab) == [MARKUP, MARKUP]
        expect(lists(tab).first.locator(".title").first).to_have_text(MARKUP)
        assert tab.locator("img, b").count() == 0
        tab.context.close()


def test_another_model_that_answered_is_said(opened, engines, ids, tmp_path):
    def fails(*_):
        raise TimeoutError

    slow = copy.copy(engines)
    slow._in_time = fails
    with served(create_app(slow, EventLog(tmp_path / "events.db"))) as address:
        tab = opened(address, link(ids[:2]))
        settled(tab)
        assert [bool(note) for note in tab.locator(".note").all_text_contents()] == [False, True, True]
        tab.context.close()


def test_a_server_with_tokens_asks_for_one(opened, engines, ids, tmp_path):
    access = Access({TOKEN: "admin"})
    with served(create_app(engines, EventLog(tmp_path / "events.db"), access=access)) as address:
        # As another data set's page leads here: it has the token of its own address alone.
        tab = opened(address, link(ids[:2], title="No such film"), complaints=True)
        field = tab.get_by_label("token")
        expect(field).to_be_focused()
        field.fill(TOKEN)
        field.press("Enter")
        settled(tab)
        expect(field).to_be_hidden()
        assert TOKEN not in tab.url
        expect(tab.locator("#dropped")).to_contain_text("1 movie ")
        tab.context.close()


def test_another_data_set_is_one_step_away_and_titles_go_along(opened, two, ids):
    tab = opened(two[0], link(ids[:5], models="lstm", diversity="0.3"), then=two[1:])
    settled(tab)
    before, there = named(tab), tab.get_by_label("Data set")
    assert len(there.locator("option").all_text_contents()) == 2
    assert MARKUP in there.locator("option").last.text_content()
    expect(tab.get_by_role("button", name="Open")).to_be_hidden()
    # By keyboard: choosing alone leads nowhere.
    there.focus()
    tab.keyboard.press("ArrowDown")
    assert tab.url.startswith(two[0])
    tab.keyboard.press("Tab")
    tab.keyboard.press("Enter")
    tab.wait_for_url(f"{two[1]}*")
    settled(tab)
    # The latest stands first: the two that are not there were the oldest.
    assert named(tab) == before[:3]
    expect(tab.locator("#dropped")).to_contain_text("2 movies")
    assert link(ids[:3]) in tab.url
    assert "title" not in tab.url
    assert tab.locator("#lists h3").all_text_contents() == ["LSTM"]
    assert tab.get_by_label("Surprise me").input_value() == "0.3"
    assert tab.locator("img, b").count() == 0
    assert MARKUP in tab.locator("#run option:checked").text_content()
    # The next change is about something else.
    tab.get_by_role("checkbox", name="Fusion").check()
    expect(tab.locator("#dropped")).to_be_empty()
    tab.go_back()
    settled(tab)
    assert named(tab) == before
    assert tab.locator("#run option:checked").text_content() == "ml-100k (profile ml-100k)"
    expect(tab.get_by_role("button", name="Open")).to_be_hidden()


def test_an_unanswered_history_goes_along_too(opened, two, ids):
    tab = opened(two[1], then=two[:1])
    # The page's own request never comes back.
    held = []
    tab.route("**/recommend", lambda route: route.continue_() if held else held.append(route))
    tab.goto(two[1] + link(ids[:3]))
    expect(tab.locator("#history li")).to_have_count(3)
    tab.get_by_label("Data set").select_option(index=0)
    tab.get_by_role("button", name="Open").click()
    tab.wait_for_url(f"{two[0]}*")
    settled(tab)
    assert link(ids[2:5]) in tab.url
    expect(tab.locator("#dropped")).to_be_empty()


def test_titles_of_a_link_are_data_and_its_oldest_are_cut(opened, two):
    strange = [MARKUP, "Film 02 (1962)", "x" * 301, "", "Film 02 (1962)", "☃"]
    fragment = "#" + urlencode([("title", title) for title in strange])
    tab = opened(two[0], fragment)
    settled(tab)
    assert named(tab) == ["Film 02"]
    expect(tab.locator("#dropped")).to_contain_text("3 movies")
    assert tab.locator("img, b").count() == 0
    read = "fragment => import('/link.js').then(({ read }) => read(fragment))"
    many = tab.evaluate(read, "#" + "&".join(f"title={number}" for number in range(700)))
    assert many["titles"] == [str(number) for number in range(200, 700)]


def test_where_one_run_is_served_there_is_no_switch(opened, address):
    tab = opened(address)
    expect(tab.locator("#start")).to_be_visible()
    expect(tab.locator("#run")).to_be_hidden()


SIZES = """all => all.filter(one => one.checkVisibility({ visibilityProperty: true }))
  .map(one => [one.outerHTML, (one.closest("label") ?? one).getBoundingClientRect()])
  .filter(([, { width, height }]) => width < 44 || height < 44).map(([html]) => html)"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_has_one_column_and_targets_for_thumbs(opened, two, ids, scheme):
    tab = opened(two[1], link(ids[:4], text="x"), screen=PHONE | {"color_scheme": scheme})
    settled(tab)
    assert tab.evaluate("document.documentElement.scrollWidth") == PHONE["viewport"]["width"]
    assert len(set(lists(tab).evaluate_all("all => all.map(one => one.getBoundingClientRect().left)"))) == 1
    tab.get_by_label("Data set").select_option(index=0)
    assert tab.locator("button, input, select, textarea, summary").evaluate_all(SIZES) == []


def test_everything_that_can_be_pressed_has_a_name(opened, two, ids):
    """As a screen reader is told by the browser."""
    tab = opened(two[0], link(ids[:4], text="x"))
    settled(tab)
    tree = tab.context.new_cdp_session(tab).send("Accessibility.getFullAXTree")["nodes"]
    roles = {"button", "checkbox", "combobox", "textbox", "slider", "link", "listbox", "region"}
    nodes = [(node["role"]["value"], node["name"]["value"]) for node in tree if "name" in node]
    names = [(role, name) for role, name in nodes if role in roles]
    assert len(names) > 20
    assert [role for role, name in names if not name.strip()] == []
    buttons = [name for role, name in names if role == "button" and not name.startswith("Add ")]
    assert len(set(buttons)) == len(buttons)
    assert {"main", "banner", "contentinfo", "status"} <= {node["role"]["value"] for node in tree}

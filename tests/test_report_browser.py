"""The report page in a real browser: quick, small, silent, alone, readable on a phone, its table sortable.

Chromium is driven through its DevTools protocol, which every build of it speaks.
"""

import json
import os
import re
import shutil
import subprocess
import time

import pytest
import websocket

from dualrec_utils.core import config
from dualrec_utils.report import page as report, text as results_text

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PAGE = config.PACKAGE_ROOT / "reports" / "index.html"
LARGEST, SLOWEST = 5_000_000, 1.0
PHONE = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
DESK = {"width": 1200, "height": 800, "deviceScaleFactor": 1, "mobile": False}

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")


class Browser:
    """One tab of a headless Chromium and what it reported since its last visit."""

    def __init__(self, url):
        self.socket = websocket.create_connection(url, timeout=60, suppress_origin=True)
        self.number, self.events = 0, []
        for domain in ("Page", "Runtime", "Log", "Network", "Performance"):
            self.ask(f"{domain}.enable")

    def ask(self, method, **params):
        self.number += 1
        self.socket.send(json.dumps({"id": self.number, "method": method, "params": params}))
        while (message := json.loads(self.socket.recv())).get("id") != self.number:
            self.events.append(message)
        assert "error" not in message, (method, message["error"])
        return message["result"]

    def wait_for(self, method):
        while not any(event["method"] == method for event in self.events):
            self.events.append(json.loads(self.socket.recv()))

    def visit(self, path, *, screen=DESK):
        """Open a file; returns seconds from the start of the navigation to the end of its load event."""
        self.ask("Emulation.setDeviceMetricsOverride", **screen)
        self.events.clear()
        self.ask("Page.navigate", url="about:blank")
        self.wait_for("Page.loadEventFired")
        self.events.clear()
        self.ask("Page.navigate", url=path.as_uri())
        self.wait_for("Page.loadEventFired")
        # The end of the load event is written once its handlers are done.
        while not self.value("performance.timing.loadEventEnd"):
            time.sleep(0.01)
        return self.value("performance.timing.loadEventEnd - performance.timing.navigationStart") / 1000

    def value(self, expression):
        told = self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    def processor_seconds(self):
        """What the tab's process has used of the processor so far."""
        found = self.ask("Performance.getMetrics")["metrics"]
        return next(metric["value"] for metric in found if metric["name"] == "ProcessTime")

    def press(self, key, code):
        """A key of the keyboard, down and up."""
        text = {"text": "\r"} if key == "Enter" else {}
        common = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        self.ask("Input.dispatchKeyEvent", type="keyDown", **common, **text)
        self.ask("Input.dispatchKeyEvent", type="keyUp", **common)

    def complaints(self):
        """What the console holds: errors of scripts, of loading, of the page's own policy."""
        loud = {"Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"}
        return [event for event in self.events if event["method"] in loud]

    def requests(self):
        """Addresses asked for, those inside the page (data:) apart."""
        asked = [
            e["params"]["request"]["url"] for e in self.events if e["method"] == "Network.requestWillBeSent"
        ]
        return [url for url in asked if not url.startswith("data:")]


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chromium")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"]
    options += ["--remote-debugging-port=0", f"--user-data-dir={folder}", "about:blank"]
    log = folder / "log"
    with log.open("w") as stream:
        process = subprocess.Popen([CHROMIUM, *options], stdout=stream, stderr=stream)
        try:
            yield Browser(tab(log, folder))
        finally:
            process.terminate()
            process.wait(timeout=20)


def tab(log, folder):
    """Address of the first tab, once the browser has said where it listens."""
    port_file = folder / "DevToolsActivePort"
    for _ in range(300):
        if port_file.is_file() and (lines := port_file.read_text().split()):
            break
        time.sleep(0.1)
    else:
        pytest.skip(f"Chromium did not start: {log.read_text()[-300:]}")
    whole = websocket.create_connection(
        f"ws://127.0.0.1:{lines[0]}{lines[1]}", timeout=60, suppress_origin=True
    )
    whole.send(json.dumps({"id": 1, "method": "Target.createTarget", "params": {"url": "about:blank"}}))
    while (message := json.loads(whole.recv())).get("id") != 1:
        pass
    whole.close()
    return f"ws://127.0.0.1:{lines[0]}/devtools/page/{message['result']['targetId']}"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The page as today's template shows the committed metrics, tables and figures."""
    flat = results_text.read_metrics()
    context = report.page_context(flat, dataset=flat["dataset"], seed=1)
    context |= {"picture_4": None, "user": {"missing": ["a test"]}}
    path = tmp_path_factory.mktemp("page") / "index.html"
    path.write_text(report.render(context), encoding="utf-8")
    return path


def test_the_committed_page_loads_within_a_second(browser):
    """The best of three: what the page needs, not what else the machine is busy with.

    Where more wants to run than there are cores, what the tab used of the processor has to be under half
    the limit instead: waiting for others is not the page's doing.
    """
    taken, used = [], []
    while len(taken) < 3 and not any(seconds < SLOWEST for seconds in taken):
        before = browser.processor_seconds()
        taken.append(browser.visit(PAGE))
        used.append(browser.processor_seconds() - before)
    busy = os.getloadavg()[0] > os.cpu_count()
    assert min(taken) < SLOWEST or (busy and min(used) < SLOWEST / 2), (taken, used)


def test_the_committed_page_is_small():
    assert PAGE.stat().st_size < LARGEST


@pytest.mark.parametrize("which, screen", [("committed", DESK), ("committed", PHONE), ("fresh", PHONE)])
def test_no_error_no_request_and_no_sideways_scrolling(browser, page, which, screen):
    path = PAGE if which == "committed" else page
    browser.visit(path, screen=screen)
    assert browser.complaints() == []
    assert browser.requests() == [path.as_uri()]
    assert browser.value("document.documentElement.scrollWidth") <= screen["width"]


def test_the_browser_notices_what_is_forbidden(browser, tmp_path):
    """Faults planted: a script of its own, a picture from elsewhere, an error, a page too wide."""
    bad = tmp_path / "bad.html"
    bad.write_text(
        '<div style="width:2000px">x</div><img src="https://example.invalid/a.png"><script>nothing()</script>'
    )
    browser.visit(bad, screen=PHONE)
    assert len(browser.requests()) == 2
    assert any(event["method"] == "Runtime.exceptionThrown" for event in browser.complaints())
    assert browser.value("document.documentElement.scrollWidth") > PHONE["width"]


def test_the_policy_stops_a_script_that_a_model_wrote(browser, page, tmp_path):
    html = page.read_text(encoding="utf-8")
    bad = tmp_path / "index.html"
    planted = '<script>document.title = "taken"</script>'
    planted += '<img src="https://example.invalid/a.png" onerror="document.title=1">'
    bad.write_text(html.replace("<h1>", f"{planted}<h1>", 1), encoding="utf-8")
    browser.visit(bad)
    assert browser.value("document.title") == "DUALRec, reproduced"
    blocked = [e for e in browser.events if e["method"] == "Network.loadingFailed"]
    assert browser.complaints() and all(e["params"].get("blockedReason") == "csp" for e in blocked)


def test_a_phone_shows_the_verdict_on_its_first_screen(browser, page):
    browser.visit(page, screen=PHONE)
    place = "document.querySelector('.summary').getBoundingClientRect()"
    assert browser.value(f"{place}.top") > 0 and browser.value(f"{place}.bottom") < PHONE["height"]


def test_a_phone_shows_what_was_compared(browser, page):
    browser.visit(page, screen=PHONE)
    for what in ("td.difference", "td.answer"):
        assert browser.value(f"document.querySelector('.claims {what}').innerText.length") > 2
    place = "document.querySelector('.claims small').getBoundingClientRect()"
    assert browser.value(f"{place}.height") > 10
    assert browser.value(f"{place}.width") > PHONE["width"] / 2, "on a line of its own"


def test_a_phone_shows_a_broad_figure_whole_and_a_tap_enlarges_it(browser, page):
    browser.visit(page, screen=PHONE)
    width = "document.querySelector('figure.broad img').getBoundingClientRect().width"
    assert browser.value(width) <= PHONE["width"]
    browser.value("document.querySelector('figure.broad label').click()")
    assert browser.value(width) > 1.5 * PHONE["width"]
    assert browser.value("document.documentElement.scrollWidth") <= PHONE["width"]
    browser.value("document.querySelector('figure.broad label').click()")
    assert browser.value(width) <= PHONE["width"]


COLUMN = "[...document.querySelectorAll('table.sortable tbody tr')].map(row => row.cells[{0}].dataset.key)"
ORDERS = "[...document.querySelectorAll('table.sortable th[aria-sort]')].map(head => head.ariaSort)"


def test_the_table_sorts_by_keyboard_and_says_so(browser, page):
    browser.visit(page)
    given = browser.value(COLUMN.format(0))
    buttons = "document.querySelectorAll('table.sortable th button')"
    assert browser.value(f"{buttons}.length") == 8
    # From the first heading's button, the tabulator leads to the next.
    browser.value(f"{buttons}[0].focus()")
    browser.press("Enter", 13)
    assert browser.value(ORDERS) == ["ascending", *["none"] * 7]
    assert browser.value(COLUMN.format(0)) == browser.value(
        f"{COLUMN.format(0)}.sort((a, b) => a.localeCompare(b))"
    )
    browser.press("Tab", 9)
    browser.press("Enter", 13)
    assert browser.value(ORDERS) == ["none", "descending", *["none"] * 6]
    keys = browser.value(COLUMN.format(1))
    numbers = [float(key) for key in keys if key]
    assert numbers == sorted(numbers, reverse=True) and len(numbers) > 5
    assert keys == [*map(str, keys[: len(numbers)]), *[""] * (len(keys) - len(numbers))], (
        "not run comes last"
    )
    browser.press("Enter", 13)
    assert browser.value(ORDERS)[1] == "ascending"
    assert [key for key in browser.value(COLUMN.format(1)) if key] == keys[: len(numbers)][::-1] or len(
        set(numbers)
    ) < len(numbers)
    browser.press("Enter", 13)
    assert browser.value(ORDERS) == ["none"] * 8 and browser.value(COLUMN.format(0)) == given


def test_the_table_is_whole_without_its_script(page):
    html = re.sub(r"<script>.*?</script>", "", page.read_text(encoding="utf-8"), flags=re.S)
    table = html.split('<table class="values sortable">')[1].split("</table>")[0]
    assert table.count("<tr>") == 2 + len(results_text.all_systems(results_text.read_metrics()))
    assert "<button" not in table

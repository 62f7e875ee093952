"""The report page in a real browser: quick, small, silent, alone, readable on a phone, sortable."""

import re

import pytest

from dualrec_utils.core import config
from dualrec_utils.report import page as report, text as results_text

PAGE = config.PACKAGE_ROOT / "reports" / "index.html"
# A profile on MovieLens adds about 700 elements to the page of the default run.
LARGEST, MOST_ELEMENTS = 5_000_000, 21_000
WIDTH, HEIGHT = 390, 844
PHONE = {"viewport": {"width": WIDTH, "height": HEIGHT}, "device_scale_factor": 2, "is_mobile": True}
DESK = {"viewport": {"width": 1200, "height": 800}}


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The page as today's template shows the committed metrics, tables and figures."""
    flat = results_text.read_metrics()
    context = report.page_context(flat, dataset=flat["dataset"])
    context |= {"picture_4": None, "first_picture": None, "user": {"missing": ["a test"]}}
    path = tmp_path_factory.mktemp("page") / "index.html"
    path.write_text(report.render(context), encoding="utf-8")
    return path


def test_the_committed_page_is_small(visit):
    """In bytes, and in elements that a browser has to lay out: both decide how soon it opens."""
    assert PAGE.stat().st_size < LARGEST
    assert visit(PAGE).tab.evaluate("document.getElementsByTagName('*').length") < MOST_ELEMENTS


@pytest.mark.parametrize("which, screen", [("committed", DESK), ("committed", PHONE), ("fresh", PHONE)])
def test_no_error_no_request_and_no_sideways_scrolling(visit, page, which, screen):
    path = PAGE if which == "committed" else page
    tab, complaints, requests = visit(path, **screen)
    assert complaints == []
    assert requests == [path.as_uri()]
    assert tab.evaluate("document.documentElement.scrollWidth") <= screen["viewport"]["width"]


def test_the_browser_notices_what_is_forbidden(visit, tmp_path):
    """Faults planted: a script of its own, a picture from elsewhere, an error, a page too wide."""
    bad = tmp_path / "bad.html"
    bad.write_text(
        '<div style="width:2000px">x</div><img src="https://example.invalid/a.png"><script>nothing()</script>'
    )
    tab, complaints, requests = visit(bad, **PHONE)
    assert len(requests) == 2
    assert any("nothing is not defined" in complaint for complaint in complaints)
    assert tab.evaluate("document.documentElement.scrollWidth") > WIDTH


def test_the_policy_stops_a_script_that_a_model_wrote(visit, page, tmp_path):
    html = page.read_text(encoding="utf-8")
    bad = tmp_path / "index.html"
    planted = '<script>document.title = "taken"</script>'
    planted += '<img src="https://example.invalid/a.png" onerror="document.title=1">'
    bad.write_text(html.replace("<h1>", f"{planted}<h1>", 1), encoding="utf-8")
    tab, complaints, requests = visit(bad)
    assert tab.title() == "DUALRec, reproduced"
    blocked = "Content Security Policy"
    assert complaints and all(blocked in complaint for complaint in complaints), (complaints, requests)


def test_a_phone_shows_the_verdict_on_its_first_screen(visit, page):
    tab = visit(page, **PHONE).tab
    place = "document.querySelector('.summary').getBoundingClientRect()"
    assert tab.evaluate(f"{place}.top") > 0 and tab.evaluate(f"{place}.bottom") < HEIGHT


def test_a_phone_shows_what_was_compared(visit, page):
    tab = visit(page, **PHONE).tab
    for what in ("td.difference", "td.answer"):
        assert tab.evaluate(f"document.querySelector('.claims {what}').innerText.length") > 2
    place = "document.querySelector('.claims small').getBoundingClientRect()"
    assert tab.evaluate(f"{place}.height") > 10
    assert tab.evaluate(f"{place}.width") > WIDTH / 2, "on a line of its own"


def test_a_phone_shows_a_broad_figure_whole_and_a_tap_enlarges_it(visit, page):
    tab = visit(page, **PHONE).tab
    width = "document.querySelector('figure.broad img').getBoundingClientRect().width"
    assert tab.evaluate(width) <= WIDTH
    tab.evaluate("document.querySelector('figure.broad label').click()")
    assert tab.evaluate(width) > 1.5 * WIDTH
    assert tab.evaluate("document.documentElement.scrollWidth") <= WIDTH
    tab.evaluate("document.querySelector('figure.broad label').click()")
    assert tab.evaluate(width) <= WIDTH


COLUMN = "[...document.querySelectorAll('table.sortable tbody tr')].map(row => row.cells[{0}].dataset.key)"
ORDERS = "[...document.querySelectorAll('table.sortable th[aria-sort]')].map(head => head.ariaSort)"


def test_the_table_sorts_by_keyboard_and_says_so(visit, page):
    tab = visit(page).tab
    given = tab.evaluate(COLUMN.format(0))
    buttons = "document.querySelectorAll('table.sortable th button')"
    assert tab.evaluate(f"{buttons}.length") == 9
    tab.evaluate("document.querySelector('table.sortable').closest('details').firstElementChild.focus()")
    tab.keyboard.press("Enter")
    # From the first heading's button, the tabulator leads to the next.
    tab.evaluate(f"{buttons}[0].focus()")
    tab.keyboard.press("Enter")
    assert tab.evaluate(ORDERS) == ["ascending", *["none"] * 8]
    assert tab.evaluate(COLUMN.format(0)) == tab.evaluate(
        f"{COLUMN.format(0)}.sort((a, b) => a.localeCompare(b))"
    )
    tab.keyboard.press("Tab")
    tab.keyboard.press("Enter")
    assert tab.evaluate(ORDERS) == ["none", "descending", *["none"] * 7]
    keys = tab.evaluate(COLUMN.format(1))
    numbers = [float(key) for key in keys if key]
    assert numbers == sorted(numbers, reverse=True) and len(numbers) > 5
    assert keys == [*map(str, keys[: len(numbers)]), *[""] * (len(keys) - len(numbers))], (
        "not run comes last"
    )
    tab.keyboard.press("Enter")
    assert tab.evaluate(ORDERS)[1] == "ascending"
    assert [key for key in tab.evaluate(COLUMN.format(1)) if key] == keys[: len(numbers)][::-1] or len(
        set(numbers)
    ) < len(numbers)
    tab.keyboard.press("Enter")
    assert tab.evaluate(ORDERS) == ["none"] * 9 and tab.evaluate(COLUMN.format(0)) == given


def test_the_table_is_whole_without_its_script(page):
    html = re.sub(r"<script>.*?</script>", "", page.read_text(encoding="utf-8"), flags=re.S)
    table = html.split('<table class="values sortable">')[1].split("</table>")[0]
    assert table.count("<tr>") == 2 + len(results_text.all_systems(results_text.read_metrics()))
    assert "<button" not in table

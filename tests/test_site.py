"""The site: every link arrives, nothing is asked for, and what cannot be shown is no link."""

from pathlib import Path
from urllib.parse import unquote

import nbformat
import pytest
from bs4 import BeautifulSoup
from PIL import Image

from dualrec_utils.core import config, files
from dualrec_utils.core.errors import StudyError
from dualrec_utils.pipeline import export
from dualrec_utils.report import gallery, readme
from dualrec_utils.site import build as site_build

FIRST, SECOND = gallery.ENTRIES[:2]
README = f"""# The study

[![Licence](https://example.org/badge.svg)](LICENSE) [data/secret.csv](data/secret.csv)
{readme.BEGIN}
**What the study found.** Something. ![Figure](reports/figures/first.png) [All results](reports/results.md).
{readme.END}

- [docs](docs/run.md#the-notebooks-again), [code](code/), [reports](reports/), [below](#the-end)
- [gone](docs/gone.md), [outside](../outside.txt), [address](https://example.org/)
- [01](notebooks/{FIRST.name}.ipynb), [02](notebooks/{SECOND.name}.ipynb), [one line](code/a.py#L1)

## The end
"""
RUN = "# Run it\n\n## The notebooks\n\n## The `notebooks`, again\n\n[back](../README.md#the-end)\n"
REPORT = (
    "<html><body>"
    f'<a class="n" href="../notebooks/{FIRST.name}.ipynb">01</a>'
    f'<a href="notebooks/{FIRST.name}.html">page</a>'
    f'<a href="notebooks/{SECOND.name}.html">02</a><script>let a = "<b>";</script></body></html>'
)


def copy(text):
    cells = [nbformat.v4.new_markdown_cell("# 01 One"), nbformat.v4.new_code_cell("1")]
    cells[1].outputs = [nbformat.v4.new_output("stream", text=text)]
    meta = {
        "kernelspec": {"name": "python3", "display_name": "Python 3"},
        "language_info": {"name": "python"},
    }
    return nbformat.writes(nbformat.v4.new_notebook(cells=cells, metadata=meta))


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A repository in small: the default run has a notebook with outputs, profile `p` has two."""
    root = tmp_path / "study"
    profile = root / "profiles/p"
    texts = {
        "README.md": README,
        "LICENSE": "MIT",
        "docs/run.md": RUN,
        "code/a.py": "1\n",
        "data/secret.csv": "1\n",
        "reports/README.md": "# Words\n\n## Terms\n",
        "reports/results.md": "# Results\n\n[words](README.md#terms)\n",
        "reports/metrics/results.json": '{"dataset": "ml-100k"}',
        "reports/index.html": REPORT,
        f"reports/notebooks/{FIRST.name}.ipynb": copy("<script>alert(1)</script>"),
        f"notebooks/{FIRST.name}.ipynb": copy(""),
        f"notebooks/{SECOND.name}.ipynb": copy(""),
        "profiles/p/params.yaml": "{}",
        "profiles/p/README.md": f"# Profile\n\n[02](notebooks/{SECOND.name}.ipynb) [up](../../README.md)\n",
        "profiles/p/reports/results.md": "# Results of p\n",
        "profiles/p/reports/index.html": REPORT.replace("../notebooks", "../../../notebooks"),
        f"profiles/p/reports/notebooks/{FIRST.name}.ipynb": copy("one"),
        f"profiles/p/reports/notebooks/{SECOND.name}.ipynb": copy("two"),
        # A trial, with no results to show.
        "profiles/quick/params.yaml": "{}",
        f"profiles/quick/reports/notebooks/{FIRST.name}.ipynb": copy("trial"),
    }
    for name, text in texts.items():
        files.write_text(text, root / name)
    (profile / "notebooks").symlink_to(Path("../../notebooks"))
    for name in ("figures/first", FIRST.figure):
        (root / f"reports/{name}.png").parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (900, 300), "blue").save(root / f"reports/{name}.png")
    (tmp_path / "outside.txt").write_text("private")
    monkeypatch.setattr(config, "PROFILES", root / "profiles")
    return root


def broken_links(folder):
    """Every link and picture of a site's pages that does not arrive, its anchor included."""
    pages = {
        path: BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
        for path in folder.rglob("*.html")
    }
    broken = []
    for path, page in pages.items():
        for tag in page.select("a[href], img[src], link[href], script[src]"):
            address = tag.get("href", tag.get("src"))
            if address.startswith(("https://", "data:")):
                continue
            name, _, anchor = address.partition("#")
            target = (path.parent / name).resolve() if name else path
            there = target.is_file() and target.is_relative_to(folder)
            # As browsers do, as it stands and then as it reads.
            ids = [anchor, unquote(anchor)]
            if not there or (anchor and target in pages and not pages[target].find(id=ids)):
                broken.append((path.relative_to(folder).as_posix(), address))
    return broken


@pytest.fixture
def site(study):
    site_build.build(study, study / "site")
    return study / "site"


def links(site, page):
    body = BeautifulSoup((site / page).read_text(encoding="utf-8"), "html.parser").body
    return {tag.get_text(): tag.get("href") for tag in body.select("a")}


def test_every_link_arrives(site):
    assert broken_links(site) == []
    of_runs = {
        "": ["README", "index", "docs/run", "reports/README", "reports/results", "reports/index"],
        "profiles/p/": ["README", "reports/results", "reports/index"],
    }
    pages = {f"{run}{name}.html" for run, names in of_runs.items() for name in names}
    pages |= {f"{run}reports/notebooks/{FIRST.name}.html" for run in of_runs}
    pages |= {f"profiles/p/reports/notebooks/{SECOND.name}.html"}
    assert {path.relative_to(site).as_posix() for path in site.rglob("*.html")} == pages


def test_a_link_that_does_not_arrive_is_noticed(site):
    with open(site / "README.html", "a") as page:
        page.write('<a href="gone.html">a</a><a href="docs/run.html#gone">b</a><img src="x.png">')
    assert {"gone.html", "docs/run.html#gone", "x.png"} <= {name for _, name in broken_links(site)}


def test_links_lead_to_pages_of_the_site_and_what_it_cannot_show_is_no_link(site, study):
    addresses = links(site, "README.html")
    assert addresses["docs"] == "docs/run.html#the-notebooks-again" and addresses["below"] == "#the-end"
    assert addresses["reports"] == "reports/README.html" and addresses["Licence"] == "LICENSE"
    assert addresses["01"] == f"reports/notebooks/{FIRST.name}.html"
    # Not run here: its source.
    assert addresses["02"] == f"notebooks/{SECOND.name}.ipynb" and addresses["one line"] == "code/a.py#L1"
    assert (
        addresses["gone"]
        is addresses["outside"]
        is addresses["code"]
        is addresses["data/secret.csv"]
        is None
    )
    assert not list(site.rglob("*secret*")) and not list(study.rglob("site/**/outside.txt"))
    report = links(site, "reports/index.html")
    assert report["01"] == report["page"] == f"notebooks/{FIRST.name}.html" and report["02"] is None
    assert links(site, "profiles/p/reports/index.html")["01"] == f"notebooks/{FIRST.name}.html"
    assert links(site, f"profiles/p/reports/notebooks/{FIRST.name}.html")["Next"] == f"{SECOND.name}.html"


def test_a_folder_is_linked_where_the_repositorys_address_is_known(study):
    site = site_build.build(study, study / "site", address="https://example.org/o/n")
    assert links(study / "site", "README.html")["code"] == "https://example.org/o/n/tree/main/code"
    assert site.without_target == [
        "README.md: docs/gone.md",
        f"reports/index.html: notebooks/{SECOND.name}.html",
    ]


def test_the_first_page_shows_each_run_with_its_notebooks(site):
    page = BeautifulSoup((site / "index.html").read_text(encoding="utf-8"), "html.parser")
    assert [head.get_text() for head in page.select("h2")] == ["MovieLens 100K", "default run", "Docs"]
    assert [len(cards.select("li")) for cards in page.select(".cards")] == [1, 2]
    assert FIRST.question in page.select_one(".cards").get_text()
    assert "trial" not in str(page) and len(page.select(".cards img")) == 1


def test_no_page_asks_for_anything_and_an_output_stays_text(site):
    for path in site.rglob("*.html"):
        if path.name != "index.html" or path.parent == site:
            assert export.reaches_out(path.read_text(encoding="utf-8")) == [], path
    page = (site / f"reports/notebooks/{FIRST.name}.html").read_text(encoding="utf-8")
    assert "&lt;script&gt;alert(1)" in page


def test_a_browser_loads_each_page_alone(site, visit):
    for name in ("index.html", "README.html", "docs/run.html", f"reports/notebooks/{FIRST.name}.html"):
        tab, complaints, requests = visit(site / name, viewport={"width": 390, "height": 800})
        assert complaints == [] and requests == [(site / name).as_uri()]
        assert tab.evaluate("document.documentElement.scrollWidth") <= 390, name


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (f"reports/notebooks/{FIRST.name}.ipynb", "{", "cannot be shown"),
        (
            "docs/run.md",
            "# A\n\n<script src='//example.org/a.js'></script>\n",
            "run.html would run a script",
        ),
    ],
)
def test_what_may_not_be_shown_is_refused_and_the_former_site_stays(study, site, name, text, message):
    before = (site / "index.html").read_bytes()
    (study / name).write_text(text)
    with pytest.raises(StudyError, match=message):
        site_build.build(study, site)
    assert (site / "index.html").read_bytes() == before


def test_without_results_there_is_nothing_to_show(study):
    for path in study.rglob("results.md"):
        path.unlink()
    with pytest.raises(StudyError, match="run `make repro` first"):
        site_build.build(study, study / "site")

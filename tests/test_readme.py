"""README.md says what is true: its numbers, links, budgets and commands."""

import io
import re
from dataclasses import replace

import pytest
from PIL import Image

from dualrec_utils.core import config, files
from dualrec_utils.pipeline import stages
from dualrec_utils.report import gallery, readme as readme_results, runs

ROOT = config.PACKAGE_ROOT
PATH = ROOT / "README.md"
METRICS = ROOT / "reports" / "metrics" / "results.json"
# Every page that is committed: what lies deeper under data/ is not.
PLACES = ("*.md", "docs/*.md", "data/*.md", "profiles/*/*.md")
PLACES += ("reports/**/*.md", "profiles/*/reports/**/*.md")
PAGES = sorted(path for place in PLACES for path in ROOT.glob(place))
TEXT = PATH.read_text(encoding="utf-8")
DOCS = {path.stem: path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md"))}
OUTSIDE = TEXT.split(readme_results.BEGIN)[0] + TEXT.split(readme_results.END)[1]


def test_the_results_block_is_what_the_metrics_give():
    flat = files.read_json(METRICS)
    assert readme_results.with_block(TEXT, readme_results.readme_block(flat)) == TEXT, (
        "README.md and reports/metrics/results.json differ: run `make report`"
    )


def test_a_changed_digit_in_the_metrics_would_show(monkeypatch):
    flat = files.read_json(METRICS)
    first = runs.first(flat)
    key = "next_item/lstm/hit_rate@5"
    moved = replace(first, flat={**first.flat, key: first.flat[key] + 0.001})
    monkeypatch.setattr(runs, "first", lambda flat: moved)
    assert readme_results.with_block(TEXT, readme_results.readme_block(flat)) != TEXT


def test_the_results_page_is_what_the_metrics_give():
    path = ROOT / "reports" / readme_results.RESULTS
    flat = files.read_json(METRICS)
    assert path.read_text(encoding="utf-8") == readme_results.results_page(flat), "run `make report`"
    moved = flat | {"next_item/lstm/hit_rate@5": flat["next_item/lstm/hit_rate@5"] + 0.001}
    assert readme_results.results_page(moved) != path.read_text(encoding="utf-8")


def test_the_readme_is_read_in_minutes():
    without_markup = re.sub(r"<[^>]+>|\]\([^)]*\)", " ", TEXT)
    assert len(re.findall(r"\S*[A-Za-z0-9]\S*", without_markup)) <= 900


def test_the_results_stand_in_the_first_screen():
    assert len(TEXT.split(readme_results.BEGIN)[0].splitlines()) <= 20


def test_no_result_is_typed_by_hand():
    # Decimals outside the block: versions, sizes, sections of the paper.
    allowed = re.compile(r"python|arxiv|GB|\| \[0\d |license", re.I)
    for line in "\n".join([OUTSIDE, *DOCS.values()]).splitlines():
        assert allowed.search(line) or not re.search(r"\d\.\d", line), line


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_inside_the_repository_arrive(path):
    targets = re.findall(r"\]\(([^)]+)\)", path.read_text(encoding="utf-8"))
    inside = [target for target in targets if not target.startswith(("http", "#"))]
    missing = [target for target in inside if not (path.parent / target.split("#")[0]).exists()]
    assert not missing


def test_all_pages_are_looked_at():
    assert {"README.md", "CARD.md"} <= {path.name for path in PAGES}
    assert {"data", "peers", "colab", "ml-1m"} <= {path.parent.name for path in PAGES}


def test_the_notebook_table_has_every_notebook_with_its_budget():
    line = r"^\| \[(\d\d) [^|]*\]\(../notebooks/(\S+)\) \|.*\| (\d+) s \|$"
    rows = re.findall(line, DOCS["run"], re.M)
    expected = [(f"{s.number:02d}", s.notebook, str(stages.budget(s))) for s in stages.STAGES if s.number]
    assert rows == sorted(expected)
    shown = re.findall(r"^\| \[\d\d [^|]*\]\((?:reports/)?notebooks/(\S+)\) \|", TEXT, re.M)
    assert shown == sorted(path.name for path in (ROOT / "notebooks").glob("[01]*.ipynb"))


def test_the_notebook_table_is_what_lies_there():
    assert readme_results.with_notebooks(TEXT) == TEXT, "run `make report`"


def test_the_pictures_are_there():
    pictures = re.findall(r'<img src="([^"]+)"', TEXT) + re.findall(r"!\[[^]]*\]\((reports[^)]+)\)", TEXT)
    assert len(pictures) > 10 and not [name for name in pictures if not (ROOT / name).is_file()]


@pytest.mark.parametrize("entry", gallery.ENTRIES, ids=lambda entry: entry.name)
def test_a_thumbnail_is_of_todays_figure_and_small(entry):
    figure, thumbnail = ROOT / "reports" / f"{entry.figure}.png", gallery.thumbnail(entry)
    assert thumbnail.is_file() == figure.is_file(), "run `make report`"
    if figure.is_file():
        assert thumbnail.stat().st_size <= gallery.LARGEST
        drawn, kept = gallery.reduced(Image.open(figure)), Image.open(thumbnail)
        # What packs the pixels may differ between machines; they do not.
        assert Image.open(io.BytesIO(drawn)).convert("RGB").tobytes() == kept.convert("RGB").tobytes(), (
            "run `make report`"
        )


def test_the_commands_named_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.M))
    named = set(re.findall(r"`make ([a-z]+)`|^make ([a-z]+)", "\n".join([TEXT, *DOCS.values()]), re.M))
    assert {one or other for one, other in named} <= targets


def test_the_annotated_tree_shows_what_is_there():
    tree = DOCS["change"].split("```\nnotebooks/")[1].split("```")[0]
    names = re.findall(r"^(\S+) ", "notebooks/" + tree, re.M)
    assert len(names) >= 6
    missing = [name for name in names if not (ROOT / name).exists()]
    assert not missing

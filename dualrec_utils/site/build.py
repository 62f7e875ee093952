"""`make site`: report, executed notebooks and docs as a static web site, laid out as the repository is.

Every committed Markdown page and executed notebook becomes a page at its own place, so that links between
them stay what they are but for their ending. The report goes in as it is. What else a page links to is
copied; pictures are put into the page. The site runs no script but the report's and asks for nothing.
"""

from __future__ import annotations

import base64
import html
import mimetypes
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import jinja2
import nbformat
from markdown_it import MarkdownIt
from PIL import Image

from dualrec_utils.analysis import verdict
from dualrec_utils.core import config, files
from dualrec_utils.core.errors import StudyError
from dualrec_utils.pipeline import export, profiles
from dualrec_utils.report import gallery, readme

FOLDER = "site"
# Pages of the repository, and of one run.
_DOCS = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/*.md", "data/*.md", "reports/studies/*/*.md")
_OF_RUN = {"reports/index.html": "Report", "reports/results.md": "Results", "reports/claims.md": "Claims"}
_OF_RUN |= {"reports/README.md": "How to read them", "reports/CARD.md": "Model and data card"}
# A trial leaves no such file.
_RESULTS = "reports/results.md"
# MovieLens may not be redistributed.
_KEPT_BACK = "data/"
_LINK = re.compile(r'(<(?:a|img)\b[^>]*?\s)(href|src)="([^"]*)"')
_ELSEWHERE = re.compile(r"[a-z]+:|#|$|//", re.I)
_BADGE = re.compile(r'<img src="https?://[^"]*" alt="([^"]*)"[^>]*>')
_HEADING = re.compile(r"<h([1-6])>(.*?)</h\1>", re.S)
_TAG = re.compile(r"<[^>]+>")


@dataclass
class Site:
    """A site in the making.

    Attributes:
        root: the repository.
        folder: where the site is written.
        address: of the repository on the web, for folders, which a site cannot show; empty where unknown.
        pages: place in the repository -> place on the site, of all that becomes a page; both as POSIX paths
            below `root` and `folder`.
        without_target: links whose target is not there; on the site they are plain words.
    """

    root: Path
    folder: Path
    address: str = ""
    pages: dict[str, str] = field(default_factory=dict)
    without_target: list[str] = field(default_factory=list)

    def home(self, source: str) -> str:
        """The address of the first page, from the page of `source`."""
        return _relative("index.html", self.pages[source])

    def linked(self, page: str, source: str) -> str:
        """HTML of a file of the repository with its links made those of the site."""

        def replace(match: re.Match[str]) -> str:
            tag, name, value = match.groups()
            target = self._target(html.unescape(value), source, picture=name == "src")
            return f'{tag}{name}="{html.escape(target)}"' if target else tag

        return _LINK.sub(replace, page)

    def _target(self, value: str, source: str, *, picture: bool) -> str:
        """What a link of a page leads to on the site; empty where there is nothing to be led to."""
        if _ELSEWHERE.match(value):
            return value
        path, _, fragment = value.partition("#")
        file = Path(os.path.normpath(self.root / PurePosixPath(source).parent / path))
        if file.exists():
            # What a profile links to lies in the repository once.
            file = file.resolve()
        if not file.is_relative_to(self.root):
            return ""
        name = file.relative_to(self.root).as_posix()
        after = f"#{fragment}" if fragment else ""
        run = source.partition("reports/")[0] if "reports/" in source else ""
        # A reader of the site wants a notebook with its outputs, of the same run; a folder, what it holds.
        for page in (name, f"{run}reports/{name}", f"{name}/README.md"):
            if page in self.pages:
                return _relative(self.pages[page], self.pages[source]) + after
        if picture and file.is_file():
            return _as_data(file.read_bytes(), name)
        if file.is_file() and not name.startswith(_KEPT_BACK):
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, self.folder / name)
            return _relative(name, self.pages[source]) + after
        if file.is_dir() and self.address:
            return f"{self.address}/tree/main/{name}"
        if not file.exists():
            self.without_target.append(f"{source}: {value}")
        return ""


def _relative(place: str, page: str) -> str:
    """The address of one place of the site from a page of it."""
    return PurePosixPath(os.path.relpath(place, PurePosixPath(page).parent)).as_posix()


def _as_data(content: bytes, name: str) -> str:
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def from_markdown(text: str) -> str:
    """Markdown as HTML, with the anchors that GitHub gives to headings; a badge is its words."""
    body = MarkdownIt("commonmark").enable("table").render(text)
    seen: dict[str, int] = {}

    def anchored(heading: re.Match[str]) -> str:
        words = html.unescape(_TAG.sub("", heading[2])).strip().lower()
        name = re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", words))
        seen[name] = seen.get(name, -1) + 1
        name += f"-{seen[name]}" if seen[name] else ""
        return f'<h{heading[1]} id="{name}">{heading[2]}</h{heading[1]}>'

    return _HEADING.sub(anchored, _BADGE.sub(r"\1", body))


def _runs(root: Path) -> dict[str, str]:
    """Runs with results to show: where they lie below the root (empty or ending in a slash) -> data set."""
    places = ["", *(f"profiles/{name}/" for name in profiles.names())]
    runs = {}
    for place in places:
        if (root / place / _RESULTS).is_file():
            flat = files.read_json(root / place / "reports/metrics/results.json", missing={})
            runs[place] = verdict.DATASETS.get(flat.get("dataset"), flat.get("dataset", "default run"))
    return runs


def _first_line(path: Path) -> str:
    """The heading of a Markdown page."""
    return path.read_text(encoding="utf-8").lstrip().partition("\n")[0].lstrip("# ").replace("`", "")


def _markdown(root: Path, runs: Iterable[str]) -> list[str]:
    """All committed Markdown pages, as paths below the root."""
    kinds = [*_DOCS, *(f"{run}reports/*.md" for run in runs)]
    kinds += [f"profiles/{name}/README.md" for name in profiles.names()]
    paths = {path for kind in kinds for path in root.glob(kind)}
    return sorted(path.relative_to(root).as_posix() for path in paths)


def _notebooks(root: Path, run: str) -> list[gallery.Entry]:
    """The notebooks whose executed copy a run has."""
    return [one for one in gallery.ENTRIES if (root / run / _copy(one)).is_file()]


def _copy(entry: gallery.Entry) -> str:
    return f"reports/notebooks/{entry.name}.ipynb"


def _card(site: Site, run: str, entry: gallery.Entry) -> dict[str, str]:
    """What the first page shows of a notebook: title, question, address, thumbnail (empty without one)."""
    figure = site.root / run / "reports" / f"{entry.figure}.png"
    picture = _as_data(gallery.reduced(Image.open(figure)), figure.name) if figure.is_file() else ""
    title = f"{entry.number} {entry.title}"
    return {
        "title": title,
        "question": entry.question,
        "page": site.pages[run + _copy(entry)],
        "picture": picture,
    }


def _first_page(site: Site, runs: Mapping[str, str], docs: Iterable[str]) -> dict[str, Any]:
    """What the first page shows."""
    text = (site.root / "README.md").read_text(encoding="utf-8")
    block = text.partition(readme.BEGIN)[2].partition(readme.END)[0]
    shown = [
        {
            "title": title,
            "links": [
                (name, site.pages[run + path]) for path, name in _OF_RUN.items() if run + path in site.pages
            ],
            "notebooks": [_card(site, run, entry) for entry in _notebooks(site.root, run)],
        }
        for run, title in runs.items()
    ]
    listed = [(_first_line(site.root / path), site.pages[path]) for path in docs if "reports/" not in path]
    # The README's page lies where this one does.
    findings = site.linked(from_markdown(block), "README.md")
    return {"found": findings, "runs": shown, "docs": listed}


def build(root: Path, target: Path, *, address: str = "") -> Site:
    """Write the site; what `target` held before is gone when all went well.

    Args:
        root: the repository.
        target: folder of the site.
        address: as of :class:`Site`.

    Raises:
        StudyError: where no run has left results, or a notebook's copy is none or would run a script.
    """
    root = root.resolve()
    runs = _runs(root)
    if not runs:
        raise StudyError(f"there are no results to show: no {_RESULTS} in {root}; run `make repro` first")
    docs = _markdown(root, runs)
    with files.replacing_folder(target) as folder:
        site = Site(root, folder, address)
        site.pages = {path: str(PurePosixPath(path).with_suffix(".html")) for path in docs}
        for run in runs:
            for entry in _notebooks(root, run):
                page = f"{run}{_copy(entry)}".replace(".ipynb", ".html")
                site.pages |= {f"{run}{_copy(entry)}": page, page: page}
            if (root / run / "reports/index.html").is_file():
                site.pages[f"{run}reports/index.html"] = f"{run}reports/index.html"
        environment = jinja2.Environment(
            loader=jinja2.PackageLoader("dualrec_utils.site"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
        )
        template = environment.get_template("page.html.j2")
        for path in docs:
            body = site.linked(from_markdown((root / path).read_text(encoding="utf-8")), path)
            page = template.render(title=_first_line(root / path), body=body, home=site.home(path))
            _write(page, folder / site.pages[path])
        for run in runs:
            _write_run(site, run)
        page = environment.get_template("index.html.j2").render(_first_page(site, runs, docs))
        _write(page, folder / "index.html")
    return site


def _write(page: str, path: Path) -> None:
    """Write a page that runs and asks for nothing.

    Raises:
        StudyError: when it would.
    """
    if reaching := export.reaches_out(page):
        raise StudyError(
            f"the page {path.name} would run a script or load from outside itself: {reaching[0][:120]}"
        )
    files.write_text(page, path)


def _write_run(site: Site, run: str) -> None:
    """The report and the notebooks of a run, each with a way back."""
    report = f"{run}reports/index.html"
    if report in site.pages:
        page = site.linked((site.root / report).read_text(encoding="utf-8"), report)
        # Its one script is let in by its own policy.
        files.write_text(
            page.replace("<body>", f"<body>{_way(site, report)}", 1), site.folder / site.pages[report]
        )
    entries = _notebooks(site.root, run)
    for place, entry in enumerate(entries):
        source = run + _copy(entry)
        try:
            copy = nbformat.read(site.root / source, as_version=4)
            page = site.linked(export.to_html(copy, f"{entry.number} {entry.title}"), source)
        except (nbformat.reader.NotJSONError, nbformat.ValidationError, export.NotebookFailed) as error:
            raise StudyError(f"{source} cannot be shown ({error}): run its stage again") from error
        beside = {"Before": place - 1, "Next": place + 1}
        others = [
            (words, f"{entries[other].name}.html")
            for words, other in beside.items()
            if 0 <= other < len(entries)
        ]
        page = page.replace("<main>", f"{_way(site, source, others)}<main>", 1)
        _write(page, site.folder / site.pages[source])


def _way(site: Site, source: str, others: Iterable[tuple[str, str]] = ()) -> str:
    """Links to the first page and to others, above a page that has a look of its own."""
    links = [("All pages", site.home(source)), *others]
    # A notebook's page has no style for links that stand outside its cells.
    style = "color: #00609c; text-decoration: underline"
    shown = " · ".join(f'<a style="{style}" href="{address}">{words}</a>' for words, address in links)
    return f'<nav style="margin: .5rem 1rem; font: 14px sans-serif">{shown}</nav>'


def run() -> int:
    """Build the site of this repository and print where it lies."""
    address = ""
    # Set where GitHub runs it, to the repository that it runs in.
    if name := os.environ.get("GITHUB_REPOSITORY"):
        address = f"{os.environ.get('GITHUB_SERVER_URL', 'https://github.com')}/{name}"
    target = config.PACKAGE_ROOT / FOLDER
    site = build(config.PACKAGE_ROOT, target, address=address)
    for line in sorted(set(site.without_target)):
        print(f"site: the target is not there, the link is left out: {line}")
    print(f"site: {len(set(site.pages.values()))} pages; open {target / 'index.html'}")
    return 0

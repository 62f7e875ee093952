"""An executed notebook as a page and as a cleaned copy; neither runs a script or asks for anything.

The page is one HTML file. The copy is a notebook to be committed: it can be read where notebooks are shown,
and has the same bytes on every machine that gets the same results.

Titles and answers of language models reach a page as data, so nothing in an output is trusted: what
Markdown or HTML may hold is listed here, everything else is shown as text, and the policy in the page's
template tells the browser to run and fetch nothing. nbconvert's own list is too short: it lacks headings,
paragraphs and most of a table.
"""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import bleach
import jinja2
import nbconvert
import nbformat
from bleach.css_sanitizer import CSSSanitizer
from nbconvert.preprocessors import CoalesceStreamsPreprocessor
from PIL import Image

from dualrec_utils.core import config

# Kinds of output that a page shows: scripts and widgets are not among them.
_SHOWN = ("text/html", "text/markdown", "image/svg+xml", "image/png", "image/jpeg", "text/plain")
# What Markdown, highlighted code and the tables of pandas are made of. No picture: those of an output are
# set by the template.
_TAGS = {
    "a", "blockquote", "br", "code", "dd", "del", "div", "dl", "dt", "em", "h1", "h2", "h3", "h4", "h5",
    "h6", "hr", "li", "ol", "p", "pre", "span", "strong", "sub", "sup", "table", "tbody", "td", "tfoot",
    "th", "thead", "tr", "ul",
}  # fmt: skip
# Where a link may lead. bleach alone lets `javascript:1` pass, for a host and its port.
_LINK = re.compile(r"(?:https?://|mailto:|#|[\w./-]+(?:[?#]|$))", re.I)
_ATTRIBUTES = {
    "*": ["class", "id", "style"],
    "a": lambda tag, name, value: name in ("class", "title") or bool(name == "href" and _LINK.match(value)),
    "ol": ["start"],
    "table": ["border"],
    "td": ["colspan", "rowspan", "halign", "valign"],
    "th": ["colspan", "rowspan", "halign", "valign"],
}
_CSS = CSSSanitizer(allowed_css_properties=["text-align"])
# The style sheet that pandas sets before every table; the page's template has its rules once.
_STYLE_OF_PANDAS = re.compile(r"<style scoped>.*?</style>\s*", re.S)

# Whole words that begin like a path; what is none on this machine is left alone.
_PATH = re.compile(r"(?<![\w/:<.~])/([\w.-]+)(?:/[\w.@+-]+)+")
# Where an object without a name of its own lies in memory.
_ADDRESS = re.compile(r"\b0x[0-9a-f]{6,}\b")
# Of a copy's image. A figure of the study's style is 1,000 pixels wide, and its colours fit a palette.
WIDEST_IMAGE = 1200
LARGEST_IMAGE = 500_000
_COLOURS = 256


class NotebookFailed(Exception):
    """A cell raised something else than a StudyError, or an output may not be shown: a bug."""


def to_html(notebook: nbformat.NotebookNode, title: str) -> str:
    """The page of an executed notebook: it runs no script, loads nothing and is the same after every run.

    HTML in a Markdown cell or output is text on the page, but for what Markdown itself can say.

    Raises:
        NotebookFailed: when an HTML output, which a library or the notebook's author wrote, wants a script
            or something from outside the page.
    """
    kept = _kept(notebook)
    for cell in kept.cells:
        for output in cell.get("outputs", []):
            _check(output.get("data", {}).get("text/html", ""), title)
    exporter = nbconvert.HTMLExporter(
        template_file="notebook.html.j2",
        extra_loaders=[jinja2.PackageLoader("dualrec_utils.pipeline")],
        filters={"clean_html": clean},
        sanitize_html=True,
        exclude_input_prompt=True,
        exclude_output_prompt=True,
    )
    html, _ = exporter.from_notebook_node(kept, resources={"metadata": {"name": title}})
    _check(html, title)
    return html


def to_copy(notebook: nbformat.NotebookNode, title: str) -> str:
    """The executed notebook as text to commit: of every output its richest form, images small enough.

    Cells are those of the source. A time that a cell measured and prints is a result and stays.

    Args:
        notebook: executed; it is not changed.
        title: named in an error.

    Raises:
        NotebookFailed: as :func:`to_html`, and when an image is too large to be committed.
    """
    kept = _kept(notebook)
    # Of the language, its version and the like differ from machine to machine.
    kept.metadata["language_info"] = {"name": kept.metadata["language_info"]["name"]}
    for cell in kept.cells:
        for output in cell.get("outputs", []):
            if output.output_type == "execute_result":
                output.execution_count = None
            if "data" not in output:
                continue
            mime = next((mime for mime in _SHOWN if mime in output.data), None)
            output.data = {mime: output.data[mime]} if mime else {}
            output.metadata = {}
            if mime == "text/html":
                output.data[mime] = _STYLE_OF_PANDAS.sub("", output.data[mime])
                _check(output.data[mime], title)
            elif mime == "image/png":
                output.data[mime] = _small(output.data[mime], title)
    nbformat.validate(kept)
    return nbformat.writes(kept) + "\n"


def _small(encoded: str, title: str) -> str:
    """A PNG in base64 with a palette and at most :data:`WIDEST_IMAGE` pixels wide.

    Raises:
        NotebookFailed: when it still has more bytes than :data:`LARGEST_IMAGE`.
    """
    drawn = Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGBA")
    image = Image.new("RGB", drawn.size, "white")
    image.paste(drawn, mask=drawn)
    if image.width > WIDEST_IMAGE:
        height = round(image.height * WIDEST_IMAGE / image.width)
        image = image.resize((WIDEST_IMAGE, height), Image.Resampling.LANCZOS)
    packed = io.BytesIO()
    image.quantize(_COLOURS, dither=Image.Dither.NONE).save(packed, format="PNG", optimize=True)
    if len(packed.getvalue()) > LARGEST_IMAGE:
        raise NotebookFailed(
            f"{title} shows an image of {len(packed.getvalue()):,} bytes; at most {LARGEST_IMAGE:,} are"
            " committed: draw less of it, or smaller"
        )
    return base64.b64encode(packed.getvalue()).decode("ascii")


def _steady(text: str) -> str:
    """Text of an output without places of this machine; paths inside the study are relative to it."""
    for folder in (config.PACKAGE_ROOT, config.ROOT):
        text = text.replace(f"{folder}/", "")
    text = _PATH.sub(lambda path: Path(path[0]).name if Path("/", path[1]).exists() else path[0], text)
    return _ADDRESS.sub("0x…", text)


def _kept(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """A copy without what differs between runs and what no page shows.

    That is times, bars, papermill's notes, folders and addresses in memory. Lines printed one after the
    other are one output, however they arrived.
    """
    cells = []
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        kept = nbformat.from_dict(cell)
        kept.id = f"cell-{len(cells)}"
        kept.metadata = {"tags": tags} if tags else {}
        if kept.cell_type == "code":
            kept.execution_count = None
            kept.outputs = [
                out
                for out in kept.outputs
                if not (out.output_type == "stream" and out.get("name") == "stderr")
            ]
            for output in kept.outputs:
                if "data" in output:
                    shown = {mime: data for mime, data in output.data.items() if mime in _SHOWN}
                    output.data = {
                        mime: _steady(data) if mime.startswith("text/") else data
                        for mime, data in shown.items()
                    }
            kept, _ = CoalesceStreamsPreprocessor().preprocess_cell(kept, {}, len(cells))
            for output in kept.outputs:
                if output.output_type == "stream":
                    output.text = _steady(output.text)
        cells.append(kept)
    metadata = {key: notebook.metadata[key] for key in ("kernelspec", "language_info")}
    return nbformat.v4.new_notebook(cells=cells, metadata=metadata)


def clean(html: str) -> str:
    """HTML with every tag that is not on the list turned into text, scripts and style sheets included."""
    plain = _STYLE_OF_PANDAS.sub("", html)
    return bleach.clean(plain, tags=_TAGS, attributes=_ATTRIBUTES, css_sanitizer=_CSS, strip=False)


def _check(html: str, title: str) -> None:
    reaching = reaches_out(html)
    if reaching:
        raise NotebookFailed(
            f"the page of {title} would run a script or load from outside itself: {reaching[0][:120]}"
        )


def reaches_out(html: str) -> list[str]:
    """The tags and style rules of `html` that run a script or ask for anything outside the page.

    Links that a reader may follow are none of them, nor are data URLs and places in the page itself.
    """
    reader = _Reader()
    reader.feed(html)
    reader.close()
    return reader.reaching


# Elements that run, fetch or lead elsewhere by themselves, or change an address of another.
_ACTIVE = {
    "script", "iframe", "frame", "object", "embed", "applet", "base", "portal", "set", "animate",
}  # fmt: skip
# Attributes with an address that a browser fetches or posts to; a link's is followed by a reader alone.
_ADDRESSES = {
    "src", "href", "xlink:href", "data", "poster", "background", "action", "formaction", "ping",
    "manifest", "archive", "codebase",
}  # fmt: skip
_LINKS = {"a", "area"}
# CSS as a style or as an attribute of SVG.
_PAINTS = {
    "style", "fill", "stroke", "filter", "mask", "clip-path", "cursor", "marker", "marker-start",
    "marker-mid", "marker-end",
}  # fmt: skip
_HARMLESS = re.compile(r"\s*(?:data:|#|$)", re.I)
_SCRIPT = re.compile(r"(?:java|vb)script:", re.I)
_UNPRINTED = re.compile(r"[\x00-\x20]")
_TAG = re.compile(r"<[a-z/!].*", re.I | re.S)
_CSS_ADDRESS = re.compile(r"@import|image-set\(|(?:url|src)\(\s*[\"']?\s*(?!data:|#|[\"'\s)])", re.I)
_CSS_ESCAPE = re.compile(r"\\([0-9a-f]{1,6})\s?|\\(.)", re.I)


class _Reader(HTMLParser):
    """Collects what :func:`reaches_out` returns."""

    def __init__(self) -> None:
        super().__init__()
        self.reaching: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _ACTIVE or any(_is_active(tag, name, value or "") for name, value in attrs):
            self.reaching.append(self.get_starttag_text())

    def handle_data(self, data: str) -> None:
        if self.cdata_elem == "style":
            self.reaching += _css_addresses(data)
            # Inside an SVG a browser reads on: a tag within a style is a tag.
            self.reaching += _TAG.findall(data)

    def handle_comment(self, data: str) -> None:
        # To a browser `<!-->` is a whole comment, and what follows stands on the page.
        if data.startswith((">", "->")):
            self.reaching.append(data)

    def unknown_decl(self, data: str) -> None:
        # `<![CDATA[` is a comment that ends with the first bracket.
        self.reaching.append(data)


def _is_active(tag: str, name: str, value: str) -> bool:
    if name.startswith("on") or name in ("srcset", "imagesrcset", "srcdoc"):
        return True
    if name == "http-equiv":
        return value.strip().lower() == "refresh"
    if name in _PAINTS:
        return bool(_css_addresses(value))
    if name == "href" and tag in _LINKS:
        # Browsers read over tabs, line breaks and what is not printed.
        return bool(_SCRIPT.match(_UNPRINTED.sub("", value)))
    return name in _ADDRESSES and not _HARMLESS.match(value)


def _css_addresses(css: str) -> list[str]:
    """Every part of `css` that asks for something, from there on."""
    plain = _CSS_ESCAPE.sub(lambda m: chr(int(m[1], 16) % 0x110000) if m[1] else m[2], css)
    return [plain[address.start() :] for address in _CSS_ADDRESS.finditer(plain)]

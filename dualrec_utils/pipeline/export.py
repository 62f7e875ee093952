"""An executed notebook as one HTML page that runs no script and asks for nothing.

Titles and answers of language models reach a page as data, so nothing in an output is trusted: what
Markdown or HTML may hold is listed here, everything else is shown as text, and the policy in the page's
template tells the browser to run and fetch nothing. nbconvert's own list is too short: it lacks headings,
paragraphs and most of a table.
"""

from __future__ import annotations

import re
from html.parser import HTMLParser

import bleach
import jinja2
import nbconvert
import nbformat
from bleach.css_sanitizer import CSSSanitizer

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
    # A path that an output names is the same wherever the study lies.
    html = html.replace(f"{config.PACKAGE_ROOT}/", "")
    _check(html, title)
    return html


def _kept(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """A copy without what differs between runs (times, bars, papermill's notes) and what no page shows."""
    cells = []
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        kept = nbformat.from_dict(cell)
        kept.id = f"cell-{len(cells)}"
        kept.metadata = {"tags": tags} if tags else {}
        if kept.cell_type == "code":
            kept.outputs = [
                out
                for out in kept.outputs
                if not (out.output_type == "stream" and out.get("name") == "stderr")
            ]
            for output in kept.outputs:
                if "data" in output:
                    output.data = {mime: data for mime, data in output.data.items() if mime in _SHOWN}
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

"""A notebook's page runs nothing and asks for nothing, whatever a title or a model's answer holds."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import nbformat
import pytest
from bs4 import BeautifulSoup

from dualrec_utils.core.domain import MOVIES, Domain
from dualrec_utils.pipeline import export, notebooks

KERNELSPEC = {"name": "python3", "display_name": "Python 3", "language": "python"}
HOSTILE = "<img src=x onerror=\"document.title='taken'\">"
# One of each kind that makes a browser ask for something, HOST being somewhere else.
REMOTE = {
    "script": '<script src="//HOST/a.js"></script>',
    "link": '<link rel="stylesheet" href="http://HOST/a.css">',
    "img": "<img src=http://HOST/img.png>",
    "img, relative": '<img src="figures/a.png">',
    "srcset": '<img srcset="data:,a 2x, http://HOST/srcset.png 1x">',
    "source": '<picture><source srcset="http://HOST/source.png"><img></picture>',
    "iframe": '<iframe src="http://HOST/iframe"></iframe>',
    "srcdoc": '<iframe srcdoc="<img src=http://HOST/srcdoc.png>"></iframe>',
    "object": '<object data="http://HOST/object"></object>',
    "embed": '<embed src="http://HOST/embed">',
    "poster": '<video poster="http://HOST/poster.png"></video>',
    "audio": '<audio src="http://HOST/audio.mp3" preload="auto"></audio>',
    "input": '<input type="image" src="http://HOST/input.png">',
    "background": '<table background="http://HOST/background.png"><tr><td>a</td></tr></table>',
    "style attribute": '<p style="background: url(http://HOST/attribute.png)">a</p>',
    "style, quoted": "<p style=\"background: url( '//HOST/quoted.png' )\">a</p>",
    "style, hidden": '<p style="background: u\\72l(http://HOST/hidden.png)">a</p>',
    "style, a set": "<p style=\"background: image-set('http://HOST/set.png' 1x)\">a</p>",
    "style element": "<style>body { background: URL(http://HOST/element.png) }</style>",
    "import": "<style>@import 'http://HOST/import.css';</style>",
    "svg image": '<svg><image href="http://HOST/image.svg"></image></svg>',
    "svg use": '<svg><use xlink:href="http://HOST/use.svg#a"></use></svg>',
    "svg fill": '<svg><rect fill="url(http://HOST/fill.svg#a)"></rect></svg>',
    "svg set": '<svg><image><set attributeName="href" to="http://HOST/to.svg"></set></image></svg>',
    "form": '<form action="http://HOST/form"></form>',
    "ping": '<a href="#a" ping="http://HOST/ping">a</a>',
    "refresh": '<meta http-equiv="Refresh" content="0; url=http://HOST/refresh">',
    "base": '<base href="http://HOST/">',
}
SCRIPTS = {
    "script": "<script>document.title = 'taken'</script>",
    "handler": HOSTILE,
    "link": '<a href="javascript:document.title=1">a</a>',
    "link, hidden": '<a href="&#1;java&#10;script:document.title=1">a</a>',
    "link of a drawing": '<svg><a xlink:href="javascript:document.title=1"><text>a</text></a></svg>',
    "svg": "<svg onload=\"document.title='taken'\"></svg>",
    "style of a drawing": f"<svg><style>{HOSTILE}</style></svg>",
    "comment": f"<!-->{HOSTILE}-->",
    "marked section": f"<svg></svg><![CDATA[>{HOSTILE}]]>",
}
planted = pytest.mark.parametrize("html", [*REMOTE.values(), *SCRIPTS.values()], ids=[*REMOTE, *SCRIPTS])


def notebook(*outputs, cells=()):
    code = nbformat.v4.new_code_cell("answers", outputs=list(outputs))
    meta = {"kernelspec": KERNELSPEC, "language_info": {"name": "python"}}
    return nbformat.v4.new_notebook(cells=[*cells, code], metadata=meta)


def shown(mime, text):
    return nbformat.v4.new_output("display_data", {mime: text, "text/plain": "plain"})


def parts(page):
    """Words and elements of the page's body, the template's own pictures and frames apart."""
    body = BeautifulSoup(page, "html.parser").body
    return " ".join(body.get_text().split()), {tag.name for tag in body.find_all(True)}


@planted
def test_every_kind_of_request_and_script_is_noticed(html):
    assert export.reaches_out(f"<p>a</p>{html}<p>b</p>")


@pytest.mark.parametrize(
    "html",
    [
        '<a href="https://example.org/">a</a> <a href="#below">b</a> <a href="02_lstm.ipynb">c</a>',
        '<img src="data:image/png;base64,AAAA">',
        '<p style="background: url(data:image/png;base64,AAAA)">a</p>',
        "<style>a { mask: url( '#b' ); background: url('data:,a'); content: '\\25CF' }</style>",
        "<pre>&lt;script src=//example.org&gt; url(http://example.org)</pre>",
        '<svg><use href="#a"></use></svg>',
    ],
)
def test_what_stays_inside_the_page_is_allowed(html):
    assert export.reaches_out(html) == []


@planted
def test_html_of_a_library_that_asks_for_something_is_refused(html):
    with pytest.raises(export.NotebookFailed, match="01_tiny"):
        export.to_html(notebook(shown("text/html", f"<p>a</p>{html}")), "01_tiny")


@planted
def test_html_in_markdown_is_text_or_gone(html):
    """As an output, which data may have gone into, and as a cell of the notebook."""
    cell = nbformat.v4.new_markdown_cell(html)
    page = export.to_html(notebook(shown("text/markdown", html), cells=[cell]), "01_tiny")
    text, elements = parts(page)
    harmless = {"a", "p", "table", "tbody", "tr", "td"}
    for tag in BeautifulSoup(html, "html.parser").find_all(True):
        assert tag.name in harmless or text.count(f"<{tag.name}") == 2
        assert tag.name in harmless or tag.name not in elements


@planted
def test_a_page_is_refused_where_the_cleaning_fails(html, monkeypatch):
    monkeypatch.setattr(export, "clean", lambda text: text)
    with pytest.raises(export.NotebookFailed, match="01_tiny"):
        export.to_html(notebook(shown("text/markdown", html)), "01_tiny")


def test_tables_links_code_and_figures_stay():
    markdown = (
        "# Head\n\n**bold** *slanted* [link](https://example.org/a?b=1) `x < 1`\n\n"
        "| a | b |\n| --- | ---: |\n| 1 | 2 |\n\n1. one\n2. two\n\n```python\nx = 1\n```\n"
    )
    table = (
        "<div><style scoped>.dataframe tbody tr th { vertical-align: top; }</style>"
        '<table border="1" class="dataframe"><thead><tr style="text-align: right;"><th colspan="2" '
        'halign="left">a</th></tr></thead><tbody><tr><th>0</th><td>1</td></tr></tbody></table></div>'
    )
    outputs = [shown("text/html", table), shown("text/markdown", markdown), shown("image/png", "AAAA")]
    body = BeautifulSoup(export.to_html(notebook(*outputs), "01_tiny"), "html.parser").body
    assert body.select_one("table.dataframe")["border"] == "1"
    assert body.select_one("table.dataframe tr")["style"] == "text-align: right;"
    assert body.select_one("table.dataframe th")["colspan"] == "2"
    assert body.select_one("td[style]")["style"] == "text-align:right;"
    assert body.select_one('a[href="https://example.org/a?b=1"]').text == "link"
    assert body.select_one('img[src="data:image/png;base64,AAAA"]')
    assert [tag.text for tag in body.select("ol li")] == ["one", "two"]
    assert body.select_one("h1 a.anchor-link") and body.select_one("div.highlight span.mi").text == "1"
    assert "scoped" not in str(body) and "<style" not in str(body)


def test_scripts_and_widgets_of_an_output_are_left_out():
    for mime in ("application/javascript", "application/vnd.jupyter.widget-view+json", "text/vnd.mermaid"):
        text, elements = parts(export.to_html(notebook(shown(mime, HOSTILE)), "01_tiny"))
        assert "plain" in text and "script" not in elements and "taken" not in text


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The page of a real run: a title in Markdown as it is and as text, in a frame, a line, a figure."""
    folder = tmp_path_factory.mktemp("page")
    cells = [
        nbformat.v4.new_code_cell(
            f"title = {HOSTILE!r}\n"
            "import matplotlib.pyplot as plt\nimport pandas as pd\nfrom IPython.display import Markdown\n"
            "from dualrec_utils.show import markdown, tables\n"
            "frame = pd.DataFrame({'title': [title]})\nprint(title)\nplt.plot([1, 2]);"
        ),
        nbformat.v4.new_code_cell("Markdown(f'**{title}**')"),
        nbformat.v4.new_code_cell("Markdown(f'**{markdown.as_text(title)}**')"),
        nbformat.v4.new_code_cell("frame"),
        nbformat.v4.new_code_cell("Markdown(tables.to_markdown(frame))"),
    ]
    source, path = folder / "01_tiny.ipynb", folder / "pages/01_tiny.html"
    made = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": KERNELSPEC})
    nbformat.write(made, str(source))
    notebooks.run(source, page=path, cwd=folder)
    return path


def test_a_title_is_text_wherever_a_notebook_shows_it(page):
    body = BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser").body
    outputs = body.select("div.jp-OutputArea-output")
    assert sum(HOSTILE in output.get_text() for output in outputs) == 5
    assert [image["src"][:22] for image in body.select("img")] == ["data:image/png;base64,"]


def test_readings_take_the_words_of_the_data_and_titles_do_not():
    games = Domain(item="game", items="games", verb="bought", history="", details="")
    head = (
        "<table><thead><tr><th>movie</th></tr></thead><tbody><tr><td>Scary Movie</td></tr></tbody></table>"
    )
    code = '```python\nname = "movies"\n\nrated = 1\n```'
    outputs = [
        shown("text/markdown", "Movies rated.\n\n| movie |\n| --- |\n| Scary Movie |\n\nOne movie."),
        shown("text/html", head),
        shown("text/markdown", f"A movie:\n\n{code}\n\nmovie"),
    ]
    executed = notebook(*outputs)
    executed.cells.insert(0, nbformat.v4.new_markdown_cell("# A movie"))
    escaped = nbformat.v4.new_code_cell("Markdown(as_text(title))")
    escaped.outputs = [shown("text/markdown", "Scary Movie")]
    executed.cells.append(escaped)
    assert notebooks.in_words(executed, MOVIES) == executed
    text, outer, last = notebooks.in_words(executed, games).cells
    assert text.source.startswith("# A movie\n\n") and text.source.endswith("read game.")
    first, second, third = (output.data for output in outer.outputs)
    assert third["text/markdown"] == f"A game:\n\n{code}\n\ngame"
    assert first["text/markdown"] == ("Games bought.\n\n| game |\n| --- |\n| Scary Movie |\n\nOne game.")
    assert second["text/html"] == head.replace("<th>movie", "<th>game")
    assert last.outputs[0].data["text/markdown"] == "Scary Movie"
    assert executed.cells[0].source == "# A movie", "the argument stays as it is"


@pytest.fixture
def host():
    """A server on this machine and the addresses that it was asked for."""
    asked_for = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked_for.append(self.path)
            self.send_error(404)

        do_POST = do_GET

        def log_message(self, *args):
            """Nothing on the terminal."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}", asked_for
        server.shutdown()


# `page` comes first: its notebook cannot run while Playwright does.
def test_a_browser_shows_titles_and_figures_without_a_complaint(page, visit):
    tab, complaints, _ = visit(page)
    assert tab.title() == "01_tiny" and tab.inner_text("body").count(HOSTILE) >= 5
    assert tab.locator("img").count() == 1 and complaints == []


@pytest.mark.parametrize("with_policy", [True, False], ids=["with the policy", "without it"])
def test_the_policy_stops_what_would_get_onto_a_page(page, host, visit, tmp_path, with_policy):
    address, asked_for = host
    # A page that leads elsewhere by itself is stopped by no policy: it is refused when it is written.
    kinds = [html for name, html in REMOTE.items() if name not in ("refresh", "base", "img, relative")]
    html = page.read_text(encoding="utf-8")
    planted = "".join([*kinds, *SCRIPTS.values()]).replace("HOST", address)
    html = html.replace("</main>", f"{planted}</main>").replace(
        f'src="//{address}', f'src="http://{address}'
    )
    if not with_policy:
        html = html.replace("Content-Security-Policy", "no-policy")
    path = tmp_path / "planted.html"
    path.write_text(html, encoding="utf-8")
    tab, complaints, _ = visit(path)
    if with_policy:
        assert asked_for == [] and tab.title() == "01_tiny" and complaints
    else:
        seen = {address.strip("/").split(".")[0] for address in asked_for}
        assert {"a", "img", "srcset", "iframe", "object", "embed", "poster", "attribute", "import"} <= seen
        assert tab.title() == "taken"

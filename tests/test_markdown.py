"""Text from data stays text in Markdown, by nbconvert's reader and by CommonMark's."""

import pytest
from bs4 import BeautifulSoup
from hypothesis import assume, given, settings, strategies as st
from markdown_it import MarkdownIt
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

from dualrec_utils.show.markdown import as_text

READERS = {
    "nbconvert": lambda text: MarkdownWithMath(renderer=IPythonRenderer(escape=False)).render(text),
    "CommonMark": MarkdownIt("gfm-like", {"linkify": False}).render,
}
# Where notebooks and tables put a value.
PLACES = [
    "{}",
    "of {} movies",
    "**{}**",
    "*{}*",
    "`a` {} `b`",
    "# {}",
    "- {}\n- b",
    "| a |\n| --- |\n| {} |",
]
PIECES = [
    *(
        "*",
        "**",
        "_",
        "__",
        "`",
        "``",
        "~~",
        "$",
        "|",
        "\\",
        "\n",
        "\n\n",
        "    ",
        " ",
        "a",
        "b_c",
        "1.",
        "2) ",
    ),
    *(
        "# ",
        "#",
        "- ",
        "+ ",
        "---",
        "===",
        ": ",
        "> ",
        "- [ ] ",
        "&lt;",
        "&#42;",
        "<",
        ">",
        "\\(",
        "\\\\[",
        "]",
    ),
    *("[a](b)", "![a](b)", "[a]: b", "[a][a]", "<b>", "<img src=x onerror=y>", "<!-- ", "http://a.b/c*d*"),
    *("\\begin{a}", "\\end{a}", "<script>", "</p>", "<http://a.b>", "a@b.c", '"', "'"),
]
TEXTS = st.one_of(
    st.lists(st.sampled_from(PIECES), min_size=1, max_size=8).map("".join),
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20),
)
every_reader = pytest.mark.parametrize("reader", READERS.values(), ids=READERS)


def words(html):
    return " ".join(BeautifulSoup(html, "html.parser").get_text().split())


def elements(html):
    return [tag.name for tag in BeautifulSoup(html, "html.parser").find_all(True)]


@every_reader
@given(text=TEXTS, place=st.sampled_from(PLACES))
@settings(max_examples=300)
def test_any_text_is_shown_as_it_is_and_adds_no_element(reader, text, place):
    plain = " ".join(text.split())
    assume(plain)
    shown, expected = reader(place.format(as_text(text))), reader(place.format("STAND-IN"))
    assert words(shown) == words(expected).replace("STAND-IN", plain)
    assert elements(shown) == elements(expected)


@every_reader
@pytest.mark.parametrize("text", ["*a* b", "<b>a</b>", "[a](b)", "# a", "a | b", "`a`"])
def test_the_rule_notices_text_that_is_not_escaped(reader, text):
    """Each of these is read as markup where it stands as it is."""
    place = "| a | b |\n| - | - |\n| {} | c |" if "|" in text else "{}"
    assert words(reader(place.format(text))) != words(reader(place.format(as_text(text))))


def test_names_and_numbers_need_no_escape():
    for text in (
        "most_popular",
        "hit_rate@5",
        "0.086 [0.070, 0.103]",
        "-0.012",
        "12 Angry Men (1957)",
        "+0.1",
    ):
        assert as_text(text) == text


def test_by_hand():
    assert as_text("*batteries not included (1987)") == "\\*batteries not included (1987)"
    assert as_text("<img src=x>\n1. &") == "&lt;img src=x&gt; 1. &amp;"
    assert as_text(3) == "3"

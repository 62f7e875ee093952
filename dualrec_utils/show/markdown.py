"""Values inside Markdown that stay the text they are."""

from __future__ import annotations

import html
import re

# What Markdown would read as emphasis, code, mathematics, a strike, a link, a picture or a table's rule;
# an underscore counts only at the edge of a word, so that `most_popular` stays readable in the source.
_MARKS = re.compile(r"[`*$~|]|(?<![^\W_])_|_(?![^\W_])|\](?=[(\[])|(?<=:)/(?=/)")
# What would open a list, a heading, a link's address or the like at the start of a line.
_OPENING = re.compile(r"^(?:[#=:]|\[(?=[^\]]*\]:)|[-+](?=[\s+-]|$)|(\d+)(?=[.)](?:\s|$)))")


def as_text(value: object) -> str:
    """A value as Markdown that shows exactly its text, in one line, whatever markup it holds.

    For every title, name or model answer that goes into `Markdown(f"...")`: they are data, and a title may
    be `*batteries not included` or `<img src=x>`. White space is written as one space.
    """
    line = html.escape(" ".join(str(value).split()), quote=False)
    # Two backslashes would open mathematics.
    line = line.replace("\\", "&#92;")
    line = _MARKS.sub(lambda mark: "\\" + mark[0], line)
    return _OPENING.sub(lambda mark: f"{mark[1]}\\" if mark[1] else "\\" + mark[0], line)

"""From a language model's free-form answer to the titles it lists."""

from __future__ import annotations

import re

from dualrec_utils.core.config import GENRES
from dualrec_utils.models.language.thoughts import without_thoughts

_BULLET = re.compile(r"(?:[-+*•‣▪◦·–—]+|\(?\d{1,3}[.)\]:](?=\s))\s*")
_YEAR = re.compile(r"[(\[]\s*((?:18|19|20)\d\d)\s*[)\]]")
_LOOSE_YEAR = re.compile(r"\s*[,–—-]\s*((?:18|19|20)\d\d)\b.*$")
_GENRE_LABEL = re.compile(r"[\s,;:|–—(\[-]*\bgenres?\s*:.*$", re.IGNORECASE)
_REMARK = re.compile(r"\s+[–—|]\s+.*$")
_GENRE = "|".join(re.escape(genre) for genre in (*GENRES, "Science Fiction", "Family"))
_GENRE_TAIL = re.compile(
    rf"\s*(?:[(\[]|[-:,]\s)\s*(?:{_GENRE})(?:\s*[,/&|]\s*(?:{_GENRE}))*\s*[)\]]?\s*$", re.IGNORECASE
)
# Quotes, markup and loose punctuation around a title.
_EDGES = " \t,;:–—-*_#\"'“”„«»‘’「」『』"


def parse_titles(answer: str, *, limit: int = 3) -> list[str]:
    """Read the titles out of a free-form answer. Never raises.

    Lines with a bullet or a number are the list; an answer without any is read by its lines that
    carry a year; failing that, by all lines that do not end in a colon. Bullets, numbers, markup,
    quotes, genres, remarks after the year and thoughts are cut off; the year, where given, is kept.

    Args:
        answer: what the model wrote.
        limit: most titles returned, the first ones.

    Returns:
        At most `limit` non-empty strings, "Title (year)" or "Title", in the order written.

    >>> parse_titles('Sure!\\n1. **"Heat"** (1995) - Genres: Crime\\n2. Matrix, The (1999)')
    ['Heat (1995)', 'Matrix, The (1999)']
    """
    lines = [_plain(line) for line in without_thoughts(answer).splitlines()]
    lines = [line for line in lines if line]
    for wanted in (_BULLET.match, _YEAR.search, lambda line: not line.endswith(":")):
        titles = [title for line in lines if wanted(line) and (title := _title_of(line))]
        if titles:
            return titles[:limit]
    return []


def _plain(line: str) -> str:
    """A line without bold, code and heading marks."""
    return line.replace("**", "").replace("`", "").strip().lstrip("#").strip()


def _title_of(line: str) -> str:
    """The title of one line, with its year in round brackets where one stands; empty if none."""
    text = _BULLET.sub("", line, count=1) if _BULLET.match(line) else line
    year = _YEAR.search(text)
    if year:
        title = text[: year.start()]
    else:
        title = _GENRE_LABEL.sub("", text)
        year = _LOOSE_YEAR.search(title)
        title = title[: year.start()] if year else _GENRE_TAIL.sub("", _REMARK.sub("", title))
    title = title.strip(_EDGES)
    if not any(character.isalnum() for character in title):
        return ""
    return f"{title} ({year[1]})" if year else title

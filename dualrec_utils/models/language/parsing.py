"""From a language model's free-form answer to the titles it lists."""

from __future__ import annotations

import ast
import contextlib
import json
import math
import re
import warnings
from collections.abc import Callable
from typing import Any

from dualrec_utils.core.config import GENRES
from dualrec_utils.models.language.thoughts import without_thoughts

Known = Callable[[str], bool]
# Characters of an answer, and of a line, that are read: what follows holds no short list of titles, and
# would cost time without bound.
MAX_ANSWER, MAX_LINE = 20_000, 500
MAX_WITH_THOUGHTS = 1_000_000

# "（１９９５）" -> "(1995)"
_FULL_WIDTH = {code: code - 0xFEE0 for code in (*range(0xFF01, 0xFF21), 0xFF3B, 0xFF3D)} | {
    ord(wide): narrow for wide, narrow in zip("【】〔〕", "[][]", strict=True)
}
_MARKUP = re.compile(r"\*\*|__(?=\S)|(?<=\S)__|`|</?(?:b|i|em|strong|li|ol|ul|p|u|br)\s?/?>", re.IGNORECASE)
_NEW_LINE = re.compile(r"<(?:br|li|p|tr|answer|output|response|solution)\b[^<>]{0,40}>", re.IGNORECASE)
_LINK = re.compile(r"\[([^\[\]]*)\]\([^()\s]*\)")
# "(500) Days of Summer" and "8 1/2" begin with no number of a list.
_BULLET = re.compile(
    r"[-+*>•‣▪◦·–—→►★]+\s*|(?:#|no\. ?)?\(?\d{1,2}[.)\]:](?=[\s《「\"“]|[^\W\d_])\s*|\d{3}\.(?=\s)\s*"
    r"|\d{1,2}、|\d\ufe0f?\u20e3\s*|\[[ xX\d]{1,2}\]\s+|#\d{1,2}\s+|\d{1,2}\s[-–—]\s+|[①-⑳]\s*"
    r"|\(?(?:[a-e]\)|(?:i{1,3}|iv)[.)])\s+",
    re.IGNORECASE,
)
_OPENING_QUOTES = "\"'“„«‘「『《"
_LABEL = re.compile(
    r"(?:(?:(?:movie|film|recommended|full|first|second|third|1st|2nd|3rd|next)\s+)?(?:titles?|movies?|films?"
    r"|names?|recommendations?|suggestions?|options?|choices?|picks?|answers?)(?:\s*\([^()]{1,30}\))?"
    r"\s*#?(?:\d{0,2}|[A-E]|one|two|three)|first|second|third|1st|2nd|3rd|next)[\"']?\s*(?::|(?<=\d)\s-)\s*",
    re.IGNORECASE,
)
# Lines that say something else of the item before them.
_DETAIL = re.compile(
    r"[\"']?(?:release(?:d| year| date)?|year|genres?|categor(?:y|ies)|directors?|directed by|starring|cast"
    r"|actors?|plot|synopsis|summary|description|overview|why\b.{0,40}|reasons?|explanation|rating|runtime"
    r"|language|country|similar to|note)[\"']?\s*:",
    re.IGNORECASE,
)
_DETAIL_YEAR = re.compile(
    r"[\"']?(?:release(?:d| year| date)?|year)[\"']?\s*:\D{0,5}((?:18|19|20)\d\d)\b", re.I
)
# An introduction or a closing line: how it begins, and what it speaks of.
_TALK = re.compile(
    r"(?:here(?:'s|’s| are| is)|(?:sure|certainly|of course|absolutely|great|ok|okay)\s?[!,.]"
    r"|based on|considering|given (?:the|you|that|this|their|these)|since (?:you|the user)|because you"
    r"|i(?:['’](?:d|m|ve|ll)|\s(?:am|would|have|can|will|do|don['’]t|also|highly|think|hope|recommend|suggest"
    r"|believe|cannot|can['’]t))\b"
    r"|(?:these|those|the following|all|each|my|some|three|more|other|additional|top|a few)\b.*\b(?:movies"
    r"|films|titles|recommendations|suggestions|picks)\b"
    r"|below (?:are|is)\b|in light of\b|(?:movies|films|titles) (?:that |for )?you\b"
    r"|let me know|enjoy\b|happy watching|hope|feel free"
    r"|if you(?:['’]d|\s(?:would|want|need|liked?|enjoy(?:ed)?|have))\b"
    r"|as an? (?:helpful|ai)|the user|this user"
    r"|(?:would|do) you|you (?:might|may|would|could|will|should)|please|note that|thank(?:s| you) for"
    r"|(?:movie\s)?(?:recommend|suggest)(?:ed|ations?|ions?)\b)",
    re.IGNORECASE,
)
_TOPIC = re.compile(
    r"\b(?:you|your|user|movies?|films?|titles?|recommend\w*|suggest\w*|enjoy\w*|watching|tastes?)\b",
    re.I,
)
# What may stand before a title in the same sentence.
_OFFER = re.compile(
    r"^(?:i(?:['’]d|\s(?:would|can|will|also|highly)){0,3}\s(?:recommend|suggest)"
    r"|you (?:should|might|may|could|would)(?: also)? (?:watch|see|try|like|love|enjoy))"
    r"(?: watching)?:?\s+(?=(?-i:[A-Z0-9\"“]))",
    re.IGNORECASE,
)
_YEAR = re.compile(r"[(\[]\s*((?:18|19|20)\d\d)\s*[)\]]")
_YEAR_AMONG_WORDS = re.compile(r"[(\[][^()\[\]]*?\b((?:18|19|20)\d\d)\b[^()\[\]]*[)\]]")
_GENRE_LABEL = re.compile(r"[\s,;:|–—(\[-]*\bgenres?\s*:.*$", re.IGNORECASE)
_REMARK = re.compile(r"\s[–—|]\s.*$")
_REMARK_START = re.compile(r"\s[-–—|]\s")
_OTHER_GENRES = (
    "Science Fiction|Family|Mystery|Biography|History|Historical|Superhero|Romantic|Neo-noir|Sport"
)
_GENRE = "|".join(map(re.escape, GENRES)) + f"|{_OTHER_GENRES}"
_GENRE_TAIL = re.compile(
    rf"\s?(?:[(\[]|[-:,|–—]\s)\s?(?:{_GENRE})(?:\s?[,/&|]?\s?(?:and\s)?(?:{_GENRE}))*\s?[)\]]?$",
    re.IGNORECASE,
)
_LOOSE_YEAR = re.compile(
    rf"(?<=[\w.!?)'’\"”」』》*])\s*[\s,:|–—-]\s*\(?(?:(?:year\s?:|released(?: in)?:?)\s*)?"
    rf"((?:18|19|20)\d\d)(?=\s*(?:[.)]?$|[;|(\[–—-]|,(?!\s(?:The|An?)\b)|(?:{_GENRE})\b))",
    re.IGNORECASE,
)
_BETWEEN = re.compile(r"(?:\s*\([^()]*\))?\s*(?:[,;|/]\s*(?:(?:and|then)\s+|&\s*)?|and\s+|\d{1,2}[.)]\s+)")
# Quotes, markup and loose punctuation around a title; pictures before it. "Gone Fishin'" ends with its own.
_EDGES = ' \t,;:–—-*_#"“”„«»「」『』《》〈〉|'
_BEFORE_TITLE = re.compile(r"^[^\w\s(\[$'’‘.¡¿@&]+\s*")


def _nothing_known(_: str) -> bool:
    return False


def parse_titles(answer: str, *, limit: int = 3, known: Known = _nothing_known) -> list[str]:
    """Read the titles out of a free-form answer. Never raises.

    JSON and Markdown tables are read as such. Otherwise lines with a bullet or a number are the list; an
    answer without any (or with the one in front that it was begun with) is read by its lines that carry
    a year; failing that, by all lines. Introductions, closing lines and lines with details of the item
    before them ("Genre: ...") are no titles. Bullets, numbers, labels ("Movie 1:"), markup, quotes, genres,
    remarks after the year and thoughts are cut off; the year, where given, is kept.

    Args:
        answer: what the model wrote; its first :data:`MAX_ANSWER` characters are read, thoughts apart, and
            of a line the first :data:`MAX_LINE`.
        limit: most titles returned, the first ones.
        known: whether a text is a title as it stands, such as :meth:`matching.TitleMatcher.knows`. A line
            that is one is a title like a line with a year, and nothing is cut off it.

    Returns:
        At most `limit` non-empty strings, "Title (year)" or "Title", in the order written.

    >>> parse_titles('Sure!\\n1. **"Heat"** (1995) - Genres: Crime\\n2. Matrix, The (1999)')
    ['Heat (1995)', 'Matrix, The (1999)']
    """
    text = without_thoughts(answer[:MAX_WITH_THOUGHTS])[:MAX_ANSWER].translate(_FULL_WIDTH)
    parts = _json_titles(text)
    if parts is None:
        parts = [
            part
            for line in _list_lines(text, known)
            for part in ([line] if known(line) else _items_of(line))
        ]
    # Half a surrogate pair, as an escape that is cut off leaves it, fits into no file: it becomes "?".
    encodable = (part.encode("utf-8", "replace").decode() for part in parts)
    return [title for part in encodable if (title := _title_of(part, known))][:limit]


def is_capped(answer: str) -> bool:
    """Whether an answer has more than is read of it, see :func:`parse_titles`."""
    text = without_thoughts(answer[:MAX_WITH_THOUGHTS])
    long_line = any(len(line) > MAX_LINE for line in text[:MAX_ANSWER].splitlines())
    return len(answer) > MAX_WITH_THOUGHTS or len(text) > MAX_ANSWER or long_line


def _json_titles(text: str) -> list[str] | None:
    """The titles of a JSON list or of JSON objects, one line each; None where there is no JSON."""
    start, end = text.find("["), text.rfind("]") + 1
    entries = _json(text[start:end])
    if entries and isinstance(entries, list | tuple) and not _YEAR.search(text[:start] + text[end:]):
        lines = list(map(_line_of, entries))
        if lines and all(lines):
            return lines
    objects = [entry for entry in map(_json, re.findall(r"\{[^{}]*\}", text)) if isinstance(entry, dict)]
    return [line for entry in objects for line in _lines_of(entry) if line] or None


def _json(text: str) -> Any:
    """What a text holds as JSON or, with single quotes or a comma too many, as Python; None if nothing."""
    with contextlib.suppress(ValueError, RecursionError):
        return json.loads(text)
    no_python = contextlib.suppress(ValueError, RecursionError, SyntaxError, MemoryError, TypeError)
    with warnings.catch_warnings(action="ignore"), no_python:
        return ast.literal_eval(text)
    return None


def _lines_of(entry: dict) -> list[str]:
    # {"1": ..., "2": ...}, {"movie_1": ..., "movie_2": ...}
    if len(entry) > 1 and len({re.sub(r"[\W\d_]", "", str(key)) for key in entry}) == 1:
        return list(map(_line_of, entry.values()))
    return [_line_of(entry)]


def _line_of(entry: Any) -> str:
    """A text, or "Title (year)" of an object; empty for anything else."""
    if isinstance(entry, str):
        return entry
    if not isinstance(entry, dict):
        return ""
    known = {
        str(key).casefold(): str(value) for key, value in entry.items() if isinstance(value, str | int)
    }

    def first(*words: str) -> str:
        return next((known[key] for word in words for key in known if word in key), "")

    title = first("title", "name", "movie", "film")
    year = re.search(r"(?:18|19|20)\d\d", first("year", "release", "date"))
    return f"{title} ({year[0]})" if title and year and not _YEAR.search(title) else title


def _list_lines(text: str, known: Known) -> list[str]:
    """The lines of an answer that may be titles, without their bullets."""
    lines: list[tuple[bool, int, str]] = []  # has it a bullet; how deep it stands; without bullets
    header: list[str] = []
    for raw in _NEW_LINE.sub("\n", text).splitlines():
        if not any(map(str.isalnum, raw[:MAX_LINE])) or raw.lstrip().startswith(("```", "~~~")):
            continue
        line = _LINK.sub(r"\1", _MARKUP.sub("", raw[:MAX_LINE].strip()))
        bare, depth = _without_bullets(line, known), len(raw) - len(raw.lstrip())
        if known(bare):
            lines.append((bare != line, depth, bare))
        elif bare.startswith("|"):
            cells = [cell.strip() for cell in bare.strip("| ").split("|")]
            if header:
                entry = dict(zip(header, cells, strict=False))
                lines.append((True, 0, _line_of(entry) or max(cells, key=len)))
            header = header or [cell.casefold() for cell in cells]
        elif (year := _DETAIL_YEAR.match(bare)) and lines and not _year_of(lines[-1][2]):
            lines[-1] = (*lines[-1][:2], f"{lines[-1][2]} ({year[1]})")
        elif not _DETAIL.match(bare) and (said := _without_talk(bare)):
            lines.append((bare != line.lstrip("# "), depth, said))
    listed = [line for line in lines if line[0]]
    dated = [said for _, _, said in lines if _year_of(said) or known(said)]
    # A bullet in front of the first line alone is the one that every answer is begun with.
    if not listed or (listed == lines[:1] and len(dated) > 1):
        return dated or [said for _, _, said in lines]
    # What stands deeper than the titles, and has no year as they have, says something of them.
    top = min(depth for _, depth, _ in listed) if dated else math.inf
    return [said for _, depth, said in listed if depth <= top or _year_of(said) or known(said)]


def _without_bullets(line: str, known: Known) -> str:
    """A line without bullets, numbers, heading marks and labels in front, up to a title that is known."""
    before = None
    line = re.sub(r"^#+(?=[\s#])\s*", "", line)
    # The bullet in front of a title that is known is no part of it: "- Halo".
    while before != line and not (re.match(r"[\w(\[]", line) and known(line)):
        before = line
        line = _BULLET.sub("", line, count=1) if _BULLET.match(line) else line
        label = _LABEL.match(line.lstrip(_OPENING_QUOTES))
        line = line.lstrip(_OPENING_QUOTES)[label.end() :] if label else line
    return line.strip()


def _without_talk(line: str) -> str:
    """A line, or what stands behind its introduction; nothing of "Here are three movies:" and "Enjoy!"."""
    year = _year_of(line)
    line = _OFFER.sub("", line) if year else line
    if re.match(r"(?:enjoy|happy watching|next up)\W*$", line, re.IGNORECASE) or (
        line.endswith(":") and not year
    ):
        return ""
    if not _TALK.match(line) or not _TOPIC.search(line):
        return line
    introduction, colon, rest = line.partition(": ")
    if colon and _TOPIC.search(introduction) and _year_of(rest):
        return rest
    # "Enjoy the Silence (1990)" is a title, "Since you liked Heat (1995), here are three movies" is none.
    is_title = year and not _TOPIC.search(line[year.end() :]) and not line.endswith(":")
    return line if is_title else ""


def _year_of(text: str) -> re.Match | None:
    bracketed = _YEAR.search(text) or _YEAR_AMONG_WORDS.search(text)
    # Without brackets the last one: "Legend of 1900, The, 1998".
    return bracketed or max(_LOOSE_YEAR.finditer(text), key=re.Match.start, default=None)


def _items_of(line: str) -> list[str]:
    """The items of a line that lists several: "Heat (1995), Fargo (1996) and Casino (1995)"."""
    items, start = [], 0
    for year in _YEAR.finditer(line):
        gap = _BETWEEN.match(line, year.end())
        if gap is None or not _YEAR.search(line, gap.end()):
            break
        items.append(line[start : year.end()])
        start = gap.end()
    return [*items, line[start:]]


def _title_of(text: str, known: Known) -> str:
    """The title of one line, with its year in round brackets where one stands; empty if none."""
    text = " ".join(text.split())
    # The longest beginning that is a title: remarks follow, but "Halo 3 - Xbox 360" may be one whole.
    for end in (len(text), *reversed([cut.start() for cut in _REMARK_START.finditer(text)])):
        if known(text[:end]):
            return text[:end].strip(_EDGES)
    year = _year_of(text)
    title = text[: year.start()] if year else _REMARK.sub("", _GENRE_LABEL.sub("", text))
    if year and not any(map(str.isalnum, title)):
        title = text[year.end() :]
    title = _BEFORE_TITLE.sub("", _GENRE_TAIL.sub("", title.strip()).strip(_EDGES))
    if title[:1] == title[-1:] and title[:1] in "'’‘":
        title = title[1:-1]
    if not any(map(str.isalnum, title)):
        return ""
    return f"{title} ({year[1]})" if year else title

"""From a title as text to an item of the catalog.

A text is brought to a normal form and must name an item by one of six rules, tried in order (see
:meth:`TitleMatcher.match`). There is no score of likeness: sequels and remakes differ by a letter or a
digit, and a wrong match invents a recommendation. A year, where the text gives one, must agree within
one: release dates differ by country.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd
from rapidfuzz import process
from rapidfuzz.distance import OSA

from dualrec_utils.core.config import ITEM, TITLE, YEAR
from dualrec_utils.core.titles import named_as, normal_form

_YEAR = re.compile(r"[(\[]\s*((?:18|19|20)\d\d)\s*[)\]]")
YEAR_TOLERANCE = 1
# Characters of a text that may be a title: a bound on the work, far above any title's length.
MAX_LENGTH = 300

# Words that a title may have or lack: every other word tells items apart.
_SMALL_WORDS = {"the", "a", "an", "and"}
_ABBREVIATIONS = (
    "dr=doctor mr=mister mrs=missus st=saint jr=junior vs=versus blvd=boulevard capt=captain lt=lieutenant"
    " sgt=sergeant prof=professor hrs=hours vol=volume"
)
_SAME_WORDS = dict(pair.split("=") for pair in _ABBREVIATIONS.split())
_ORDINALS = "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth"
_ENDINGS = {1: "st", 2: "nd", 3: "rd"}
_SAME_WORDS |= {word: f"{n}{_ENDINGS.get(n, 'th')}" for n, word in enumerate(_ORDINALS.split(), start=1)}
_UNITS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
    " seventeen eighteen nineteen"
)
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_CARDINALS = {word: n for n, word in enumerate(_UNITS.split())}
_CARDINALS |= {word: 10 * n for n, word in enumerate(_TENS.split(), start=2)}
_ROMAN = "i ii iii iv v vi vii viii ix x xi xii xiii xiv xv xvi xvii xviii xix xx"
_ROMAN_NUMERALS = {numeral: n for n, numeral in enumerate(_ROMAN.split(), start=1)}

# Where a title is cut: behind a name (colon, dash, "or", apposition), behind a series, a hero, an author.
_AFTER_NAME = re.compile(
    r"\s*:\s+|\s+[-–—]\s+|,?\s+or,?:?\s+|(?<! and),?\s+(?=(?:the|an?)\s|episode\s\w+\s*[:–-])",
    re.IGNORECASE,
)
_OR = re.compile(r"\bor\b", re.IGNORECASE)
# "Star Trek II: The Wrath of Khan" for "Star Trek: The Wrath of Khan".
_SERIES_NUMBER = re.compile(r"\s+(?:\d|[ivx]+)(?=:\s)", re.IGNORECASE)
_AFTER_SERIES = re.compile(r"\s*:\s+|\s+[-–—]\s+")
_AFTER_HERO = re.compile(r"\s+and\s+the\s+", re.IGNORECASE)
_AUTHOR = re.compile(r"^(?!(?:the|an?|my|our|your|his|her|their)\s)[^\s:]+ [^\s:]+['’]s\s+", re.IGNORECASE)
_EPISODE = re.compile(r"\bepisode \w+(?:\s*[-–:])?\s+(?=\w)", re.IGNORECASE)
# A slip of the pen is forgiven in a long word of a long title alone.
_SLIP_WORD, _SLIP_TITLE = 6, 10


def split_year(text: str) -> tuple[str, int | None]:
    """Cut a text at its first bracketed year: what stands before it, and the year.

    >>> split_year("Matrix, The (1999) (Action, Sci-Fi)")
    ('Matrix, The', 1999)
    """
    match = _YEAR.search(text)
    return (text[: match.start()].strip(), int(match[1])) if match else (text.strip(), None)


def spelt(title: str) -> str:
    """The normal form with numbers as digits, abbreviations in full and no "part" before a number.

    >>> spelt("Rocky IV"), spelt("Godfather: Part II, The"), spelt("Forty-Eight Hrs.")
    ('rocky 4', 'the godfather 2', '48 hours')
    """
    text = re.sub(r"([½¼¾⅓⅔])", r" \1", title).replace("π", "pi").replace("+", " and ")
    text = re.sub(r"\bv\.", " vs ", re.sub(r"(?<=\d),(?=\d{3})", "", text))
    return " ".join(_with_digits(normal_form(text).split()))


def _with_digits(words: list[str]) -> list[str]:
    done: list[str | int] = []  # int: a number that was written as words, and may go on
    for place, word in enumerate(words):
        number = _CARDINALS.get(word)
        if place and number is None and (word != "i" or done[-1] in ("part", "episode")):
            number = _ROMAN_NUMERALS.get(word)
        hundreds = done[-2] if len(done) > 1 and done[-1] == "and" else None
        before = done[-1] if done and isinstance(done[-1], int) else None
        if word in ("hundred", "thousand") and before:
            done[-1] = before * (100 if word == "hundred" else 1000)
        elif number is None:
            done.append(_SAME_WORDS.get(word, word))
        elif before and (before % 100 == 0 or (before % 100 >= 20 and before % 10 == 0 and number < 10)):
            done[-1] = before + number
        elif isinstance(hundreds, int) and hundreds >= 100 and hundreds % 100 == 0:
            done[-2:] = [hundreds + number]
        else:
            done.append(number)
    texts = [str(word) for word in done]
    followed = zip(texts, [*texts[1:], ""], strict=False)
    return [word for word, following in followed if not (word == "part" and following.isdigit())]


def names_of_title(title: str) -> list[str]:
    """Normal forms a title goes by: whole, without its bracketed alias, and the alias alone.

    >>> names_of_title("Tin Drum, The (Blechtrommel, Die)")
    ['the tin drum die blechtrommel', 'the tin drum', 'die blechtrommel']
    >>> names_of_title("Strike! (a.k.a. The Hairy Bird)")[1:]
    ['strike', 'the hairy bird']
    """
    parts = [spelt(name) for name in named_as(title)]
    return [name for name in dict.fromkeys([" ".join(parts), *parts]) if name.strip()]


def _content(name: str) -> tuple[str, ...]:
    """The words of a normal form that tell items apart; all of them where there are no others."""
    words = tuple(name.split())
    return tuple(word for word in words if word not in _SMALL_WORDS) or words


def _parts(title: str) -> dict[str, int]:
    """Normal forms of the parts by which a title is known -> by how many years a text may be off."""
    title = named_as(title)[0]
    beginnings = [(title[: cut.start()], _OR.search(cut[0])) for cut in _AFTER_NAME.finditer(title)]
    others = [title[cut.end() :] for cut in _AFTER_SERIES.finditer(title)]
    others += [_AUTHOR.sub("", title), _EPISODE.sub("", title)]
    # After "and the" one word says too little: "Beauty and the Beast" is not "The Beast".
    last = _AFTER_HERO.split(title)[-1]
    others += [last] if len(_content(spelt(last))) > 1 else []
    names = {spelt(part): 0 for part in others if part != title}
    # Before "or" stands the item's own name; before a colon perhaps that of a series, whose first item may
    # be a year older: "Air Bud" is not "Air Bud: Golden Receiver".
    names |= {spelt(part): YEAR_TOLERANCE if alternative else 0 for part, alternative in beginnings}
    return {name: tolerance for name, tolerance in names.items() if name}


def _same_numbers(one: str, other: str) -> bool:
    """Whether two normal forms have the same numbers; an episode's may be left out by one of them."""

    def numbers(name: str) -> str:
        return "".join(word for word in name.split() if any(map(str.isdigit, word)))

    if numbers(one) and numbers(other):
        return numbers(one) == numbers(other)
    return numbers(_EPISODE.sub("", one)) == numbers(_EPISODE.sub("", other))


class _Row(NamedTuple):
    item: int
    year: int | None
    name: str  # a normal form of the whole title or of an alias
    place: int  # among the names of the title: its own come before an alias
    tolerance: int  # how many years a text may be off


class TitleMatcher:
    """Matches texts to the items of one catalog.

    Args:
        items: catalog with `item_id`, `title`, `year`.
    """

    def __init__(self, items: pd.DataFrame):
        self._names, self._content, self._part = defaultdict(list), defaultdict(list), defaultdict(list)
        # Titles of items without a year: as they stand, and in normal form.
        self._exact: dict[str, int] = {}
        self._whole: dict[str, int] = {}
        for item, title, year in items.sort_values(ITEM)[[ITEM, TITLE, YEAR]].itertuples(index=False):
            names = names_of_title(title)
            # Of marks alone no text is read.
            if not names:
                continue
            if pd.isna(year):
                self._exact.setdefault(title, int(item))
                self._whole.setdefault(_letters(names[0]), int(item))
            for place, name in enumerate(names):
                row = _Row(int(item), None if pd.isna(year) else int(year), name, place, YEAR_TOLERANCE)
                self._names[_letters(name)].append(row)
                self._content[_content(name)].append(row._replace(tolerance=0))
            for name, tolerance in (pair for known in named_as(title) for pair in _parts(known).items()):
                self._part[_content(name)].append(row._replace(name=names[0], tolerance=tolerance))
        self._by_text = {" ".join(words): words for words in self._content}
        self._words = {word for words in self._content for word in words}

    def knows(self, text: str) -> bool:
        """Whether a text is, spaces and marks aside, the whole title of an item whose year is not known.

        Such a title may hold what elsewhere stands behind one: a number, a dash, brackets.
        """
        return self._item_without_year(text) is not None

    def _item_without_year(self, text: str) -> int | None:
        if text in self._exact:
            return self._exact[text]
        names = names_of_title(text) if self._whole and len(text) <= MAX_LENGTH else None
        return self._whole.get(_letters(names[0])) if names else None

    def match(self, text: str) -> int | None:
        """The item a text names, or None.

        What :meth:`knows` names is that item. Otherwise the first rule that fits decides:

        1. The normal form, spaces aside, is that of a catalog title or of its alternative title in
           brackets. Without a year in the text, this is the only rule, but for an article in front that
           may be left out: `Time to Kill`.
        2. The year belongs to the title: `Fantasia (2000)` for the item `Fantasia 2000`.
        3. The names differ in articles or "and" only, and the year is the same: `Usual Suspects (1995)`.
        4. The text is a part of the title, cut where titles are cut (at a colon, a dash, "or", "and the",
           an apposition, behind an author): `Dr. Strangelove (1964)`. Or the title is such a part of the
           text, and the year is the same: `Star Wars: Episode IV - A New Hope (1977)`.
        5. One letter of one long word is missing, doubled, exchanged or out of place in a title of
           several words, the slip is no word of another title, and the year is the same:
           `Pulp Fictoin (1994)`.

        6. The text numbers an item whose title has a subtitle alone, and the year is the same:
           `Star Trek II: The Wrath of Khan (1982)`.

        By rules 3 to 5 numbers must be the same (another part is another item), and one item alone must
        fit.

        Args:
            text: a title, with or without a year in brackets; what follows the year is ignored. More
                than :data:`MAX_LENGTH` characters are no title.

        Returns:
            `item_id`. By rules 1 and 2, among equally good names the nearest year wins, then the lowest
            `item_id` (a remake named without its year cannot be told apart).
        """
        text = " ".join(text.split())
        if len(text) > MAX_LENGTH:
            return None
        if (item := self._item_without_year(text)) is not None:
            return item
        title, year = split_year(text)
        names = names_of_title(title)
        for name in names:
            rows = [row for row in self._names.get(_letters(name), ()) if _agrees(row, year)]
            if rows:
                return min(rows, key=lambda row: (_distance(row, year), row.place, row.item)).item
        if not names:
            return None
        if year is None:
            articles = [f"{article} {names[0]}" for article in ("the", "a", "an")]
            rows = [
                row for name in articles for row in self._names.get(_letters(name), ()) if row.place < 2
            ]
            return _only(rows, names[0], None)
        if rows := self._names.get(_letters(f"{names[0]} {year}")):
            return rows[0].item
        content = _content(names[0])
        longer = [row for part in _parts(title) for row in self._content.get(_content(part), ())]
        for rows in (
            self._content.get(content, ()),
            self._part.get(content, ()),
            longer,
            self._slips(content),
        ):
            if (item := _only(rows, names[0], year)) is not None:
                return item
        unnumbered = spelt(_SERIES_NUMBER.sub("", title))
        return _only(self._content.get(_content(unnumbered), ()), unnumbered, year)

    def _slips(self, words: tuple[str, ...]) -> list[_Row]:
        """Catalog titles from which the words of a text differ by a slip (rule 5)."""
        if len(words) < 2 or sum(map(len, words)) < _SLIP_TITLE:
            return []
        near = process.extract(
            " ".join(words), self._by_text.keys(), scorer=OSA.distance, score_cutoff=1, limit=None
        )
        rows = []
        for text, _, _ in near:
            others = self._by_text[text]
            changed = [pair for pair in zip(words, others, strict=False) if pair[0] != pair[1]]
            if len(words) == len(others) and len(changed) == 1:
                said, meant = changed[0]
                if min(len(said), len(meant)) >= _SLIP_WORD and said not in self._words:
                    rows += self._content[others]
        return rows


def _letters(name: str) -> str:
    return name.replace(" ", "")


def _distance(row: _Row, year: int | None) -> int:
    """Years between; an item without a year agrees with every year, after those that have one."""
    if year is None:
        return 0
    return YEAR_TOLERANCE if row.year is None else abs(row.year - year)


def _agrees(row: _Row, year: int | None) -> bool:
    return _distance(row, year) <= row.tolerance


def _only(rows: Sequence[_Row], name: str, year: int | None) -> int | None:
    """The one item of some rows that agrees with year and numbers; of several that of the nearest year."""
    fitting = [row for row in rows if _agrees(row, year) and _same_numbers(name, row.name)]
    nearest = min((_distance(row, year) for row in fitting), default=0)
    items = {row.item for row in fitting if _distance(row, year) == nearest}
    return items.pop() if len(items) == 1 else None

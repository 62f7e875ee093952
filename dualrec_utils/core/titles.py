"""Names that one title carries, and one way of writing them, so that two titles can be compared."""

from __future__ import annotations

import re
import unicodedata

_ARTICLES = "the|a|an|la|le|les|l'|il|lo|gli|das|der|die|det|el|los|las|o"
_TRAILING_ARTICLE = re.compile(rf"^(.*),\s*({_ARTICLES})$")
_ALSO_KNOWN_AS = re.compile(r"(?:^|[,;]\s*)(?:[aA]\.[kK]\.[aA]\.?|aka)\s+|/")


def named_as(title: str) -> list[str]:
    """The main title, then the alternative ones that stand in brackets after it.

    Args:
        title: without its year.

    >>> named_as("Tin Drum, The (Blechtrommel, Die)")
    ['Tin Drum, The', 'Blechtrommel, Die']
    >>> named_as("Communion (a.k.a. Alice, Sweet Alice/Holy Terror)")
    ['Communion', 'Alice, Sweet Alice', 'Holy Terror']
    """
    main, alternatives = title.strip(), []
    # Brackets at the end alone: those of "(500) Days of Summer" belong to its title.
    while main.endswith((")", "]")):
        start = max(main.rfind("("), main.rfind("["))
        inside = main[start + 1 : -1].strip()
        if start < 1 or ")" in inside or "]" in inside:
            break
        names = _ALSO_KNOWN_AS.split(inside) if _ALSO_KNOWN_AS.match(inside) else [inside]
        alternatives += [name.strip() for name in reversed(names) if name.strip()]
        main = main[:start].rstrip()
    return [main, *reversed(alternatives)]


def normal_form(title: str) -> str:
    """Lower case, accents and punctuation gone, a trailing article moved to the front.

    >>> normal_form("Matrix, The"), normal_form("Les Misérables"), normal_form("M*A*S*H")
    ('the matrix', 'les miserables', 'mash')
    """
    text = unicodedata.normalize("NFKD", title).casefold().replace("’", "'").replace("&", " and ")
    text = "".join(character for character in text if not unicodedata.combining(character)).strip()
    text = _TRAILING_ARTICLE.sub(r"\2 \1", text)
    # Within a word punctuation vanishes (mash, dont); between words it is a space.
    text = re.sub(r"(?<=\w)['.*](?=\w|$)", "", text)
    return " ".join(re.sub(r"[^\w]+|_", " ", text).split())

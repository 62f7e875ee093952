"""What a model wrote before its answer: thoughts, in tags of several kinds or in none, finished or cut."""

from __future__ import annotations

import re

# <think>, [THINK], <|begin_of_thought|>, <seed:think>, <|START_THINKING|>, ...; gpt-oss has channels
# instead. Some chat templates open the thoughts in the prompt: an answer then holds their end alone.
_KIND = r"(?:\w{1,20}:)?(?:think(?:ing)?|thoughts?|reason(?:ing)?|analysis|reflection|scratchpad)\|?[>\]▷]"
_TAG = re.compile(
    rf"(?P<open>[<\[◁]\|?(?:begin_of_|start_)?{_KIND}|<\|channel\|?>(?:analysis|commentary|thought)"
    rf"|\Aanalysis(?=(?-i:[A-Z])))"
    rf"|[<\[◁](?:/|\|/?end_(?:of_)?){_KIND}|assistantfinal|<\|channel\|>final<\|message\|>|<channel\|>"
    r"|\.\.\.done thinking\.",
    re.IGNORECASE,
)
# How thoughts without tags begin, which line announces the answer after them, and how they go on.
_MUSING = re.compile(
    r"(?:(?:okay|ok|alright|hmm+|well|so|now|first)\b[\s,.!:]*)*(?:let me|let's|let us|we (?:need|have)"
    r"|i (?:need|should|have to|must|will|am|want)|i'(?:ll|m)|(?:the|this) user|user's|looking at|thinking"
    r"|they(?: have|'ve) (?:seen|watched)|thoughts?|analysis|my (?:task|goal|job)"
    r"|the (?:task|question|prompt))\b",
    re.IGNORECASE,
)
# "I Am Legend (2007)" and "Looking for Richard" are titles.
_TITLE = re.compile(
    r"(?!ok|alright|hmm|.*\buser\b|.*[(\[]\d{4}[)\]]\. )"
    r"(?:.{1,80}[(\[]\d{4}[)\]]\s*(?:[(\[:–—-].*)?|[^\s.:]+(?: [^\s.:]+){0,6})$",
    re.IGNORECASE,
)
_ANSWER = re.compile(r"\bfinal answer\b|\A\W*answer\b", re.IGNORECASE)
_OFFERS = re.compile(r"\b(?:recommend\w*|suggest\w*|enjoy|final|here (?:are|is)|next)\b", re.IGNORECASE)
_RECALLS = re.compile(r"\b(?:watch\w*|histor\w*|seen|rated|likes?|liked)\b", re.IGNORECASE)
# "Wait Until Dark (1967)" is a title.
_GOES_ON = re.compile(
    r"\s*(?:but|wait|hmm+|however|actually|alternatively|let me|maybe|so,|i )\b(?!.*[(\[]\d{4}[)\]]\s*\Z)",
    re.IGNORECASE,
)


def without_thoughts(answer: str) -> str:
    """What a model answered after its thoughts; nothing where they were cut and no answer came.

    Thoughts stand between tags, before a closing tag alone, after an opening tag that nothing closes, or
    without tags in a text that begins as thoughts do ("Okay, the user ..."): then the answer is what
    follows the last line that announces one.

    >>> without_thoughts("[THINK]Heat?[/THINK]- Fargo (1996)")
    '- Fargo (1996)'
    >>> without_thoughts("<think>The user has seen Heat (1995), so")
    ''
    """
    text, start, thinking = "", 0, False
    for tag in _TAG.finditer(answer):
        if tag["open"] is None:
            # All before a closing tag alone was thought.
            text, start, thinking = text if thinking else "", tag.end(), False
        elif not thinking:
            text, thinking = text + answer[start : tag.start()], True
    text += "" if thinking else answer[start:]
    first = text.lstrip("-* \n").partition("\n")[0].strip()[:200]
    return text if _TITLE.match(first) or not _MUSING.match(first) else _announced(text)


def _announced(thoughts: str) -> str:
    """What follows the last line that announces an answer; nothing where no line does or doubts follow."""
    lines = thoughts.split("\n")
    for number in reversed(range(len(lines))):
        line = lines[number]
        head, colon, tail = line.partition(":")
        offers = line.rstrip(" *_").endswith(":") and _OFFERS.search(line) and not _RECALLS.search(line)
        if offers or (colon and _ANSWER.search(head)):
            said = lines[number + 1 :] if offers else [tail, *lines[number + 1 :]]
            return "" if any(map(_GOES_ON.match, said)) else "\n".join(said)
    return ""


def only_thoughts(answer: str) -> bool:
    """Whether a model thought and gave no answer."""
    return _has_words(answer) and not _has_words(without_thoughts(answer))


def _has_words(text: str) -> bool:
    return any(character.isalnum() for character in text)

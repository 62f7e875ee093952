"""What is said to a language model: the prompt, its lines, and the answer it is taught to give.

The wording is the paper's example prompt of Stage 2 (section 4.2.2). The same prompt serves training
and generation (the paper shows a second, shorter wording for training in section 4.2.3), so that an
adapter is asked what it was taught.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from dualrec_utils.core.catalog import Catalog
from dualrec_utils.core.config import CASE, HISTORY
from dualrec_utils.core.domain import Domain
from dualrec_utils.core.errors import StudyError

# In braces what differs: words of the data set, see :class:`core.domain.Domain`.
HEADER = "Below is a user's {history}:"
HINT = "Based on this, the system (LSTM) recommends: {title}."
REQUEST = (
    "Now, as a helpful assistant, recommend {n_titles} more full {item} titles{details} that this user"
    " would likely enjoy next."
)
# Every answer is begun with this bullet, for every model alike, so that what follows is a title line.
ANSWER_PREFIX = "-"


def header(domain: Domain) -> str:
    """The first line of a prompt, without its line break."""
    return HEADER.format(history=domain.history)


def request(domain: Domain, *, n_titles: int) -> str:
    """The last line of a prompt, which asks for titles."""
    return REQUEST.format(n_titles=n_titles, item=domain.item, details=domain.details)


def lines_of(catalog: Catalog) -> dict[int, str]:
    """`item_id` -> "- Title (year) (Genre, Genre)", the line of a history; no genres, no brackets."""
    genres = catalog.categories
    return {
        item: f"- {name} ({', '.join(genres[item])})" if genres[item] else f"- {name}"
        for item, name in catalog.names.items()
    }


def prompt_of(recent: Sequence[str], suggestion: str | None, *, domain: Domain, n_titles: int) -> str:
    """The paper's Stage 2 prompt for one user (section 4.2.2).

    Args:
        recent: lines of the last items, oldest first.
        suggestion: title of the LSTM's item; None leaves its line out.
        domain: what items are called.
        n_titles: titles asked for.

    Returns:
        The prompt, which ends with an empty line: the answer follows.
    """
    parts = [header(domain) + "\n" + "\n".join(recent)]
    if suggestion is not None:
        parts.append(HINT.format(title=suggestion))
    parts.append(request(domain, n_titles=n_titles))
    return "\n\n".join(parts) + "\n\n"


def build_prompts(
    cases: pd.DataFrame,
    catalog: Catalog,
    *,
    hints: pd.Series | None,
    n_recent: int = 5,
    n_titles: int = 3,
) -> list[str]:
    """The paper's prompt for every case, see :func:`prompt_of`.

    Args:
        cases: frame with `case_id` and `history` (item ids, oldest first).
        catalog: the items.
        hints: `case_id` -> the LSTM's item; None leaves its line out of every prompt.
        n_recent: items of the history shown, the last ones, at least 1.
        n_titles: titles asked for, at least 1.

    Returns:
        One prompt a case, in the order of `cases`.

    Raises:
        StudyError: when a case has no hint, or history or hint names an item outside the catalog.
    """
    lines, names = lines_of(catalog), catalog.names
    prompts = []
    for case, history in zip(cases[CASE], cases[HISTORY], strict=True):
        recent = list(history)[-n_recent:]
        strangers = [item for item in recent if item not in lines]
        if strangers:
            raise StudyError(f"case {case!r}: history names item {strangers[0]}, not in the catalog")
        suggestion = None
        if hints is not None:
            if case not in hints.index:
                raise StudyError(f"case {case!r} has no hint: run `dvc repro lstm` for this split first")
            if hints[case] not in names:
                raise StudyError(f"case {case!r}: the hint {hints[case]} is not in the catalog")
            suggestion = names[hints[case]]
        shown = [lines[item] for item in recent]
        prompts.append(prompt_of(shown, suggestion, domain=catalog.domain, n_titles=n_titles))
    return prompts


def build_history_prompts(
    cases: pd.DataFrame, catalog: Catalog, *, n_recent: int, genres: bool
) -> list[str]:
    """The header and the last items of every case, nothing asked: the text `movielm` was trained on.

    Args:
        cases, catalog, n_recent: as :func:`build_prompts`.
        genres: write the genres behind each item.

    Returns:
        One prompt a case, ending after the line break of the last item; the next line follows.
    """
    plain = {item: f"- {name}" for item, name in catalog.names.items()}
    lines = lines_of(catalog) if genres else plain
    return [
        "\n".join([header(catalog.domain), *(lines[item] for item in list(history)[-n_recent:])]) + "\n"
        for history in cases[HISTORY]
    ]


def format_answer(titles: Sequence[str]) -> str:
    """An answer as a model is taught to give it: one "- Title (year)" a line, the last one ended too.

    >>> format_answer(["Heat (1995)", "Fargo (1996)"])
    '- Heat (1995)\\n- Fargo (1996)\\n'
    """
    return "".join(f"- {title}\n" for title in titles)

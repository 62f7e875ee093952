"""`dualrec recommend`: the items that a model predicts the highest ratings for, and why."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from dualrec_utils.core.catalog import title_with_year
from dualrec_utils.core.config import ITEM, RATING, TITLE, USER, YEAR
from dualrec_utils.core.errors import StudyError
from dualrec_utils.core.titles import named_as, normal_form
from dualrec_utils.models.ratings import folder
from dualrec_utils.models.ratings.base import NotSupported, Profile
from dualrec_utils.models.ratings.encoder import MAX_PIECES, SentenceEncoder
from dualrec_utils.service import prepared, reasons
from dualrec_utils.service.prepared import Prepared

# Items nearest to a text that stand for it where a model reads no texts.
_N_NEAREST = 10
# Who somebody is, before what they like: items' texts do not speak of it, and a job would find Inside Job.
_WHO = re.compile(r"\A\s*(age|gender|occupation):[^.]*\.\s*", re.IGNORECASE)
# Somebody new has an id that no data set gives.
_NEW = 0


@dataclass(frozen=True)
class Recommendations:
    """Attributes: about: lines that say for whom, from what; rows: `rank`, `rating`, `title`, `why`."""

    about: Sequence[str]
    rows: pd.DataFrame


def recommend(
    model_path: Path,
    data_dir: Path,
    *,
    user_id: int | None,
    text: str | None,
    titles: Sequence[str],
    n: int,
    include_watched: bool,
) -> Recommendations:
    """Recommend to a user of the data, or to somebody new who is known by a text or titles.

    Args:
        user_id: of the data; or None, and `text` or `titles` or both are given.
        text: what somebody new says; a model that reads no texts takes the items whose own texts are
            nearest to it, as if they were named.
        titles: of items that somebody new likes: each counts as rated with the highest rating.
        n: how many, 1 or more.
        include_watched: whether items that were rated or named may be recommended.

    Raises:
        StudyError: for an unknown user, text or titles that cannot be used, n below 1, or a model of
            other data.
    """
    new = text is not None or bool(titles)
    if new == (user_id is not None):
        raise StudyError("give either --user-id or, for somebody new, --text or --titles or both")
    if n < 1:
        raise StudyError(f"--n-recommendations is {n}; allowed: whole numbers from 1")
    data = prepared.read(data_dir)
    trained = folder.read(model_path, data.known, data_sha256=data.summary.sha256)
    if user_id is None:
        profile, named, about = _somebody_new(trained, data, text, titles)
        pairs = pd.DataFrame({USER: _NEW, ITEM: data.items[ITEM]})
        try:
            predictions = trained.model.predict(pairs, profiles={_NEW: profile})
        except NotSupported as error:
            raise StudyError(f"{error}: for somebody new train another model, such as bayesian") from error
        rated, name = profile.ratings, "somebody new"
    else:
        rated, about = _known_user(data, user_id)
        predictions = trained.model.predict(pd.DataFrame({USER: user_id, ITEM: data.items[ITEM]}))
        name = f"user {user_id}"
        named = set(rated)
    allowed = np.ones(len(predictions), dtype=bool)
    if not include_watched:
        allowed = ~data.items[ITEM].isin(list(named)).to_numpy()
    # Of equal predictions the lower id comes first.
    order = [row for row in np.argsort(-predictions, kind="stable") if allowed[row]][:n]
    if len(order) < n:
        others = "" if include_watched else ": --include-watched adds the others"
        about.append(f"there are no more items to recommend{others}")
    why = reasons.of(
        data, data.items[ITEM].iloc[order].tolist(), predictions[order], rated=rated, given=not new
    )
    rows = pd.DataFrame(
        {
            "rank": range(1, len(order) + 1),
            "rating": predictions[order],
            TITLE: [data.names[item] for item in data.items[ITEM].iloc[order]],
            "why": why,
        }
    )
    first = f"{len(order)} items for {name}, by {trained.about.model}"
    return Recommendations([first, *about], rows)


def _known_user(data: Prepared, user: int) -> tuple[dict[int, float], list[str]]:
    """The user's ratings, test ratings included: what is seen is seen."""
    theirs = data.ratings[data.ratings[USER] == user]
    if theirs.empty:
        ids = data.ratings[USER]
        raise StudyError(
            f"user {user} is not among the {ids.nunique()} users of the data ({ids.min()} to {ids.max()})."
            ' For somebody new: --text "Enjoys sci-fi and action movies." or --titles "Alien"'
        )
    about = [f"rated so far: {len(theirs)}"]
    if not (theirs[prepared.PART] == prepared.TRAIN).any():
        about.append("no training rating is theirs: this is what the model says of anybody")
    return dict(zip(theirs[ITEM].tolist(), theirs[RATING].astype(float).tolist(), strict=True)), about


def _somebody_new(
    trained: folder.Trained, data: Prepared, text: str | None, titles: Sequence[str]
) -> tuple[Profile, set[int], list[str]]:
    """What the model is told, the items that were named, and lines that say so."""
    highest = data.known.scale[1]
    forms = _forms(data) if titles else {}
    items = [_found(title, data, forms) for title in titles]
    named, about, names = set(items), [], data.names
    if items:
        listed = ", ".join(names[item] for item in items)
        about.append(f"counted as rated {highest:g}: {listed}")
    ratings = dict.fromkeys(items, highest)
    if text is None:
        return Profile(ratings), named, about
    encoder = SentenceEncoder()
    _check_text(text, encoder)
    if trained.model.reads_texts:
        about.append("the model reads the text itself")
        return Profile(ratings, text), named, about
    nearest = nearest_items(text, data, trained.item_vectors, encoder)
    about.append(
        f"{trained.about.model} reads no texts; nearest to this one, and counted as rated {highest:g}: "
        + ", ".join(names[item] for item in nearest)
    )
    return Profile(ratings | dict.fromkeys(nearest, highest)), named, about


def nearest_items(
    text: str, data: Prepared, item_vectors: np.ndarray, encoder: SentenceEncoder
) -> list[int]:
    """The items whose own texts are nearest to what somebody says, nearest first.

    Args:
        item_vectors: of :class:`models.ratings.folder.Trained`.
    """
    likeness = item_vectors @ encoder([_WHO.sub("", text) or text])[0]
    return data.items[ITEM].iloc[np.argsort(-likeness, kind="stable")[:_N_NEAREST]].tolist()


def _check_text(text: str, encoder: SentenceEncoder) -> None:
    _check_characters("--text", text)
    if not any(map(str.isalnum, text)):
        raise StudyError(
            '--text is empty, no word is in it; say something such as "Enjoys sci-fi and action movies."'
        )
    if (n := encoder.n_pieces(text)) > MAX_PIECES:
        raise StudyError(
            f"--text has {len(text.split()):,} words in {n:,} pieces; {MAX_PIECES} are read, about 190"
            " words: shorten it"
        )


def _check_characters(option: str, text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise StudyError(
            f"{option} is not UTF-8 text: character {error.start + 1} cannot be read"
        ) from error


def _forms(data: Prepared) -> dict[str, set[int]]:
    """Normal form of each title, with its year and without, and of its alternative titles -> item ids."""
    forms: dict[str, set[int]] = {}
    columns = zip(data.items[ITEM].tolist(), data.items[TITLE], data.items[YEAR], strict=True)
    for item, title, year in columns:
        for one in {title, *named_as(title)}:
            for form in (one, title_with_year(one, year)):
                # A title of signs alone has no normal form.
                forms.setdefault(normal_form(form) or form, set()).add(item)
    return forms


def _found(title: str, data: Prepared, forms: Mapping[str, set[int]]) -> int:
    """The id of the one item of a title.

    Args:
        forms: of :func:`_forms`.

    Raises:
        StudyError: where there is none (naming the most similar ones) or more than one.
    """
    _check_characters("--titles", title)
    hits = forms.get(normal_form(title) or title, set())
    if len(hits) == 1:
        return next(iter(hits))
    if hits:
        listed = ", ".join(sorted(data.names[item] for item in hits))
        raise StudyError(f"--titles {reprlib.repr(title)} names {len(hits)} items: say which of {listed}")
    from rapidfuzz import process

    near = process.extract(normal_form(title), list(forms), limit=3)
    listed = ", ".join(dict.fromkeys(data.names[min(forms[form])] for form, _, _ in near))
    raise StudyError(
        f"--titles {reprlib.repr(title)} is none of the {len(data.items)} items; most similar: {listed}"
    )


def as_text(recommended: Recommendations) -> str:
    """Lines to be printed."""
    width = max(map(len, recommended.rows[TITLE]), default=0)
    lines = [*recommended.about, f"rank  rating  {'title':{width}}  why"]
    for row in recommended.rows.itertuples():
        lines.append(f"{row.rank:4}  {row.rating:6.2f}  {row.title:{width}}  {row.why}".rstrip())
    return "\n".join(lines)

"""What the study asks, and what its models learn from: users and items that are drawn, and other names.

Cold items are taken out of everything that a model learns from or is stopped by. Their cases are any rating
of theirs by a test user after the user's first second: what precedes that second is the history.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import numpy as np
import pandas as pd

from dualrec_utils.analysis.breakdowns import POPULARITY_CLASSES
from dualrec_utils.core import evaluation, predictions
from dualrec_utils.core.catalog import Catalog
from dualrec_utils.core.config import CASE, HISTORY, ITEM, SECOND, SPLIT, TITLE, USER
from dualrec_utils.core.errors import StudyError
from dualrec_utils.core.predictions import Scope
from dualrec_utils.studies.knowledge.settings import STUDY

# What a case's list may hold: any item not seen, or those alone that no model has learnt from.
CATALOG, COLD = "catalog", "cold items"
AMONG, HIDDEN = "among", "hidden"
STRATUM = "stratum"
_CONSONANTS, _VOWELS = "bdfgklmnprstvz", "aeiou"

Histories = dict[int, np.ndarray]
# Frames as :func:`questions` gives them, and case -> targets.
Questions = tuple[pd.DataFrame, pd.Series]


def drawn_users(users: Iterable[int], *, n: int, seed: int) -> np.ndarray:
    """`n` users drawn by the seed, ascending; all where there are fewer."""
    known = np.unique(list(users))
    return np.sort(np.random.default_rng(seed).permutation(known)[:n])


def share_of(histories: Mapping[int, np.ndarray], share: float, *, seed: int, draw: int) -> Histories:
    """The histories of a share of the users, at least one; a draw's smaller shares lie within its larger.

    Args:
        share: above 0, at most 1.
        seed, draw: of the users.
    """
    order = np.random.default_rng([seed, draw]).permutation(sorted(histories))
    return {int(user): histories[user] for user in np.sort(order[: max(1, round(share * len(order)))])}


def draw_cold(counts: pd.Series, strata: pd.Series, *, n: int, least: int, seed: int) -> pd.DataFrame:
    """Items to be taken out, as many of each popularity class as there can be.

    Args:
        counts: item -> ratings by test users.
        strata: item of the catalog -> its class, of :data:`analysis.breakdowns.POPULARITY_CLASSES`.
        n: items wanted. At most half of the catalog is taken.
        least: ratings by test users that an item must have.

    Returns:
        `item_id`, `stratum`, `n_test_ratings`, by item; fewer than `n` where fewer have the ratings.

    Raises:
        StudyError: where no item has them.
    """
    counts = counts.reindex(strata.index, fill_value=0)
    able = counts[counts >= least].sort_index()
    if able.empty:
        raise StudyError(
            f"no item has {least} ratings by test users, the most is {counts.max()}: lower least_ratings"
        )
    order = np.random.default_rng(seed).permutation(len(able))
    frame = pd.DataFrame({ITEM: able.index, "n_test_ratings": able.to_numpy()}).iloc[order]
    frame[STRATUM] = frame[ITEM].map(strata)
    # One of each class in turn.
    frame["turn"] = frame.groupby(STRATUM).cumcount()
    frame["class"] = frame[STRATUM].map({name: at for at, name in enumerate(POPULARITY_CLASSES)})
    chosen = frame.sort_values(["turn", "class"]).head(min(n, len(strata) // 2))
    return chosen.sort_values(ITEM, ignore_index=True)[[ITEM, STRATUM, "n_test_ratings"]]


def without(histories: Mapping[int, np.ndarray], items: Collection[int]) -> Histories:
    """The same histories without some items; who is left with none is left out."""
    kept = {user: history[~np.isin(history, list(items))] for user, history in histories.items()}
    return {user: history for user, history in kept.items() if len(history)}


def check_taken_out(known: Mapping[int | str, np.ndarray], cold: Collection[int]) -> None:
    """Prove, before a model learns, that none of the cold items is among what it learns from.

    Args:
        known: user or case -> items.

    Raises:
        StudyError: naming the first user or case, and the item.
    """
    for name, items in known.items():
        if len(left := np.intersect1d(items, list(cold))):
            raise StudyError(f"leak: item {left[0]} is cold, and stands among the items of {name}")


def cold_cases(
    interactions: pd.DataFrame, users: Collection[int], cold: Collection[int], *, n: int, seed: int
) -> Questions:
    """Cases of some users whose target is a cold item.

    Args:
        interactions: from :func:`core.splits.load_interactions`.
        n: cases of each user, drawn by seed and user where there are more.

    Returns:
        (cases, targets): `case_id`, `user_id`, `split` and `history`, everything of earlier seconds.
    """
    cases, targets = [], {}
    for user, rows in interactions[interactions[USER].isin(list(users))].groupby(USER, sort=True):
        items, seconds = rows[ITEM].to_numpy(), rows[SECOND].to_numpy()
        places = np.flatnonzero(np.isin(items, list(cold)) & (seconds > seconds.min()))
        if len(places) > n:
            places = np.sort(np.random.default_rng([seed, int(user)]).choice(places, n, replace=False))
        for at in places:
            case = f"u{user:05d}_p{at:04d}"
            cases.append((case, user, "test", items[seconds < seconds[at]]))
            targets[case] = [int(items[at])]
    return pd.DataFrame(cases, columns=[CASE, USER, SPLIT, HISTORY]), pd.Series(targets, dtype=object)


def questions(
    cases: pd.DataFrame, targets: pd.Series, catalog: Catalog, cold: Collection[int] = ()
) -> Questions:
    """Every case once for each set of items that its list may be of.

    Args:
        cases, targets: from :func:`core.predictions.load_cases` or :func:`cold_cases`.
        cold: with them a case is asked twice, the second time among them alone.

    Returns:
        (posed, targets): `cases` with `among` and `hidden`, the items that must not be listed: those of the
        history, and where it is among cold items all others too. The second asking has a `case_id` of its
        own.
    """
    posed = cases.assign(**{AMONG: CATALOG, HIDDEN: cases[HISTORY]})
    if not len(cold):
        return posed, targets
    known = np.setdiff1d(catalog.ids, list(cold))
    hidden = [np.union1d(history, known) for history in cases[HISTORY]]
    again = cases.assign(**{CASE: cases[CASE] + "_cold", AMONG: COLD, HIDDEN: hidden})
    both = pd.concat([targets, targets.rename(lambda case: f"{case}_cold")])
    return pd.concat([posed, again], ignore_index=True), both


def validation(dataset: str, cold: Collection[int] = ()) -> Questions:
    """Validation cases of `next_item` and their targets, cold items taken out of both."""
    cases = predictions.load_cases(Scope(dataset, STUDY, "next_item", "validation"))
    targets = evaluation.load_targets(dataset, "next_item")
    kept = without(dict(enumerate(cases[HISTORY])), cold)
    cases = cases.iloc[list(kept)].assign(**{HISTORY: list(kept.values())})
    warm = ~cases[CASE].map(targets).str[0].isin(list(cold))
    return cases[warm].reset_index(drop=True), targets


def meaningless(catalog: Catalog, *, seed: int) -> Catalog:
    """The same items under invented names: as many words, none of them in a title; years are kept."""
    rng = np.random.default_rng(seed)
    taken = {word.lower() for title in catalog.items[TITLE] for word in title.split()}

    def word() -> str:
        while True:
            n = rng.integers(2, 4)
            syllables = zip(rng.choice(list(_CONSONANTS), n), rng.choice(list(_VOWELS), n), strict=True)
            name = "".join(map("".join, syllables))
            if name not in taken:
                # So that no two items share a word either.
                taken.add(name)
                return name.capitalize()

    titles = [" ".join(word() for _ in title.split()) for title in catalog.items[TITLE]]
    return Catalog.of(catalog.items.assign(**{TITLE: titles}), catalog.domain)

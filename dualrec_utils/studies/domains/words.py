"""What the study found in words, every number from its tables."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from dualrec_utils.analysis import claims, verdict
from dualrec_utils.core.config import SYSTEM
from dualrec_utils.models import systems
from dualrec_utils.show.tables import with_interval
from dualrec_utils.studies import digest as digested
from dualrec_utils.studies.digest import points
from dualrec_utils.studies.domains import curves
from dualrec_utils.studies.domains.settings import NOT_RUN_YET, name_of
from dualrec_utils.studies.domains.tables import BY_CLAIM, DATASET, POINT, USERS_NEEDED

_SETTLED = (claims.YES, claims.NO)
_NO_NUMBER = "–"


def _listed(parts: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    *most, last = parts
    return f"{', '.join(most)} and {last}" if most else last


def _names(datasets: Sequence[str]) -> str:
    return _listed([name_of(name) for name in datasets])


def carried(table: pd.DataFrame) -> str:
    """Which claims are answered on which data sets; what is answered alike is said once.

    Args:
        table: from :func:`domains.tables.all_claims`.

    Returns:
        Sentences: what most data sets answer comes first, data sets that answer nothing last.
    """
    wide = table.pivot(index="claim", columns=DATASET, values="answer")[list(dict.fromkeys(table[DATASET]))]
    ran = [name for name in wide if (wide[name] != claims.NOT_RUN).any()]
    where: dict[str, list[str]] = {}
    for number, answers in wide.iterrows():
        for name in ran:
            if answers[name] in _SETTLED:
                where.setdefault(verdict.statement(str(number), answers[name]), []).append(name)
    shown = sorted(where.items(), key=lambda item: -len(item[1]))
    said = [f"{statement} on {_names(names)}" for statement, names in shown]
    lines = [f"{said[0][0].upper()}{'; '.join(said)[1:]}."] if said else []
    n_seeds = table.groupby(DATASET)["n_seeds"].max()
    silent = [name for name in ran if not wide[name].isin(_SETTLED).any()]
    # More users would not help where there is one seed: an answer takes several.
    for names, why in (
        ([name for name in silent if n_seeds[name] == 1], "one run (one seed) is too few to tell"),
        ([name for name in silent if n_seeds[name] > 1], "no difference is clear"),
    ):
        if names:
            lines.append(f"On {_names(names)}, {why}.")
    if left := [name for name in wide if name not in ran]:
        lines.append(f"{NOT_RUN_YET.capitalize()}: {_names(left)}.")
    return " ".join(lines)


def by_claim(table: pd.DataFrame) -> pd.DataFrame:
    """What each claim says on each data set, in points, and of how many seeds.

    Args:
        table: as :func:`carried`.

    Returns:
        `claim`, then a column a data set, with cells such as `yes +1.5 [+0.8, +2.1]`; the last row counts
        seeds.
    """
    cells = [
        row["answer"]
        if row["answer"] == claims.NOT_RUN
        else f"{row['answer']} {points(row, column='difference').replace(' points', '')}"
        for _, row in table.iterrows()
    ]
    return _by_dataset(table, cells, last=("seeds", "n_seeds"))


def users_needed(table: pd.DataFrame) -> pd.DataFrame:
    """How many test users would settle what is open.

    Args:
        table: as :func:`carried`.

    Returns:
        `claim`, then a column a data set, with cells such as `1,124 / 1,680`: test users who would show
        the difference seen, and one of :data:`POINT`; the last row counts those at hand.
    """
    cells = []
    for row in table.to_dict("records"):
        if row["answer"] != claims.UNCLEAR:
            cells.append("settled" if row["answer"] in _SETTLED else row["answer"])
            continue
        counts = [row[name] for name in ("users_needed", "users_for_a_point")]
        # Where users never differ, none would do for a point: that is no number to go by either.
        texts = [_NO_NUMBER if pd.isna(count) or not count else f"{count:,}" for count in counts]
        cells.append(" / ".join(texts))
    return _by_dataset(table, cells, last=("test users at hand", "n_users"))


def _by_dataset(table: pd.DataFrame, cells: Sequence[str], *, last: tuple[str, str]) -> pd.DataFrame:
    """Cells by claim and data set; the last row has the range of a column of counts."""
    heads = {
        number: f"{number}. {verdict.statement(str(number), claims.YES)} ({verdict.short(metric)})"
        for number, metric in zip(table["claim"], table["metric"], strict=True)
    }
    name, column = last
    wide = table.assign(cell=cells).pivot(index="claim", columns=DATASET, values="cell").rename(index=heads)
    counted = table.groupby(DATASET)[column]
    for dataset in wide:
        ends = counted.get_group(dataset).dropna()
        span = dict.fromkeys(f"{end:,}" for end in (ends.min(), ends.max())) if len(ends) else [_NO_NUMBER]
        wide.loc[name, dataset] = " to ".join(span)
    shown = wide[list(dict.fromkeys(table[DATASET]))].rename(columns=name_of)
    return shown.rename_axis(index="claim", columns=None).reset_index()


def ahead(table: pd.DataFrame) -> list[str]:
    """Where a language model is ahead of the LSTM by an interval above zero, after whether it is anywhere.

    Args:
        table: from :func:`domains.tables.all_curves`.

    Returns:
        Sentences; none where nothing has been compared.
    """
    some = table[table[SYSTEM].str.endswith(curves.MINUS_LSTM) & table["low"].notna()]
    if some.empty:
        return []
    won = some[some["low"] > 0]
    compared = f"{len(some)} comparisons by data set, model and how often training users took the next item"
    if won.empty:
        return [f"Nowhere: in none of {compared} does the interval lie above zero."]
    lines = [
        f"In {len(won)} of {compared}, the interval lies above zero; none is corrected for their number, so"
        " that a few may be chance."
    ]
    for _, row in won.iterrows():
        over = (
            "over all cases"
            if row["group"] == curves.ALL
            else f"where training users took the next item {row['group']} times"
        )
        model = systems.label(row[SYSTEM].removesuffix(curves.MINUS_LSTM))
        lines.append(
            f"On {name_of(row[DATASET])}, {model}: {points(row)} {over} ({row['n_cases']:,} cases)."
        )
    return lines


def wide(table: pd.DataFrame) -> pd.DataFrame:
    """Results as a reader sees them: a row a system, a column a data set, values with intervals.

    Args:
        table: from :func:`domains.tables.results`.
    """
    cells = [with_interval(*row) for row in table[["value", "low", "high"]].itertuples(index=False)]
    shown = table.assign(cell=cells).pivot(index=SYSTEM, columns=DATASET, values="cell")
    shown = shown.loc[systems.in_order(shown.index), list(dict.fromkeys(table[DATASET]))].fillna("–")
    return shown.rename(index=systems.label, columns=name_of).rename_axis(columns=None)


# What is said below the two tables.
OF_ANSWERS = (
    "Differences in points, with intervals over users and seeds. Yes or no takes an interval without zero,"
    " a small corrected p-value, and several seeds that agree."
)
OF_USERS = (
    "Before the slash: test users who would show a difference as large as the one seen; after it: one of"
    f" {100 * POINT:.0f} point. No number ({_NO_NUMBER}) makes sense where both systems are equal for every"
    " user, or where the difference is zero or smaller than what another seed changes. Where a run has one"
    " seed, it takes more seeds as well."
)


def of_scale(table: pd.DataFrame) -> str:
    """What a large catalog and many users cost.

    Args:
        table: the study's table of :func:`domains.scale.write_table`; may be empty.
    """
    if table.empty:
        return NOT_RUN_YET.capitalize() + "."
    last = table.groupby("what").last()
    cores, items = last["cores"].iloc[0], last["n_items"].max()
    parts = {
        "data": "stage `data` takes {seconds:,.0f} s",
        "lstm": "a pass of the LSTM {minutes:.1f} minutes and {gib:.1f} GiB",
        "item_knn": "item-kNN {seconds:,.0f} s and {gib:.1f} GiB",
        "ease": "EASE-R {seconds:,.0f} s and {gib:.1f} GiB",
        "movielm, exact": "movielm lists for {users_per_minute:,.0f} users a minute by exact search",
        "movielm, beam": "and for {users_per_minute:,.0f} with a beam",
    }
    said = [
        words.format(**row, minutes=row["seconds"] / 60, gib=row["peak_memory_mb"] / 1024)
        for name, words in parts.items()
        if name in last.index and (row := last.loc[name].to_dict())
    ]
    return f"On {cores} cores, with {items:,} items and the most users there are: {', '.join(said)}."


def digest(claimed: pd.DataFrame, curved: pd.DataFrame) -> pd.DataFrame:
    """Questions with their answers, for the report page: `question`, `answer`, `table`.

    Args:
        claimed: as :func:`carried`. curved: as :func:`ahead`; may be empty.

    Returns:
        `table` names a table of the study that the answer explains; empty where there is none.
    """
    of_claims = "What does each claim say, data set by data set?"
    of_users = "How many test users would settle what is open?"
    said = {
        "Do the conclusions on films carry over?": [carried(claimed)],
        of_claims: [OF_ANSWERS],
        of_users: [OF_USERS],
        "Where is the language model ahead of the LSTM?": ahead(curved),
    }
    whole = digested.answers(said)
    shown = whole["question"].map({of_claims: BY_CLAIM, of_users: USERS_NEEDED}).fillna("")
    return whole.assign(table=shown)

"""What the study found in words, every number from its tables."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from dualrec_utils.analysis import claims
from dualrec_utils.core.config import SYSTEM
from dualrec_utils.models import systems
from dualrec_utils.show.tables import with_interval
from dualrec_utils.studies import digest as digested
from dualrec_utils.studies.digest import points
from dualrec_utils.studies.domains import curves
from dualrec_utils.studies.domains.settings import FIRST, NOT_RUN_YET
from dualrec_utils.studies.domains.tables import DATASET, POINT

_SETTLED = (claims.YES, claims.NO)


def answers(table: pd.DataFrame) -> list[str]:
    """A line a claim: which data sets answer yes, no, or cannot tell, each with its difference.

    Args:
        table: from :func:`domains.tables.all_claims`.
    """
    lines = []
    for number, rows in table.groupby("claim", sort=True):
        said = []
        for answer, those in rows.groupby("answer", sort=False):
            if answer == claims.NOT_RUN:
                said.append(f"{NOT_RUN_YET} on {', '.join(those[DATASET])}")
            else:
                each = [
                    f"{row[DATASET]} ({points(row, column='difference')}, {_count(row['n_seeds'], 'seed')})"
                    for _, row in those.iterrows()
                ]
                said.append(f"**{answer}** on {', '.join(each)}")
        lines.append(f"{number}. {rows['question'].iloc[0]} {'; '.join(said)}.")
    return lines


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def carried(table: pd.DataFrame) -> str:
    """Which answers of :data:`FIRST` other data sets confirm or contradict, in a paragraph.

    Args:
        table: as :func:`answers`.
    """
    wide = table.pivot(index="claim", columns=DATASET, values="answer")
    others = [name for name in wide if name != FIRST and (wide[name] != claims.NOT_RUN).any()]
    if not others:
        return f"No other data set has been run yet: whether anything carries over from {FIRST} is open."
    settled = {number: answer for number, answer in wide[FIRST].items() if answer in _SETTLED}
    parts = [f"Of the {len(wide)} claims {FIRST} settles {len(settled)}."]
    for number, answer in settled.items():
        elsewhere = wide.loc[number, others]
        agree = elsewhere.index[elsewhere == answer]
        against = elsewhere.index[elsewhere.isin(_SETTLED) & (elsewhere != answer)]
        open_ = elsewhere.index[~elsewhere.isin(_SETTLED)]
        outcomes = {"the same on": agree, "the opposite on": against, "not settled on": open_}
        texts = [f"{word} {', '.join(names)}" for word, names in outcomes.items() if len(names)]
        parts.append(f"Claim {number} ({answer}): {'; '.join(texts)}.")
    new = [
        f"{name} settles claim {number} ({wide.loc[number, name]})"
        for name in others
        for number in wide.index
        if wide.loc[number, name] in _SETTLED and number not in settled
    ]
    return " ".join([*parts, *([f"{'; '.join(new)}."] if new else [])])


def too_small(table: pd.DataFrame) -> list[str]:
    """A line a data set that leaves claims open: how many test users they would take.

    Args:
        table: as :func:`answers`.
    """
    lines = []
    for dataset, rows in table[table["answer"] == claims.UNCLEAR].groupby(DATASET, sort=False):
        needs = [
            f"claim {row['claim']}: {row['users_for_a_point']:,} for {100 * POINT:.0f} point,"
            f" {'no number' if pd.isna(row['users_needed']) else format(row['users_needed'], ',')} for the"
            " difference seen here"
            for _, row in rows.iterrows()
        ]
        lines.append(f"{dataset}, {rows['n_users'].iloc[0]:,} test users: {'; '.join(needs)}.")
    return lines


def along(table: pd.DataFrame) -> Iterator[str]:
    """A line a data set: language model minus LSTM where the next item is rare, and where it is frequent.

    Args:
        table: from :func:`domains.tables.all_curves`.
    """
    some = table[table[SYSTEM].str.endswith(curves.MINUS_LSTM) & table["low"].notna()]
    some = some[some["group"] != curves.ALL]
    for (dataset, name), rows in some.groupby([DATASET, SYSTEM], sort=False):
        ends = rows.iloc[[0, -1]].drop_duplicates("group")
        each = [
            f"{points(row)} where training users took the next item"
            f" {row['group']} times ({row['n_cases']:,} cases)"
            for _, row in ends.iterrows()
        ]
        model = systems.label(name.removesuffix(curves.MINUS_LSTM))
        yield f"{dataset}, {model} minus LSTM: {', '.join(each)}."


def wide(table: pd.DataFrame) -> pd.DataFrame:
    """Results as a reader sees them: a row a system, a column a data set, values with intervals.

    Args:
        table: from :func:`domains.tables.results`.
    """
    cells = [with_interval(*row) for row in table[["value", "low", "high"]].itertuples(index=False)]
    shown = table.assign(cell=cells).pivot(index=SYSTEM, columns=DATASET, values="cell")
    shown = shown.loc[systems.in_order(shown.index), list(dict.fromkeys(table[DATASET]))].fillna("–")
    return shown.rename(index=systems.label).rename_axis(columns=None)


def digest(claimed: pd.DataFrame, curved: pd.DataFrame) -> pd.DataFrame:
    """Questions with their answers, for the report page: `question`, `answer`.

    Args:
        claimed: as :func:`answers`. curved: as :func:`along`; may be empty.
    """
    said = {
        "Do the conclusions on films carry over?": [carried(claimed)],
        "What does each claim say, data set by data set?": answers(claimed),
        "How many test users would settle what is open?": too_small(claimed),
        "Where is the language model ahead of the LSTM?": list(along(curved)) if len(curved) else [],
    }
    return digested.answers(said)

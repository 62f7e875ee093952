"""What the study found in words, every number from its tables."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from dualrec_utils.show.tables import with_interval
from dualrec_utils.studies import digest as digested
from dualrec_utils.studies.digest import points
from dualrec_utils.studies.knowledge import tables
from dualrec_utils.studies.knowledge.material import AMONG, COLD
from dualrec_utils.studies.knowledge.spoken import KINDS
from dualrec_utils.studies.knowledge.tables import label

NOT_MEASURED = "Not measured yet: `make knowledge`."
METRIC = "ndcg@10"


def tuning(share: float) -> str:
    """What a model has learnt from, by the share of the training users."""
    return f"after {share:.0%} of the training users" if share else "not tuned"


def row_names(table: pd.DataFrame) -> pd.Series:
    """Systems in words, with what they have learnt from where it is not all training users."""
    names = table["system"].map(label)
    return names.where(table["share"] == 1, names + ", " + table["share"].map(tuning))


def compared(rows: pd.DataFrame) -> str:
    """Differences of one system to others: ahead of whom, behind whom, and whom neither is shown of.

    Args:
        rows: `minus`, `value`, `low`, `high`.
    """
    sides = {
        "ahead of": rows["low"] > 0,
        "behind": rows["high"] < 0,
        "no difference shown to": (rows["low"] <= 0) & (rows["high"] >= 0),
    }
    parts = []
    for words, chosen in sides.items():
        if chosen.any():
            named = [f"{label(row['minus'])} ({points(row)})" for _, row in rows[chosen].iterrows()]
            parts.append(f"{words} {', '.join(named)}")
    return "; ".join(parts)


def caption(table: pd.DataFrame, *, dataset: str, confidence: float) -> str:
    """What stands below a figure: data, protocol, n, interval.

    Args:
        table: `n_cases` and `n_users`, of rows that were measured at least.
    """
    n_cases, n_users = (int(table[name].max()) for name in ("n_cases", "n_users"))
    return (
        f"{dataset}, next_item, {n_cases:,} cases of {n_users} test users, seen items left out;"
        f" {confidence:.0%} intervals over users, and over draws where there are several"
    )


def wide(table: pd.DataFrame, *, rows: list[str], columns: str, metric: str = METRIC) -> pd.DataFrame:
    """A table to be read: a value with its interval a cell, or why there is none.

    Args:
        table: one of :data:`tables.NAMES`.
        rows: columns that name a row. columns: the column that names a column.
    """
    one = table[table["metric"] == metric].assign(system=lambda frame: frame["system"].map(label))
    numbers = zip(one["value"], one["low"], one["high"], one["remark"], strict=True)
    cells = [why if pd.isna(value) else with_interval(value, *ends) for value, *ends, why in numbers]
    shown = one.assign(cell=cells).pivot(index=rows, columns=columns, values="cell")
    order = one[rows].drop_duplicates().apply(tuple, axis=1) if len(rows) > 1 else one[rows[0]].unique()
    return shown.loc[list(order), list(one[columns].unique())].fillna("")


def reading(part: str, dataset: str) -> list[str]:
    """Sentences on the differences of a part, one for each row that others are held against.

    Args:
        part: `a`, `b` or `c`.

    Returns:
        :data:`NOT_MEASURED` where there is none.
    """
    table = tables.read(dataset, tables.DIFFERENCES[part])
    if table.empty:
        return [NOT_MEASURED]
    table = table[table["metric"] == METRIC]
    labels = list(table.columns[: list(table.columns).index("minus")])
    sentences = []
    for key, rows in table.groupby(labels, sort=False):
        known = dict(zip(labels, key, strict=True))
        words = tuning(known["share"])
        if part == "b":
            words += ", among cold items alone" if known[AMONG] == COLD else ", in the whole catalog"
        sentences.append(f"**{label(known['system'])}, {words}:** {compared(rows)}.")
    return sentences


def not_run(part: str, dataset: str) -> list[str]:
    """Why rows of a part have no number, one sentence a reason; empty where all have one."""
    table = tables.read(dataset, tables.NAMES[part])
    said: dict[str, list[str]] = {}
    for row in table.to_dict("records"):
        if row["remark"] and pd.isna(row["value"]):
            said.setdefault(row["remark"], []).append(f"{label(row['system'])}, {tuning(row['share'])}")
    return [f"{remark}: {'; '.join(dict.fromkeys(names))}." for remark, names in said.items()]


def said(dataset: str) -> pd.DataFrame:
    """What the titles are that models say, a model a row; empty where nothing was measured."""
    table = tables.read(dataset, tables.SPOKEN)
    if table.empty:
        return table
    numbers = table[["value", "low", "high"]].itertuples(index=False)
    cells = [with_interval(*row) for row in numbers]
    shown = table.assign(cell=cells, system=table["system"].map(label)).pivot(
        index="metric", columns="system", values="cell"
    )
    return shown.loc[list(KINDS)].rename(index=KINDS)


def knowing(dataset: str) -> list[str]:
    """What a model gains on the LSTM where it knows the right item's year, and where it does not."""
    table = tables.read(dataset, tables.KNOWN)
    if table.empty:
        return [NOT_MEASURED]
    table = table.fillna({"minus": ""})
    sentences = []
    for (model, system), rows in table[table["minus"] != ""].groupby(["asked_of", "system"], sort=False):
        by_group = {row["group"]: f"{points(row)} (n = {row['n_users']})" for _, row in rows.iterrows()}
        parts = "; ".join(f"{group}: {words}" for group, words in by_group.items())
        share = f"{rows['share_known'].iloc[0]:.0%} of the catalog's years named rightly"
        sentences.append(f"**{label(model)}, {system}** ({share}), HR@10 minus the LSTM's: {parts}.")
    return sentences or [NOT_MEASURED]


def answers_to_read(dataset: str, n: int) -> str:
    """Prompts and answers of the first users of those drawn, as Markdown."""
    table = tables.read(dataset, tables.SHOWN)
    if table.empty:
        return NOT_MEASURED
    systems = [name for name in table.columns[2:] if not name.endswith(": matched")]
    blocks = []
    for row in table.head(n).fillna("").to_dict("records"):
        lines = [f"**User {row['user_id']}**", "", "```text", row["prompt"].strip(), "```", ""]
        for name in systems:
            text = " / ".join(row[name].splitlines())
            lines.append(f"- {label(name)}: {text} (matched: {row[f'{name}: matched']})")
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def digest(dataset: str) -> pd.DataFrame:
    """Questions with their answers, for the report page: `question`, `answer`; only what was measured."""
    said = {
        "Does a pretrained model lead where ratings are few?": reading("a", dataset),
        "Does it find items that nobody has rated?": reading("b", dataset),
        "Is it knowledge or form?": reading("c", dataset),
        "What do models say in free text?": _by_system(dataset, tables.SPOKEN, _spoken),
        "Have they read MovieLens?": _by_system(dataset, tables.RECORDS, _continued),
        "Are they ahead where they know the item?": knowing(dataset),
    }
    return digested.answers(
        {question: lines for question, lines in said.items() if lines != [NOT_MEASURED]}
    )


def _by_system(dataset: str, name: str, sentence: Callable[[str, pd.DataFrame], str]) -> list[str]:
    """A sentence a system of a table, made of its label and its rows."""
    table = tables.read(dataset, name)
    if table.empty:
        return [NOT_MEASURED]
    return [sentence(label(system), rows) for system, rows in table.groupby("system", sort=False)]


def _spoken(system: str, rows: pd.DataFrame) -> str:
    value = rows.set_index("metric")["value"]
    return (
        f"Of the titles asked of {system}, {value['real']:.0%} name a film of MovieLens,"
        f" {value['in_catalog']:.0%} one of the catalog, {value['later']:.0%} one from after the data,"
        f" {value['rated']:.0%} one already rated; {value['famous']:.0%} are among its own ten most"
        f" frequent, and {value['hit']:.1%} are right."
    )


def _continued(system: str, rows: pd.DataFrame) -> str:
    each = [
        f"{row['verbatim']:.0%} [{row['low']:.0%}, {row['high']:.0%}] of {row['n']} lines of"
        f" {row['file']} with ids {row['ids']}"
        for _, row in rows.iterrows()
    ]
    return f"{system} continues {'; '.join(each)}."

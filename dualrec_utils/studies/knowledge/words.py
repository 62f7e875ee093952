"""What the study found in words, every number from its tables."""

from __future__ import annotations

import pandas as pd

from dualrec_utils.show.tables import with_interval
from dualrec_utils.studies import digest as digested
from dualrec_utils.studies.digest import points
from dualrec_utils.studies.knowledge import tables
from dualrec_utils.studies.knowledge.material import AMONG, COLD
from dualrec_utils.studies.knowledge.plan import MEANINGLESS, PRETRAINED, RANDOM
from dualrec_utils.studies.knowledge.spoken import KINDS
from dualrec_utils.studies.knowledge.tables import label

NOT_MEASURED = "Not measured yet: `make knowledge`."
METRIC = "ndcg@10"
_ALL = "all others"


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
        table: `n_cases`, `n_users` and `n_seeds`, of rows that were measured at least.
    """
    n_cases, n_users = (int(table[name].max()) for name in ("n_cases", "n_users"))
    draws = f"{table['n_seeds'].min():.0f}", f"{table['n_seeds'].max():.0f}"
    return (
        f"{dataset}, next_item, {n_cases:,} cases of {n_users} test users, seen items left out; draws of a"
        f" model: {' to '.join(dict.fromkeys(draws))}; {confidence:.0%} intervals over users and draws"
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
    """Sentences on the differences of a part: what they show, then one for each row held against others.

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
    sentences = [_LEADS[part](table)]
    for key, rows in table.groupby(labels, sort=False):
        known = dict(zip(labels, key, strict=True))
        sentences.append(
            f"**{_named(known['system'], known['share'], known.get(AMONG))}:** {compared(rows)}."
        )
    return sentences


def _for_the_page(part: str, dataset: str) -> list[str]:
    """:func:`reading`, then what the differences are in, and of how many users."""
    lines = reading(part, dataset)
    if lines == [NOT_MEASURED]:
        return lines
    n_users = int(tables.read(dataset, tables.DIFFERENCES[part])["n_users"].max())
    basis = f"All in points of NDCG@10, {n_users} test users, not corrected for the number of comparisons."
    return [*lines, basis]


def _ahead(table: pd.DataFrame) -> str:
    """Of which other models a pretrained one is ahead anywhere."""
    ahead = table[table["low"] > 0]
    if ahead.empty:
        return "Not shown: no pretrained model is ahead of any other model."
    everyone = table.groupby(_of_a_row(table), sort=False)["minus"].agg(set)
    leaders: dict[str, dict[str, list[str]]] = {}
    for key, others in ahead.groupby(_of_a_row(table), sort=False)["minus"].agg(list).items():
        system, share, *among = key
        whom = _ALL if set(others) == everyone[key] else " and ".join(map(label, others))
        same = leaders.setdefault(whom + _where(*among), {})
        same.setdefault(label(system), []).append(tuning(share))
    sentences = []
    for whom, systems in leaders.items():
        named = " and ".join(f"{name} ({', '.join(tunings)})" for name, tunings in systems.items())
        sentences.append(f"Ahead of {whom}: {named}.")
    if not any(whom.startswith(_ALL) for whom in leaders):
        sentences.append("No pretrained model is ahead of all others.")
    return " ".join(sentences)


def _where(among: str | None = None) -> str:
    """What was ranked, as the tables of part `b` alone say it."""
    return {None: "", COLD: " among cold items alone"}.get(among, " in the whole catalog")


def _named(system: str, share: float, among: str | None = None) -> str:
    """A row of a table in words."""
    where = _where(among)
    return f"{label(system)}, {tuning(share)}{where and ','}{where}"


def _of_a_row(table: pd.DataFrame) -> list[str]:
    return [name for name in ("system", "share", AMONG) if name in table]


def _knowledge(table: pd.DataFrame) -> str:
    """What pretrained weights and real titles are shown to give."""
    there = table[table["weights"] == PRETRAINED]
    helps: dict[str, str] = {}
    for minus, what in (
        (RANDOM, "what the weights have read"),
        (MEANINGLESS, "that titles mean something"),
    ):
        rows = there[there["minus"] == minus]
        if len(rows):
            helps[what] = _rows(rows[rows["low"] > 0])
    if len(helps) == 2 and not any(helps.values()):
        return "Neither what the weights have read nor what titles mean is shown to help."
    parts = [
        f"{what} helps {rows}" if rows else f"{what} is not shown to help" for what, rows in helps.items()
    ]
    said = " and ".join(parts) or "pretrained models were not measured"
    return f"{said[0].upper()}{said[1:]}."


_LEADS = {"a": _ahead, "b": _ahead, "c": _knowledge}


def searched(dataset: str) -> list[str]:
    """What part `e` shows: how far a beam's lists are from exact search's, then a model a sentence."""
    gains = tables.read(dataset, tables.DIFFERENCES["e"])
    if gains.empty:
        return [NOT_MEASURED]
    shared = tables.read(dataset, tables.OVERLAP)
    gains = gains[gains["metric"] == METRIC].merge(shared, on=["system", "share"])
    lists = tables.measured(tables.read(dataset, tables.NAMES["e"]), "hit_rate@10")
    n_hits = (lists["value"] * lists["n_cases"]).round().astype(int)
    sides = {"better": gains["low"] > 0, "worse": gains["high"] < 0}
    shown = [f"{word} ({_rows(gains[chosen])})" for word, chosen in sides.items() if chosen.any()]
    quality = " and ".join(shown) or "not shown to be better or worse"
    sentences = [
        f"The beam finds {gains['overlap'].min():.0%} to {gains['overlap'].max():.0%} of the items that"
        f" exact search lists. Lists by exact search are {quality}. Any of the lists hits the next movie in"
        f" only {n_hits.min()} to {n_hits.max()} of {gains['n_cases'].max()} cases, so only a large"
        " difference would show."
    ]
    for _, row in gains.iterrows():
        sentences.append(
            f"**{_named(row['system'], row['share'])}:** the beam finds {row['overlap']:.0%} of the items,"
            f" and the same first one in {row['same_first']:.0%} of cases. Different items in all lists:"
            f" exact search {row['n_items']}, beam {row['n_items_other']}. Exact search minus the beam:"
            f" {points(row)} of NDCG@10."
        )
    return sentences


def _rows(table: pd.DataFrame) -> str:
    """Rows of a table in words."""
    return "; ".join(_named(row["system"], row["share"]) for _, row in table.iterrows())


def not_run(part: str, dataset: str) -> list[str]:
    """Why rows of a part have no number, one sentence a reason; empty where all have one."""
    table = tables.read(dataset, tables.NAMES[part])
    said: dict[str, list[str]] = {}
    for row in table.to_dict("records"):
        if row["remark"] and pd.isna(row["value"]):
            said.setdefault(row["remark"], []).append(_named(row["system"], row["share"]))
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
        parts = "; ".join(
            f"{points(row)} where the {row['group'].replace('year', 'year is')} ({row['n_users']} users)"
            for _, row in rows.iterrows()
        )
        share = f"It names {rows['share_known'].iloc[0]:.0%} of the catalog's years rightly"
        sentences.append(f"**{label(model)}, {system}:** {parts}, HR@10 minus the LSTM's. {share}.")
    return sentences or [NOT_MEASURED]


def answers_to_read(dataset: str, n: int) -> str:
    """Prompts and answers of the first users of those drawn, as Markdown."""
    table = tables.read(dataset, tables.SHOWN)
    if table.empty:
        return NOT_MEASURED
    systems = [name for name in table.columns[2:] if not name.endswith(": matched")]
    blocks = []
    for row in table.head(n).fillna("").to_dict("records"):
        lines = [f"**Example {row['example']}**", "", "```text", row["prompt"].strip(), "```", ""]
        for name in systems:
            text = " / ".join(row[name].splitlines())
            lines.append(f"- {label(name)}: {text} (matched: {row[f'{name}: matched']})")
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def digest(dataset: str) -> pd.DataFrame:
    """Questions with their answers, for the report page: `question`, `answer`; only what was measured."""
    said = {
        "Does a pretrained model lead where ratings are few?": _for_the_page("a", dataset),
        "Does it find items that nobody has rated?": _for_the_page("b", dataset),
        "Is it knowledge or form?": _for_the_page("c", dataset),
        "Does a quick search, a beam, change the lists?": searched(dataset),
        "What do models say in free text?": _in_free_text(dataset),
        "Have they read MovieLens?": _continued(dataset),
        "Are they ahead where they know the item?": knowing(dataset),
    }
    return digested.answers(
        {question: lines for question, lines in said.items() if lines != [NOT_MEASURED]}
    )


def _in_free_text(dataset: str) -> list[str]:
    table = tables.read(dataset, tables.SPOKEN)
    if table.empty:
        return [NOT_MEASURED]
    return [_spoken(label(system), rows) for system, rows in table.groupby("system", sort=False)]


def _spoken(system: str, rows: pd.DataFrame) -> str:
    value = rows.set_index("metric")["value"]
    return (
        f"**{system}:** {value['real']:.0%} of its titles name a film of MovieLens,"
        f" {value['later']:.0%} one from after the data, {value['rated']:.0%} one already rated,"
        f" {value['hit']:.1%} the right one. Its ten most frequent titles make {value['famous']:.0%} of"
        " all."
    )


def _continued(dataset: str) -> list[str]:
    """How many lines of the files each model continues, those that continue none in one sentence."""
    table = tables.read(dataset, tables.RECORDS)
    if table.empty:
        return [NOT_MEASURED]
    none = [
        label(system) for system, rows in table.groupby("system", sort=False) if not rows["verbatim"].any()
    ]
    sentences = []
    if none:
        known = " or ".join(table["file"].unique())
        sentences.append(
            f"{', '.join(none)}: not one of {table['n'].max()} lines of {known} continued, with the"
            f" published ids or permuted ones (so at most {table['high'].max():.0%})."
        )
    for system, rows in table[table["verbatim"] > 0].groupby("system", sort=False):
        each = [
            f"{row['verbatim']:.0%} [{row['low']:.0%}, {row['high']:.0%}] of the lines of {row['file']},"
            f" ids {row['ids']}"
            for _, row in rows.iterrows()
        ]
        sentences.append(f"**{label(system)}** continues {'; '.join(each)}.")
    return sentences

"""What the interface of a language model costs: one model, one set of cases, asked in different ways.

The model without an adapter gets the paper's prompt and answers in free text, then only with items of the
catalog, then only the list of last items with nothing asked. The LSTM stands beside it on the same
items, with lists of the same length. What a list may hold depends on the whole history throughout: a
prompt of three items does not bring back the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import pandas as pd

from dualrec_utils.audit import adapters, protocols, rules
from dualrec_utils.audit.material import STAGE, Material
from dualrec_utils.audit.steps import METRICS, difference
from dualrec_utils.core import config, evaluation, predictions
from dualrec_utils.core.config import CASE
from dualrec_utils.models.language import constrained, prompts
from dualrec_utils.pipeline import params
from dualrec_utils.show import tables

FREE, CATALOG, BARE = "paper_prompt", "paper_prompt_catalog", "bare_history_catalog"
# Ways to ask, in words.
WAYS = {
    FREE: "the paper's prompt, free text",
    CATALOG: "the paper's prompt, catalog only",
    BARE: "the history alone, catalog only",
}
KEPT, LEFT_OUT = "kept", "left out"
LSTM = "lstm"
# The model, the LSTM on the same items, and the difference of the two, users paired.
SERIES = ("model", LSTM, "over_lstm")


class Setting(NamedTuple):
    """How the model is asked, and what its list may hold.

    `way` is a key of :data:`WAYS`; `n_recent` items are shown, `n_titles` is the length of the lists,
    `seen` says whether items already rated are `kept` or `left out`.
    """

    way: str
    n_recent: int
    n_titles: int
    seen: str

    @property
    def words(self) -> str:
        """In words, for tables and figures."""
        return f"{WAYS[self.way]}; {self.n_recent} movies; {self.n_titles} titles; rated {self.seen}"


def settings(histories: Sequence[int]) -> dict[str, Setting]:
    """The rows of the table, by their names in metric keys.

    Each row but the last three changes one thing of the row before; these change one thing of the row
    `bare_history_catalog`, the best known way to ask.

    Args:
        histories: other numbers of last items in the bare history than `zero_shot_llm.n_history`.
    """
    wording = params.section("zero_shot_llm")
    n_recent, n_history, few, many = (wording[k] for k in ("n_recent", "n_history", "n_titles", "n_ranked"))
    others = sorted(set(histories) - {n_history})
    best = Setting(BARE, n_history, many, LEFT_OUT)
    rows = {
        f"{FREE}_seen_kept": Setting(FREE, n_recent, few, KEPT),
        FREE: Setting(FREE, n_recent, few, LEFT_OUT),
        f"{CATALOG}_{few}_titles": Setting(CATALOG, n_recent, few, LEFT_OUT),
        CATALOG: Setting(CATALOG, n_recent, many, LEFT_OUT),
    }
    of_others = {f"{BARE}_{n}_movies": best._replace(n_recent=n) for n in others}
    longer = {name: row for name, row in of_others.items() if row.n_recent >= n_recent}
    return (
        rows
        | longer
        | {BARE: best}
        | {name: row for name, row in of_others.items() if name not in longer}
        | {
            f"{BARE}_{few}_titles": best._replace(n_titles=few),
            f"{BARE}_seen_kept": best._replace(seen=KEPT),
        }
    )


def asked_anew(data: Material, cases: pd.DataFrame, rows: Iterable[Setting]) -> dict[Setting, pd.DataFrame]:
    """Lists of the bare history with other numbers of items than notebook 04 asked with.

    Searched over the catalog's titles as there, items already rated left out.

    Args:
        cases: of `next_item`.
        rows: settings of the way :data:`BARE`.
    """
    wording = params.section("zero_shot_llm")
    speaker, made = adapters.load(data), {}
    for row in rows:
        texts = prompts.build_history_prompts(cases, data.catalog, n_recent=row.n_recent, genres=False)
        scores = constrained.rank_titles(
            speaker.model,
            speaker.tokenizer,
            texts,
            data.catalog,
            excluded=constrained.seen_items(cases),
            k=row.n_titles,
            method=wording["ranking"],
            width=wording["beam_width"],
            label=f"{row.n_recent} movies",
            kept=config.checkpoints_dir(data.dataset, STAGE) / "batches",
        )
        ranked = {"seed": data.seed, "exclude_seen": False, "length": row.n_titles}
        made[row] = constrained.ranked_lists(scores, cases, data.catalog, **ranked)
    return made


def lstm_lists(data: Material, cases: pd.DataFrame, rows: Iterable[Setting]) -> dict[Setting, pd.DataFrame]:
    """The LSTM's lists where it reads as many items, and lists as many titles, as the model's."""
    rows = list(rows)
    scores = {
        n: protocols.lstm_scores(cases, dataset=data.dataset, max_history=n)
        for n in sorted({row.n_recent for row in rows})
    }
    return {
        row: predictions.from_scores(
            scores[row.n_recent],
            cases,
            data.catalog.ids,
            seed=data.seed,
            exclude_seen=row.seen == LEFT_OUT,
            length=row.n_titles,
        )
        for row in rows
    }


def measure(data: Material, *, histories: Sequence[int], n_cases: int, **stats: float) -> pd.DataFrame:
    """The model and the LSTM on the same cases, one row a setting.

    Args:
        histories: as :func:`settings`.
        n_cases: last cases of every test user under `next_item`.

    Returns:
        One row a (setting, series, metric): `row` (name in metric keys), `setting` (in words), the parts of
        :class:`Setting`, `series` (:data:`SERIES`), `metric`, `value`, `low`, `high`, `n_users`, `n_cases`.
    """
    rows, cases, n_history = settings(histories), data.last_cases(n_cases), _n_history()
    stored = [row for row in rows.values() if row.way != BARE or row.n_recent == n_history]
    lists = {row: _stored(data, row) for row in stored}
    lists |= asked_anew(data, cases, [row for row in rows.values() if row not in lists])
    beside = lstm_lists(data, cases, rows.values())
    made = []
    for name, row in rows.items():
        model, lstm = (_judged(data, one[row], cases) for one in (lists, beside))
        gain = difference(model, lstm, **stats).rename(columns={"difference": "value"})
        tables_of = (*(evaluation.summarise(one, columns=METRICS, **stats) for one in (model, lstm)), gain)
        made += [
            table.reset_index().assign(row=name, setting=row.words, series=series, **row._asdict())
            for series, table in zip(SERIES, tables_of, strict=True)
        ]
    first = ["row", "setting", *Setting._fields, "series", "metric", "value", "low", "high", "n_users"]
    return pd.concat(made, ignore_index=True)[first].assign(n_cases=len(cases))


def flatten(table: pd.DataFrame) -> dict[str, float]:
    """Flat metric keys: `audit/interface/<row>/<metric>`, `.../lstm/<metric>`, `.../over_lstm/<metric>`.

    `/low` and `/high` stand beside each; `audit/interface/lstm_same_input/<metric>` is the LSTM beside
    `bare_history_catalog`.

    Args:
        table: from :func:`measure`.
    """
    flat: dict[str, float] = {}
    for row in table.itertuples():
        ending = "" if row.series == SERIES[0] else f"/{row.series}"
        places = [f"audit/interface/{row.row}{ending}"]
        if row.row == BARE and row.series == LSTM:
            places.append("audit/interface/lstm_same_input")
        for place in places:
            flat |= evaluation.with_interval(f"{place}/{row.metric}", row)
    return flat | {f"audit/interface/{name}": int(table[name].max()) for name in ("n_users", "n_cases")}


def shown(table: pd.DataFrame, *, metric: str) -> pd.DataFrame:
    """One metric of :func:`measure` for readers: a row a setting, a column a series, with intervals.

    Args:
        metric: one of :data:`audit.steps.METRICS`.
    """
    rows = table[table["metric"] == metric]
    cells = map(tables.with_interval, rows["value"], rows["low"], rows["high"])
    wide = rows.assign(cell=list(cells)).pivot(index="setting", columns="series", values="cell")
    return wide.loc[rows["setting"].unique(), list(SERIES)]


def sentence(table: pd.DataFrame, *, model: str) -> str:
    """Where the way to the model's answers loses most, in words.

    Args:
        table: from :func:`measure`.
        model: its name.
    """
    values = table[table["metric"] == "hit_rate@5"].set_index(["series", "row"])
    rows = values.loc[SERIES[0]]
    gains = rows.loc[FREE:BARE, "value"].diff().iloc[1:]
    largest, last = gains.idxmax(), rows.loc[BARE]
    ends = [(SERIES[0], FREE), (SERIES[0], BARE), (LSTM, BARE)]
    first, best, beside = (tables.with_interval(*values.loc[end, ["value", "low", "high"]]) for end in ends)
    return (
        f"HR@5 of {model} is {first} with the paper's prompt and free text. It is {best} if the model reads"
        " only the history and names only movies of the catalog. The weights are the same, and so are the"
        f" {last['n_cases']:,} cases of {last['n_users']} users. The largest step leads to"
        f" *{rows.loc[largest, 'setting']}* ({100 * gains[largest]:+.1f} points). The LSTM that reads the"
        f" same {last['n_recent']} movies has {beside}."
    )


def _n_history() -> int:
    return params.section("zero_shot_llm")["n_history"]


def _stored(data: Material, row: Setting) -> pd.DataFrame:
    """Lists that notebook 04 left, cut to the length wanted."""
    names = {
        FREE: data.zero_shot,
        CATALOG: f"{data.zero_shot}_constrained",
        BARE: f"{data.model}_history_constrained",
    }
    ending = predictions.SEEN_KEPT if row.seen == KEPT else ""
    return rules.cut(data.read(names[row.way] + ending), row.n_titles)


def _judged(data: Material, lists: pd.DataFrame, cases: pd.DataFrame) -> pd.DataFrame:
    """Per-case values by the study's rule, item ids."""
    return evaluation.score_lists(
        lists[lists[CASE].isin(cases[CASE])], cases, data.targets["next_item"], data.catalog
    )

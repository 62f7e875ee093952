"""Part d, what they say: the paper's prompt answered in free text, and what a model knows of the data.

Every model is asked the paper's prompt, with the LSTM's line, for the last case of each drawn test user,
and each title it was asked for is sorted into what it is. The films that a title may name are those of
MovieLens latest small (to 2018), so that a title outside the catalog is told from one that was made up.
Then the model is asked to continue MovieLens' files and to date the catalog's items: does it know what it
is asked about, and is it ahead where it does?

Free text is shown here and judged nowhere: systems are compared by catalog decoding alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dualrec_utils.analysis import breakdowns, seeds
from dualrec_utils.core.catalog import Catalog, load_catalog
from dualrec_utils.core.config import CASE, HISTORY, ITEM, RANK, SYSTEM, TEXT, USER, YEAR
from dualrec_utils.core.errors import StudyError
from dualrec_utils.datasets import known, sources, weights
from dualrec_utils.models.language import answers, contamination, generation
from dualrec_utils.models.language.matching import TitleMatcher, split_year
from dualrec_utils.pipeline.schemas import Params

ALL_FILMS = "ml-latest-small"
N_SHOWN = 20
_N_FAMOUS = 10
# Kinds of titles, in the order of the table: each a share of the titles asked for, in any number of kinds.
KINDS = {
    "real": "a film of MovieLens",
    "in_catalog": "of the catalog",
    "later": "later than the data",
    "rated": "already rated by the user",
    "repeated": "said before in the answer",
    "hint": "the LSTM's own",
    "famous": f"one of the model's {_N_FAMOUS} most frequent",
    "hit": "right",
}


def sorted_out(
    written: Sequence[str],
    cases: pd.DataFrame,
    targets: pd.Series,
    hints: pd.Series,
    catalog: Catalog,
    *,
    films: pd.DataFrame,
    last_year: int,
    n_titles: int,
) -> pd.DataFrame:
    """What each title is that a model was asked for.

    Args:
        written: one answer a case, in the order of `cases`.
        targets: case -> right items. hints: case -> the LSTM's item.
        films: `item_id`, `title`, `year` of all films there are, whatever their ids.
        last_year: of the data: what came out after it cannot be right.
        n_titles: asked for in a prompt; a title that was not given is none of :data:`KINDS`.

    Returns:
        A row a title asked for: `case_id`, `user_id`, `rank`, `text` (empty where none was given),
        `item_id` (of the catalog, or missing) and a column of bool for each of :data:`KINDS`.
    """
    within, anywhere = TitleMatcher(catalog.items), TitleMatcher(films)
    years = films.set_index(ITEM)[YEAR]
    lists, _ = answers.answers_to_predictions(written, cases, within, seed=0, limit=n_titles)
    given = lists.set_index([CASE, RANK])[[TEXT, ITEM]]
    asked_for = pd.MultiIndex.from_product([cases[CASE], range(1, n_titles + 1)], names=[CASE, RANK])
    table = given.reindex(asked_for).reset_index().fillna({TEXT: ""})
    table[USER] = table[CASE].map(cases.set_index(CASE)[USER])
    film = pd.array([anywhere.match(text) if text else None for text in table[TEXT]], dtype="Int64")
    said = pd.array([split_year(text)[1] for text in table[TEXT]], dtype="Int64")
    out = pd.Series(said).fillna(pd.Series(film.map(years.to_dict()), dtype="Int64")).fillna(0)
    items = table[ITEM].astype(object).where(table[ITEM].notna(), None)
    seen = cases.set_index(CASE)[HISTORY].map(set)
    named = table[TEXT].str.strip().str.casefold()
    names = items.where(items.notna(), named).where(named != "")
    frequent = names.dropna().value_counts(sort=False).sort_values(ascending=False, kind="stable")
    kinds = {
        "real": pd.Series(film).notna() | items.notna(),
        "in_catalog": items.notna(),
        "later": out > last_year,
        "rated": [item in seen[case] for case, item in zip(table[CASE], items, strict=True)],
        "repeated": names.notna() & names.groupby(table[CASE]).transform(pd.Series.duplicated).astype(bool),
        "hint": [item == hints[case] for case, item in zip(table[CASE], items, strict=True)],
        "famous": names.isin(frequent.index[:_N_FAMOUS]),
        "hit": [item in targets[case] for case, item in zip(table[CASE], items, strict=True)],
    }
    return table.assign(**{kind: np.asarray(values, dtype=bool) for kind, values in kinds.items()})


def shares(titles: pd.DataFrame, *, system: str, **intervals) -> pd.DataFrame:
    """The share of each of :data:`KINDS` among the titles asked for, averaged over users.

    Args:
        titles: from :func:`sorted_out`.
        intervals: as :func:`analysis.seeds.interval`.

    Returns:
        `system`, `metric` (the kind), `value`, `low`, `high`, `n_users`.
    """
    by_user = titles.groupby(USER)[list(KINDS)].mean()
    rows = [
        {SYSTEM: system, "metric": kind, **seeds.interval(by_user[[kind]], **intervals)} for kind in KINDS
    ]
    return pd.DataFrame(rows).drop(columns=["n_seeds", "over_seeds"])


def shown(
    texts: Sequence[str], written: Mapping[str, Sequence[str]], titles: Mapping[str, pd.DataFrame],
    cases: pd.DataFrame, catalog: Catalog, *, seed: int,
) -> pd.DataFrame:  # fmt: skip
    """Prompts with every model's answer, for users drawn by the seed.

    Args:
        texts: prompts, in the order of `cases`. written: system -> answers, likewise.
        titles: system -> from :func:`sorted_out`.

    Returns:
        A row a user: `example` (from 1, no user's number: the table is committed), `prompt`, and for each
        system `<system>` and `<system>: matched`.
    """
    chosen = np.sort(np.random.default_rng(seed).permutation(len(cases))[:N_SHOWN])
    prompts = [texts[at] for at in chosen]
    table = pd.DataFrame({"example": range(1, len(chosen) + 1), "prompt": prompts})
    for system, said in written.items():
        # A carriage return would end a row of the CSV file.
        table[system] = [said[at].replace("\r", " ").strip() for at in chosen]
        named = titles[system].assign(name=titles[system][ITEM].map(catalog.names).fillna("-"))
        by_case = named.groupby(CASE)["name"].agg("; ".join)
        table[f"{system}: matched"] = cases[CASE].iloc[chosen].map(by_case).to_numpy()
    return table


def by_knowledge(
    scored: Mapping[str, pd.DataFrame], targets: pd.Series, dated: pd.DataFrame, *, pairs, **intervals
) -> pd.DataFrame:
    """HR@10 where a model knows the year of the target, and where it does not, and what it is ahead by.

    Args:
        scored: system -> frame of :func:`core.evaluation.score_lists`, over the same cases.
        targets: case -> right items.
        dated: `item_id` and `right`, of :func:`models.language.contamination.probe_years`.
        pairs: (system, system subtracted from it).
        intervals: as :func:`analysis.seeds.interval`.

    Returns:
        `group`, `system`, `minus` (empty for a system alone), `metric`, `value`, `low`, `high`, `n_users`;
        no row without systems, or where no group has :data:`breakdowns.FEWEST_USERS` users.
    """
    # With its columns also where nothing was measured: an empty file cannot be read.
    columns = ["group", SYSTEM, "minus", "metric", "value", "low", "high", "n_users"]
    if not scored:
        return pd.DataFrame(columns=columns)
    first = next(iter(scored.values()))
    right = dated.set_index(ITEM)["right"]
    knows = first[CASE].map(targets).str[0].map(right)
    rows = []
    for group, chosen in (("year known", knows.eq(True)), ("year not known", knows.eq(False))):
        wide = pd.DataFrame({name: frame["hit_rate@10"].to_numpy() for name, frame in scored.items()})
        by_user = wide.assign(**{USER: first[USER].to_numpy()})[chosen.to_numpy()].groupby(USER).mean()
        if len(by_user) < breakdowns.FEWEST_USERS:
            continue
        values = {(name, ""): by_user[name] for name in scored}
        values |= {(one, other): by_user[one] - by_user[other] for one, other in pairs}
        for (system, minus), column in values.items():
            numbers = seeds.interval(column.to_frame(), **intervals)
            rows.append(
                {"group": group, SYSTEM: system, "minus": minus, "metric": "hit_rate@10", **numbers}
            )
    return pd.DataFrame(rows, columns=columns)


def all_films(dataset: str) -> pd.DataFrame:
    """Every film that a title may name: of :data:`ALL_FILMS`, or of the raw data where it cannot be had.

    Returns:
        `item_id`, `title`, `year`.
    """
    try:
        return sources.load(ALL_FILMS)[2]
    except StudyError:
        return contamination.load_raw(dataset)[0]


def measure(
    name: str,
    spec: Mapping[str, Any],
    whole: Params,
    *,
    dataset: str,
    texts: Sequence[str],
    n_probes: int,
    seed: int,
    folder: Path,
) -> tuple[list[str], pd.DataFrame, pd.DataFrame]:
    """Ask one model everything: its answers, how it continues the data's files, and the years it gives.

    Args:
        name: of the model. spec: its entry in settings.
        whole: parameters of the run.
        texts: prompts of the cases.
        n_probes: places of each file asked for.
        folder: keeps what is answered, batch by batch (:mod:`models.language.batches`): what another model
            answered, or to another prompt, is asked anew.

    Returns:
        (answers, `records` table, answers about years); tables of :mod:`models.language.contamination`. The
        last is empty where fewer than four items of the catalog have a year.

    Raises:
        StudyError: as :class:`models.backends.local.LocalBackend`.
    """
    section = whole.zero_shot_llm
    limits = {"batch_size": min(section.batch_size, 32), "max_thinking_tokens": 0}
    decoding = {"max_new_tokens": section.max_new_tokens, "n_lines": section.n_titles, **limits}
    # Both bring torch.
    from dualrec_utils.models.backends.local import LocalBackend
    from dualrec_utils.models.language import pretrained

    if spec["model"] in weights.MODELS:
        pretrained.written_out(spec["model"])
    loaded = {key: spec[key] for key in ("model", "revision", "dtype", "quantization")}
    speaker = LocalBackend(**loaded, dataset=dataset, **decoding)
    try:
        written = speaker.answer(texts, label=f"{name} answers", kept=folder)
        short = {"max_new_tokens": 40, "batch_size": limits["batch_size"], "n_lines": 1, "kept": folder}
        ask = partial(generation.generate, speaker.model, speaker.tokenizer, answer_prefix="", **short)
        items, ratings, line_format = contamination.load_raw(dataset)
        complete = ratings[["rating", "timestamp"]].notna().all(axis=None)
        records, _ = contamination.probe_records(
            items,
            ratings if complete else None,
            ask,
            line_format=line_format,
            n_probes=n_probes,
            seed=seed,
        )
        inside = load_catalog(dataset).items
        years = pd.DataFrame(columns=[ITEM, "right"])
        # Some data sets do not know years.
        if inside[YEAR].notna().sum() > 3:
            _, years = contamination.probe_years(inside, ask, n_titles=len(inside), seed=seed)
    finally:
        speaker.close()
    return written, records, years


def last_year(dataset: str) -> int:
    """The year of the last rating of a data set, or one to come where it has no times."""
    years = known.find(dataset).years
    return years[1] if years else 9_999

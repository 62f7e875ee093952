"""Tables behind notebook 07: every system read from its predictions and evaluated once more."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import pandas as pd
from tqdm import tqdm

from dualrec_utils.analysis import seeds
from dualrec_utils.core import config, evaluation, predictions
from dualrec_utils.core.config import PROTOCOL, SYSTEM
from dualrec_utils.core.errors import StudyError
from dualrec_utils.core.predictions import Scope, scopes
from dualrec_utils.models import systems
from dualrec_utils.show import tables


def discover(dataset: str) -> pd.DataFrame:
    """Every system that has predictions for test users.

    Returns:
        Frame with `protocol`, `system`, `stage`, in the order of :mod:`models.systems`; a
        system's list with seen items kept stands right after its headline list.

    Raises:
        StudyError: when there is none, or two stages wrote the same system.
    """
    rows = [
        (scope.protocol, system, stage)
        for stage in systems.STAGES
        for scope in scopes(dataset, stage, splits=("test",))
        for system in predictions.systems(scope)
    ]
    written = pd.DataFrame(rows, columns=[PROTOCOL, SYSTEM, "stage"])
    if written.empty:
        raise StudyError(
            f"no predictions of {dataset!r} under {config.ROOT / 'data' / dataset}:"
            f" run `dvc repro` (stages {', '.join(systems.STAGES)}) first"
        )
    twice = written[written.duplicated([PROTOCOL, SYSTEM])]
    if len(twice):
        raise StudyError(
            f"system {twice[SYSTEM].iloc[0]!r} has predictions of two stages: delete the folder"
            f" {config.predictions_dir(dataset, twice['stage'].iloc[0])} and rerun its stage"
        )
    order = {name: place for place, name in enumerate(systems.in_order(headline_of(written[SYSTEM])))}
    keys = written.assign(
        at=written[PROTOCOL].map(config.PROTOCOLS.index),
        place=headline_of(written[SYSTEM]).map(order),
        kept=is_seen_kept(written[SYSTEM]),
    )
    return keys.sort_values(["at", "place", "kept"], ignore_index=True)[[PROTOCOL, SYSTEM, "stage"]]


def overview(written: pd.DataFrame) -> pd.DataFrame:
    """Which stage wrote a system's headline list under each protocol, `not run` where none did.

    Args:
        written: from :func:`discover`.

    Returns:
        Frame indexed by system: its name in words, and a column a protocol.
    """
    headline = written[~is_seen_kept(written[SYSTEM])]
    wide = headline.pivot(index=SYSTEM, columns=PROTOCOL, values="stage")
    wide = wide.loc[systems.in_order(wide.index)].fillna("not run")
    wide.insert(0, "in words", [systems.label(name) for name in wide.index])
    return wide


def is_seen_kept(names: pd.Series) -> pd.Series:
    """True where a system's list keeps the items of the history."""
    return names.str.endswith(predictions.SEEN_KEPT)


def headline_of(names: pd.Series) -> pd.Series:
    """Names without the suffix of the seen-kept lists."""
    return names.str.removesuffix(predictions.SEEN_KEPT)


def per_case(written: pd.DataFrame, *, dataset: str) -> dict[tuple[str, str], pd.DataFrame]:
    """Metric values per test case of every system: (protocol, system) -> frame of `evaluation.per_case`.

    Args:
        written: frame from :func:`discover`.
    """
    rows = tqdm(list(written.itertuples(index=False)), desc="evaluating", unit="system")
    return {
        (row.protocol, row.system): evaluation.per_case(
            row.system, Scope(dataset, row.stage, row.protocol, "test")
        )
        for row in rows
    }


def summarise(cases: dict[tuple[str, str], pd.DataFrame], **intervals) -> pd.DataFrame:
    """Mean over users with interval, one row a (protocol, system, metric).

    Args:
        cases: from :func:`per_case`.
        intervals: `seed`, `n_bootstrap`, `confidence` of `evaluation.summarise`.

    Returns:
        Frame with `split`, `protocol`, `system`, `metric`, `value`, `low`, `high`, `n_users`, `n_cases`,
        `n_seeds`: means over seeds, where there are several (`seeds.with_seeds`).
    """
    place = {protocol: Scope("", "results", protocol, "test") for protocol in config.PROTOCOLS}
    placed = {(place[at], name): frame for (at, name), frame in cases.items()}
    return seeds.with_seeds(evaluation.tabulate(placed, **intervals)[0], cases, **intervals)


def list_lengths(cases: dict[tuple[str, str], pd.DataFrame]) -> pd.DataFrame:
    """How long the lists are: one row a (protocol, system).

    A list of three cannot gain from rank four on: its HR@5 is its HR@3.

    Returns:
        Frame with `mean`, `shortest`, `longest` and `empty` (share of cases without a list).
    """
    lengths = {key: frame["list_length"] for key, frame in cases.items()}
    rows = [
        (*key, values.mean(), values.min(), values.max(), (values == 0).mean())
        for key, values in lengths.items()
    ]
    return pd.DataFrame(rows, columns=[PROTOCOL, SYSTEM, "mean", "shortest", "longest", "empty"])


def compare(
    cases: dict[tuple[str, str], pd.DataFrame], *, comparisons: Sequence[tuple[str, str, str]], **intervals
) -> pd.DataFrame:
    """Paired differences on the same cases of the run's own seed, with an interval over users.

    Args:
        cases: from :func:`per_case`.
        comparisons: from :func:`analysis.plan.comparisons`; those of which a system has no
            predictions are left out.
        intervals: as :func:`summarise`.

    Returns:
        Frame with `protocol`, `question`, `system`, `other`, `metric`, `difference`, `low`, `high`,
        `n_users`, and `excludes_zero` (the whole interval lies on one side of zero).
    """
    rows = []
    columns = [PROTOCOL, "question", SYSTEM, "other", "metric", "difference", "low", "high", "n_users"]
    for protocol, (question, system, other) in itertools.product(config.PROTOCOLS, comparisons):
        if {(protocol, system), (protocol, other)} <= cases.keys():
            pair = cases[protocol, system], cases[protocol, other]
            for metric in (*evaluation.PAPER_METRICS, "genre_jaccard"):
                gain = evaluation.paired_difference(*pair, metric=metric, **intervals)
                rows.append((protocol, question, system, other, metric, *gain.values()))
    table = pd.DataFrame(rows, columns=columns)
    return table.assign(
        excludes_zero=(table["low"] > evaluation.LAST_BIT) | (table["high"] < -evaluation.LAST_BIT)
    )


def side_by_side(table: pd.DataFrame, *, protocol: str, metrics: Sequence[str]) -> pd.DataFrame:
    """Headline lists and, beside them, the same systems with seen items kept.

    Args:
        table: from :func:`summarise`.

    Returns:
        Frame with `system` (in words) and, for each metric, a column named like it and one with
        ` (seen kept)` behind; cells are values with intervals, `not run` where a list is missing.
    """
    wide = tables.by_system(table, protocol=protocol, metrics=metrics)
    names = pd.Series(wide.index, index=wide.index)
    excluded = wide[~is_seen_kept(names)]
    kept = wide[is_seen_kept(names)]
    kept = kept.set_axis(headline_of(kept.index.to_series()).to_numpy())
    order = systems.in_order([*excluded.index, *kept.index])
    both = {"": excluded, " (seen kept)": kept}
    columns = {
        metric + suffix: rows[metric].reindex(order, fill_value="not run").to_numpy()
        for metric in metrics
        for suffix, rows in both.items()
    }
    return pd.DataFrame({SYSTEM: [systems.label(name) for name in order]} | columns)


def by_protocol(table: pd.DataFrame, *, metrics: Sequence[str]) -> dict[str, pd.DataFrame]:
    """:func:`side_by_side` under every protocol."""
    return {
        protocol: side_by_side(table, protocol=protocol, metrics=metrics) for protocol in config.PROTOCOLS
    }


def ranked(table: pd.DataFrame, names: Iterable[str]) -> list[str]:
    """Systems by HR@5 under `next_item`, the best first, equal ones by name; those not run are left out.

    Args:
        table: from :func:`summarise`.
        names: the systems wanted.
    """
    rows = table[(table[PROTOCOL] == "next_item") & (table["metric"] == "hit_rate@5")]
    values = rows.set_index(SYSTEM)["value"]
    ran = values[sorted(set(names) & set(values.index))]
    return ran.sort_values(ascending=False, kind="stable").index.tolist()


def same_cases(table: pd.DataFrame) -> pd.DataFrame:
    """Users and cases that the systems were scored on, by protocol.

    Args:
        table: from :func:`summarise`.

    Raises:
        StudyError: when systems were scored on different ones.
    """
    sizes = table.groupby(PROTOCOL, sort=False)[["n_users", "n_cases"]]
    if (sizes.min() != sizes.max()).any(axis=None):
        raise StudyError("systems were scored on different cases: run `dvc repro results` anew")
    return sizes.max()


def short_lists(lengths: pd.DataFrame) -> pd.DataFrame:
    """Lengths of the headline lists under `next_item`, systems in words.

    Args:
        lengths: from :func:`list_lengths`.
    """
    rows = lengths[~is_seen_kept(lengths[SYSTEM]) & (lengths[PROTOCOL] == "next_item")]
    return rows.assign(**{SYSTEM: rows[SYSTEM].map(systems.label)}).drop(columns=PROTOCOL)


def over_seeds(cases: seeds.Cases, names: Iterable[str], *, metric: str) -> pd.DataFrame:
    """What another seed changes under `next_item`: a row a system that was run.

    Returns:
        `system`, `n_seeds`, `run` (the value of the run's own seed), `mean`, `sd` (n - 1; NaN with one
        seed), `lowest`, `highest`.

    Raises:
        StudyError: as `seeds.further`.
    """
    rows = []
    for name in names:
        if by_seed := seeds.user_means(cases, name):
            values = pd.Series({number: frame[metric].mean() for number, frame in by_seed.items()})
            ends = (values.mean(), values.std(), values.min(), values.max())
            rows.append((name, len(values), values[seeds.RUN], *ends))
    return pd.DataFrame(rows, columns=[SYSTEM, "n_seeds", "run", "mean", "sd", "lowest", "highest"])


def flatten(
    table: pd.DataFrame, differences: pd.DataFrame, lengths: pd.DataFrame
) -> dict[str, float | str]:
    """All values of the notebook under flat keys.

    `next_item/lstm/hit_rate@5`, `next_item/lstm/n_seeds`, `next_item/lstm/list_length` (mean) and
    `.../list_length_max`,
    `next_item/difference/lstm-most_popular/hit_rate@5`; `/low` and `/high` beside each value with an
    interval; `language_model`, the one that the verdict speaks of.
    """
    flat: dict[str, float | str] = {"language_model": systems.main_model(headline_of(table[SYSTEM]))}
    for (protocol, system), rows in table.groupby([PROTOCOL, SYSTEM], sort=False):
        flat |= evaluation.flatten(rows.set_index("metric"), protocol=protocol, system=system)
        if protocol == "next_item":
            flat[f"{protocol}/{system}/n_seeds"] = int(rows["n_seeds"].max())
    for row in differences.itertuples(index=False):
        key = f"{row.protocol}/difference/{row.system}-{row.other}/{row.metric}"
        flat |= {key: row.difference, f"{key}/low": row.low, f"{key}/high": row.high}
    for row in lengths.itertuples(index=False):
        flat[f"{row.protocol}/{row.system}/list_length"] = row.mean
        flat[f"{row.protocol}/{row.system}/list_length_max"] = row.longest
    return flat

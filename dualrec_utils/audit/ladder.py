"""The ladder: from the released code's setting to this study's, one change at a time.

What the released code does, with file and line: :mod:`audit.released`. An answer without a readable title
is an empty list there, hence a miss, and so it is on every rung: nobody is left out.

A **rung** is one line of the ladder. It keeps every change of the rungs above it, unlike a step of
:mod:`audit.steps`, which changes one thing of the study's own setting.
"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from dualrec_utils.audit import released, rules
from dualrec_utils.audit.material import Material
from dualrec_utils.audit.steps import METRICS
from dualrec_utils.core import evaluation, predictions
from dualrec_utils.core.catalog import Catalog
from dualrec_utils.core.config import CASE, ITEM, PROTOCOL, SYSTEM, TEXT
from dualrec_utils.models import systems
from dualrec_utils.models.hybrids import rerank

RELEASED = {
    "protocol": "window_of_five",
    "length": "as written",
    "n_recent": released.N_RECENT,
    "threshold": 0.8,
    "reference": "answers",
    "seen": "kept",
}
# What each rung is called, and what it changes.
RUNGS = (
    ("as released", {}),
    ("the three titles asked for, no more", {"length": "as asked for"}),
    ("five recent movies in the prompt", {"n_recent": 5}),
    ("the same movie, not a title like it", {"threshold": None}),
    ("re-ranked without the answers", {"reference": "hint"}),
    ("movies already rated left out", {"seen": "left out"}),
    ("one target: the next movie", {"protocol": "next_item"}),
)


def climb(
    data: Material,
    written: Mapping[tuple[str, str], pd.DataFrame],
    three_shown: pd.DataFrame,
    embeddings: pd.DataFrame,
    **stats: float,
) -> pd.DataFrame:
    """Two systems on every rung: the paper's best kind of system, and its LSTM without a language model.

    Args:
        written: from :func:`audit.rules.short_lists`.
        three_shown: the fine-tuned model's lists for `window_of_five`, from
            :func:`audit.adapters.as_released`, read up to :data:`audit.released.LONGEST` titles.
        embeddings: of all titles, from :func:`content.sentences.embed`.

    Returns:
        One row a (rung, system, metric): `metric`, `value`, `low`, `high`, `n_users`, `n_cases`, `rung`,
        `system`, `protocol`.
    """
    rows, settings = [], dict(RELEASED)
    for name, change in RUNGS:
        settings |= change
        protocol = settings["protocol"]
        for system in (data.reranked, "lstm"):
            titles = _titles(data, system, written, three_shown, settings)
            judged = rung(
                titles,
                data.cases[protocol],
                data.targets[protocol],
                data.catalog,
                # A ranking of its own is re-ranked to its own head, which leaves that where it is.
                hints=predictions.first_items(titles) if system == "lstm" else data.hints[protocol],
                embeddings=embeddings,
                settings=settings,
            )
            row = evaluation.summarise(judged, columns=METRICS, **stats).reset_index()
            rows.append(row.assign(rung=name, **{SYSTEM: system, PROTOCOL: protocol}))
    return pd.concat(rows, ignore_index=True)


def _titles(
    data: Material,
    system: str,
    written: Mapping[tuple[str, str], pd.DataFrame],
    three_shown: pd.DataFrame,
    settings: Mapping,
) -> pd.DataFrame:
    """The list that a system has on a rung, before anything re-ranks it; the LSTM's has as many titles as
    the prompt asks for on every rung.
    """
    protocol = settings["protocol"]
    if system != "lstm" and settings["n_recent"] == released.N_RECENT:
        whole = settings["length"] == "as written"
        return three_shown if whole else rules.cut(three_shown, data.tuning["n_titles"])
    if system != "lstm":
        return written[data.lora, protocol]
    if settings["seen"] == "left out":
        return rules.cut(data.read("lstm", protocol), data.tuning["n_titles"])
    return written["lstm", protocol]


def rung(
    lists: pd.DataFrame,
    cases: pd.DataFrame,
    targets: pd.Series,
    catalog: Catalog,
    *,
    hints: pd.Series,
    embeddings: pd.DataFrame,
    settings: Mapping,
) -> pd.DataFrame:
    """One rung: lists of titles, re-ranked and judged by the settings given.

    Args:
        lists: as written, seen items among them; a case without any is a miss.
        hints, embeddings: as :func:`models.hybrids.rerank.similarities`.
        settings: `threshold` (see :func:`audit.rules.fuzzy_hits`; None: item ids), `reference` (`answers`:
            the leak; `hint`), `seen` (`kept`; `left out`, after parsing).

    Returns:
        Per-case frame of all cases.
    """
    kept = lists if settings["seen"] == "kept" else predictions.drop_seen(lists, cases)
    if settings["reference"] == "answers":
        similarity = rules.leaking_similarities(kept, hints, targets, catalog, embeddings)
    else:
        similarity = rerank.similarities(kept, hints, catalog, embeddings)
    ordered = rerank.by_similarity(kept, similarity)
    if settings["threshold"] is None:
        return evaluation.score_lists(ordered, cases, targets, catalog)
    return rules.fuzzy_hits(ordered, cases, targets, catalog, threshold=settings["threshold"])


def answers_in_words(lists: pd.DataFrame, cases: pd.DataFrame) -> str:
    """How many answers hold no readable title, and how long the others are, in one sentence.

    Args:
        lists: the first rung's, as written.
        cases: that were asked.
    """
    sizes = lists.groupby(CASE).size().reindex(cases[CASE], fill_value=0)
    outside, without_year = lists[ITEM].isna(), ~lists[TEXT].str.contains(r"\(\d{4}\)")
    return (
        f"{len(sizes)} answers; {(sizes == 0).sum()} of them have no readable title and count as misses."
        f" An answer has {sizes.mean():.2f} titles on average, {sizes.max()} at most. Of all {len(lists)}"
        f" titles, {outside.sum()} are not in the catalog and {without_year.sum()} have no year."
    )


def sentence(table: pd.DataFrame, *, best: float) -> str:
    """HR@1 on the first rung and on the last, of each system.

    Args:
        table: from :func:`climb`.
        best: HR@1 of the paper's best system.
    """
    rows = table[table["metric"] == "hit_rate@1"]
    ends = rows.set_index([SYSTEM, "rung"])["value"].unstack(sort=False)
    top, bottom = ends.columns[0], ends.columns[-1]
    lines = [
        f"{systems.label(name)}: HR@1 is {values[top]:.3f} {top} and {values[bottom]:.3f} on the last rung."
        for name, values in ends.iterrows()
    ]
    return " ".join([*lines, f"The paper's best has {best:.4f} (Figure 4, ml-1m, Mistral 7B)."])


def flatten(ladders: Mapping[str, pd.DataFrame]) -> dict[str, float]:
    """Flat metric keys: `audit/<ladder>/<system>/<number of the rung>/<metric>`, `/low` and `/high` beside.

    Args:
        ladders: name -> table with the columns of :func:`climb`.
    """
    flat: dict[str, float] = {}
    for ladder, table in ladders.items():
        numbers = {rung: number for number, rung in enumerate(table["rung"].unique())}
        for row in table.itertuples():
            key = f"audit/{ladder}/{row.system}/{numbers[row.rung]}/{row.metric}"
            flat |= evaluation.with_interval(key, row)
    return flat

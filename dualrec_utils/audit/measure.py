"""Rules of measuring, changed one at a time: what counts as a hit, which items, how many, in which lists.

Most functions return :data:`audit.steps.Measured`: one per-case frame a setting, the study's own first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from dualrec_utils.audit import protocols, rules
from dualrec_utils.audit.material import FUSION, Material
from dualrec_utils.audit.sampling import fitted_at_once
from dualrec_utils.audit.steps import Key, Measured
from dualrec_utils.core import config, evaluation, metrics, predictions
from dualrec_utils.core.config import CASE, ITEM, RANK, SYSTEM, USER


def ground_truth(data: Material) -> Measured:
    """One next item at several positions; at the position before the last five; any of these five.

    The last two judge the same lists.
    """
    step, any_of = "ground_truth", data.targets["window_of_five"]
    truths = {"first of the five": rules.first_target(any_of), "any of the five": any_of}
    measured = {}
    for name in ("lstm", data.lora, data.reranked, *data.baselines, FUSION):
        measured[Key(step, name, "next_item", "next_item")] = data.per_case(name)
        lists = data.read(name, "window_of_five")
        for setting, targets in truths.items():
            frame = evaluation.score_lists(lists, data.cases["window_of_five"], targets, data.catalog)
            measured[Key(step, name, setting, "window_of_five")] = frame
    return measured


def seen(data: Material) -> Measured:
    """Items already rated left out of the lists, or kept in them."""
    names = ("lstm", *data.baselines, data.lora, data.reranked, FUSION)
    settings = (("left out", ""), ("kept", predictions.SEEN_KEPT))
    return {
        Key("seen", name, setting, "next_item"): data.per_case(name + ending)
        for name in names
        for setting, ending in settings
    }


def hit_rule(
    data: Material, written: Mapping[tuple[str, str], pd.DataFrame], *, thresholds: Sequence[float]
) -> tuple[Measured, pd.DataFrame]:
    """The same item hits, or a title that looks alike.

    Args:
        written: from :func:`audit.rules.short_lists`.
        thresholds: least likeness of a title that hits, in [0, 1].

    Returns:
        (measured, what the lowest threshold takes for a hit although another item is meant: `title`,
        `target`, `ratio`, `n`, `system`, `protocol`).
    """
    measured, alike = {}, []
    for name in (data.lora, "lstm"):
        for protocol in config.PROTOCOLS:
            lists, cases, targets = written[name, protocol], data.cases[protocol], data.targets[protocol]
            measured[Key("hit_rule", name, "same movie", protocol)] = data.judged(lists, protocol)
            for threshold in thresholds:
                frame = rules.fuzzy_hits(lists, cases, targets, data.catalog, threshold=threshold)
                measured[Key("hit_rule", name, f"alike at {threshold}", protocol)] = frame
            wrong = rules.lookalikes(lists, targets, data.catalog, threshold=min(thresholds))
            alike.append(wrong.assign(system=name, protocol=protocol))
    return measured, pd.concat(alike, ignore_index=True)


def genres(data: Material, **stats: float) -> pd.DataFrame:
    """Genre similarity of the first title, counted as the paper writes it and as its released code does.

    The paper compares with the next item (section 5.2); the released code takes the best of a user's last
    five, and only first titles that are an item (code/evaluation.py:119-136, see :mod:`audit.released`).
    The lists are those of `window_of_five` throughout.

    Returns:
        One row a (system, counted): `counted` is `next movie` (an unmatched title counts 0), `best of
        five` (likewise) and `best of five, matched only`; `value`, `low`, `high`, `n_users`, `n_cases`.
        The last is missing where no first title of a system is an item.
    """
    protocol, known, rows = "window_of_five", data.catalog.categories, []
    for name in ("lstm", data.lora, data.reranked):
        lists = data.read(name, protocol)
        first = lists[lists[RANK] == 1].set_index(CASE)[ITEM]
        frame = data.cases[protocol][[CASE, USER]]
        alike = []
        for case in frame[CASE]:
            item = first.get(case)
            ours = None if pd.isna(item) else known[item]
            alike.append(
                [metrics.genre_jaccard(ours, known[right]) for right in data.targets[protocol][case]]
            )
        frame = frame.assign(next=[values[0] for values in alike], best=[max(values) for values in alike])
        matched = frame[frame[CASE].isin(first[first.notna()].index)]
        counted = {
            "next movie": frame.assign(genre_jaccard=frame["next"]),
            "best of five": frame.assign(genre_jaccard=frame["best"]),
            "best of five, matched only": matched.assign(genre_jaccard=matched["best"]),
        }
        for setting, rows_of in counted.items():
            if rows_of.empty:
                continue
            row = evaluation.summarise(rows_of, columns=["genre_jaccard"], **stats).iloc[0]
            rows.append({SYSTEM: name, "counted": setting} | row.to_dict())
    return pd.DataFrame(rows).astype({"n_users": int, "n_cases": int})


def flatten_genres(table: pd.DataFrame) -> dict[str, float]:
    """Flat metric keys: `audit/genres/<system>/<counted>/genre_jaccard`, `/low` and `/high` beside it.

    Args:
        table: from :func:`genres`.
    """
    flat: dict[str, float] = {}
    for row in table.itertuples():
        counted = row.counted.replace(",", "").replace(" ", "_")
        flat |= evaluation.with_interval(f"audit/genres/{row.system}/{counted}/genre_jaccard", row)
    return flat


def list_length(data: Material) -> Measured:
    """Lists of ten items of the catalog, or their first three."""
    return {
        Key("list_length", data.catalog_only, f"{length} titles", protocol): data.judged(
            rules.cut(data.read(data.catalog_only, protocol), length), protocol
        )
        for protocol in config.PROTOCOLS
        for length in (10, data.tuning["n_titles"])
    }


def compaction(data: Material, written: pd.DataFrame) -> Measured:
    """Unusable titles in their places, or taken out of the lists.

    Args:
        written: the fine-tuned model's lists for `next_item`, from :func:`audit.rules.short_lists`.
    """
    fresh = predictions.drop_seen(written, data.cases["next_item"])
    settings = {"kept in place": fresh, "compacted": rules.compacted(fresh)}
    return {
        Key("compaction", data.lora, name, "next_item"): data.judged(lists)
        for name, lists in settings.items()
    }


def lstm_targets() -> tuple[dict[str, float], int]:
    """What an LSTM trained on a target a window gains over one with a target at every position.

    Measured once, by the study behind notebook 09.

    Returns:
        (`audit/lstm_targets/<metric>` with `/low` and `/high` beside it, validation users).
    """
    trials = pd.read_csv(config.study_dir("questions") / "lstm.csv").set_index("setting")
    row = trials.loc["windows"]
    gains = {
        f"audit/lstm_targets/{metric}{end}": float(row[f"{metric}_difference{end.replace('/', '_')}"])
        for metric in ("hit_rate@5", "ndcg@5")
        for end in ("", "/low", "/high")
    }
    return gains, int(row["n_users"])


def not_run(data: Material, *, untrained: Sequence[str]) -> pd.DataFrame:
    """What the audit does not measure, and why.

    Args:
        untrained: steps about an adapter that this profile does not train.

    Returns:
        `step`, `not run because`.
    """
    reasons = {f"candidates: {data.model}": "its title scores cover the LSTM's candidates, not every item"}
    for name in sorted(set(data.baselines) - set(fitted_at_once(data.baselines))):
        reasons[f"candidates: {name}, trained on all users"] = "a network takes too long to be fitted twice"
    if not data.timed:
        untimed = f"{protocols.share_untimed(data.interactions):.0%} of the ratings at hand have no time"
        reasons["training_sessions"] = f"{untimed}, so there are too few days"
    for step in untrained:
        reasons[step] = "this profile does not train this variant (audit.adapters)"
    reasons["lstm_targets"] = (
        "takes twenty times as long to train; `make questions` measured it (section 8)"
    )
    return pd.DataFrame(reasons.items(), columns=["step", "not run because"])

"""The steps of the audit that ask no language model anew, each measured on the material.

Every function returns :data:`audit.steps.Measured`: one per-case frame a setting, the study's own first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from tqdm import tqdm

from dualrec_utils.audit import protocols, rules, steps
from dualrec_utils.audit.material import FUSION, Material
from dualrec_utils.audit.steps import Key, Measured
from dualrec_utils.core import config, evaluation, metrics, predictions, splits
from dualrec_utils.core.config import CASE, HISTORY, ITEM, PROTOCOL, RANK, SYSTEM, USER
from dualrec_utils.models import handoff, systems
from dualrec_utils.models.hybrids import rerank
from dualrec_utils.pipeline import params
from dualrec_utils.show import paper

# Settings that more than one function names.
WHOLE, SAMPLED = "whole catalog", "sampled_20"
HONEST, LEAKING = "LSTM's title", "LSTM's title and the answers"


def ground_truth(data: Material) -> Measured:
    """One next movie at several positions; at the position before the last five; any of these five.

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


def fitted_at_once(names: Sequence[str]) -> list[str]:
    """Baselines not trained in epochs: fitted on all users, a network takes longer than all the rest."""
    known = params.section("baselines")["models"]
    return [name for name in names if "max_epochs" not in known[name]]


def draw_negatives(data: Material, *, n_negatives: int, n_draws: int) -> dict[int, np.ndarray]:
    """Movies to stand beside each target of `next_item`, the same for every system: seed -> negatives."""
    return {
        seed: protocols.sample_negatives(*data.truth, n_negatives=n_negatives, seed=seed)
        for seed in range(data.seed, data.seed + n_draws)
    }


def candidates(
    data: Material, negatives: Mapping[int, np.ndarray]
) -> tuple[Measured, dict[str, list[pd.DataFrame]]]:
    """The whole catalog, or 20 candidates; the latter for the LSTM and the baselines fitted at once.

    Args:
        negatives: from :func:`draw_negatives`.

    Returns:
        (measured, system -> its frame of every draw among 20).
    """
    step = "candidates"
    scores = {"lstm": handoff.load_scores("lstm", data.scopes["next_item"])}
    histories = list(splits.load_histories(data.dataset, "train").values())
    for name in tqdm(fitted_at_once(data.baselines), desc="fit"):
        scores[name] = _fitted(data, name, histories, data.cases["next_item"])
    measured = {
        Key(step, name, WHOLE, "next_item"): data.per_case(name) for name in ("lstm", *data.baselines)
    }
    drawn = {
        name: [protocols.sampled(matrix, *data.truth, negatives=others) for others in negatives.values()]
        for name, matrix in scores.items()
    }
    for name, frames in drawn.items():
        measured[Key(step, name, SAMPLED, "next_item")] = steps.mean_over_draws(frames)
    return measured, drawn


def candidates_table(
    data: Material, measured: Measured, drawn: Mapping[str, Sequence[pd.DataFrame]], *, n_negatives: int
) -> pd.DataFrame:
    """HR@1 and HR@5 in the whole catalog and among 20, with chance in the last row.

    Args:
        measured, drawn: from :func:`candidates`.

    Returns:
        `system`, `<setting>, <metric>`, and `least draw`, `greatest draw` of HR@5 among the draws.
    """
    rows = []
    for name, frames in drawn.items():
        row = {SYSTEM: systems.label(name)}
        for setting in (WHOLE, SAMPLED):
            by_user = measured[Key("candidates", name, setting, "next_item")].groupby(USER)
            for metric in ("hit_rate@1", "hit_rate@5"):
                row[f"{setting}, {metric}"] = by_user[metric].mean().mean()
        means = [frame.groupby(USER)["hit_rate@5"].mean().mean() for frame in frames]
        rows.append(row | {"least draw": min(means), "greatest draw": max(means)})
    places = (1 / (len(data.catalog) - data.cases["next_item"][HISTORY].map(len))).mean()
    luck = {f"{WHOLE}, hit_rate@{k}": k * places for k in (1, 5)}
    luck |= {f"{SAMPLED}, hit_rate@{k}": protocols.chance(n_negatives + 1, k) for k in (1, 5)}
    return pd.DataFrame([*rows, {SYSTEM: "chance"} | luck])


def flatten_chance(table: pd.DataFrame) -> dict[str, float]:
    """Chance under flat metric keys: `audit/candidates/chance/<setting>/<metric>`.

    Args:
        table: from :func:`candidates_table`.
    """
    chance = table.set_index(SYSTEM).loc["chance"].dropna()
    return {
        f"audit/candidates/chance/{name}".replace(", ", "/").replace(" ", "_"): float(value)
        for name, value in chance.items()
    }


def sessions(data: Material, negatives: Mapping[int, np.ndarray], *, n_sessions: int) -> Measured:
    """Baselines trained on all users, or on sessions of a day; the latter among 20 candidates as well.

    Args:
        negatives: from :func:`draw_negatives`; sessions are drawn by the same seeds.

    Returns:
        Steps `training_sessions` and `candidates`; empty where ratings lack their times.
    """
    measured = {}
    days = protocols.day_sessions(data.interactions, data.user_splits) if data.timed else []
    for name in tqdm(data.baselines if data.timed else (), desc="sessions"):
        ranked, among = [], []
        for seed, drawn in negatives.items():
            few = protocols.drawn_sessions(days, n_sessions=n_sessions, seed=seed)
            scores = _fitted(data, name, few, data.cases["next_item"])
            ranked.append(protocols.full_ranking(scores, *data.truth, seed=data.seed))
            among.append(protocols.sampled(scores, *data.truth, negatives=drawn))
        setting = f"{n_sessions} sessions"
        measured[Key("training_sessions", name, "all users", "next_item")] = data.per_case(name)
        measured[Key("training_sessions", name, setting, "next_item")] = steps.mean_over_draws(ranked)
        both = Key("candidates", name, f"{SAMPLED}, {setting}", "next_item")
        measured[both] = steps.mean_over_draws(among)
    return measured


def _fitted(data: Material, name: str, histories: Sequence[np.ndarray], cases: pd.DataFrame) -> np.ndarray:
    """Scores of a baseline with the hyperparameters of notebook 03, fitted on some histories."""
    settings, place = (
        params.section("baselines")["models"][name],
        {"dataset": data.dataset, "seed": data.seed},
    )
    return protocols.fitted_scores(name, settings, histories, cases, data.catalog, **place)


def copied_track(measured: Measured) -> pd.DataFrame:
    """HR@5 of sessions of a day and 20 candidates together, beside what the paper prints.

    Args:
        measured: from :func:`sessions`.

    Returns:
        `system`, `HR@5 here`, `HR@5 in the paper` (NaN where it has no such row).
    """
    both = {key.system: frame for key, frame in measured.items() if key.setting.startswith(f"{SAMPLED}, ")}
    values = {
        systems.label(name): frame.groupby(USER)["hit_rate@5"].mean().mean() for name, frame in both.items()
    }
    table = pd.Series(values, dtype=float, name="HR@5 here").rename_axis(SYSTEM).reset_index()
    theirs = paper.figure_4().set_index("system")["hit_rate@5"]
    table["HR@5 in the paper"] = table[SYSTEM].replace({"Most popular": "MostPop"}).map(theirs)
    return table


def seen(data: Material) -> Measured:
    """Movies already rated left out of the lists, or kept in them."""
    names = ("lstm", *data.baselines, data.lora, data.reranked, FUSION)
    settings = (("left out", ""), ("kept", predictions.SEEN_KEPT))
    return {
        Key("seen", name, setting, "next_item"): data.per_case(name + ending)
        for name in names
        for setting, ending in settings
    }


def reference(
    data: Material, written: Mapping[tuple[str, str], pd.DataFrame], embeddings: pd.DataFrame
) -> Measured:
    """Lists re-ranked towards the LSTM's title, or towards the answers as well: the leak.

    Args:
        written, embeddings: from :func:`audit.rules.short_lists` and :func:`audit.rules.embeddings`.
    """
    measured = {}
    for (name, protocol), lists in written.items():
        # The LSTM's own list is re-ranked to its own head, rated or not, which leaves that where it is.
        towards = predictions.first_items(lists) if name == "lstm" else data.hints[protocol]
        place, targets = (lists, towards), data.targets[protocol]
        likeness = {
            HONEST: rerank.similarities(*place, data.catalog, embeddings),
            LEAKING: rules.leaking_similarities(*place, targets, data.catalog, embeddings),
        }
        for setting, similarity in likeness.items():
            ordered = rerank.by_similarity(lists, similarity)
            measured[Key("reference", name, setting, protocol)] = data.judged(ordered, protocol)
    return measured


def leak(data: Material, measured: Measured, names: Sequence[str], **stats: float) -> pd.DataFrame:
    """HR@1 of lists re-ranked with and without the answers among the references, the LSTM's list beside.

    Args:
        measured: from :func:`reference`.
        names: systems of the lists that are re-ranked.

    Returns:
        One row a (protocol, system, list): `list` is `without` or `with` (the answers), `plain` for the
        LSTM's own order with movies already rated kept, as in all lists here, and `plain, rated left out`;
        `value`, `low`, `high`, `n_users`, `n_cases` of HR@1.
    """
    rows = []
    for protocol in config.PROTOCOLS:
        frames = {
            (name, kind): measured[Key("reference", name, setting, protocol)]
            for name in names
            for kind, setting in (("without", HONEST), ("with", LEAKING))
        }
        frames |= {
            ("lstm", "plain"): data.per_case("lstm" + predictions.SEEN_KEPT, protocol),
            ("lstm", "plain, rated left out"): data.per_case("lstm", protocol),
        }
        for (name, kind), frame in frames.items():
            row = evaluation.summarise(frame, columns=["hit_rate@1"], **stats).iloc[0]
            rows.append({PROTOCOL: protocol, SYSTEM: name, "list": kind} | row.to_dict())
    return pd.DataFrame(rows).astype({"n_users": int, "n_cases": int})


def flatten_leak(table: pd.DataFrame, name: str) -> dict[str, float]:
    """Flat metric keys of one system under `window_of_five`, the protocol of the released code.

    `audit/leak/with/hit_rate@1`, `audit/leak/without/hit_rate@1` and, beside them, the LSTM's own list:
    `audit/leak/lstm/hit_rate@1`, with rated movies left out `audit/leak/lstm_rated_left_out/hit_rate@1`.

    Args:
        table: from :func:`leak`.
        name: the system.
    """
    names = {
        (name, "with"): "with",
        (name, "without"): "without",
        ("lstm", "plain"): "lstm",
        ("lstm", "plain, rated left out"): "lstm_rated_left_out",
    }
    flat: dict[str, float] = {}
    for row in table[table[PROTOCOL] == "window_of_five"].itertuples():
        if key := names.get((row.system, row.list)):
            flat |= evaluation.with_interval(f"audit/leak/{key}/hit_rate@1", row)
    return flat


def shares_first(measured: Measured, names: Sequence[str], **stats: float) -> pd.DataFrame:
    """HR@1 as a share of HR@5 under `window_of_five`, with and without the answers in the reference.

    Args:
        measured: from :func:`reference`.

    Returns:
        `system` (in words), `reference`, `value`, `low`, `high`, `n_users`.
    """
    return pd.DataFrame(
        [
            {SYSTEM: systems.label(name), "reference": setting}
            | steps.share_first(measured[Key("reference", name, setting, "window_of_five")], **stats)
            for name in names
            for setting in (HONEST, LEAKING)
        ]
    )


def leak_in_words(shares: pd.DataFrame, name: str) -> str:
    """What the answers in the reference do to one system's HR@1, in a sentence.

    Args:
        shares: from :func:`shares_first`.
    """
    rows = shares[shares[SYSTEM] == systems.label(name)].set_index("reference")["value"]
    return (
        f"Of {systems.label(name)}'s lists with a hit, {rows[LEAKING]:.0%} have it on top where the"
        f" re-ranker sees the answers, and {rows[HONEST]:.0%} where it does not; the titles are the same."
    )


def hit_rule(
    data: Material, written: Mapping[tuple[str, str], pd.DataFrame], *, thresholds: Sequence[float]
) -> tuple[Measured, pd.DataFrame]:
    """The same movie hits, or a title that looks alike.

    Args:
        written: from :func:`audit.rules.short_lists`.
        thresholds: least likeness of a title that hits, in [0, 1].

    Returns:
        (measured, what the lowest threshold takes for a hit although another movie is meant: `title`,
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

    The paper compares with the next movie (section 5.2); the released code takes the best of a user's last
    five, and only first titles that are a movie (code/evaluation.py:119-136, see :mod:`audit.released`).
    The lists are those of `window_of_five` throughout.

    Returns:
        One row a (system, counted): `counted` is `next movie` (an unmatched title counts 0), `best of
        five` (likewise) and `best of five, matched only`; `value`, `low`, `high`, `n_users`, `n_cases`.
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
        for setting, own in counted.items():
            row = evaluation.summarise(own, columns=["genre_jaccard"], **stats).iloc[0]
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
    """Lists of ten movies of the catalog, or their first three."""
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
    reasons = {f"candidates: {data.model}": "its title scores cover the LSTM's candidates, not every movie"}
    for name in sorted(set(data.baselines) - set(fitted_at_once(data.baselines))):
        reasons[f"candidates: {name}, trained on all users"] = "a network takes too long to be fitted twice"
    if not data.timed:
        untimed = f"{protocols.share_untimed(data.interactions):.0%} of the ratings at hand have no time"
        reasons["training_sessions"] = f"{untimed}, so there are no days"
    for step in untrained:
        reasons[step] = "this profile does not train this variant (audit.adapters)"
    reasons["lstm_targets"] = (
        "takes twenty times as long to train; `make questions` measured it (section 8)"
    )
    return pd.DataFrame(reasons.items(), columns=["step", "not run because"])

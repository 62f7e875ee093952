"""Twenty candidates, and a few sessions of a day to train on.

Very probably the paper's values of its baselines were measured so: they are apparently those of Xu et al.
(2025). Here the study's own baselines are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from tqdm import tqdm

from dualrec_utils.audit import protocols, steps
from dualrec_utils.audit.material import Material
from dualrec_utils.audit.steps import Key, Measured
from dualrec_utils.core import splits
from dualrec_utils.core.config import HISTORY, SYSTEM, USER
from dualrec_utils.models import handoff, systems
from dualrec_utils.pipeline import params
from dualrec_utils.show import paper

# Settings that more than one function names.
WHOLE, SAMPLED = "whole catalog", "sampled_20"


def fitted_at_once(names: Sequence[str]) -> list[str]:
    """Baselines not trained in epochs: fitted on all users, a network takes longer than all the rest."""
    known = params.section("baselines")["models"]
    return [name for name in names if "max_epochs" not in known[name]]


def draw_negatives(data: Material, *, n_negatives: int, n_draws: int) -> dict[int, np.ndarray]:
    """Items to stand beside each target of `next_item`, the same for every system: seed -> negatives."""
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
        Steps `training_sessions` and `candidates`; empty where too few ratings have a time.
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

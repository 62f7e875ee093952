"""The study's tables: facts of the data, results, claims and curves of all runs, from what these committed.

A run that has not been made is a row that says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from dualrec_utils.analysis import claims, verdict
from dualrec_utils.core import config, evaluation, files
from dualrec_utils.core.config import SYSTEM
from dualrec_utils.models import systems
from dualrec_utils.studies.domains import curves
from dualrec_utils.studies.domains.settings import NOT_RUN_YET, RUNS, STUDY, items_of, metrics, path_of

FACTS, RESULTS, CLAIMS, CURVES, SCALE = "facts", "results", "claims", "curves", "scale"
# As a reader sees them: from :mod:`domains.words`.
BY_CLAIM, USERS_NEEDED = "claims_by_data_set", "users_needed"
DATASET = "data set"
METRIC = "hit_rate@5"
# Kinds of language models' systems that stand in the table of results.
_KINDS = ("history_constrained", "zero_shot", "lora", "lora_reranked", "lora_constrained")
_SYSTEMS = (
    "random", "most_popular", "markov", "item_knn", "ease", "gru4rec", "sasrec", "unisrec", "lstm",
    "dualrec_fusion",
)  # fmt: skip
# A difference that matters, in the unit of the metrics: one point.
POINT = 0.01


def facts() -> pd.DataFrame:
    """What the data of each run are like.

    Returns:
        A row a data set: `items are`, `users`, `items`, `interactions` and `test users` of what was kept;
        `a user` and `an item` (mean interactions), `density`; shares of what was fetched: `kept`, `ties`
        (share of interactions with the time of the one before; missing where there are no times),
        `repeats` (left out: an item taken before), `merged` (items that have another one's title),
        `cleaned` (titles with HTML in them), `nameless` (titles that are codes); `remark`.
    """
    rows = []
    for dataset in RUNS:
        flat = metrics(dataset, "eda")
        row = {DATASET: dataset, "items are": items_of(dataset), "remark": "" if flat else NOT_RUN_YET}
        if flat:
            users, items, kept = flat["n_users"], flat["n_items"], flat["n_interactions"]
            raw, repeats = flat["n_ratings_raw"], flat.get("n_repeats_left_out", 0)
            row |= {"users": users, "items": items, "interactions": kept}
            row |= {"test users": flat["n_users_test"], "a user": kept / users, "an item": kept / items}
            row |= {"density": flat["density/kept"], "kept": flat["share_of_ratings_kept"]}
            row["ties"] = flat.get("share_of_ratings_tied_with_the_previous", np.nan)
            row["repeats"] = repeats / (raw + repeats)
            for name, key in (
                ("merged", "n_movies_merged"),
                ("cleaned", "n_titles_with_html_entities"),
                ("nameless", "n_titles_replaced_by_code"),
            ):
                row[name] = flat.get(key, 0) / flat["n_items_raw"]
        rows.append(row)
    whole = ["users", "items", "interactions", "test users"]
    parts = ["a user", "an item", "density", "kept", "ties", "repeats", "merged", "cleaned", "nameless"]
    table = pd.DataFrame(rows).reindex(columns=[DATASET, "items are", *whole, *parts, "remark"])
    return table.astype(dict.fromkeys(whole, "Int64"))


def results() -> pd.DataFrame:
    """The systems of each run that is under the present definition: HR@5 under `next_item`.

    Returns:
        `data set`, `system`, `metric`, `value`, `low`, `high`, `n_users`, `n_cases`, `n_seeds`.
    """
    rows = []
    for dataset in RUNS:
        flat = metrics(dataset, "results")
        model = verdict.model_of(flat)
        for name in systems.in_order([*_SYSTEMS, *(f"{model}_{kind}" for kind in _KINDS)]):
            key = f"next_item/{name}"
            if f"{key}/{METRIC}" in flat:
                value = {"value": flat[f"{key}/{METRIC}"]}
                value |= {end: flat[f"{key}/{METRIC}/{end}"] for end in ("low", "high")}
                sizes = {size: flat.get(f"{key}/{size}") for size in ("n_users", "n_cases", "n_seeds")}
                rows.append({DATASET: dataset, SYSTEM: name, "metric": METRIC, **value, **sizes})
    columns = [DATASET, SYSTEM, "metric", "value", "low", "high", "n_users", "n_cases", "n_seeds"]
    return pd.DataFrame(rows, columns=columns)


def all_claims() -> pd.DataFrame:
    """The claims of each run, those of its main language model, and how many users would answer them.

    Returns:
        `data set`, `claim` (its number), `question`, `system`, `other`, `metric`, `answer`, `difference`,
        `low`, `high`, `n_users`, `n_seeds`, `smallest_difference` (that the test users at hand would show),
        `users_needed` (test users that would show this difference; missing where no number would), and
        `users_for_a_point` (about as many would show a difference of :data:`POINT`).
    """
    rows = []
    for dataset in RUNS:
        flat = metrics(dataset, "results")
        for row in claims.of_metrics(flat):
            number, _, model = row["claim"].partition("/")
            if not model or model == verdict.model_of(flat):
                rows.append({DATASET: dataset, **row, "claim": int(number)})
    ends = ["difference", "low", "high"]
    sizes = ["n_users", "n_seeds", "smallest_difference", "users_needed"]
    columns = [DATASET, "claim", "question", SYSTEM, "other", "metric", "answer", *ends, *sizes]
    table = pd.DataFrame(rows).reindex(columns=columns)
    table[[*ends, *sizes]] = table[[*ends, *sizes]].astype(float)
    table["users_for_a_point"] = np.ceil(table["n_users"] * (table["smallest_difference"] / POINT) ** 2)
    counts = ["n_users", "n_seeds", "users_needed", "users_for_a_point"]
    return table.astype(dict.fromkeys(counts, "Int64"))


def all_curves() -> pd.DataFrame:
    """The curves that :func:`domains.curves.measure` has left, with their `data set` first."""
    parts = [read(f"{CURVES}_{dataset}") for dataset in RUNS]
    named = [part.assign(**{DATASET: name}) for name, part in zip(RUNS, parts, strict=True) if len(part)]
    columns = [DATASET, "group", SYSTEM, "metric", "value", "low", "high", "n_users", "n_cases"]
    return pd.concat(named)[columns] if named else pd.DataFrame(columns=columns)


def together() -> pd.DataFrame:
    """What could change with the data beside what was found there: a row a run that has a curve.

    Returns:
        Columns of :func:`facts`, then HR@10 over all test cases of a language model minus the LSTM, the
        model held to titles of the catalog after the bare history: `difference`, `low`, `high`.
    """
    whole = all_curves()
    wanted = whole[SYSTEM].str.endswith(f"_history_constrained{curves.MINUS_LSTM}")
    gains = whole[wanted & (whole["group"] == curves.ALL)].drop_duplicates(DATASET)
    gains = gains.rename(columns={"value": "difference"})[[DATASET, "difference", "low", "high"]]
    some = facts()[[DATASET, "an item", "a user", "density", "items", "ties", "merged"]]
    return some.merge(gains, on=DATASET)


def read(name: str) -> pd.DataFrame:
    """A table of the study; empty where it has not been written yet."""
    path = path_of(name)
    return pd.read_csv(path) if path.is_file() else pd.DataFrame()


def flatten() -> dict[str, float | str]:
    """Flat metric keys: `domains/<data set>/claims/<number>` with `/answer`, `/low` and `/high`, and
    `domains/<data set>/curve/<group>/<system>`; of what has been run."""
    flat: dict[str, float | str] = {}
    for row in all_claims().dropna(subset="difference").to_dict("records"):
        key = f"domains/{row[DATASET]}/claims/{row['claim']}"
        flat |= {f"{key}/answer": row["answer"]}
        flat |= evaluation.with_interval(key, pd.Series(row), column="difference")
    for row in all_curves().to_dict("records"):
        key = f"domains/{row[DATASET]}/curve/{row['group'].replace(' ', '_')}/{row[SYSTEM]}"
        flat |= evaluation.with_interval(key, pd.Series(row))
    # Groups of few users have no interval.
    return {key: value for key, value in flat.items() if value == value}


def write_metrics(flat: Mapping[str, float | str]) -> Path:
    """Write the study's `metrics.json`."""
    return files.write_json(dict(flat), config.study_dir(STUDY) / "metrics.json")


def write_all() -> None:
    """Write the tables that are made of others."""
    for name, table in ((FACTS, facts()), (RESULTS, results()), (CLAIMS, all_claims())):
        files.write_csv(table, path_of(name))

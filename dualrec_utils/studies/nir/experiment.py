"""`dualrec study nir`: NIR on its recordings, on yardsticks and on a local model.

It stands outside the default run: it needs the authors' two files, and what stages `data` and `movielm`
left. It writes `results.csv` and `metrics.json` under `reports/studies/nir/`.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from dualrec_utils.core import config, evaluation, files
from dualrec_utils.core.config import CASE, HISTORY, SPLIT, USER
from dualrec_utils.core.errors import StudyError
from dualrec_utils.core.splits import load_earlier, load_splits
from dualrec_utils.models.baselines.item_knn import ItemKNN
from dualrec_utils.pipeline import params
from dualrec_utils.show import tables
from dualrec_utils.studies.nir import candidates as nir_candidates, protocol as nir, recordings as nir_data
from dualrec_utils.studies.nir.protocol import Result
from dualrec_utils.studies.nir.recordings import MOVIELENS, Published

STAGE = "nir"
MOVIES = "ml-100k"
PARAMS = Path(__file__).with_name("params.yaml")
FILTERS = ("user filtering", "item filtering")
_KEYS = {
    "item_knn": {"query_length", "n_neighbours"},
    "local_model": {"model", "revision", "dtype", "max_new_tokens", "batch_size"},
}


def run(*, seed: int, n_neighbours: int, item_knn: dict, local_model: dict) -> pd.DataFrame:
    """Measure everything; write and return the table.

    Args:
        seed: of the shuffled candidates and of the intervals.
        n_neighbours: of item filtering, see :func:`studies.nir.candidates.by_items`.
        item_knn: hyperparameters of the yardstick.
        local_model: `model`, `revision`, `dtype`, `max_new_tokens`, `batch_size`, as
            :func:`studies.nir.local.results` takes them.

    Returns:
        One row a system and candidate set, see :func:`studies.nir.protocol.summary_row`.
    """
    # torch and transformers load here: recordings and yardsticks do without.
    from dualrec_utils.studies.nir import local as nir_local

    folder = nir_data.fetch()
    movies = _processed("items_raw")
    published = nir_data.load(folder, movies, _processed("ratings_raw"))
    recorded = nir_data.recordings(folder)
    histories = published.cases[HISTORY].tolist()
    shape = {"n_items": len(published.items), "n_candidates": nir.N_CANDIDATES}
    by_users = nir_candidates.by_users(histories, **shape)
    by_items = nir_candidates.by_items(histories, **shape, n_neighbours=n_neighbours)
    sets = dict(zip(FILTERS, (by_users, by_items), strict=True))
    knn = ItemKNN(np.arange(len(published.items)), seed=seed, **item_knn).fit(histories).score(histories)

    results = recorded_results(recorded, by_users, published)
    for name, candidates in sets.items():
        results += yardsticks(candidates, published, knn, candidates_by=name)
    results.append(whole_catalog(knn, published))
    words = nir.wording(recorded, published)
    local = nir_local.results(
        published,
        sets,
        words,
        movies,
        seed=seed,
        movies_of=MOVIES,
        **local_model,
    )
    unread = unread_by_movielm(published)
    held_out = [only_users(result, unread) for result in local]
    table = pd.DataFrame([nir.summary_row(result, seed=seed) for result in (*results, *local, *held_out)])
    files.write_csv(table, config.study_dir(STAGE) / "results.csv")
    about = {
        **origin(published, by_users, recorded),
        **differences([*results, *local], seed=seed),
        **{f"local_model/{key}": value for key, value in local_model.items()},
    }
    flat = {**about, **_flat(table), **evaluation.origin(MOVIES)}
    files.write_json(flat, config.study_dir(STAGE) / "metrics.json")
    return table


def recorded_results(
    recorded: pd.DataFrame, candidates: Sequence[Sequence[int]], published: Published
) -> list[Result]:
    """GPT-3's recordings under the authors' hit rule, and under the study's own."""
    answers = recorded.set_index(CASE)["answer_3"].reindex(published.cases[CASE]).fillna("").tolist()
    ranks = nir.released_rule(recorded).reindex(published.cases[CASE]).fillna(np.inf).to_numpy()
    ndcg = np.where(ranks <= nir.LIST_LENGTH, 1 / np.log2(ranks + 1), 0.0)
    values = dict(zip(nir.MEASURES, (np.isfinite(ranks).astype(float), ndcg), strict=True))
    reached = nir.reachable(candidates, published)
    ranked = nir.read_answers(answers, candidates, published.items)
    return [
        Result(
            "gpt3_recorded_released_rule",
            FILTERS[0],
            published.cases[[CASE, USER]].assign(**values),
            reached,
            "authors' rule: the target's title anywhere in the answer, to the letter",
        ),
        Result(
            "gpt3_recorded",
            FILTERS[0],
            nir.measure(ranked, published),
            reached,
            "the ten movies recommended, equal normal forms, an article in front aside",
        ),
    ]


def yardsticks(
    candidates: Sequence[Sequence[int]], published: Published, knn: np.ndarray, *, candidates_by: str
) -> list[Result]:
    """What the same candidates give without a language model.

    Args:
        knn: item-kNN's scores, (n_cases, n_items).
    """
    counts = nir_candidates.counts(published.cases[HISTORY].tolist(), len(published.items))
    popularity, cases = np.broadcast_to((counts > 0).sum(axis=0), knn.shape), published.cases[CASE]
    ranked = {
        "filter_order": (candidates, "the filter's own order"),
        "most_popular": (
            nir.by_score(candidates, popularity, cases),
            "by the number of users who watched it",
        ),
        "item_knn": (nir.by_score(candidates, knn, cases), "fitted on the same histories"),
    }
    reached = nir.reachable(candidates, published)
    expected = nir.expected_of_random(candidates, published)
    return [
        Result("random_expected", candidates_by, expected, reached, "mean over all orders"),
        *(
            Result(system, candidates_by, nir.measure(lists, published), reached, remark)
            for system, (lists, remark) in ranked.items()
        ),
    ]


def whole_catalog(knn: np.ndarray, published: Published) -> Result:
    """Item-kNN without a candidate set: every item outside the history is ranked."""
    catalog = np.arange(knn.shape[1])
    free = [np.setdiff1d(catalog, history).tolist() for history in published.cases[HISTORY]]
    scored = nir.measure(nir.by_score(free, knn, published.cases[CASE]), published)
    reached = nir.reachable(free, published)
    return Result("item_knn", "whole catalog", scored, reached, "no candidate set")


def unread_by_movielm(published: Published) -> set[int]:
    """Users that `movielm` was not trained on."""
    splits = load_splits(MOVIES)
    return set(published.cases[USER]) - set(splits.loc[splits[SPLIT] == "train", USER])


def only_users(result: Result, users: set[int]) -> Result:
    """The same result on some users."""
    chosen = result.scored[USER].isin(users).to_numpy()
    return result._replace(
        system=f"{result.system}_unread_users",
        scored=result.scored[chosen],
        reached=np.asarray(result.reached)[chosen],
        remark="only users whose histories movielm was not trained on",
    )


def origin(
    published: Published, by_users: Sequence[Sequence[int]], recorded: pd.DataFrame
) -> dict[str, int]:
    """How far our candidate sets agree with the recorded ones, and which targets `movielm` has read."""
    titles = published.items["title"].to_numpy()
    by_case = dict(zip(published.cases[CASE], by_users, strict=True))
    same = [
        # Titles hold commas, so the texts' letters are compared, whatever the order of the titles.
        sorted(", ".join(titles[by_case[case]])) == sorted(nir.listed_candidates(prompt))
        for case, prompt in zip(recorded[CASE], recorded["prompt_1"], strict=True)
    ]
    histories = load_earlier(MOVIES, "train")
    read = {user: set(history) for user, history in histories.items()}
    movielens = published.items[MOVIELENS].to_numpy()
    leaked = [
        movielens[target] in read.get(user, ())
        for user, (target,) in zip(published.cases[USER], published.targets, strict=True)
    ]
    return {
        "n_users": len(published.cases),
        "n_recorded": len(recorded),
        "n_recorded_hits": int(recorded["hit"].sum()),
        "n_recorded_candidate_sets_reproduced": sum(same),
        "n_users_read_by_movielm": len(read),
        "n_targets_read_by_movielm": sum(leaked),
    }


def differences(results: Sequence[Result], *, seed: int) -> dict[str, float]:
    """GPT-3's recordings against every other system on the same candidates, paired over users.

    Returns:
        `<recording>_minus_<system>/hit_rate@10` with `/low` and `/high`.
    """
    recordings = ("gpt3_recorded_released_rule", "gpt3_recorded")
    same = {result.system: result.scored for result in results if result.candidates_by == FILTERS[0]}
    flat, metric = {}, nir.MEASURES[0]
    for recording in recordings:
        for system in same:
            if system.startswith("gpt3_recorded"):
                continue
            values = evaluation.paired_difference(same[recording], same[system], metric=metric, seed=seed)
            key = f"{recording}_minus_{system}/{metric}"
            flat |= {key: values["difference"], f"{key}/low": values["low"], f"{key}/high": values["high"]}
    return flat


def _flat(table: pd.DataFrame) -> dict[str, float]:
    """`<system>/<filter>/<column>` of every number of the table."""
    return {
        f"{row['system']}/{row['candidates_by'].replace(' ', '_')}/{column}": row[column]
        for row in table.to_dict("records")
        for column in ("users", "target_among_candidates", "hits", *nir.MEASURES)
    }


def _processed(name: str) -> pd.DataFrame:
    return files.read_parquet_of("data", config.processed_dir(MOVIES) / f"{name}.parquet")


def read_settings(path: Path) -> dict:
    """The keywords of :func:`run` from a YAML file.

    Raises:
        StudyError: naming the keys that are missing or unknown, and as :func:`params.read_yaml`.
    """
    settings = params.read_yaml(path)
    for section, wanted in {"": set(inspect.signature(run).parameters), **_KEYS}.items():
        values = settings.get(section) if section else settings
        if not isinstance(values, dict) or set(values) != wanted:
            wrong = wanted.symmetric_difference(values) if isinstance(values, dict) else [section]
            raise StudyError(
                f"{path}: missing or unknown: {', '.join(sorted(map(str, wrong)))}; the keys of"
                f" {section or 'the file'} are {', '.join(sorted(wanted))}"
            )
    return settings


def run_study() -> None:
    """Run with the study's `params.yaml`, and print the table."""
    table = run(**read_settings(PARAMS))
    print(tables.to_markdown(table.drop(columns="remark")))

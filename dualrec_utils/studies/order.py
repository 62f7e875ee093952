"""`dualrec study order`: what the order of ratings that share a second is worth.

About half of all MovieLens ratings share their second with the one before, so that something else orders
them. Each model is trained on histories in several such orders, and asked for cases cut from them:

- `by id`: inside a second by item id, a history may hold items of its target's second (the study's former
  definition, and that of many programs);
- `file order`: as the file has it, where the source says so (ml-1m);
- `drawn`: inside a second by the hash of :mod:`core.order`, a history may hold its target's second;
- `earlier seconds`: the study's definition: as `drawn`, but a history ends before its target's second, and
  the last seconds are asked for, not the last items: its targets reach further back too;
- `companions masked`: the same cases, the other items of the target's second left out of the lists;
- `one a second`: as `earlier seconds`, for models trained on one item a second, the first drawn.

A draw k has `order_seed` and `model_seed` k; what is trained in epochs stops by `earlier seconds`, on
validation users. Rows of one draw are of the same fit where they were trained on the same order.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dualrec_utils.analysis import order as tables, seeds
from dualrec_utils.analysis.seeds import METRICS
from dualrec_utils.core import config, evaluation, files, order, predictions, splits
from dualrec_utils.core.catalog import Catalog, load_catalog
from dualrec_utils.core.config import CASE, HISTORY, ITEM, SECOND, SPLIT, USER
from dualrec_utils.core.errors import StudyError
from dualrec_utils.models import baselines
from dualrec_utils.models.baselines import experiment
from dualrec_utils.pipeline import params, profiles, stages
from dualrec_utils.studies import fits
from dualrec_utils.studies.fits import LSTM, MOVIELM

MODELS = ("most_popular", "ease", "item_knn", "sknn", "markov", "gru4rec", "sasrec", LSTM, MOVIELM)
# Draws by data set: what its size allows.
N_DRAWS = {"ml-100k": 5}
_N_DRAWS_OF_OTHERS = 2
BY_ID, FILE, DRAWN, EARLIER = "by id", "file order", "drawn", "earlier seconds"
MASKED, ONE = "companions masked", "one a second"
# Order of the training histories -> cases that such a model is asked for.
ASKED = {BY_ID: (BY_ID,), FILE: (FILE,), DRAWN: (DRAWN, EARLIER, MASKED), ONE: (ONE,)}
_FILE_ROW = "file_row"

# Histories, and for each the items that must not be listed -> lists in the shape of core.predictions.
Lister = Callable[[pd.DataFrame], pd.DataFrame]


@dataclass(frozen=True, eq=False)
class Cut:
    """A data set in one order.

    Attributes:
        train, earlier: histories of the training users, whole and as :func:`core.splits.load_earlier`.
        validation_users: whole histories of the validation users.
        cases: (what is asked, split) -> (cases, targets), cases with `hidden`: the history, and what else
            must not be listed.
    """

    train: dict[int, np.ndarray]
    earlier: dict[int, np.ndarray]
    validation_users: dict[int, np.ndarray]
    cases: dict[tuple[str, str], tuple[pd.DataFrame, pd.Series]]


def ordered(interactions: pd.DataFrame, how: str, *, draw: int) -> pd.DataFrame:
    """Interactions with the ratings of a second in another order.

    Args:
        interactions: from :func:`core.splits.load_interactions`.
        how: a key of :data:`ASKED`.
        draw: `order_seed` of what is drawn.

    Raises:
        StudyError: on another order, or for `file order` where no place in the file is known.
    """
    if how not in ASKED:
        raise StudyError(f"there is no order {how!r}; orders: {', '.join(ASKED)}")
    if how == FILE and _FILE_ROW not in interactions:
        raise StudyError("the source of this data set does not say in which order its file is")
    keys = {BY_ID: interactions[ITEM], FILE: interactions.get(_FILE_ROW)}
    key = keys.get(how)
    key = order.draw(interactions, order_seed=draw) if key is None else key
    frame = interactions.assign(key=key).sort_values([USER, SECOND, "key"], ignore_index=True)
    frame = frame.drop(columns="key")
    return frame.drop_duplicates([USER, SECOND], ignore_index=True) if how == ONE else frame


def cut(
    interactions: pd.DataFrame, user_splits: pd.DataFrame, how: str, *, draw: int, cases_per_user: int
) -> Cut:
    """Histories and cases of one order.

    Args:
        interactions, how, draw: as :func:`ordered`.
        cases_per_user: as in section `data` of `params.yaml`.
    """
    frame = ordered(interactions, how, draw=draw)
    # What is asked is the same whatever a model was trained on.
    whole = ordered(interactions, DRAWN, draw=draw) if how == ONE else frame

    def last(seconds: np.ndarray) -> Iterable[int]:
        return range(max(1, len(seconds) - cases_per_user), len(seconds))

    def later(seconds: np.ndarray) -> Iterable[int]:
        return splits.last_seconds(seconds, n=cases_per_user)

    all_cases = {}
    for way in {EARLIER, *ASKED[how]}:
        within = way in (BY_ID, FILE, DRAWN)
        cases, answers = splits.cut(whole, user_splits, starts=last if within else later)
        splits.check_cases(cases, answers, whole, user_splits, within_second=within)
        cases["hidden"] = _hidden(cases, whole) if way == MASKED else cases[HISTORY]
        targets = answers.groupby(CASE)[ITEM].agg(list)
        for split, part in cases.groupby(SPLIT):
            all_cases[way, split] = (part.sort_values(CASE, ignore_index=True), targets)
    parts = frame[USER].map(user_splits.set_index(USER)[SPLIT])
    known, others = frame[parts == "train"], frame[parts == "validation"]
    earlier = splits.before_window(known)
    return Cut(*map(splits.items_by_user, (known, earlier, others)), all_cases)


def _hidden(cases: pd.DataFrame, interactions: pd.DataFrame) -> list[np.ndarray]:
    """The history of each case and the items that share the target's second, the target left out."""
    by_user = dict(list(interactions.groupby(USER)))
    hidden = []
    for user, history in zip(cases[USER], cases[HISTORY], strict=True):
        items, seconds = (by_user[user][column].to_numpy() for column in (ITEM, SECOND))
        at = len(history)
        companions = items[at + 1 :][seconds[at + 1 :] == seconds[at]]
        hidden.append(np.concatenate([history, companions]))
    return hidden


def _listed(score: Callable[[Sequence[np.ndarray]], np.ndarray], catalog: Catalog, *, seed: int) -> Lister:
    """Lists of a model that scores the catalog."""

    def lists(cases: pd.DataFrame) -> pd.DataFrame:
        scores, unlisted = score(list(cases[HISTORY])), cases.assign(**{HISTORY: cases["hidden"]})
        return predictions.from_scores(scores, unlisted, catalog.ids, seed=seed, length=10)

    return lists


def _baseline(name: str, data: Cut, catalog: Catalog, *, seed: int) -> Lister:
    settings = params.section("baselines")["models"][name]
    cases, targets = data.cases[EARLIER, "validation"]
    model = baselines.build(name, catalog.ids, seed=seed, catalog=catalog, **settings)

    def validate(score: Callable) -> float:
        lists = _listed(score, catalog, seed=seed)(cases)
        scored = evaluation.score_lists(lists, cases, targets, catalog)
        return float(scored.groupby(USER)[evaluation.CHOSEN_BY].mean().mean())

    with experiment.one_thread(name):
        model.fit(list(data.train.values()), validate=validate)
    return _listed(model.score, catalog, seed=seed)


def _lstm(data: Cut, catalog: Catalog, *, seed: int) -> Lister:
    score = fits.lstm_scorer(list(data.train.values()), catalog, params.section(LSTM), seed=seed)
    return _listed(score, catalog, seed=seed)


def _movielm(data: Cut, catalog: Catalog, *, seed: int) -> Lister:
    """The bare history as prompt, ten real items: notebook 04's `history only, catalog only`."""
    # Only this model needs transformers.
    from dualrec_utils.models.language.constrained import ranked_lists

    prompting, section = params.section("zero_shot_llm"), params.section(MOVIELM)
    learn = {name: value for name, value in section.items() if name not in ("dataset", "seed")}
    known, others = data.earlier, data.validation_users
    rank = fits.movielm_ranker(known, others, catalog, learn, n_history=prompting["n_history"], seed=seed)

    def lists(cases: pd.DataFrame) -> pd.DataFrame:
        scores = rank(list(cases[HISTORY]), excluded=list(cases["hidden"]), k=prompting["n_ranked"])
        shape = {"exclude_seen": False, "length": prompting["n_ranked"]}
        return ranked_lists(scores, cases, catalog, seed=seed, **shape)

    return lists


def measure(name: str, how: str, *, dataset: str, draw: int, cases_per_user: int) -> pd.DataFrame:
    """Train a model on one order and measure it on all cases it is asked for.

    Args:
        name: one of :data:`MODELS`.
        how: a key of :data:`ASKED`.
        draw: seed of order and model.

    Returns:
        One row a user and way of asking: `asked`, `user_id`, :data:`METRICS` (means over the user's test
        cases, items of the history left out), `n_cases`, `seconds` of training and listing.
    """
    catalog, user_splits = load_catalog(dataset), splits.load_splits(dataset)
    data = cut(
        splits.load_interactions(dataset), user_splits, how, draw=draw, cases_per_user=cases_per_user
    )
    splits.check_apart(data.train, user_splits)
    started = time.perf_counter()
    trains = {LSTM: _lstm, MOVIELM: _movielm}
    if name in trains:
        lister = trains[name](data, catalog, seed=draw)
    else:
        lister = _baseline(name, data, catalog, seed=draw)
    frames = []
    for way in ASKED[how]:
        cases, targets = data.cases[way, "test"]
        scored = evaluation.score_lists(lister(cases), cases, targets, catalog)
        by_user = scored.groupby(USER)[list(METRICS)]
        frames.append(by_user.mean().assign(**{"n_cases": by_user.size(), "asked": way}).reset_index())
    return pd.concat(frames, ignore_index=True).assign(seconds=round(time.perf_counter() - started, 1))


def _digest(name: str, *, dataset: str) -> str:
    """What a piece depends on, see :func:`studies.fits.digest`."""
    if name == LSTM:
        settings = params.section(LSTM)
    elif name == MOVIELM:
        settings = params.section(MOVIELM) | {"asked": params.section("zero_shot_llm")["n_history"]}
    else:
        settings = params.section("baselines")["models"][name]
    about = [settings, params.section("data")]
    return fits.digest(name, about, dataset=dataset, study=[__file__])


def levels(values: pd.DataFrame, **intervals) -> pd.DataFrame:
    """Every model under every way of training and asking, averaged over users and draws.

    Args:
        values: rows of :func:`obtain`.
        intervals: as :func:`analysis.seeds.interval`.

    Returns:
        `model`, `trained`, `asked`, `metric`, `value`, `low`, `high`, `n_users`, `n_seeds`, `over_seeds`.
    """
    rows = []
    for (name, how, way), part in values.groupby(["model", "trained", "asked"], sort=False):
        for metric in METRICS:
            wide = part.pivot(index=USER, columns="draw", values=metric)
            about = {"model": name, "trained": how, "asked": way, "metric": metric}
            rows.append(about | seeds.interval(wide, **intervals))
    return pd.DataFrame(rows)


def effects(values: pd.DataFrame, **intervals) -> pd.DataFrame:
    """Paired differences: what a way of asking changes for a model, and each model minus EASE-R.

    Users that only one way asks (all their ratings have one second) are left out of the pair.

    Args, Returns:
        As :func:`levels`, with `minus` in the place of `trained`: what is subtracted from `asked`, a way of
        asking or `ease`.
    """
    wide = {
        (name, way, metric): part.pivot(index=USER, columns="draw", values=metric)
        for (name, way), part in values.groupby(["model", "asked"], sort=False)
        for metric in METRICS
    }
    names, ways = values["model"].unique(), values["asked"].unique()
    pairs = [(one, other) for one in ways for other in (DRAWN, EARLIER) if one != other]
    rows = []
    for name in names:
        for metric in METRICS:
            compared = [(one, other, (name, other)) for one, other in pairs]
            compared += [(one, "ease", ("ease", one)) for one in ways if name != "ease"]
            for one, minus, second in compared:
                if (name, one, metric) not in wide or (*second, metric) not in wide:
                    continue
                gains = wide[name, one, metric] - wide[*second, metric]
                gains = gains.dropna(axis=1, how="all").dropna()
                about = {"model": name, "asked": one, "minus": minus, "metric": metric}
                rows.append(about | seeds.interval(gains, **intervals))
    return pd.DataFrame(rows)


def run_all(models: Sequence[str] = ()) -> int:
    """Train and measure the named models, by default all, and write the tables of all that were measured.

    They are `reports/studies/order/<dataset>/levels.csv` (:func:`levels`) and `effects.csv`
    (:func:`effects`). A stopped run goes on where it stopped.

    Raises:
        StudyError: for a model that the study does not have.
    """
    if unknown := [name for name in models if name not in MODELS]:
        raise StudyError(f"the order study has no {', '.join(unknown)}; it has {', '.join(MODELS)}")
    whole = params.load()
    if whole.trial or profiles.SEED_MARK in config.ROOT.name:
        raise StudyError(
            f"{config.ROOT} is a trial or another seed: its tables would replace those of the run"
        )
    # A piece lies in another folder once settings, data or code have changed.
    kept = config.checkpoints_dir(whole.dataset, tables.STUDY)
    folders = {name: kept / _digest(name, dataset=whole.dataset) for name in MODELS}
    plan = {
        (name, how, draw): folders[name] / f"{name}_{how.replace(' ', '_')}_{draw}.parquet"
        for name, how, draw in _plan(whole.dataset)
    }
    before = tables.read(whole.dataset, "levels")
    there = {name for (name, _, _), path in plan.items() if path.is_file()} | set(models or MODELS)
    if lost := sorted(set(before.get("model", ())) - there):
        raise StudyError(
            f"the tables have rows of {', '.join(lost)}, made with other settings or code, or elsewhere;"
            f" they would be lost: name them too (dualrec study order {' '.join(lost)} ...)"
        )
    frames = []
    for (name, how, draw), path in plan.items():
        if not path.is_file() and (name in models or not models):
            print(f"order: {name}, trained {how}, draw {draw}", flush=True)
            per_user = whole.data.cases_per_user
            values = measure(name, how, dataset=whole.dataset, draw=draw, cases_per_user=per_user)
            files.write_parquet(values, path)
        if path.is_file():
            frames.append(pd.read_parquet(path).assign(model=name, trained=how, draw=draw))
    values = pd.concat(frames, ignore_index=True)
    intervals = {"seed": whole.seed, **whole.intervals.model_dump(exclude={"n_permutations"})}
    measured = {"levels": levels(values, **intervals), "effects": effects(values, **intervals)}
    for name, table in measured.items():
        files.write_csv(table, tables.table_path(whole.dataset, name))
    print(measured["levels"].query("metric == 'ndcg@5'").round(4).to_string(index=False))
    return 0


def _plan(dataset: str) -> list[tuple[str, str, int]]:
    """Model, order trained on and draw of all that is measured; one draw says what fewer items do."""
    in_file = _FILE_ROW in splits.load_interactions(dataset)
    # On a larger data set than the default one the language model takes a GPU.
    models = MODELS if dataset in N_DRAWS or "gpu" in stages.machine() else MODELS[:-1]
    n_draws = N_DRAWS.get(dataset, _N_DRAWS_OF_OTHERS)
    return [
        (name, how, draw)
        for name in models
        for draw in range(n_draws)
        for how in ASKED
        if (how != FILE or in_file) and (how != ONE or draw == 0)
    ]

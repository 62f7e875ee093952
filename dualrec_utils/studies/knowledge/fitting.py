"""Every model of the study, fitted on histories and asked for lists; pretrained ones are in `tuning`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dualrec_utils.core import evaluation, predictions, splits
from dualrec_utils.core.catalog import Catalog, load_catalog
from dualrec_utils.core.config import CASE, HISTORY, USER
from dualrec_utils.models import baselines
from dualrec_utils.models.baselines import experiment
from dualrec_utils.pipeline.schemas import Params
from dualrec_utils.studies import fits
from dualrec_utils.studies.fits import LSTM, MOVIELM, Histories
from dualrec_utils.studies.knowledge import material
from dualrec_utils.studies.knowledge.material import HIDDEN
from dualrec_utils.studies.knowledge.plan import TEXT, Job

# Models that have a section of params.yaml to themselves.
OWN = (LSTM, MOVIELM)
# Entries of a list.
LENGTH = 10
# Trained items that stand for a cold one whose output no model has learnt.
_N_NEIGHBOURS = 10
# Passes grow with the root of the shrinking share, at most so many times.
_MOST_TIMES = 10
# Questions -> lists in the shape of core.predictions.
Lister = Callable[[pd.DataFrame], pd.DataFrame]


@dataclass(frozen=True, eq=False)
class Learning:
    """What a job's model may learn from.

    Attributes:
        catalog: the items, under the names that the job gives them.
        train: histories of training users. validation: of validation users, for losses alone.
        checked: validation cases and their targets, which stop training.
        cold: items that none of these holds.
    """

    catalog: Catalog
    train: dict[int, np.ndarray]
    validation: dict[int, np.ndarray]
    checked: material.Questions
    cold: Collection[int]


def learning(job: Job, *, dataset: str, cold: Collection[int], seed: int) -> Learning:
    """The material of a job, proven to hold no other users and no cold item.

    Args:
        cold: the items taken out; none for a job without.
        seed: of drawn users and invented names.

    Raises:
        StudyError: as :func:`core.splits.check_apart` and :func:`material.check_taken_out`.
    """
    catalog = load_catalog(dataset)
    train, validation = (splits.load_histories(dataset, split) for split in ("train", "validation"))
    splits.check_apart(train, splits.load_splits(dataset))
    if job.share:
        train = material.share_of(train, job.share, seed=seed, draw=job.draw)
    train, validation = material.without(train, cold), material.without(validation, cold)
    cases, targets = material.validation(dataset, cold)
    answers = {case: np.array(targets[case]) for case in cases[CASE]}
    for known in (train, validation, dict(zip(cases[CASE], cases[HISTORY], strict=True)), answers):
        material.check_taken_out(known, cold)
    if job.meaningless:
        catalog = material.meaningless(catalog, seed=seed)
    return Learning(catalog, train, validation, (cases, targets), cold)


def passes(n: int, share: float) -> int:
    """Passes over a share of the users, where all of them get `n`.

    A hundredth of the users makes so few steps in as many passes that nothing is learnt, and in a hundred
    times as many it is learnt by heart: with the root of the share steps fall, and passes rise, tenfold.

    >>> passes(5, 1.0), passes(5, 0.25), passes(5, 0.001)
    (5, 10, 50)
    """
    return round(n * min(share**-0.5, _MOST_TIMES))


def lists_of(scores: np.ndarray, posed: pd.DataFrame, catalog: Catalog, *, seed: int) -> pd.DataFrame:
    """Lists of a model that scores the whole catalog, hidden items left out."""
    hidden = posed.assign(**{HISTORY: posed[HIDDEN]})
    return predictions.from_scores(scores, hidden, catalog.ids, seed=seed, length=LENGTH)


def fitted(job: Job, given: Learning, whole: Params) -> Lister:
    """Fit a model that was not pretrained.

    Args:
        given: from :func:`learning`.
        whole: the run's parameters.
    """
    if job.model == MOVIELM:
        return _movielm(job, given, whole)
    score = _lstm(job, given, whole) if job.model == LSTM else _baseline(job, given, whole)
    return lambda posed: lists_of(score(list(posed[HISTORY])), posed, given.catalog, seed=job.draw)


def _lstm(job: Job, given: Learning, whole: Params) -> Callable[[Histories], np.ndarray]:
    settings = whole.lstm.model_dump()
    settings |= {"epochs": passes(settings["epochs"], job.share)}
    score = fits.lstm_scorer(list(given.train.values()), given.catalog, settings, seed=job.draw)
    if not job.cold:
        return score
    # Brings torch.
    from dualrec_utils.models.baselines.unisrec import text_vectors

    vectors = text_vectors(given.catalog, sbert=whole.rerank_ablation.sbert)
    columns = given.catalog.columns(list(given.cold))
    return lambda posed: by_neighbours(score(posed), vectors, columns)


def by_neighbours(scores: np.ndarray, vectors: np.ndarray, cold: np.ndarray) -> np.ndarray:
    """Scores in which a cold item has the mean of the trained items whose texts are most like its own.

    Args:
        scores: shape (n, n_items); not changed.
        vectors: shape (n_items, size), of length 1.
        cold: columns of the cold items.
    """
    trained = np.setdiff1d(np.arange(len(vectors)), cold)
    likeness = vectors[cold] @ vectors[trained].T
    nearest = trained[np.argsort(-likeness, axis=1, kind="stable")[:, :_N_NEIGHBOURS]]
    replaced = scores.copy()
    replaced[:, cold] = scores[:, nearest].mean(axis=2)
    return replaced


def baseline_settings(name: str, whole: Params) -> dict | None:
    """Hyperparameters of a baseline, None where the run does not have it."""
    return whole.baselines.models.get(baseline_of(name))


def baseline_of(name: str) -> str:
    """The baseline that a model of the study is a variant of, or is."""
    return "unisrec" if name == TEXT else name


def _baseline(job: Job, given: Learning, whole: Params) -> Callable[[Sequence[np.ndarray]], np.ndarray]:
    settings, seed, catalog = baseline_settings(job.model, whole), job.draw, given.catalog
    if job.model == TEXT:
        # Brings torch.
        from dualrec_utils.studies.knowledge.text_alone import TextAlone

        model = TextAlone(catalog.ids, seed=seed, catalog=catalog, **settings)
    else:
        model = baselines.build(job.model, catalog.ids, seed=seed, catalog=catalog, **settings)
    cases, targets = given.checked

    def validate(score: Callable) -> float:
        lists = predictions.from_scores(score(cases[HISTORY]), cases, catalog.ids, seed=seed, length=5)
        scored = evaluation.score_lists(lists, cases, targets, catalog)
        return float(scored.groupby(USER)[evaluation.CHOSEN_BY].mean().mean())

    with experiment.one_thread(baseline_of(job.model)):
        model.fit(list(given.train.values()), validate=validate)
    return model.score


def _movielm(job: Job, given: Learning, whole: Params) -> Lister:
    # Only this model needs transformers.
    from dualrec_utils.models.movielm import model as movielm
    from dualrec_utils.studies.knowledge import tuning

    section = whole.movielm.model_dump()
    section |= {"n_epochs": passes(section["n_epochs"], job.share)}
    small, tokenizer, _ = movielm.train(
        given.train, given.validation, given.catalog, seed=job.draw, **section
    )
    n_history = whole.zero_shot_llm.n_history
    return lambda posed: tuning.ranked(
        small, tokenizer, posed, given.catalog, n_history=n_history, seed=job.draw, label=job.name
    )

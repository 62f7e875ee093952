"""What is fitted, and which rows of which table it gives."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from dualrec_utils.studies.fits import LSTM, MOVIELM
from dualrec_utils.studies.knowledge.material import CATALOG, COLD
from dualrec_utils.studies.knowledge.settings import Settings

TEXT = "unisrec_text"
# Without pretraining, cheapest first, in parts a and b.
LITTLE = ("most_popular", "ease", "gru4rec", LSTM, MOVIELM)
UNSEEN = ("random", LSTM, TEXT, MOVIELM)
# Values of the column `titles`, and of `weights`: movielm's are trained here, on the same histories.
REAL, MEANINGLESS = "real titles", "meaningless titles"
PRETRAINED, RANDOM, TRAINED = "pretrained", "random weights", "trained here"
# Values of the column `search`: how a language model's list is found.
BEAM, EXACT = "a beam", "exact search"


@dataclass(frozen=True)
class Job:
    """One model fitted, or one pretrained model as it is, and asked.

    Attributes:
        model: of :data:`LITTLE`, :data:`UNSEEN` or the study's settings.
        share: of the training users; 0 for a pretrained model that is not tuned.
        draw: seed of these users and of the model.
        cold: whether the cold items are taken out, and asked for.
        random_weights: whether a pretrained model starts from random weights in the place of its own.
        meaningless: whether titles are replaced.
        exact: whether a pretrained model's lists are searched exactly, not with a beam.
    """

    model: str
    share: float = 1.0
    draw: int = 0
    cold: bool = False
    random_weights: bool = False
    meaningless: bool = False
    exact: bool = False

    @property
    def name(self) -> str:
        """Of its files."""
        marks = [name for name in ("cold", "random_weights", "meaningless", "exact") if getattr(self, name)]
        return "-".join([self.model, f"{self.share:g}", str(self.draw), *marks])


@dataclass(frozen=True)
class Row:
    """One row of a table: what it is called, the jobs it is the mean of, and among what they rank."""

    labels: dict[str, Any]
    jobs: Sequence[Job]
    among: str = CATALOG


@dataclass(frozen=True)
class Part:
    """One of the experiments.

    Attributes:
        rows: of its table, in order.
        pairs: (row, row subtracted from it).
    """

    rows: list[Row] = field(default_factory=list)
    pairs: list[tuple[Row, Row]] = field(default_factory=list)

    @property
    def jobs(self) -> list[Job]:
        """Every job of its rows once, in their order."""
        return list(dict.fromkeys(job for row in self.rows for job in row.jobs))


def little_data(settings: Settings, tuned: float) -> Part:
    """Part a: models after some shares of the training users; pretrained ones minus all others.

    Args:
        tuned: the share that a pretrained model is tuned on in the other parts; plays no part here.
    """
    part, draws = Part(), range(settings.n_draws)
    for model in settings.pretrained:
        part.rows.append(Row({"system": model, "share": 0.0}, [Job(model, 0.0)]))
    for share in settings.shares:
        here = [
            Row({"system": model, "share": share}, [Job(model, share, draw) for draw in draws])
            for model in (*LITTLE, *settings.models)
        ]
        part.rows.extend(here)
        others, pretrained = here[: len(LITTLE)], here[len(LITTLE) :]
        part.pairs.extend((one, other) for one in pretrained for other in others)
    return part


def cold_items(settings: Settings, tuned: float) -> Part:
    """Part b: models asked for items that they have not learnt from; arguments as :func:`little_data`."""
    part, draws = Part(), range(settings.n_draws)
    for among in (CATALOG, COLD):

        def row(model: str, share: float, draws: Sequence[int], among: str = among) -> Row:
            jobs = [Job(model, share, draw, cold=True) for draw in draws]
            return Row({"system": model, "share": share, "among": among}, jobs, among)

        others = [row(model, 1.0, draws) for model in UNSEEN]
        pretrained = [row(model, share, [0]) for model in settings.models for share in (0.0, tuned)]
        part.rows.extend([*others, *pretrained])
        part.pairs.extend((one, other) for one in pretrained for other in others)
    return part


def form(settings: Settings, tuned: float) -> Part:
    """Part c: a model as it is, with random weights, other titles; arguments as :func:`little_data`."""
    part = Part()

    def row(weights: str, jobs: Sequence[Job]) -> Row:
        first = jobs[0]
        titles = MEANINGLESS if first.meaningless else REAL
        made = Row(
            {"system": first.model, "share": first.share, "weights": weights, "titles": titles}, jobs
        )
        part.rows.append(made)
        return made

    for model in settings.models:
        for share in (0.0, tuned):
            job = Job(model, share)
            usual = row(PRETRAINED, [job])
            part.pairs.append((usual, row(RANDOM, [dataclasses.replace(job, random_weights=True)])))
            part.pairs.append((usual, row(PRETRAINED, [dataclasses.replace(job, meaningless=True)])))
    jobs = [Job(MOVIELM, tuned, draw) for draw in range(settings.n_draws)]
    others = [dataclasses.replace(job, meaningless=True) for job in jobs]
    part.pairs.append((row(TRAINED, jobs), row(TRAINED, others)))
    return part


def search(settings: Settings, tuned: float) -> Part:
    """Part e: what a beam leaves out, exact search minus it; arguments as :func:`little_data`."""
    part = Part()
    for model in settings.models:
        for share in (0.0, tuned):
            job = Job(model, share)
            labels = {"system": model, "share": share}
            exact = Row({**labels, "search": EXACT}, [dataclasses.replace(job, exact=True)])
            beam = Row({**labels, "search": BEAM}, [job])
            part.rows.extend([exact, beam])
            part.pairs.append((exact, beam))
    return part


PARTS = {"a": little_data, "b": cold_items, "c": form, "e": search}

"""`dualrec study knowledge [a|b|c|d|e|notebook]`: when does what a language model has read help?

Experiments, and what the models say: each a table in `reports/studies/knowledge/<dataset>/`, with its
differences beside it:

- `a`, little data: models trained on shares of the training users, `little_data`;
- `b`, cold items: items that no model has learnt from, `cold`, and what they are, `cold_drawn`; beside them
  hit rates of the run's own lists by the number of training ratings of the target, `by_ratings`;
- `c`, knowledge against form: the same weights, random weights, meaningless titles, `form`;
- `d`, what they say (:mod:`spoken`): shares of titles in free text, `spoken`, answers to read,
  `spoken_shown`, how far MovieLens' files can be continued, `records`, and hit rates where the year of the
  right item is known and where not, `by_knowledge`. Its last table takes the lists of part `a`;
- `e`, what a beam leaves out: lists of part `a` and the same by exact search, `search`, and how many items
  both hold, `search_overlap`.

Every list is made for the same test users and cases (`next_item`, items seen left out), those of language
models by catalog decoding. The lists of each job (:mod:`plan`) are a piece under
`data/<dataset>/checkpoints/knowledge/`, an adapter in training another: a stopped run goes on where it
stopped. A table is written anew after each piece, those of part `d` once every model was asked. At the end
notebook 10 is run.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import pandas as pd

from dualrec_utils.analysis import breakdowns
from dualrec_utils.core import closure, config, evaluation, files, predictions, splits
from dualrec_utils.core.catalog import load_catalog
from dualrec_utils.core.config import CASE, ITEM, SPLIT, SYSTEM, TITLE, USER
from dualrec_utils.core.domain import load_domain
from dualrec_utils.core.errors import StudyError, first_line
from dualrec_utils.core.predictions import Scope
from dualrec_utils.datasets import weights
from dualrec_utils.models import handoff
from dualrec_utils.models.baselines.base import Diverged
from dualrec_utils.models.language import prompts
from dualrec_utils.pipeline import params, profiles, stages
from dualrec_utils.studies import fits, notebook
from dualrec_utils.studies.fits import LSTM, MOVIELM
from dualrec_utils.studies.knowledge import fitting, material, plan, spoken, tables, words
from dualrec_utils.studies.knowledge.material import AMONG
from dualrec_utils.studies.knowledge.plan import Job, Part
from dualrec_utils.studies.knowledge.settings import NOTEBOOK, STUDY, pieces_dir, read_settings

# Files of the study, and modules, that decide what a piece holds.
_CODE = [Path(__file__).with_name(f"{name}.py") for name in ("fitting", "material", "text_alone", "tuning")]
_LANGUAGE = "\n".join(
    f"import dualrec_utils.models.{name}" for name in ("language.constrained", "finetuning.training")
)


def _file_digest(model: str, *, dataset: str) -> str:
    """SHA-256 of the files that a pretrained model is loaded from: of none where it is a Hub's."""
    if model in weights.MODELS:
        return weights.MODELS[model].sha256
    # Brings torch.
    from dualrec_utils.models.language import loading

    path = Path(os.path.expanduser(loading.locate(model, dataset=dataset)))
    return files.sha256_of_all([path] if path.is_file() else sorted(filter(Path.is_file, path.glob("*"))))


class Study:
    """The study on the run in whose folder it was started.

    Attributes:
        whole, settings: parameters of the run, and the study's own.
        failed: job or model -> why it could not be run, as it was found out.

    Raises:
        StudyError: in a trial or another seed of a run.
    """

    def __init__(self) -> None:
        self.whole = params.load()
        if self.whole.trial or profiles.SEED_MARK in config.ROOT.name:
            raise StudyError(
                f"{config.ROOT} is a trial or another seed: its tables would replace those of the run"
            )
        self.dataset, self.seed = self.whole.dataset, self.whole.seed
        self.settings = read_settings(self.dataset)
        self.intervals = {"seed": self.seed} | self.whole.intervals.model_dump(exclude={"n_permutations"})
        self.failed: dict[Job | str, str] = {}
        self._gpu = "gpu" in stages.machine()
        self._keys: dict[tuple[str, bool], str] = {}
        self._posed: dict[bool, material.Questions] = {}
        self._values: dict[Job, pd.DataFrame] = {}

    @cached_property
    def cold(self) -> pd.DataFrame:
        """The cold items, as :func:`material.draw_cold` gives them, with `n_training_ratings`."""
        interactions, sides = splits.load_interactions(self.dataset), splits.load_splits(self.dataset)
        by_test_users = interactions[USER].map(sides.set_index(USER)[SPLIT]) == "test"
        counts, _ = breakdowns.training_counts(self.dataset)
        settings = {"n": self.settings.n_cold, "least": self.settings.least_ratings, "seed": self.seed}
        rated = interactions.loc[by_test_users, ITEM].value_counts()
        drawn = material.draw_cold(rated, breakdowns.popularity_classes(counts), **settings)
        return drawn.assign(n_training_ratings=drawn[ITEM].map(counts))

    def questions(self, *, cold: bool) -> material.Questions:
        """The questions and their targets: the last cases of the drawn users, or those of cold items."""
        if cold not in self._posed:
            self._posed[cold] = self._ask(cold)
        return self._posed[cold]

    def _ask(self, cold: bool) -> material.Questions:
        chosen, catalog = self.settings, load_catalog(self.dataset)
        cases = predictions.load_cases(Scope(self.dataset, STUDY, "next_item", "test"))
        users = material.drawn_users(cases[USER], n=chosen.n_users, seed=self.seed)
        if not cold:
            last = cases[cases[USER].isin(users)].groupby(USER).tail(chosen.n_cases).reset_index(drop=True)
            return material.questions(last, evaluation.load_targets(self.dataset, "next_item"), catalog)
        interactions, items = splits.load_interactions(self.dataset), self.cold[ITEM].to_numpy()
        drawn = material.cold_cases(interactions, users, items, n=chosen.cold_cases, seed=self.seed)
        return material.questions(*drawn, catalog, items)

    @property
    def _tuned_share(self) -> float:
        """Largest share of the training users that a pretrained model is tuned on here."""
        return 1.0 if self._gpu else self.settings.cpu_share

    def part(self, name: str) -> Part:
        """What a part of the study plans."""
        return plan.PARTS[name](self.settings, self._tuned_share)

    def why_not(self, job: Job) -> str:
        """Why a job cannot be run here; empty where it can."""
        chosen = self.settings
        if job.model not in chosen.pretrained:
            known = job.model in fitting.OWN or fitting.baseline_settings(job.model, self.whole) is not None
            return self.failed.get(job, "" if known else "baselines.models of params.yaml lacks it")
        if job.share > chosen.cpu_share and not self._gpu:
            return f"needs a GPU; without one it is tuned on at most {chosen.cpu_share:.0%} of the users"
        return self.failed.get(job.model, "")

    def path(self, job: Job) -> Path:
        """Where a job's lists lie: in another folder once settings, data or code have changed."""
        key = (job.model, job.cold)
        if key not in self._keys:
            self._keys[key] = self._digest(*key)
        return pieces_dir(self.dataset) / self._keys[key] / f"{job.name}.parquet"

    def _digest(self, model: str, cold: bool) -> str:
        whole, chosen, code = self.whole, self.settings, list(_CODE)
        pretrained = chosen.pretrained
        name = MOVIELM if model in pretrained else fitting.baseline_of(model)
        if name == MOVIELM:
            code += [config.PACKAGE_ROOT / path for path in closure.closure(_LANGUAGE, by_name=False)]
        if model in pretrained:
            entry = pretrained[model]
            about = {"entry": entry.model_dump(), "n_history": whole.zero_shot_llm.n_history}
            about["file"] = _file_digest(entry.model, dataset=self.dataset)
            about |= whole.lora_finetuning.model_dump(include={"rank", "alpha", "dropout", "precision"})
            about |= chosen.model_dump(include={"n_learned", "n_epochs", "batch_size", "learning_rate"})
        elif name == MOVIELM:
            about = {"n_history": whole.zero_shot_llm.n_history, **whole.movielm.model_dump()}
        elif name == LSTM:
            about = {"sbert": whole.rerank_ablation.sbert, **whole.lstm.model_dump()}
        else:
            about = fitting.baseline_settings(model, whole)
        kinds = {"n_cold", "least_ratings", "cold_cases"} if cold else {"n_cases"}
        posed = [chosen.model_dump(include={"n_users", *kinds}), whole.data.model_dump(), self.seed]
        # Words that a language model reads in every prompt.
        domain = dataclasses.asdict(load_domain(self.dataset))
        return fits.digest(name, [model, about, *posed, domain], dataset=self.dataset, study=code)

    def measure(self, job: Job) -> None:
        """Fit a job's model, ask it, and write its lists; a model that cannot be had is noted."""
        path, (posed, _) = self.path(job), self.questions(cold=job.cold)
        cold = self.cold[ITEM].to_numpy() if job.cold else ()
        given = fitting.learning(job, dataset=self.dataset, cold=cold, seed=self.seed)
        try:
            if job.model in self.settings.pretrained:
                lists = self._pretrained(job, given, posed, path.with_suffix(""))
            else:
                lists = fitting.fitted(job, given, self.whole)(posed)
        except Diverged as error:
            self.failed[job] = first_line(error)
            return
        if lists is not None:
            predictions.check(lists, posed, given.catalog.ids)
            files.write_parquet(lists, path)
            shutil.rmtree(path.with_suffix(""), ignore_errors=True)

    def _pretrained(
        self, job: Job, given: fitting.Learning, posed: pd.DataFrame, folder: Path
    ) -> pd.DataFrame | None:
        # Only these models need transformers.
        from dualrec_utils.studies.knowledge import tuning

        try:
            model, tokenizer = tuning.opened(job, self.settings.pretrained[job.model], dataset=self.dataset)
        except StudyError as error:
            self.failed[job.model] = first_line(error)
            return None
        sizes = {"n_history": self.whole.zero_shot_llm.n_history}
        if job.share:
            teaching = {"settings": self.settings, "section": self.whole.lora_finetuning}
            # However its lists are searched, the adapter is one.
            plain = dataclasses.replace(job, exact=False)
            model = tuning.tuned(plain, model, tokenizer, given, dataset=self.dataset, **teaching, **sizes)
        about = {"seed": job.draw, "label": job.name, "exact": job.exact, "folder": folder}
        return tuning.ranked(model, tokenizer, posed, given.catalog, **about, **sizes)

    def values(self, jobs: Sequence[Job]) -> dict[Job, pd.DataFrame]:
        """What of some jobs has been measured: means of :data:`tables.METRICS` by `among` and user."""
        for job in jobs:
            if job not in self._values and self.path(job).is_file():
                posed, _ = self.questions(cold=job.cold)
                scored = self._scored(job).assign(**{AMONG: posed[AMONG].to_numpy()})
                self._values[job] = scored.groupby([AMONG, USER])[list(tables.METRICS)].mean()
        return {job: self._values[job] for job in jobs if job in self._values}

    def tabulate(self, name: str, part: Part) -> None:
        """Write the tables of a part from the pieces at hand."""
        values = self.values(part.jobs)
        reasons = {job: why for job in part.jobs if (why := self.why_not(job))}
        posed, _ = self.questions(cold=name == "b")
        sizes = posed.groupby(AMONG)[CASE].size().to_dict()
        levels = tables.levels(part.rows, values, reasons, n_cases=sizes, **self.intervals)
        tables.write(levels, tables.NAMES[name], self.dataset)
        gains = tables.differences(part.pairs, values, **self.intervals)
        tables.write(gains, tables.DIFFERENCES[name], self.dataset)
        if name == "e":
            lists = {job: self._lists(job) for job in values}
            tables.write(tables.overlaps(part.pairs, lists), tables.OVERLAP, self.dataset)

    def say(self) -> None:
        """Run part d: ask every model that can be had, then write its tables.

        What is answered is kept: a run that is stopped, or refused, asks nothing again.

        Raises:
            StudyError: where the tables have numbers that would be lost: of a model that was not asked, or
                of lists of part `a` that are not there. The tables stay as they are.
        """
        dataset, chosen, whole = self.dataset, self.settings, self.whole
        wording = whole.zero_shot_llm.model_dump(include={"n_recent", "n_titles"})
        catalog, films = load_catalog(dataset), spoken.all_films(dataset)
        posed, targets = self.questions(cold=False)
        cases = posed.groupby(USER).tail(1).reset_index(drop=True)
        hints = handoff.load_hints(Scope(dataset, STUDY, "next_item", "test"))
        texts = prompts.build_prompts(cases, catalog, hints=hints, **wording)
        entries = {name: entry.model_dump() for name, entry in chosen.pretrained.items()}
        if (small := whole.zero_shot_llm.models.get(MOVIELM)) is not None:
            entries = {MOVIELM: params.resolved(small.model_dump()), **entries}
        written, sorted_out = {}, {}
        parts: dict[str, list[pd.DataFrame]] = {
            name: [] for name in (tables.SPOKEN, tables.RECORDS, tables.KNOWN)
        }
        for name, entry in entries.items():
            folder = self.path(Job(name, 0.0)).with_name(f"{name}-spoken-{chosen.n_probes}")
            print(f"knowledge: d: {name}", flush=True)
            try:
                written[name], records, dated = spoken.measure(
                    name, entry, whole,
                    dataset=dataset, texts=texts, n_probes=chosen.n_probes, seed=self.seed, folder=folder,
                )  # fmt: skip
            except StudyError as error:
                print(f"knowledge: {name} is not asked: {first_line(error)}", flush=True)
                continue
            sorted_out[name] = spoken.sorted_out(
                written[name], cases, targets, hints, catalog,
                films=films, last_year=spoken.last_year(dataset), n_titles=wording["n_titles"],
            )  # fmt: skip
            parts[tables.SPOKEN].append(spoken.shares(sorted_out[name], system=name, **self.intervals))
            parts[tables.RECORDS].append(records.assign(system=name))
            parts[tables.KNOWN].append(self._by_knowledge(name, dated))
        if not written:
            return
        made = {table: pd.concat(frames, ignore_index=True) for table, frames in parts.items()}
        self._check_said(made)
        for table, frame in made.items():
            tables.write(frame, table, dataset)
        shown = spoken.shown(texts, written, sorted_out, cases, catalog, seed=self.seed)
        tables.write(shown, tables.SHOWN, dataset)

    def _check_said(self, made: Mapping[str, pd.DataFrame]) -> None:
        """As :meth:`check_kept`, for the tables of part d: name -> what would replace it."""
        paths: list[str] = []
        lost: set[tuple[str, ...]] = set()
        for name, table in made.items():
            labels = ["asked_of", SYSTEM, "minus"] if name == tables.KNOWN else [SYSTEM]
            before = tables.read(self.dataset, name)
            if before.empty:
                continue
            there, here = (
                set(map(tuple, frame[labels].astype(object).fillna("").to_numpy()))
                for frame in (before, table)
            )
            if there - here:
                paths.append(str(tables.path_of(self.dataset, name)))
                lost |= there - here
        if lost:
            rows = ", ".join(" ".join(filter(None, row)) for row in sorted(lost))
            raise StudyError(
                f"{', '.join(paths)}: numbers of {rows} would be lost: these models were not asked, or"
                " their lists of part a are not here. Move the files away to go on without them"
            )

    def _by_knowledge(self, name: str, dated: pd.DataFrame) -> pd.DataFrame:
        """HR@10 of a model's lists of part a, and of the LSTM's, by what the model knows."""
        jobs = {
            "not tuned": Job(name, 0.0),
            "tuned": Job(name, 1.0 if name == MOVIELM else self._tuned_share),
            LSTM: Job(LSTM),
        }
        there = {label: self._scored(job) for label, job in jobs.items() if self.path(job).is_file()}
        pairs = [(label, LSTM) for label in there if label != LSTM and LSTM in there]
        _, targets = self.questions(cold=False)
        table = spoken.by_knowledge(there, targets, dated, pairs=pairs, **self.intervals)
        return table.assign(asked_of=name, share_known=float(dated["right"].mean()))

    def _scored(self, job: Job) -> pd.DataFrame:
        posed, targets = self.questions(cold=job.cold)
        return evaluation.score_lists(self._lists(job), posed, targets, load_catalog(self.dataset))

    def _lists(self, job: Job) -> pd.DataFrame:
        path = self.path(job)
        try:
            return pd.read_parquet(path)
        except (ValueError, OSError) as error:  # what pyarrow raises depends on where a file is damaged
            raise StudyError(
                f"{path} cannot be read ({first_line(error)}): delete it and run `make knowledge` again"
            ) from error

    def check_kept(self, name: str, part: Part) -> None:
        """Refuse to replace numbers that this machine cannot make again.

        Raises:
            StudyError: naming them, and what to do.
        """
        before = tables.read(self.dataset, tables.NAMES[name])
        if before.empty:
            return
        lost = {
            tuple(key)
            for key in before.dropna(subset=["value"])[list(part.rows[0].labels)].astype(str).to_numpy()
        }
        for row in part.rows:
            if all(self.path(job).is_file() or not self.why_not(job) for job in row.jobs):
                lost.discard(tuple(map(str, row.labels.values())))
        if lost:
            raise StudyError(
                f"{tables.path_of(self.dataset, tables.NAMES[name])} has numbers of"
                f" {', '.join(map(' '.join, sorted(lost)))}, which would be lost: with these settings, or"
                " without a GPU, they cannot be made again. Move the file away to go on without them"
            )

    def run(self, name: str) -> None:
        """Run a part of :data:`plan.PARTS`; what is there already is not made again."""
        part = self.part(name)
        if not part.rows:
            print(f"knowledge: {name}: the settings have no model for it", flush=True)
            return
        self.check_kept(name, part)
        if name == "b":
            names = load_catalog(self.dataset).names
            drawn = self.cold.assign(**{TITLE: self.cold[ITEM].map(names)})
            tables.write(drawn, tables.DRAWN, self.dataset)
            by_ratings = tables.by_ratings(self.dataset, **self.intervals)
            tables.write(by_ratings, tables.BY_RATINGS, self.dataset)
        # What takes minutes before what takes hours, and one draw of all before the next.
        for job in sorted(part.jobs, key=lambda job: (job.model in self.settings.pretrained, job.draw)):
            if not (self.why_not(job) or self.path(job).is_file()):
                print(f"knowledge: {name}: {job.name}", flush=True)
                self.measure(job)
                if why := self.why_not(job):
                    print(f"knowledge: {job.model} is not run: {why}", flush=True)
                self.tabulate(name, part)
        self.tabulate(name, part)


def run_all(parts: Sequence[str] = ()) -> int:
    """Run the named parts, by default all and then the notebook.

    Raises:
        StudyError: for a part that the study does not have, and as :class:`Study`.
    """
    known = [*sorted([*plan.PARTS, "d"]), "notebook"]
    if unknown := [name for name in parts if name not in known]:
        raise StudyError(f"the study has no part {unknown[0]!r}; it has {', '.join(known)}")
    study, status = Study(), 0
    for name in parts or known:
        if name in plan.PARTS:
            study.run(name)
        elif name == "d":
            study.say()
        if name != "notebook":
            tables.write(words.digest(study.dataset), tables.ANSWERS, study.dataset)
        else:
            status = notebook.run_notebook(NOTEBOOK, STUDY)
    return status

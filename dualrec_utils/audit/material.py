"""What the audit works with: the test cases, and what earlier notebooks left for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dualrec_utils.audit import protocols
from dualrec_utils.core import evaluation, predictions, splits
from dualrec_utils.core.catalog import Catalog, load_catalog
from dualrec_utils.core.config import CASE, USER
from dualrec_utils.core.domain import Domain, load_domain
from dualrec_utils.core.errors import StudyError
from dualrec_utils.core.predictions import Scope, scopes
from dualrec_utils.models import handoff, systems
from dualrec_utils.models.hybrids import rerank
from dualrec_utils.models.language.answers import answers_to_predictions
from dualrec_utils.models.language.matching import TitleMatcher
from dualrec_utils.pipeline import params

STAGE, FUSION = "audit", "dualrec_fusion"


def tuning_of(model: str) -> dict:
    """Section `lora_finetuning` of `params.yaml`, with `dataset` and `seed`.

    Raises:
        StudyError: when the section does not fine-tune that model.
    """
    tuning = params.section("lora_finetuning")
    if model not in tuning["models"]:
        known = ", ".join(tuning["models"])
        raise StudyError(f"audit.model is {model!r}; lora_finetuning.models has {known}")
    return tuning


@dataclass(frozen=True, eq=False)
class Material:
    """Test cases under both protocols, with answers, hints and the lists of every system.

    Attributes:
        dataset, seed: of the run.
        model: the language model audited, by its name in `params.yaml`.
        baselines: the baselines audited.
        tuning: section `lora_finetuning`: how that model was trained and asked.
        matcher: reads items out of its answers, as notebook 05 did.
        interactions: all interactions, in the study's order.
        scopes, cases, targets, hints: of the test users, by protocol. Targets map `case_id` to item ids,
            hints to the LSTM's best item not yet rated.
        stages: system -> the stage that wrote its lists.
    """

    dataset: str
    seed: int
    model: str
    baselines: tuple[str, ...]
    tuning: Mapping
    matcher: TitleMatcher
    catalog: Catalog
    interactions: pd.DataFrame
    user_splits: pd.DataFrame
    scopes: Mapping[str, Scope]
    cases: Mapping[str, pd.DataFrame]
    targets: Mapping[str, pd.Series]
    hints: Mapping[str, pd.Series]
    stages: Mapping[str, str]

    @property
    def domain(self) -> Domain:
        """What the items are called."""
        return load_domain(self.dataset)

    @property
    def lora(self) -> str:
        """The fine-tuned model's system; the names of its variants begin with it."""
        return f"{self.model}_lora"

    @property
    def reranked(self) -> str:
        """The paper's best kind of system: fine-tuned, its titles re-ranked."""
        return self.lora + rerank.SUFFIX

    @property
    def control(self) -> str:
        """The adapter taught other users' answers."""
        return f"{self.lora}_permuted"

    @property
    def catalog_only(self) -> str:
        """The fine-tuned model where it may name items of the catalog only, ten of them."""
        return f"{self.lora}_constrained"

    @property
    def zero_shot(self) -> str:
        """The model without an adapter."""
        return f"{self.model}_zero_shot"

    @property
    def timed(self) -> bool:
        """Whether enough ratings have a time to speak of days."""
        return protocols.share_untimed(self.interactions) < 1 - protocols.FEWEST_TIMED

    def scope(self, system: str, protocol: str = "next_item") -> Scope:
        """Where a system's lists for the test cases lie.

        Raises:
            StudyError: when no stage has written any.
        """
        if system not in self.stages:
            raise StudyError(
                f"no stage has left lists of {system!r}: run `dvc repro rerank_ablation` first"
            )
        return self.scopes[protocol].replace(stage=self.stages[system])

    @property
    def truth(self) -> tuple[pd.DataFrame, pd.Series, np.ndarray]:
        """Cases of `next_item`, their targets and the catalog's ids, as :mod:`audit.protocols` has them."""
        return self.cases["next_item"], self.targets["next_item"], self.catalog.ids

    def read(self, system: str, protocol: str = "next_item") -> pd.DataFrame:
        """A system's lists, as :func:`core.predictions.read`."""
        return predictions.read(system, self.scope(system, protocol))

    def per_case(self, system: str, protocol: str = "next_item") -> pd.DataFrame:
        """What a system's lists are worth, as :func:`core.evaluation.per_case`."""
        return evaluation.per_case(system, self.scope(system, protocol))

    def answers(self, system: str, protocol: str = "next_item") -> pd.Series:
        """A language model's stored answers, `case_id` -> text."""
        return handoff.load_generations(system, self.scope(system, protocol))["answer"]

    def last_cases(self, n_cases: int) -> pd.DataFrame:
        """The last cases of every test user under `next_item`."""
        return self.cases["next_item"].groupby(USER).tail(n_cases)

    def lists_of(
        self, answers: pd.Series, cases: pd.DataFrame, *, limit: int | None = None
    ) -> pd.DataFrame:
        """Lists as written, items already rated among them.

        Args:
            answers: `case_id` -> text, for every case.
            cases: the cases wanted.
            limit: titles read of each answer; those that the prompt asks for if left out.
        """
        lists, _ = answers_to_predictions(
            list(answers.loc[cases[CASE]]),
            cases,
            self.matcher,
            seed=self.seed,
            limit=limit or self.tuning["n_titles"],
        )
        return lists

    def judged(self, lists: pd.DataFrame, protocol: str = "next_item") -> pd.DataFrame:
        """Per-case values of lists for all test cases of a protocol: the study's rule, item ids."""
        return evaluation.score_lists(lists, self.cases[protocol], self.targets[protocol], self.catalog)

    def judged_answers(self, answers: pd.Series, cases: pd.DataFrame) -> pd.DataFrame:
        """Per-case values of answers to cases of `next_item`, items already rated left out."""
        lists = predictions.drop_seen(self.lists_of(answers, cases), cases)
        return evaluation.score_lists(lists, cases, self.targets["next_item"], self.catalog)

    def summary(self) -> str:
        """How many cases and users there are under each protocol, in one line."""
        return ", ".join(
            f"{len(cases):,} cases of {cases[USER].nunique()} test users ({protocol})"
            for protocol, cases in self.cases.items()
        )


def load(dataset: str, *, model: str, baselines: Sequence[str], seed: int) -> Material:
    """Load what the audit works with.

    Args:
        dataset: with the products of the stages up to `rerank_ablation`.
        model: the language model audited, an entry of `lora_finetuning.models`.
        baselines: names of baselines with predictions.

    Raises:
        StudyError: when a stage before has not run, or the model was not fine-tuned.
    """
    test = {scope.protocol: scope for scope in scopes(dataset, STAGE, splits=("test",))}
    catalog, tuning = load_catalog(dataset), tuning_of(model)
    return Material(
        dataset=dataset,
        seed=seed,
        model=model,
        baselines=tuple(baselines),
        tuning=tuning,
        matcher=TitleMatcher(catalog.items),
        catalog=catalog,
        interactions=splits.load_interactions(dataset),
        user_splits=splits.load_splits(dataset),
        scopes=test,
        cases={protocol: predictions.load_cases(scope) for protocol, scope in test.items()},
        targets={protocol: evaluation.load_targets(dataset, protocol) for protocol in test},
        hints={protocol: handoff.load_hints(scope) for protocol, scope in test.items()},
        stages={
            system: home
            for home in systems.STAGES
            for system in predictions.systems(test["next_item"].replace(stage=home))
        },
    )

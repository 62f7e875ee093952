"""The runs that README and page tell of: the one at hand, those of profiles, and which comes first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dualrec_utils.analysis import claims, verdict
from dualrec_utils.core import config, files

# The default run is of the small MovieLens; the paper uses the large one.
SMALL, PAPERS = "ml-100k", "ml-1m"
# The run of a pretrained model on the paper's data set.
PRETRAINED = "ml-1m-qwen"


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        flat: its metrics of notebook 07.
        reports: where its reports lie.
        profile: its name; empty for the run at hand.
    """

    flat: Mapping[str, Any]
    reports: Path
    profile: str = ""

    def metrics(self, stage: str) -> dict[str, Any]:
        """Flat metrics of a stage; empty where it has not run."""
        return files.read_json(self.reports / "metrics" / f"{stage}.json", missing={})

    @property
    def dataset(self) -> str:
        """Its data set, for readers."""
        name = str(self.flat.get("dataset", ""))
        return verdict.DATASETS.get(name, name)

    @property
    def where(self) -> str:
        """Its data set, and its profile where it is another run: two may be of one data set."""
        return f"{self.dataset} (profile {self.profile})" if self.profile else self.dataset


def at_hand(flat: Mapping[str, Any]) -> Run:
    """The run at hand.

    Args:
        flat: its metrics of notebook 07.
    """
    return Run(flat, config.REPORTS)


def is_profile() -> bool:
    """Whether the run at hand is a profile's: it does not know of other runs."""
    return config.ROOT != config.PACKAGE_ROOT


def others() -> dict[str, Run]:
    """The profiles that have committed results, by name.

    Those of MovieLens: what other domains give stands in a chapter of its own. None inside a profile.
    """
    if is_profile():
        return {}
    paths = sorted((config.ROOT / "profiles").glob("*/reports/metrics/results.json"))
    runs = [Run(files.read_json(path), path.parents[1], path.parents[2].name) for path in paths]
    return {run.profile: run for run in runs if run.flat.get("dataset") in verdict.DATASETS}


def first(flat: Mapping[str, Any]) -> Run:
    """The run that README and page begin with.

    Beside the default run it is the one on the paper's data set, once that has several seeds: one seed
    answers no claim. With data of one's own, and inside a profile, it is the run at hand.

    Args:
        flat: metrics of notebook 07 of the run at hand.
    """
    papers = others().get(PAPERS)
    if flat.get("dataset") != SMALL or papers is None:
        return at_hand(flat)
    seeds = [row["n_seeds"] for row in claims.of_metrics(papers.flat) if row["answer"] != claims.NOT_RUN]
    return papers if max(seeds, default=1) > 1 else at_hand(flat)

"""Hit rates by how often training users took the item that came next: a curve for each run.

Groups have the same bounds on every data set, so that curves can stand side by side.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd

from dualrec_utils.analysis import breakdowns
from dualrec_utils.core.config import CASE, SYSTEM
from dualrec_utils.models import systems
from dualrec_utils.studies.knowledge import tables as knowledge

METRIC = "hit_rate@10"
# Training interactions of an item from which a group begins.
BOUNDS = (0, 5, 10, 20, 50, 100, 200)
ALL = "all"
MINUS_LSTM = "_minus_lstm"


def names() -> tuple[str, ...]:
    """The groups in words, fewest interactions first."""
    ends = [f"{low} to {high - 1}" for low, high in pairwise(BOUNDS)]
    return (*ends, f"{BOUNDS[-1]} and more")


def groups(counts: pd.Series) -> pd.DataFrame:
    """Cases by the training interactions of their target, and all of them once more.

    Args:
        counts: case -> interactions of its target by training users.

    Returns:
        `by`, `group`, `case_id`, as :func:`analysis.breakdowns.by_group` takes them; empty groups are
        left out.
    """
    place = np.searchsorted(BOUNDS, counts.to_numpy(), side="right") - 1
    cases = counts.index.to_numpy()
    rows = pd.DataFrame({"at": place, "group": np.array(names())[place], CASE: cases})
    whole = pd.DataFrame({"at": len(BOUNDS), "group": ALL, CASE: cases})
    both = pd.concat([rows, whole]).sort_values("at", kind="stable", ignore_index=True)
    return both.assign(by="training interactions")[["by", "group", CASE]]


def measure(dataset: str, **intervals) -> pd.DataFrame:
    """The curves of the run at hand, of its systems and of language models minus the LSTM.

    Args:
        dataset: of the run in whose folder this process works.
        intervals: as :func:`analysis.breakdowns.by_group`.

    Returns:
        `group`, `system` (with :data:`MINUS_LSTM` at its end: a paired difference to the LSTM), `metric`,
        `value`, `low`, `high`, `n_users`, `n_cases`; bounds are missing for groups of few users.

    Raises:
        StudyError: when the run has left no lists yet.
    """
    frames = knowledge.ordinary_frames(dataset)
    lstm = frames["lstm"].set_index(CASE)[METRIC]
    for name in [one for one in frames if systems.split(one)[0]]:
        minus = frames[name][METRIC] - frames[name][CASE].map(lstm)
        frames[name + MINUS_LSTM] = frames[name].assign(**{METRIC: minus})
    counts = knowledge.target_counts(dataset)
    table = breakdowns.by_group(frames, groups(counts), metric=METRIC, **intervals)
    return table[["group", SYSTEM, "metric", "value", "low", "high", "n_users", "n_cases"]]

"""How a study outside the pipeline puts what it found into words for the report page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from dualrec_utils.analysis import verdict
from dualrec_utils.core import evaluation


def points(row: pd.Series, *, column: str = "value") -> str:
    """A difference in points with its interval: `+1.2 points [+0.3, +2.1]`.

    Args:
        row: `column`, `low` and `high`, in the unit of the metrics.
    """
    return verdict.points(evaluation.with_interval("d", row, column=column), "d")


def answers(said: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """Questions with their answers as plain text: `question`, `answer`; the page makes a list of its lines.

    Args:
        said: question -> lines in Markdown; one without lines is left out.
    """
    rows = [
        (question, "\n".join(lines).replace("**", "").replace("`", ""))
        for question, lines in said.items()
        if lines
    ]
    return pd.DataFrame(rows, columns=["question", "answer"])

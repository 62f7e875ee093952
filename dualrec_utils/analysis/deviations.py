"""Where this study departs from the paper, or had to choose what the paper leaves open."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

# A name in braces is a value of params.yaml.
_TABLE = Path(__file__).with_suffix(".csv")


def deviations(settings: Mapping[str, Any]) -> pd.DataFrame:
    """The list as a table: `subject`, `section` (of the paper), `paper`, `study`, `parameter`.

    `parameter` names a value of `params.yaml`, empty where the choice is in the code.

    Args:
        settings: section of `params.yaml` -> its values, as attributes.
    """
    frame = pd.read_csv(_TABLE, dtype=str, keep_default_na=False)
    return frame.assign(study=[text.format(**settings) for text in frame["study"]])

"""Are the settings of a system usable? Asked before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from dualrec_utils.core.config import GENRE_LIST, ITEM, TITLE, YEAR
from dualrec_utils.core.errors import StudyError
from dualrec_utils.models import ratings as models
from dualrec_utils.models.ratings import experiment
from dualrec_utils.models.ratings.base import Known
from dualrec_utils.models.ratings.text_model import TextModel


def check(settings: Mapping[str, Any]) -> None:
    """Build the model of a system on a data set of one item.

    Args:
        settings: as :func:`experiment.read`.

    Raises:
        StudyError: naming what cannot be used, the value and what is allowed.
    """
    recipe = experiment.read(settings)
    known = Known(pd.DataFrame({ITEM: [1], TITLE: ["one"], YEAR: [2000], GENRE_LIST: [["Drama"]]}))
    defaults = models.model_class(recipe.model).defaults
    for name, value in recipe.settings.items():
        usual = defaults.get(name, value)
        # An integer may stand for a float, nothing else for another kind; a list for a tuple.
        allowed = {float: (int, float), tuple: (list, tuple)}.get(type(usual), (type(usual),))
        if not isinstance(value, allowed) or (isinstance(value, bool) and type(usual) is not bool):
            raise StudyError(f"{name} is {value!r}; it must be like the default, {usual!r}")
    model = models.build(recipe.model, known, seed=0, **recipe.settings)
    if recipe.profiles == experiment.OF_ALL and not isinstance(model, TextModel):
        raise StudyError(
            f"{experiment.PROFILES}: {recipe.profiles} is for models that read texts; {recipe.model} reads"
            " none"
        )

"""What `dualrec train --config-path` may say: a model, its settings and a seed, each value checked.

model: svdpp
seed: 0
settings: {n_factors: 20}
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dualrec_utils.core.errors import StudyError
from dualrec_utils.models import ratings as models

# The most accurate of the models, and the one that is trained without a config.
DEFAULT = "bayesian"
_LARGEST_SEED = 2**32 - 1
# Whole numbers are from 1 on, but for these. More than these would fill any memory, or never end.
_LEAST = {"burn_in": 0, "batch_size": 2}
_MOST, _MOST_OF_ALL = {"n_factors": 1000}, 1_000_000
# Other numbers are above 0, but for these, which may be 0.
_MAY_BE_0 = frozenset(
    (
        "user_shrinkage",
        "item_shrinkage",
        "shrinkage",
        "weight_decay",
        "spread_weight",
        "range_weight",
        "dropout",
    )
)
_BELOW_1 = frozenset(("dropout",))
# Text features that a model folder can hold.
_FEATURES = ("sentence", "none")


@dataclass(frozen=True)
class Config:
    """Attributes: model: a key of :data:`models.ratings.REGISTRY`; settings: of it; seed."""

    model: str = DEFAULT
    settings: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0


def read(path: Path | None) -> Config:
    """Read and check a config; without a path the default one.

    Raises:
        StudyError: naming the key, its value and what is allowed.
    """
    if path is None:
        return Config()
    from dualrec_utils.pipeline.params import read_yaml

    if not path.is_file():
        raise StudyError(f"there is no config file {path}; without --config-path {DEFAULT} is trained")
    values = read_yaml(path)
    allowed = tuple(Config.__dataclass_fields__)
    for key in values:
        if key not in allowed:
            raise StudyError(f"{path}: there is no key {key!r}; allowed: {', '.join(allowed)}")
    config = Config(**values)
    try:
        return Config(
            model=_one_of("model", config.model, tuple(models.REGISTRY)),
            settings=_settings(config),
            seed=_whole("seed", config.seed, 0, _LARGEST_SEED),
        )
    except StudyError as error:
        raise StudyError(f"{path}: {error}") from error


def _settings(config: Config) -> dict[str, Any]:
    given = {} if config.settings is None else config.settings
    if not isinstance(given, dict):
        raise StudyError(f"settings is {reprlib.repr(given)}; it holds lines `name: value`")
    return _checked("settings", given, models.model_class(config.model).defaults)


def _checked(place: str, given: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a model, each of the kind of its default.

    Args:
        place: where they stand in the file.
        defaults: setting -> value.
    """
    checked = {}
    for name, value in given.items():
        key = f"{place}.{name}"
        if name not in defaults:
            raise StudyError(f"there is no {key}; allowed: {', '.join(defaults) or 'none'}")
        default = defaults[name]
        if name == "features":
            checked[name] = _one_of(key, value, _FEATURES)
        elif name == "member_settings":
            checked[name] = _of_members(key, value)
        elif isinstance(default, bool):
            checked[name] = _one_of(key, value, (True, False))
        elif isinstance(default, int):
            checked[name] = _whole(key, value, _LEAST.get(name, 1), _MOST.get(name, _MOST_OF_ALL))
        elif isinstance(default, float):
            checked[name] = _number(name, key, value)
        elif isinstance(default, tuple):
            if not isinstance(value, list) or not all(isinstance(member, str) for member in value):
                raise StudyError(
                    f"{key} is {reprlib.repr(value)}; it is a list of names such as {list(default)}"
                )
            checked[name] = value
        elif not isinstance(value, str):
            raise StudyError(f"{key} is {reprlib.repr(value)}; it is a word such as {default}")
        else:
            checked[name] = value
    return checked


def _of_members(key: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(of, dict) for of in value.values()):
        raise StudyError(f"{key} is {reprlib.repr(value)}; it holds lines `model: {{setting: value}}`")
    return {
        _one_of(key, model, tuple(models.REGISTRY)): _checked(
            f"{key}.{model}", of, models.model_class(model).defaults
        )
        for model, of in value.items()
    }


def _one_of(key: str, value: Any, allowed: tuple[Any, ...]) -> Any:
    # 1 is no `true`.
    if not any(type(value) is type(one) and value == one for one in allowed):
        words = ", ".join(str(one).lower() if isinstance(one, bool) else one for one in allowed)
        raise StudyError(f"{key} is {reprlib.repr(value)}; allowed: {words}")
    return value


def _whole(key: str, value: Any, least: int, most: int) -> int:
    if type(value) is not int or not least <= value <= most:
        raise StudyError(f"{key} is {reprlib.repr(value)}; allowed: whole numbers from {least} to {most}")
    return value


def _number(name: str, key: str, value: Any) -> float:
    try:
        number = float(value) if type(value) in (int, float) else math.nan
    except OverflowError:
        number = math.inf
    above = number > 0 or (number == 0 and name in _MAY_BE_0)
    if not above or math.isinf(number) or (name in _BELOW_1 and number >= 1):
        allowed = "from 0" if name in _MAY_BE_0 else "above 0"
        allowed += " and below 1" if name in _BELOW_1 else ""
        raise StudyError(
            f"{key} is {reprlib.repr(value)}; allowed: numbers {allowed}, written as 0.001 or 1.0e-3"
        )
    return number

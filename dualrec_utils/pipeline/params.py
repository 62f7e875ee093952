"""Read and check `params.yaml` against :mod:`pipeline.schemas`, every slip named with its place.

The default run's file, in the repository's folder, holds every value once. A profile's file holds what
differs: it names `repository` (the way up to the default's file), every section, and in a section the
values that are other ones. An entry `name: null` under `models` takes that model out.
"""

from __future__ import annotations

import copy
import difflib
import reprlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML, YAMLError

from dualrec_utils.core import config
from dualrec_utils.core.errors import StudyError
from dualrec_utils.pipeline.schemas import Intervals, Params, Section

# One section a stage; a section's keys are the settings of the stage and of its notebook.
SECTIONS: dict[str, type[Section]] = {
    name: field.annotation
    for name, field in Params.model_fields.items()
    if isinstance(field.annotation, type)
    and issubclass(field.annotation, Section)
    and field.annotation is not Intervals
}
REPOSITORY = "repository"


def load(path: Path | None = None, *, changes: Mapping[str, Any] | None = None) -> Params:
    """Read and validate a parameters file, a profile's differences laid over the default run's values.

    Args:
        path: the file; default `params.yaml` at :data:`core.config.ROOT`.
        changes: laid over the file's values before they are checked: section -> key -> value; `dataset`
            and `seed` may stand in a section too.

    Raises:
        StudyError: on a missing file, broken YAML, or any value that is misspelt, missing or out of
            range: each named as `section.key` with its value and what is allowed.
    """
    path = Path(path or config.PARAMS_FILE)
    try:
        return Params.model_validate(_changed(read_whole(path), changes or {}))
    except ValidationError as error:
        problems = "\n".join(f"  - {_explain(problem)}" for problem in error.errors())
        raise StudyError(f"{path} has values that cannot be used:\n{problems}") from None


def read_whole(path: Path) -> dict[str, Any]:
    """All values of a parameters file, a profile's differences laid over the default run's; not checked.

    Raises:
        StudyError: as :func:`read_yaml`; a profile that lacks a section too, since DVC looks for it.
    """
    values = read_yaml(path)
    up = values.get(REPOSITORY)
    if not isinstance(up, str) or not up:
        return values
    needed = ["dataset", "seed", *SECTIONS]
    if absent := [name for name in needed if name not in values]:
        raise StudyError(f"{path} lacks {', '.join(absent)}; a section without differences is `name: {{}}`")
    return overlay(read_yaml(path.parent / up / path.name), values)


def _changed(values: dict[str, Any], changes: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    for section_name, section_changes in changes.items():
        everywhere = {key: value for key, value in section_changes.items() if key in ("dataset", "seed")}
        here = {key: value for key, value in section_changes.items() if key not in everywhere}
        values = overlay(values, everywhere | {section_name: here})
    return values


def overlay(base: Mapping[str, Any], differences: Mapping[str, Any]) -> dict[str, Any]:
    """`differences` laid over `base`: mappings key by key, everything else replaced; both stay as they are.

    Under a key `models` an entry that is null is taken out.

    >>> overlay({"a": {"x": 1, "y": 2}, "models": {"m": {}}}, {"a": {"x": 3}, "models": {"m": None}})
    {'a': {'x': 3, 'y': 2}, 'models': {}}
    """
    merged = copy.deepcopy(dict(base))
    for key, value in differences.items():
        if isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key] = overlay(merged[key], value)
            if key == "models":
                merged[key] = {name: model for name, model in merged[key].items() if model is not None}
        else:
            merged[key] = copy.deepcopy(value)
    return merged


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file that holds a mapping, read as DVC reads it (YAML 1.2, a key given twice is an error).

    Raises:
        StudyError: on a file that is missing, cannot be read, is no YAML or holds anything but a mapping.
    """
    try:
        values = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StudyError(f"there is no file {path}; restore it with `git checkout {path}`") from None
    except OSError as error:
        raise StudyError(f"{path} cannot be read: {error.strerror}; fix that and run again") from None
    except UnicodeDecodeError as error:
        raise StudyError(f"{path} is not UTF-8 text: {error}; save it as UTF-8") from None
    except YAMLError as error:
        line = error.problem_mark.line + 1 if getattr(error, "problem_mark", None) else "unknown"
        what = getattr(error, "problem", None) or str(error)
        raise StudyError(f"{path} is not readable YAML: line {line}: {what}; fix that line") from None
    if not isinstance(values, dict):
        # A list may be as long as the file.
        raise StudyError(
            f"{path} must hold a mapping (lines `name: value`); it holds {reprlib.repr(values)}"
        )
    return values


def section(
    name: str, path: Path | None = None, *, overrides: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """`dataset`, `seed` and the keys of one section, validated: a stage's arguments.

    The whole file is checked, so that a slip in the last stage's section shows before the first stage
    has worked for nothing.

    Args:
        name: of the section.
        path: as in :func:`load`.
        overrides: values in place of the file's, of this section, `dataset` or `seed`.

    Raises:
        StudyError: on an unknown section, or as :func:`load`.
    """
    if name not in SECTIONS:
        raise StudyError(f"there is no section {name!r} in params.yaml; {_nearest(name, list(SECTIONS))}")
    params = load(path, changes={name: dict(overrides or {})})
    return {"dataset": params.dataset, "seed": params.seed, **getattr(params, name).model_dump()}


def comments(name: str, path: Path | None = None) -> dict[str, str]:
    """What the default run's file says beside each key of a section: key -> comment, without `# `.

    Keys without a comment are left out.
    """
    read = YAML().load((path or config.PACKAGE_ROOT / "params.yaml").read_text(encoding="utf-8"))
    return dict(_comments_of(read[name]))


def _comments_of(mapping: Any) -> Iterator[tuple[str, str]]:
    for key in mapping or {}:
        tokens = mapping.ca.items.get(key) or ()
        text = next((token.value for token in tokens if hasattr(token, "value")), "")
        first = text.split("\n", 1)[0].lstrip("# ").strip()
        if first:
            yield key, first


def _explain(problem: Mapping[str, Any]) -> str:
    """One line on one of pydantic's findings: the key, what pydantic says, the value."""
    place = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return (
            f"{place} is not a known name; {_nearest(str(problem['loc'][-1]), _names_at(problem['loc']))}"
        )
    if problem["type"] == "missing":
        return f"{place} is missing; params.yaml of the repository shows it"
    if problem["type"] == "value_error":
        return f"{place}: {problem['ctx']['error']}"
    return f"{place} is {reprlib.repr(problem['input'])}: {problem['msg']}"


def _names_at(place: tuple[str | int, ...]) -> list[str]:
    """Names that the schema knows beside the last one of a place such as ("data", "n_itmes")."""
    model: Any = Params
    for part in place[:-1]:
        fields = getattr(model, "model_fields", {})
        kind = fields[part].annotation if part in fields else model
        # A mapping of sections: its values' kind.
        model = next(
            (a for a in (kind, *getattr(kind, "__args__", ())) if hasattr(a, "model_fields")), model
        )
    return list(model.model_fields)


def _nearest(name: str, known: list[str]) -> str:
    """`did you mean ...? known names: ...`"""
    near = difflib.get_close_matches(name, known, n=1)
    question = f"did you mean {near[0]}? " if near else ""
    return f"{question}known names: {', '.join(known) or 'none, this section is empty'}"

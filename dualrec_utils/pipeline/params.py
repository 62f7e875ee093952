"""Read and check `params.yaml` against :mod:`pipeline.schemas`, every slip named with its place.

The default run's file, in the repository's folder, holds every value once. A profile's file holds what
differs: it names `repository` (the way up to the default's file), every section, and in a section the
values that are other ones. An entry `name: null` under `models` takes that model out.
"""

from __future__ import annotations

import copy
import difflib
import re
import reprlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import UnionType
from typing import Any, get_args

from pydantic import ValidationError
from ruamel.yaml import YAML, YAMLError
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, ScalarEvent

from dualrec_utils.core import config
from dualrec_utils.core.errors import StudyError
from dualrec_utils.pipeline import colab
from dualrec_utils.pipeline.schemas import Intervals, Params, Section, Words

# One section a stage; a section's keys are the settings of the stage and of its notebook.
SECTIONS: dict[str, type[Section]] = {
    name: field.annotation
    for name, field in Params.model_fields.items()
    if isinstance(field.annotation, type)
    and issubclass(field.annotation, Section)
    and field.annotation not in (Intervals, Words)
}
# Values that stand above the sections.
EVERYWHERE = ("dataset", "seed", "order_seed", "model_seed")
# What items are called: read by stage `data`, which writes it for all others.
DOMAIN = "domain"
REPOSITORY, UP = "repository", "../../"
# No settings are as large: a file that is would keep the reader busy for minutes, or fill the screen.
_MOST_BYTES, _MOST_VALUES, _DEEPEST, _LONGEST = 200_000, 10_000, 20, 1_000
_MOST_PROBLEMS, _LONGEST_LINE = 20, 600


def load(
    path: Path | None = None, *, section: str = "", overrides: Mapping[str, Any] | None = None
) -> Params:
    """Read and validate a parameters file, a profile's differences laid over the default run's values.

    The whole file is checked, so that a slip in the last stage's section shows before the first stage
    has worked for nothing.

    Args:
        path: the file; default `params.yaml` at :data:`core.config.ROOT`.
        section: that `overrides` are of.
        overrides: values in place of the file's, of that section or :data:`EVERYWHERE`.

    Raises:
        StudyError: on a missing file, broken YAML, an unknown section, or any value that is misspelt,
            missing or out of range: each named as `section.key` with its value and what is allowed.
    """
    path = Path(path or config.PARAMS_FILE)
    if section and section not in SECTIONS:
        raise StudyError(
            f"there is no section {section!r} in params.yaml; {_nearest(section, list(SECTIONS))}"
        )
    values = _read_whole(path)
    if overrides:
        everywhere = {key: value for key, value in overrides.items() if key in EVERYWHERE}
        here = {key: value for key, value in overrides.items() if key not in everywhere}
        values = overlay(values, everywhere | {section: here})
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        problems = error.errors(include_url=False)
        lines = [f"  - {_shortened(_explain(problem))}" for problem in problems[:_MOST_PROBLEMS]]
        lines += [f"  - and {len(problems) - len(lines)} more"] * (len(problems) > len(lines))
        raise StudyError("\n".join([f"{path} has values that cannot be used:", *lines])) from None


def _read_whole(path: Path) -> dict[str, Any]:
    """All values of a parameters file, a profile's differences laid over the default run's; not checked."""
    values = read_yaml(path)
    in_profile = path.resolve().parent.parent == config.PROFILES
    if values.get(REPOSITORY) != UP and not in_profile:
        return values
    # DVC looks for each of these in the profile's own file.
    absent = [name for name in ("trial", *EVERYWHERE, DOMAIN, *SECTIONS) if name not in values]
    if values.get(REPOSITORY) != UP:
        absent.insert(0, f"the line `{REPOSITORY}: {UP}`")
    if absent:
        raise StudyError(f"{path} lacks {', '.join(absent)}; a section without differences is `name: {{}}`")
    return overlay(read_yaml(path.parent / UP / path.name), values)


def overlay(base: Mapping[str, Any], differences: Mapping[str, Any]) -> dict[str, Any]:
    """`differences` laid over `base`: mappings key by key, everything else replaced; both stay as they are.

    Under a key `models` an entry that is null is taken out, and those that `differences` names come last,
    in its order: notebooks look closest at the first.

    >>> overlay({"a": {"x": 1, "y": 2}, "models": {"m": {}}}, {"a": {"x": 3}, "models": {"m": None}})
    {'a': {'x': 3, 'y': 2}, 'models': {}}
    >>> overlay({"models": {"m": {"x": 1}}}, {"models": {"large": {}, "m": {}}})
    {'models': {'large': {}, 'm': {'x': 1}}}
    """
    merged = copy.deepcopy(dict(base))
    for key, value in differences.items():
        if isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            both = overlay(merged[key], value)
            if key == "models":
                names = [*(name for name in merged[key] if name not in value), *value]
                both = {name: both[name] for name in names if both[name] is not None}
            merged[key] = both
        else:
            merged[key] = copy.deepcopy(value)
    return merged


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file that holds a mapping, read as DVC reads it (YAML 1.2, a key given twice is an error).

    Raises:
        StudyError: on a file that is missing, cannot be read, is no YAML, is longer or deeper than any
            settings are, or holds anything but a mapping.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise StudyError(f"{path} has more than {_MOST_BYTES:,} bytes: it is no file of settings")
        text = content.decode("utf-8-sig")
        _check_extent(text)
        values = YAML(typ="safe").load(text)
    except FileNotFoundError:
        raise StudyError(f"there is no file {path}; restore it with `git checkout {path}`") from None
    except OSError as error:
        raise StudyError(f"{path} cannot be read: {error.strerror}; fix that and run again") from None
    except UnicodeDecodeError as error:
        raise StudyError(
            f"{path} is not UTF-8 text: {error.reason} at byte {error.start}; save it as UTF-8"
        ) from None
    except (YAMLError, ValueError, LookupError, ArithmeticError) as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else "unknown"
        what = _shortened(getattr(error, "problem", None) or str(error))
        raise StudyError(f"{path} is not readable YAML: line {line}: {what}; fix that line") from None
    if not isinstance(values, dict):
        raise StudyError(
            f"{path} must hold a mapping (lines `name: value`); it holds {_shortened(reprlib.repr(values))}"
        )
    return values


def _check_extent(text: str) -> None:
    """Refuse what no settings need and readers stumble over, before any of it is built.

    Raises:
        MarkedYAMLError: on nesting deeper than :data:`_DEEPEST`, a value or name longer than
            :data:`_LONGEST`, or more than :data:`_MOST_VALUES` values, each alias counted as what it names.
    """
    sizes: dict[str, int] = {}
    # Anchor and number of values of every mapping and list that is open.
    open_: list[list] = [["", 0]]
    for event in YAML(typ="safe", pure=True).parse(text):
        anchor, size = getattr(event, "anchor", None) or "", 0
        if isinstance(event, CollectionStartEvent):
            open_.append([anchor, 1])
        elif isinstance(event, CollectionEndEvent):
            anchor, size = open_.pop()
        elif isinstance(event, ScalarEvent):
            size = 1
        elif isinstance(event, AliasEvent):
            # Within what it names it has no size yet, and no end.
            size = sizes.get(anchor, _MOST_VALUES)
        open_[-1][1] += size
        if anchor and size:
            sizes[anchor] = size
        long = len(getattr(event, "value", "")) > _LONGEST
        if long or len(open_) > _DEEPEST or open_[-1][1] > _MOST_VALUES:
            what = (
                f"{_LONGEST} characters in a value"
                if long
                else f"{_DEEPEST} levels or {_MOST_VALUES} values"
            )
            raise MarkedYAMLError(problem=f"more than {what}", problem_mark=event.start_mark)


def section(
    name: str, path: Path | None = None, *, overrides: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """:func:`settings` of one section: a stage's arguments.

    Args:
        name: of the section.
        path, overrides: as in :func:`load`.
    """
    return settings(load(path, section=name, overrides=overrides), name)


def settings(params: Params, name: str) -> dict[str, Any]:
    """`dataset`, `seed` and the keys of one section.

    `seed` is what the stage draws with: stage `data` splits users by the file's `seed` and orders by
    `order_seed`, which it gets too; everything else that is trained or drawn depends on `model_seed`.
    Entries of `models` are :func:`resolved`.
    """
    of_data = {"seed": params.seed, "order_seed": params.order_seed}
    seeds = of_data if name == "data" else {"seed": params.model_seed}
    values = getattr(params, name).model_dump()
    if "models" in values:
        values["models"] = {name: resolved(model) for name, model in values["models"].items()}
    return {"dataset": params.dataset, **seeds, **values}


def resolved(model: Mapping[str, Any]) -> dict[str, Any]:
    """An entry of `models` as it is loaded: `dtype: auto` becomes what this machine's card computes in."""
    here = {"dtype": colab.dtype_here()} if model.get("dtype") == "auto" else {}
    return {**model, **here}


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
    place = ".".join(map(str, problem["loc"]))
    if problem["type"] == "extra_forbidden":
        return (
            f"{place} is not a known name; {_nearest(str(problem['loc'][-1]), _names_at(problem['loc']))}"
        )
    if problem["type"] == "missing":
        return f"{place} is missing; the committed params.yaml shows it"
    if problem["type"] == "value_error":
        return f"{place}: {problem['ctx']['error']}".removeprefix(": ")
    # Where a key or a password is asked for by mistake, it is not printed.
    value = "not usable" if "hosted" in problem["loc"] else reprlib.repr(problem["input"])
    return f"{place} is {value}: {problem['msg']}"


def _shortened(text: str) -> str:
    """One line of a message, without passwords in addresses."""
    plain = re.sub(r"//[^/\s@]*@", "//...@", " ".join(text.split()))
    return plain if len(plain) <= _LONGEST_LINE else f"{plain[:_LONGEST_LINE]}..."


def _names_at(place: tuple[str | int, ...]) -> list[str]:
    """Names that the schema knows beside the last one of a place such as ("data", "n_itmes")."""
    kind: Any = Params
    for part in place[:-1]:
        # A mapping of sections: its values' kind.
        kind = kind.model_fields[part].annotation if hasattr(kind, "model_fields") else get_args(kind)[-1]
        # A section that may be left out: the section.
        if isinstance(kind, UnionType):
            kind = get_args(kind)[0]
    return list(kind.model_fields)


def _nearest(name: str, known: list[str]) -> str:
    """`did you mean ...? known names: ...`"""
    near = difflib.get_close_matches(name, known, n=1)
    question = f"did you mean {near[0]}? " if near else ""
    return f"{question}known names: {', '.join(known) or 'none, this section is empty'}"

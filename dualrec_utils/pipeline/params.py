"""Read and check `params.yaml` against :mod:`pipeline.schemas`, every slip named with its place."""

from __future__ import annotations

import difflib
import reprlib
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError
from ruamel.yaml import YAML, YAMLError

from dualrec_utils.core import config
from dualrec_utils.core.errors import StudyError
from dualrec_utils.pipeline import stages
from dualrec_utils.pipeline.schemas import Params, Section

SECTIONS: dict[str, type[Section]] = {
    name: field.annotation
    for name, field in Params.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
}


def load(path: Path | None = None) -> Params:
    """Read and validate a parameters file.

    Args:
        path: the file; default `params.yaml` at :data:`core.config.ROOT`.

    Raises:
        StudyError: on a missing file, broken YAML, or any value that is misspelt, missing or out of
            range: each named as `section.key` with its value and what is allowed.
    """
    path = Path(path or config.PARAMS_FILE)
    values = read_yaml(path)
    for name, model in SECTIONS.items():
        # A section whose stage has nothing to set need not be written.
        if values.get(name) is None and not model.model_fields:
            values[name] = {}
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        problems = "\n".join(f"  - {_explain(problem)}" for problem in error.errors())
        raise StudyError(f"{path} has values that cannot be used:\n{problems}") from None


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
        raise StudyError(f"{path} cannot be read: {error.strerror}; mend that and run again") from None
    except UnicodeDecodeError as error:
        raise StudyError(f"{path} is not UTF-8 text: {error}; save it as UTF-8") from None
    except YAMLError as error:
        line = error.problem_mark.line + 1 if getattr(error, "problem_mark", None) else "unknown"
        what = getattr(error, "problem", None) or str(error)
        raise StudyError(f"{path} is not readable YAML: line {line}: {what}; mend that line") from None
    if not isinstance(values, dict):
        # A list may be as long as the file.
        raise StudyError(
            f"{path} must hold a mapping (lines `name: value`); it holds {reprlib.repr(values)}"
        )
    return values


def section(name: str, path: Path | None = None) -> dict[str, Any]:
    """`dataset`, `seed` and the keys of one section, validated: a stage's arguments.

    The whole file is checked, so that a slip in the last stage's section shows before the first stage
    has worked for nothing.

    Raises:
        StudyError: on an unknown section, or as :func:`load`.
    """
    if name not in SECTIONS:
        raise StudyError(f"there is no section {name!r} in params.yaml; {_nearest(name, list(SECTIONS))}")
    params = load(path)
    return {"dataset": params.dataset, "seed": params.seed, **getattr(params, name).model_dump()}


def _explain(problem: dict[str, Any]) -> str:
    """One line on one of pydantic's findings: the key, its value, what is allowed."""
    *above, key = problem["loc"]
    place = ".".join(str(part) for part in problem["loc"])
    model = Params
    for part in above:
        if part in model.model_fields:
            model = _section_in(model.model_fields[part].annotation) or model
    kind, value = problem["type"], problem["input"]
    if key == "[key]":
        return (
            f"{'.'.join(map(str, above[:-1]))} has the name {value!r}; allowed: {problem['ctx']['pattern']}"
        )
    if kind == "extra_forbidden":
        return f"{place} is not a known name; {_nearest(str(key), list(model.model_fields))}"
    if kind == "missing":
        what = f"section `{key}:`" if key in SECTIONS else f"value {place} ({_allowed(model, key)})"
        return f"the {what} is missing; add it, params.yaml of the repository shows how"
    if kind == "value_error":
        return f"{place}: {problem['ctx']['error']}"
    if kind == "model_type" and key in SECTIONS:
        names = ", ".join(SECTIONS[key].model_fields)
        return f"{place} must be a section with the keys {names}; it is {value!r}"
    if len(problem["loc"]) > 1 and key not in model.model_fields:
        key = next((part for part in reversed(above) if part in model.model_fields), key)
    hint = ""
    if isinstance(value, str) and _is_number(value):
        hint = "; it was read as text: write numbers without quotes, small ones as 1.0e-4"
    return f"{place} is {value!r}; allowed: {_allowed(model, key)}{hint}"


def _section_in(annotation: Any) -> type[Section] | None:
    """The section that a value is or, for a mapping of them, holds."""
    kinds = (annotation, *get_args(annotation))
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Section)), None)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _nearest(name: str, known: list[str]) -> str:
    """`did you mean ...? known names: ...`"""
    near = difflib.get_close_matches(name, known, n=1)
    question = f"did you mean {near[0]}? " if near else ""
    return f"{question}known names: {', '.join(known) or 'none, this section is empty'}"


def _allowed(model: type[Section], key: Any) -> str:
    """A value's type and range in words, from its schema."""
    schema = model.model_json_schema()["properties"].get(key, {})
    return _in_words(schema)


def _in_words(schema: dict[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_in_words(option) for option in schema["anyOf"])
    if "enum" in schema:
        return " | ".join(str(value) for value in schema["enum"])
    if "const" in schema:
        return str(schema["const"])
    names = {"integer": "an integer", "number": "a number", "string": "text", "boolean": "true | false"}
    names |= {"null": "null", "array": "a list", "object": "a section"}
    words = [names.get(schema.get("type", ""), "a value")]
    if schema.get("type") == "array" and "items" in schema:
        words = [f"a list, each entry {_in_words(schema['items'])}"]
    for bound, sign in (
        ("minimum", "at least"),
        ("exclusiveMinimum", "above"),
        ("maximum", "at most"),
        ("exclusiveMaximum", "below"),
    ):
        if bound in schema:
            words.append(f"{sign} {schema[bound]}")
    if "minItems" in schema:
        words.append(f"at least {schema['minItems']} entries")
    if "maxItems" in schema:
        words.append(f"at most {schema['maxItems']} entries")
    if "pattern" in schema:
        words.append(f"of the form {schema['pattern']}")
    return ", ".join(words)


@stages.reported("params")
def main() -> None:
    """Check the whole file; the command's status is 2 after printing what is wrong.

    `make repro` does this before DVC begins, since DVC takes a stage's old outputs away before the
    stage can refuse a bad value.
    """
    load()


if __name__ == "__main__":
    raise SystemExit(main())

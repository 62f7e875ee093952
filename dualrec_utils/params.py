"""What `params.yaml` may say: one class a section, every value with its range.

A section is a DVC stage, and its keys (with `dataset` and `seed`) are the parameters of the stage's
notebook. There are no defaults here: `params.yaml` is the one place where a value stands.
"""

from __future__ import annotations

import difflib
import sys
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from ruamel.yaml import YAML, YAMLError

from dualrec_utils import config
from dualrec_utils.errors import StudyError

Share = Annotated[float, Field(gt=0, lt=1)]


class _Section(BaseModel):
    # Strict: `true` is no number and "10" is no integer; an integer may stand for a float.
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Data(_Section):
    """Stage `data`: fetch, filter, split, cut cases."""

    n_items: int = Field(ge=10, le=20_000)
    min_interactions: int = Field(ge=6, le=1_000)
    train_share: Share
    validation_share: Share
    cases_per_user: int = Field(ge=1, le=50)


class Eda(_Section):
    """Notebook 01."""

    window: int = Field(ge=2, le=1_000)
    last_ratings: int = Field(ge=2, le=100)


class Lstm(_Section):
    """Notebook 02."""

    training: Literal["every_position", "window"]
    epochs: int = Field(ge=1, le=200)
    batch_size: int = Field(ge=1, le=4_096)
    learning_rate: float = Field(gt=0, le=0.1)
    dropout: float = Field(ge=0, lt=1)
    chunk_length: int = Field(ge=1, le=1_000)
    context: int = Field(ge=0, le=1_000)
    window: int = Field(ge=2, le=1_000)
    max_history: int = Field(ge=1, le=5_000)
    title_vocabulary: int = Field(ge=3, le=100_000)
    title_length: int = Field(ge=1, le=50)
    n_folds: int = Field(ge=2, le=20)


class Baselines(_Section):
    """Notebook 03."""

    # baseline -> hyperparameter -> the values to try; the registry of baselines knows what is allowed.
    models: dict[str, dict[str, Any]] = Field(min_length=1)

    @field_validator("models")
    @classmethod
    def _known(cls, models: dict) -> dict:
        from dualrec_utils import baselines

        for name, grid in models.items():
            try:
                baselines.combinations(name, grid)
            except StudyError as error:
                raise ValueError(str(error)) from None
        return models


class Movielm(_Section):
    """Stage `movielm`: the small language model trained in the pipeline."""

    vocabulary: int = Field(ge=300, le=50_000)
    hidden_size: int = Field(ge=16, le=2_048)
    n_layers: int = Field(ge=1, le=32)
    n_heads: int = Field(ge=1, le=32)
    max_tokens: int = Field(ge=96, le=1_024)
    genre_share: float = Field(ge=0, le=1)
    noise_share: float = Field(ge=0, le=1)
    n_epochs: int = Field(ge=1, le=100)
    batch_size: int = Field(ge=1, le=512)
    learning_rate: float = Field(gt=0, le=0.1)
    weight_decay: float = Field(ge=0, le=1)
    dropout: float = Field(ge=0, lt=1)


class LanguageModel(_Section):
    """One language model: where it answers and what is loaded."""

    backend: Literal["local", "hosted", "replay"]
    model: str = Field(min_length=1)
    revision: str | None
    dtype: Literal["float32", "bfloat16", "float16"]
    quantization: Literal["none", "nf4", "auto"]


class Hosted(_Section):
    """How a provider of hosted models is asked; :class:`dualrec_utils.hosted.HostedSettings`."""

    base_url: str = Field(pattern=r"^https?://")
    key_variable: str = Field(pattern=r"^[A-Z][A-Z0-9_]*$")
    concurrency: int = Field(ge=1, le=64)
    timeout_seconds: float = Field(ge=1, le=3_600)
    n_retries: int = Field(ge=0, le=20)
    longest_wait_seconds: float = Field(ge=0, le=86_400)
    max_requests: int = Field(ge=1, le=10_000_000)
    max_run_tokens: int = Field(ge=1, le=10_000_000_000)
    max_unreadable: int = Field(ge=0, le=1_000_000)
    prices: dict[str, Annotated[list[float], Field(min_length=2, max_length=2)]]
    extra_body: dict[str, Any]


# The name of a language model begins the names of its systems.
ModelName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]


def _at_least_n_ranked(width: int, about: ValidationInfo) -> int:
    if width < about.data.get("n_ranked", 0):
        raise ValueError(f"a beam of width {width} cannot hold the {about.data['n_ranked']} of n_ranked")
    return width


class ZeroShotLlm(_Section):
    """Notebook 04."""

    models: dict[ModelName, LanguageModel] = Field(min_length=1)
    n_recent: int = Field(ge=1, le=50)
    n_titles: int = Field(ge=1, le=20)
    max_new_tokens: int = Field(ge=8, le=1_024)
    max_thinking_tokens: int = Field(ge=0, le=32_768)
    batch_size: int = Field(ge=1, le=512)
    match_threshold: float = Field(ge=0, le=101)
    n_ranked: int = Field(ge=5, le=100)
    ranking: Literal["exact", "beam"]
    beam_width: int = Field(ge=5, le=1_000)
    n_history: int = Field(ge=1, le=1_000)
    n_candidates: int = Field(ge=5, le=100)
    n_checked: int = Field(ge=10, le=10_000)
    hosted: Hosted

    @field_validator("models")
    @classmethod
    def _looked_into(cls, models: dict) -> dict:
        first = next(iter(models))
        if models[first].backend != "local":
            raise ValueError(f"the first model, {first}, is not local; notebook 04 looks inside it")
        return models

    @field_validator("beam_width")
    @classmethod
    def _wide_enough(cls, width: int, about: ValidationInfo) -> int:
        return _at_least_n_ranked(width, about)


class LoraFinetuning(_Section):
    """Notebook 05."""

    models: dict[ModelName, LanguageModel] = Field(min_length=1)

    @field_validator("models")
    @classmethod
    def _local(cls, models: dict) -> dict:
        for name, model in models.items():
            if model.backend != "local":
                raise ValueError(f"{name} has backend {model.backend!r}; only local models are fine-tuned")
        return models

    n_recent: int = Field(ge=1, le=50)
    n_titles: int = Field(ge=1, le=5)
    rank: int = Field(ge=1, le=256)
    alpha: int = Field(ge=1, le=1_024)
    dropout: float = Field(ge=0, lt=1)
    n_epochs: int = Field(ge=1, le=100)
    batch_size: int = Field(ge=1, le=512)
    accumulation: int = Field(ge=1, le=512)
    learning_rate: float = Field(gt=0, le=1)
    max_tokens: int = Field(ge=64, le=32_768)
    precision: Literal["auto", "float32", "bfloat16", "float16"]
    gradient_checkpointing: bool
    checkpoint_steps: int = Field(ge=1, le=100_000)
    max_new_tokens: int = Field(ge=8, le=1_024)
    generation_batch_size: int = Field(ge=1, le=512)
    match_threshold: float = Field(ge=0, le=101)
    n_ranked: int = Field(ge=5, le=100)
    ranking: Literal["exact", "beam"]
    beam_width: int = Field(ge=5, le=1_000)

    @field_validator("beam_width")
    @classmethod
    def _wide_enough(cls, width: int, about: ValidationInfo) -> int:
        return _at_least_n_ranked(width, about)


class RerankAblation(_Section):
    """Notebook 06."""

    model: ModelName
    sbert: str = Field(min_length=1)
    n_examples: int = Field(ge=1, le=20)
    fusion_methods: list[Literal["log_linear", "mixture", "reciprocal_rank"]] = Field(min_length=1)
    fusion_grid: list[Annotated[float, Field(ge=0, le=1)]] = Field(min_length=2)
    n_candidates: int = Field(ge=5, le=100)
    trade_offs: list[Share] = Field(min_length=1)
    n_diversified: int = Field(ge=5, le=100)
    tolerance: float = Field(ge=0, le=0.2)


class Results(_Section):
    """Notebook 07."""

    n_bootstrap: int = Field(ge=100, le=100_000)
    confidence: float = Field(ge=0.5, le=0.999)


class Report(_Section):
    """Stage `report`: the page a reader opens first."""


class Params(_Section):
    """All of `params.yaml`."""

    dataset: Literal["ml-100k", "ml-1m"]
    seed: int = Field(ge=0, le=2**32 - 1)
    data: Data
    eda: Eda
    lstm: Lstm
    baselines: Baselines
    movielm: Movielm
    zero_shot_llm: ZeroShotLlm
    lora_finetuning: LoraFinetuning
    rerank_ablation: RerankAblation
    results: Results
    report: Report


SECTIONS: dict[str, type[_Section]] = {
    name: field.annotation
    for name, field in Params.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, _Section)
}


def load(path: Path | None = None) -> Params:
    """Read and validate a parameters file.

    Args:
        path: the file; default `params.yaml` at :data:`dualrec_utils.config.ROOT`.

    Raises:
        StudyError: on a missing file, broken YAML, or any value that is misspelt, missing or out of
            range: each named as `section.key` with its value and what is allowed.
    """
    path = Path(path or config.PARAMS_FILE)
    values = _read(path)
    for name, model in SECTIONS.items():
        # A section whose stage has nothing to set need not be written.
        if values.get(name) is None and not model.model_fields:
            values[name] = {}
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        problems = "\n".join(f"  - {_explain(problem)}" for problem in error.errors())
        raise StudyError(f"{path} has values that cannot be used:\n{problems}") from None


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


def _read(path: Path) -> dict[str, Any]:
    """The file as a dict, read as DVC reads it (YAML 1.2, a key given twice is an error)."""
    if not path.is_file():
        raise StudyError(
            f"there is no parameters file at {path}; restore it with `git checkout params.yaml`"
        )
    try:
        values = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise StudyError(f"{path} is not UTF-8 text: {error}") from None
    except YAMLError as error:
        line = error.problem_mark.line + 1 if getattr(error, "problem_mark", None) else "unknown"
        what = getattr(error, "problem", None) or str(error)
        raise StudyError(f"{path} is not readable YAML: line {line}: {what}") from None
    if not isinstance(values, dict):
        raise StudyError(
            f"{path} must hold `dataset:`, `seed:` and one section a stage; it holds {values!r}"
        )
    return values


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
    if kind == "value_error":
        return f"{place}: {problem['ctx']['error']}"
    if len(problem["loc"]) > 1 and key not in model.model_fields:
        key = next((part for part in reversed(above) if part in model.model_fields), key)
    hint = ""
    if isinstance(value, str) and _is_number(value):
        hint = "; it was read as text: write numbers without quotes, small ones as 1.0e-4"
    return f"{place} is {value!r}; allowed: {_allowed(model, key)}{hint}"


def _section_in(annotation: Any) -> type[_Section] | None:
    """The section that a value is or, for a mapping of them, holds."""
    kinds = (annotation, *get_args(annotation))
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, _Section)), None)


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


def _allowed(model: type[_Section], key: Any) -> str:
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


def main() -> int:
    """Check the whole file; returns 0, or 2 after printing what is wrong.

    `make repro` does this before DVC begins, since DVC takes a stage's old outputs away before the
    stage can refuse a bad value.
    """
    try:
        load()
    except StudyError as error:
        print(f"dualrec: params: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""What a section of `params.yaml` may hold: one class each, every value with its range.

A section is a DVC stage, and its keys (with `dataset` and `seed`) are the settings of the stage's
notebook. There are no defaults here: `params.yaml` is the one place where a value stands.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationInfo, field_validator

from dualrec_utils.core import config

Share = Annotated[float, Field(gt=0, lt=1)]


class Section(BaseModel):
    """A mapping whose keys are all known and all given."""

    # Strict: `true` is no number and "10" is no integer; an integer may stand for a float.
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Intervals(Section):
    """Intervals and tests of every notebook."""

    n_bootstrap: int = Field(ge=100, le=100_000)
    confidence: float = Field(ge=0.5, le=0.999)
    n_permutations: int = Field(ge=1_000, le=1_000_000)


class Data(Section):
    """Stage `data`: fetch, filter, split, cut cases."""

    n_items: int = Field(ge=10, le=20_000)
    min_interactions: int = Field(ge=6, le=1_000)
    train_share: Share
    validation_share: Share
    cases_per_user: int = Field(ge=1, le=50)

    @field_validator("validation_share")
    @classmethod
    def _leaves_test_users(cls, share: float, about: ValidationInfo) -> float:
        if share + about.data.get("train_share", 0) >= 1:
            raise ValueError(f"{share} beside train_share {about.data['train_share']} leaves no test users")
        return share


class Eda(Section):
    """Notebook 01."""

    window: int = Field(ge=2, le=1_000)
    last_ratings: int = Field(ge=2, le=100)


class Lstm(Section):
    """Notebook 02."""

    training: Literal["every_position", "window"]
    epochs: int = Field(ge=1, le=200)
    batch_size: int = Field(ge=1, le=4_096)
    learning_rate: float = Field(gt=0, le=0.1)
    dropout: float = Field(ge=0, lt=1)
    chunk_length: int = Field(ge=1, le=1_000)
    window: int = Field(ge=2, le=1_000)
    max_history: int = Field(ge=1, le=5_000)
    title_vocabulary: int = Field(ge=3, le=100_000)
    title_length: int = Field(ge=1, le=50)
    n_folds: int = Field(ge=2, le=20)


class Baselines(Section):
    """Notebook 03."""

    # baseline -> hyperparameter -> value; `dualrec params` asks the registry of baselines what is allowed.
    models: dict[str, dict[str, int | float | str]] = Field(min_length=1)

    @field_validator("models")
    @classmethod
    def _has_the_two_compared_with(cls, models: dict) -> dict:
        if absent := {"random", "most_popular"} - set(models):
            raise ValueError(f"{', '.join(sorted(absent))} must be there: notebook 03 compares with them")
        return models


class Movielm(Section):
    """Stage `movielm`: the small language model trained in the pipeline."""

    vocabulary: int = Field(ge=300, le=50_000)
    hidden_size: int = Field(ge=16, le=2_048)
    n_layers: int = Field(ge=1, le=32)
    n_heads: int = Field(ge=1, le=32)

    @field_validator("n_heads")
    @classmethod
    def _divides(cls, n_heads: int, about: ValidationInfo) -> int:
        width = about.data.get("hidden_size", 0)
        if width % (2 * n_heads):
            raise ValueError(f"hidden_size {width} must be a multiple of twice n_heads ({2 * n_heads})")
        return n_heads

    max_tokens: int = Field(ge=96, le=1_024)
    genre_share: float = Field(ge=0, le=1)
    noise_share: float = Field(ge=0, le=1)
    n_epochs: int = Field(ge=1, le=100)
    batch_size: int = Field(ge=1, le=512)
    learning_rate: float = Field(gt=0, le=0.1)
    weight_decay: float = Field(ge=0, le=1)
    dropout: float = Field(ge=0, lt=1)


class LanguageModel(Section):
    """One language model: where it answers and what is loaded."""

    backend: Literal["local", "hosted", "replay"]
    model: str = Field(min_length=1)
    revision: str | None
    dtype: Literal["float32", "bfloat16", "float16"]
    quantization: Literal["none", "nf4", "auto"]


class Hosted(Section):
    """How a provider of hosted models is asked; :class:`models.backends.hosted.HostedSettings`."""

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
    extra_body: dict[str, JsonValue]

    @field_validator("extra_body")
    @classmethod
    def _leaves_the_question(cls, fields: dict) -> dict:
        if fields.keys() & {"model", "messages", "stream"}:
            raise ValueError("model, messages and stream are the study's to send")
        limits = [fields[name] for name in ("max_tokens", "max_completion_tokens") if name in fields]
        if any(limit is not None and (type(limit) is not int or limit < 1) for limit in limits):
            raise ValueError("max_tokens and max_completion_tokens are whole numbers from 1, or null")
        return fields


# The name of a language model begins the names of its systems.
ModelName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]


class _Ranking(Section):
    """How lists that may hold catalog movies only are searched."""

    n_ranked: int = Field(ge=5, le=100)
    ranking: Literal["exact", "beam"]
    beam_width: int = Field(ge=5, le=1_000)

    @field_validator("beam_width")
    @classmethod
    def _wide_enough(cls, width: int, about: ValidationInfo) -> int:
        if width < about.data.get("n_ranked", 0):
            raise ValueError(
                f"a beam of width {width} cannot hold the {about.data['n_ranked']} of n_ranked"
            )
        return width


class ZeroShotLlm(_Ranking):
    """Notebook 04."""

    models: dict[ModelName, LanguageModel] = Field(min_length=1)
    n_recent: int = Field(ge=1, le=50)
    n_titles: int = Field(ge=1, le=20)
    max_new_tokens: int = Field(ge=8, le=1_024)
    max_thinking_tokens: int = Field(ge=0, le=32_768)
    batch_size: int = Field(ge=1, le=512)
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


class LoraFinetuning(_Ranking):
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


class RerankAblation(Section):
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


class Results(Section):
    """Notebook 07."""

    power: float = Field(ge=0.5, le=0.99)
    contrast: list[Share] = Field(min_length=2, max_length=2)

    @field_validator("contrast")
    @classmethod
    def _two(cls, contrast: list[float]) -> list[float]:
        if contrast[0] == contrast[1]:
            raise ValueError(f"two different hit rates are to be told apart, not {contrast[0]} from itself")
        return contrast


class Audit(Section):
    """Notebook 08."""

    model: ModelName
    sbert: str = Field(min_length=1)
    baselines: list[str] = Field(min_length=1)
    n_negatives: int = Field(ge=1, le=1_000)
    n_sessions: int = Field(ge=1, le=100_000)
    n_draws: int = Field(ge=1, le=50)
    thresholds: list[Share] = Field(min_length=1)
    adapters: list[Literal["q_and_v_only", "in_sample_hints", "loss_everywhere"]]
    reordered: list[str]
    n_cases: int = Field(ge=1, le=50)

    @field_validator("baselines")
    @classmethod
    def _has_popularity(cls, names: list[str]) -> list[str]:
        if "most_popular" not in names:
            raise ValueError("most_popular must be there: section 4 of notebook 08 measures others by it")
        return names

    @field_validator("reordered")
    @classmethod
    def _fitted(cls, names: list[str], about: ValidationInfo) -> list[str]:
        if absent := [name for name in names if name not in about.data.get("baselines", names)]:
            raise ValueError(f"{', '.join(absent)} must be in audit.baselines too")
        return names


class Report(Section):
    """Stage `report`: the page a reader opens first."""


class Params(Section):
    """All of `params.yaml`."""

    # The way up to the default run's files: DVC writes paths with it, a profile's values are laid over it.
    repository: Literal["", "../../"]
    # Whether pages say that the run is too small to be a result.
    trial: bool
    dataset: Literal[config.DATASETS]
    seed: int = Field(ge=0, le=2**32 - 1)
    intervals: Intervals
    data: Data
    eda: Eda
    lstm: Lstm
    baselines: Baselines
    movielm: Movielm
    zero_shot_llm: ZeroShotLlm
    lora_finetuning: LoraFinetuning
    rerank_ablation: RerankAblation
    results: Results
    audit: Audit
    report: Report

    @field_validator("rerank_ablation", "audit")
    @classmethod
    def _asks_a_model_that_is_tuned(cls, section: Section, about: ValidationInfo) -> Section:
        tuned = about.data.get("lora_finetuning")
        if tuned and section.model not in tuned.models:
            raise ValueError(
                f"model is {section.model!r}; models of lora_finetuning: {', '.join(tuned.models)}"
            )
        return section

    @field_validator("audit")
    @classmethod
    def _audits_baselines_that_run(cls, audit: Audit, about: ValidationInfo) -> Audit:
        run = about.data.get("baselines")
        if run and (absent := [name for name in audit.baselines if name not in run.models]):
            raise ValueError(f"baselines has {', '.join(absent)}, which baselines.models lacks")
        return audit

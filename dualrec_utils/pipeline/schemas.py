"""What a section of `params.yaml` may hold: one class each, every value with its range.

A section is a DVC stage, and its keys (with `dataset` and `seed`) are the settings of the stage's
notebook. There are no defaults here: `params.yaml` is the one place where a value stands. What can be known
before anything runs is refused here: DVC takes the outputs of a stage away before it starts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from dualrec_utils.core import config, splits

Share = Annotated[float, Field(gt=0, lt=1)]
# Words of one line, as a sentence takes them.
Word = Annotated[str, Field(pattern=r"^\S(.*\S)?$", max_length=100)]
# The name of a language model begins the names of its systems.
ModelName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
# Nothing goes to another machine in clear text, nor with a password that every message would show.
_ADDRESS = re.compile(r"(https://[^\s/@?#]+|http://(localhost|127\.0\.0\.1|\[::1])(:\d+)?)(/[^\s@?#]*)?")
# Tokens of a longest title and of the words around all titles, as movielm's usual vocabulary cuts them.
_LINE_TOKENS, _REQUEST_TOKENS = 24, 96


class Section(BaseModel):
    """A mapping whose keys are all known and all given."""

    # Strict: `true` is no number and "10" is no integer; an integer may stand for a float.
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    def _faults(self) -> Iterator[str]:
        """What values that are right one by one do wrong together."""
        yield from ()

    @model_validator(mode="after")
    def _go_together(self) -> Self:
        if faults := list(self._faults()):
            raise ValueError("; ".join(faults))
        return self


class Intervals(Section):
    """Intervals and tests of every notebook."""

    n_bootstrap: int = Field(ge=100, le=100_000)
    confidence: float = Field(ge=0.5, le=0.999)
    # `dualrec params` asks analysis/ how many the largest family of comparisons needs.
    n_permutations: int = Field(ge=1_000, le=1_000_000)


class Words(Section):
    """What items are called: :class:`core.domain.Domain`."""

    item: Word
    items: Word
    verb: Word
    history: Word
    details: str = Field(pattern=r"^( \S.*)?$", max_length=100)


class Source(Section):
    """A reader's data: files and the names of their columns, see :class:`datasets.reader_data.Source`."""

    interactions: str
    user: str
    item: str
    title: str
    # What the data do not have is left out.
    time: str | None = None
    order: str | None = None
    rating: str | None = None
    items: str | None = None
    categories: str | None = None
    separator: str | None = Field(default=None, min_length=1)
    year: str | None = None

    def _faults(self) -> Iterator[str]:
        if (self.time is None) == (self.order is None):
            yield "name one of time and order: the column of times, or of places in a user's history"


class Data(Section):
    """Stage `data`: fetch, filter, split, cut cases."""

    source: Source | None

    n_items: int = Field(ge=10, le=20_000)
    min_interactions: int = Field(ge=6, le=1_000)
    train_share: Share
    validation_share: Share
    cases_per_user: int = Field(ge=1, le=50)
    held_out_users: int | None = Field(ge=10, le=100_000)

    def _faults(self) -> Iterator[str]:
        train, share = self.train_share, self.validation_share
        # A smaller part has no user in a small data set.
        if round(min(train, share, 1 - train - share), 9) < 0.01:
            yield (
                f"validation_share {share} beside train_share {train} leaves no test users, or a part"
                " under a hundredth"
            )
        if not splits.WINDOW < self.min_interactions <= self.n_items:
            yield (
                f"min_interactions is {self.min_interactions}; it must exceed {splits.WINDOW}, so that a"
                f" item comes before the last {splits.WINDOW}, and not n_items ({self.n_items})"
            )


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

    def _faults(self) -> Iterator[str]:
        if absent := {"random", "most_popular"} - set(self.models):
            yield f"models lacks {', '.join(sorted(absent))}: notebook 03 compares with them"


class Movielm(Section):
    """Stage `movielm`: the small language model trained in the pipeline."""

    # With fewer, titles fall into so many tokens that neither documents nor examples hold them.
    vocabulary: int = Field(ge=2_000, le=50_000)
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

    def _faults(self) -> Iterator[str]:
        if self.hidden_size % (2 * self.n_heads):
            yield f"hidden_size {self.hidden_size} must be a multiple of twice n_heads ({2 * self.n_heads})"


class LanguageModel(Section):
    """One language model: where it answers and what is loaded."""

    backend: Literal["local", "hosted", "replay"]
    model: str = Field(min_length=1)
    revision: str | None
    # auto: by the card, :func:`pipeline.colab.half_precision`.
    dtype: Literal["float32", "bfloat16", "float16", "auto"]
    quantization: Literal["none", "nf4", "auto"]


class Hosted(Section):
    """How a provider of hosted models is asked; :class:`models.backends.hosted.HostedSettings`."""

    base_url: str
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

    def _faults(self) -> Iterator[str]:
        if not _ADDRESS.fullmatch(self.base_url):
            yield (
                "base_url must be an https address without user, password and query (http only for"
                " localhost), such as https://openrouter.ai/api/v1"
            )
        if self.extra_body.keys() & {"model", "messages", "stream"}:
            yield "extra_body: model, messages and stream are the study's to send"
        limits = [self.extra_body.get(name) for name in ("max_tokens", "max_completion_tokens")]
        if any(limit is not None and (type(limit) is not int or limit < 1) for limit in limits):
            yield "extra_body: max_tokens and max_completion_tokens are whole numbers from 1, or null"


class _Asking(Section):
    """What notebooks 04 and 05 share: the models, and how their answers and lists are made."""

    models: dict[ModelName, LanguageModel] = Field(min_length=1)
    n_recent: int = Field(ge=1, le=50)
    max_new_tokens: int = Field(ge=8, le=512)
    n_ranked: int = Field(ge=5, le=100)
    ranking: Literal["exact", "beam"]
    beam_width: int = Field(ge=5, le=1_000)

    def _faults(self) -> Iterator[str]:
        if self.beam_width < self.n_ranked:
            yield f"a beam of width {self.beam_width} cannot hold the {self.n_ranked} of n_ranked"


class ZeroShotLlm(_Asking):
    """Notebook 04."""

    n_titles: int = Field(ge=1, le=20)
    max_thinking_tokens: int = Field(ge=0, le=32_768)
    batch_size: int = Field(ge=1, le=512)
    # movielm reads 1,024 tokens.
    n_history: int = Field(ge=1, le=100)
    n_candidates: int = Field(ge=5, le=100)
    n_checked: int = Field(ge=10, le=10_000)
    hosted: Hosted

    def _faults(self) -> Iterator[str]:
        yield from super()._faults()
        if self.models[first := next(iter(self.models))].backend != "local":
            yield f"the first model, {first}, is not local; notebook 04 looks inside it"


class LoraFinetuning(_Asking):
    """Notebook 05."""

    n_titles: int = Field(ge=1, le=splits.WINDOW)
    n_users: int | None = Field(ge=10, le=1_000_000)
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
    generation_batch_size: int = Field(ge=1, le=512)

    def _faults(self) -> Iterator[str]:
        yield from super()._faults()
        for name, model in self.models.items():
            if model.backend != "local":
                yield f"{name} has backend {model.backend!r}; only local models are fine-tuned"
        n_lines = self.n_recent + self.n_titles
        if self.max_tokens < (least := _REQUEST_TOKENS + _LINE_TOKENS * n_lines):
            yield (
                f"max_tokens is {self.max_tokens}; an example of {n_lines} titles (n_recent and n_titles)"
                f" may take {least}"
            )


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

    def _faults(self) -> Iterator[str]:
        if self.contrast[0] == self.contrast[1]:
            yield f"contrast: two different hit rates are told apart, not {self.contrast[0]} from itself"


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
    n_cases: int = Field(ge=1, le=50)
    histories: list[Annotated[int, Field(ge=1, le=100)]]

    def _faults(self) -> Iterator[str]:
        if "most_popular" not in self.baselines:
            yield "baselines lacks most_popular: section 4 of notebook 08 measures others by it"


class RatingHybrids(Section):
    """Notebook 11."""

    # system -> model, its settings, folds, profiles; `dualrec params` builds each.
    models: dict[ModelName, dict[str, JsonValue]] = Field(min_length=1)
    # Of models; one that a profile does not fit leaves its claim "not run".
    with_text: str
    without_text: str
    hybrid: str
    rival: str
    list_length: int = Field(ge=2, le=100)
    next_item: list[str]

    def _faults(self) -> Iterator[str]:
        if absent := {"global_mean", "biases"} - set(self.models):
            yield f"models lacks {', '.join(sorted(absent))}: notebook 11 compares with them"
        if unknown := [name for name in self.next_item if name not in self.models]:
            yield f"next_item has {', '.join(unknown)}, which models lacks"


class ColdStart(Section):
    """Notebook 12."""

    # system -> model and its settings.
    models: dict[ModelName, dict[str, JsonValue]] = Field(min_length=1)
    n_users: int = Field(ge=2, le=100_000)
    n_tuning_users: int = Field(ge=0, le=100_000)
    tuning_seed: int = Field(ge=0, le=2**32 - 1)
    n_items: int = Field(ge=2, le=100_000)
    n_targets: int = Field(ge=1, le=1_000)
    counts: list[Annotated[int, Field(ge=0, le=1_000)]] = Field(min_length=1)
    item_models: list[str] = Field(min_length=1)
    n_ranked: int = Field(ge=1, le=100)
    hybrid: str
    without_text: str | None
    n_explained: int = Field(ge=1, le=10_000)
    n_recommended: int = Field(ge=1, le=100)
    n_similar: int = Field(ge=1, le=20)
    language_model: ModelName
    max_new_tokens: int = Field(ge=8, le=512)

    def _faults(self) -> Iterator[str]:
        if absent := {"biases", "item_mean"} - set(self.models):
            yield f"models lacks {', '.join(sorted(absent))}: notebook 12 compares with them"
        if self.counts != sorted({0, *self.counts}):
            yield f"counts is {self.counts}; they ascend from 0, each once"
        if self.n_explained > self.n_users:
            yield f"n_explained is {self.n_explained} of n_users {self.n_users}"
        without = [] if self.without_text is None else [self.without_text]
        for key, names in (
            ("item_models", self.item_models),
            ("hybrid", [self.hybrid]),
            ("without_text", without),
        ):
            if unknown := [name for name in names if name not in self.models]:
                yield f"{key} has {', '.join(unknown)}, which models lacks"
        if absent := {"biases", "item_mean"} - set(self.item_models):
            yield f"item_models lacks {', '.join(sorted(absent))}: notebook 12 compares with them"


class Online(Section):
    """Notebook 14."""

    n_known: int = Field(ge=1, le=1_000)
    learn_every: int = Field(ge=1, le=1_000_000)
    retrain_every: int = Field(ge=1, le=100_000_000)
    learning_rate: float = Field(gt=0, le=1)


class Report(Section):
    """Stage `report`: the page a reader opens first."""


class Params(Section):
    """All of `params.yaml`."""

    # The way up to the default run's files: DVC writes paths with it, a profile's values are laid over it.
    repository: Literal["", "../../"]
    # Whether pages say that the run is too small to be a result.
    trial: bool
    dataset: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=40)
    seed: int = Field(ge=0, le=2**32 - 1)
    order_seed: int = Field(ge=0, le=2**32 - 1)
    model_seed: int = Field(ge=0, le=2**32 - 1)
    intervals: Intervals
    domain: Words
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
    rating_hybrids: RatingHybrids
    cold_start: ColdStart
    online: Online
    report: Report

    def _faults(self) -> Iterator[str]:
        if (self.dataset in config.DATASETS) == (self.data.source is not None):
            yield (
                f"dataset: {self.dataset} is a name that the study knows: give data: source: another one"
                if self.data.source
                else f"dataset: there is no data set {self.dataset!r}; data sets:"
                f" {', '.join(config.DATASETS)}, and your own where data: source: names its files"
            )
        local = {name for name, model in self.zero_shot_llm.models.items() if model.backend == "local"}
        tuned = [name for name in self.lora_finetuning.models if name in local]
        if (first := next(iter(self.lora_finetuning.models))) not in tuned:
            yield (
                f"lora_finetuning: the first model, {first}, must be a local model of zero_shot_llm too:"
                " notebook 05 compares with its answers there"
            )
        for name in ("rerank_ablation", "audit"):
            if (model := getattr(self, name).model) not in tuned:
                yield (
                    f"{name}: model is {model!r}; models of lora_finetuning: {', '.join(tuned)} (those that"
                    " are local models of zero_shot_llm too)"
                )
        if absent := [name for name in self.audit.baselines if name not in self.baselines.models]:
            yield f"audit: baselines has {', '.join(absent)}, which baselines.models lacks"
        if (model := self.cold_start.language_model) not in self.zero_shot_llm.models:
            yield (
                f"cold_start: language_model is {model!r}; models of zero_shot_llm:"
                f" {', '.join(self.zero_shot_llm.models)}"
            )
        # A user has rated as many items of the catalog as are kept at least, and none twice.
        n_items, free = self.data.n_items, self.data.n_items - self.data.min_interactions
        if self.audit.n_negatives > free:
            yield (
                f"audit: n_negatives is {self.audit.n_negatives}; data.n_items less data.min_interactions,"
                f" which a user has rated, leave {free}"
            )
        if self.lstm.window >= n_items:
            yield f"lstm: window is {self.lstm.window}; histories have {n_items} items at most"

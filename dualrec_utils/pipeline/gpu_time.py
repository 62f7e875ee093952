"""How long a profile's language models take on a GPU, from speeds that were measured on one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dualrec_utils.core import config, files

BENCH = config.STUDIES / "bench" / "gpu_nvidia_h200.json"
# Users of the data sets that profiles for a GPU have.
_USERS = {"ml-100k": 943, "ml-1m": 6_040}
# Tokens of an example that is trained on, prompt and answer, roughly.
_EXAMPLE = 245
# Batches that `dualrec bench-gpu` measured with; the last one is how many rankings are searched at once.
_PROMPTS_AT_ONCE, _EXAMPLES_AT_ONCE, _RANKINGS_AT_ONCE = 16, 2, 64


@dataclass(frozen=True)
class Work:
    """What the models of the Hub have to do in a run, in numbers of one model each.

    Attributes:
        answers: free texts, with an adapter or without. rankings: of the catalog.
        training_tokens: of prompts and answers, all passes.
    """

    answers: int
    rankings: int
    training_tokens: int


def work(values: Any, name: str) -> Work:
    """How much a model has to do, from `params.yaml` alone.

    Notebook 04 asks every held-out user twice a protocol, with the LSTM's line and without; 05 trains three
    adapters of its first model and one of each other; 08 ranks anew for other histories. Users with fewer
    cases than they might have make it less.
    """
    data, zero, tuning, audit = values.data, values.zero_shot_llm, values.lora_finetuning, values.audit
    users = _USERS[values.dataset]
    most = data.held_out_users or users
    test = min(most, round(users * (1 - data.train_share - data.validation_share)))
    held_out = test + min(most, round(users * data.validation_share))
    # next_item, and window_of_five with one case a user.
    cases = data.cases_per_user + 1
    answers = rankings = tokens = 0
    if name in zero.models:
        answers += 2 * held_out * cases
        rankings += (test + held_out) * cases
    if name in tuning.models:
        first = name == next(iter(tuning.models))
        answers += (held_out + 2 * test if first else test) * cases
        rankings += test * cases if first else 0
        taught = min(tuning.n_users or users, round(users * data.train_share))
        examples = taught * tuning.n_epochs * (3 if first else 1)
        tokens += examples * _EXAMPLE
    if name == audit.model:
        rankings += len(audit.histories) * test * min(audit.n_cases, data.cases_per_user)
    return Work(answers, rankings, tokens)


def minutes(
    todo: Work,
    measured: Mapping[str, Any],
    *,
    heaviest: float = 1.0,
    answers_at_once: int = _PROMPTS_AT_ONCE,
    examples_at_once: int = _EXAMPLES_AT_ONCE,
    rankings_at_once: int = _PROMPTS_AT_ONCE,
) -> float:
    """How long work takes at the speeds of a row of `reports/studies/bench/gpu_*.json`, on that card.

    With larger batches than were measured there are fewer steps, taken to be as long as before: on that
    card a model fourteen times as large answers as fast, is trained nearly as fast and ranks half as fast,
    so most steps wait for the computer, not for the card.

    Args:
        measured: the row.
        heaviest: how many times as large the largest model is that took as long; a larger batch counts
            up to there.
        answers_at_once, examples_at_once, rankings_at_once: sizes of batches.
    """

    def share(ours: int, theirs: int) -> float:
        return max(1.0, min(ours / theirs, heaviest))

    answering = todo.answers / measured["prompts_per_second"]
    ranking = todo.rankings / measured["rankings_per_minute"] * 60
    training = todo.training_tokens / measured["training_tokens_per_second"]
    seconds = answering / share(answers_at_once, _PROMPTS_AT_ONCE)
    seconds += ranking / share(rankings_at_once, _PROMPTS_AT_ONCE)
    return (seconds + training / share(examples_at_once, _EXAMPLES_AT_ONCE)) / 60


def estimate(values: Any, n_weights: Mapping[str, int], *, bench: Path = BENCH) -> Iterator[str]:
    """Lines on how long the language models take on the card that was measured, and what that rests on.

    Args:
        values: all of `params.yaml`.
        n_weights: model -> how many it has; nothing is said without any.
        bench: a file that `dualrec bench-gpu` wrote.
    """
    if n_weights and values.dataset not in _USERS:
        yield f"no estimate for {values.dataset}: there is one for {' and '.join(_USERS)} alone"
        return
    about = files.read_json(bench)
    rows = {float(row["scale"][:-1]): row for row in about["rows"] if row["prompts_per_second"]}
    batches = {
        "answers_at_once": min(
            values.zero_shot_llm.batch_size, values.lora_finetuning.generation_batch_size
        ),
        "examples_at_once": values.lora_finetuning.batch_size,
        "rankings_at_once": _RANKINGS_AT_ONCE,
    }
    for name, number in n_weights.items():
        scale = min(rows, key=lambda billions: abs(billions - number / 1e9))
        todo = work(values, name)
        longest = minutes(todo, rows[scale])
        likely = minutes(todo, rows[scale], heaviest=max(rows) / scale, **batches)
        yield (
            f"{name}: {todo.answers:,} answers, {todo.rankings:,} rankings of the catalog,"
            f" {todo.training_tokens:,} tokens of training: about {likely:.0f} minutes, {longest:.0f} at"
            f" most, for a model of {scale:g} billion weights on an {about['device']}"
        )
    if n_weights and (thoughts := values.zero_shot_llm.max_thinking_tokens):
        yield f"a model that thinks writes up to {thoughts:,} tokens more for each zero-shot answer"
    if n_weights:
        yield (
            f"an estimate from {bench.name} in reports/studies/bench (random weights, 16 prompts at once),"
            " not measured on this card; the other stages come on top. docs/language-models.md says what to"
            " expect of a T4 and an A100, and why"
        )

"""Free-form generation with a causal language model, many prompts at once.

A batch answers what one prompt alone answers, but for rounding: padding and the batch's width change the
order in which floating-point sums are taken. On 64 prompts in batches of 32, `movielm`'s logits after the
prompt moved by at most 6e-6 in single precision, where the two best tokens were at least 8e-4 apart: a
greedy answer differs only in a rare near tie, in 16 bits more often. Batches depend on the prompts and
`batch_size` alone, so that the same call gives the same answers on the same machine.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import (
    BatchEncoding,
    DynamicCache,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from dualrec_utils.core.errors import StudyError
from dualrec_utils.models.language import batches, chat, plain
from dualrec_utils.models.language.loading import end_tokens, memory_errors
from dualrec_utils.models.language.prompts import ANSWER_PREFIX

# In lora_finetuning, `batch_size` of params.yaml is that of training: lowering it would not help here.
_ADVICE = (
    "lower batch_size ({}; in lora_finetuning generation_batch_size), or set quantization to nf4 (on a GPU)"
)


def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    *,
    max_new_tokens: int,
    batch_size: int,
    label: str,
    answer_prefix: str = ANSWER_PREFIX,
    n_lines: int = 3,
    max_thinking_tokens: int = 0,
    kept: Path | None = None,
) -> list[str]:
    """Greedy answers. Prompts of like length share a batch.

    Args:
        model, tokenizer: from :func:`models.language.loading.load_model`.
        prompts: from :func:`models.language.prompts.build_prompts`.
        max_new_tokens: longest answer in tokens, prefix and thoughts not counted.
        batch_size: prompts answered at once.
        label: shown beside the progress bar.
        answer_prefix: put after every prompt and kept as the beginning of every answer.
        n_lines: an answer stops after so many complete lines.
        max_thinking_tokens: longest thoughts of a model that reasons; after so many tokens they are
            closed and the answer begins. 0 lets it answer at once. Other models do not use it.
        kept: folder in which finished batches are kept for a run that is stopped; None keeps none.

    Returns:
        One answer a prompt, in the order given, beginning with `answer_prefix`; where a model has
        thought, its thoughts come first, between the tags of :func:`chat.thinking_tags`.

    Raises:
        StudyError: when prompt and answer are longer than the model's context, when memory runs out, or as
            :func:`chat.render` and :func:`complete`.
    """
    if not prompts:
        return []
    tags = chat.thinking_tags(tokenizer) if max_thinking_tokens else None
    thinking = tags is not None
    ids = [chat.prompt_ids(tokenizer, text, prefix=answer_prefix, thinking=thinking) for text in prompts]
    beginnings, after = [answer_prefix] * len(prompts), []
    if thinking:
        opening, closing = tags
        close, after = (
            tokenizer(text, add_special_tokens=False)["input_ids"]
            for text in (closing, chat.close_thinking("", closing) + answer_prefix)
        )
    _check_length(
        ids,
        context=context_length(model.config, tokenizer),
        max_new_tokens=max_new_tokens,
        n_thinking=max_thinking_tokens + len(after) if thinking else 0,
    )
    follow = partial(complete, model, tokenizer, batch_size=batch_size, kept=kept)
    if thinking:
        # Where the closing tag is several tokens, thoughts are cut at it below.
        stop = close[0] if len(close) == 1 else None
        thoughts = follow(
            ids, max_new_tokens=max_thinking_tokens, label=f"{label}: thoughts", stop_token=stop
        )
        for row, (tokens, text) in enumerate(zip(thoughts, _texts(tokenizer, thoughts), strict=True)):
            if closing in text:
                text = text.partition(closing)[0]
                tokens = tokenizer(text, add_special_tokens=False)["input_ids"]
            ids[row] = ids[row] + tokens + after
            beginnings[row] = f"{opening}\n{chat.close_thinking(text, closing)}{answer_prefix}"
    written = follow(ids, max_new_tokens=max_new_tokens, label=label, n_lines=n_lines)
    texts = _texts(tokenizer, written)
    return [
        beginning + _first_lines(text, n_lines) for beginning, text in zip(beginnings, texts, strict=True)
    ]


@dataclass(frozen=True)
class LoadedModel:
    """A loaded model and how it answers: what :func:`models.language.answers.collect` asks.

    Attributes:
        model, tokenizer: from :func:`models.language.loading.load_model`.
        decoding: keywords of :func:`generate`: `max_new_tokens`, `batch_size`, `n_lines`.
        about: `model` and `revision`, written beside every answer.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    decoding: Mapping[str, int]
    about: Mapping[str, Any]

    def answer(self, prompts: Sequence[str], *, label: str, kept: Path | None = None) -> list[str]:
        """One answer a prompt, in order; `label` and `kept` as :func:`generate`."""
        return generate(self.model, self.tokenizer, prompts, label=label, kept=kept, **self.decoding)


@torch.inference_mode()
def complete(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    ids: Sequence[list[int]],
    *,
    batch_size: int,
    max_new_tokens: int,
    label: str,
    n_lines: int | None = None,
    stop_token: int | None = None,
    kept: Path | None = None,
) -> list[list[int]]:
    """The tokens that greedily follow each list of tokens, without the one that ended them.

    Args:
        ids: what the model reads, begin-of-text token included.
        n_lines: stop after the token that completes so many lines; None does not count lines.
        stop_token: stop at this token too.
        Others as :func:`generate`.

    Returns:
        One list an entry of `ids`, in their order, each at most `max_new_tokens` long.

    Raises:
        StudyError: when memory runs out, or for an architecture that reads batches otherwise than texts
            alone (:mod:`models.language.plain`).
    """
    ends = {*end_tokens(model, tokenizer), stop_token}
    enough = _line_counter(tokenizer, n_lines)
    with memory_errors(_ADVICE.format(batch_size)):
        plain.check_once(model, "answers in batches", partial(_off_in_batches, model))

    def follow(rows: list[int]) -> list[list[int]]:
        batch = tokenizer.pad({"input_ids": [ids[row] for row in rows]}, return_tensors="pt")
        with memory_errors(_ADVICE.format(batch_size)):
            return _follow(model, batch, max_new_tokens=max_new_tokens, ends=ends, enough=enough)

    keeping = None
    if kept:
        limits = {
            "max_new_tokens": max_new_tokens,
            "n_lines": n_lines,
            "ends": sorted(ends - {None}),  # type: ignore[type-var]
        }
        keeping = batches.Keeping(kept, model, limits)
    return batches.run(ids, follow, batch_size=batch_size, label=label, keeping=keeping)


def _follow(
    model: PreTrainedModel,
    batch: BatchEncoding,
    *,
    max_new_tokens: int,
    ends: Container[int | None],
    enough: Callable[[list[int]], bool],
) -> list[list[int]]:
    """Greedy tokens after every row of a batch. Rows that have ended leave it.

    The library's `generate` works on all rows to the end of the longest answer, nearly half of it for
    nothing where answers differ in length.
    """
    ids, mask = batch["input_ids"].to(model.device), batch["attention_mask"].to(model.device)
    # Padding stands on the left: a row's first token has position 0 wherever it stands.
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    cache = DynamicCache(config=model.config)
    written: list[list[int]] = [[] for _ in ids]
    rows = list(range(len(ids)))
    for _ in range(max_new_tokens):
        output = model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        newest = output.logits[:, -1].argmax(dim=-1)
        kept = []
        for place, token in enumerate(newest.tolist()):
            if token in ends:
                continue
            tokens = written[rows[place]]
            tokens.append(token)
            if not enough(tokens):
                kept.append(place)
        if not kept:
            break
        positions = positions[:, -1:] + 1
        if len(kept) < len(rows):
            rows = [rows[place] for place in kept]
            chosen = torch.tensor(kept, device=model.device)
            cache.batch_select_indices(chosen)
            newest, mask, positions = newest[chosen], mask[chosen], positions[chosen]
        ids = newest[:, None]
        mask = torch.cat([mask, mask.new_ones(len(rows), 1)], dim=1)
    return written


def _off_in_batches(model: PreTrainedModel, draw: int) -> float:
    """Largest difference of a written token's log-probability from plain reading, in nats."""
    n_new = 4
    longest = min(plain.LONGEST, plain.positions(model.config) - n_new)
    prompts = plain.tokens(model, longest, 40, 3, draw=draw)
    batch = plain.padded(prompts)
    # The longest leaves after its first token; the others go on.
    leaves = itertools.chain([True], itertools.repeat(False))
    seen: list[list[float]] = []
    hook = model.register_forward_hook(
        lambda module, inputs, output: seen.append(
            output.logits[:, -1].float().log_softmax(-1).amax(-1).tolist()
        )
    )
    try:
        written = _follow(model, batch, max_new_tokens=n_new, ends=(), enough=lambda _: next(leaves))
    finally:
        hook.remove()
    values = [
        [seen[0][0]],
        *([step[row - len(prompts)] for step in seen] for row in range(1, len(prompts))),
    ]
    off = [
        abs(value - float(plain.log_probabilities(model, ids + new)[len(ids) - 1 + step, token]))
        for ids, new, by_batch in zip(prompts, written, values, strict=True)
        for step, (token, value) in enumerate(zip(new, by_batch, strict=True))
    ]
    return max(off)


def _line_counter(tokenizer: PreTrainedTokenizerBase, n_lines: int | None) -> Callable[[list[int]], bool]:
    """Tells whether tokens, of which the last is new, hold `n_lines` complete, non-empty lines."""
    breaks: dict[int, bool] = {}

    def enough(tokens: list[int]) -> bool:
        if n_lines is None:
            return False
        # Decoding every answer at every step would cost more than a small model's own work.
        last = tokens[-1]
        if last not in breaks:
            breaks[last] = "\n" in tokenizer.decode([last], skip_special_tokens=True)
        return breaks[last] and _n_complete(tokenizer.decode(tokens, skip_special_tokens=True)) >= n_lines

    return enough


def _texts(tokenizer: PreTrainedTokenizerBase, written: Sequence[list[int]]) -> list[str]:
    """Texts without special tokens, except tags around thoughts, which would read as answers."""
    tags = set(itertools.chain.from_iterable(chat.TAGS))
    special = tokenizer.added_tokens_decoder.items()
    kept = {number: one.content for number, one in special if one.special and one.content in tags}
    return [
        "".join(
            tag or tokenizer.decode(list(run), skip_special_tokens=True)
            for tag, run in itertools.groupby(tokens, key=kept.get)
        )
        for tokens in written
    ]


def context_length(settings: PretrainedConfig, tokenizer: PreTrainedTokenizerBase) -> int:
    """Most tokens of prompt and answer together; a very large number where neither side has a limit."""
    return min(plain.positions(settings), int(tokenizer.model_max_length))


def _n_complete(text: str) -> int:
    return sum(bool(line.strip()) for line in text.split("\n")[:-1])


def _first_lines(text: str, n_lines: int) -> str:
    """The text up to and with its `n_lines`-th complete non-empty line: a token may reach beyond."""
    lines = text.split("\n")
    for count in range(1, len(lines)):
        beginning = "\n".join(lines[:count]) + "\n"
        if _n_complete(beginning) >= n_lines:
            return beginning
    return text


def _check_length(ids: Sequence[list[int]], *, context: int, max_new_tokens: int, n_thinking: int) -> None:
    longest = max(range(len(ids)), key=lambda row: len(ids[row]))
    allowed = context - max_new_tokens - n_thinking
    if len(ids[longest]) > allowed:
        answers = f"{max_new_tokens} of an answer" + (
            f" and {n_thinking} of thoughts" if n_thinking else ""
        )
        raise StudyError(
            f"prompt {longest + 1} of {len(ids)} has {len(ids[longest])} tokens; with {answers} that is"
            f" more than the {context} the model can read: lower n_recent, max_new_tokens"
            f"{' or max_thinking_tokens' if n_thinking else ''}"
        )

"""Free-form generation with a causal language model, many prompts at once.

A batch answers what one prompt alone answers, but for rounding: padding and the batch's width change the
order in which floating-point sums are taken, which moves single-precision logits in their last digits.
A greedy answer differs only where two tokens are that close. Batches hang on the prompts and
`batch_size` alone, so that the same call gives the same answers on the same machine.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial

import torch
from tqdm import tqdm
from transformers import (
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    StoppingCriteria,
    StoppingCriteriaList,
)

from dualrec_utils import chat
from dualrec_utils.errors import StudyError
from dualrec_utils.loading import memory_errors
from dualrec_utils.prompts import ANSWER_PREFIX

# Token lists in, tokens that follow each out; keywords as in `complete`.
Complete = Callable[..., list[list[int]]]


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
) -> list[str]:
    """Greedy answers. Prompts of like length share a batch.

    Args:
        model, tokenizer: from :func:`dualrec_utils.loading.load_model`.
        prompts: from :func:`dualrec_utils.prompts.build_prompts`.
        max_new_tokens: longest answer in tokens, prefix and thoughts not counted.
        batch_size: prompts answered at once.
        label: shown beside the progress bar.
        answer_prefix: put after every prompt and kept as the beginning of every answer.
        n_lines: an answer stops after so many complete lines.
        max_thinking_tokens: longest thoughts of a model that reasons; after so many tokens they are
            closed and the answer begins. 0 lets it answer at once. Other models do not use it.

    Returns:
        One answer a prompt, in the order given, beginning with `answer_prefix`; where a model has
        thought, its thoughts come first, between `<think>` and `</think>`.

    Raises:
        StudyError: when prompt and answer are longer than the model's context, or memory runs out.
    """
    return answer(
        partial(complete, model, tokenizer, batch_size=batch_size),
        tokenizer,
        prompts,
        context=context_length(model.config, tokenizer),
        max_new_tokens=max_new_tokens,
        label=label,
        answer_prefix=answer_prefix,
        n_lines=n_lines,
        max_thinking_tokens=max_thinking_tokens,
    )


def answer(
    complete: Complete,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    *,
    context: int,
    max_new_tokens: int,
    label: str,
    answer_prefix: str = ANSWER_PREFIX,
    n_lines: int = 3,
    max_thinking_tokens: int = 0,
) -> list[str]:
    """As :func:`generate`, whatever continues the tokens.

    Args:
        complete: as :func:`complete` with its first two arguments and `batch_size` given.
        context: most tokens the model reads and writes, from :func:`context_length`.
    """
    if not prompts:
        return []
    thinking = max_thinking_tokens > 0 and chat.reasons(tokenizer)
    ids = [chat.prompt_ids(tokenizer, text, prefix=answer_prefix, thinking=thinking) for text in prompts]
    beginnings = [answer_prefix] * len(prompts)
    # What closes the thoughts is a handful of tokens.
    after = tokenizer(chat.close_thinking("") + answer_prefix, add_special_tokens=False)["input_ids"]
    n_thinking = max_thinking_tokens + len(after) if thinking else 0
    _check_length(ids, context=context, max_new_tokens=max_new_tokens, n_thinking=n_thinking)
    if thinking:
        close = tokenizer.convert_tokens_to_ids(chat.CLOSE)
        thoughts = complete(
            ids, max_new_tokens=max_thinking_tokens, label=f"{label}: thoughts", stop_token=close
        )
        ids = [before + thought + after for before, thought in zip(ids, thoughts, strict=True)]
        beginnings = [
            f"{chat.OPEN}\n{chat.close_thinking(text)}{answer_prefix}"
            for text in tokenizer.batch_decode(thoughts, skip_special_tokens=True)
        ]
    written = complete(ids, max_new_tokens=max_new_tokens, label=label, n_lines=n_lines)
    texts = tokenizer.batch_decode(written, skip_special_tokens=True)
    return [
        beginning + _first_lines(text, n_lines) for beginning, text in zip(beginnings, texts, strict=True)
    ]


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
        StudyError: when memory runs out.
    """
    own = model.generation_config.eos_token_id
    ends = [*(own if isinstance(own, list) else [own] if own is not None else [])]
    if stop_token is not None:
        ends.append(stop_token)
    order = sorted(range(len(ids)), key=lambda row: (len(ids[row]), row))
    written: list[list[int]] = [[] for _ in ids]
    with tqdm(total=len(ids), desc=label, unit="prompt") as bar:
        for first in range(0, len(order), batch_size):
            rows = order[first : first + batch_size]
            batch = tokenizer.pad({"input_ids": [ids[row] for row in rows]}, return_tensors="pt")
            start = batch["input_ids"].shape[1]
            counting = [_EnoughLines(tokenizer, start=start, n_lines=n_lines)] if n_lines else []
            with memory_errors(f"lower batch_size ({batch_size}), or set quantization to nf4 (on a GPU)"):
                output = model.generate(
                    **batch.to(model.device),
                    max_new_tokens=max_new_tokens,
                    do_sample=False,
                    num_beams=1,
                    eos_token_id=ends or None,
                    pad_token_id=tokenizer.pad_token_id,
                    stopping_criteria=StoppingCriteriaList(counting),
                )
            for row, new in zip(rows, output[:, start:].tolist(), strict=True):
                written[row] = _ended(new, ends, pad=tokenizer.pad_token_id)
            bar.update(len(rows))
    return written


def context_length(settings: PretrainedConfig, tokenizer: PreTrainedTokenizerBase) -> int:
    """Most tokens of prompt and answer together; a very large number where neither side has a limit."""
    positions = getattr(settings.get_text_config(), "max_position_embeddings", None)
    return min(positions or sys.maxsize, int(tokenizer.model_max_length))


class _EnoughLines(StoppingCriteria):
    """Ends a sequence once its answer holds `n_lines` complete, non-empty lines."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, *, start: int, n_lines: int):
        self.tokenizer, self.start, self.n_lines = tokenizer, start, n_lines
        self.breaks: dict[int, bool] = {}

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs) -> torch.Tensor:
        enough = [False] * len(input_ids)
        for row, token in enumerate(input_ids[:, -1].tolist()):
            # Decoding every answer at every step would cost more than a small model's own work.
            if token not in self.breaks:
                self.breaks[token] = "\n" in self.tokenizer.decode([token], skip_special_tokens=True)
            if self.breaks[token]:
                text = self.tokenizer.decode(input_ids[row, self.start :], skip_special_tokens=True)
                enough[row] = _n_complete(text) >= self.n_lines
        return torch.tensor(enough, device=input_ids.device)


def _ended(new: list[int], ends: Sequence[int], *, pad: int) -> list[int]:
    """A row of a batch up to the token that ended it, or up to the padding where lines did."""
    length = next((place for place, token in enumerate(new) if token in ends), len(new))
    if length == len(new):
        while length and new[length - 1] == pad:
            length -= 1
    return new[:length]


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

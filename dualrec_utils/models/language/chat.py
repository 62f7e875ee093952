"""What exactly a language model is given: plain text, or a turn of its chat template, as text and tokens.

Generation, constrained decoding and training all go through :func:`prompt_ids`, so that an adapter is
asked in the very tokens it was taught with.

Models that reason (DeepSeek-R1 and its distillations, Qwen3, Magistral) write their thoughts between two
tags before they answer. Without `thinking` their thoughts are closed empty and the answer follows at once,
as for every other model: that is what training, constrained decoding and adapters use.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from functools import lru_cache

from transformers import PreTrainedTokenizerBase
from transformers.utils.chat_template_utils import render_jinja_template

from dualrec_utils.core.errors import StudyError, first_line
from dualrec_utils.models.language.prompts import ANSWER_PREFIX

# The day that templates with a date print: prompts and scores are the same on every day.
DATE = date(2025, 1, 1)
# Templates ask for it as the function strftime_now, in whose place this one stands.
_CALENDAR = (
    "{%- macro strftime_now(format) -%}{{ format"
    + "".join(
        f"|replace('%{flag}{letter}', '{DATE.strftime('%' + flag + letter)}')"
        for flag in ("", "-")
        for letter in "aAbBcdHIjmMpSUwWxXyY"
    )
    + " }}{% endmacro %}{{ '' }}"
)
TAGS = (
    ("<think>", "</think>"),
    ("[THINK]", "[/THINK]"),
    ("<thinking>", "</thinking>"),
    ("<seed:think>", "</seed:think>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
)
# How DeepSeek-R1 writes what stands between its thoughts and its answer.
AFTER_THINKING = "\n\n"


def render(
    tokenizer: PreTrainedTokenizerBase, prompt: str, *, prefix: str = ANSWER_PREFIX, thinking: bool = False
) -> str:
    """The text a model reads: the prompt as its chat template has it, then the beginning of its answer.

    Args:
        tokenizer: with a chat template, which gets the prompt as the user's turn, or without: then the
            prompt stands as it is.
        prompt: from :func:`models.language.prompts.build_prompts`.
        prefix: put where the answer begins; in training the whole answer.
        thinking: let a model that reasons begin with its thoughts; `prefix` is then left out. Others
            never do.

    Returns:
        Text that holds its special tokens where a chat template wrote it, and none elsewhere.

    Raises:
        StudyError: when the chat template fails or leaves the prompt out, or there are several and none is
            the default.
    """
    if tokenizer.chat_template is None:
        return prompt + prefix
    tags = thinking_tags(tokenizer)
    # Templates write the line breaks around a turn themselves.
    text = _fill(_template(tokenizer), prompt.strip(), thinking=thinking, **tokenizer.special_tokens_map)
    if tags is None:
        return text + prefix
    opening, closing = tags
    written = text.rstrip()
    if not thinking and written.endswith(closing):
        return text + prefix
    if not written.endswith(opening):
        text += opening + "\n"
    return text if thinking else text + close_thinking("", closing) + prefix


def prompt_ids(
    tokenizer: PreTrainedTokenizerBase, prompt: str, *, prefix: str = ANSWER_PREFIX, thinking: bool = False
) -> list[int]:
    """Tokens of :func:`render`, with one begin-of-text token where the model has one.

    For training, `prompt_ids(tokenizer, prompt, prefix=answer)` are the tokens of prompt and answer
    together; those of `prompt_ids(tokenizer, prompt)` carry no loss.
    """
    text = render(tokenizer, prompt, prefix=prefix, thinking=thinking)
    # A chat template writes the begin-of-text token itself; the tokenizer would add a second one.
    return tokenizer(text, add_special_tokens=tokenizer.chat_template is None)["input_ids"]


def thinking_tags(tokenizer: PreTrainedTokenizerBase) -> tuple[str, str] | None:
    """The tags between which a model thinks before it answers; None where it does not.

    Its chat template tells: it writes such a tag where the answer begins or in the instructions, with
    thinking switched on, off or as it is by default; or it leaves earlier thoughts out of a conversation
    (DeepSeek-R1). That a tag is in the vocabulary tells nothing.
    """
    return None if tokenizer.chat_template is None else _tags_of(_template(tokenizer))


def close_thinking(thoughts: str, closing: str) -> str:
    """Thoughts, finished or cut, with the tag that ends them and what stands before an answer."""
    return f"{thoughts.rstrip()}\n{closing}{AFTER_THINKING}"


@lru_cache
def _tags_of(template: str) -> tuple[str, str] | None:
    written = "".join(_fill(template, "Hello", thinking=thinking) for thinking in (None, True, False))
    with _template_errors():
        if "Hello" not in written:
            raise ValueError("it leaves out what the user says")
    for opening, closing in TAGS:
        if opening in written or closing in written:
            return opening, closing
        reply = {"role": "assistant", "content": f"{opening}Earlier thoughts{closing}Earlier reply"}
        filled = _fill(template, "Hello", reply)
        if "Earlier reply" in filled and "Earlier thoughts" not in filled:
            return opening, closing
    return None


def _fill(
    template: str, prompt: str, *turns: dict[str, str], thinking: bool | None = None, **special: str
) -> str:
    """A chat template filled with a user's turn and those that follow; `thinking` None is its default."""
    # Models call the switch by either name.
    switch = {} if thinking is None else {"enable_thinking": thinking, "thinking": thinking}
    conversation = [{"role": "user", "content": prompt}, *turns]
    special = dict.fromkeys(("bos_token", "eos_token", "pad_token", "unk_token"), "") | special
    with _template_errors():
        (text,), _ = render_jinja_template(
            [conversation], chat_template=template, add_generation_prompt=not turns, **special, **switch
        )
    return text


def _template(tokenizer: PreTrainedTokenizerBase) -> str:
    """The chat template, in which every date is :data:`DATE`."""
    with _template_errors():
        template = tokenizer.get_chat_template()
        return _CALENDAR + template if "strftime_now" in template else template


@contextmanager
def _template_errors() -> Iterator[None]:
    try:
        yield
    # A template is a stranger's program, and fails as programs do.
    except Exception as error:
        reason = first_line(error)
        raise StudyError(
            f"the model's chat template cannot write a user's turn: {reason}. Correct chat_template in the"
            " model's folder (one template, or one named default), or remove it to ask in plain text"
        ) from error

"""What exactly a language model is given: plain text, or a turn of its chat template, as text and tokens.

Generation, constrained decoding and training all go through :func:`prompt_ids`, so that an adapter is
asked in the very tokens it was taught with.

Models that reason (DeepSeek-R1 and its distillations) write their thoughts between `<think>` and
`</think>` before they answer. Without `thinking` their thoughts are closed empty and the answer follows
at once, as for every other model: that is what training, constrained decoding and adapters use.
"""

from __future__ import annotations

from transformers import PreTrainedTokenizerBase

from dualrec_utils.models.language.prompts import ANSWER_PREFIX

OPEN, CLOSE = "<think>", "</think>"
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
    """
    if tokenizer.chat_template is None:
        return prompt + prefix
    # Templates write the line breaks around a turn themselves.
    turn = [{"role": "user", "content": prompt.strip()}]
    text = tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
    if not reasons(tokenizer):
        return text + prefix
    if not text.rstrip().endswith(OPEN):
        text += OPEN + "\n"
    return text if thinking else text + close_thinking("") + prefix


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


def reasons(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the model thinks before it answers: the end of its thoughts is a token of its own."""
    return tokenizer.chat_template is not None and CLOSE in tokenizer.get_vocab()


def close_thinking(thoughts: str) -> str:
    """Thoughts, finished or cut, with their end and what stands before an answer."""
    return f"{thoughts.rstrip()}\n{CLOSE}{AFTER_THINKING}"

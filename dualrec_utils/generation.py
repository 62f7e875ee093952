"""Free-form generation with a causal language model, many prompts at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from tqdm import tqdm
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    StoppingCriteria,
    StoppingCriteriaList,
)

from dualrec_utils.prompts import ANSWER_PREFIX


class _EnoughLines(StoppingCriteria):
    """Ends a sequence once its answer holds `n_lines` complete, non-empty lines."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, *, start: int, n_lines: int):
        self.tokenizer, self.start, self.n_lines = tokenizer, start, n_lines

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs) -> torch.Tensor:
        answers = self.tokenizer.batch_decode(input_ids[:, self.start :], skip_special_tokens=True)
        complete = [sum(bool(line.strip()) for line in text.split("\n")[:-1]) for text in answers]
        return torch.tensor([n >= self.n_lines for n in complete], device=input_ids.device)


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
) -> list[str]:
    """Greedy answers. Prompts of like length share a batch, so that reruns pad and answer alike.

    Args:
        prompts: from :func:`dualrec_utils.prompts.build_prompts`.
        max_new_tokens: longest answer in tokens, the prefix not counted.
        batch_size: prompts answered at once.
        label: shown beside the progress bar.
        answer_prefix: put after every prompt and kept as the beginning of every answer.
        n_lines: an answer stops after so many complete lines.

    Returns:
        One answer a prompt, in the order given, beginning with `answer_prefix`.
    """
    if not prompts:
        return []
    encoded = tokenizer([prompt + answer_prefix for prompt in prompts])["input_ids"]
    order = sorted(range(len(prompts)), key=lambda row: (len(encoded[row]), row))
    answers: list[str] = [""] * len(prompts)
    with torch.inference_mode(), tqdm(total=len(prompts), desc=label, unit="prompt") as bar:
        for first in range(0, len(order), batch_size):
            rows = order[first : first + batch_size]
            batch = tokenizer.pad({"input_ids": [encoded[row] for row in rows]}, return_tensors="pt")
            start = batch["input_ids"].shape[1]
            output = model.generate(
                **batch.to(model.device),
                max_new_tokens=max_new_tokens,
                do_sample=False,
                num_beams=1,
                pad_token_id=tokenizer.pad_token_id,
                stopping_criteria=StoppingCriteriaList(
                    [_EnoughLines(tokenizer, start=start, n_lines=n_lines)]
                ),
            )
            texts = tokenizer.batch_decode(output[:, start:], skip_special_tokens=True)
            for row, text in zip(rows, texts, strict=True):
                answers[row] = answer_prefix + text
            bar.update(len(rows))
    return answers

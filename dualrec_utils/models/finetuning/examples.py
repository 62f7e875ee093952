"""What LoRA teaches: one instruction example a user, made as in the paper's section 4.2.3.

The prompt is that of Stage 2, made from the history before the second in which its last five items begin;
the answer is three of those five. Loss is taken on the answer alone, as the paper describes its objective.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from transformers import PreTrainedTokenizerBase

from dualrec_utils.core.catalog import Catalog
from dualrec_utils.core.config import CASE, HISTORY, USER
from dualrec_utils.core.errors import StudyError
from dualrec_utils.core.splits import WINDOW, check_apart
from dualrec_utils.models.language.chat import prompt_ids
from dualrec_utils.models.language.prompts import ANSWER_PREFIX, build_prompts, format_answer

PROMPT, ANSWER, ANSWER_ITEMS, TARGET_USER = "prompt", "answer", "answer_items", "answer_of_user"
# Label of a token without loss, as torch and transformers have it.
IGNORED = -100


def instruction_data(
    histories: Mapping[int, np.ndarray],
    earlier: Mapping[int, np.ndarray],
    catalog: Catalog,
    splits: pd.DataFrame,
    *,
    hints: pd.Series | None,
    seed: int,
    n_recent: int = 5,
    n_titles: int = 3,
    split: str = "train",
) -> pd.DataFrame:
    """One example a user: prompt from the earlier history, answer from the last five items.

    The three items of the answer are drawn from the five by the seed and stand in the order watched:
    the paper says both "three titles are randomly selected" and "the next three items the user
    actually watched".

    Args:
        histories: user -> item ids, oldest first, from :func:`core.splits.load_histories`.
        earlier: what of them the prompt may show, from :func:`core.splits.load_earlier`. A user that it
            lacks has no item before the second of the last five, and gives no example.
        hints: user -> the LSTM's item for `earlier`; None leaves the line out.
        seed: of the draw; a user's draw depends on seed and user alone.
        n_recent: items of the history in the prompt. n_titles: items of the answer, 1 to 5.
        split: the part that all users must belong to, `train` or `validation`.

    Returns:
        Frame sorted by user of `earlier`: `user_id`, `prompt`, `answer`, `answer_items`, `answer_of_user`
        (the same user here, another one after :func:`permute_answers`).

    Raises:
        StudyError: when a user belongs to another part, the part is test, or a hint is missing.
    """
    if split == "test":
        raise StudyError("examples of split 'test' would show a model the answers; use its cases")
    check_apart(histories, splits, split=split)
    users = sorted(earlier)
    for user in users:
        if not 0 < len(earlier[user]) <= len(histories[user]) - WINDOW:
            raise StudyError(
                f"user {user}: the prompt's history must hold at least one item and none of the last"
                f" {WINDOW}; it holds {len(earlier[user])} of {len(histories[user])}"
            )
    contexts = pd.DataFrame({CASE: users, HISTORY: [earlier[user] for user in users]})
    names, answers = catalog.names, []
    for user in users:
        chosen = np.random.default_rng([seed, user]).choice(WINDOW, size=n_titles, replace=False)
        answers.append([int(item) for item in histories[user][-WINDOW:][np.sort(chosen)]])
    return pd.DataFrame(
        {
            USER: users,
            PROMPT: build_prompts(contexts, catalog, hints=hints, n_recent=n_recent, n_titles=n_titles),
            ANSWER: [format_answer([names[item] for item in answer]) for answer in answers],
            ANSWER_ITEMS: answers,
            TARGET_USER: users,
        }
    )


def permute_answers(examples: pd.DataFrame, *, seed: int) -> pd.DataFrame:
    """The same prompts, each with the answer of another user: what is left to learn is format.

    Users are put on one circle in an order drawn from the seed and each gets the next one's answer, so
    that nobody keeps their own.

    Args:
        examples: from :func:`instruction_data`, at least two rows.
        seed: of the order.
    """
    if len(examples) < 2:
        raise StudyError(f"{len(examples)} example cannot be permuted between users; at least 2 are needed")
    circle = np.random.default_rng(seed).permutation(len(examples))
    giver = np.empty_like(circle)
    giver[circle] = np.roll(circle, -1)
    columns = [ANSWER, ANSWER_ITEMS, TARGET_USER]
    given = {column: examples[column].to_numpy()[giver] for column in columns}
    return examples.assign(**given)


def encode(
    examples: pd.DataFrame, tokenizer: PreTrainedTokenizerBase, *, max_tokens: int
) -> list[dict[str, list[int]]]:
    """Token ids and labels of every example; labels are -100 where no loss is taken.

    Generation gives every model the prompt, as its chat template has it, and the first bullet, so these
    carry no loss; what follows and the token that ends an answer do.

    Args:
        examples: from :func:`instruction_data`.
        max_tokens: longest example (paper section 4.2.3: 512).

    Returns:
        One dict an example with `input_ids`, `attention_mask` and `labels`, equally long.

    Raises:
        StudyError: when an example is longer, or the tokenizer joins the first bullet to what follows,
            so that training and generation would see different tokens.
    """
    encoded = []
    for user, prompt, answer in zip(examples[USER], examples[PROMPT], examples[ANSWER], strict=True):
        start = prompt_ids(tokenizer, prompt)
        ids = [*prompt_ids(tokenizer, prompt, prefix=answer), tokenizer.eos_token_id]
        if ids[: len(start)] != start:
            raise StudyError(
                f"the tokenizer cuts prompt and answer of user {user} differently together and apart:"
                f" begin answers with another prefix than {ANSWER_PREFIX!r}"
            )
        if len(ids) > max_tokens:
            raise StudyError(
                f"the example of user {user} has {len(ids)} tokens, max_tokens is {max_tokens}:"
                " raise it or lower n_recent"
            )
        labels = [IGNORED] * len(start) + ids[len(start) :]
        encoded.append({"input_ids": ids, "attention_mask": [1] * len(ids), "labels": labels})
    return encoded

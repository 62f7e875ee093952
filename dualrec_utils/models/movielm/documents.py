"""What the small language model reads: its tokenizer, and histories as documents and batches.

Part of the documents is interrupted by paragraphs of random tokens that carry no loss. Without them the
words of a prompt, which no title contains, derail the model: their vectors are never trained. With them
it learns to read past words it does not know; what such words ask for it does not learn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from dualrec_utils.core.catalog import Catalog
from dualrec_utils.core.errors import StudyError
from dualrec_utils.models.language import prompts

SPECIAL_TOKENS = ("<unk>", "<s>", "</s>", "<pad>")
IGNORED = -100
_SORTED_TOGETHER = 8
# Paragraphs of random tokens in an interrupted document, and tokens of each: fewest, and one above most.
_N_PARAGRAPHS, _PARAGRAPH_TOKENS = (1, 3), (8, 41)
# A word with the space, bracket or comma that touches it, so that " (1995)" can be one token; else a run
# of marks; else white space, a line break never joined to what follows.
_PIECE = r" ?\(?[\p{L}\p{N}']+[,)]?| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


def train_tokenizer(catalog: Catalog, *, vocabulary: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of the catalog's lines and the prompt's wording.

    Args:
        vocabulary: most tokens, special ones included; at least 300 (256 bytes and 4 special ones).

    Returns:
        The tokenizer, which puts `<s>` first and pads on the left.
    """
    domain, hint = catalog.domain, prompts.HINT.format(title="")
    wording = [prompts.header(domain), hint, prompts.request(domain, n_titles=3)]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECE), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator([*prompts.lines_of(catalog).values(), *wording], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
    )
    names = dict(zip(("unk_token", "bos_token", "eos_token", "pad_token"), SPECIAL_TOKENS, strict=True))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, padding_side="left", clean_up_tokenization_spaces=False, **names
    )


class Documents:
    """Turns histories into token sequences: `<s>`, the prompts' header, one line an item.

    Args:
        tokenizer: from :func:`train_tokenizer`.
        max_tokens: longest document.
    """

    def __init__(self, catalog: Catalog, tokenizer: PreTrainedTokenizerFast, *, max_tokens: int):
        names, lines = catalog.names, prompts.lines_of(catalog)

        def encode(text: str) -> list[int]:
            return tokenizer(text, add_special_tokens=False)["input_ids"]

        self.max_tokens = max_tokens
        self.line_break = encode("\n")
        self.words = np.arange(len(SPECIAL_TOKENS), len(tokenizer))
        self.header = [tokenizer.bos_token_id, *encode(prompts.header(catalog.domain) + "\n")]
        self.plain = {item: encode(f"- {name}\n") for item, name in names.items()}
        self.with_genres = {item: encode(f"{line}\n") for item, line in lines.items()}
        longest = max(map(len, self.with_genres.values()))
        if max_tokens < len(self.header) + 2 * longest:
            raise StudyError(
                f"max_tokens is {max_tokens}; it must be at least {len(self.header) + 2 * longest}, the"
                " header and two of the longest lines"
            )

    def document(self, history: Sequence[int], *, genres: bool, budget: int) -> tuple[list[int], list[int]]:
        """One document of the first items of `history` that fit into `budget` tokens, at least one.

        Returns:
            (token ids, number of tokens of each line after the header).
        """
        lines = self.with_genres if genres else self.plain
        ids, lengths = list(self.header), []
        for item in history:
            line = lines[int(item)]
            if lengths and len(ids) + len(line) > budget:
                break
            ids += line
            lengths.append(len(line))
        return ids, lengths

    def epoch(
        self,
        histories: Mapping[int, np.ndarray],
        *,
        genre_share: float,
        noise_share: float,
        rng: np.random.Generator,
    ) -> list[tuple[list[int], list[int]]]:
        """All histories cut into consecutive documents, every item in exactly one.

        The first document of a user has a random length, so that cuts fall elsewhere in each epoch.

        Returns:
            (token ids, labels) of each document; labels are the ids, -100 where a token carries no loss.
        """
        documents = []
        for user in sorted(histories):
            history, start = histories[user], 0
            budget = int(rng.integers(self.max_tokens // 4, self.max_tokens + 1))
            while start < len(history):
                genres, noisy = rng.random(2) < (genre_share, noise_share)
                ids, lengths = self.document(history[start:], genres=bool(genres), budget=budget)
                documents.append(self._interrupted(ids, lengths, rng) if noisy else (ids, ids))
                start += len(lengths)
                budget = self.max_tokens
        return documents

    def _interrupted(
        self, ids: list[int], lengths: list[int], rng: np.random.Generator
    ) -> tuple[list[int], list[int]]:
        """A document with paragraphs of random tokens after one of its lines, as a prompt has them."""
        noise = list(self.line_break)
        for _ in range(int(rng.integers(*_N_PARAGRAPHS))):
            words = rng.choice(self.words, size=int(rng.integers(*_PARAGRAPH_TOKENS)))
            noise += [*words.tolist(), *self.line_break, *self.line_break]
        at = len(self.header) + sum(lengths[: int(rng.integers(1, len(lengths) + 1))])
        return [*ids[:at], *noise, *ids[at:]], [*ids[:at], *[IGNORED] * len(noise), *ids[at:]]


def batches(
    documents: Sequence[tuple[Sequence[int], Sequence[int]]],
    *,
    batch_size: int,
    pad: int,
    rng: np.random.Generator,
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Shuffle documents into batches of like length, padded on the right.

    Returns:
        (ids, labels), each of shape (at most batch_size, longest document of the batch).
    """
    order = rng.permutation(len(documents))
    pool = batch_size * _SORTED_TOGETHER
    rows = []
    for first in range(0, len(order), pool):
        together = sorted(order[first : first + pool], key=lambda row: (len(documents[row][0]), row))
        rows += [together[i : i + batch_size] for i in range(0, len(together), batch_size)]
    return [padded([documents[row] for row in rows[i]], pad) for i in rng.permutation(len(rows))]


def padded(
    documents: Sequence[tuple[Sequence[int], Sequence[int]]], pad: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Documents of (ids, labels) padded on the right, labels with :data:`IGNORED`; both (n, longest)."""
    width = max(len(ids) for ids, _ in documents)
    ids = [[*ids, *[pad] * (width - len(ids))] for ids, _ in documents]
    labels = [[*labels, *[IGNORED] * (width - len(labels))] for _, labels in documents]
    return torch.tensor(ids), torch.tensor(labels)

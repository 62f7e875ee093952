"""What asking a hosted model takes: tokens and cost estimated before, counted after, and capped."""

from __future__ import annotations

import math
import threading
from collections import Counter

from dualrec_utils.models.backends.chat_api import Failure, Reply

# English prompts of this study have about 3.8 bytes a token in MiniLM's vocabulary; other tokenizers cut
# finer, and an estimate of a cost should not be too low.
BYTES_PER_TOKEN = 3
# What a chat template adds to a message.
TOKENS_PER_MESSAGE = 8


def estimated_tokens(prompt: str) -> int:
    """Tokens of a prompt by the study's rule: a token every three bytes of UTF-8, plus eight.

    >>> estimated_tokens("Heat (1995)")
    12
    """
    return math.ceil(len(prompt.encode()) / BYTES_PER_TOKEN) + TOKENS_PER_MESSAGE


class Ledger:
    """What one run sent and used, and whether it may send more. Threads share it.

    Args:
        max_requests: requests, retries included.
        max_tokens: tokens of prompts and answers; requests under way count at their most.

    `counts` holds `n_requests`, `n_retries` and `n_unreadable`; `prompt_tokens`, `completion_tokens` and
    `cost` as far as they are known; `tokens_assumed`, the tokens set aside for requests that may have
    been billed without a word about it; `n_unpriced`, the replies of unknown cost.
    """

    def __init__(self, *, max_requests: int, max_tokens: int):
        self.counts: Counter[str] = Counter()
        self._max_requests, self._max_tokens = max_requests, max_tokens
        self._reserved = 0
        self._lock = threading.Lock()

    def reserve(self, tokens: int) -> str | None:
        """Set `tokens` aside for a request and count it; where a cap forbids it, the reason why not."""
        with self._lock:
            used = sum(self.counts[n] for n in ("prompt_tokens", "completion_tokens", "tokens_assumed"))
            if self.counts["n_requests"] >= self._max_requests:
                return f"the cap max_requests = {self._max_requests:,} of one run is reached"
            if used + self._reserved + tokens > self._max_tokens:
                return (
                    f"the cap max_run_tokens = {self._max_tokens:,} of one run is reached ({used:,} used,"
                    f" {self._reserved:,} set aside for requests under way, {tokens:,} for the next)"
                )
            self.counts["n_requests"] += 1
            self._reserved += tokens
            return None

    def settle(self, reserved: int, outcome: Reply | Failure, *, cost: float | None) -> None:
        """Put what a request took in the place of what was set aside for it.

        Args:
            reserved: as given to :meth:`reserve`.
            outcome: what came of it.
            cost: of a reply, None where it is not known.
        """
        with self._lock:
            self._reserved -= reserved
            if isinstance(outcome, Reply):
                if cost is None:
                    self.counts["n_unpriced"] += 1
                else:
                    self.counts["cost"] += cost
                if outcome.prompt_tokens is None or outcome.completion_tokens is None:
                    self.counts["tokens_assumed"] += reserved
                else:
                    self.counts["prompt_tokens"] += outcome.prompt_tokens
                    self.counts["completion_tokens"] += outcome.completion_tokens
            elif outcome.status in (None, 200):
                # Begun and not told what it took; an error status is not billed.
                self.counts["tokens_assumed"] += reserved

    def count(self, name: str) -> int:
        """Add one to a count and return it."""
        with self._lock:
            self.counts[name] += 1
            return self.counts[name]

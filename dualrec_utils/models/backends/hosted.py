"""Language models behind an OpenAI-compatible API (the paper's DeepSeek V3 and Ministral 8B, section 5.2).

Answers are greedy (temperature 0) with the study's seed. What becomes of a request:

- **an answer**: stored at once in `data/answers/<host>/`, so that no later run pays for it again;
- **an empty answer**: asked again unless it was cut or filtered, then stored: a miss, and counted;
- **a rate limit, server error, time-out or lost connection**: asked again with growing, random waits
  (what the provider asks for in `Retry-After`, if longer); after `n_retries` the run stops;
- **no chat completion** (a web page, broken JSON): asked again, then an empty answer for this run, counted
  and not stored; more than `max_unreadable` of them stop the run;
- **a refusal** (key, credit, unknown model), or a cap reached: the run stops at once.

A stopped run ends in one message and keeps every answer received; started again, it asks for the rest.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from dualrec_utils.core.errors import StudyError
from dualrec_utils.models.backends import answer_cache
from dualrec_utils.models.backends.backend import Backend
from dualrec_utils.models.backends.chat_api import ChatApi, Failure, Reply, host_of
from dualrec_utils.models.backends.spending import Ledger, estimated_tokens

# Seconds of the first wait and of its random part; each further one is twice as long, up to the last.
FIRST_WAIT, LAST_WAIT = 1.0, 60.0


@dataclass(frozen=True)
class HostedSettings:
    """How a provider is asked, and how much at most.

    Args:
        base_url: address of the API, with its version.
        key_variable: environment variable that holds the key; the key is written nowhere.
        concurrency: requests under way at once.
        timeout_seconds: of one request.
        n_retries: times a request is sent again.
        longest_wait_seconds: longest `Retry-After` that is waited for; beyond it the run stops.
        max_requests: requests of a run, retries included.
        max_run_tokens: tokens of a run, prompts and answers; those under way count at their most.
        max_unreadable: prompts of a run that may end without a chat completion.
        prices: model -> (US dollars a million prompt tokens, a million answer tokens).
        extra_body: further fields of every request, e.g. OpenRouter's `provider` rules. A null leaves a
            field out of the request, also one that the study sends by itself: `temperature`, `seed`,
            `max_tokens` (newer models want `max_completion_tokens` in its place).
    """

    base_url: str
    key_variable: str
    concurrency: int
    timeout_seconds: float
    n_retries: int
    longest_wait_seconds: float
    max_requests: int
    max_run_tokens: int
    max_unreadable: int
    prices: Mapping[str, Sequence[float]]
    extra_body: Mapping[str, Any]


class HostedBackend(Backend):
    """Asks one hosted model; a run is the life of this object.

    Args:
        model: the provider's name of the model, e.g. `deepseek/deepseek-chat-v3-0324`.
        settings: address, limits, prices.
        max_tokens: longest answer in tokens.
        seed: handed to the provider, which may or may not heed it.

    Raises:
        StudyError: on an unusable address, or answers on disk that cannot be opened.
    """

    def __init__(self, model: str, *, settings: HostedSettings, max_tokens: int, seed: int):
        self.model = model
        self.settings = settings
        sampling = {"temperature": 0.0, "seed": seed, "max_tokens": max_tokens}
        changes = settings.extra_body
        self._sampling = {n: value for n, value in sampling.items() if changes.get(n, value) is not None}
        self._extra = _without_nulls(changes)
        sent = self._sampling | self._extra
        self._max_tokens = sent.get("max_completion_tokens", sent.get("max_tokens", max_tokens))
        self._folder = answer_cache.answers_dir(host_of(settings.base_url))
        self._cache = answer_cache.open_cache(self._folder)
        self._ledger = Ledger(max_requests=settings.max_requests, max_tokens=settings.max_run_tokens)
        self._replies: dict[str, Reply] = {}
        # Made when there is something to ask: an estimate, and answers already on disk, need no key.
        self._api: ChatApi | None = None

    @property
    def about(self) -> dict[str, Any]:
        """What was asked, and what the provider says answered.

        `reported_models` are the versions that the answers given so far name, `fingerprints` and
        `providers` likewise; `revision` is the one reported model, None before there is one or when
        there are several.
        """
        reported = {
            name: sorted({str(v) for r in self._replies.values() if (v := getattr(r, name)) is not None})
            for name in ("reported_model", "system_fingerprint", "provider")
        }
        models = reported["reported_model"]
        return {
            "model": self.model,
            "revision": models[0] if len(models) == 1 else None,
            "backend": "hosted",
            "base_url": self.settings.base_url,
            "sampling": {name: self._extra.get(name, value) for name, value in self._sampling.items()},
            "extra_body": dict(self.settings.extra_body),
            "reported_models": models,
            "fingerprints": reported["system_fingerprint"],
            "providers": reported["provider"],
        }

    def answer(self, prompts: Sequence[str], *, label: str, kept: Path | None = None) -> list[str]:
        """One answer a prompt, in order; a prompt given twice is asked once.

        Args:
            prompts: sent as one user message each.
            label: shown beside the progress bar.
            kept: not used: every answer lies in the store already.

        Raises:
            StudyError: when something must be asked and there is no key; when the run stops. Every answer
                received until then is kept.
        """
        distinct = list(dict.fromkeys(prompts))
        with answer_cache.usable(self._folder):
            known = {p: Reply(**kept) for p in distinct if (kept := self._cache.get(self._key(p)))}
        self._replies |= known
        missing = [prompt for prompt in distinct if prompt not in known]
        if missing and self._api is None:
            self._api = ChatApi(
                base_url=self.settings.base_url,
                key_variable=self.settings.key_variable,
                timeout=self.settings.timeout_seconds,
            )
        stop = threading.Event()
        with (
            tqdm(total=len(distinct), initial=len(known), desc=label, unit="prompt") as bar,
            ThreadPoolExecutor(max_workers=self.settings.concurrency) as pool,
        ):
            try:
                for future in as_completed([pool.submit(self._ask, prompt, stop) for prompt in missing]):
                    future.result()
                    bar.update()
            finally:
                # What has not begun ends at once; requests under way come to their end, they are paid for.
                stop.set()
        return [self._replies[p].answer if p in self._replies else "" for p in prompts]

    def close(self) -> None:
        """Let go of the connections and of the answers' files; what was counted can still be read."""
        if self._api is not None:
            self._api.close()
        self._cache.close()

    def estimate(self, prompts: Sequence[str]) -> dict[str, Any]:
        """What :meth:`answer` would ask for and cost, retries left out; nothing is sent.

        Returns:
            `n_prompts` (distinct), `n_stored` (on disk, free), `n_requests`, `prompt_tokens` (by
            :func:`models.backends.spending.estimated_tokens`), `completion_tokens` (all answers at their
            longest) and `cost_usd` (None where `prices` lacks the model): an upper estimate.
        """
        distinct = list(dict.fromkeys(prompts))
        missing = [prompt for prompt in distinct if self._key(prompt) not in self._cache]
        prompt_tokens = sum(map(estimated_tokens, missing))
        completion_tokens = len(missing) * self._max_tokens
        return {
            "n_prompts": len(distinct),
            "n_stored": len(distinct) - len(missing),
            "n_requests": len(missing),
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "cost_usd": self._cost(prompt_tokens, completion_tokens),
        }

    def usage(self) -> dict[str, Any]:
        """What this run used, and what all answers it gave have taken, stored ones included.

        Returns:
            Of this run: `n_requests`, `n_retries` among them, `n_unreadable` (prompts given up),
            `prompt_tokens` and `completion_tokens` as the provider counts them, `tokens_assumed` where it
            does not say, `cost_usd`. Of all answers given: `n_answers`, `n_empty`, `n_cut` (at their
            longest), `answers_prompt_tokens`, `answers_completion_tokens`, `answers_cost_usd`. Costs are
            what the provider reports, else tokens times `prices`, and None where neither is known.
        """
        counts, replies = self._ledger.counts, list(self._replies.values())
        costs = [self._cost_of(reply) for reply in replies]
        names = ("n_requests", "n_retries", "n_unreadable", "prompt_tokens", "completion_tokens")
        return {name: counts[name] for name in (*names, "tokens_assumed")} | {
            "cost_usd": None if counts["n_unpriced"] else float(counts["cost"]),
            "n_answers": len(replies),
            "n_empty": sum(not reply.answer.strip() for reply in replies),
            "n_cut": sum(reply.finish_reason == "length" for reply in replies),
            "answers_prompt_tokens": sum(reply.prompt_tokens or 0 for reply in replies),
            "answers_completion_tokens": sum(reply.completion_tokens or 0 for reply in replies),
            "answers_cost_usd": None if None in costs else float(sum(costs)),
        }

    def _cost_of(self, reply: Reply) -> float | None:
        if reply.cost is not None:
            return reply.cost
        tokens = (reply.prompt_tokens, reply.completion_tokens)
        return None if None in tokens else self._cost(*tokens)

    def _cost(self, prompt_tokens: int, completion_tokens: int) -> float | None:
        if self.model not in self.settings.prices:
            return None
        prompt_price, completion_price = self.settings.prices[self.model]
        return (prompt_tokens * prompt_price + completion_tokens * completion_price) / 1e6

    def _request(self, prompt: str) -> dict[str, Any]:
        messages = [{"role": "user", "content": prompt}]
        return {"model": self.model, "messages": messages, **self._sampling}

    def _key(self, prompt: str) -> str:
        return answer_cache.key_of(self._request(prompt) | {"extra_body": self._extra})

    def _ask(self, prompt: str, stop: threading.Event) -> None:
        """Get and keep the answer to one prompt; one without a chat completion is given up.

        Raises:
            StudyError: when the run has to stop.
        """
        for retry in range(1 + self.settings.n_retries):
            outcome = self._attempt(prompt, stop)
            again = retry < self.settings.n_retries and _worth_asking_again(outcome)
            # A stop ends the wait.
            if not again or stop.wait(_pause(retry, outcome)):
                break
            self._ledger.count("n_retries")
        cut_short = stop.is_set() and _worth_asking_again(outcome)
        if isinstance(outcome, Reply) and not cut_short:
            with answer_cache.usable(self._folder):
                self._cache[self._key(prompt)] = asdict(outcome)
            # Every thread has a connection of its own, which nobody else could close.
            self._cache.close()
            self._replies[prompt] = outcome
            return
        # Where another prompt has stopped the run, that one says why.
        n_allowed = self.settings.max_unreadable
        if stop.is_set() or (
            outcome.kind == "unreadable" and self._ledger.count("n_unreadable") <= n_allowed
        ):
            return
        stop.set()
        raise StudyError(
            f"{self.model} at {self.settings.base_url} stopped answering: {outcome.reason}. The answers"
            f" received so far are kept in {self._folder}; run again to ask for the rest."
        )

    def _attempt(self, prompt: str, stop: threading.Event) -> Reply | Failure:
        """One request, within the caps."""
        if stop.is_set():
            return Failure("refused", "the run was stopped")
        tokens = estimated_tokens(prompt) + self._max_tokens
        if (reason := self._ledger.reserve(tokens)) is not None:
            return Failure("refused", reason)
        outcome = self._api.ask(self._request(prompt) | self._extra)
        cost = self._cost_of(outcome) if isinstance(outcome, Reply) else None
        self._ledger.settle(tokens, outcome, cost=cost)
        after = outcome.retry_after if isinstance(outcome, Failure) else None
        if after is not None and after > self.settings.longest_wait_seconds:
            limit = f"longest_wait_seconds is {self.settings.longest_wait_seconds:g}"
            return Failure("refused", f"it asks to wait {after:,.0f} s ({limit}); {outcome.reason}")
        return outcome


def _worth_asking_again(outcome: Reply | Failure) -> bool:
    if isinstance(outcome, Reply):
        # An answer that was cut or filtered before it said anything would be so again.
        return not outcome.answer.strip() and outcome.finish_reason not in ("length", "content_filter")
    return outcome.kind != "refused"


def _without_nulls(fields: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in fields.items() if value is not None}
    return {n: _without_nulls(value) if isinstance(value, Mapping) else value for n, value in kept.items()}


def _pause(retry: int, outcome: Reply | Failure) -> float:
    """Seconds before a retry: twice as many each time, with jitter, no less than the provider asks for."""
    grown = min(FIRST_WAIT * 2**retry, LAST_WAIT) + random.uniform(0, FIRST_WAIT)
    return max(grown, (isinstance(outcome, Failure) and outcome.retry_after) or 0.0)

"""The ledger holds its cap whatever the threads do, and counts what may have been billed."""

from concurrent.futures import ThreadPoolExecutor

from dualrec_utils.models.backends import spending
from dualrec_utils.models.backends.chat_api import Failure, Reply


def test_ledger_never_lets_through_more_than_the_cap():
    ledger = spending.Ledger(max_requests=10**6, max_tokens=1000)
    reply = Reply("x", None, None, None, "stop", 5, 5, None, "now")

    def spend(_: int) -> None:
        if ledger.reserve(10) is None:
            ledger.settle(10, reply, cost=0.5)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(spend, range(400)))
    assert ledger.counts["n_requests"] == 100
    assert ledger.counts["prompt_tokens"] + ledger.counts["completion_tokens"] == 1000
    assert ledger.counts["cost"] == 50


def test_what_may_have_been_billed_counts_and_error_statuses_do_not():
    ledger = spending.Ledger(max_requests=10, max_tokens=1000)
    for outcome in (Failure("busy", "", 429), Failure("busy", ""), Failure("unreadable", "", 200)):
        assert ledger.reserve(10) is None
        ledger.settle(10, outcome, cost=None)
    assert ledger.counts["tokens_assumed"] == 20 and ledger.counts["n_unpriced"] == 0

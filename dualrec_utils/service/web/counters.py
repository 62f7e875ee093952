"""What `/metrics` counts, in Prometheus' text format."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, Metric, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

# Seconds.
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
# Where several workers add up what they count; prometheus_client reads it when it is imported.
TOGETHER = "PROMETHEUS_MULTIPROC_DIR"


class Counters:
    """Requests, how long they took, and the length of the log.

    Args:
        log_length: events logged so far, forgotten ones included.
    """

    def __init__(self, log_length: Callable[[], int]) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "dualrec_requests", "Requests.", ["endpoint", "status"], registry=self._registry
        )
        self._seconds = Histogram(
            "dualrec_request_seconds",
            "Time to answer.",
            ["endpoint", "model"],
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._log_length = log_length

    def done(self, scope: Mapping[str, Any], status: int, seconds: float) -> None:
        """Count a request.

        Args:
            scope: of ASGI, as the router left it.
            status: of the answer.
            seconds: that it took.
        """
        # Templates of paths, never paths: there are as many labels as endpoints.
        endpoint = getattr(scope.get("route"), "path", "page or none")
        self._requests.labels(endpoint, str(status)).inc()
        self._seconds.labels(endpoint, scope.get("state", {}).get("model", "")).observe(seconds)

    def text(self) -> bytes:
        """All that was counted, by all workers together."""
        registry = self._registry
        if TOGETHER in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)
        # Every worker sees the whole log: its length is asked for, not added up.
        length = CollectorRegistry()
        length.register(_LogLength(self._log_length))
        return generate_latest(registry) + generate_latest(length)


class _LogLength(Collector):
    def __init__(self, length: Callable[[], int]) -> None:
        self._length = length

    def collect(self) -> list[Metric]:
        """The one number."""
        return [GaugeMetricFamily("dualrec_log_events", "Events logged so far.", self._length())]

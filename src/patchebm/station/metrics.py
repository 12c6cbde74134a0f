"""This module counts what Prometheus asks for; each station has a registry of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from patchebm.station.arrival import Outcome

CONTENT_TYPE = CONTENT_TYPE_LATEST
# Milliseconds.
_BUCKETS = (5, 10, 20, 35, 50, 75, 100, 150, 250, 500, 1000, 2500, 5000, 10000)


class Metrics:
    """This class holds the figures of a station."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._inspections = Counter(
            "patchebm_inspections",
            "Parts that were inspected and stored.",
            ("product", "verdict"),
            registry=self._registry,
        )
        self._latency = Histogram(
            "patchebm_latency_milliseconds",
            "From the arrival of a part to its verdict.",
            ("product",),
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._requests = Counter(
            "patchebm_http_requests",
            "Requests by route, method and status.",
            ("route", "method", "status"),
            registry=self._registry,
        )

    def inspected(self, outcome: Outcome) -> None:
        """Counts a part."""
        self._inspections.labels(outcome["product"], outcome["verdict"]).inc()
        self._latency.labels(outcome["product"]).observe(outcome["latency_ms"])

    def answered(self, route: str, method: str, status: int) -> None:
        """Counts a request; `route` is a pattern, so that there are few."""
        self._requests.labels(route, method, str(status)).inc()

    def gauge(self, name: str, text: str, value: Callable[[], float]) -> None:
        """Adds a figure that is asked for when it is read."""
        Gauge(name, text, registry=self._registry).set_function(value)

    def sources(self, counts: Callable[[], Mapping[str, Mapping[str, int]]]) -> None:
        """Adds what cameras count themselves, by source and kind; `counts` is asked when it is read."""
        self._registry.register(_SourceCounts(counts))

    def text(self) -> bytes:
        """Returns all figures in the format of Prometheus."""
        return generate_latest(self._registry)


class _SourceCounts(Collector):
    def __init__(self, counts: Callable[[], Mapping[str, Mapping[str, int]]]) -> None:
        self._counts = counts

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Yields the counters of all cameras that run; a camera whose settings change begins at 0."""
        family = CounterMetricFamily(
            "patchebm_source_parts",
            "Parts of a camera that were inspected, missed or late, and triggers that bounced.",
            labels=("source", "kind"),
        )
        for source, counts in self._counts().items():
            for kind, count in counts.items():
                family.add_metric((source, kind), count)
        yield family

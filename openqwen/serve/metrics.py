"""What Prometheus reads at `/metrics`; the names stand in docs/serving.md.

    metrics = Metrics(models)
    metrics.count_request("/v1/chat/completions", 200)
    metrics.text()

Counts of an engine are read from it when somebody asks; times are counted as replies end.
"""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from openqwen.infer.request import Result
from openqwen.serve.jobs import Generation, Item, Job
from openqwen.serve.models import Models

KNOWN_PATHS = (
    "/v1/models", "/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/tokenize",
    "/detokenize", "/health", "/metrics", "/login", "/openapi.json",
)  # fmt: skip
SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
TOKEN_SECONDS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5)


class Metrics:
    """One server's figures, in a registry of its own."""

    def __init__(self, models: Models) -> None:
        """Begin at zero."""
        self.registry = CollectorRegistry()
        self.registry.register(_Engines(models))
        self._requests = Counter(
            "openqwen_requests", "HTTP requests", ("path", "status"), registry=self.registry
        )
        self._ended = Counter(
            "openqwen_replies", "replies by how they ended", ("model", "finish"),
            registry=self.registry,
        )  # fmt: skip
        self._queue = self._histogram("openqwen_queue_seconds", "from arrival to its turn")
        self._first = self._histogram(
            "openqwen_time_to_first_token_seconds", "from arrival to the first text"
        )
        self._token = self._histogram(
            "openqwen_time_per_token_seconds",
            "of each reply: seconds a token behind the first",
            TOKEN_SECONDS,
        )
        self._whole = self._histogram("openqwen_reply_seconds", "from arrival to the end")

    def count_request(self, path: str, status: int) -> None:
        """Count one answered request; paths of pages are counted together."""
        if path not in KNOWN_PATHS:
            head = "/" + path.lstrip("/").partition("/")[0]
            path = head if head in ("/chat", "/pages") else "other"
        self._requests.labels(path, str(status or "none")).inc()

    def count_end(self, model: str, job: Job, item: Item) -> None:
        """Count a reply that has ended, well or not; called in the worker's thread."""
        if not isinstance(job, Generation):
            return
        reason = item.finish_reason if isinstance(item, Result) else getattr(item, "code", "error")
        self._ended.labels(model, reason or "error").inc()
        if job.started_at is not None:
            self._queue.labels(model).observe(job.started_at - job.queued_at)
        if job.ended_at is None or not isinstance(item, Result):
            return
        self._whole.labels(model).observe(job.ended_at - job.queued_at)
        if job.first_token_at is not None:
            self._first.labels(model).observe(job.first_token_at - job.queued_at)
            if len(job.request.ids) > 1:
                seconds = job.ended_at - job.first_token_at
                self._token.labels(model).observe(seconds / (len(job.request.ids) - 1))

    def text(self) -> bytes:
        """Return all figures as Prometheus reads them."""
        return generate_latest(self.registry)

    def _histogram(
        self, name: str, meaning: str, buckets: tuple[float, ...] = SECONDS
    ) -> Histogram:
        return Histogram(name, meaning, ("model",), buckets=buckets, registry=self.registry)


class _Engines(Collector):
    """Reads the engines when asked."""

    def __init__(self, models: Models) -> None:
        self._models = models

    def collect(self) -> Iterator[Metric]:
        """Yield every engine's figures."""
        gauges = {
            "openqwen_running": "replies in the making",
            "openqwen_waiting": "requests that wait for their turn",
            "openqwen_kv_used_bytes": "KV memory kept for running replies",
            "openqwen_kv_allocated_bytes": "KV memory taken from the system",
            "openqwen_kv_limit_bytes": "bound on KV memory",
        }
        counters = {
            "openqwen_prompt_tokens": "tokens computed as prompts",
            "openqwen_shared_tokens": "prompt tokens that were found computed",
            "openqwen_new_tokens": "tokens generated",
            "openqwen_preemptions": "replies that had to give their memory back",
            "openqwen_step_seconds": "seconds in steps",
        }
        families: dict[str, Metric] = {
            name: GaugeMetricFamily(name, meaning, labels=["model"])
            for name, meaning in gauges.items()
        } | {
            name: CounterMetricFamily(name, meaning, labels=["model"])
            for name, meaning in counters.items()
        }
        for worker in self._models.workers():
            stats = worker.engine.stats()
            values = (
                *(worker.num_running, worker.num_waiting, worker.held_bytes),
                *(stats.kv_bytes, worker.engine.limit_bytes),
                *(stats.num_prompt_tokens, stats.num_shared_tokens, stats.num_new_tokens),
                *(stats.num_preemptions, stats.seconds),
            )
            for family, value in zip(families.values(), values, strict=True):
                family.add_metric([worker.name], value)  # type: ignore[attr-defined]
        yield from families.values()

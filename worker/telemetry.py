"""
Traces for whoever wants them: a span for each run of a job, each try of an item, each call of a provider.

Off unless OTEL_EXPORTER_OTLP_ENDPOINT is set, and then nothing of OpenTelemetry is imported and a span costs a function
call. Attributes are ids, names and numbers; never a text, and of an error its class alone. What cannot be delivered
is dropped: a collector holds up no job.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from worker import errors

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span as OtelSpan

_EXPORT_SECONDS: Final = 5.0
_LAST_EXPORT_SECONDS: Final = 1.0

_start: "Callable[[str, dict[str, Any]], AbstractContextManager[OtelSpan]] | None" = None
_provider: "TracerProvider | None" = None


class Span(AbstractContextManager["Span"]):
    """One thing that takes time. Entered, it is the parent of what begins inside."""

    def __init__(self, opened: "AbstractContextManager[OtelSpan] | None" = None) -> None:
        self._opened = opened
        self._span: OtelSpan | None = None

    def set(self, **attributes: Any) -> None:
        """Say more about it; None says nothing."""
        if self._span is not None:
            self._span.set_attributes(_said(attributes))

    def __enter__(self) -> Self:
        if self._opened is not None:
            self._span = self._opened.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, place: TracebackType | None
    ) -> None:
        if self._opened is None:
            return
        if kind is not None:
            told = error.error_class if isinstance(error, errors.ItemError) else kind.__name__
            self.failed(told)
        self._opened.__exit__(None, None, None)  # it shall not look into the error

    def failed(self, error_class: str) -> None:
        """It came to nothing."""
        if self._span is not None:
            from opentelemetry.trace import StatusCode

            self._span.set_attribute("error.type", error_class)
            self._span.set_status(StatusCode.ERROR)


_OFF: Final = Span()


def span(name: str, **attributes: Any) -> Span:
    """A span called *name*; attributes that are None are left out."""
    return _OFF if _start is None else Span(_start(name, _said(attributes)))


def _said(attributes: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in attributes.items() if value is not None}


def configure(endpoint: str, *, worker_id: str, version: str) -> None:
    """
    Send spans to the collector at *endpoint*, by OTLP over HTTP.

    Raises:
        ConfigurationError: OpenTelemetry is not installed.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError as error:
        raise errors.ConfigurationError(
            f"OTEL_EXPORTER_OTLP_ENDPOINT is set, and OpenTelemetry is not installed ({error.name}): "
            "pip install 'supabase-realtime-worker[otel]'."
        ) from error
    exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces", timeout=_EXPORT_SECONDS)
    send_to(exporter, worker_id=worker_id, version=version)


def send_to(exporter: "SpanExporter", *, worker_id: str, version: str) -> None:
    """Hand every span that ends to *exporter*, in batches, from a thread of its own."""
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    global _start, _provider
    told = {"service.name": "supabase-realtime-worker", "service.version": version, "service.instance.id": worker_id}
    _provider = TracerProvider(resource=Resource.create(told), shutdown_on_exit=False)
    _provider.add_span_processor(BatchSpanProcessor(exporter))
    tracer = _provider.get_tracer("worker")

    def start(name: str, attributes: dict[str, Any]) -> "AbstractContextManager[OtelSpan]":
        return tracer.start_as_current_span(name, attributes=attributes)

    _start = start


async def close() -> None:
    """Send what is left, for a second at most."""
    global _start, _provider
    provider, _start, _provider = _provider, None, None
    if provider is None:
        return
    loop, done = asyncio.get_running_loop(), asyncio.Event()

    def flush() -> None:
        provider.force_flush(round(_LAST_EXPORT_SECONDS * 1000))
        with contextlib.suppress(RuntimeError):  # the loop did not wait for it
            loop.call_soon_threadsafe(done.set)

    # Not of the loop's executor, which a process waits for at its end.
    threading.Thread(target=flush, name="last-spans", daemon=True).start()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LAST_EXPORT_SECONDS):
            await done.wait()

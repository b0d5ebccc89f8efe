"""Traces: what took the time, whose it was, and no word of what was in it."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from tests.deploy.operating import operated
from tests.support.database import Database
from tests.support.processes import running
from tests.support.waiting import until
from worker import errors, telemetry
from worker.devstack.stack import Stack

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]

TEXT = "The ninth lamp."
FAIL = {"fr": {"class": "content_blocked"}, "de": {"times": 1, "class": "internal"}}


@pytest.fixture
async def spans() -> AsyncIterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    telemetry.send_to(exporter, worker_id="w1", version="1")
    yield exporter
    await telemetry.close()


def named(spans: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    assert telemetry._provider is not None
    telemetry._provider.force_flush()
    return [span for span in spans.get_finished_spans() if span.name == name]


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def parents(children: list[ReadableSpan], of: list[ReadableSpan]) -> Iterator[ReadableSpan]:
    by_id = {span.context.span_id: span for span in of if span.context}
    yield from (by_id[child.parent.span_id] for child in children if child.parent)


async def test_a_job_is_a_span_with_its_items_in_it_and_their_calls_in_those(
    stack: Stack, spans: InMemorySpanExporter
) -> None:
    async with operated(stack) as worker:
        user = worker.project.user(credits=100)
        more = {"p_correlation_id": "order-1", "p_options": {"simulate": {"fail": FAIL}}}
        assert await worker.done(user, "es", "fr", "de", content=TEXT, **more) == "completed"
        await until(lambda: len(named(spans, "job")) == 2, "both runs have ended", seconds=60)

    jobs, items, calls = (named(spans, name) for name in ("job", "item", "provider call"))
    assert {attributes(job)["outcome"] for job in jobs} == {"retrying", "completed"}
    assert sorted(attributes(job)["attempt"] for job in jobs) == [1, 2]
    assert {attributes(job)["correlation_id"] for job in jobs} == {"order-1"}
    assert sorted(attributes(item)["item"] for item in items) == ["de", "de", "es", "fr"]
    assert {attributes(job)["attempt"] for job in parents(items, jobs)} == {1, 2}
    texts = [call for call in calls if attributes(call)["chars"]]  # the list of languages is nobody's
    assert len(list(parents(texts, items))) == len(texts) >= 4
    failed = {attributes(i)["error.type"] for i in items if i.status.status_code is StatusCode.ERROR}
    assert failed == {"content_blocked", "internal"}
    assert TEXT not in "".join(span.to_json() for span in spans.get_finished_spans())


async def test_an_error_is_told_by_its_class_and_raised_all_the_same(spans: InMemorySpanExporter) -> None:
    def fail(error: Exception) -> None:
        with telemetry.span("x", nothing=None) as span:
            span.set(more=1, nothing=None)
            raise error

    with pytest.raises(errors.ItemError):
        fail(errors.ItemError("bad_output", f"said {TEXT}"))
    with pytest.raises(RuntimeError):
        fail(RuntimeError(TEXT))

    first, second = named(spans, "x")
    assert attributes(first) == {"more": 1, "error.type": "bad_output"}
    assert attributes(second) == {"more": 1, "error.type": "RuntimeError"}
    assert first.events == second.events == ()
    assert TEXT not in first.to_json() + second.to_json()


async def test_a_worker_sends_them_to_the_collector_that_is_named(stack: Stack) -> None:
    got: list[bytes] = []

    async def collect(request: web.Request) -> web.Response:
        got.append(await request.read())
        return web.Response(content_type="application/x-protobuf")

    site = web.Application()
    site.router.add_post("/v1/traces", collect)
    project = Database(stack.urls.database_url, stack.urls.admin_database_url)
    async with TestServer(site) as collector:
        environment = {
            "SUPABASE_URL": stack.urls.url,
            "SUPABASE_SECRET_KEY": stack.urls.secret_key,
            "OTEL_EXPORTER_OTLP_ENDPOINT": str(collector.make_url("/")),
            "WORKER_ID": "traced",
        }
        async with running("run", environment=environment) as worker:
            await worker.says("Realtime subscription active", seconds=60)
            project.rpc("enqueue_translation_job", p_job_type="translation", p_content=TEXT, p_items=["es"])
            await worker.says("Job run ended", seconds=60)
            worker.process.terminate()
            assert await worker.ended(seconds=60) == 0
        project.close()

    requests = [ExportTraceServiceRequest.FromString(body) for body in got]
    resources = [one for request in requests for one in request.resource_spans]
    told = {pair.key: pair.value.string_value for one in resources for pair in one.resource.attributes}
    names = {span.name for one in resources for scope in one.scope_spans for span in scope.spans}
    assert (told["service.name"], told["service.instance.id"]) == ("supabase-realtime-worker", "traced")
    assert names == {"job", "item", "provider call"}
    assert TEXT.encode() not in b"".join(got)


async def test_without_the_extra_the_start_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)

    with pytest.raises(errors.ConfigurationError, match=r"pip install 'supabase-realtime-worker\[otel\]'"):
        telemetry.configure("http://127.0.0.1:9", worker_id="w1", version="1")


async def test_nothing_of_it_is_imported_unless_it_is_wanted() -> None:
    look = "import sys, worker.app.service; print([m for m in sys.modules if m.startswith('opentelemetry')])"
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", look], capture_output=True, text=True, check=True
    )

    assert done.stdout == "[]\n"
    with telemetry.span("x", a=1) as span:
        span.set(b=2)
        span.failed("internal")
    assert span is telemetry.span("y")

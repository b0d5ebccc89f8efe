"""A whole worker in this process with its HTTP side, read as Prometheus and an operator read it."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from loguru import logger
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import CHORE
from tests.support.database import Database
from tests.support.waiting import until
from worker import app, settings
from worker.devstack.stack import Stack
from worker.handlers.translation import TranslationHandler
from worker.translators import Limits, TranslatorOptions, build

Sample = tuple[str, tuple[tuple[str, str], ...]]


class Numbers:
    """One scrape."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.samples: dict[Sample, float] = {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    @property
    def names(self) -> set[str]:
        return {name for name, _ in self.samples}

    def __call__(self, name: str, **labels: str) -> float:
        """The sum of all samples of *name* that have these labels."""
        wanted = set(labels.items())
        return sum(value for (found, has), value in self.samples.items() if found == name and wanted <= set(has))


class Operated:
    def __init__(self, worker: app.App, url: str, project: Database, http: aiohttp.ClientSession) -> None:
        self.worker = worker
        self.url = url
        self.project = project
        self._http = http

    async def numbers(self) -> Numbers:
        async with self._http.get(f"{self.url}/metrics") as answer:
            assert answer.status == 200
            return Numbers(await answer.text())

    async def health(self) -> dict[str, Any]:
        async with self._http.get(f"{self.url}/health") as answer:
            assert answer.status == 200
            details: dict[str, Any] = await answer.json()
            return details

    async def done(self, user: str, *languages: str, content: str = "The lamp is lit at dusk.", **options: Any) -> str:
        """A job from its creation to its end; the status it ended in."""
        asked = {"p_content": content, "p_target_languages": list(languages), "p_source_language": "en", **options}
        job = self.project.rpc("create_translation_job", user, **asked)
        return await self.ended(job["id"])

    async def ended(self, job_id: str) -> str:
        def status() -> str | None:
            found: str = self.project.value("select status from public.translation_jobs where id = %s", job_id)
            return found if found in ("completed", "failed", "cancelled") else None

        return str(await until(status, "the job ends"))


@asynccontextmanager
async def operated(
    stack: Stack,
    *,
    translator: str = "pseudo",
    libretranslate_url: str | None = None,
    provider: Mapping[str, Any] | None = None,
    **more: Any,
) -> AsyncIterator[Operated]:
    """A worker that hears, with ten credits a language; settings as keyword arguments, *provider*'s own apart."""
    project = Database(stack.urls.database_url, stack.urls.admin_database_url)
    project.price(10)
    project.run(CHORE)
    chosen = settings.load(
        None,
        supabase_url=stack.urls.url,
        supabase_secret_key=stack.urls.secret_key,
        port=0,
        host="127.0.0.1",
        shutdown_grace_seconds=1,
        **more,
    )
    ports: list[int] = []
    sink = logger.add(lambda line: ports.append(line.record["extra"]["port"]), filter=_tells_port)
    try:
        async with aiohttp.ClientSession() as http:
            options = TranslatorOptions(
                libretranslate_url=libretranslate_url, limits=Limits(wait_seconds=0), **(provider or {})
            )
            chain = build(translator, session=http, options=options)
            await chain.prepare()
            worker = app.App(
                chosen, {"translation": TranslationHandler(chain)}, lambda: chain.languages, providers=chain.condition
            )
            running = asyncio.create_task(worker.run())
            try:
                await until(lambda: ports and worker.listener.mode == "realtime", "it hears and serves")
                yield Operated(worker, f"http://127.0.0.1:{ports[0]}", project, http)
            finally:
                worker.ask_to_stop()
                await running
                await worker.store.close()
    finally:
        logger.remove(sink)
        project.close()


def _tells_port(record: Any) -> bool:
    return bool(record["message"] == "HTTP listening")

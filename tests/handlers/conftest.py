"""A context that remembers like the database does, and a translator that answers as a test says."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import aiohttp
import psycopg
import pytest

from tests.conftest import INSTALL
from tests.support import stacks
from tests.support.database import Database
from worker import models
from worker.devstack import platform
from worker.devstack.postgres import Cluster
from worker.devstack.stack import Stack
from worker.handlers.procedures import Procedures
from worker.storage import with_addresses
from worker.translators import TranslationAnswer, TranslationRequest
from worker.translators.base import ANY_LANGUAGE

T = TypeVar("T")


@dataclass
class FakeContext:
    """One item of one job. `memory` and `made` may be shared with the contexts of other items and tries."""

    job: models.Job
    item: models.Item
    attempt: int = 1
    memory: dict[str, models.Recalled] = field(default_factory=dict)
    terms: Sequence[models.GlossaryTerm] = ()
    made: dict[Hashable, Any] = field(default_factory=dict)
    remembered: list[Mapping[str, str]] = field(default_factory=list)
    reports: list[Mapping[str, Any]] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    cancelled: bool = False

    async def content(self) -> Any:
        return self.job.content

    async def signed_content(self, seconds: int = 3600) -> Any:
        return await with_addresses(await self.content(), self.signed_url)

    async def signed_url(self, bucket: str, path: str, seconds: int = 3600) -> str:
        return f"https://storage.test/{bucket}/{path}?token=signed"

    async def parents(self) -> Sequence[models.Parent]:
        return ()

    async def parent_result(self, parent_id: str, item: str) -> Any:
        raise AssertionError("there are no parents")

    async def shared(self, name: Hashable, make: Callable[[], Awaitable[T]]) -> T:
        if name not in self.made:
            self.made[name] = await make()
        value: T = self.made[name]
        return value

    async def glossary(self) -> Sequence[models.GlossaryTerm]:
        return self.terms

    async def recall(self, keys: Sequence[str]) -> Mapping[str, models.Recalled]:
        await asyncio.sleep(0)
        return {key: self.memory[key] for key in keys if key in self.memory}

    async def remember(self, segments: Mapping[str, str]) -> None:
        await asyncio.sleep(0)
        self.events.append(f"remember {len(segments)}")
        self.remembered.append(dict(segments))
        self.memory.update({key: models.Recalled(target, free=False) for key, target in segments.items()})

    def progress(self, **report: Any) -> None:
        self.reports.append(report)

    def pay(self) -> None:
        """As if the item that brought all this was recorded and charged."""
        self.memory.update({key: models.Recalled(hit.target, free=True) for key, hit in self.memory.items()})


MakeContext = Callable[..., FakeContext]


@pytest.fixture
def make_context() -> MakeContext:
    def make(
        content: Any,
        target: str = "es",
        *,
        kind: str = "text",
        source: str | None = "en",
        options: Mapping[str, Any] | None = None,
        attempt: int = 1,
        user: str | None = "user",
        **state: Any,
    ) -> FakeContext:
        row = {
            "job_id": "00000000-0000-0000-0000-000000000001",
            "token": 1,
            "seq": 1,
            "job_type": "translation",
            "user_id": user,
            "content_kind": kind,
            "content": content,
            "content_chars": len(str(content)),
            "source_language": source,
            "options": options,
            "max_attempts": 3,
            "lease_ms": 30_000,
            "item_timeout_ms": 60_000,
            "deadline_ms": 3_600_000,
            "items": [{"item": target, "attempts": attempt - 1}],
        }
        job = models.Job.from_row(row)
        return FakeContext(job, job.items[0], attempt, **state)

    return make


Answer = Callable[[TranslationRequest], tuple[str, ...]]


class Scripted:
    """A translator that answers with a function of the request and writes down what it was asked."""

    version = ""
    simulated = follows_formality = False
    unspoken: tuple[str, ...] = ()
    languages = ANY_LANGUAGE

    def __init__(
        self, answer: Answer | None = None, *, name: str = "scripted", second: "Scripted | None" = None
    ) -> None:
        self.name = name
        self.requests: list[TranslationRequest] = []
        self.answer = answer or (lambda request: tuple(f"{text} también" for text in request.texts))
        self.before_call: Callable[[], Any] = lambda: None
        self._second = second

    @property
    def asked(self) -> list[tuple[str, ...]]:
        return [request.texts for request in self.requests]

    async def prepare(self) -> None:
        pass

    async def translate(self, request: TranslationRequest) -> TranslationAnswer:
        waiting = self.before_call()
        if waiting is not None:
            await waiting
        self.requests.append(request)
        return TranslationAnswer(self.answer(request), "en" if request.source_language is None else None)

    async def close(self) -> None:
        pass

    def only(self, name: str) -> "Scripted | None":
        if self._second is not None and name == self._second.name:
            return self._second
        return self if name == self.name else None


def term(wording: str, translation: str | None = None, **changes: Any) -> models.GlossaryTerm:
    """A term from English into Spanish; without a translation it is not to be translated."""
    given = {
        "source_language": "en",
        "target_language": "es",
        "term": wording,
        "translation": translation,
        "do_not_translate": translation is None,
        "case_sensitive": False,
    }
    return models.GlossaryTerm(**(given | changes))


# Functions of an owner's. `calls` counts, whatever becomes of the call.
FUNCTIONS = """
create sequence public.calls;
create function public.league(season int default 1, team text default 'all') returns jsonb language sql as
  $$ select jsonb_build_object('season', season, 'team', team) $$;
create function public.nap(seconds float) returns int language plpgsql as
  $$ begin perform nextval('public.calls'), pg_sleep(seconds); return 1; end $$;
create function public.long_nap(seconds float) returns int language plpgsql set statement_timeout = '30s' as
  $$ begin perform nextval('public.calls'), pg_sleep(seconds); return 1; end $$;
create function public.stopped() returns int language plpgsql set statement_timeout = '30s' as
  $$ begin raise exception using errcode = '57014', message = 'canceling statement due to statement timeout'; end $$;
create function public.endless_nap() returns int language sql set statement_timeout = '61s' as
  $$ select nextval('public.calls')::int $$;
create function public.fail(code text) returns void language plpgsql as
  $$ begin raise exception using errcode = code, message = 'It is raining.'; end $$;
create function public.fat() returns text language sql as $$ select repeat('x', 70000) $$;
create function public.hidden() returns int language sql as $$ select 1 $$;
revoke execute on function public.hidden() from public;
grant usage on sequence public.calls to service_role;
grant execute on function public.league(int, text), public.nap(float), public.long_nap(float), public.stopped(),
  public.endless_nap(), public.fail(text), public.fat() to service_role;
"""


@pytest.fixture(scope="session")
def kinds_stack(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack with the project's SQL whose API gives a statement three seconds, unless its function says otherwise."""

    async def make() -> None:
        await cluster.create_database("kinds")
        await platform.install(cluster, "kinds")  # the roles

    asyncio.run(make())
    with psycopg.connect(cluster.url(database="kinds"), autocommit=True) as admin:
        admin.execute("alter role authenticator in database kinds set statement_timeout = '3s'")
    running = Stack(tmp_path_factory.mktemp("kinds"), database="kinds", sql=[INSTALL, FUNCTIONS], cluster=cluster)
    with stacks.in_thread(running):
        yield running


@pytest.fixture
def kinds(kinds_stack: Stack) -> Iterator[Database]:
    """Its database, with both lists empty."""
    database = Database(kinds_stack.urls.database_url, kinds_stack.urls.admin_database_url)
    with contextlib.closing(database):
        database.run("truncate public.translation_sql_functions, public.translation_http_endpoints")
        yield database


@pytest.fixture
async def procedures(kinds_stack: Stack) -> AsyncIterator[Procedures]:
    async with aiohttp.ClientSession() as session:
        yield Procedures(session, kinds_stack.urls.url, kinds_stack.urls.secret_key)

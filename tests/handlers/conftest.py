"""A context that remembers like the database does, and a translator that answers as a test says."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest

from worker import models
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

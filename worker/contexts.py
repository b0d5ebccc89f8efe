"""
What handlers are handed: a view of the running job, for one item (`ItemRun`) or for all of them (`JobTry`).

Owns nothing: every call goes on to the run, which knows the store and the recorder. The rule that keeps it correct: a
handler reaches nothing of another job, and nothing after its own has ended.
"""

from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from worker import models
from worker.storage import URL_SECONDS

T = TypeVar("T")


class Run(Protocol):
    """The running job, as far as a handler may reach it."""

    job: models.Job
    cancelled: bool

    @property
    def open_items(self) -> Sequence[str]: ...

    async def content(self) -> Any: ...

    async def signed_content(self, seconds: int) -> Any: ...

    async def signed_url(self, bucket: str, path: str, seconds: int) -> str: ...

    async def parents(self) -> Sequence[models.Parent]: ...

    async def parent_result(self, parent_id: str, item: str) -> Any: ...

    async def shared(self, name: Hashable, make: Callable[[], Awaitable[T]]) -> T: ...

    async def glossary(self) -> Sequence[models.GlossaryTerm]: ...

    async def recall(self, item: models.Item, keys: Sequence[str]) -> Mapping[str, models.Recalled]: ...

    async def remember(self, item: models.Item, segments: Mapping[str, str]) -> None: ...

    def note_progress(self, item: models.Item, counts: Mapping[str, int], message: str | None) -> None: ...

    async def end_item(self, name: str, result: Any, error: Exception | None) -> None: ...

    async def each(self, function: Callable[[str], Awaitable[Any]]) -> None: ...

    def note_steps(self, done: float, total: float, message: str | None) -> None: ...


class _View:
    """What both have."""

    def __init__(self, run: Run) -> None:
        self._run = run

    @property
    def job(self) -> models.Job:
        return self._run.job

    @property
    def cancelled(self) -> bool:
        return self._run.cancelled

    async def content(self) -> Any:
        return await self._run.content()

    async def signed_content(self, seconds: int = URL_SECONDS) -> Any:
        return await self._run.signed_content(seconds)

    async def signed_url(self, bucket: str, path: str, seconds: int = URL_SECONDS) -> str:
        return await self._run.signed_url(bucket, path, seconds)

    async def parents(self) -> Sequence[models.Parent]:
        return await self._run.parents()

    async def parent_result(self, parent_id: str, item: str) -> Any:
        return await self._run.parent_result(parent_id, item)


class ItemRun(_View):
    """The `ItemContext` of one try of one item."""

    def __init__(self, run: Run, item: models.Item) -> None:
        super().__init__(run)
        self.item = item
        self.items = (item.name,)

    @property
    def attempt(self) -> int:
        return self.item.attempts + 1

    async def glossary(self) -> Sequence[models.GlossaryTerm]:
        return await self._run.glossary()

    async def shared(self, name: Hashable, make: Callable[[], Awaitable[T]]) -> T:
        return await self._run.shared(name, make)

    async def recall(self, keys: Sequence[str]) -> Mapping[str, models.Recalled]:
        return await self._run.recall(self.item, keys)

    async def remember(self, segments: Mapping[str, str]) -> None:
        await self._run.remember(self.item, segments)

    def progress(
        self,
        *,
        done_chars: int,
        total_chars: int,
        cached_chars: int,
        chunks_done: int,
        chunks_total: int,
        message: str | None = None,
    ) -> None:
        counts = {
            "done_chars": done_chars,
            "total_chars": total_chars,
            "cached_chars": cached_chars,
            "chunks_done": chunks_done,
            "chunks_total": chunks_total,
        }
        self._run.note_progress(self.item, counts, message)


class JobTry(_View):
    """The `JobContext` of one run of one job."""

    @property
    def attempt(self) -> int:
        return self._run.job.attempt

    @property
    def items(self) -> Sequence[str]:
        return self._run.open_items

    async def item(self, name: str, result: Any = None, *, error: Exception | None = None) -> None:
        await self._run.end_item(name, result, error)

    async def each(self, function: Callable[[str], Awaitable[Any]]) -> None:
        await self._run.each(function)

    def progress(self, done: float, total: float, message: str | None = None) -> None:
        self._run.note_steps(done, total, message)

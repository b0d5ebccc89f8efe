"""
What a handler is, and what the runner hands it: one item of one job, and nothing of the database.

A handler returns an `ItemResult` or raises `ItemError`, `RetryLater` or `GiveUp`. Whatever else it raises
ends this one item only. It may be cancelled at any await, and what it was doing may be done again later, by
another worker: side effects must bear a repetition.
"""

from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from worker import models

T = TypeVar("T")


class ItemContext(Protocol):
    """One try of one item."""

    @property
    def job(self) -> models.Job: ...

    @property
    def item(self) -> models.Item: ...

    @property
    def attempt(self) -> int:
        """Which counted try this is, from 1."""
        ...

    @property
    def cancelled(self) -> bool:
        """The job is no longer ours: stop soon. Only of use to code that does not await."""
        ...

    async def content(self) -> Any:
        """The job's content; fetched once for all its items when it was too large for the claim."""
        ...

    async def shared(self, name: Hashable, make: Callable[[], Awaitable[T]]) -> T:
        """
        What *make* returns, made once for all items of the job and dropped when its run ends. What it raises is
        raised for this item, and the next one tries again.
        """
        ...

    async def glossary(self) -> Sequence[models.GlossaryTerm]:
        """The terms of the job's user that may concern any of its languages; fetched once."""
        ...

    async def recall(self, keys: Sequence[str]) -> Mapping[str, models.Recalled]:
        """What the translation memory knows of any number of keys."""
        ...

    async def remember(self, segments: Mapping[str, str]) -> None:
        """
        Store key -> translated text. When this returns it is stored and survives the worker.

        Raises:
            LeaseLost: the job is no longer ours.
        """
        ...

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
        """Say how far this item is. Cheap: call it as often as you like, it is sent once a second."""
        ...


Handler = Callable[[ItemContext], Awaitable[models.ItemResult]]

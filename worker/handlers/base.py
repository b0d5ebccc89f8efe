"""
What a handler is, and what the runner hands it: one item of one job (`ItemContext`), or to a handler of the owner's one
run of a whole job (`JobContext`); and nothing of the database.

A handler returns a result or raises `ItemError`, `RetryLater` or `GiveUp`. Whatever else it raises ends what it was
given only. It may be cancelled at any await, and what it was doing may be done again later, by another worker: side
effects must bear a repetition.
"""

from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from worker import models

T = TypeVar("T")


class Context(Protocol):
    """What both kinds of handler are given of their job."""

    @property
    def job(self) -> models.Job: ...

    @property
    def cancelled(self) -> bool:
        """The job is no longer ours: stop soon. Only of use to code that does not await."""
        ...

    async def content(self) -> Any:
        """The job's content as it was stored; fetched once, when it was too large for the claim."""
        ...

    async def signed_content(self, seconds: int = 3600) -> Any:
        """
        The content, with an address beside each object of Supabase Storage that it names: where it says
        `{"storage": {"bucket": …, "path": …}}`, `url` stands there too, good for *seconds*.

        Raises:
            ItemError: there is no such object, or Storage does not answer. Let it pass.
        """
        ...

    async def signed_url(self, bucket: str, path: str, seconds: int = 3600) -> str:
        """An address under which one object of Supabase Storage can be read for *seconds*. Raises ItemError."""
        ...

    async def parents(self) -> Sequence[models.Parent]:
        """The jobs this one came after, oldest first, with their results; fetched once. Empty without any."""
        ...

    async def parent_result(self, parent_id: str, item: str) -> Any:
        """The content of one result that was too large to come with the others (`ParentItem.is_large`)."""
        ...


class ItemContext(Context, Protocol):
    """One try of one item."""

    @property
    def item(self) -> models.Item: ...

    @property
    def attempt(self) -> int:
        """Which counted try this is, from 1."""
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


class JobContext(Context, Protocol):
    """One run of one job: what a handler of the owner's is given."""

    @property
    def attempt(self) -> int:
        """Which counted try this is, from 1: that of the item which needed most."""
        ...

    @property
    def items(self) -> Sequence[str]:
        """
        The names of the items that are still open, in the order of the job. What this run or an earlier one has handed
        in is not among them. A job made without items has one, called `run`.
        """
        ...

    async def item(self, name: str, result: Any = None, *, error: Exception | None = None) -> None:
        """
        Hand in one item: its *result*, anything that can be JSON, or the *error* it ended with (`GiveUp`,
        `RetryLater`). When this returns it is stored and survives the worker; a later run is not given it again.

        Raises:
            LeaseLost: the job is no longer ours. Let it pass.
            ValueError: there is no open item of that name, or *result* cannot be written as JSON.
        """
        ...

    async def each(self, function: Callable[[str], Awaitable[Any]]) -> None:
        """
        Do the open items side by side, at most MAX_CONCURRENT_LANGUAGES at once: await *function* with the name of
        each, and hand in what it returns. What it raises ends that item only, as it would end the job.

        Raises:
            LeaseLost: the job is no longer ours. Let it pass.
        """
        ...

    def progress(self, done: float, total: float, message: str | None = None) -> None:
        """
        Say how far this run is: *done* of *total* of whatever you count, and a line for people. Cheap: call it as often
        as you like, it is sent once a second. Without it, progress is the items that were handed in.
        """
        ...


Handler = Callable[[ItemContext], Awaitable[models.ItemResult]]

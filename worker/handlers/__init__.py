"""
Which handler does which type of job. The owner's own handlers register themselves when `WORKER_MODULES`
imports them:

    @handler("thumbnail")
    async def thumbnail(ctx: ItemContext) -> ItemResult: ...
"""

from collections.abc import Callable

from worker.handlers.base import Handler, ItemContext

__all__ = ["Handler", "ItemContext", "handler", "registered"]

_registry: dict[str, Handler] = {}


def handler(job_type: str) -> Callable[[Handler], Handler]:
    """Let the decorated async function do the items of jobs of *job_type*. The last one to ask wins."""

    def register(function: Handler) -> Handler:
        _registry[job_type] = function
        return function

    return register


def registered() -> dict[str, Handler]:
    """A copy: what is registered now."""
    return dict(_registry)

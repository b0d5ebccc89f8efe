"""
A provider's own list of languages: fetched when first needed, kept for a day, and longer while it cannot be had.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from loguru import logger

from worker import clock as clocks
from worker import errors
from worker.translators.base import Pairs, Provider
from worker.translators.tags import Directory

KEEP_SECONDS: Final = 24 * 3600.0
AGAIN_SECONDS: Final = 600.0


class Listing:
    def __init__(self, load: Callable[[], Awaitable[Directory]], clock: clocks.Clock = clocks.SYSTEM) -> None:
        """*load*: asks the provider; raises ItemError."""
        self._load = load
        self._clock = clock
        self._deadline = 0.0
        self._loading = asyncio.Lock()
        self.directory = Directory()
        """What is known by now; empty before the first answer."""

    async def fresh(self) -> Directory:
        """
        The list, not much older than a day.

        Raises:
            ItemError: there is none yet, and the provider did not give it.
        """
        if self.directory and self._clock.monotonic() < self._deadline:
            return self.directory
        async with self._loading:
            if not self.directory or self._clock.monotonic() >= self._deadline:
                await self._reload()
        return self.directory

    async def _reload(self) -> None:
        try:
            listed = await self._load()
            if not listed:
                raise errors.ItemError("overloaded", "The provider's list of languages is empty.")
            self.directory = listed
            self._deadline = self._clock.monotonic() + KEEP_SECONDS
        except errors.ItemError as error:
            if not self.directory:
                raise
            logger.debug("Languages not listed anew; the old list stays", error=error.error_class)
            self._deadline = self._clock.monotonic() + AGAIN_SECONDS


class Listed(Provider):
    """A provider that says itself which languages it has, in its `_listing`."""

    _listing: Listing

    @property
    def languages(self) -> Pairs:
        return self._listing.directory.pairs

    async def prepare(self) -> None:
        await self._listing.fresh()

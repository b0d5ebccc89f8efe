"""
Whether a provider is asked at all.

Opens after five failures to answer in a row, or at the first word that the money or the key is not good. Then
nobody calls until the time is over; one call tries, and its end decides for all. One log line an incident:
an error where only a person can help.
"""

import asyncio
from collections.abc import Mapping
from typing import Final

from loguru import logger

from worker import clock as clocks
from worker import errors

OVERLOADS_MAX: Final = 5

OPEN_SECONDS: Final[Mapping[str, float]] = {"overloaded": 30.0, "quota_exhausted": 900.0, "auth": 60.0}

# Who comes while somebody tries waits for how that ends, but not for ever.
_TRIAL_SECONDS: Final = 10.0

_WORDS: Final[Mapping[str, str]] = {
    "overloaded": "does not answer and is left alone for a while",
    "quota_exhausted": "refuses because its quota is used up",
    "auth": "refuses the key of this worker",
}


class Breaker:
    def __init__(self, provider: str, clock: clocks.Clock = clocks.SYSTEM) -> None:
        self._provider = provider
        self._clock = clock
        self._reason: str | None = None
        self._open_until = 0.0
        self._overloads = 0
        self._trial: asyncio.Event | None = None

    @property
    def state(self) -> str:
        """closed (works), open, or half_open (the next call, or the one under way, decides)."""
        if self._reason is None:
            return "closed"
        return "open" if self.open_seconds else "half_open"

    @property
    def reason(self) -> str | None:
        """The error class that opened it."""
        return self._reason

    @property
    def open_seconds(self) -> float:
        """How long nobody calls yet."""
        return max(0.0, self._open_until - self._clock.monotonic()) if self._reason else 0.0

    async def admit(self) -> bool:
        """
        Return when a call may be made, and whether it is the one that tries for all. Every admitted call ends
        with `succeeded`, `failed` or `given_up`.

        Raises:
            ItemError: it may not: rate_limited, quota_exhausted or auth, with the time left.
        """
        while self._reason is not None:
            if self.open_seconds:
                raise self._refusal(self._reason, self.open_seconds)
            if self._trial is None:
                self._trial = asyncio.Event()
                return True
            if not await self._clock.wait(self._trial, _TRIAL_SECONDS) and self._reason:
                raise self._refusal(self._reason, _TRIAL_SECONDS)
        return False

    def succeeded(self, was_trial: bool = False) -> None:
        """The provider answered, if only to refuse one text. Once open, only the trial's answer counts."""
        self._overloads = 0
        if was_trial:
            logger.info("Provider works again", provider=self._provider)
            self._reason = None
            self._end_trial()

    def failed(self, error_class: str, was_trial: bool = False) -> None:
        """A call ended with *error_class*."""
        if error_class not in OPEN_SECONDS:
            self.succeeded(was_trial)
            return
        if error_class == "overloaded":
            self._overloads += 1
        if error_class != "overloaded" or self._overloads >= OVERLOADS_MAX or was_trial:
            self._open(error_class)
        self.given_up(was_trial)

    def given_up(self, was_trial: bool) -> None:
        """A call ended without saying anything. If it was the trial, the next one is."""
        if was_trial:
            self._end_trial()

    def _end_trial(self) -> None:
        if self._trial is not None:
            self._trial.set()
            self._trial = None

    def _open(self, error_class: str) -> None:
        if self._reason is None:
            level = "WARNING" if error_class == "overloaded" else "ERROR"
            logger.log(level, "Provider is not asked for a while", provider=self._provider, reason=error_class)
        until = self._clock.monotonic() + OPEN_SECONDS[error_class]
        # Stragglers of the burst that opened it say nothing new; worse news is news.
        if not self.open_seconds or (error_class != self._reason and until > self._open_until):
            self._open_until = until
            self._reason = error_class

    def _refusal(self, reason: str, seconds: float) -> errors.ItemError:
        # Nothing was tried, so nothing is counted: an open breaker is a throttle.
        error_class = "rate_limited" if reason == "overloaded" else reason
        return errors.ItemError(error_class, f"{self._provider} {_WORDS[reason]}.", seconds)

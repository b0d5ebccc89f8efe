"""
Job types that are not claimed for a while, because whoever does their work asked to wait.

A throttled item goes back to the database at its provider's pace; claiming more of its kind meanwhile would
only move the queue into `retrying`. Other types go on. The first claim after a pause is the test: if the
provider still refuses, the type is paused again.
"""

from collections.abc import Sequence
from typing import Final

from loguru import logger

from worker import clock as clocks
from worker import models

_SECONDS_MAX: Final = 300.0


class Pauses:
    def __init__(self, *, clock: clocks.Clock = clocks.SYSTEM) -> None:
        self._clock = clock
        self._until: dict[str, float] = {}

    def note(self, job_type: str, error_class: str, retry_after_seconds: float | None) -> None:
        """An item of *job_type* ended with *error_class*; pause the type if that speaks for its provider."""
        default_seconds = models.RETRY_AFTER_SECONDS.get(error_class)
        if default_seconds is None:
            return
        seconds = min(retry_after_seconds or default_seconds, _SECONDS_MAX)
        if not self._left(job_type):
            logger.warning(
                "Job type paused: its provider refuses", job_type=job_type, error=error_class, seconds=seconds
            )
        self._until[job_type] = max(self._until.get(job_type, 0.0), self._clock.monotonic() + seconds)

    def open(self, job_types: Sequence[str]) -> list[str]:
        """Those of *job_types* that may be claimed now."""
        return [job_type for job_type in job_types if not self._left(job_type)]

    def left_seconds(self) -> dict[str, float]:
        """How long each paused type still waits."""
        return {job_type: left for job_type in self._until if (left := self._left(job_type))}

    def _left(self, job_type: str) -> float:
        return max(0.0, self._until.get(job_type, 0.0) - self._clock.monotonic())

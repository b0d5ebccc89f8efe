"""
Repeats of an overloaded provider inside one run: not tries of the item, and nobody is told.

Owns the only loop around `Translator.translate`. Every other class of error passes through at once: the
runner knows what to do about it, and waiting here would hold a job's slot for nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable

import tenacity
from loguru import logger

from worker import backoff, errors
from worker.translators.base import TranslationAnswer, TranslationRequest, Translator

Sleep = Callable[[float], Awaitable[None]]

CALLS_MAX = 5
WAIT_SECONDS_MAX = 30.0

_full_jitter = backoff.wait_full_jitter(base_seconds=1.0, cap_seconds=WAIT_SECONDS_MAX)


async def translate(
    translator: Translator, request: TranslationRequest, *, sleep: Sleep = asyncio.sleep
) -> TranslationAnswer:
    """
    Call *translator*, up to CALLS_MAX times while it is overloaded.

    Raises:
        ItemError: any other failure, `overloaded` after the last call, or at once when the provider asks
            for a longer wait than WAIT_SECONDS_MAX.
    """
    calls = tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception(_is_worth_repeating),
        stop=tenacity.stop_after_attempt(CALLS_MAX),
        wait=_wait,
        sleep=sleep,
        before_sleep=_log,
        reraise=True,
    )
    return await calls(translator.translate, request)


def _is_worth_repeating(exc: BaseException) -> bool:
    return (
        isinstance(exc, errors.ItemError)
        and exc.error_class == "overloaded"
        and (exc.retry_after_seconds or 0) <= WAIT_SECONDS_MAX
    )


def _wait(state: tenacity.RetryCallState) -> float:
    failure = state.outcome.exception() if state.outcome else None
    asked = failure.retry_after_seconds if isinstance(failure, errors.ItemError) else None
    return _full_jitter(state) if asked is None else asked


def _log(state: tenacity.RetryCallState) -> None:
    wait_seconds = state.next_action.sleep if state.next_action else 0.0
    logger.debug("Provider overloaded", call=state.attempt_number, wait_seconds=round(wait_seconds, 3))

"""
The only loop around a provider: paced, repeated, broken off, counted.

Repeats inside one run are not tries of the item. An overloaded provider is asked up to CALLS_MAX times; one
that asks to slow down is waited for as long as a job may sit in its slot for it, and handed back after that,
to come again at the provider's pace. Every other failure passes through at once. A failure that a job ordered
for itself (`simulate`) says nothing about the provider and stops nobody else.
"""

import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final, Generic, TypeVar

import tenacity
from loguru import logger

from worker import backoff, errors, telemetry
from worker import clock as clocks
from worker.translators import glossary
from worker.translators.base import Pairs, Provider, TranslationAnswer, TranslationRequest
from worker.translators.breaker import Breaker
from worker.translators.limiter import PAUSE_SECONDS_MAX, Limiter, Limits, MustWait

T = TypeVar("T")

CALLS_MAX: Final = 5
REPEAT_SECONDS_MAX: Final = 30.0

# Waits of our own, where the provider does not say.
_BASE_SECONDS: Final = 1.0
_OVERLOADED_CAP_SECONDS: Final = 30.0
_THROTTLED_CAP_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class ProviderCondition:
    """How one provider fares, for an operator."""

    provider: str
    breaker: str
    """closed, open or half_open."""
    reason: str | None
    """The error class that opened the breaker."""
    open_seconds: float
    pause_seconds: float
    """How long nothing is sent because it asked to slow down."""
    running: int
    limit: int
    """Calls that may run at once now."""
    calls: int
    failures: Mapping[str, int]
    """Calls that failed, by error class; a throttle is rate_limited."""
    chars: int
    """Characters sent."""
    units: int
    """What the provider says it counted."""


class _HandedBack(errors.ItemError):
    """A wait that nobody may sit out in a job's slot: passes through, whatever its class."""


class Patient:
    """A `Translator` around one provider."""

    def __init__(
        self,
        provider: Provider,
        limits: Limits | None = None,
        *,
        clock: clocks.Clock = clocks.SYSTEM,
        draw: backoff.Draw = random.uniform,
    ) -> None:
        self._provider = provider
        self._limits = limits or Limits()
        self._clock = clock
        self._draw = draw
        self._limiter = Limiter(self._limits, clock)
        self._breaker = Breaker(provider.name, clock)
        self._throttles_in_a_row = 0
        self._calls = self._chars = self._units = 0
        self._failures: Counter[str] = Counter()

    @property
    def name(self) -> str:
        return self._provider.name

    @property
    def version(self) -> str:
        return self._provider.version

    @property
    def simulated(self) -> bool:
        return self._provider.simulated

    @property
    def follows_formality(self) -> bool:
        return self._provider.follows_formality

    @property
    def unspoken(self) -> tuple[str, ...]:
        return self._provider.unspoken

    @property
    def languages(self) -> Pairs:
        return self._provider.languages

    def condition(self) -> ProviderCondition:
        return ProviderCondition(
            provider=self.name,
            breaker=self._breaker.state,
            reason=self._breaker.reason,
            open_seconds=self._breaker.open_seconds,
            pause_seconds=self._limiter.pause_seconds,
            running=self._limiter.running,
            limit=self._limiter.limit,
            calls=self._calls,
            failures=dict(self._failures),
            chars=self._chars,
            units=self._units,
        )

    async def prepare(self) -> None:
        await _Visit(self, self._provider.prepare, 0).call()

    async def translate(self, request: TranslationRequest) -> TranslationAnswer:
        binds = bool(request.glossary) and not request.faults and not self._provider.reads_glossary
        bound = glossary.bind(request) if binds else request
        ordered = self.simulated and bool(request.options.get("simulate"))
        answer = await _Visit(self, lambda: self._provider.translate(bound), request.chars, ordered=ordered).repeat()
        self._units += answer.units or 0
        answer = glossary.restore(request, answer) if binds else answer
        follows = self.follows_formality if answer.follows_formality is None else answer.follows_formality
        return replace(answer, provider=self.name, simulated=self.simulated, follows_formality=follows)

    async def close(self) -> None:
        await self._provider.close()

    def only(self, name: str) -> "Patient | None":
        return self if name == self.name else None


class _Visit(Generic[T]):
    """One request to the provider with all its calls."""

    def __init__(
        self, patient: Patient, send: Callable[[], Awaitable[T]], chars: int, *, ordered: bool = False
    ) -> None:
        """*ordered*: failures are the job's own wish; the provider is not judged by them."""
        self._patient = patient
        self._send = send
        self._chars = chars
        self._ordered = ordered
        self._overloads = 0
        self._patience_until: float | None = None
        self._failure: errors.ItemError | None = None

    async def repeat(self) -> T:
        calls = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception(self._is_worth_repeating),
            wait=self._wait,
            sleep=self._patient._clock.sleep,
            before_sleep=_log,
            reraise=True,
        )
        return await calls(self.call)

    async def call(self) -> T:
        """One call, paced and judged."""
        breaker, limiter, clock = self._patient._breaker, self._patient._limiter, self._patient._clock
        is_trial = await self._admitted()
        began_at = clock.monotonic()
        try:
            async with limiter.place(self._chars, self._patience_seconds) as began_at:
                self._patient._calls += 1
                self._patient._chars += self._chars
                with telemetry.span("provider call", provider=self._patient.name, chars=self._chars):
                    answer = await self._send()
        except MustWait as wait:
            breaker.given_up(is_trial)
            message = f"{self._patient.name} is asked more slowly for a while."
            raise _HandedBack("rate_limited", message, min(wait.seconds, PAUSE_SECONDS_MAX)) from None
        except errors.ItemError as error:
            self._failed(error, began_at, is_trial)
            raise
        except BaseException:  # cancelled, or a fault of ours
            breaker.given_up(is_trial)
            raise
        breaker.succeeded(is_trial)
        limiter.succeeded()
        self._patient._throttles_in_a_row = 0
        return answer

    async def _admitted(self) -> bool:
        try:
            return await self._patient._breaker.admit()
        except errors.ItemError as refusal:
            # Who made a call has tried, and that counts, or one text that breaks its provider would come for ever.
            error = self._failure or refusal
            raise _HandedBack(error.error_class, error.message, refusal.retry_after_seconds) from None

    def _failed(self, error: errors.ItemError, began_at: float, was_trial: bool) -> None:
        patient = self._patient
        patient._failures[error.error_class] += 1
        self._failure = error
        self._overloads += error.error_class == "overloaded"
        if self._ordered:
            patient._breaker.succeeded(was_trial)
            return
        if error.error_class == "rate_limited":
            self._throttled(error, began_at)
        patient._breaker.failed(error.error_class, was_trial)
        if open_seconds := patient._breaker.open_seconds:
            error.retry_after_seconds = max(error.retry_after_seconds or 0.0, open_seconds)

    def _throttled(self, error: errors.ItemError, began_at: float) -> None:
        patient = self._patient
        patient._throttles_in_a_row += 1
        ours = backoff.full_jitter(
            patient._throttles_in_a_row,
            base_seconds=_BASE_SECONDS,
            cap_seconds=_THROTTLED_CAP_SECONDS,
            draw=patient._draw,
        )
        patient._limiter.throttled(max(ours, error.retry_after_seconds or 0.0), began_at)
        if self._patience_until is None:
            self._patience_until = patient._clock.monotonic() + patient._limits.wait_seconds

    @property
    def _patience_seconds(self) -> float:
        if self._patience_until is None:
            return self._patient._limits.wait_seconds
        return max(0.0, self._patience_until - self._patient._clock.monotonic())

    def _is_worth_repeating(self, exc: BaseException) -> bool:
        if not isinstance(exc, errors.ItemError) or isinstance(exc, _HandedBack):
            return False
        if exc.error_class == "rate_limited":
            return not self._ordered  # the limiter waits, or hands back
        return (
            exc.error_class == "overloaded"
            and self._overloads < CALLS_MAX
            and not self._patient._breaker.open_seconds
            and (exc.retry_after_seconds or 0.0) <= REPEAT_SECONDS_MAX
        )

    def _wait(self, _: tenacity.RetryCallState) -> float:
        error = self._failure
        if error is None or error.error_class == "rate_limited":
            return 0.0
        if error.retry_after_seconds is not None:
            return error.retry_after_seconds
        return backoff.full_jitter(
            self._overloads,
            base_seconds=_BASE_SECONDS,
            cap_seconds=_OVERLOADED_CAP_SECONDS,
            draw=self._patient._draw,
        )


def _log(state: tenacity.RetryCallState) -> None:
    wait_seconds = state.next_action.sleep if state.next_action else 0.0
    logger.debug("Provider is asked again", call=state.attempt_number, wait_seconds=round(wait_seconds, 3))

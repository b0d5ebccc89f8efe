"""A session, a clock that sleeps at once, and a provider without a network whose next answers are given."""

from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.unit.fake_clock import FakeClock
from worker import errors
from worker.translators.base import Provider, TranslationAnswer, TranslationRequest


class QuickClock(FakeClock):
    """Every sleep is over at once and moves the time on by its length."""

    def __init__(self) -> None:
        super().__init__()
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        if seconds:
            self.slept.append(seconds)
        self._now += seconds


class Scripted(Provider):
    """Ends each call as ordered, then answers."""

    def __init__(self, *failures: BaseException, name: str = "scripted", simulated: bool = False) -> None:
        self.name = name
        self.simulated = simulated
        self.failures = list(failures)
        self.requests: list[TranslationRequest] = []

    @property
    def calls(self) -> int:
        return len(self.requests)

    async def translate(self, request: TranslationRequest) -> TranslationAnswer:
        self.requests.append(request)
        if self.failures:
            raise self.failures.pop(0)
        return TranslationAnswer(tuple(f"{request.target_language} {text}" for text in request.texts), units=7)


def asked(*texts: str, source: str | None = "en", target: str = "es", **more: object) -> TranslationRequest:
    return TranslationRequest(texts or ("Hello",), source, target, "text", **more)  # type: ignore[arg-type]


async def refused(translator: Provider, request: TranslationRequest | None = None) -> errors.ItemError:
    """How *translator* fails; it never shows its key, which is called SECRET."""
    with pytest.raises(errors.ItemError) as failed:
        await translator.translate(request or asked())
    assert "SECRET" not in repr(failed.value)
    return failed.value


def error(error_class: str, seconds: float | None = None) -> errors.ItemError:
    return errors.ItemError(error_class, "no", seconds)


@pytest.fixture
def clock() -> QuickClock:
    return QuickClock()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened

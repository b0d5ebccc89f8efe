"""Types that wait because their provider asked to."""

import pytest

from tests.unit.fake_clock import FakeClock
from worker.pauses import Pauses

TYPES = ("translation", "thumbnail")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def pauses(clock: FakeClock) -> Pauses:
    return Pauses(clock=clock)


async def test_a_type_whose_provider_asks_to_wait_is_not_open_until_then(pauses: Pauses, clock: FakeClock) -> None:
    pauses.note("translation", "rate_limited", 40.0)

    assert pauses.open(TYPES) == ["thumbnail"]
    assert pauses.left_seconds() == {"translation": 40.0}
    await clock.advance(39.9)
    assert pauses.open(TYPES) == ["thumbnail"]
    await clock.advance(0.1)
    assert pauses.open(TYPES) == ["translation", "thumbnail"]
    assert pauses.left_seconds() == {}


@pytest.mark.parametrize(
    ("error_class", "seconds"), [("rate_limited", 15.0), ("quota_exhausted", 300.0), ("auth", 60.0)]
)
async def test_a_provider_that_does_not_say_how_long_gets_the_time_its_trouble_takes(
    pauses: Pauses, error_class: str, seconds: float
) -> None:
    pauses.note("translation", error_class, None)

    assert pauses.left_seconds() == {"translation": seconds}


@pytest.mark.parametrize("error_class", ["overloaded", "bad_request", "content_blocked", "bad_output", "internal"])
async def test_what_one_text_did_wrong_pauses_nothing(pauses: Pauses, error_class: str) -> None:
    pauses.note("translation", error_class, 100.0)

    assert pauses.open(TYPES) == list(TYPES)


async def test_the_longest_wait_counts_and_no_wait_is_longer_than_five_minutes(pauses: Pauses) -> None:
    pauses.note("translation", "rate_limited", 10_000.0)
    pauses.note("translation", "rate_limited", 5.0)

    assert pauses.left_seconds() == {"translation": 300.0}

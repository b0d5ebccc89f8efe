"""Full jitter stays between nothing and its doubled, capped base."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tenacity import RetryCallState, Retrying

from worker import backoff, errors


@given(st.integers(-5, 10_000), st.floats(0.01, 10), st.floats(0.01, 600))
def test_a_delay_is_never_negative_and_never_above_its_cap(failures: int, base: float, cap: float) -> None:
    assert 0 <= backoff.full_jitter(failures, base_seconds=base, cap_seconds=cap) <= cap


@pytest.mark.parametrize(("failures", "most"), [(1, 1), (2, 2), (3, 4), (4, 8), (5, 10), (400, 10)])
def test_the_window_doubles_up_to_the_cap(failures: int, most: float) -> None:
    assert backoff.full_jitter(failures, base_seconds=1, cap_seconds=10, draw=lambda _, high: high) == most
    assert backoff.full_jitter(failures, base_seconds=1, cap_seconds=10, draw=lambda low, _: low) == 0


def test_a_worker_alone_waits_for_nobody() -> None:
    assert backoff.herd_seconds(1, told_seconds=0.1) == 0
    assert backoff.herd_seconds(0, told_seconds=None) == 0


def test_looks_are_spread_over_more_time_the_more_workers_there_are_and_a_second_at_most() -> None:
    spreads = [backoff.herd_seconds(workers, told_seconds=0.02) for workers in (2, 10, 50, 1000)]

    assert spreads == pytest.approx([0.01, 0.09, 0.49, 1.0])


def test_the_spread_follows_how_long_a_word_takes() -> None:
    assert backoff.herd_seconds(3, told_seconds=None) == pytest.approx(0.05)
    assert backoff.herd_seconds(3, told_seconds=0.1) == pytest.approx(0.1)
    assert backoff.herd_seconds(3, told_seconds=100.0) == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("error", "least", "most"),
    [
        (errors.StoreUnavailable("ConnectError"), 0, 0.4),
        (errors.StoreUnavailable("540"), 30, 60),
        (errors.StoreUnauthorized("PGRST301"), 30, 60),
        (errors.SqlMissing("PGRST202"), 30, 60),
    ],
)
def test_what_a_person_must_cure_is_asked_for_slowly(error: errors.StoreError, least: float, most: float) -> None:
    state = RetryCallState(retry_object=Retrying(), fn=None, args=(), kwargs={})
    state.attempt_number = 3
    state.set_exception((type(error), error, None))
    wait = backoff.wait_for_store(0.1, 10.0)

    assert all(least <= wait(state) <= most for _ in range(100))

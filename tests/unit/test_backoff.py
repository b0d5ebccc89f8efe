"""Full jitter stays between nothing and its doubled, capped base."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker import backoff


@given(st.integers(-5, 10_000), st.floats(0.01, 10), st.floats(0.01, 600))
def test_a_delay_is_never_negative_and_never_above_its_cap(failures: int, base: float, cap: float) -> None:
    assert 0 <= backoff.full_jitter(failures, base_seconds=base, cap_seconds=cap) <= cap


@pytest.mark.parametrize(("failures", "most"), [(1, 1), (2, 2), (3, 4), (4, 8), (5, 10), (400, 10)])
def test_the_window_doubles_up_to_the_cap(failures: int, most: float) -> None:
    assert backoff.full_jitter(failures, base_seconds=1, cap_seconds=10, draw=lambda _, high: high) == most
    assert backoff.full_jitter(failures, base_seconds=1, cap_seconds=10, draw=lambda low, _: low) == 0

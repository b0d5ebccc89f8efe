"""What several of these tests need."""

from typing import Any

import pytest

from worker import backoff


@pytest.fixture
def longest_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every pause behind a failure is as long as it may be."""

    def longest(failures: int, **bounds: Any) -> float:
        return backoff.grown(failures, **bounds)

    monkeypatch.setattr(backoff, "full_jitter", longest)

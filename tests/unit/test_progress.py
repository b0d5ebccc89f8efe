"""Progress is monotone and bounded; a pace is that of real work, and nothing is promised before there is one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.progress import JobProgress, Pace


def update(progress: JobProgress, item: str, now: float, done: int, total: int, cached: int = 0) -> None:
    progress.update(
        item,
        now=now,
        done_chars=done,
        total_chars=total,
        cached_chars=cached,
        chunks_done=(done - cached) // 100,
        chunks_total=(total - cached) // 100,
    )


def steadily(
    progress: JobProgress, item: str, total: int, *, until: float, each: float = 1.0, start: float = 0
) -> None:
    """One chunk of 100 characters *each* so many seconds."""
    update(progress, item, start, 0, total)
    now, done = start, 0
    while now + each <= until:
        now, done = now + each, done + 100
        update(progress, item, now, done, total)


# How far


def test_it_counts_characters_over_all_items() -> None:
    progress = JobProgress({"es": 1000, "fr": 1000}, started_at=0)
    update(progress, "es", 1, 500, 1000)

    assert progress.percent == 25


def test_a_failed_item_is_over() -> None:
    progress = JobProgress({"es": 1000, "fr": 1000}, started_at=0)
    update(progress, "fr", 1, 500, 1000)
    progress.finish("es")

    assert progress.percent == 75


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["es", "fr", "de"]), st.integers(-5, 5000), st.integers(0, 4000), st.integers(0, 5000)
        )
    )
)
def test_it_never_goes_back_and_never_leaves_its_bounds(steps: list[tuple[str, int, int, int]]) -> None:
    progress = JobProgress({"es": 100, "fr": 0, "de": 3000}, started_at=0)
    last = 0
    for now, (item, done, total, cached) in enumerate(steps):
        update(progress, item, now, done, total, cached)
        percent = progress.percent
        assert last <= percent <= 100
        eta = progress.promised_seconds(now)
        assert eta is None or eta >= 0
        last = percent
    for item in ("es", "fr", "de"):
        progress.finish(item)
    assert progress.percent == 100


# How long


def test_the_eta_comes_from_the_measured_pace() -> None:
    progress = JobProgress({"es": 1000}, started_at=0)
    steadily(progress, "es", 1000, until=4)

    assert progress.eta_seconds(4) == pytest.approx(6)


def test_languages_side_by_side_share_the_rest() -> None:
    progress = JobProgress({name: 1000 for name in ("es", "fr", "de", "it")}, started_at=0)
    steadily(progress, "es", 1000, until=5)
    steadily(progress, "fr", 1000, until=5)

    # 1 000 done at 200 a second, 3 000 left
    assert progress.eta_seconds(5) == pytest.approx(15)


def test_the_slowest_language_decides_near_the_end() -> None:
    progress = JobProgress({"es": 1000, "fr": 1000}, started_at=0)
    steadily(progress, "fr", 1000, until=10, each=2)
    steadily(progress, "es", 1000, until=10)
    progress.finish("es")

    assert progress.eta_seconds(10) == pytest.approx(10)


def test_what_the_memory_knew_promises_no_speed() -> None:
    progress = JobProgress({"es": 1000}, started_at=0)
    update(progress, "es", 0, 600, 1000, cached=600)
    for now in (1, 2, 3):
        update(progress, "es", now, 600 + 100 * now, 1000, cached=600)

    assert progress.eta_seconds(3) == pytest.approx(1)


def test_nothing_is_promised_before_three_calls_or_ten_seconds() -> None:
    progress = JobProgress({"es": 1000}, started_at=0)
    assert progress.eta_seconds(60) is None

    update(progress, "es", 2, 100, 1000)
    update(progress, "es", 4, 200, 1000)
    assert progress.eta_seconds(4) is None
    assert progress.eta_seconds(10) is not None

    update(progress, "es", 6, 300, 1000)
    assert progress.eta_seconds(6) == pytest.approx(14)


def test_a_memory_alone_makes_no_pace() -> None:
    progress = JobProgress({"es": 1000}, started_at=0)
    update(progress, "es", 20, 800, 1000, cached=800)

    assert progress.eta_seconds(20) is None


def test_only_the_last_calls_count() -> None:
    pace = Pace(0)
    for n in range(1, 21):  # a call a second
        pace.note(n, n * 100, n)
    for n in range(1, 21):  # then each takes four
        pace.note(20 + 4 * n, 2000 + n * 100, 20 + n)

    assert pace.chars_per_second(100) == pytest.approx(25)
    assert pace.chunks_per_minute(100) == pytest.approx(15)


def test_silence_slows_the_pace() -> None:
    pace = Pace(0)
    for n in (1, 2, 3, 4):
        pace.note(n, n * 100, n)

    assert pace.chars_per_second(5) == pytest.approx(100)
    assert pace.chars_per_second(9) == pytest.approx(50)


def test_what_was_promised_stands_for_five_seconds() -> None:
    progress = JobProgress({"es": 2000}, started_at=0)
    steadily(progress, "es", 2000, until=4)
    assert progress.promised_seconds(4) == pytest.approx(16)

    for now in (4.5, 5, 5.5, 6):  # twice as fast suddenly
        update(progress, "es", now, int(200 * now), 2000)
    assert progress.promised_seconds(6) == pytest.approx(14)
    assert (promised := progress.promised_seconds(9)) is not None
    assert promised < 11


def test_a_broken_promise_is_admitted() -> None:
    progress = JobProgress({"es": 1000}, started_at=0)
    steadily(progress, "es", 1000, until=5)
    progress.promised_seconds(5)

    assert progress.entry(12)["message"] != "Taking longer than usual."
    assert progress.entry(13)["message"] == "Taking longer than usual."


# What is sent


def test_the_entry_names_only_items_that_have_begun() -> None:
    progress = JobProgress({"es": 1000, "fr": 1000}, started_at=0)
    steadily(progress, "es", 1000, until=5)

    assert progress.entry(5) == {
        "progress": 25,
        "eta_ms": 15_000,
        "message": "5 of 10 parts; 6,000 characters and 60 parts a minute.",
        "items": [{"item": "es", "chunks_done": 5, "chunks_total": 10, "progress": 50, "eta_ms": 5000}],
    }


def test_an_item_that_waited_for_its_turn_is_not_slow() -> None:
    progress = JobProgress({"es": 1000, "fr": 1000}, started_at=0)
    steadily(progress, "es", 1000, until=10)
    progress.finish("es")
    steadily(progress, "fr", 1000, start=10, until=14)

    assert progress.eta_seconds(14) == pytest.approx(6)

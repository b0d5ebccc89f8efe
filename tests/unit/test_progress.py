"""Progress is monotone, bounded, and its ETA leaves out what the memory knew."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.progress import JobProgress


def update(progress: JobProgress, item: str, done: int, total: int, cached: int = 0) -> None:
    progress.update(
        item,
        done_chars=done,
        total_chars=total,
        cached_chars=cached,
        chunks_done=done // 100,
        chunks_total=total // 100,
    )


def test_it_counts_characters_over_all_items() -> None:
    progress = JobProgress({"es": 1000, "fr": 1000}, started_at=0)
    update(progress, "es", 500, 1000)

    assert progress.percent == 25


def test_the_eta_comes_from_the_measured_rate() -> None:
    progress = JobProgress({"es": 1000, "fr": 1000}, started_at=100)
    update(progress, "es", 500, 1000)

    assert progress.eta_seconds(110) == pytest.approx(30)


def test_what_the_memory_knew_promises_no_speed() -> None:
    progress = JobProgress({"es": 1000}, started_at=0)
    update(progress, "es", 900, 1000, cached=800)

    assert progress.eta_seconds(10) == pytest.approx(10)


def test_without_work_done_there_is_no_eta() -> None:
    progress = JobProgress({"es": 1000}, started_at=0)
    assert progress.eta_seconds(10) is None

    update(progress, "es", 800, 1000, cached=800)

    assert progress.eta_seconds(10) is None


def test_a_failed_item_is_over_but_was_not_fast() -> None:
    progress = JobProgress({"es": 1000, "fr": 1000}, started_at=0)
    update(progress, "fr", 500, 1000)
    progress.finish("es")

    assert progress.percent == 75
    assert progress.eta_seconds(10) == pytest.approx(10)


def test_the_entry_names_only_items_that_have_begun() -> None:
    progress = JobProgress({"es": 1000, "fr": 1000}, started_at=0)
    update(progress, "es", 500, 1000)

    assert progress.entry(10) == {
        "progress": 25,
        "eta_ms": 30_000,
        "items": [{"item": "es", "chunks_done": 5, "chunks_total": 10}],
    }


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
    for item, done, total, cached in steps:
        update(progress, item, done, total, cached)
        now = progress.percent
        assert last <= now <= 100
        eta = progress.eta_seconds(5)
        assert eta is None or eta >= 0
        last = now
    for item in ("es", "fr", "de"):
        progress.finish(item)
    assert progress.percent == 100

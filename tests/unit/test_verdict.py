"""Whatever a handler raises ends its item only, and says nothing it should not."""

import pytest

from worker import errors
from worker.handlers.verdict import took_too_long, verdict
from worker.models import DISPOSITIONS, RETRY_AFTER_SECONDS, Disposition


@pytest.mark.parametrize("error_class", sorted(errors.ERROR_CLASSES))
def test_an_item_error_follows_the_table(error_class: str) -> None:
    outcome = verdict(errors.ItemError(error_class, "A sentence.", 3.0))

    assert outcome.disposition is DISPOSITIONS[error_class]
    assert (outcome.error_class, outcome.message, outcome.retry_after_seconds) == (error_class, "A sentence.", 3.0)


@pytest.mark.parametrize("error_class", sorted(errors.ERROR_CLASSES))
def test_a_provider_that_names_no_wait_gets_that_of_the_table(error_class: str) -> None:
    outcome = verdict(errors.ItemError(error_class, "A sentence.", speaks_for_provider=False))

    assert outcome.retry_after_seconds == RETRY_AFTER_SECONDS.get(error_class)
    assert (outcome.retry_after_seconds is not None) == (outcome.disposition is Disposition.THROTTLED)
    assert not outcome.speaks_for_provider


def test_an_unknown_class_cannot_be_raised() -> None:
    with pytest.raises(ValueError, match="tired"):
        errors.ItemError("tired", "A sentence.")


def test_retry_later_is_counted_and_keeps_its_delay() -> None:
    outcome = verdict(errors.RetryLater(30, "The page is being edited."))

    assert (outcome.disposition, outcome.retry_after_seconds) == (Disposition.RETRY, 30)
    assert outcome.message == "The page is being edited."


def test_giving_up_is_final() -> None:
    outcome = verdict(errors.GiveUp("There is no such page."))

    assert (outcome.disposition, outcome.error_class) == (Disposition.FAILED, "bad_request")


@pytest.mark.parametrize("error", [KeyError("secret text"), RuntimeError("secret text"), TimeoutError("secret text")])
def test_anything_else_is_our_fault_and_is_not_quoted(error: Exception) -> None:
    outcome = verdict(error)

    assert (outcome.disposition, outcome.error_class) == (Disposition.RETRY, "internal")
    assert "secret" not in outcome.message


def test_a_silent_database_costs_the_item_no_try() -> None:
    outcome = verdict(errors.StoreUnavailable("ReadTimeout"))

    assert outcome.disposition is Disposition.THROTTLED


def test_too_long_is_counted() -> None:
    assert took_too_long(90).disposition is Disposition.RETRY
    assert "90 seconds" in took_too_long(90).message

"""
What an exception of a handler means for its item. The one place where errors become dispositions.
"""

from loguru import logger

from worker import errors, logs, models
from worker.models import Disposition, NotCompleted


def verdict(error: Exception) -> NotCompleted:
    """
    The outcome of an item whose handler raised *error*. What a handler did not say in our words is our own
    fault, not the customer's: counted, tried again, and described without details.
    """
    match error:
        case errors.ItemError():
            return NotCompleted(
                models.DISPOSITIONS[error.error_class],
                error.error_class,
                error.message,
                _retry_after(error),
                speaks_for_provider=error.speaks_for_provider,
            )
        case errors.RetryLater():
            return NotCompleted(Disposition.RETRY, "internal", error.reason, error.delay_seconds)
        case errors.GiveUp():
            return NotCompleted(Disposition.FAILED, "bad_request", error.reason)
        case errors.StoreError():
            logger.warning("Item interrupted: the database did not answer", error=type(error).__name__)
            return NotCompleted(Disposition.THROTTLED, "overloaded", "The database did not answer.", 5.0)
        case _:
            logger.error("Handler failed", error=type(error).__name__, place=logs.place(error))
            return NotCompleted(Disposition.RETRY, "internal", "Something went wrong while working on this.")


def _retry_after(error: errors.ItemError) -> float | None:
    if error.retry_after_seconds is not None:
        return error.retry_after_seconds
    return models.RETRY_AFTER_SECONDS.get(error.error_class)


def stopped_itself() -> NotCompleted:
    """The outcome of an item whose handler let a cancellation pass that was none of ours."""
    logger.error("Handler cancelled itself")
    return NotCompleted(Disposition.RETRY, "internal", "Something went wrong while working on this.")


def took_too_long(timeout_seconds: float) -> NotCompleted:
    """The outcome of an item that was stopped at its time limit."""
    logger.warning("Item took too long", timeout_seconds=timeout_seconds)
    return NotCompleted(
        Disposition.RETRY, "internal", f"This took longer than {timeout_seconds:g} seconds and was stopped."
    )

"""
Every exception we raise. A class exists because somebody does something different about it.

    WorkerError
    ├── ConfigurationError    the start is refused; the message is one sentence with the cure → exit 2
    ├── StoreError            a call to the database did not do its work
    │   ├── StoreUnavailable  no answer, or "not now": wait and repeat
    │   │   └── StoreTooSlow  it ran into its time limit: ask for less
    │   ├── StoreRefused      the database said no to this very call; repeating it changes nothing
    │   ├── StoreUnauthorized the key, the address or the role is wrong: a person is needed
    │   ├── SqlMissing        the project's SQL is not installed
    │   └── SqlTooOld         it is, but older than this worker
    ├── StoreSilent           the database has not answered for so long that the process must end → exit 1
    ├── LeaseLost             somebody else holds the job, or nobody: stop working on it
    ├── ItemError             one item failed in a known way (see ERROR_CLASSES)
    ├── RetryLater            a handler says: again later, counted as a try
    └── GiveUp                a handler says: this item is finally failed
"""

from collections.abc import Set
from typing import Final

ERROR_CLASSES: Final[Set[str]] = frozenset(
    {
        "rate_limited",
        "overloaded",
        "quota_exhausted",
        "auth",
        "bad_request",
        "unsupported_language",
        "content_blocked",
        "bad_output",
        "internal",
    }
)


class WorkerError(Exception):
    """The root of everything raised on purpose."""


class ConfigurationError(WorkerError):
    """The worker cannot start like this. The message is one sentence that names the cure."""


class StoreError(WorkerError):
    """A call to the database did not do its work."""


class StoreUnavailable(StoreError):
    """
    No answer, or a passing refusal (5xx, too many requests). Wait and repeat.

    *not_done*: the call certainly had no effect, because it never got there. Otherwise nobody knows.
    """

    def __init__(self, said: str = "", *, not_done: bool = False) -> None:
        super().__init__(said)
        self.not_done = not_done


class StoreTooSlow(StoreUnavailable):
    """The statement was ended at its time limit. Repeating it whole may never succeed: ask for less."""


class StoreRefused(StoreError):
    """
    The database said no to this call. *code* is the SQLSTATE or PostgREST code, *word* the stable first
    word of the details (`credits_short`, …; empty when there is none), *message* a sentence for people.
    """

    def __init__(self, code: str, word: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.word = word
        self.message = message


class StoreUnauthorized(StoreError):
    """The key, the address or the role is wrong. Repeat slowly and loudly: only a person can cure it."""


class SqlMissing(StoreError):
    """The function is not there: the project's SQL was never pasted, or not completely."""


class SqlTooOld(StoreError):
    """The installed SQL is older than this worker needs."""


class StoreSilent(WorkerError):
    """Too long without one accepted answer: the service manager shall start us afresh."""


class LeaseLost(WorkerError):
    """The job is no longer ours. Stop working on it; nothing more that we write will be accepted."""


class ItemError(WorkerError):
    """
    One item failed. *error_class* is one of ERROR_CLASSES and decides what follows (`models.DISPOSITIONS`).
    *message* is shown to the job's owner: no keys, no stack, no other customer's text.
    *speaks_for_provider*: whether a refusal to serve would meet every other item as well (`Pauses`).
    """

    def __init__(
        self,
        error_class: str,
        message: str,
        retry_after_seconds: float | None = None,
        *,
        speaks_for_provider: bool = True,
    ) -> None:
        if error_class not in ERROR_CLASSES:
            raise ValueError(f"unknown error class {error_class!r}")
        super().__init__(message)
        self.error_class = error_class
        self.message = message
        self.retry_after_seconds = retry_after_seconds
        self.speaks_for_provider = speaks_for_provider


class RetryLater(WorkerError):
    """Try this item again in *delay_seconds*. Counts as a try; *reason* is shown to the job's owner."""

    def __init__(self, delay_seconds: float, reason: str) -> None:
        super().__init__(reason)
        self.delay_seconds = delay_seconds
        self.reason = reason


class GiveUp(WorkerError):
    """This item cannot be done, now or later. *reason* is shown to the job's owner."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

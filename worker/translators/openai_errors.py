"""
What the errors of OpenAI-compatible servers mean.

`error` is an object at OpenAI, a bare string at Ollama, and wrapped in a list at Gemini; a code may be a word
or a number; one status, 429, says "slow down" and "no money". So nothing is assumed to exist, and the words
decide before the status does. Not a word of the server reaches a message of ours.
"""

from typing import Any, Final

from worker import errors
from worker.translators import bodies
from worker.translators.base import TooLong
from worker.translators.wire import Reply

_NO_MONEY: Final = frozenset(
    {
        "insufficient_quota",
        "credit_balance_exhausted",
        "billing_hard_limit_reached",
        "billing_not_active",
        "organization_spend_limit_exceeded",
        "organization_usage_limit_exceeded",
        "project_spend_limit_exceeded",
        "insufficient_credits",
    }
)
_NO_KEY: Final = frozenset(
    {"invalid_api_key", "authentication_error", "unauthenticated", "permission_denied", "api_key_invalid"}
)
_TOO_LONG: Final = frozenset({"context_length_exceeded", "string_above_max_length", "request_too_large"})
_TOO_LONG_WORDS: Final = ("context length", "context window", "maximum context", "max_tokens", "too many tokens")
_BLOCKED: Final = frozenset({"content_filter", "content_policy_violation", "responsibleaipolicyviolation"})
_BUSY_WORDS: Final = ("overloaded", "server busy", "maximum pending requests")


def refusal(reply: Reply) -> errors.ItemError:
    """The error that *reply*, which is no translation, stands for."""
    status, answer = reply.status, reply.json()
    codes = {code.lower() for code in bodies.words(answer, "code", "type", "status", "reason")}
    words = " ".join(bodies.words(answer, "error", "message")).lower()
    if codes & _BLOCKED:
        return errors.ItemError("content_blocked", "The language model's provider blocked this text.")
    if codes & _TOO_LONG or status == 413 or (status == 400 and any(word in words for word in _TOO_LONG_WORDS)):
        return TooLong("bad_request", "The text is longer than the language model takes at once.")
    if codes & _NO_MONEY or status == 402 or (status == 429 and _is_daily(answer)):
        return errors.ItemError("quota_exhausted", "The language model's quota is used up.", reply.wait_seconds)
    if codes & _NO_KEY or status in (401, 403) or "api key" in words or "failed_precondition" in codes:
        return errors.ItemError("auth", "The language model's provider refused the key of this worker.")
    if status == 404 or "model_not_found" in codes:
        # No fault of the text, and nothing that a customer should lose a job for.
        return errors.ItemError("auth", "The language model of this worker's settings is not there.")
    if status == 429:
        return errors.ItemError("rate_limited", "The language model's provider asks to slow down.", reply.wait_seconds)
    if status in (408, 409, 425) or status >= 500 or any(word in words for word in _BUSY_WORDS):
        message = f"The language model is overloaded (status {status})."
        return errors.ItemError("overloaded", message, reply.wait_seconds)
    if status < 400 and status != 200:
        return errors.ItemError("auth", f"There is no language model at this address (status {status}).")
    return errors.ItemError("bad_request", f"The language model's provider refused the request (status {status}).")


def _is_daily(answer: Any) -> bool:
    """Whether Google's QuotaFailure names an allowance of the day: waiting a minute does not help."""
    return any("PerDay" in quota for quota in bodies.words(answer, "quotaId"))

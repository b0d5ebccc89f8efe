"""
The things that travel between the parts: frozen, with `from_row` beside the fields and the wire's shape
beside what is sent.

    job       what a user asked for; claimed as a whole, under one token
    item      one language of a job (or one step of another job type); what succeeds, fails and is paid for
    claim     holding a job; every write carries its token, and a stale token changes nothing
    outcome   how one try of one item ended
    answer    what the database made of an outcome
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Self

from worker import errors


class Disposition(StrEnum):
    """What follows when a try of an item did not succeed."""

    RETRY = "retry"  # counted; open again until the job's tries are used up
    THROTTLED = "throttled"  # nothing counted; comes back at the provider's pace until the deadline
    FAILED = "failed"  # final and refunded


# Repeats inside one run (an overloaded provider, a bad answer) happen below us and are not tries.
DISPOSITIONS: Final[Mapping[str, Disposition]] = {
    "overloaded": Disposition.RETRY,
    "internal": Disposition.RETRY,
    "rate_limited": Disposition.THROTTLED,
    "quota_exhausted": Disposition.THROTTLED,
    "auth": Disposition.THROTTLED,
    "bad_request": Disposition.FAILED,
    "unsupported_language": Disposition.FAILED,
    "content_blocked": Disposition.FAILED,
    "bad_output": Disposition.FAILED,
}
assert set(DISPOSITIONS) == errors.ERROR_CLASSES

RETRY_AFTER_SECONDS: Final[Mapping[str, float]] = {"rate_limited": 15.0, "quota_exhausted": 300.0, "auth": 60.0}
"""How long to wait for a provider that refuses everybody and does not say how long."""


@dataclass(frozen=True, slots=True)
class Item:
    name: str
    attempts: int
    """Tries counted so far."""
    chars: int


@dataclass(frozen=True, slots=True)
class Job:
    id: str
    token: int
    seq: int
    job_type: str
    user_id: str | None
    subject: str | None
    title: str | None
    metadata: Mapping[str, Any]
    content_kind: str
    content: Any
    """None when it is too large for a claim; see `content_inline`."""
    content_inline: bool
    content_chars: int
    source_language: str | None
    options: Mapping[str, Any]
    priority: int
    correlation_id: str | None
    lease_seconds: float
    """What was left of the lease when the database answered: less than asked for when a call was repeated."""
    max_attempts: int
    item_timeout_seconds: float
    deadline_seconds: float
    """Time left when it was claimed; may be negative."""
    found_by: str
    found_ms: int
    """Milliseconds from becoming claimable to this claim, by the database's clock."""
    items: tuple[Item, ...]
    """The open items only, in the order the user gave."""
    floor: Mapping[str, Any] | None = None
    """What the next claim may say, so as not to look where nothing waits. Only the first job of an answer has it."""

    @property
    def attempt(self) -> int:
        """Which counted try this is, from 1: that of the item which needed most."""
        return max((item.attempts for item in self.items), default=0) + 1

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        return cls(
            id=row["job_id"],
            token=row["token"],
            seq=row["seq"],
            job_type=row["job_type"],
            user_id=row.get("user_id"),
            subject=row.get("subject"),
            title=row.get("title"),
            metadata=row.get("metadata") or {},
            content_kind=row.get("content_kind") or "text",
            content=row.get("content"),
            content_inline=row.get("content_inline", True),
            content_chars=row.get("content_chars") or 0,
            source_language=row.get("source_language"),
            options=row.get("options") or {},
            priority=row.get("priority") or 0,
            correlation_id=row.get("correlation_id"),
            lease_seconds=row["lease_ms"] / 1000,
            max_attempts=row.get("max_attempts") or 1,
            item_timeout_seconds=row["item_timeout_ms"] / 1000,
            deadline_seconds=(row.get("deadline_ms") or 0) / 1000,
            found_by=row.get("found_by") or "poll",
            found_ms=row.get("found_ms") or 0,
            items=tuple(Item(item["item"], item.get("attempts") or 0, item.get("chars") or 0) for item in row["items"]),
            floor=row.get("floor"),
        )


@dataclass(frozen=True, slots=True)
class Recalled:
    """One segment found in the translation memory."""

    target: str
    free: bool
    """Its origin was charged, so this hit is not billed again."""


@dataclass(frozen=True, slots=True)
class GlossaryTerm:
    """How the job's user wants a term said in one language."""

    source_language: str
    target_language: str
    term: str
    translation: str | None
    """None: it has none because it is not to be translated."""
    do_not_translate: bool
    case_sensitive: bool

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        return cls(
            source_language=row["source_language"],
            target_language=row["target_language"],
            term=row["term"],
            translation=row.get("translation"),
            do_not_translate=bool(row.get("do_not_translate")),
            case_sensitive=bool(row.get("case_sensitive")),
        )


@dataclass(frozen=True, slots=True)
class ParentItem:
    """What became of one item of a job that this one came after."""

    status: str
    content: Any
    """What its handler returned; None unless it completed, and while `is_large`."""
    is_large: bool
    """It did not travel with the others: `parent_result` of the context fetches it."""
    error: Mapping[str, Any] | None
    """`{class, message}`; None when it completed."""


@dataclass(frozen=True, slots=True)
class Parent:
    """A job that this one came after. It has ended; not necessarily well, where `after_failure` is `run`."""

    id: str
    name: str | None
    """What the chain calls it; None where the job was made with an id."""
    job_type: str
    title: str | None
    subject: str | None
    status: str
    items: Mapping[str, ParentItem]

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "Parent":
        items = {
            item["item"]: ParentItem(
                status=item["status"],
                content=(item.get("result") or {}).get("content"),
                is_large=bool(item.get("has_more")),
                error=item.get("error"),
            )
            for item in row["items"]
        }
        plain = {name: row.get(name) for name in ("name", "title", "subject")}
        return cls(id=row["id"], job_type=row["job_type"], status=row["status"], items=items, **plain)


@dataclass(frozen=True, slots=True)
class ItemResult:
    """What a handler returns for an item that succeeded."""

    content: Any
    provider: str
    simulated: bool = False
    cached_chars: int = 0
    source_language: str | None = None
    warnings: tuple[Mapping[str, Any], ...] = ()
    billed_chars: int | None = None
    """None: all of it."""
    total_chars: int | None = None
    chunks: int = 0


@dataclass(frozen=True, slots=True)
class Completed:
    result: ItemResult


@dataclass(frozen=True, slots=True)
class NotCompleted:
    """A try that did not succeed; *message* is shown to the job's owner."""

    disposition: Disposition
    error_class: str
    message: str
    retry_after_seconds: float | None = None
    speaks_for_provider: bool = True
    """Whether other jobs of this type would meet the same; False when only this language is refused."""


Outcome = Completed | NotCompleted


@dataclass(frozen=True, slots=True)
class Answer:
    """What the database made of one outcome."""

    answer: str
    """recorded, already (a repeated call), cancelled or lost."""
    job_status: str | None
    """`processing` while items of this claim are open; anything else means the run is over."""

    @property
    def still_held(self) -> bool:
        return self.answer in ("recorded", "already")


def outcome_entry(job: Job, item: str, outcome: Outcome, elapsed_seconds: float = 0.0) -> dict[str, Any]:
    """*outcome* of a try that took *elapsed_seconds*, as `record_translation_results` wants it."""
    elapsed_ms = round(elapsed_seconds * 1000)
    entry: dict[str, Any] = {"job_id": job.id, "token": job.token, "item": item, "elapsed_ms": elapsed_ms}
    match outcome:
        case Completed(result):
            return entry | _completed(result)
        case NotCompleted():
            return entry | _not_completed(outcome)


def _completed(result: ItemResult) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "outcome": "completed",
        "result": {
            "content": result.content,
            "provider": result.provider,
            "simulated": result.simulated,
            "cached_chars": result.cached_chars,
            "source_language": result.source_language,
        },
        "warnings": [dict(warning) for warning in result.warnings],
        "chunks_done": result.chunks,
        "chunks_total": result.chunks,
    }
    if result.billed_chars is not None:
        fields["billed_chars"] = result.billed_chars
    if result.total_chars is not None:
        fields["total_chars"] = result.total_chars
    return fields


def _not_completed(outcome: NotCompleted) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "outcome": outcome.disposition.value,
        "error": {"class": outcome.error_class, "message": outcome.message},
    }
    if outcome.retry_after_seconds is not None:
        fields["retry_after_ms"] = round(outcome.retry_after_seconds * 1000)
    return fields

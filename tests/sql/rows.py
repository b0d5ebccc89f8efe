"""
What the model of the queue remembers: jobs, their items, and claims on them.

Owns no rule but what follows from a row alone; the rules stand in `model`. Times are milliseconds.
"""

from dataclasses import dataclass, field
from typing import Any

OPEN = ("pending", "processing")
ENDED = ("completed", "failed", "cancelled")


@dataclass
class Refusal(Exception):
    """The database has to say no, with this word."""

    word: str


@dataclass(frozen=True)
class Request:
    """What a create or an enqueue asks for."""

    user: str | None
    job_type: str
    content: str
    items: tuple[str, ...]
    priority: int = 5
    key: str | None = None
    run_at: int | None = None
    after: tuple[str, ...] = ()
    anyway: bool = False
    """Run also after a parent that did not complete."""

    @property
    def body(self) -> tuple[Any, ...]:
        """What an idempotency key stands for."""
        return self.job_type, self.content, self.items, self.anyway


@dataclass
class Item:
    price: int
    credits: int
    status: str = "pending"
    attempts: int = 0
    retry_at: int | None = None
    recorded: int | None = None  # token of the last claim it was recorded under

    @property
    def open(self) -> bool:
        return self.status in OPEN


@dataclass
class Claim:
    token: int
    call: str
    worker: str
    claimed_at: int
    lease_until: int
    progressed: bool = False

    def hands_out(self, item: Item) -> bool:
        """Whether the item is still to come in the run of this claim."""
        due = item.retry_at is None or item.retry_at <= self.claimed_at
        return item.open and due and item.recorded != self.token


@dataclass
class Job:
    id: str
    request: Request
    items: dict[str, Item]
    status: str
    run_at: int | None
    deadline_at: int
    retry_of: str | None = None
    ended_at: int | None = None
    deliveries: int = 0
    lost: int = 0
    claim: Claim | None = None
    past_claims: list[Claim] = field(default_factory=list)

    @property
    def user(self) -> str | None:
        return self.request.user

    @property
    def ended(self) -> bool:
        return self.status in ENDED

    def held_by(self, worker: str, token: int) -> bool:
        return self.claim is not None and (self.claim.worker, self.claim.token) == (worker, token)


def picture(job: Job) -> dict[str, Any]:
    """The job as the tables have to show it."""
    items, claim = job.items.values(), job.claim
    return {
        "status": job.status,
        "priority": job.request.priority,
        "deliveries": job.deliveries,
        "lost_count": job.lost,
        "attempts": max(item.attempts for item in items),
        "failed_items": sum(item.status == "failed" for item in items),
        "run_at": job.run_at,
        "deadline_at": job.deadline_at,
        "ended_at": job.ended_at,
        "retry_of": job.retry_of,
        "reserved": sum(item.price for item in items),
        "consumed": sum(item.credits for item in items if item.status == "completed"),
        "refunded": sum(item.price - item.credits for item in items if not item.open),
        "claim": claim and [claim.token, claim.worker, claim.lease_until, claim.progressed],
        "items": {name: [item.status, item.attempts, item.credits, item.retry_at] for name, item in job.items.items()},
    }

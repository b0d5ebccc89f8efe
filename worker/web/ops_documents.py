"""
What goes in and out of the operator routes, as models. Like `documents`, only for people who see every user's jobs.

The rule: no source and no result is in any of them but `SourceText`, which is asked for by name and written down.
"""

from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import AfterValidator, Field

from worker.web.documents import STATES, Answer, Count, Job, JobError, Key, Query, Request, Row, Text, check_states

Numbers = dict[str, int]


# Asked


class OpsJobsQuery(Query):
    status: Annotated[
        str | None,
        AfterValidator(check_states),
        Field(
            description="States, separated by commas; `partly` is looked for among completed ones.",
            pattern=f"^({'|'.join(STATES)})(,({'|'.join(STATES)}))*$",
        ),
    ] = None
    type: Annotated[Key | None, Field(description="Only jobs of this type.")] = None
    user: Annotated[UUID | None, Field(description="Only jobs of this user.")] = None
    error_class: Annotated[
        Key | None, Field(description="Only jobs with this class of error, among the 2000 that failed last.")
    ] = None
    subject: Text | None = None
    search: Annotated[
        Key | None, Field(description="A text in title, subject or id, among the newest 2000 of each state.")
    ] = None
    limit: Annotated[int, Field(ge=1, le=200)] = 50
    before: Annotated[int | None, Field(ge=1, le=2**63 - 1, description="`next` of the page before.")] = None

    def params(self) -> dict[str, Any]:
        """The arguments of `list_translation_jobs_of_all`."""
        states = (
            {"completed" if state == "partly" else state for state in self.status.split(",")} if self.status else None
        )
        return {
            "p_status": sorted(states) if states else None,
            "p_job_type": self.type,
            "p_user_id": str(self.user) if self.user else None,
            "p_class": self.error_class,
            "p_subject": self.subject,
            "p_search": self.search,
            "p_limit": self.limit,
            "p_before_seq": self.before,
        }


class SeriesQuery(Query):
    range: Literal["hour", "day", "week"] = "hour"


class OpsAction(Request):
    action: Literal["retry", "cancel", "requeue"]
    job_ids: Annotated[list[UUID], Field(min_length=1, max_length=100, strict=False)]


class RetryGroup(Request):
    limit: Annotated[int, Field(ge=1, le=100)] = 100


class RunTrigger(Request):
    idempotency_key: Annotated[Key | None, Field(description="The same key runs it once.")] = None


# Answered


class OpsCredits(Answer):
    reserved: Count
    consumed: Count
    refunded: Count


class Stats(Answer):
    live: Annotated[Numbers, Field(description="Unfinished jobs by state; counting a type stops at 10001.")]
    waiting_by_type: Numbers
    oldest_waiting_ms: int | None
    ended_in_an_hour: Numbers
    credits_in_an_hour: OpsCredits
    created: Count
    stuck: Count
    claims: Count
    workers: Annotated[Numbers, Field(description="Workers that are heard of, by mode.")]


class Alert(Answer):
    alert: str
    severity: Literal["critical", "warning"]
    message: str
    cure: str
    value: float
    threshold: float
    details: dict[str, Any]


class Alerts(Answer):
    alerts: Annotated[list[Alert], Field(description="Empty: all is well.")]


class HeldJob(Answer):
    id: UUID
    seq: int
    job_type: str
    title: str | None
    progress: int
    claimed_at: datetime
    lease_left_ms: int


class OpsWorker(Answer):
    id: str
    version: str | None
    mode: Literal["starting", "realtime", "polling", "stopping"]
    mode_since: datetime
    started_at: datetime
    last_seen_at: datetime
    silent_seconds: float
    stale: Annotated[bool, Field(description="Not heard of for 90 seconds.")]
    slots: Count
    running: Count
    stats: Annotated[
        dict[str, Any], Field(description="What else it reports: reconnects, pauses, providers in trouble.")
    ]
    jobs: Annotated[list[HeldJob], Field(description="What it holds now, 20 at most.")]


class OpsWorkers(Answer):
    workers: list[OpsWorker]


class FailureGroup(Answer):
    signature: str
    class_: Annotated[str, Field(alias="class")]
    provider: str | None
    message: Annotated[str, Field(description="With placeholders for what differs.")]
    sample: Annotated[str, Field(description="The message of the last one.")]
    sample_job: UUID
    items: Count
    jobs: Count
    retriable: Annotated[int, Field(description="Jobs among them that nobody has retried yet.")]
    users: Count
    names: Annotated[list[str], Field(description="Languages or steps, 20 at most.")]
    first_seen: datetime
    last_seen: datetime
    course: Annotated[list[int], Field(description="Failed items in each four hours, oldest first.")]


class Failures(Answer):
    as_of: datetime
    window_hours: int
    window_items: Annotated[int, Field(description="The latest so many failed items are looked at.")]
    items: Count
    groups: list[FailureGroup]


class Series(Answer):
    as_of: datetime
    from_: Annotated[datetime, Field(alias="from", description="Start of the first point.")]
    step_seconds: int
    points: int
    rolled_up_until: Annotated[datetime, Field(description="Jobs that ended later are not in it yet.")]
    measures: Annotated[
        dict[str, dict[str, list[int | None]]],
        Field(
            description="ended by state, error by class, chars, depth by state; wait and run in ms as p50, p95, p99, "
            "null where nothing ended."
        ),
    ]


class Ending(Answer):
    id: UUID
    seq: int
    job_type: str
    title: str | None
    status: Literal["completed", "failed", "cancelled"]
    failed_items: Count
    items: Count
    error: JobError | None
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime
    waited_ms: int | None
    ran_ms: int | None


class Endings(Answer):
    jobs: Annotated[list[Ending], Field(description="Those that ended last, the latest first.")]


class OpsJob(Job):
    user_id: UUID | None
    worker_id: str | None
    found_by: str | None
    deliveries: Count
    lost_count: Count


class OpsJobPage(Answer):
    jobs: list[OpsJob]
    next: Annotated[int | None, Field(description="`before` of the next page; null: this was the last.")]

    @classmethod
    def of(cls, rows: list[Row], limit: int) -> Self:
        jobs = [OpsJob.from_row(row) for row in rows]
        return cls(jobs=jobs, next=jobs[-1].seq if len(jobs) == limit else None)


class Trigger(Answer):
    name: str
    kind: str
    job_type: str
    priority: int
    enabled: bool
    title: str | None
    description: str | None
    state: Literal["never", "running", "succeeded", "partly", "failed", "cancelled", "purged"]
    last_run_at: datetime | None
    last_job_id: UUID | None
    last_completed_at: datetime | None
    last_progress: int | None
    last_error: JobError | None


class Triggers(Answer):
    triggers: list[Trigger]


class Started(Answer):
    job_id: UUID
    status: str


class Done(Answer):
    jobs: Annotated[int, Field(description="How many were changed.")]
    refused: Annotated[Numbers, Field(description="How many were not, by the word of the refusal.")]
    left: Annotated[int | None, Field(description="Jobs of the group that are still to be retried.")] = None


class Action(Answer):
    id: int
    operator_id: UUID
    action: str
    target: str | None
    jobs: Count
    details: dict[str, Any]
    created_at: datetime


class Actions(Answer):
    actions: Annotated[list[Action], Field(description="What operators did last, the latest first.")]

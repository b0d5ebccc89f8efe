"""
What goes in and out of the API, as models: requests are checked by them, and `openapi.json` is made from them.

Owns the names that browsers see. A model reads only what it knows from a row of the database, so a new column stays
inside until somebody names it here. What is derived (time left, pace, sums) is derived here, by the database's clock.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final, Literal, Self
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

Row = Mapping[str, Any]

ENDED: Final = frozenset({"completed", "failed", "cancelled"})
ACTIVE: Final = ("pending", "scheduled", "blocked", "processing", "retrying")
STATES: Final = (*ACTIVE, "completed", "partly", "failed", "cancelled")

State = Literal["pending", "scheduled", "blocked", "processing", "retrying", "completed", "failed", "cancelled"]
Text = Annotated[str, StringConstraints(max_length=200)]
Key = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Language = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Content = str | dict[str, Any] | list[Any]
Count = Annotated[int, Field(ge=0)]


def _written(value: Any) -> Any:
    """A date that is written as one: a bare number would be taken for seconds."""
    if isinstance(value, str) and not _DATE.match(value):
        raise ValueError("It must be a time such as 2030-01-31T12:00:00Z.")
    return value


_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt]")
Moment = Annotated[AwareDatetime, BeforeValidator(_written)]


class Request(BaseModel):
    """A body: nothing in it that is not known, and every value of its own type."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Query(BaseModel):
    """What stands behind the question mark: texts, read as what they mean."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Answer(BaseModel):
    """What is shown: of a row, the fields that are named here."""

    model_config = ConfigDict(extra="ignore", frozen=True)


# Asked


class Source(Request):
    """What is to be translated, and into what."""

    target_languages: Annotated[
        list[Language], Field(description="BCP 47 tags, one item each.", min_length=1, max_length=50)
    ]
    source_language: Annotated[Language | None, Field(description="Left out: detected.")] = None
    content_kind: Literal["text", "markdown", "html", "json"] = "text"
    options: Annotated[dict[str, Any] | None, Field(description="The options of a translation; see the README.")] = None
    priority: Annotated[int | None, Field(ge=1, le=10)] = None
    idempotency_key: Annotated[Key | None, Field(description="The same key makes one job only.")] = None
    run_at: Annotated[Moment | None, Field(description="Not before this time.")] = None
    correlation_id: Annotated[Text | None, Field(description="Left out: the id of this request.")] = None
    subject: Annotated[Text | None, Field(description="What of yours it is about, e.g. card:42.")] = None
    title: Text | None = None
    metadata: dict[str, Any] | None = None
    after: Annotated[list[UUID] | None, Field(description="Jobs that must complete first.", max_length=1000)] = None

    def params(self) -> dict[str, Any]:
        """The arguments of `create_translation_job`, without their `p_`."""
        said = self.model_dump(mode="json", exclude_none=True, exclude={"content"})
        # Not dumped: content is handed on as it came.
        return said | ({"content": content} if (content := getattr(self, "content", None)) is not None else {})


class NewJob(Source):
    content: Annotated[Content, Field(description="A string; for json also an object.")]


class Preview(Source):
    content: Annotated[Content | None, Field(description="Left out: the price of a text of one character.")] = None


def check_states(value: str) -> str:
    """States separated by commas, or ValueError."""
    if unknown := set(value.split(",")) - set(STATES):
        raise ValueError(f"{len(unknown)} of the states is none; there are {', '.join(STATES)}.")
    return value


class JobsQuery(Query):
    status: Annotated[
        str | None,
        AfterValidator(check_states),
        Field(
            description="States, separated by commas; `completed` without failed items, `partly` with.",
            pattern=f"^({'|'.join(STATES)})(,({'|'.join(STATES)}))*$",
        ),
    ] = None
    type: Annotated[Key | None, Field(description="Only jobs of this type.")] = None
    subject: Text | None = None
    since: Annotated[Moment | None, Field(description="Created at this time or later.")] = None
    until: Annotated[Moment | None, Field(description="Created before this time.")] = None
    search: Annotated[
        Key | None, Field(description="A text in title, subject or id, among the newest 2000 of each state.")
    ] = None
    limit: Annotated[int, Field(ge=1, le=200)] = 50
    before: Annotated[int | None, Field(ge=1, le=2**63 - 1, description="`next` of the page before.")] = None

    def params(self) -> dict[str, Any]:
        """The arguments of `show_translation_jobs`, without their `p_`."""
        said = set(self.status.split(",")) if self.status else None
        partly = None
        if said is not None and len(said & {"completed", "partly"}) == 1:
            partly = "partly" in said
        return {
            "status": sorted({"completed" if state == "partly" else state for state in said}) if said else None,
            "job_type": self.type,
            "subject": self.subject,
            "since": self.since and self.since.isoformat(),
            "until": self.until and self.until.isoformat(),
            "search": self.search,
            "limit": self.limit,
            "before_seq": self.before,
            "partly": partly,
        }


class CountsQuery(Query):
    subject: Text | None = None


class NoQuery(Query):
    pass


# Answered


class JobError(Answer):
    class_: Annotated[str | None, Field(alias="class")] = None
    message: str | None = None


class Item(Answer):
    item: str
    status: Literal["pending", "processing", "completed", "failed", "cancelled"]
    attempts: Count
    warnings: Annotated[list[Any], Field(description="[{code, message, count}]: what the checks noticed.")]
    error: JobError | None
    price: Count
    credits: Count
    progress: Annotated[int, Field(ge=0, le=100)]
    eta_at: datetime | None
    chunks_done: Count
    chunks_total: Count
    retry_at: datetime | None
    started_at: datetime | None
    completed_at: datetime | None
    provider: str | None
    simulated: bool | None
    cached_chars: int | None


class Neighbour(Answer):
    """A job of the same user that this one waits for, or that waits for it."""

    id: UUID
    title: str | None
    job_type: str
    status: State
    failed_items: Count


class Parent(Neighbour):
    name: Annotated[str | None, Field(description="What the chain calls it.")]


class Job(Answer):
    id: UUID
    seq: int
    subject: str | None
    title: str | None
    metadata: Any
    job_type: str
    status: State
    priority: int
    content_kind: str
    content_chars: Count
    source_language: str | None
    target_languages: list[str] | None
    options: Any
    progress: Annotated[int, Field(ge=0, le=100)]
    progress_message: str | None
    eta_at: datetime | None
    eta_seconds: Annotated[float | None, Field(description="Until eta_at, when this was read.")]
    attempts: Count
    max_attempts: Count
    run_at: datetime | None
    failed_items: Count
    credits_reserved: Count
    credits_consumed: Count
    credits_refunded: Count
    credits_open: Annotated[int, Field(ge=0, description="reserved = consumed + refunded + open.")]
    error: JobError | None
    correlation_id: str | None
    retry_of: UUID | None
    retried_by: UUID | None
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    cancelled_at: datetime | None
    chunks_done: Count
    chunks_total: Count
    chunks_per_minute: Annotated[float | None, Field(description="Of the items that are worked on; null: not known.")]
    simulated: Annotated[bool, Field(description="Whether a result so far comes from the pseudo translator.")]
    as_of: Annotated[datetime, Field(description="When this was read, by the database's clock.")]
    parents: Annotated[list[Parent], Field(description="What it came after: 50 at most.")]
    children: Annotated[list[Neighbour], Field(description="What comes after it: 50 at most.")]
    items: list[Item]

    @classmethod
    def from_row(cls, row: Row) -> Self:
        """From a document of the database, with what follows from it."""
        items = row["items"]
        as_of = datetime.fromisoformat(row["as_of"])
        return cls.model_validate(
            {
                **row,
                "eta_seconds": _seconds_until(row["eta_at"], as_of),
                "credits_open": row["credits_reserved"] - row["credits_consumed"] - row["credits_refunded"],
                "chunks_done": sum(item["chunks_done"] for item in items),
                "chunks_total": sum(item["chunks_total"] for item in items),
                "chunks_per_minute": _pace(row, as_of),
                "simulated": any(item["simulated"] is True for item in items),
            }
        )

    def to_json(self) -> bytes:
        return self.__pydantic_serializer__.to_json(self, by_alias=True)


def _seconds_until(moment: str | None, as_of: datetime) -> float | None:
    if moment is None:
        return None
    return round(max(0.0, (datetime.fromisoformat(moment) - as_of).total_seconds()), 1)


def _pace(row: Row, as_of: datetime) -> float | None:
    """Chunks a minute of the items under way, each since its own start. None before the first chunk."""
    if row["status"] != "processing":
        return None
    pace = 0.0
    for item in row["items"]:
        if item["status"] == "processing" and item["started_at"] and item["chunks_done"]:
            seconds = (as_of - datetime.fromisoformat(item["started_at"])).total_seconds()
            pace += item["chunks_done"] * 60 / max(seconds, 1.0)
    return round(pace, 1) or None


class JobPage(Answer):
    jobs: list[Job]
    next: Annotated[int | None, Field(description="`before` of the next page; null: this was the last.")]


class Active(Answer):
    pending: Count
    scheduled: Count
    blocked: Count
    processing: Count
    retrying: Count


class Finished(Answer):
    completed: Count
    partly: Count
    failed: Count
    cancelled: Count


class Counts(Answer):
    active: Active
    finished: Finished
    capped: Annotated[int, Field(description="Counting a state stops here.")]


class Accepted(Answer):
    job_id: UUID
    status: State
    message: str

    @classmethod
    def of(cls, row: Row) -> Self:
        return cls(job_id=UUID(row["id"]), status=row["status"], message=_MESSAGES[row["status"]])


_MESSAGES: Final = {
    "pending": "The job waits for a worker.",
    "scheduled": "The job starts when its time has come.",
    "blocked": "The job waits for others.",
    "processing": "The job is being worked on.",
    "retrying": "The job will be tried again.",
    "completed": "The job has completed.",
    "failed": "The job has failed.",
    "cancelled": "The job was cancelled.",
}


class PricedItem(Answer):
    item: str
    credits: Count
    chars: Count


class Price(Answer):
    credits: Count
    items: list[PricedItem]
    balance: int


class SourceText(Answer):
    content: Any
    content_kind: str


class Result(Answer):
    item: str
    content: Any
    provider: str | None
    simulated: bool
    cached_chars: int
    source_language: str | None
    warnings: Annotated[list[Any], Field(description="[{code, message, count}]: what the checks noticed.")]
    credits: Count


class Attempt(Answer):
    delivery: Annotated[int, Field(description="The how manieth claim of the job this was.")]
    started_at: datetime
    ended_at: datetime | None
    outcome: Literal["completed", "failed", "retrying", "released", "lost", "cancelled"] | None
    found_by: str
    found_ms: int
    error: JobError | None


class Attempts(Answer):
    attempts: list[Attempt]


class Movement(Answer):
    item: str | None
    kind: Literal["grant", "revoke", "reserve", "consume", "refund"]
    amount: int
    created_at: datetime


class Movements(Answer):
    movements: list[Movement]


class Credits(Answer):
    balance: Annotated[int, Field(description="Free to spend.")]
    reserved: Annotated[int, Field(description="Held by unfinished jobs.")]


class Languages(Answer):
    pairs: Annotated[
        list[Annotated[list[str], Field(min_length=2, max_length=2)]],
        Field(description="[source, target]; * is any. Empty: no worker has said yet, and any is taken."),
    ]


class ErrorBody(Answer):
    code: Annotated[str, Field(description="A stable word.")]
    message: str
    hint: str | None


class Error(Answer):
    error: ErrorBody

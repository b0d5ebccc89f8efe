"""
What goes in and out of the internal API, as models: requests are checked by them, and `openapi.json` has them.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, RootModel, StringConstraints, model_validator

from worker.flags import Kind
from worker.web.documents import Accepted, Count, Key, Moment, State, Text

_OF_A_RUN: Final = frozenset({"trigger", "kind", "content", "idempotency_key", "correlation_id", "fallback_url"})
Pointer = Annotated[str, StringConstraints(pattern=r"^(/[^\x00]{0,200}){0,8}$", max_length=400)]


class NewInternalJob(BaseModel):
    """A run of a named trigger, or a job in full with the kind of whoever asks."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    trigger: Annotated[Key | None, Field(description="A row of translation_triggers; it says what the job is.")] = None
    kind: Annotated[Kind | None, Field(description="Who asks. With a trigger left out: it has its own.")] = None
    job_type: Key | None = None
    content: Annotated[Any, Field(description="Any JSON that the kind of job takes.")] = None
    items: Annotated[list[Key] | None, Field(description="Of a translation: its languages.", max_length=200)] = None
    user_id: Annotated[UUID | None, Field(description="Whose job it is, and who pays; left out: nobody's.")] = None
    source_language: Key | None = None
    content_kind: Literal["text", "markdown", "html", "json"] | None = None
    options: dict[str, Any] | None = None
    priority: Annotated[
        int | None, Field(ge=1, le=10, description="Left out: 8 for admin, 6 for match, 3 for cron.")
    ] = None
    idempotency_key: Annotated[Key | None, Field(description="Or the header Idempotency-Key.")] = None
    run_at: Moment | None = None
    correlation_id: Annotated[Text | None, Field(description="Or the header X-Correlation-Id.")] = None
    subject: Text | None = None
    title: Text | None = None
    metadata: dict[str, Any] | None = None
    after: Annotated[list[UUID] | None, Field(max_length=1000)] = None
    fallback_url: Annotated[str | None, Field(description="Of the same origin as FALLBACK_URL.")] = None

    @model_validator(mode="after")
    def _is_one_of_two(self) -> Self:
        if (self.trigger is None) == (self.job_type is None):
            raise ValueError("Name either a trigger or a job_type.")
        if self.trigger is not None and (more := self.model_fields_set - _OF_A_RUN):
            raise ValueError(f"A trigger has its own {', '.join(sorted(more))}.")
        if self.job_type is not None and self.kind is None:
            raise ValueError("A job_type needs a kind: admin, cron or match.")
        return self

    def params(self) -> dict[str, Any]:
        """The arguments of the procedure, without their `p_`; not the names of who asks, nor keys."""
        said = self.model_dump(
            mode="json",
            exclude_none=True,
            exclude={"trigger", "kind", "content", "idempotency_key", "correlation_id", "fallback_url"},
        )
        # Not dumped: content is handed on as it came.
        return said if self.content is None else {**said, "content": self.content}


class Event(RootModel[dict[str, Any]]):
    """The body of a request that names its trigger in the address: what a database webhook sends, for example."""


class EventQuery(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    trigger: Annotated[
        Key | None,
        Field(description="The trigger to run, for senders that cannot choose their body."),
    ] = None
    content: Annotated[
        Pointer, Field(description="With `trigger`: where in the body the content stands, as /record/title.")
    ] = ""
    key: Annotated[
        Pointer | None, Field(description="With `trigger`: where in the body the idempotency key stands.")
    ] = None


class Taken(BaseModel):
    """The job; or the fallback, which did the work instead."""

    model_config = ConfigDict(frozen=True)

    job_id: UUID | None = None
    status: State | Literal["fallback"]
    message: str
    fallback_status: Annotated[int | None, Field(description="What the fallback answered.")] = None

    @classmethod
    def of_job(cls, row: Mapping[str, Any]) -> Self:
        accepted = Accepted.of(row)
        return cls(job_id=accepted.job_id, status=accepted.status, message=accepted.message)


class Process(BaseModel):
    """How much one drain may do."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    max_jobs: Annotated[int, Field(ge=1, le=10_000)] = 100
    max_seconds: Annotated[
        float, Field(ge=1, le=3600, description="How long it claims. What runs then has the grace of a shutdown.")
    ] = 50.0


class Processed(BaseModel):
    """What one drain did."""

    model_config = ConfigDict(frozen=True)

    processed: Annotated[Count, Field(description="Jobs it worked on.")]
    completed: Count
    failed: Count
    retrying: Annotated[Count, Field(description="They come back later.")]
    given_back: Annotated[Count, Field(description="The time was over, or the job was cancelled or lost.")]
    remaining: Annotated[int | None, Field(description="Jobs that wait now; null: the database did not say.")]
    seconds: float

"""A store whose answers a test writes down beforehand. It knows no rules: those are the database's."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from worker import models
from worker.store import JobStore, Row

T = TypeVar("T")


class ScriptedStore(JobStore):
    """Answers `recorded` and an uneventful heartbeat unless told otherwise, and notes what it was sent."""

    def __init__(self) -> None:
        self.recorded: list[list[Mapping[str, Any]]] = []
        self.beats: list[Mapping[str, Any]] = []
        self.fetched = 0
        self.on_record: Callable[[Sequence[Mapping[str, Any]]], list[Row] | Exception] = recorded
        self.on_beat: Callable[[Mapping[str, Any]], Row | Exception] = lambda _: {"schema_version": 1}
        self.on_claim: Callable[..., list[models.Job] | Exception] = lambda **_: []
        self.gate = asyncio.Event()
        self.gate.set()
        self.last_answer_at = 0.0

    @property
    def answered_at(self) -> float:
        return self.last_answer_at

    async def record_translation_results(self, entries: Sequence[Mapping[str, Any]]) -> list[Row]:
        self.recorded.append(list(entries))
        await self.gate.wait()
        return _said(self.on_record(entries))

    async def heartbeat_translation_worker(self, report: Mapping[str, Any]) -> Row:
        self.beats.append(report)
        return _said(self.on_beat(report))

    async def claim_translation_jobs(self, **call: Any) -> list[models.Job]:
        return _said(self.on_claim(**call))

    async def get_translation_source(self, job_id: str, *, repeat_seconds: float = 0.0) -> Any:
        self.fetched += 1
        await asyncio.sleep(0)
        return "A long text."

    async def recall_translation_glossary(
        self, job: models.Job, target_languages: Sequence[str], *, repeat_seconds: float = 0.0
    ) -> list[models.GlossaryTerm]:
        self.fetched += 1
        await asyncio.sleep(0)
        return [models.GlossaryTerm("en", language, "Lamp", None, True, False) for language in target_languages]


def recorded(entries: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Everything is taken; each entry is the last of its job."""
    return answers(entries, "recorded", "completed")


def answers(entries: Sequence[Mapping[str, Any]], answer: str, job_status: str | None) -> list[Row]:
    return [{"answer": answer, "job_status": job_status} for entry in entries if "item" in entry]


def _said(answer: T | Exception) -> T:
    if isinstance(answer, Exception):
        raise answer
    return answer

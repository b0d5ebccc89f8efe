"""Rows as the database sends them; everything but the point of a test has a default."""

import itertools
from typing import Any

from worker import models

_numbers = itertools.count(1)


def claim_row(*items: str, **changes: Any) -> dict[str, Any]:
    number = next(_numbers)
    names = items or ("es",)
    return {
        "job_id": f"00000000-0000-0000-0000-{number:012}",
        "token": number,
        "seq": number,
        "job_type": "translation",
        "user_id": None,
        "subject": None,
        "title": None,
        "metadata": {},
        "content_kind": "text",
        "content": "The lamp is lit.",
        "content_inline": True,
        "content_chars": 16,
        "source_language": "en",
        "options": {},
        "priority": 5,
        "correlation_id": None,
        "lease_ms": 30_000,
        "max_attempts": 3,
        "item_timeout_ms": 60_000,
        "deadline_ms": 86_400_000,
        "found_by": "changes",
        "found_ms": 12,
        "deliveries": 1,
        "items": [{"item": name, "attempts": 0, "chars": 16} for name in names],
        **changes,
    }


def job(*items: str, **changes: Any) -> models.Job:
    return models.Job.from_row(claim_row(*items, **changes))


def result(content: Any = "Texto", **changes: Any) -> models.ItemResult:
    return models.ItemResult(content=content, provider="test", **changes)

"""Short ways to say what most SQL tests begin with."""

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from tests.support.database import Database, Row, claiming

Create = Callable[..., Row]
Claim = Callable[..., list[Row]]
Sent = Callable[[str], list[Row]]


@pytest.fixture
def db(db: Database) -> Database:
    """A fresh project, in which no time passes but what a test lets pass."""
    db.stop_clock()
    return db


@pytest.fixture
def user(db: Database) -> str:
    """A user with 100 credits, in a project where one language costs 10."""
    db.price(10)
    return db.user(credits=100)


@pytest.fixture
def create(db: Database, user: str) -> Create:
    """Create a job as *user* (or another one): two languages unless said otherwise."""

    def make(*languages: str, as_: str | None = user, content: Any = "Hello world", **more: Any) -> Row:
        row: Row = db.rpc(
            "create_translation_job",
            as_,
            p_content=content,
            p_target_languages=list(languages or ("es", "fr")),
            **{f"p_{name}": value for name, value in more.items()},
        )
        return row

    return make


@pytest.fixture
def claim(db: Database) -> Claim:
    """Claim as a worker: one job of type translation unless said otherwise."""

    def take(worker: str = "w1", limit: int = 1, **more: Any) -> list[Row]:
        rows: list[Row] = db.rpc("claim_translation_jobs", **claiming(worker, limit, **more))
        return rows

    return take


@pytest.fixture
def record(db: Database) -> Callable[..., list[str]]:
    """Record entries as a worker; the answers, one an entry."""

    def write(entries: list[Row], worker: str = "w1") -> list[str]:
        answers = db.rpc("record_translation_results", p_worker_id=worker, p_results=entries)
        return [answer["answer"] for answer in answers]

    return write


@pytest.fixture
def job(db: Database) -> Callable[[str], Row]:
    """A job as the owner sees it, with its items by name."""

    def read(job_id: str) -> Row:
        row: Row = db.rpc("get_translation_job", p_job_id=job_id)
        row["items"] = {item["item"]: item for item in row["items"]}
        return row

    return read


@pytest.fixture
def sent(db: Database) -> Iterator[Sent]:
    """Payloads of the broadcasts of an event so far."""
    with psycopg.connect(db.admin_url, autocommit=True) as admin:

        def payloads(event: str) -> list[Row]:
            messages = "select payload - 'id' from realtime.messages where event = %s order by inserted_at"
            return [payload for (payload,) in admin.execute(messages, [event]).fetchall()]

        yield payloads

"""A project in use: two users who have a row in every table that users may read, an operator, and who else may ask."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg.rows import dict_row

from tests.security.forged import OPERATOR_CLAIM, claims
from tests.security.permissions import Table
from tests.support import database as support
from tests.support.database import Database, Row
from worker.devstack.keys import Keys
from worker.devstack.stack import Stack

_KEY = "c" * 64


@dataclass(eq=False)
class Project:
    """A project in use. Callers go by name: anon, ada, bob, operator (a user without jobs), service."""

    stack: Stack
    database: Database
    ids: Mapping[str, str]
    roles: Mapping[str, str]
    jobs: Mapping[str, frozenset[str]]
    done: Mapping[str, str]
    """The finished one of each."""
    _connections: dict[str, psycopg.Connection[Row]] = field(default_factory=dict)

    @property
    def keys(self) -> Keys:
        return self.stack.keys

    def claims(self, who: str) -> dict[str, Any]:
        if who not in self.ids:
            return {"role": self.roles[who]}
        more = {"app_metadata": {OPERATOR_CLAIM: True}} if who == "operator" else {}
        return claims(self.ids[who], **more)

    def headers(self, who: str) -> dict[str, str]:
        """Of a request to the gateway."""
        if who in self.ids:
            token = self.keys.sign(self.claims(who))
            return {"apikey": self.keys.publishable_key, "Authorization": f"Bearer {token}"}
        key = self.keys.secret_key if who == "service" else self.keys.publishable_key
        return {"apikey": key}

    def sql(self, who: str, statement: str) -> list[Row]:
        """Run *statement* as the API would for *who*, and take it back."""
        if who not in self._connections:
            url = self.database.url
            self._connections[who] = psycopg.connect(url, row_factory=dict_row, autocommit=True)
        with self._connections[who].transaction(force_rollback=True) as transaction:
            connection = transaction.connection
            connection.execute(
                "select set_config('request.jwt.claims', %s, true), set_config('role', %s, true)",
                [json.dumps(self.claims(who)), self.roles[who]],
            )
            cursor = connection.execute(statement)
            rows: list[Row] = cursor.fetchall() if cursor.description else []
        return rows

    def close(self) -> None:
        for connection in self._connections.values():
            connection.close()
        self.database.close()

    def columns(self, table: Table) -> list[str]:
        return [
            row["attname"]
            for row in self.database.run(
                "select attname from pg_attribute where attrelid = %s::regclass and attnum > 0 and not attisdropped",
                f"{table.schema}.{table.name}",
            )
        ]

    def strangers(self, table: str, who: str, rows: Sequence[Row]) -> list[Row]:
        """Those of *rows* that are not about *who*."""
        mine = {self.ids[who], *self.jobs[who]}
        owner = next(c for c in ("user_id", "job_id", "child_id", "id") if not rows or c in rows[0])
        return [row for row in rows if str(row[owner]) not in mine]


def filled(stack: Stack) -> Project:
    """*stack*'s project with rows of ada and of bob everywhere; an operator has none."""
    database = Database(stack.urls.database_url, stack.urls.admin_database_url)
    database.price(10)
    ids = {name: database.user(credits=100) for name in ("ada", "bob")} | {"operator": database.user()}
    roles = {"anon": "anon", "service": "service_role", **dict.fromkeys(ids, "authenticated")}
    report = {"mode": "realtime", "version": "1", "slots": 1, "running": 0, "job_types": ["translation"]}
    report |= {"languages": [["*", "es"], ["*", "fr"]]}
    database.rpc("heartbeat_translation_worker", p_worker_id="w1", p_report=report)
    jobs = {name: work(database, ids[name]) for name in ("ada", "bob")}
    done = {name: made[0] for name, made in jobs.items()}
    return Project(stack, database, ids, roles, {name: frozenset(made) for name, made in jobs.items()}, done)


def work(database: Database, user: str) -> list[str]:
    """A job that was done, one that waits for another, and a term."""
    create: dict[str, Any] = {"p_content": f"The harbour of {user}.", "p_target_languages": ["es"]}
    done = database.rpc("create_translation_job", user, **create)["id"]
    job = support.claim(database)
    assert job["job_id"] == done
    held = {"p_worker_id": "w1", "p_job_id": done, "p_token": job["token"]}
    segments = [{"key": _KEY, "target": "El puerto."}]
    database.rpc("remember_translation_memory", **held, p_item="es", p_segments=segments)
    database.rpc("record_translation_results", p_worker_id="w1", p_results=support.outcomes(job, "completed"))
    later = {"p_run_at": database.value("select (now() + interval '100 days')::text")}
    parent = database.rpc("create_translation_job", user, **create, **later)["id"]
    child = database.rpc("create_translation_job", user, **create, p_after=[parent])["id"]
    term = {"p_source_language": "en", "p_target_language": "es", "p_term": "harbour", "p_translation": "puerto"}
    database.rpc("set_translation_term", user, **term)
    return [done, parent, child]

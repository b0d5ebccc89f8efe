"""
What the worker relies on, asked of a Supabase project that is really there. `scripts/test --project`

It makes one job, due in 300 days so that no worker takes it, under a subject of its own; in the end that is cancelled
and deleted, whatever happened between. Nobody pays, and nobody else's job is touched: what claims and records is the
probe of `worker verify`, which is asked too. Exits with 1 if anything is not as it should be.
"""

import asyncio
import datetime
import json
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import jwt

from worker import logs
from worker.verify import verify

NAMES = ("CONFORMANCE_SUPABASE_URL", "CONFORMANCE_SUPABASE_SECRET_KEY", "CONFORMANCE_SUPABASE_PUBLISHABLE_KEY")
DAYS_AHEAD = 300
NOBODYS = "00000000-0000-4000-8000-00000000000a"
PREFIX = "conformance:"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: Any

    @property
    def code(self) -> str:
        return str(self.body.get("code", "")) if isinstance(self.body, dict) else ""

    @property
    def word(self) -> str:
        return str(self.body.get("details") or "").partition(" ")[0] if isinstance(self.body, dict) else ""


@dataclass(frozen=True)
class Refused:
    """A request that must be refused, and how: a status, one of some codes, a word where the project has one."""

    name: str
    path: str
    body: Any
    status: int
    codes: Sequence[str] = ()
    word: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    key: str = "secret"


CLAIM = {"p_worker_id": "conformance", "p_limit": 0, "p_lease_ms": 1000, "p_job_types": [], "p_claim_id": NOBODYS}
INJECTED = {"p_job_type": "translation", "p_content": "x", "p_items": ["x\r\nX-Injected: yes"]}
OBJECT = {"Accept": "application/vnd.pgrst.object+json"}
NOBODYS_JOB = {"p_job_id": NOBODYS}
PRIVATE = {"Content-Profile": "translation_private"}
FORGED = {"Authorization": f"Bearer {jwt.encode({'role': 'service_role'}, 'x' * 32)}"}
REFUSED = (
    Refused("no key", "rpc/translation_self_check", {}, 401, key=""),
    Refused("a wrong key", "rpc/translation_self_check", {}, 401, key="sb_secret_wrong"),
    Refused("a claim by nobody", "rpc/claim_translation_jobs", CLAIM, 401, ["42501"], key="publishable"),
    Refused("the jobs for nobody", "translation_jobs?select=id", None, 401, ["42501"], key="publishable"),
    Refused("a forged token", "rpc/get_translation_credits", {}, 401, headers=FORGED, key="publishable"),
    Refused("a function that is not there", "rpc/translation_not_there", {}, 404, ["PGRST202"]),
    Refused("an argument too many", "rpc/get_translation_job", {**NOBODYS_JOB, "p_more": 1}, 404, ["PGRST202"]),
    Refused("a body that is no JSON", "rpc/get_translation_job", b"{", 400, ["PGRST102"]),
    Refused("an id that is none", "rpc/get_translation_job", {"p_job_id": "x"}, 400, ["22P02"]),
    Refused("a job that is not there", "rpc/get_translation_job", NOBODYS_JOB, 404, ["PT404"], "job_not_found"),
    Refused("a language in two lines", "rpc/enqueue_translation_job", INJECTED, 422, ["PT422"], "language_invalid"),
    Refused("a schema that is not exposed", "rpc/clock", {}, 406, ["PGRST106"], headers=PRIVATE),
    Refused(
        "none as an object", f"translation_jobs?select=id&id=eq.{NOBODYS}", None, 406, ["PGRST116"], headers=OBJECT
    ),
    Refused("a table that is not there", "translation_not_there", None, 404, ["PGRST205", "42P01"]),
)


class Project:
    """What answers at *url*, and what was found so far."""

    def __init__(self, url: str, keys: Mapping[str, str], http: aiohttp.ClientSession) -> None:
        self._url = url
        self._keys = keys
        self._http = http
        self.failures = 0

    async def ask(
        self, path: str, body: Any = None, *, method: str = "", key: str = "secret", headers: Mapping[str, str] = {}
    ) -> Answer:
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        given = {"apikey": self._keys.get(key, key)} if key else {}
        async with self._http.request(
            method or ("GET" if body is None else "POST"),
            f"{self._url}/rest/v1/{path}",
            data=data,
            headers={"Content-Type": "application/json", **given, **headers},
        ) as answer:
            text = await answer.text()
            try:
                return Answer(answer.status, answer.headers, json.loads(text) if text else None)
            except ValueError:
                return Answer(answer.status, answer.headers, text)

    def tell(self, name: str, good: bool, seen: object) -> None:
        self.failures += not good
        print(f"{'ok' if good else 'FAILED':10} {name}" + ("" if good else f": {seen}"), flush=True)


async def main() -> int:
    given = [os.environ.get(name, "") for name in NAMES]
    if not all(given):
        print(f"NOT ASKED  {', '.join(name for name, value in zip(NAMES, given, strict=True) if not value)} not set")
        return 0
    url, secret, publishable = given
    logs.configure(level="ERROR", json=False)  # what is wrong is told as a finding
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as http:
        project = Project(url.rstrip("/"), {"secret": secret, "publishable": publishable}, http)
        for wanted in REFUSED:
            await refuses(project, wanted)
        subject = PREFIX + secrets.token_hex(8)
        try:
            await keeps_a_job(project, subject)
        finally:
            await clean(project, subject)
        async for finding in verify(url.rstrip("/"), secret):
            project.tell(f"verify: {finding.name}", finding.ok is not False, finding.said)
    return 1 if project.failures else 0


async def refuses(project: Project, wanted: Refused) -> None:
    answer = await project.ask(wanted.path, wanted.body, key=wanted.key, headers=wanted.headers)
    good = answer.status == wanted.status and (not wanted.codes or answer.code in wanted.codes)
    good &= answer.word == wanted.word or not wanted.word
    good &= "X-Injected" not in answer.headers
    project.tell(f"refused: {wanted.name}", good, (answer.status, answer.code, answer.word))


async def keeps_a_job(project: Project, subject: str) -> None:
    """A job that is made, found, asked for, made again with the same key, and cancelled."""
    offered = await project.ask("translation_languages?select=source_language,target_language&limit=1")
    source, target = offered.body[0].values() if offered.body else ("en", "es")
    due = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=DAYS_AHEAD)
    order = {
        "p_job_type": "translation",
        "p_content": "Conformance.",
        "p_items": [target if target != "*" else "es"],
        "p_subject": subject,
        "p_run_at": due.isoformat(),
        "p_idempotency_key": subject,
    }
    made, again = [await project.ask("rpc/enqueue_translation_job", order) for _ in range(2)]
    project.tell(f"a job is made ({source}, {target})", made.status == 200, (made.status, made.body))
    if made.status != 200:
        return
    job = made.body["id"]
    project.tell("it waits for its hour", made.body["status"] == "scheduled", made.body["status"])
    project.tell("the same key makes it once", again.status == 200 and again.body["id"] == job, again.body)
    other = await project.ask("rpc/enqueue_translation_job", {**order, "p_content": "Other."})
    project.tell("the same key with another text", other.code == "PT409", (other.status, other.code, other.word))
    counted = await project.ask(f"translation_jobs?select=id&subject=eq.{subject}", headers={"Prefer": "count=exact"})
    project.tell("it is counted", counted.headers.get("Content-Range") == "0-0/1", dict(counted.headers))
    page = await project.ask(f"translation_jobs?select=id,subject&subject=like.{PREFIX}*&order=seq.desc&limit=1")
    project.tell("it is filtered, ordered, limited", page.body == [{"id": job, "subject": subject}], page.body)
    listed = await project.ask("rpc/list_translation_jobs", {"p_subject": subject})
    project.tell("it is listed", [row["id"] for row in listed.body] == [job], listed.body)
    read = await project.ask("rpc/get_translation_job", {"p_job_id": job})
    project.tell("it has its language", [item["status"] for item in read.body["items"]] == ["pending"], read.body)
    gone = await project.ask("rpc/cancel_translation_job", {"p_job_id": job})
    project.tell("it is cancelled", gone.body["status"] == "cancelled", gone.body)


async def clean(project: Project, subject: str) -> None:
    """Leave nothing, and say so."""
    mine = f"translation_jobs?subject=eq.{subject}"
    for row in (await project.ask(f"{mine}&select=id")).body:
        await project.ask("rpc/cancel_translation_job", {"p_job_id": row["id"]})
    await project.ask(mine, method="DELETE")
    left = await project.ask(f"{mine}&select=id")
    project.tell("nothing is left of it", left.body == [], left.body)


if __name__ == "__main__":
    raise SystemExit(asyncio.run(main()))

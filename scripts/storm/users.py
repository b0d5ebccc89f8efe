"""
The load of a chaos run: users who keep a number of jobs waiting, and cancel and retry at random.

They go through the project's API with their own tokens, and repeat what got no answer with the same idempotency key,
as the official clients' users are told to. What job number n is, is drawn from the seed. The rule: whatever was
answered with a job's id is remembered, because that job must exist at the end.
"""

import asyncio
import time
import uuid
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

import aiohttp
import jwt
import tenacity

from scripts.storm.owner import Owner
from worker import backoff, errors

CLASSES = tuple(sorted(errors.ERROR_CLASSES))
# What a job cannot get out of by itself as long as its order stands: somebody cancels it.
THROTTLED = frozenset({"rate_limited", "quota_exhausted", "auth"})
PRICE = 10

_USERS = 4
_LANGUAGES = ("es", "fr", "de", "it", "pt", "nl", "pl", "sv", "ja", "ar")
_LOOK_SECONDS = 0.25
_AT_ONCE = 15  # creates in one look
_MEDDLE_SECONDS = 0.4
_REQUEST_SECONDS = 15.0
_PATIENCE_SECONDS = 120.0
_RECENT = 60
_FINE = {"parent_failed", "job_not_finished", "nothing_to_retry"}  # refusals that a random wish may meet


class NoAnswer(Exception):
    """Worth asking again: nothing, or a status that says nothing about the request."""


@dataclass
class Refused(Exception):
    word: str


@dataclass
class Made:
    """A job that was answered for."""

    user: str
    job_id: str
    error_class: str
    """What its items run into; empty: nothing."""
    given_up: bool = False


@dataclass
class Users:
    seed: int
    env: Mapping[str, str]
    owner: Owner
    http: aiohttp.ClientSession
    waiting: int
    """How many jobs they keep waiting."""
    delay_ms: int
    """How long a provider's call takes, so that slots and not this machine bound the throughput."""
    made: dict[str, Made] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)
    complaints: list[str] = field(default_factory=list)
    failing: bool = False
    """Whether the jobs of this moment run into a provider's failure, class by class."""

    met: set[str] = field(default_factory=set)
    """The classes of failure that jobs were made for so far."""

    done: bool = False
    """Whether every wish has had its answer."""

    _ids: list[str] = field(default_factory=list)
    _recent: deque[str] = field(default_factory=lambda: deque(maxlen=_RECENT))
    _n: int = 0
    _stopping: bool = False

    async def sign_up(self) -> None:
        """Make the users, with credits for everything they may wish."""
        rows = await self.owner.rows(_SIGN_UP, _USERS)
        self._ids = [str(row[0]) for row in rows]

    async def run(self) -> None:
        """Until `stop`; then what can only be cancelled is."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._create())
            tasks.create_task(self._meddle())
        await self.cancel_throttled()
        self.done = True

    def stop(self) -> None:
        self._stopping = True

    async def cancel_throttled(self) -> None:
        """Give up what a provider will not serve."""
        for made in list(self.made.values()):
            if made.error_class in THROTTLED and not made.given_up:
                made.given_up = True
                await self._call(made.user, "cancel_translation_job", {"p_job_id": made.job_id})

    # Wishes

    async def _create(self) -> None:
        while not self._stopping:
            rows = await self.owner.rows("select count(*) from public.translation_jobs where status = 'pending'")
            for _ in range(min(_AT_ONCE, self.waiting - rows[0][0])):
                if not self._stopping:
                    await self._create_one()
            await asyncio.sleep(_LOOK_SECONDS)

    async def _create_one(self) -> None:
        self._n += 1
        dice = Random(f"{self.seed}/job/{self._n}")
        user = dice.choice(self._ids)
        error_class = CLASSES[self._n % len(CLASSES)] if self.failing else ""
        wish = job(self._n, dice, error_class, self.delay_ms)
        if self._recent and dice.random() < 0.05 and self.made[self._recent[-1]].user == user:
            wish["p_after"] = [self._recent[-1]]
        answer = await self._call(user, "create_translation_job", wish)
        if answer is None:
            return
        if dice.random() < 0.05:
            again = await self._call(user, "create_translation_job", wish)
            if again is None or again["id"] != answer["id"]:
                self.complaints.append(f"job {self._n} was made twice")
        self._note(user, answer["id"], error_class)

    def _note(self, user: str, job_id: str, error_class: str) -> None:
        self.made[job_id] = Made(user, job_id, error_class)
        self.met |= {error_class} - {""}
        self._recent.append(job_id)

    async def _meddle(self) -> None:
        dice = Random(f"{self.seed}/meddle")
        while not self._stopping:
            await asyncio.sleep(dice.uniform(0.0, 2 * _MEDDLE_SECONDS))
            if not self._recent:
                continue
            made = self.made[dice.choice(list(self._recent))]
            if dice.random() < 0.5:
                await self._call(made.user, "cancel_translation_job", {"p_job_id": made.job_id})
            else:
                answer = await self._call(made.user, "retry_translation_job", {"p_job_id": made.job_id})
                if answer is not None and answer["id"] not in self.made:
                    self._note(made.user, answer["id"], made.error_class)

    # Calls

    async def _call(self, user: str, procedure: str, body: dict[str, Any]) -> dict[str, Any] | None:
        """The answer; None: refused, or nobody answered for two minutes, which is a complaint."""
        self.calls[procedure] += 1
        again = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(NoAnswer),
            wait=backoff.wait_full_jitter(0.1, 2.0),
            stop=tenacity.stop_after_delay(_PATIENCE_SECONDS),
            reraise=True,
        )
        try:
            async for attempt in again:
                with attempt:
                    answer: dict[str, Any] = await self._send(user, procedure, body)
            return answer
        except Refused as refused:
            self.calls[f"{procedure} refused: {refused.word}"] += 1
            if refused.word not in _FINE:
                self.complaints.append(f"{procedure} was refused: {refused.word}")
        except NoAnswer as error:
            self.complaints.append(f"{procedure} was not answered: {error}")
        return None

    async def _send(self, user: str, procedure: str, body: dict[str, Any]) -> Any:
        headers = {"apikey": self.env["SUPABASE_PUBLISHABLE_KEY"], "Authorization": f"Bearer {self._token(user)}"}
        url = f"{self.env['SUPABASE_URL']}/rest/v1/rpc/{procedure}"
        limit = aiohttp.ClientTimeout(total=_REQUEST_SECONDS)
        try:
            async with self.http.post(url, json=body, headers=headers, timeout=limit) as answer:
                said = await answer.json(content_type=None) if answer.status != 502 else {}
                if answer.ok:
                    return said
                if answer.status >= 500 or str(said.get("code", "")).startswith(("08", "40", "53", "57", "PGRST0")):
                    raise NoAnswer(f"status {answer.status} {said.get('code')}")
                raise Refused(str(said.get("details") or said.get("message")).split()[0])
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise NoAnswer(repr(error)) from error

    def _token(self, user: str) -> str:
        claims = {"sub": user, "role": "authenticated", "aud": "authenticated", "exp": int(time.time()) + 3600}
        return jwt.encode(claims, self.env["JWT_SECRET"], "HS256")


def job(n: int, dice: Random, error_class: str, delay_ms: int) -> dict[str, Any]:
    """The *n*-th wish: one to three languages, a text nobody had before, and what its provider does about it."""
    lamps = (uuid.UUID(int=dice.getrandbits(128)) for _ in range(dice.randint(1, 3)))
    text = "\n\n".join(f"## Room {n}\n\nLamp {lamp} is lit." for lamp in lamps)
    simulate: dict[str, Any] = {"delay_ms": delay_ms}
    if error_class:
        # Counted failures pass with the second try.
        failure = {"class": error_class, "retry_after_seconds": 1}
        simulate["fail"] = {"*": failure if error_class in THROTTLED else {**failure, "times": 1}}
    return {
        "p_content": text,
        "p_content_kind": "markdown",
        "p_source_language": "en",
        "p_target_languages": dice.sample(_LANGUAGES, dice.randint(1, 3)),
        "p_options": {"simulate": simulate},
        "p_idempotency_key": f"job {n}",
    }


_SIGN_UP = """
with made as (
  insert into auth.users (id, email)
  select id, id || '@example.test' from (select gen_random_uuid() as id from generate_series(1, %s)) as new
  returning id
)
select id, public.grant_translation_credits(id, 1000000000) from made
"""

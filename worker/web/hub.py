"""
One question a second for everybody who listens on this worker, and the answer told to each.

Owns what the listeners of each user were told last. Asks as the service, so a user's listeners exist only after the
user's own token was verified and the user's own call was answered (`streams`). Nobody listens, nothing is asked. What
comes from the database is told as it is: this worker's own jobs and any other's alike.
"""

import asyncio
import contextlib
import json
import secrets
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from loguru import logger
from pydantic import ValidationError
from tenacity import AsyncRetrying, retry_if_exception_type

from worker import backoff, errors
from worker import clock as clocks
from worker.web.documents import ENDED, Job
from worker.web.events import QUEUE_MAX, Event, Listener, encoded, frame
from worker.web.refusals import Refusal

EVERY_SECONDS: Final = 1.0
STREAMS_MAX: Final = 1000
STREAMS_OF_A_USER_MAX: Final = 20
# Who comes back within it, to this process, is told what was missed.
KEPT_SECONDS: Final = 60.0
# A transaction may commit that long after the time it stamps.
_OVERLAP_SECONDS: Final = 3.0
# So much slower than the last one, a question may be read too late to reach back to where the last one was.
_SUDDEN_SECONDS: Final = 1.0
_BATCH: Final = 10

_NOTHING_TOLD: Final = 0  # in the place of a fingerprint

Watch = Callable[[list[str], list[str], int], Awaitable[Mapping[str, Any]]]
"""Users, jobs, and how far back in milliseconds: what `watch_translation_users` takes and answers."""


class Channel:
    """What the listeners of one user get."""

    def __init__(self, user_id: str, number: int, now: float) -> None:
        self.user_id = user_id
        self.listeners: set[Listener] = set()
        self.known: dict[str, tuple[int, bool]] = {}
        """Job → fingerprint of what was told, and whether it has ended."""
        self.credits: Any = None
        self.asked_at = now
        """Up to when everything has been told."""
        self.left_at = now
        self._recent: deque[Event] = deque(maxlen=QUEUE_MAX)
        self._floor = number

    def tell(self, event: Event) -> None:
        if len(self._recent) == QUEUE_MAX:
            self._floor = self._recent[0].number
        self._recent.append(event)
        for listener in self.listeners:
            listener.tell(event)

    def since(self, number: int) -> list[Event] | None:
        """Everything told after *number*; None when that is not known any more."""
        return [event for event in self._recent if event.number > number] if number >= self._floor else None


class Hub:
    def __init__(self, watch: Watch, *, clock: clocks.Clock = clocks.SYSTEM) -> None:
        self._watch = watch
        self._clock = clock
        self._channels: OrderedDict[str, Channel] = OrderedDict()
        self._epoch = secrets.token_hex(4)
        self._number = 0
        self._listeners = 0
        self._took_seconds = 0.0  # the last question, which the next may take to be read
        self._somebody = asyncio.Event()
        self._closed = False

    @property
    def listeners(self) -> int:
        return self._listeners

    def event_id(self) -> str:
        """Of whatever shows the state as it is now."""
        return f"{self._epoch}-{self._number}"

    @contextlib.contextmanager
    def listening(self, user_id: str, job_id: str | None) -> Iterator[Listener]:
        """
        A listener for as long as the block lasts.

        Raises:
            Refusal: 429 or 503, too many streams.
        """
        channel = self._channel(user_id)
        if len(channel.listeners) >= STREAMS_OF_A_USER_MAX:
            raise Refusal(
                429,
                "too_many_streams",
                f"At most {STREAMS_OF_A_USER_MAX} streams of one user at once: close some.",
                headers={"Retry-After": "5"},
            )
        if self._listeners >= STREAMS_MAX or self._closed:
            raise Refusal(
                503, "too_many_streams", "This worker has no room for another stream.", headers={"Retry-After": "10"}
            )
        listener = Listener(job_id)
        channel.listeners.add(listener)
        self._listeners += 1
        self._somebody.set()
        try:
            yield listener
        finally:
            channel.listeners.discard(listener)
            channel.left_at = self._clock.monotonic()
            self._listeners -= 1
            if not self._listeners:
                self._somebody.clear()

    def follow(self, user_id: str, job_ids: Iterable[str]) -> None:
        """*user_id* was shown these unfinished jobs: tell what becomes of each, however long nothing does."""
        known = self._channel(user_id).known
        for job_id in job_ids:
            known.setdefault(job_id, (_NOTHING_TOLD, False))

    def missed(self, user_id: str, last_event_id: str) -> list[Event] | None:
        """What the user was told since; None when nobody can say any more."""
        epoch, _, number = last_event_id.partition("-")
        channel = self._channels.get(user_id)
        if channel is None or epoch != self._epoch or not number.isdecimal() or len(number) > 18:
            return None
        return channel.since(int(number))

    def close(self) -> None:
        """Tell all listeners that the server is about to end."""
        self._closed = True
        for channel in self._channels.values():
            for listener in channel.listeners:
                listener.close()

    async def run(self) -> None:
        """Ask once a second while somebody listens, until cancelled."""
        while True:
            await self._somebody.wait()
            started_at = self._clock.monotonic()
            await self._look()
            await self._clock.sleep(EVERY_SECONDS - (self._clock.monotonic() - started_at))

    async def _look(self) -> None:
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type(errors.StoreError),
            wait=backoff.wait_for_store(EVERY_SECONDS, 15.0),
            stop=lambda _: not self._listeners,
            sleep=self._pause,
            retry_error_callback=lambda _: None,
        ):
            with attempt:
                await self._look_once()

    async def _pause(self, seconds: float) -> None:
        logger.debug("Streams wait for the database", seconds=round(seconds, 1))
        await self._clock.sleep(max(seconds, EVERY_SECONDS))

    async def _look_once(self) -> None:
        asked_at = self._clock.monotonic()
        watched = {user_id: channel for user_id, channel in self._channels.items() if channel.listeners}
        jobs = [job for channel in watched.values() for job, (_, ended) in channel.known.items() if not ended]
        since = asked_at - min((channel.asked_at for channel in watched.values()), default=asked_at)
        back_seconds = since + _OVERLAP_SECONDS + self._took_seconds
        answer = await self._watch(list(watched), jobs, round(back_seconds * 1000))
        took_seconds = self._clock.monotonic() - asked_at
        is_sudden = took_seconds > self._took_seconds + _SUDDEN_SECONDS
        self._took_seconds = took_seconds
        asked, seen = set(jobs), set(answer["quiet"])
        for place, row in enumerate(answer["jobs"]):
            seen.add(row["id"])
            if (channel := watched.get(row["user_id"])) is not None:
                self._tell_job(channel, row)
            if place % _BATCH == _BATCH - 1:
                await asyncio.sleep(0)  # requests are answered in between
        for user_id, channel in watched.items():
            self._tell_gone(channel, seen, asked)
            self._tell_credits(channel, answer["credits"].get(user_id), answer["as_of"])
            if not is_sudden:
                channel.asked_at = asked_at

    def _tell_job(self, channel: Channel, row: dict[str, Any]) -> None:
        as_of = row.pop("as_of")
        fingerprint = hash(json.dumps(row))
        ended = row["status"] in ENDED
        if channel.known.get(row["id"]) == (fingerprint, ended):
            return
        channel.known[row["id"]] = (fingerprint, ended)
        row["as_of"] = as_of
        try:
            data = Job.from_row(row).to_json()
        except ValidationError as error:  # one odd row must not silence everybody else's
            logger.error("A job cannot be shown", job_id=row["id"], faults=error.error_count())
            return
        self._tell(channel, "job", data, row["id"], row["status"], datetime.fromisoformat(as_of))

    def _tell_gone(self, channel: Channel, seen: set[str], asked: set[str]) -> None:
        missing = [(job_id, ended) for job_id, (_, ended) in channel.known.items() if job_id not in seen]
        for job_id, ended in missing:
            if not ended and job_id not in asked:
                continue  # it was shown meanwhile: the answer says nothing about it
            del channel.known[job_id]
            if not ended:  # one that has ended is simply not asked for any more
                self._tell(channel, "gone", encoded({"id": job_id}), job_id)

    def _tell_credits(self, channel: Channel, credits: Any, as_of: str) -> None:
        if credits is not None and credits != channel.credits:
            channel.credits = credits
            self._tell(channel, "credits", encoded(credits), as_of=datetime.fromisoformat(as_of))

    def _tell(
        self,
        channel: Channel,
        name: str,
        data: bytes,
        job_id: str | None = None,
        status: str | None = None,
        as_of: datetime | None = None,
    ) -> None:
        self._number += 1
        event_frame = frame(name, data, event_id=self.event_id())
        channel.tell(Event(event_frame, self._number, name, job_id, status, as_of))

    def _channel(self, user_id: str) -> Channel:
        now = self._clock.monotonic()
        old = [
            name
            for name, channel in self._channels.items()
            if not channel.listeners and now - channel.left_at > KEPT_SECONDS
        ]
        for name in old:
            del self._channels[name]
        if user_id not in self._channels:
            self._channels[user_id] = Channel(user_id, self._number, now)
        self._channels.move_to_end(user_id)
        return self._channels[user_id]

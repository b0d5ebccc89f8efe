"""
Tells a webhook of alerts: one that fires, one that lasts (once an hour again), one that is over.

The database decides who looks and what is still to be told (`take_translation_alert_notices`), so that one of all
workers speaks, and each thing is told once, whoever died in between. Never looks without a webhook. What was not
delivered is handed out again the next minute; a receiver that must not hear it twice drops repeated ids.
"""

import json
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import aiohttp
from loguru import logger
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt

from worker import backoff, cures, errors, signing
from worker import clock as clocks
from worker.rpc import Rpc

# Between two looks if the database does not say.
_LOOK_SECONDS: Final = 60.0
_POST_SECONDS: Final = 10.0
_TRIES: Final = 3


class _Unheard(Exception):
    """The webhook did not take it; the text is safe to log."""


class AlertWebhook:
    def __init__(
        self,
        rpc: Rpc,
        *,
        worker_id: str,
        url: str,
        secret: str | None,
        limits: Mapping[str, Any],
        now: Callable[[], float] = time.time,
        clock: clocks.Clock = clocks.SYSTEM,
    ) -> None:
        """
        Args:
            rpc: calls as `service_role`.
            secret: signs what is sent; None leaves it unsigned.
            limits: arguments of `translation_alerts`.
            now: seconds since 1970, for the receiver.
        """
        self._rpc = rpc
        self._worker_id = worker_id
        self._url = url
        self._secret = secret
        self._limits = dict(limits)
        self._now = now
        self._clock = clock
        self._told: str | None = None

    async def run(self) -> None:
        """Look and tell until cancelled."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_POST_SECONDS)) as http:
            while True:
                await self._clock.sleep(await self.look(http))

    async def look(self, http: aiohttp.ClientSession) -> float:
        """Look once, tell what is to be told, and return the seconds until the next look. Raises nothing."""
        try:
            asked = {"p_watcher": self._worker_id, "p_limits": self._limits}
            answer = await self._rpc.call("take_translation_alert_notices", asked)
            if notices := answer["notices"]:
                await self._tell(http, answer)
                ids = [notice["id"] for notice in notices]
                await self._rpc.call("settle_translation_alert_notices", {"p_ids": ids}, repeat_seconds=_LOOK_SECONDS)
        except (errors.StoreError, _Unheard) as error:
            self._complain(error)
            return _LOOK_SECONDS
        self._note_success()
        return max(1.0, float(answer["next_ms"]) / 1000)

    async def _tell(self, http: aiohttp.ClientSession, told: Mapping[str, Any]) -> None:
        """Send *told* as one message. Raises _Unheard."""
        payload = {"text": told["text"], "alerts": told["notices"]}
        body = json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type(_Unheard),
            stop=stop_after_attempt(_TRIES),
            wait=backoff.wait_full_jitter(1.0, 10.0),
            sleep=self._clock.sleep,
            reraise=True,
        ):
            with attempt:
                await self._post(http, body, self._headers(body, told["message_id"]))
        for notice in told["notices"]:
            logger.info("Alert told", alert=notice["alert"], state=notice["state"], alert_severity=notice["severity"])

    def _headers(self, body: bytes, message_id: str) -> dict[str, str]:
        headers = {"Content-Type": "application/json"}
        if self._secret is not None:
            headers |= signing.headers(self._secret, message_id=message_id, body=body, at=round(self._now()))
        return headers

    async def _post(self, http: aiohttp.ClientSession, body: bytes, headers: Mapping[str, str]) -> None:
        try:
            async with http.post(self._url, data=body, headers=headers, allow_redirects=False) as answer:
                status = answer.status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _Unheard(type(error).__name__) from error
        if status >= 300:
            raise _Unheard(f"HTTP {status}")

    def _complain(self, error: Exception) -> None:
        if isinstance(error, errors.StoreUnavailable):  # the heartbeat tells of a silent database
            logger.debug("No look at the alerts", error=type(error).__name__)
            return
        reason = str(error)
        if isinstance(error, errors.StoreError):
            reason = cures.cure(error)
        if reason != self._told:  # once per incident
            self._told = reason
            logger.error("Alerts are not told", reason=reason)

    def _note_success(self) -> None:
        if self._told is not None:
            logger.info("Alerts are told again")
            self._told = None

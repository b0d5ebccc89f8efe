"""
Google Cloud Translation, Basic (version 2), with an API key
(https://cloud.google.com/translate/docs/reference/rest/v2/translate).

Owns its address, its names of languages and what its errors mean. The key travels in a header and never in the
address. A used-up allowance is status 403, and only its reason tells a busy minute from an empty account.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import aiohttp

from worker import clock as clocks
from worker import errors
from worker.translators import bodies
from worker.translators.base import TooLong, TranslationAnswer, TranslationRequest
from worker.translators.batches import batches
from worker.translators.listing import Listed, Listing
from worker.translators.tags import Directory
from worker.translators.wire import Reply, Wire

URL: Final = "https://translation.googleapis.com"

_PATH: Final = "/language/translate/v2"
_CALL_SECONDS: Final = 60.0
_TEXTS_MAX: Final = 128
# 100 000 bytes of request, with room for what JSON adds.
_BYTES_MAX: Final = 80_000

_ALIASES: Final = {"iw": "he", "jw": "jv", "zh": "zh-Hans", "zh-CN": "zh-Hans", "zh-TW": "zh-Hant"}

_BUSY: Final = frozenset({"userRateLimitExceeded", "rateLimitExceeded", "RATE_LIMIT_EXCEEDED"})
_EMPTY: Final = frozenset({"dailyLimitExceeded", "dailyLimitExceededUnreg", "quotaExceeded", "billingNotEnabled"})
_NO_KEY: Final = frozenset({"keyInvalid", "API_KEY_INVALID", "keyExpired"})


class Google(Listed):
    name = "google"

    def __init__(
        self, session: aiohttp.ClientSession, api_key: str, *, url: str = URL, clock: clocks.Clock = clocks.SYSTEM
    ) -> None:
        self._wire = Wire(session, "Google", seconds=_CALL_SECONDS)
        self._url = url.rstrip("/") + _PATH
        self._headers = {"X-Goog-Api-Key": api_key}
        self._listing = Listing(self._load, clock)

    async def translate(self, request: TranslationRequest) -> TranslationAnswer:
        directory = await self._listing.fresh()
        source, target = directory.pair(request.source_language, request.target_language, "Google")
        texts: list[str] = []
        detected: str | None = None
        for batch in batches(request.texts, count_max=_TEXTS_MAX, bytes_max=_BYTES_MAX, provider="Google"):
            # Asked for as text, or entities come back.
            body: dict[str, Any] = {"q": list(batch), "target": target, "format": "text"}
            if source:
                body["source"] = source
            answers = self._read(await self._call("POST", self._url, body))
            texts += [answer["translatedText"] for answer in answers]
            detected = detected or next((answer.get("detectedSourceLanguage") for answer in answers), None)
        return TranslationAnswer(tuple(texts), detected, units=sum(map(len, request.texts)))

    async def _load(self) -> Directory:
        listed = (await self._call("GET", f"{self._url}/languages")).json()
        try:
            codes = tuple(entry["language"] for entry in listed["data"]["languages"])
        except (TypeError, KeyError):
            raise self._wire.unreadable() from None
        return Directory(dict.fromkeys(codes, codes), _ALIASES)

    def _read(self, reply: Reply) -> Sequence[Mapping[str, Any]]:
        try:
            answers: Sequence[Mapping[str, Any]] = reply.json()["data"]["translations"]
            if all(isinstance(answer["translatedText"], str) for answer in answers):
                return answers
        except (TypeError, KeyError):
            pass
        raise self._wire.unreadable()

    async def _call(self, method: str, url: str, body: Mapping[str, Any] | None = None) -> Reply:
        reply = await self._wire.call(method, url, headers=self._headers, body=body)
        if not reply.ok:
            raise _refusal(reply)
        return reply


def _refusal(reply: Reply) -> errors.ItemError:
    status, answer = reply.status, reply.json()
    reasons = set(bodies.words(answer, "reason", "status"))
    message = " ".join(bodies.words(answer, "message"))
    if reasons & _NO_KEY or "API key" in message:
        return errors.ItemError("auth", "Google refused the API key.")
    if reasons & _EMPTY or "Daily Limit" in message or "per day" in message:
        return errors.ItemError("quota_exhausted", "The quota of this worker's Google project is used up.")
    if status == 429 or reasons & _BUSY or "Rate Limit" in message:
        return errors.ItemError("rate_limited", "Google asks to slow down.", reply.wait_seconds)
    if status in (401, 403):
        return errors.ItemError("auth", "Google refused the API key.")
    if status >= 500 or status == 408:
        return errors.ItemError("overloaded", f"Google is overloaded (status {status}).", reply.wait_seconds)
    if status == 413 or (status == 400 and "too l" in message.lower()):  # too long, too large
        return TooLong("bad_request", "The text is longer than Google takes at once.")
    if status == 400 and "anguage" in message:
        return errors.ItemError("unsupported_language", "Google does not offer these languages.")
    if status < 400 or status in (404, 405):
        return errors.ItemError("auth", f"There is no Google Translation at this address (status {status}).")
    return errors.ItemError("bad_request", f"Google refused the request (status {status}).")

"""
LibreTranslate over HTTP (https://github.com/LibreTranslate/LibreTranslate), written against 1.9.

Owns its addresses, its languages and what its status codes mean. Three habits of the server matter here:
400 is also said for a missing key, with a text in the caller's language; a wrong client secret is
answered with 200 and an emoji, which the checks after us refuse; and an untranslatable text comes back as
it was. Nothing the server says reaches a user's error message: it may repeat the key or the text.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import aiohttp

from worker import clock as clocks
from worker import errors
from worker.translators.base import TooLong, TranslationAnswer, TranslationRequest
from worker.translators.batches import batches
from worker.translators.listing import Listed, Listing
from worker.translators.tags import Directory
from worker.translators.wire import Reply, Wire

_CALL_SECONDS: Final = 60.0
# A batch costs as many of the server's requests as it has texts.
_TEXTS_MAX: Final = 25
_BYTES_MAX: Final = 64 * 1024

_ALIASES: Final = {"zh": "zh-Hans", "zt": "zh-Hant", "pb": "pt-BR"}


class LibreTranslate(Listed):
    name = "libretranslate"
    version = ""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: str,
        api_key: str | None = None,
        *,
        clock: clocks.Clock = clocks.SYSTEM,
    ) -> None:
        self._wire = Wire(session, "LibreTranslate", seconds=_CALL_SECONDS)
        self._url = url.rstrip("/")
        self._api_key = api_key
        self._listing = Listing(self._load, clock)

    async def translate(self, request: TranslationRequest) -> TranslationAnswer:
        directory = await self._listing.fresh()
        source, target = directory.pair(request.source_language, request.target_language, "LibreTranslate")
        texts: tuple[str, ...] = ()
        detected = None
        for batch in batches(request.texts, count_max=_TEXTS_MAX, bytes_max=_BYTES_MAX, provider="LibreTranslate"):
            answer = self._read(await self._ask(batch, source or "auto", target))
            texts += answer.texts
            detected = detected or answer.detected_source
        return TranslationAnswer(texts, detected)

    async def _ask(self, texts: Sequence[str], source: str, target: str) -> Reply:
        body: dict[str, Any] = {"q": list(texts), "source": source, "target": target, "format": "text"}
        if self._api_key:
            body["api_key"] = self._api_key
        return self._accepted(await self._wire.call("POST", f"{self._url}/translate", body=body))

    async def _load(self) -> Directory:
        listed = self._accepted(await self._wire.call("GET", f"{self._url}/languages")).json()
        try:
            # Old servers list no targets: then every language reaches every other.
            codes = [entry["code"] for entry in listed]
            return Directory({entry["code"]: entry.get("targets", codes) for entry in listed}, _ALIASES)
        except (TypeError, KeyError, AttributeError):
            raise self._wire.unreadable() from None

    def _accepted(self, reply: Reply) -> Reply:
        if not reply.ok:
            raise _refusal(reply)
        return reply

    def _read(self, reply: Reply) -> TranslationAnswer:
        answer = reply.json()
        translated = answer.get("translatedText") if isinstance(answer, Mapping) else None
        texts = [translated] if isinstance(translated, str) else translated
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise self._wire.unreadable()
        return TranslationAnswer(tuple(texts), _detected(answer.get("detectedLanguage")))


def _refusal(reply: Reply) -> errors.ItemError:
    """What a status means. By status first: the texts come in many languages."""
    status = reply.status
    if status == 429:
        return errors.ItemError("rate_limited", "LibreTranslate asks to slow down.", reply.wait_seconds)
    if status >= 500 or status == 408:
        message = f"LibreTranslate is overloaded (status {status})."
        return errors.ItemError("overloaded", message, reply.wait_seconds)
    if status in (401, 403) or (status == 400 and _asks_for_key(reply.text)):
        return errors.ItemError("auth", "LibreTranslate refused the API key.")
    if status < 400 or status in (404, 405):
        return errors.ItemError("auth", f"There is no LibreTranslate at this address (status {status}).")
    if status == 413 or (status == 400 and "limit" in reply.text):
        return TooLong("bad_request", "The text is longer than LibreTranslate takes at once.")
    return errors.ItemError("bad_request", f"LibreTranslate refused the request (status {status}).")


def _asks_for_key(text: str) -> bool:
    return "contact the server operator" in text or "API key" in text


def _detected(detected: Any) -> str | None:
    """The language of the first text; the texts of a call come from one document."""
    first = detected[0] if isinstance(detected, list) and detected else detected
    language = first.get("language") if isinstance(first, Mapping) else None
    return language if isinstance(language, str) and language else None

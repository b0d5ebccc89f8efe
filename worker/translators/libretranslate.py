"""
LibreTranslate over HTTP (https://github.com/LibreTranslate/LibreTranslate), written against 1.9.

Owns its addresses, its languages and what its status codes mean. Three habits of the server matter here:
400 is also said for a missing key, with a text in the caller's language; a wrong client secret is
answered with 200 and an emoji, which the checks after us refuse; and an untranslatable text comes back as
it was. Nothing the server says reaches a user's error message: it may repeat the key or the text.
"""

import asyncio
import math
import time
from collections.abc import Callable, Collection, Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
import langcodes
from langcodes.tag_parser import LanguageTagError

from worker import errors
from worker.translators.base import ANY_LANGUAGE, TranslationAnswer, TranslationRequest

_TIMEOUT = aiohttp.ClientTimeout(total=60, connect=10)
_LANGUAGES_SECONDS = 24 * 3600.0

# Beyond this, langcodes answers with a language that readers of the wanted one happen to know.
_LANGUAGE_DISTANCE_MAX = 9


class LibreTranslate:
    name = "libretranslate"
    version = ""
    simulated = False
    follows_formality = False

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: str,
        api_key: str | None = None,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._session = session
        self._url = url.rstrip("/")
        self._api_key = api_key
        self._monotonic = monotonic
        self._targets: Mapping[str, Collection[str]] = {}
        self._targets_deadline = 0.0
        self._loading = asyncio.Lock()

    @property
    def languages(self) -> tuple[tuple[str, str], ...]:
        """The pairs the server listed; any, before it was asked."""
        pairs = tuple((source, target) for source, targets in self._targets.items() for target in targets)
        return pairs or ANY_LANGUAGE

    async def translate(self, request: TranslationRequest) -> TranslationAnswer:
        await self.load_languages()
        source, target = self._pair(request.source_language, request.target_language)
        body: dict[str, Any] = {
            "q": list(request.texts),
            "source": source,
            "target": target,
            "format": "text",
        }
        if self._api_key:
            body["api_key"] = self._api_key
        answer = await self._call("POST", "/translate", body)
        return _read_answer(answer)

    async def load_languages(self) -> None:
        """Ask the server what it offers, unless it said so within a day. Raises ItemError as `translate`."""
        async with self._loading:
            if self._monotonic() < self._targets_deadline:
                return
            self._targets = _read_languages(await self._call("GET", "/languages"))
            self._targets_deadline = self._monotonic() + _LANGUAGES_SECONDS

    async def close(self) -> None:
        pass

    def _pair(self, source: str | None, target: str) -> tuple[str, str]:
        if source is None:
            offered = {code for targets in self._targets.values() for code in targets}
            source_code: str | None = "auto"
        else:
            source_code = _closest(source, self._targets)
            offered = set(self._targets.get(source_code or "", ()))
        target_code = _closest(target, offered)
        if source_code is None or target_code is None:
            pair = f"{source or 'any language'} to {target}"
            raise errors.ItemError("unsupported_language", f"LibreTranslate does not offer {pair}.")
        return source_code, target_code

    async def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        try:
            async with self._session.request(
                method, self._url + path, json=body, timeout=_TIMEOUT, allow_redirects=False
            ) as response:
                if response.status != 200:
                    raise _refusal(response.status, response.headers, await response.text(errors="replace"))
                return await response.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError, OSError) as exc:
            raise errors.ItemError("overloaded", "LibreTranslate did not answer.") from exc
        except ValueError as exc:
            raise errors.ItemError("overloaded", "LibreTranslate's answer was not readable.") from exc


def _refusal(status: int, headers: Mapping[str, str], text: str) -> errors.ItemError:
    """What a status means. By status first: the texts come in many languages."""
    if status == 429:
        return errors.ItemError("rate_limited", "LibreTranslate asks to slow down.", _retry_after(headers))
    if status >= 500 or status == 408:
        message = f"LibreTranslate is overloaded (status {status})."
        return errors.ItemError("overloaded", message, _retry_after(headers))
    if status in (401, 403) or (status == 400 and _asks_for_key(text)):
        return errors.ItemError("auth", "LibreTranslate refused the API key.")
    if status < 400 or status in (404, 405):
        return errors.ItemError("auth", f"There is no LibreTranslate at this address (status {status}).")
    return errors.ItemError("bad_request", f"LibreTranslate refused the request (status {status}).")


def _asks_for_key(text: str) -> bool:
    return "contact the server operator" in text or "API key" in text


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds, from a number or an HTTP date; None when it is missing or unreadable."""
    value = headers.get("Retry-After", "")
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except ValueError:
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _read_answer(answer: Any) -> TranslationAnswer:
    translated = answer.get("translatedText") if isinstance(answer, Mapping) else None
    texts = [translated] if isinstance(translated, str) else translated
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise errors.ItemError("overloaded", "LibreTranslate's answer was not readable.")
    return TranslationAnswer(tuple(texts), _detected(answer.get("detectedLanguage")))


def _detected(detected: Any) -> str | None:
    """The language of the first text; the texts of a call come from one document."""
    first = detected[0] if isinstance(detected, list) and detected else detected
    language = first.get("language") if isinstance(first, Mapping) else None
    return language if isinstance(language, str) and language else None


def _read_languages(answer: Any) -> dict[str, tuple[str, ...]]:
    try:
        # Old servers list no targets: then every language reaches every other.
        codes = tuple(entry["code"] for entry in answer)
        return {entry["code"]: tuple(entry.get("targets", codes)) for entry in answer}
    except (TypeError, KeyError, AttributeError) as exc:
        raise errors.ItemError("overloaded", "LibreTranslate's languages were not readable.") from exc


def _closest(wanted: str, offered: Collection[str]) -> str | None:
    """The code of *offered* that means *wanted*, in the same script; None when there is none."""
    if wanted in offered:
        return wanted
    try:
        code, distance = langcodes.closest_match(wanted, list(offered), max_distance=_LANGUAGE_DISTANCE_MAX)
        if code == "und" or distance > _LANGUAGE_DISTANCE_MAX or _script(code) != _script(wanted):
            return None
    except LanguageTagError:
        return None
    return code


def _script(tag: str) -> str | None:
    return langcodes.Language.get(tag).maximize().script

"""
DeepL's text API, version 2 (https://developers.deepl.com/docs).

Owns its addresses, its way to protect (an empty element that it is told to ignore), its names of languages and
what its status codes mean. It lists sources as base languages and targets as variants; formality is asked for
as a preference, since the plain words fail for languages without it.
"""

import re
from collections.abc import Mapping, Sequence
from html import escape, unescape
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
_TEXTS_MAX: Final = 50
# A request may have 128 KiB: room for the context, and for what JSON adds to quotes and line ends.
_BYTES_MAX: Final = 96 * 1024
_CONTEXT_CHARS_MAX: Final = 2000

_SENTINEL: Final = re.compile(r"⟦(\d+)⟧")
_ELEMENT: Final = re.compile(r"<x id=[\"'](\d+)[\"']\s*(?:/>|>\s*</x>)")
_FORMALITY: Final = {"more": "prefer_more", "less": "prefer_less"}

# As a target ZH is simplified Chinese, as a source any.
_ALIASES: Final = {"ZH": "zh-Hans", "ZH-HANS": "zh-Hans", "ZH-HANT": "zh-Hant"}
_SOURCES_MORE: Final = {"zh-Hant": "ZH"}


class DeepL(Listed):
    name = "deepl"
    follows_formality = True

    def __init__(
        self,
        session: aiohttp.ClientSession,
        api_key: str,
        *,
        glossary_ids: Sequence[str] = (),
        url: str | None = None,
        clock: clocks.Clock = clocks.SYSTEM,
    ) -> None:
        """*glossary_ids*: up to five glossaries of the account. *url*: None is DeepL's own, by the kind of key."""
        self._wire = Wire(session, "DeepL", seconds=_CALL_SECONDS)
        host = "api-free.deepl.com" if api_key.endswith(":fx") else "api.deepl.com"
        self._url = (url or f"https://{host}").rstrip("/")
        self._headers = {"Authorization": f"DeepL-Auth-Key {api_key}"}
        self._glossary_ids = tuple(glossary_ids)
        self.version = "1" + "".join(f"+{name}" for name in sorted(glossary_ids))
        self._listing = Listing(self._load, clock)

    async def translate(self, request: TranslationRequest) -> TranslationAnswer:
        directory = await self._listing.fresh()
        source, target = directory.pair(request.source_language, request.target_language, "DeepL")
        elements = [_to_elements(text) for text in request.texts]
        texts: list[str] = []
        detected, units = None, 0
        for batch in batches(elements, count_max=_TEXTS_MAX, bytes_max=_BYTES_MAX, provider="DeepL"):
            answers = await self._ask(self._body(request, batch, source, target))
            texts += [_to_sentinels(answer["text"]) for answer in answers]
            detected = detected or next((answer.get("detected_source_language") for answer in answers), None)
            units += sum(answer.get("billed_characters") or 0 for answer in answers)
        return TranslationAnswer(tuple(texts), detected.lower() if isinstance(detected, str) else None, units=units)

    def _body(
        self, request: TranslationRequest, texts: Sequence[str], source: str | None, target: str
    ) -> dict[str, Any]:
        body: dict[str, Any] = {
            "text": list(texts),
            "target_lang": target,
            "tag_handling": "xml",
            "ignore_tags": ["x"],
            "preserve_formatting": True,
            "show_billed_characters": True,
        }
        if source:
            body["source_lang"] = source
            if len(self._glossary_ids) == 1:  # understood for longer than the list
                body["glossary_id"] = self._glossary_ids[0]
            elif self._glossary_ids:
                body["glossary_ids"] = list(self._glossary_ids)
        if request.context:
            body["context"] = request.context[-_CONTEXT_CHARS_MAX:]
        if formality := _FORMALITY.get(request.formality):
            body["formality"] = formality
        return body

    async def _ask(self, body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        answer = (await self._call("POST", "/v2/translate", body)).json()
        translations = answer.get("translations") if isinstance(answer, Mapping) else None
        if not isinstance(translations, list) or not all(
            isinstance(one, Mapping) and isinstance(one.get("text"), str) for one in translations
        ):
            raise self._wire.unreadable()
        return translations

    async def _load(self) -> Directory:
        sources = await self._codes("source")
        targets = await self._codes("target")
        # A target without its variant is an old spelling (EN, PT): it is offered, but not listed.
        return Directory(dict.fromkeys(sources, targets), _ALIASES, sources_more=_SOURCES_MORE)

    async def _codes(self, kind: str) -> tuple[str, ...]:
        listed = (await self._call("GET", f"/v2/languages?type={kind}")).json()
        try:
            return tuple(entry["language"] for entry in listed)
        except (TypeError, KeyError):
            raise self._wire.unreadable() from None

    async def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Reply:
        reply = await self._wire.call(method, self._url + path, headers=self._headers, body=body)
        if not reply.ok:
            raise _refusal(reply)
        return reply


def _refusal(reply: Reply) -> errors.ItemError:
    status = reply.status
    if status in (429, 529):
        return errors.ItemError("rate_limited", "DeepL asks to slow down.", reply.wait_seconds)
    if status == 456:
        return errors.ItemError("quota_exhausted", "The quota of this worker's DeepL account is used up.")
    if status in (401, 403):
        return errors.ItemError("auth", "DeepL refused the API key.")
    if status >= 500 or status == 408:
        return errors.ItemError("overloaded", f"DeepL is overloaded (status {status}).", reply.wait_seconds)
    if status in (413, 414):
        return TooLong("bad_request", "The text is longer than DeepL takes at once.")
    if status == 400 and "_lang" in reply.text and "not supported" in reply.text:
        return errors.ItemError("unsupported_language", "DeepL does not offer these languages.")
    if status < 400 or status in (404, 405):
        return errors.ItemError("auth", f"There is no DeepL at this address (status {status}).")
    return errors.ItemError("bad_request", f"DeepL refused the request (status {status}).")


def _to_elements(text: str) -> str:
    return _SENTINEL.sub(r'<x id="\1"/>', escape(text, quote=False))


def _to_sentinels(text: str) -> str:
    return unescape(_ELEMENT.sub(r"⟦\1⟧", text))

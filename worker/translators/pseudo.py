"""
The simulated translator: no network, any language, clearly not a translation.

Owns the pseudo text (accents, about a third longer, marked with its language) and the failures a job may
order to rehearse them: `{"simulate": {"fail": {"fr": {"times": 2, "class": "internal"}}, "delay_ms":
{"*": 20}}}`. Deterministic: the same text gives the same answer. Sentinels and everything that is no
Latin letter stay.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from worker import errors
from worker.translators.base import ANY_LANGUAGE, SENTINEL, TranslationAnswer, TranslationRequest

_ACCENTS = str.maketrans(
    dict(
        zip(
            "aeioubcdghjklnprstwyzAEIOUBCDGHJKLNPRSTWYZ",
            "áéíóúƀçđĝĥĵķļñƥřšťŵýžÁÉÍÓÚƁÇĐĜĤĴĶĻÑƤŘŠŤŴÝŽ",
            strict=True,
        )
    )
    # A vowel said twice: most words grow, as they do in most languages that are not English.
    | {vowel: long * 2 for vowel, long in zip("aeiou", "áéíóú", strict=True)}
)


class PseudoTranslator:
    name = "pseudo"
    version = "1"
    simulated = True
    follows_formality = False
    languages = ANY_LANGUAGE

    def __init__(self, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._sleep = sleep

    async def translate(self, request: TranslationRequest) -> TranslationAnswer:
        simulate = _mapping(request.options.get("simulate"))
        if delay_ms := _for_language(simulate.get("delay_ms"), request.target_language):
            await self._sleep(_number(delay_ms) / 1000)
        _fail_as_ordered(_for_language(simulate.get("fail"), request.target_language), request.attempt)
        return TranslationAnswer(tuple(pseudo(text, request.target_language) for text in request.texts))

    async def close(self) -> None:
        pass


def pseudo(text: str, language: str) -> str:
    """*text* as if it were translated: accented, longer, in brackets that name *language*."""
    words = SENTINEL.split(text)
    sentinels = [*SENTINEL.findall(text), ""]
    accented = (word.translate(_ACCENTS) for word in words)
    joined = "".join(part for pair in zip(accented, sentinels, strict=True) for part in pair)
    return f"[{language}: {joined}]"


def _fail_as_ordered(order: Any, attempt: int) -> None:
    """Raise what *order* asks for: `{"class": …, "times": n}`; without `times`, at every attempt."""
    if order is None:
        return
    order = _mapping(order)
    if attempt > _number(order.get("times", attempt)):
        return
    error_class = order.get("class", "internal")
    if error_class not in errors.ERROR_CLASSES:
        raise _refused("class must be one of " + ", ".join(sorted(errors.ERROR_CLASSES)))
    raise errors.ItemError(error_class, f"Simulated failure ({error_class}).")


def _for_language(by_language: Any, language: str) -> Any:
    """The entry for *language*, else the one for `*`; a bare number is meant for all."""
    if isinstance(by_language, int | float):
        return by_language
    entries = _mapping(by_language)
    return entries.get(language, entries.get("*"))


def _mapping(value: Any) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise _refused("an object was expected")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise _refused("times and delay_ms must be numbers, 0 or more")
    return value


def _refused(what: str) -> errors.ItemError:
    return errors.ItemError("bad_request", f"The option simulate is not usable: {what}.")

"""
The simulated translator: no network, any language, clearly not a translation.

Owns the pseudo text (accents, about a third longer, marked with its language) and the failures a job may
order to rehearse them, in its option `simulate`:

    {"fail": {"fr": {"times": 2, "class": "internal"}}}     a language, for its first tries or always
    {"fail": {"*": {"class": "rate_limited", "retry_after_seconds": 5}}}
    {"fail": {"*": {"rate": 0.1, "seed": 7}}}               some calls, always the same ones for a seed
    {"fail": {"*": {"on": "Liechtenstein"}}}                calls with a text that holds this
    {"delay_ms": {"de": 200, "*": [5, 50]}}                 each call takes this long, or something between

Deterministic: the same text gives the same answer. Sentinels and everything that is no Latin letter stay.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from worker import errors
from worker.translators import tags
from worker.translators.base import SENTINEL, Provider, TranslationAnswer, TranslationRequest

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


class PseudoTranslator(Provider):
    name = "pseudo"
    simulated = True

    def __init__(self, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._sleep = sleep

    async def translate(self, request: TranslationRequest) -> TranslationAnswer:
        if not tags.is_language(request.target_language):
            raise tags.unsupported(request.source_language, request.target_language, "The simulated translator")
        if simulate := _mapping(request.options.get("simulate")):
            if delay_ms := _delay_ms(_for_language(simulate.get("delay_ms"), request.target_language), request):
                await self._sleep(delay_ms / 1000)
            _fail_as_ordered(_for_language(simulate.get("fail"), request.target_language), request)
        return TranslationAnswer(tuple(pseudo(text, request.target_language) for text in request.texts))


def pseudo(text: str, language: str) -> str:
    """*text* as if it were translated: accented, longer, in brackets that name *language*."""
    words = SENTINEL.split(text)
    sentinels = [*SENTINEL.findall(text), ""]
    accented = (word.translate(_ACCENTS) for word in words)
    joined = "".join(part for pair in zip(accented, sentinels, strict=True) for part in pair)
    return f"[{language}: {joined}]"


def _fail_as_ordered(order: Any, request: TranslationRequest) -> None:
    """Raise what *order* asks for, if it is about this call."""
    if order is None:
        return
    order = _mapping(order)
    if request.attempt > _number(order.get("times", request.attempt)):
        return
    if "rate" in order and _chance(order.get("seed", 0), request) >= _number(order["rate"]):
        return
    if "on" in order and not any(str(order["on"]) in text for text in request.texts):
        return
    error_class = order.get("class", "internal")
    if error_class not in errors.ERROR_CLASSES:
        raise _refused("class must be one of " + ", ".join(sorted(errors.ERROR_CLASSES)))
    after = order.get("retry_after_seconds")
    message = f"Simulated failure ({error_class})."
    # Whoever orders a throttle for one job must not stop the others.
    seconds = None if after is None else _number(after)
    raise errors.ItemError(error_class, message, seconds, speaks_for_provider=False)


def _delay_ms(order: Any, request: TranslationRequest) -> float:
    if not isinstance(order, list):
        return _number(order or 0)
    if len(order) != 2:
        raise _refused("delay_ms is a number, or the least and the most")
    least, most = map(_number, order)
    return least + (most - least) * _chance("delay", request)


def _chance(seed: Any, request: TranslationRequest) -> float:
    """A number from 0 to 1 that is always the same for a seed and a call, and another one at the next try."""
    named = f"{seed}|{request.target_language}|{request.attempt}|{request.texts}"
    return int.from_bytes(hashlib.sha256(named.encode("utf-8", "replace")).digest()[:6], "big") / 2**48


def _for_language(by_language: Any, language: str) -> Any:
    """The entry for *language*, else the one for `*`; a bare number or range is meant for all."""
    if isinstance(by_language, int | float | list) and not isinstance(by_language, bool):
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

"""
What comes in, read strictly: bodies and queries become models, or a refusal that says what is wrong.

Strict because a field that is silently ignored is a job that is not what was asked for: unknown and repeated names
are refused. The rule: a refusal names the field and never quotes its value.
"""

import asyncio
import json
import math
from typing import Any, Final, TypeVar

from aiohttp import web
from pydantic import BaseModel, ValidationError

from worker.web.refusals import Refusal, too_large

BODY_BYTES_MAX: Final = 2**20
_BODY_SECONDS: Final = 15.0
_SAID_MAX: Final = 3

Model = TypeVar("Model", bound=BaseModel)


class _Repeated(Exception):
    pass


async def read_body(request: web.Request, model: type[Model]) -> Model:
    """
    The JSON body as *model*.

    Raises:
        Refusal: 400, 408, 413, 415 or 422.
    """
    if request.content_type != "application/json" or (request.charset or "utf-8").lower() != "utf-8":
        raise Refusal(415, "content_type_unknown", "The body must be JSON: Content-Type: application/json.")
    raw = await _bytes(request)
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise Refusal(400, "body_invalid", "The body is not UTF-8.") from None
    _check(text)
    try:
        return model.model_validate_json(raw, strict=True)
    except ValidationError as invalid:
        raise _invalid(invalid) from None


async def _bytes(request: web.Request) -> bytes:
    if (request.content_length or 0) > BODY_BYTES_MAX:
        raise too_large()
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            return await request.read()
    except TimeoutError:
        raise Refusal(408, "body_late", f"The body did not come within {_BODY_SECONDS:g} seconds.") from None
    except web.RequestPayloadError:
        raise Refusal(400, "body_invalid", "The body ended early, or is not encoded as its headers say.") from None


def _check(text: str) -> None:
    """That it is JSON as RFC 8259 has it, each name once: the parser of the models keeps the last of two."""
    try:
        json.loads(text, object_pairs_hook=_each_once, parse_constant=_no_number, parse_float=_finite)
    except _Repeated:
        raise Refusal(400, "body_invalid", "A name stands twice in one object of the body.") from None
    except RecursionError:
        raise Refusal(400, "body_invalid", "The body is nested too deeply.") from None
    except ValueError:
        raise Refusal(400, "body_invalid", "The body is not JSON.") from None


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Repeated
    return found


def _no_number(name: str) -> Any:
    raise ValueError(name)


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):  # what was read could not be written again
        raise ValueError(text)
    return number


def read_query(request: web.Request, model: type[Model]) -> Model:
    """
    The query as *model*. Its values are texts, so numbers are read from them.

    Raises:
        Refusal: 422.
    """
    if len(set(request.query.keys())) != len(request.query):
        raise Refusal(422, "query_invalid", "A parameter stands twice in the address.")
    if any("\0" in value for value in request.query.values()):
        raise Refusal(422, "query_invalid", "A parameter holds a NUL character.")
    try:
        return model.model_validate_strings(dict(request.query))
    except ValidationError as invalid:
        raise _invalid(invalid, code="query_invalid") from None


def _invalid(invalid: ValidationError, *, code: str = "body_invalid") -> Refusal:
    """Says where and what, in the words of the rule that was broken."""
    found = invalid.errors(include_url=False, include_context=False, include_input=False)
    if any(error["type"] in ("json_invalid", "recursion_loop") for error in found):
        return Refusal(400, code, "The body is not JSON that can be read.")
    said = [f"{_place(error['loc'])}{_words(error)}" for error in found[:_SAID_MAX]]
    more = f" And {len(found) - _SAID_MAX} more." if len(found) > _SAID_MAX else ""
    return Refusal(422, code, " ".join(said) + more)


def _place(location: tuple[int | str, ...]) -> str:
    # Only the first name is one of ours; deeper ones may be anything a customer wrote.
    first = str(location[0])[:60] if location else ""
    return f"{first}: " if first.isidentifier() else ""


def _words(error: Any) -> str:
    if error["type"] == "extra_forbidden":
        return "there is no such field."
    return str(error["msg"]).removeprefix("Value error, ").rstrip(".") + "."

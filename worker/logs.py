"""
loguru, configured once: lines for a person on a terminal, one JSON object a line for everybody else.

Messages are constant and data are fields; never a key, never a customer's text. Two nets are under that rule: what
libraries say of their own accord is told by its place alone, since their texts quote what was sent; and whatever
looks like a key, a token or a mail address, or is one of the secrets this process was given, is blacked out of
every line.
"""

import json as encoding
import logging
import re
import sys
import traceback
from collections.abc import Iterable
from datetime import UTC
from typing import TYPE_CHECKING, Any, Final, TextIO

from loguru import logger

if TYPE_CHECKING:
    from loguru import Message, Record

_LINE = "<green>{time:YYYY-MM-DD HH:mm:ss.SSS}</green> <level>{level: <7}</level> {message}"
# The levels of loguru that Cloud Logging has another word for.
_SEVERITIES: Final = {"TRACE": "DEBUG", "SUCCESS": "INFO"}
_BLACK: Final = "***"
_LOOKS_SECRET: Final = re.compile(
    r"sb_(?:secret|publishable)_[\w-]+"
    r"|eyJ[\w-]{8,}\.[\w-]+\.[\w-]*"  # a JWT
    r"|\bsk-[\w-]{8,}"
    r"|(?<=apikey=)[^&\s\"']+"
    r"|(?i:(?<=bearer )|(?<=basic ))[\w.~+/=-]+"
    r"|[\w.+-]+@[\w-]+(?:\.[\w-]+)+"
)
# Shorter ones would black out ordinary words.
_SECRET_CHARS_MIN: Final = 6

_is_json = False


def configure(*, level: str, json: bool | None, secrets: Iterable[str] = ()) -> None:
    """
    Log to stderr.

    Args:
        json: one JSON object a line, with the `severity`, `message` and `time` that Cloud Logging and others know.
            None: unless stderr is a terminal.
        secrets: what must never stand in a line, whoever puts it there.
    """
    global _is_json
    _is_json = not sys.stderr.isatty() if json is None else json
    stream = _Redacted(sys.stderr, secrets)
    logger.remove()
    # diagnose=True would print the values of local variables: customer text and keys.
    if _is_json:
        # The sink writes the line itself: what a format returns, loguru would format again.
        logger.add(lambda message: _write(stream, message), level=level, format=lambda _: "", diagnose=False)
    else:
        logger.add(stream, level=level, format=_line, diagnose=False, backtrace=False)
    _take_over_logging()


def last_words(sentence: str) -> bool:
    """Log why the process ends, where its log is JSON; False where a person reads, who is told in plain words."""
    if _is_json:
        logger.critical(sentence)
    return _is_json


def place(error: BaseException) -> str:
    """Where *error* was raised, as `file:line`. Its text is left out: it may quote a customer."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename.rsplit('/', 1)[-1]}:{frames[-1].lineno}" if frames else "?"


class _Redacted:
    """A stream without secrets."""

    def __init__(self, stream: TextIO, secrets: Iterable[str]) -> None:
        self._stream = stream
        long_enough = {secret for secret in secrets if len(secret) >= _SECRET_CHARS_MIN}
        spelled = long_enough | {encoding.dumps(secret, ensure_ascii=False)[1:-1] for secret in long_enough}
        longest_first = sorted(spelled, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, longest_first))) if spelled else None

    def write(self, text: str) -> None:
        if self._known is not None:
            text = self._known.sub(_BLACK, text)
        self._stream.write(_LOOKS_SECRET.sub(_BLACK, text))

    def flush(self) -> None:
        self._stream.flush()

    def isatty(self) -> bool:
        return self._stream.isatty()


def _write(stream: _Redacted, message: "Message") -> None:
    record = message.record
    entry = {name: value for name, value in record["extra"].items() if value is not None}
    if (raised := record["exception"]) is not None and raised.value is not None:
        entry |= {"error": type(raised.value).__name__, "place": place(raised.value)}
    level = record["level"].name
    entry |= {
        "severity": _SEVERITIES.get(level, level),
        "time": record["time"].astimezone(UTC).isoformat(),
        "message": record["message"],
    }
    line = encoding.dumps(entry, ensure_ascii=False, skipkeys=True, default=_kind)
    stream.write(line + "\n")
    stream.flush()


def _kind(value: object) -> str:
    # Its text might be anybody's.
    return f"<{type(value).__name__}>"


def _line(record: "Record") -> str:
    # loguru formats the returned string again, so fields go in by name and never as text.
    fields = "".join(f" <dim>{name}=</dim>{{extra[{name}]}}" for name in _shown(record["extra"]))
    return f"{_LINE}{fields}\n{{exception}}"


def _shown(extra: dict[Any, Any]) -> list[str]:
    return [name for name, value in extra.items() if value is not None]


def _take_over_logging() -> None:
    root = logging.getLogger()
    if not any(isinstance(handler, _OfLibraries) for handler in root.handlers):
        root.addHandler(_OfLibraries())
    logging.captureWarnings(True)


class _OfLibraries(logging.Handler):
    """
    What libraries say through `logging`: who and where, so that the sentence can be looked up, and nothing of it.

    asyncio complains of our own faults; what the others meet, our own lines tell by its consequences.
    """

    def emit(self, record: logging.LogRecord) -> None:
        level = record.levelname if record.name == "asyncio" and record.levelno >= logging.ERROR else "DEBUG"
        error = record.exc_info[1] if record.exc_info else None
        logger.log(
            level,
            "A library complains",
            library=record.name,
            place=f"{record.filename}:{record.lineno}",
            error=type(error).__name__ if error else None,
            raised=place(error) if error else None,
        )

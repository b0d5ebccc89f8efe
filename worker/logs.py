"""
loguru, configured once. Messages are constant and data are fields; never a key, never a customer's text.
"""

import sys
import traceback
from typing import TYPE_CHECKING, Any

from loguru import logger

if TYPE_CHECKING:
    from loguru import Record

_LINE = "<green>{time:YYYY-MM-DD HH:mm:ss.SSS}</green> <level>{level: <7}</level> {message}"


def configure(*, level: str, json: bool) -> None:
    """Log to stderr. With *json*, one JSON object a line, for collectors."""
    logger.remove()
    # diagnose=True would print the values of local variables: customer text and keys.
    if json:
        logger.add(sys.stderr, level=level, serialize=True, diagnose=False, backtrace=False)
    else:
        logger.add(sys.stderr, level=level, format=_line, diagnose=False, backtrace=False)


def place(error: BaseException) -> str:
    """Where *error* was raised, as `file:line`. Its text is left out: it may quote a customer."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename.rsplit('/', 1)[-1]}:{frames[-1].lineno}" if frames else "?"


def _line(record: "Record") -> str:
    # loguru formats the returned string again, so fields go in by name and never as text.
    fields = "".join(f" <dim>{name}=</dim>{{extra[{name}]}}" for name in _shown(record["extra"]))
    return f"{_LINE}{fields}\n{{exception}}"


def _shown(extra: dict[Any, Any]) -> list[str]:
    return [name for name, value in extra.items() if value is not None]

"""
What a translation job may wish for, read from its options.

Owns the reading: the database has refused what it can judge, but a row typed into the table editor was never
looked at. What only a translator reads (`formality`, `simulate`) it reads itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from worker import errors


@dataclass(frozen=True, slots=True)
class Wishes:
    terms: tuple[str, ...] = ()
    """What is not translated, wherever it stands."""
    pointers: tuple[str, ...] = ()
    """In json: where nothing is translated."""
    formality: str = "default"
    max_warnings: int | None = None
    """None: any number."""
    second_provider: str | None = None


def read(options: Mapping[str, Any], kind: str) -> Wishes:
    """
    The wishes in *options* for content of *kind*.

    Raises:
        ItemError: bad_request, with what was expected.
    """
    listed = options.get("do_not_translate") or []
    if not isinstance(listed, list) or not all(isinstance(entry, str) for entry in listed):
        raise _refused("do_not_translate must be a list of strings")
    pointers = tuple(entry for entry in listed if kind == "json" and entry.startswith("/"))
    return Wishes(
        terms=tuple(dict.fromkeys(entry for entry in listed if entry.strip() and entry not in pointers)),
        pointers=pointers,
        formality=str(options.get("formality") or "default"),
        max_warnings=_max_warnings(options.get("max_warnings")),
        second_provider=_second_provider(options.get("second_provider")),
    )


def _max_warnings(given: Any) -> int | None:
    if given is None:
        return None
    if isinstance(given, int | str) and not isinstance(given, bool) and str(given).isascii() and str(given).isdigit():
        return int(given)
    raise _refused("max_warnings must be a number, 0 or more")


def _second_provider(given: Any) -> str | None:
    if given is not None and not isinstance(given, str):
        raise _refused("second_provider must be a name")
    return given or None


def _refused(what: str) -> errors.ItemError:
    return errors.ItemError("bad_request", f"The option {what}.")

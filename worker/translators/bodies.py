"""
The objects inside the body of an error, wherever a provider puts them: in lists, in `error`, in `details`.

Whoever sent it may have sent anything: only so many are looked at, and none is trusted to have a field.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, Final

_INSIDE: Final = ("error", "errors", "details", "innererror", "metadata", "violations")
_LOOKED_AT_MAX: Final = 200


def objects(body: Any) -> Iterator[Mapping[str, Any]]:
    """Every object of the decoded *body*, the outermost first."""
    waiting = deque([body])
    for _ in range(_LOOKED_AT_MAX):
        if not waiting:
            return
        one = waiting.popleft()
        if isinstance(one, list):
            waiting.extend(one[:_LOOKED_AT_MAX])
        elif isinstance(one, Mapping):
            yield one
            waiting.extend(one[name] for name in _INSIDE if name in one)


def words(body: Any, *names: str) -> Iterator[str]:
    """The strings that stand under *names* in any of the objects."""
    for one in objects(body):
        yield from (word for name in names if isinstance(word := one.get(name), str))

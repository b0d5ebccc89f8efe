"""
A user who asks, and how one is found: what the routes know of tokens.
"""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Caller:
    """A signed-in user."""

    user_id: str
    token: str = field(repr=False)
    expires_at: float
    """Seconds since the epoch."""
    operator: bool = False
    """Whether the token's `app_metadata` says so, which nobody but the project can write."""

    def seconds_left(self) -> float:
        """Until the token expires; below zero within the allowed skew."""
        return self.expires_at - time.time()


Identify = Callable[[str | None], Awaitable[Caller]]
"""Whom an `Authorization` header names. Raises Refusal."""

"""
The background worker of a Supabase project.

What an owner's handlers need is here by name, and imported when it is first asked for: `import worker` costs nothing.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from worker.errors import GiveUp as GiveUp
    from worker.errors import RetryLater as RetryLater
    from worker.handlers.base import JobContext as JobContext
    from worker.handlers.own import handler as handler

__version__ = "0.1.0"

_HOMES = {
    "GiveUp": "worker.errors",
    "JobContext": "worker.handlers.base",
    "RetryLater": "worker.errors",
    "handler": "worker.handlers.own",
    "testing": "worker.testing",
}

if not TYPE_CHECKING:  # or a type checker would take every name for one of ours

    def __getattr__(name: str) -> Any:
        import importlib

        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        module = importlib.import_module(_HOMES[name])
        return module if module.__name__ == f"{__name__}.{name}" else getattr(module, name)

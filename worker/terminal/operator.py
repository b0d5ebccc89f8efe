"""
How an operator's command reaches the project: the address and the secret key of the settings, errors as sentences.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from worker import errors
from worker.rpc import Rpc

T = TypeVar("T")


def address_and_key() -> tuple[str, str]:
    """Raises ConfigurationError when one is missing."""
    from worker import settings

    chosen = settings.load_desk(Path(".env"))
    if chosen.supabase_secret_key is None:
        raise errors.ConfigurationError("SUPABASE_SECRET_KEY is not set; this command speaks as the operator.")
    return chosen.supabase_url, chosen.supabase_secret_key.get_secret_value()


def asked(call: Callable[[Rpc], Awaitable[T]]) -> T:
    """The answer of *call*. Raises WorkerError with a sentence for a person."""
    from worker.rpc_direct import DirectRpc

    url, key = address_and_key()

    async def session() -> T:
        rpc = DirectRpc(url, key)
        try:
            return await call(rpc)
        finally:
            await rpc.close()

    return answered(session())


def answered(work: Coroutine[Any, Any, T]) -> T:
    """Run *work*. Raises WorkerError with a sentence for a person where the database did not do it."""
    from worker import cures

    try:
        return asyncio.run(work)
    except errors.StoreRefused as refusal:
        raise errors.WorkerError(refusal.message) from refusal
    except errors.StoreError as error:
        raise errors.WorkerError(cures.cure(error)) from error

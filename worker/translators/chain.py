"""
Providers in the order of preference: the next one takes over where one cannot serve.

Cannot serve: its money or key is no good, it does not have the languages, it is broken off, or it would make
the job wait for long. What is wrong with a text (too long, refused, damaged) is wrong with every provider and
passes through. Each answer names who really gave it.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

from loguru import logger

from worker import errors, models
from worker.translators.base import ANY_LANGUAGE, Pairs, TranslationAnswer, TranslationRequest
from worker.translators.patience import Patient, ProviderCondition

PREPARE_SECONDS: Final = 5.0

_NEXT_ONE: Final = frozenset({"quota_exhausted", "auth", "unsupported_language", "rate_limited", "overloaded"})


class Chain:
    """A `Translator` of one provider or several."""

    def __init__(self, providers: Sequence[Patient]) -> None:
        self._providers = tuple(providers)

    @property
    def name(self) -> str:
        return ",".join(provider.name for provider in self._providers)

    @property
    def version(self) -> str:
        return ",".join(f"{provider.name}:{provider.version}" for provider in self._providers)

    @property
    def simulated(self) -> bool:
        return all(provider.simulated for provider in self._providers)

    @property
    def follows_formality(self) -> bool:
        return all(provider.follows_formality for provider in self._providers)

    @property
    def unspoken(self) -> tuple[str, ...]:
        return tuple(sentence for provider in self._providers for sentence in provider.unspoken)

    @property
    def languages(self) -> Pairs:
        pairs = dict.fromkeys(pair for provider in self._providers for pair in provider.languages)
        return ANY_LANGUAGE if ANY_LANGUAGE[0] in pairs else tuple(pairs)

    def condition(self) -> tuple[ProviderCondition, ...]:
        """How each provider fares, in the order of preference."""
        return tuple(provider.condition() for provider in self._providers)

    async def prepare(self) -> None:
        """Let each provider ask for what it needs to know. One that does not answer is asked again at work."""
        await asyncio.gather(*map(_prepare, self._providers))

    async def translate(self, request: TranslationRequest) -> TranslationAnswer:
        failures: list[errors.ItemError] = []
        for provider in self._providers:
            try:
                return await provider.translate(request)
            except errors.ItemError as error:
                if error.error_class not in _NEXT_ONE:
                    raise
                failures.append(error)
                logger.debug("Provider cannot serve", provider=provider.name, error=error.error_class)
        raise failures[0] if len(failures) == 1 else _all_together(failures)

    async def close(self) -> None:
        for provider in self._providers:
            await provider.close()

    def only(self, name: str) -> Patient | None:
        return next((provider for provider in self._providers if provider.name == name), None)


async def _prepare(provider: Patient) -> None:
    try:
        async with asyncio.timeout(PREPARE_SECONDS):
            await provider.prepare()
    except (errors.ItemError, TimeoutError) as error:
        error_class = error.error_class if isinstance(error, errors.ItemError) else "overloaded"
        logger.warning("Provider not ready yet", provider=provider.name, error=error_class)


def _all_together(failures: Sequence[errors.ItemError]) -> errors.ItemError:
    """One error for several: that of the provider which is back first; none is back if none has the languages."""
    waiting = [error for error in failures if error.error_class != "unsupported_language"]
    if not waiting:
        return failures[0]
    first = min(waiting, key=_wait_seconds)
    # Where somebody lacks the languages, others with other languages may well be served meanwhile.
    speaks_for_provider = len(waiting) == len(failures)
    return errors.ItemError(
        first.error_class, first.message, first.retry_after_seconds, speaks_for_provider=speaks_for_provider
    )


def _wait_seconds(error: errors.ItemError) -> float:
    if error.retry_after_seconds is not None:
        return error.retry_after_seconds
    return models.RETRY_AFTER_SECONDS.get(error.error_class, 0.0)

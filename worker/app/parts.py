"""
What does the work, made from the settings: the translators, and a handler for each kind of job.

Whatever cannot be made stops the start with one sentence.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
from loguru import logger
from pydantic import SecretStr

from worker import errors
from worker.handlers import Handler, own
from worker.rpc import Rpc
from worker.settings import Settings
from worker.translators import Limits, Translator, TranslatorOptions
from worker.translators import build as build_translator
from worker.translators.chain import Chain

if TYPE_CHECKING:
    from worker.alerting import AlertWebhook


def translator(settings: Settings, http: aiohttp.ClientSession) -> Chain:
    """Raises ConfigurationError."""

    def shown(key: SecretStr | None) -> str | None:
        return key.get_secret_value() if key else None

    options = TranslatorOptions(
        openai_api_key=shown(settings.openai_api_key),
        openai_url=settings.openai_base_url,
        openai_model=settings.openai_model,
        deepl_api_key=shown(settings.deepl_api_key),
        deepl_glossary_ids=settings.deepl_glossary_ids,
        google_api_key=shown(settings.google_api_key),
        libretranslate_url=settings.libretranslate_url,
        libretranslate_api_key=shown(settings.libretranslate_api_key),
        apertium_modes=Path(settings.apertium_modes),
        limits=Limits(
            concurrency=settings.provider_concurrency,
            requests_per_minute=settings.provider_requests_per_minute,
            characters_per_minute=settings.provider_characters_per_minute,
            wait_seconds=settings.provider_wait_seconds,
        ),
    )
    chain = build_translator(settings.translator, session=http, options=options)
    logger.info("Translator chosen", translator=chain.name, simulated=chain.simulated)
    return chain


def handlers(
    settings: Settings, translator: Translator, http: aiohttp.ClientSession
) -> dict[str, Handler | own.OwnHandler]:
    """A handler for each kind of job, the owner's own included. Raises ConfigurationError."""
    from worker.handlers.http import HttpHandler
    from worker.handlers.procedures import Procedures
    from worker.handlers.sql_functions import SqlFunctionsHandler
    from worker.handlers.translation import TranslationHandler

    procedures = Procedures(http, settings.supabase_url, settings.supabase_secret_key.get_secret_value())
    found: dict[str, Handler | own.OwnHandler] = {
        "translation": TranslationHandler(translator),
        "sql_functions": SqlFunctionsHandler(procedures),
        "http": HttpHandler(
            procedures,
            tokens={name: token.get_secret_value() for name, token in settings.http_tokens},
            secrets={name: secret.get_secret_value() for name, secret in settings.http_secrets},
        ),
        **own.load(settings.worker_modules),
    }
    if unknown := set(settings.job_types) - set(found):
        raise errors.ConfigurationError(
            f"JOB_TYPES is {','.join(settings.job_types)!r}; there is no handler for {', '.join(sorted(unknown))}; "
            f"allowed: {', '.join(sorted(found))}."
        )
    return found


def alert_webhook(settings: Settings, rpc: Rpc) -> "AlertWebhook | None":
    """Who tells of alerts; None where nobody is to be told."""
    if settings.alert_webhook_url is None:
        return None
    from worker.alerting import AlertWebhook

    secret = settings.alert_webhook_secret
    return AlertWebhook(
        rpc,
        worker_id=settings.worker_id,
        url=settings.alert_webhook_url.get_secret_value(),
        secret=secret.get_secret_value() if secret else None,
        limits=settings.arguments(),
    )

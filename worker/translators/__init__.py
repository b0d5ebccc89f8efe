"""
The providers of translations, chosen by name.

Owns the list of names and what each needs to start. Knows no settings: it is given values.
"""

from dataclasses import dataclass

import aiohttp

from worker import errors
from worker.translators.base import TranslationAnswer, TranslationRequest, Translator
from worker.translators.libretranslate import LibreTranslate
from worker.translators.pseudo import PseudoTranslator

__all__ = ["NAMES", "TranslationAnswer", "TranslationRequest", "Translator", "TranslatorOptions", "build"]

NAMES = ("pseudo", "libretranslate")


@dataclass(frozen=True, slots=True)
class TranslatorOptions:
    """What the providers need from the settings; each reads its own."""

    libretranslate_url: str | None = None
    libretranslate_api_key: str | None = None


def build(name: str, *, session: aiohttp.ClientSession, options: TranslatorOptions) -> Translator:
    """
    The translator called *name*. The *session* stays its owner's.

    Raises:
        ConfigurationError: no such translator, or it lacks a setting.
    """
    if name == "pseudo":
        return PseudoTranslator()
    if name == "libretranslate":
        url = options.libretranslate_url
        if not url or not url.startswith(("http://", "https://")):
            raise errors.ConfigurationError(
                f"LIBRETRANSLATE_URL is {url!r}; TRANSLATOR=libretranslate needs its http(s) address."
            )
        return LibreTranslate(session, url, options.libretranslate_api_key or None)
    raise errors.ConfigurationError(f"TRANSLATOR is {name!r}; allowed are {', '.join(NAMES)}.")

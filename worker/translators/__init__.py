"""
The providers of translations, chosen by name.

Owns the list of names and what each needs to start. Knows no settings: it is given values. A provider's module
is imported when it is chosen: an idle worker does not pay for the others.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import aiohttp

from worker import clock as clocks
from worker import errors
from worker.translators.base import Provider, TooLong, TranslationAnswer, TranslationRequest, Translator
from worker.translators.chain import Chain
from worker.translators.limiter import Limits
from worker.translators.patience import Patient, ProviderCondition

__all__ = [
    "NAMES",
    "Chain",
    "Limits",
    "ProviderCondition",
    "TooLong",
    "TranslationAnswer",
    "TranslationRequest",
    "Translator",
    "TranslatorOptions",
    "build",
]

NAMES: Final = ("pseudo", "openai", "deepl", "libretranslate", "google", "apertium")


@dataclass(frozen=True, slots=True)
class TranslatorOptions:
    """What the providers need from the settings; each reads its own. None: not set."""

    openai_api_key: str | None = field(default=None, repr=False)
    openai_url: str | None = None
    openai_model: str | None = None
    deepl_api_key: str | None = field(default=None, repr=False)
    deepl_url: str | None = None
    deepl_glossary_ids: tuple[str, ...] = ()
    google_api_key: str | None = field(default=None, repr=False)
    google_url: str | None = None
    libretranslate_url: str | None = None
    libretranslate_api_key: str | None = field(default=None, repr=False)
    apertium_modes: Path | None = None
    limits: Limits = field(default_factory=Limits)


def build(
    names: str, *, session: aiohttp.ClientSession, options: TranslatorOptions, clock: clocks.Clock = clocks.SYSTEM
) -> Chain:
    """
    The translators called *names*, separated by commas, in the order of preference. The *session* stays its
    owner's.

    Raises:
        ConfigurationError: there is no such translator, or it lacks a setting.
    """
    chosen = tuple(name.strip() for name in names.split(",") if name.strip())
    if not chosen or len(set(chosen)) < len(chosen) or not set(chosen) <= set(NAMES):
        raise errors.ConfigurationError(
            f"TRANSLATOR is {names!r}; allowed are {', '.join(NAMES)}, or several of them separated by commas, "
            "each once."
        )
    if "pseudo" in chosen and len(chosen) > 1:
        raise errors.ConfigurationError(
            f"TRANSLATOR is {names!r}; pseudo makes no real translations and stands alone, or nobody could rely on any."
        )
    return Chain([Patient(_provider(name, session, options, clock), options.limits, clock=clock) for name in chosen])


def _provider(name: str, session: aiohttp.ClientSession, options: TranslatorOptions, clock: clocks.Clock) -> Provider:
    match name:
        case "openai":
            return _openai(session, options)
        case "deepl":
            from worker.translators.deepl import DeepL

            key = _key("deepl", "DEEPL_API_KEY", options.deepl_api_key)
            return DeepL(session, key, glossary_ids=options.deepl_glossary_ids, url=options.deepl_url, clock=clock)
        case "libretranslate":
            return _libretranslate(session, options, clock)
        case "google":
            from worker.translators import google

            key = _key("google", "GOOGLE_API_KEY", options.google_api_key)
            return google.Google(session, key, url=options.google_url or google.URL, clock=clock)
        case "apertium":
            from worker.translators import apertium

            return apertium.Apertium(options.apertium_modes or apertium.MODES)
        case _:
            from worker.translators.pseudo import PseudoTranslator

            return PseudoTranslator(clock.sleep)


def _openai(session: aiohttp.ClientSession, options: TranslatorOptions) -> Provider:
    from worker.translators import openai

    if not options.openai_model:
        raise errors.ConfigurationError(
            "OPENAI_MODEL is not set; TRANSLATOR=openai needs the name of a model that its server offers."
        )
    key = options.openai_api_key
    url = options.openai_url or openai.URL
    if key or url == openai.URL:  # a server of your own often wants none
        key = _key("openai", "OPENAI_API_KEY", key)
    return openai.OpenAI(session, options.openai_model, api_key=key, url=url)


def _libretranslate(session: aiohttp.ClientSession, options: TranslatorOptions, clock: clocks.Clock) -> Provider:
    from worker.translators.libretranslate import LibreTranslate

    url = options.libretranslate_url
    if not url or not url.startswith(("http://", "https://")):
        raise errors.ConfigurationError(
            f"LIBRETRANSLATE_URL is {url!r}; TRANSLATOR=libretranslate needs its http(s) address."
        )
    return LibreTranslate(session, url, options.libretranslate_api_key or None, clock=clock)


def _key(name: str, setting: str, key: str | None) -> str:
    """*key*, fit for a header. It is never shown, not even where it is wrong."""
    if not key:
        raise errors.ConfigurationError(f"{setting} is not set; TRANSLATOR={name} needs a key.")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise errors.ConfigurationError(f"{setting} is not usable; a key has no spaces, line ends or special letters.")
    return key

"""
One short text to every provider whose key is in the environment; says which were not asked. `scripts/test --live`

The only proof that the real services still speak as we think. Costs a few characters each; never part of CI.
Exits with 1 if a provider that was asked did not answer well.
"""

import asyncio
import os
from pathlib import Path

import aiohttp

from worker import errors, translators
from worker.translators import TranslationRequest, TranslatorOptions
from worker.translators.apertium import MODES

TEXT = "The ferry ⟦0⟧ leaves at noon."
SECONDS = 200.0


def options() -> TranslatorOptions:
    glossaries = os.environ.get("DEEPL_GLOSSARY_IDS", "")
    return TranslatorOptions(
        openai_api_key=os.environ.get("OPENAI_API_KEY"),
        openai_url=os.environ.get("OPENAI_BASE_URL"),
        openai_model=os.environ.get("OPENAI_MODEL"),
        deepl_api_key=os.environ.get("DEEPL_API_KEY"),
        deepl_glossary_ids=tuple(name.strip() for name in glossaries.split(",") if name.strip()),
        google_api_key=os.environ.get("GOOGLE_API_KEY"),
        libretranslate_url=os.environ.get("LIBRETRANSLATE_URL"),
        libretranslate_api_key=os.environ.get("LIBRETRANSLATE_API_KEY"),
        apertium_modes=Path(os.environ.get("APERTIUM_MODES", MODES)),
    )


async def main() -> int:
    failed = 0
    async with aiohttp.ClientSession() as session:
        for name in translators.NAMES:
            try:
                translator = translators.build(name, session=session, options=options())
            except errors.ConfigurationError as error:
                print(f"NOT ASKED  {name:15} {error}")
                continue
            failed += not await answers_well(translator)
            await translator.close()
    return 1 if failed else 0


async def answers_well(translator: translators.Chain) -> bool:
    """Ask *translator* and print what came; the marker must be in it, and the text must not be the source."""
    request = TranslationRequest((TEXT,), "en", "es", "text")
    try:
        async with asyncio.timeout(SECONDS):
            answer = await translator.translate(request)
    except (errors.ItemError, TimeoutError) as error:
        print(f"FAILED     {translator.name:15} {getattr(error, 'error_class', 'timeout')}: {error}")
        return False
    text = answer.texts[0] if len(answer.texts) == 1 else ""
    good = text.count("⟦0⟧") == 1 and text != TEXT
    print(f"{'ok' if good else 'BAD':10} {translator.name:15} {text!r}")
    return good


if __name__ == "__main__":
    raise SystemExit(asyncio.run(main()))

"""Choosing translators by name, and what a start refuses."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from worker import errors, translators
from worker.translators import TranslatorOptions

MODES = Path("/usr/share/apertium/modes")

COMPLETE = TranslatorOptions(
    openai_api_key="k1",
    openai_model="gpt-test",
    deepl_api_key="k2",
    google_api_key="k3",
    libretranslate_url="http://127.0.0.1:1/",
)


@pytest.mark.parametrize("name", [name for name in translators.NAMES if name != "apertium"])
async def test_a_translator_is_chosen_by_name(session: aiohttp.ClientSession, name: str) -> None:
    translator = translators.build(name, session=session, options=COMPLETE)

    assert translator.name == name
    assert translator.simulated == (name == "pseudo")
    assert translator.languages == (("*", "*"),)
    await translator.close()


async def test_several_stand_in_the_order_they_are_named(session: aiohttp.ClientSession) -> None:
    translator = translators.build(" openai, deepl ,google", session=session, options=COMPLETE)

    assert translator.name == "openai,deepl,google"
    assert "gpt-test" in translator.version


@pytest.mark.parametrize(
    ("names", "options", "words"),
    [
        ("babelfish", {}, "TRANSLATOR is 'babelfish'; allowed are pseudo, openai"),
        ("", {}, "TRANSLATOR is ''"),
        ("deepl,deepl", {}, "each once"),
        ("pseudo,deepl", {}, "pseudo makes no real translations"),
        ("libretranslate", {}, "LIBRETRANSLATE_URL"),
        ("libretranslate", {"libretranslate_url": "localhost:5000"}, "LIBRETRANSLATE_URL is 'localhost:5000'"),
        ("openai", {"openai_api_key": "k"}, "OPENAI_MODEL is not set"),
        ("openai", {"openai_model": "m"}, "OPENAI_API_KEY is not set"),
        ("deepl", {}, "DEEPL_API_KEY is not set"),
        ("google", {}, "GOOGLE_API_KEY is not set"),
        ("apertium", {"apertium_modes": Path("/nowhere")}, "no language pairs in /nowhere"),
    ],
)
async def test_a_wrong_choice_names_the_setting(
    session: aiohttp.ClientSession, names: str, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(errors.ConfigurationError, match=words):
        translators.build(names, session=session, options=TranslatorOptions(**options))


@pytest.mark.parametrize("key", ["abc SECRET", "SECRET\n", "SECRETü"])
async def test_a_key_that_fits_no_header_is_refused_and_not_shown(session: aiohttp.ClientSession, key: str) -> None:
    with pytest.raises(errors.ConfigurationError, match="DEEPL_API_KEY is not usable") as refused:
        translators.build("deepl", session=session, options=TranslatorOptions(deepl_api_key=key))
    assert "SECRET" not in str(refused.value)


async def test_a_server_of_your_own_needs_no_key(session: aiohttp.ClientSession) -> None:
    options = TranslatorOptions(openai_url="http://127.0.0.1:11434/v1", openai_model="llama")

    assert translators.build("openai", session=session, options=options).name == "openai"


def test_options_do_not_show_their_keys() -> None:
    options = TranslatorOptions(
        openai_api_key="SECRET", deepl_api_key="SECRET", google_api_key="SECRET", libretranslate_api_key="SECRET"
    )

    assert "SECRET" not in repr(options)


def test_an_idle_worker_does_not_pay_for_providers_it_does_not_use() -> None:
    program = (
        "import sys, worker.translators as t\n"
        "t.build('pseudo', session=None, options=t.TranslatorOptions())\n"
        "print([m for m in sys.modules if m.startswith('worker.translators.')])"
    )
    loaded = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout

    assert "pseudo" in loaded
    assert not [name for name in ("openai", "deepl", "google", "libretranslate", "apertium") if name in loaded]

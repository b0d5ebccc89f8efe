"""
What a language tag says, as far as judging a translation needs it. No names, no provider's list.
"""

import re
from dataclasses import dataclass
from functools import cached_property, lru_cache

import langcodes
from langcodes.tag_parser import LanguageTagError

from worker.text import scripts

# Written in more than one script by their own readers: only a script named in the tag itself is enforced.
_SEVERAL_SCRIPTS = frozenset(
    {"az", "bs", "ha", "kk", "ku", "ky", "mn", "ms", "pa", "sd", "sh", "sr", "tg", "tk", "tt", "ug", "uz"}
)


@lru_cache(maxsize=1024)
def same(left: str, right: str) -> bool:
    """Whether both tags mean the same: `en_us` and `en-US` do, `pt` and `pt-BR` do not."""
    return _standard(left) == _standard(right)


@lru_cache(maxsize=1024)
def base(tag: str) -> str:
    """The language alone: `pt` of `pt-BR`."""
    try:
        return langcodes.Language.get(tag).language or tag.lower()
    except LanguageTagError:
        return tag.lower()


@lru_cache(maxsize=1024)
def script(tag: str) -> str | None:
    """The script a text in this language is written in; None when its readers use several, or unknown."""
    try:
        language = langcodes.Language.get(tag)
    except LanguageTagError:
        return None
    if not language.script and language.language in _SEVERAL_SCRIPTS:
        return None
    return language.maximize().script


def _standard(tag: str) -> str:
    try:
        return langcodes.standardize_tag(tag)
    except LanguageTagError:
        return tag.lower()


_WORD = re.compile(r"[^\W\d_]+")
_NAME_WORDS = 3  # names and codes stay as they are; a sentence does not


@dataclass(frozen=True)
class Pair:
    """From which language into which. A simulated translator answers in no real language."""

    source_language: str | None
    target_language: str
    simulated: bool = False
    unspoken: tuple[str, ...] = ()
    """Sentences of the translator's instructions: no answer may repeat them."""

    @cached_property
    def expects_change(self) -> bool:
        """Whether a sentence must look different afterwards."""
        if self.simulated:
            return False
        known = self.source_language
        return known is None or base(known) != base(self.target_language)

    @cached_property
    def script(self) -> str | None:
        """What the target is written in; None when that is not known or its readers use several."""
        return script(self.target_language)


def is_sentence(text: str) -> bool:
    """More than a name: many words, or as many letters of a script that puts no spaces between words."""
    return len(_WORD.findall(text)) > _NAME_WORDS or scripts.dense_characters(text) > 2 * _NAME_WORDS

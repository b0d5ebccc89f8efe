"""
What a language tag says, as far as judging a translation needs it. No names, no provider's list.
"""

from functools import lru_cache

import langcodes
from langcodes.tag_parser import LanguageTagError

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

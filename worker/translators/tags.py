"""
Between a user's language tag and the code a provider has for it.

Near is not the same: langcodes would answer Javanese with Indonesian, because its readers happen to know it.
So a match has a greatest distance and must be written in the same script. Private use and "undetermined"
are valid tags and no language to translate into.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Final

import langcodes
from langcodes.tag_parser import LanguageTagError

from worker import errors
from worker.translators.base import ANY_LANGUAGE, Pairs

_DISTANCE_MAX: Final = 9

_NO_LANGUAGE: Final = frozenset({"und", "mul", "zxx", "mis"})

# Other spellings under which a language is asked for; told to the database beside the tags themselves.
_SPELLINGS: Final = (
    "zh", "zh-CN", "zh-SG", "zh-Hans", "zh-TW", "zh-HK", "zh-Hant", "no", "nb", "tl", "fil", "en", "pt", "es", "fr",
)  # fmt: skip

# More pairs than this are told to the database as targets from any source.
_PAIRS_MAX: Final = 2000


class Directory:
    """What a provider offers: its codes by tag. Empty until it was asked: then nothing is refused, nothing matched."""

    def __init__(
        self,
        targets: Mapping[str, Collection[str]] | None = None,
        aliases: Mapping[str, str] | None = None,
        *,
        sources_more: Mapping[str, str] | None = None,
    ) -> None:
        """
        *targets*: the provider's codes, source → targets. *aliases*: its odd codes and the tags they stand for.
        *sources_more*: tags that it also reads, and the codes for them.
        """
        aliases = aliases or {}
        targets = targets or {}
        also = {tag: code for tag, code in (sources_more or {}).items() if code in targets}
        self._sources = also | _by_tag(targets, aliases)
        known = {frozenset(codes) for codes in targets.values()}
        tables = {codes: _by_tag(codes, aliases) for codes in known}
        self._targets = {source: tables[frozenset(codes)] for source, codes in targets.items()}
        self._any_target = _by_tag({code for codes in known for code in codes}, aliases)

    def __bool__(self) -> bool:
        return bool(self._sources)

    def pair(self, source: str | None, target: str, provider: str) -> tuple[str | None, str]:
        """
        The provider's codes. A source of None stays None: it is to be found out.

        Raises:
            ItemError: unsupported_language.
        """
        source_code = _code(source, self._sources) if source else None
        targets = self._any_target if source is None else self._targets.get(source_code or "", {})
        target_code = _code(target, targets)
        if target_code is None or (source and source_code is None):
            raise unsupported(source, target, provider)
        return source_code, target_code

    @property
    def pairs(self) -> Pairs:
        """As the database wants them: tags, with the other spellings that are asked for."""
        if not self:
            return ANY_LANGUAGE
        shared: dict[int, tuple[str, ...]] = {}
        pairs: list[tuple[str, str]] = []
        for source in _spelled(self._sources):
            code = _code(source, self._sources)
            table = self._targets[code] if code else {}
            spelled = shared.setdefault(id(table), tuple(_spelled(table)))
            pairs += [(source, target) for target in spelled if target != source]
        if len(pairs) > _PAIRS_MAX:
            return tuple(("*", target) for target in sorted({target for _, target in pairs}))
        return tuple(pairs)


def unsupported(source: str | None, target: str, provider: str) -> errors.ItemError:
    pair = f"{source or 'any language'} to {target}"
    return errors.ItemError("unsupported_language", f"{provider} does not offer {pair}.")


def is_language(tag: str) -> bool:
    """Whether *tag* names a language that somebody could translate into."""
    try:
        language = langcodes.Language.get(tag)
    except LanguageTagError:
        return False
    name = language.language or "und"  # also of the empty tag
    return name not in _NO_LANGUAGE and not name.startswith("x-") and not language.private


@lru_cache(maxsize=1024)
def closest(wanted: str, offered: tuple[str, ...]) -> str | None:
    """The tag of *offered* that means *wanted*, in the same script; None when there is none."""
    if not is_language(wanted):
        return None
    if wanted in offered:
        return wanted
    try:
        tag, distance = langcodes.closest_match(wanted, list(offered), max_distance=_DISTANCE_MAX)
    except LanguageTagError:
        return None
    if tag == "und" or distance > _DISTANCE_MAX or _script(tag) != _script(wanted):
        return None
    return tag


def canonical(code: str) -> str | None:
    """*code* as a BCP 47 tag in its usual spelling; None when it is none."""
    try:
        return langcodes.standardize_tag(code.replace("_", "-"))
    except LanguageTagError:
        return None


def _code(wanted: str, by_tag: Mapping[str, str]) -> str | None:
    tag = closest(wanted, tuple(by_tag))
    return None if tag is None else by_tag[tag]


def _by_tag(codes: Iterable[str], aliases: Mapping[str, str]) -> dict[str, str]:
    """Tag → code. Of two codes for one language (iw, he) the one that is spelled as its tag."""
    by_tag: dict[str, str] = {}
    for code in sorted(codes):
        tag = canonical(aliases.get(code, code))
        if tag is not None and is_language(tag) and (tag not in by_tag or code == tag):
            by_tag[tag] = code
    return by_tag


def _spelled(by_tag: Mapping[str, str]) -> Iterator[str]:
    tags = tuple(by_tag)
    yield from tags
    yield from (other for other in _SPELLINGS if other not in by_tag and closest(other, tags))


def _script(tag: str) -> str | None:
    return langcodes.Language.get(tag).maximize().script

"""
Keeps what must not be translated out of the translator's reach.

Owns the sentinels: placeholders, tags, entities, URLs, addresses, code and terms leave the text as `⟦0⟧
⟦1⟧ …` before any provider sees it and come back afterwards. The rule that keeps it correct: an answer is
restored only if it holds exactly the sentinels that were sent, each once; an order is never guessed, a
lost one never invented. A sentinel bracket that the source itself holds becomes a sentinel too, so none
in an answer is ambiguous.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from worker.text.document import Flavour, Segment, Span

SENTINEL = re.compile(r"⟦(\d+)⟧")

# What a translator does to a sentinel without changing its meaning: spaces inside, its own digits.
_ANSWERED = re.compile(r"⟦\s*(\d{1,7})\s*⟧")
_BRACKET = re.compile(r"[⟦⟧]")
_LETTER = re.compile(r"[^\W\d_]")

# Every alternative begins with a fixed character, so that the search skips plain prose quickly, and ends at a
# character that begins the next one or after a bounded length, so that it stays linear on hostile text.
_PROTECTED = r"""
    ⟦\d{1,9}⟧ | ⟦ | ⟧
  | \{\{\{?[^{}]{0,500}\}?\}\}                                      # {{x}}  {{{x}}}  {{#if x}}
  | \$\{[^{}]{0,500}\} | %\{[^{}]{0,500}\} | \#\{[^{}]{0,500}\}     # ${x}  %{x}  #{x}
  | \$t\([^()]{0,200}\)                                             # $t(other.key)
  | \{[ ]?[\w.:\[\]$@!\#-]{0,100}[ ]?(?:,[^{}]{0,300})?\}             # {x}  {0}  {}  {n, number, percent}
  | %\([\w.]{1,100}\)[-+\#0]?\d{0,4}(?:\.\d{1,4})?[a-zA-Z]          # %(x)s
  | %\d{1,2}\$[-+\#0]?\d{0,4}(?:\.\d{1,4})?(?:hh?|ll?|[Lzjtq])?[a-zA-Z@]   # %1$s
  | %(?<!\d%)[-+\#0]?\d{0,4}(?:\.\d{1,4})?(?:hh?|ll?|[Lzjtq])?[diouxXeEfFgGcrsp@]
  | %(?<=\d%)[ds@](?![^\W_])                                        # "5%s" is one, "5%discount" is none
  | %%
  | <!--[\s\S]{0,1000}?--> | <![a-zA-Z][^<>]{0,1000}> | </?[a-zA-Z][^<>]{0,5000}>
  | &(?:[a-zA-Z][a-zA-Z0-9]{1,31}|\#\d{1,7}|\#[xX][0-9a-fA-F]{1,6});
  | `[^`\n]{1,500}`
"""
_NOT_IN_URL = r"\s<>\"⟦⟧{}|\\^`\u3000-\u303f\uff00-\uffef"
_URL = rf"[^{_NOT_IN_URL}]*[^{_NOT_IN_URL}.,;:!?'()\[\]*_~…»”’]"  # a sentence's own punctuation stays outside
_EMAIL = r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}"
_ADDRESSES = rf"https?://{_URL}|www\.{_URL}|ftp://{_URL}|mailto:{_URL}|{_EMAIL}"
_ADDRESS = re.compile(_ADDRESSES)
# Letters of scripts that put spaces between words; in others a term may stand directly beside a letter.
_WORD = r"[0-9A-Za-z_\u00c0-\u024f\u0370-\u052f]"


class Damaged(Exception):
    """An answer that is not taken. `faults` says why, in words fit for the next try and for an operator."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = tuple(faults)


@dataclass(frozen=True, slots=True)
class Protected:
    """A text with sentinels; sentinel n stands for `originals[n]`."""

    text: str
    originals: tuple[str, ...]
    flavour: Flavour = "text"

    @property
    def source(self) -> str:
        """The text before protection."""
        if not self.originals:
            return self.text
        return SENTINEL.sub(lambda found: self.originals[int(found[1])], self.text)

    @property
    def bare(self) -> str:
        """The text that is really translated: without its sentinels."""
        return SENTINEL.sub("", self.text) if self.originals else self.text

    @property
    def is_translatable(self) -> bool:
        """Whether anything is left to translate: a letter outside the sentinels."""
        return _LETTER.search(self.bare) is not None

    def slice(self, start: int, end: int) -> "Protected":
        """The part of `text` from *start* to *end* with its own sentinels from 0; cuts no sentinel."""
        part = self.text[start:end]
        if not self.originals:
            return Protected(part, (), self.flavour)
        kept = [int(found[1]) for found in SENTINEL.finditer(part)]
        numbers = iter(range(len(kept)))
        text = SENTINEL.sub(lambda _: f"⟦{next(numbers)}⟧", part)
        return Protected(text, tuple(self.originals[n] for n in kept), self.flavour)


def protect(segment: Segment, terms: Iterable[str] = ()) -> Protected:
    """Replace what is fixed in *segment*, placeholders and *terms* by sentinels, numbered from 0."""
    text = segment.text
    spans = list(_spans(text, segment.fixed, tuple(terms)))
    if not spans:
        return Protected(text, (), segment.flavour)
    parts: list[str] = []
    position = 0
    for number, (start, end) in enumerate(spans):
        parts += [text[position:start], f"⟦{number}⟧"]
        position = end
    parts.append(text[position:])
    return Protected("".join(parts), tuple(text[start:end] for start, end in spans), segment.flavour)


def restore(protected: Protected, answer: str) -> str:
    """
    Put the originals back into *answer*, a translation of `protected.text`.

    Raises:
        Damaged: a sentinel is missing, repeated, unknown or broken, or ICU syntax was added.
    """
    if not protected.originals and not _BRACKET.search(answer):
        _refuse_syntax(protected, [answer])
        return answer
    pieces = _ANSWERED.split(answer)  # text, number, text, number, … text
    texts, found = pieces[::2], [int(number) for number in pieces[1::2]]
    if faults := [*_number_faults(len(protected.originals), found), *_bracket_faults(texts)]:
        raise Damaged(faults)
    _refuse_syntax(protected, texts)
    originals = [protected.originals[number] for number in found]
    if protected.flavour in ("icu", "icu_plural"):
        texts = [_requote(*around) for around in zip(texts, ["", *originals], [*originals, ""], strict=True)]
    return "".join(part for pair in zip(texts, [*originals, ""], strict=True) for part in pair)


def holds_originals(protected: Protected, translation: str) -> bool:
    """Whether *translation*, restored before, still holds every original as often as the source."""
    wanted = Counter(protected.originals)
    return all(translation.count(original) >= count for original, count in wanted.items())


def numbers(answer: str) -> list[int]:
    """The numbers of the sentinels in *answer*, as they come."""
    return [int(number) for number in _ANSWERED.findall(answer)]


def addresses(text: str) -> Counter[str]:
    """URLs and e-mail addresses in *text*."""
    return Counter(_ADDRESS.findall(text)) if _may_hold_address(text) else Counter()


def _may_hold_address(text: str) -> bool:
    return "@" in text or "://" in text or "www." in text or "mailto:" in text


def _spans(text: str, fixed: Sequence[Span], terms: tuple[str, ...]) -> Iterator[Span]:
    pattern = _pattern(terms, _may_hold_address(text))
    position = 0
    for start, end in fixed:
        yield from (found.span() for found in pattern.finditer(text, position, start))
        yield start, end
        position = end
    yield from (found.span() for found in pattern.finditer(text, position))


@lru_cache(maxsize=64)
def _pattern(terms: tuple[str, ...], with_addresses: bool) -> re.Pattern[str]:
    pattern = _PROTECTED
    if with_addresses:  # they begin with any letter, which makes the search several times slower
        pattern = f"{_ADDRESSES}|{pattern}"
    if words := sorted(filter(str.strip, terms), key=len, reverse=True):
        listed = "|".join(map(re.escape, words))
        pattern = f"(?<!{_WORD})(?:{listed})(?!{_WORD})|{pattern}"
    return re.compile(pattern, re.VERBOSE)


def _number_faults(count: int, found: Sequence[int]) -> Iterator[str]:
    times = Counter(found)
    for number in range(count):
        if not times[number]:
            yield f"⟦{number}⟧ is missing"
        elif times[number] > 1:
            yield f"⟦{number}⟧ is repeated"
    for number in times:
        if number >= count:
            yield f"⟦{number}⟧ was not in the source"


def _bracket_faults(texts: Sequence[str]) -> Iterator[str]:
    if any(_BRACKET.search(text) for text in texts):
        yield "a sentinel is broken"


def _refuse_syntax(protected: Protected, texts: Sequence[str]) -> None:
    """In ICU a brace that a translator adds, or # in a plural, would be read as syntax."""
    signs = {"icu": "{}", "icu_plural": "{}#"}.get(protected.flavour, "")
    if any(sign in text for sign in signs for text in texts):
        raise Damaged(["message syntax was added"])


def _requote(text: str, before: str, after: str) -> str:
    """
    Make the apostrophes of *text* that now touch syntax mean apostrophes.

    French elides before a name: l'{name} would quote the brace in ICU, l''{name} does not.
    """
    if after.startswith(("{", "}", "#", "'")) and (len(text) - len(text.rstrip("'"))) % 2:
        text += "'"
    if before.endswith("'") and (len(text) - len(text.lstrip("'"))) % 2:
        text = "'" + text
    return text

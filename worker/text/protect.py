"""
Keeps what must not be translated out of the translator's reach.

Owns the sentinels: placeholders, tags, entities, URLs, addresses, code and terms leave the text as `⟦0⟧
⟦1⟧ …` before any provider sees it and come back afterwards. The rule that keeps it correct: an answer is
restored only if it holds exactly the sentinels that were sent, each once; an order is never guessed, a
lost one never invented. A sentinel bracket that the source itself holds becomes a sentinel too, so none
in an answer is ambiguous.
"""

import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from worker.text.document import Flavour, Segment, Span

SENTINEL = re.compile(r"⟦(\d+)⟧")

# What a translator does to a sentinel without changing its meaning: spaces inside, its own digits.
_ANSWERED = re.compile(r"⟦\s*(\d{1,7})\s*⟧")
_LETTER = re.compile(r"[^\W\d_]")
_NUMBER = re.compile(r"⟦\s*\d{1,7}\s*⟧|\d+")  # a sentinel's own number is none

# What begins anything in _PROTECTED: most texts hold none of it, and are done after this one search.
_SUSPECT = re.compile(r"[⟦⟧{$%#<&`\[]")

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
  | \[\^[\w-]{1,50}\]                                               # [^note]
"""
_NOT_IN_URL = r"\s<>\"⟦⟧{}|\\^`\u3000-\u303f\uff00-\uffef"
_URL = rf"[^{_NOT_IN_URL}]*[^{_NOT_IN_URL}.,;:!?'()\[\]*_~…»”’]"  # a sentence's own punctuation stays outside
_EMAIL = r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}"
_URLS = rf"https?://{_URL}|www\.{_URL}|ftp://{_URL}|mailto:{_URL}"
_ADDRESS = re.compile(f"{_URLS}|{_EMAIL}")
_EMAILS = re.compile(_EMAIL)
# Letters of scripts that put spaces between words; in others a term may stand directly beside a letter.
_WORD = r"[0-9A-Za-z_\u00c0-\u024f\u0370-\u052f]"

_AMPERSAND = re.compile(r"&(?!(?:[a-zA-Z][a-zA-Z0-9]{1,31}|#\d{1,7}|#[xX][0-9a-fA-F]{1,6});)")


class Damaged(Exception):
    """An answer that is not taken. `faults` says why, in words fit for the next try and for an operator."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = tuple(faults)


@dataclass(frozen=True, slots=True)
class Term:
    """A word or name that stays as it is."""

    text: str
    case_sensitive: bool = True

    def occurs(self, text: str) -> bool:
        """Whether it may be in *text*; that it stands there as a word of its own is not said yet."""
        return self.text in text if self.case_sensitive else self.text.lower() in text.lower()


@dataclass(slots=True)
class Protected:
    """A text with sentinels; sentinel n stands for `originals[n]`. Never changed once it is made."""

    text: str
    originals: tuple[str, ...]
    flavour: Flavour = "text"
    example: tuple[int, str] | None = None
    """A number that `text` shows in place of "the number" of a message, and how the message writes that."""

    @property
    def source(self) -> str:
        """The text before protection."""
        text = self.text
        if self.example:
            number, raw = self.example
            text = _with_number(text, number, lambda: raw)
        if not self.originals:
            return text
        return SENTINEL.sub(lambda found: self.originals[int(found[1])], text)

    @property
    def bare(self) -> str:
        """The text that is really translated: without its sentinels."""
        return SENTINEL.sub("", self.text) if self.originals else self.text

    @property
    def bare_chars(self) -> int:
        """Length of `bare`."""
        count = len(self.originals)
        return len(self.text) - (3 * count if count <= 10 else sum(len(f"⟦{n}⟧") for n in range(count)))

    @property
    def source_chars(self) -> int:
        """Length of `source`."""
        if self.example:
            return len(self.source)
        return self.bare_chars + sum(map(len, self.originals)) if self.originals else len(self.text)

    @property
    def is_translatable(self) -> bool:
        """Whether anything is left to translate: a letter outside the sentinels."""
        return _LETTER.search(self.text) is not None

    def slice(self, start: int, end: int) -> "Protected":
        """The part of `text` from *start* to *end* with its own sentinels from 0; cuts no sentinel."""
        part = self.text[start:end]
        if not self.originals:
            return Protected(part, (), self.flavour, self.example)
        kept = [int(found[1]) for found in SENTINEL.finditer(part)]
        numbers = iter(range(len(kept)))
        text = SENTINEL.sub(lambda _: f"⟦{next(numbers)}⟧", part)
        return Protected(text, tuple(self.originals[n] for n in kept), self.flavour, self.example)


def protect(segment: Segment, terms: Iterable[Term | str] = ()) -> Protected:
    """Replace what is fixed in *segment*, placeholders and *terms* by sentinels, numbered from 0."""
    text = segment.text
    present = tuple([term for term in map(_term, terms) if term.occurs(text)]) if terms else ()
    spans = _spans(text, segment.fixed, present)
    if not spans:
        return Protected(text, (), segment.flavour)
    if segment.example is not None:
        return _protect_form(segment, spans, segment.example)
    parts: list[str] = []
    position = 0
    for number, (start, end) in enumerate(spans):
        parts += text[position:start], f"⟦{number}⟧"
        position = end
    parts.append(text[position:])
    return Protected("".join(parts), tuple([text[start:end] for start, end in spans]), segment.flavour)


def restore(protected: Protected, answer: str) -> str:
    """
    Put the originals back into *answer*, a translation of `protected.text`.

    Raises:
        Damaged: a sentinel is missing, repeated, unknown or broken, or ICU syntax was added.
    """
    originals = protected.originals
    if protected.example:
        answer, originals = _number_as_sentinels(protected, protected.example, answer)
    if not originals and "⟦" not in answer and "⟧" not in answer:
        texts, found = [answer], []
    else:
        pieces = _ANSWERED.split(answer)  # text, number, text, number, … text
        texts, found = pieces[::2], [int(number) for number in pieces[1::2]]
        if faults := _faults(len(originals), found, texts):
            raise Damaged(faults)
    if protected.flavour in ("text", "markdown"):
        return _joined(texts, [originals[number] for number in found])
    return _joined(*_written(protected.flavour, texts, [originals[number] for number in found]))


def holds_originals(protected: Protected, translation: str) -> bool:
    """Whether *translation*, restored before, still holds every original as often as the source."""
    if not protected.originals:
        return not protected.example or protected.example[1] in translation
    wanted = Counter(protected.originals)
    return all(translation.count(original) >= count for original, count in wanted.items())


def numbers(answer: str) -> list[int]:
    """The numbers of the sentinels in *answer*, as they come."""
    return [int(number) for number in _ANSWERED.findall(answer)]


def addresses(text: str) -> Counter[str]:
    """URLs and e-mail addresses in *text*."""
    return Counter(_ADDRESS.findall(text)) if may_hold_url(text) or "@" in text else Counter()


@lru_cache(maxsize=256)
def term_finder(terms: tuple[Term, ...]) -> re.Pattern[str]:
    """Finds *terms* as words of their own; where several begin at one place, the longest that fits."""
    return re.compile(_words(terms) or r"(?!)")


def _term(term: Term | str) -> Term:
    return Term(term) if isinstance(term, str) else term


def may_hold_url(text: str) -> bool:
    """Whether it is worth looking for one."""
    return "://" in text or "www." in text or "mailto:" in text


def _spans(text: str, fixed: tuple[Span, ...], terms: tuple[Term, ...]) -> Sequence[Span]:
    """What becomes a sentinel: *fixed*, and what is found between."""
    has_url, has_at = may_hold_url(text), "@" in text
    if not (terms or has_url or has_at or _SUSPECT.search(text)):
        return fixed
    pattern = _pattern(terms, has_url, has_at)
    spans: list[Span] = []
    position = 0
    for start, end in fixed:
        if start > position:
            spans += [found.span() for found in pattern.finditer(text, position, start)]
        spans.append((start, end))
        position = end
    spans += [found.span() for found in pattern.finditer(text, position)]
    return list(_with_emails_behind(text, spans)) if has_at else spans


def _with_emails_behind(text: str, spans: Sequence[Span]) -> Iterator[Span]:
    """*spans*, and what is an address only once the span in front of it is none of its letters: `%sales@…`."""
    position = 0
    for start, end in (*spans, (len(text), len(text))):
        if "@" in (between := text[position:start]):
            for found in _EMAILS.finditer(between):
                yield position + found.start(), position + found.end()
        if start < end:
            yield start, end
        position = end


@lru_cache(maxsize=256)
def _pattern(terms: tuple[Term, ...], with_urls: bool, with_emails: bool) -> re.Pattern[str]:
    pattern = _PROTECTED
    if with_urls:
        pattern = f"{_URLS}|{pattern}"
    if with_emails:  # they begin with any letter, which makes the search several times slower
        pattern = f"{_EMAIL}|{pattern}"
    if words := _words(terms):
        pattern = f"{words}|{pattern}"
    return re.compile(pattern, re.VERBOSE)


def _words(terms: tuple[Term, ...]) -> str:
    """A pattern for any of *terms* as words of their own, the longest that fits; empty without any."""
    words = sorted((term for term in terms if term.text.strip()), key=lambda term: -len(term.text))
    return f"(?<!{_WORD})(?:{'|'.join(map(_term_pattern, words))})(?!{_WORD})" if words else ""


def _term_pattern(term: Term) -> str:
    word = re.escape(term.text)
    return word if term.case_sensitive else f"(?i:{word})"


def _protect_form(segment: Segment, spans: Sequence[Span], example: tuple[int, str]) -> Protected:
    """As `protect`, with the example number in the place of what stands for it."""
    text, (number, raw) = segment.text, example
    parts: list[str] = []
    originals: list[str] = []
    position = 0
    for start, end in spans:
        original = text[start:end]
        if original == raw and (start, end) in segment.fixed:
            shown = str(number)
        else:
            shown = f"⟦{len(originals)}⟧"
            originals.append(original)
        parts += [text[position:start], shown]
        position = end
    parts.append(text[position:])
    return Protected("".join(parts), tuple(originals), segment.flavour, example)


def _with_number(text: str, example: int, shown: Callable[[], str]) -> str:
    """*text* with `shown()` wherever *example* stands as a number of its own, in whatever digits."""

    def replaced(found: re.Match[str]) -> str:
        digits = found[0]
        return shown() if digits[0] != "⟦" and len(digits) < 8 and int(digits) == example else digits

    return _NUMBER.sub(replaced, text)


def _number_as_sentinels(protected: Protected, example: tuple[int, str], answer: str) -> tuple[str, tuple[str, ...]]:
    """*answer* with the example number as further sentinels, and all the originals."""
    number, raw = example
    known = len(protected.originals)
    expected, found = itertools.count(known), itertools.count(known)
    _with_number(protected.text, number, lambda: f"⟦{next(expected)}⟧")
    answer = _with_number(answer, number, lambda: f"⟦{next(found)}⟧")
    count = next(expected) - known
    if next(found) - known != count:
        raise Damaged([f"the number {number} must stay as often as it is there"])
    return answer, protected.originals + (raw,) * count


def _joined(texts: Sequence[str], between: Sequence[str]) -> str:
    if not between:
        return texts[0]
    return "".join(part for pair in zip(texts, [*between, ""], strict=True) for part in pair)


def _faults(count: int, found: Sequence[int], texts: Sequence[str]) -> list[str]:
    """What is wrong with the sentinels *found*, and with the *texts* between them."""
    faults: list[str] = []
    if sorted(found) != list(range(count)):
        times = Counter(found)
        faults += [f"⟦{number}⟧ is missing" for number in range(count) if not times[number]]
        faults += [f"⟦{number}⟧ is repeated" for number in range(count) if times[number] > 1]
        faults += [f"⟦{number}⟧ was not in the source" for number in times if number >= count]
    if any("⟦" in text or "⟧" in text for text in texts):
        faults.append("a sentinel is broken")
    return faults


def _written(flavour: Flavour, texts: Sequence[str], originals: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """The texts between *originals* as their format wants them written."""
    if flavour == "html":
        return [_AMPERSAND.sub("&amp;", text).replace("<", "&lt;") for text in texts], originals
    signs = "{}#" if flavour == "icu_plural" else "{}"
    if any(sign in text for sign in signs for text in texts):
        # In a message a brace that a translator adds, or # in a plural, would be read as syntax.
        raise Damaged(["message syntax was added"])
    if not originals:
        return texts, originals
    around = zip(texts, ["", *originals], [*originals, ""], strict=True)
    return [_requote(*each) for each in around], originals


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

"""
Whether an answer is a translation at all.

Owns the judgement of one answered text against its protected source: hard checks return faults, and the answer
is refused and asked for again. What is only doubtful is in `doubts`. Restoring sentinels is
`protect.restore`, which refuses by itself. Never repairs a text beyond its outer white space, which is the
source's business; never guesses.
"""

import re
from collections.abc import Iterator

from worker.text import lengths, nesting, protect, scripts
from worker.text.doubts import WARNINGS, warnings
from worker.text.languages import Pair, is_sentence
from worker.text.protect import Damaged, Protected

__all__ = ["WARNINGS", "Damaged", "Pair", "accept", "warnings"]

_LETTER = re.compile(r"[^\W\d_]")
_WORD_CHARACTER = re.compile(r"[^\W_]")

# What any of the next checks looks for: most answers hold none of it.
_SUSPECT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\u202d\u202e<@`*]")
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_CONTROL = re.compile("[\x01-\x08\x0b\x0c\x0e-\x1f\x7f\u202d\u202e]")  # the last two reorder what is read
_TAG = re.compile(r"</?[a-zA-Z][^<>]*>|<!--")

# A model that talks about the translation instead of giving it. Only where the source does not begin so.
_TALK = re.compile(
    r"""\W{0,5}(?:(?:sure|certainly|of\ course|okay|ok)\b[,.!:\s]{0,3})?
        (?: here(?:'s|’s|\ is|\ are)\ (?:the|your|a|my)\ (?:\w+\ ){0,3}translat
          | (?:the\ )?(?:\w+\ )?translation\ (?:is|of|reads)\b | translation\s?:
          | as\ an?\ (?:ai|large\ )?language\ model | as\ an\ ai\b
          | i(?:'m|’m|\ am)\ (?:sorry|unable|not\ able)\b.{0,40}\b(?:translat|assist|comply|help)
          | \{\s*"(?:items|translations?)" | ```\s*json )""",
    re.VERBOSE | re.IGNORECASE,
)


def accept(protected: Protected, answer: str, pair: Pair, *, is_repeat: bool = False) -> str:
    """
    The restored translation, if *answer* passes every hard check.

    *is_repeat*: the translator was told what was wrong before. A sentence that it then leaves as it is again
    is taken, as a name or a code; `warnings` will say so.

    Raises:
        Damaged: with all the faults, for the next try.
    """
    answer = answer.strip()
    text = protected.text
    faults = list(_text_faults(protected, answer))
    if answer == text or answer == text.strip():
        if not is_repeat and pair.expects_change and is_sentence(protected.bare):
            faults.append("the text was not translated")
    elif not pair.simulated:
        faults += _language_faults(text, answer, pair)
    if faults:
        raise Damaged(faults)
    restored = protect.restore(protected, answer)
    if len(protected.originals) > 1 and not nesting.is_kept(protected.originals, protect.numbers(answer)):
        raise Damaged(["tags or links are not nested as in the source"])
    return restored


def _text_faults(protected: Protected, answer: str) -> Iterator[str]:
    if not _LETTER.search(answer):
        if not answer:
            yield "the answer is empty"
        elif not _WORD_CHARACTER.search(protect.SENTINEL.sub("", answer)):
            yield "the answer has no words"
    if _SUSPECT.search(answer):
        yield from _added(protected, answer)
    elif protect.may_hold_url(answer) and protect.addresses(answer) - protect.addresses(protected.text):
        yield "an address was added"


def _added(protected: Protected, answer: str) -> Iterator[str]:
    text = protected.text
    if _UNSTORABLE.search(answer):
        yield "the answer holds characters no database takes"
    if len(_CONTROL.findall(answer)) > len(_CONTROL.findall(text)):
        yield "control characters were added"
    if "<" in answer and len(_TAG.findall(answer)) > len(_TAG.findall(text)):
        yield "a tag was added"
    if protected.flavour == "markdown" and any(answer.count(sign) > text.count(sign) for sign in "`*"):
        yield "markup was added"
    if protect.addresses(answer) - protect.addresses(text):
        yield "an address was added"


def _language_faults(text: str, answer: str, pair: Pair) -> Iterator[str]:
    bare = protect.SENTINEL.sub("", answer) if "⟦" in answer else answer
    if not scripts.is_written_in(pair.script, bare):
        yield "the answer is in another script"
    if lengths.is_far_off(text, answer):
        yield "the answer is far too " + ("short" if len(answer) < len(text) else "long")
    if _TALK.match(answer) and not _TALK.match(text):
        yield "the answer talks about the translation"
    if any(sentence in answer and sentence not in text for sentence in pair.unspoken):
        yield "the answer repeats its instructions"

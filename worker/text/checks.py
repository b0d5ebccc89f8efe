"""
Whether an answer is a translation at all, and what a reader should look at.

Owns the judgement of one answered text against its protected source. Hard checks return faults: the answer is
refused and asked for again. Soft ones return codes for the item's warnings. Restoring sentinels is
`protect.restore`, which refuses by itself. Never repairs a text beyond its outer white space, which
is the source's business; never guesses.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from worker.text import languages, protect
from worker.text.protect import Damaged, Protected

_LETTERS = re.compile(r"[^\W\d_]+")
_WORD_CHARACTER = re.compile(r"[^\W_]")
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_DIGIT = re.compile(r"\d")
_TAG = re.compile(r"<(/?)([a-zA-Z][\w:-]*)[^>]*?(/?)>")
_VOID_TAGS = frozenset({"area", "br", "col", "embed", "hr", "img", "input", "source", "track", "wbr"})
_BRACKET_PAIRS = ("()", "[]", "{}", "（）", "「」", "【】")

_ECHO_WORDS = 3  # names and codes stay as they are; a sentence does not
_RATIO_CHARS = 20
_SCRIPT_LETTERS = 20
_SCRIPT_SHARE = 0.1  # names in their own letters are normal, a text in them is not

_HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f"
_HANGUL = "\u1100-\u11ff\u3130-\u318f\uac00-\ud7af"
_RANGES = {
    "Latn": "A-Za-zªº\u00c0-\u02af\u1e00-\u1eff\uff21-\uff5a",
    "Cyrl": "\u0400-\u052f\u1c80-\u1c8f\u2de0-\u2dff\ua640-\ua69f",
    "Grek": "\u0370-\u03ff\u1f00-\u1fff",
    "Arab": "\u0600-\u06ff\u0750-\u077f\u08a0-\u08ff\ufb50-\ufdff\ufe70-\ufefc",
    "Hebr": "\u0590-\u05ff\ufb1d-\ufb4f",
    "Deva": "\u0900-\u097f",
    "Beng": "\u0980-\u09ff",
    "Taml": "\u0b80-\u0bff",
    "Telu": "\u0c00-\u0c7f",
    "Thai": "\u0e00-\u0e7f",
    "Armn": "\u0530-\u058f",
    "Geor": "\u10a0-\u10ff\u1c90-\u1cbf\u2d00-\u2d2f",
    "Hans": _HAN,
    "Hant": _HAN,
    "Jpan": f"\u3040-\u30ff\u31f0-\u31ff{_HAN}",
    "Kore": f"{_HANGUL}{_HAN}",
}
_DENSE = re.compile(f"[\u3040-\u30ff{_HANGUL}{_HAN}]")

WARNINGS: Mapping[str, str] = {
    "untranslated": "The translation is the same as the source",
    "length_ratio": "The translation is much shorter or longer than usual",
    "digits": "Numbers differ from the source",
    "brackets": "Brackets are not balanced",
    "newlines": "The number of line breaks differs",
    "formality_ignored": "The translator cannot choose a formality",
}


@dataclass(frozen=True, slots=True)
class Pair:
    """From which language into which. A simulated translator answers in no real language."""

    source_language: str | None
    target_language: str
    simulated: bool = False

    @property
    def expects_change(self) -> bool:
        """Whether a sentence must look different afterwards."""
        if self.simulated:
            return False
        known = self.source_language
        return known is None or languages.base(known) != languages.base(self.target_language)


def accept(protected: Protected, answer: str, pair: Pair, *, is_repeat: bool = False) -> str:
    """
    The restored translation, if *answer* passes every hard check.

    *is_repeat*: the translator was told what was wrong before. A sentence that it then leaves as it is again
    is taken, as a name or a code; `warnings` will say so.

    Raises:
        Damaged: with all the faults, for the next try.
    """
    answer = answer.strip()
    is_echo = answer == protected.text.strip()
    faults = list(_text_faults(protected, answer))
    if is_echo and not is_repeat and pair.expects_change and _is_sentence(protected.bare):
        faults.append("the text was not translated")
    elif not is_echo and not pair.simulated and _is_wrong_script(protected, answer, pair.target_language):
        faults.append("the answer is in another script")
    if faults:
        raise Damaged(faults)
    restored = protect.restore(protected, answer)
    if not _keeps_nesting(protected, answer):
        raise Damaged(["tags or links are not nested as in the source"])
    return restored


def warnings(source: str, translation: str, pair: Pair) -> Iterator[str]:
    """Codes (keys of WARNINGS) of what a reader of *translation* should look at."""
    if source == translation:
        if pair.expects_change and _is_sentence(source):
            yield "untranslated"
        return
    if len(source) > _RATIO_CHARS and not pair.simulated and not _is_usual_length(source, translation):
        yield "length_ratio"
    if _digits(source) != _digits(translation):
        yield "digits"
    if _is_balanced(source) and not _is_balanced(translation):
        yield "brackets"
    if source.count("\n") != translation.count("\n"):
        yield "newlines"


def _text_faults(protected: Protected, answer: str) -> Iterator[str]:
    if not answer:
        yield "the answer is empty"
    elif not _WORD_CHARACTER.search(protect.SENTINEL.sub("", answer)):
        yield "the answer has no words"
    if _UNSTORABLE.search(answer):
        yield "the answer holds characters no database takes"
    if protect.addresses(answer) - protect.addresses(protected.text):
        yield "an address was added"


def _is_sentence(text: str) -> bool:
    """More than a name: many words, or as many letters of a script that puts no spaces between words."""
    words = _LETTERS.findall(text)
    return len(words) > _ECHO_WORDS or len(_DENSE.findall(text)) > 2 * _ECHO_WORDS


def _is_wrong_script(protected: Protected, answer: str, target_language: str) -> bool:
    script = languages.script(target_language)
    if script not in _RANGES or (script == "Latn" and answer.isascii()):
        return False
    bare = protect.SENTINEL.sub("", answer) if protected.originals else answer
    letters = sum(map(len, _LETTERS.findall(bare)))
    expected = sum(map(len, _runs_of(script).findall(bare)))
    return letters >= _SCRIPT_LETTERS and expected < letters * _SCRIPT_SHARE


@lru_cache(maxsize=32)
def _runs_of(script: str) -> re.Pattern[str]:
    return re.compile(f"[{_RANGES[script]}]+")


def _keeps_nesting(protected: Protected, answer: str) -> bool:
    if len(protected.originals) < 2:
        return True
    order = [protected.originals[number] for number in protect.numbers(answer)]
    return order == list(protected.originals) or _nests(order) or not _nests(protected.originals)


def _nests(originals: Sequence[str]) -> bool:
    """Whether tags and link brackets among *originals* open and close like brackets."""
    open_ones: list[str] = []
    for original in originals:
        tag = _TAG.fullmatch(original)
        if original in ("[", "!["):
            open_ones.append("]")
        elif tag and not tag[1] and not tag[3] and tag[2].lower() not in _VOID_TAGS:
            open_ones.append(tag[2].lower())
        elif (tag and tag[1]) or original.startswith(("](", "][")):
            closed = tag[2].lower() if tag else "]"
            if not open_ones or open_ones.pop() != closed:
                return False
    return not open_ones


def _is_usual_length(source: str, translation: str) -> bool:
    """Bands for a pair of alphabets, into dense scripts (Chinese, Japanese, Korean) and out of them."""
    dense_source, dense_target = _is_dense(source), _is_dense(translation)
    low, high = 0.4, 2.5
    if dense_target and not dense_source:
        low, high = 0.15, 1.2
    elif dense_source and not dense_target:
        low, high = 0.8, 6.0
    return low <= len(translation) / len(source) <= high


def _is_dense(text: str) -> bool:
    return not text.isascii() and len(_DENSE.findall(text)) * 3 > len(text)


def _digits(text: str) -> list[int]:
    """All digits of *text*, whatever script they are in; separators and order are the language's business."""
    return sorted(unicodedata.decimal(digit) for digit in _DIGIT.findall(text))


def _is_balanced(text: str) -> bool:
    return all(text.count(pair[0]) == text.count(pair[1]) for pair in _BRACKET_PAIRS)

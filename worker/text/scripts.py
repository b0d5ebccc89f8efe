"""
Which letters a script has, as far as judging a translation needs it.

Owns ranges of characters and the two questions asked of a text: is it written in this script, and is its
script one that says much in few characters. Scripts that are not listed are never judged.
"""

import re
from functools import lru_cache

_HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f"
_HANGUL = "\u1100-\u11ff\u3130-\u318f\uac00-\ud7af"
_RANGES = {
    "Latn": "A-Za-zªº\u00c0-\u02b8\u1e00-\u1eff\u2c60-\u2c7f\ua720-\ua7ff\uff21-\uff5a",
    "Cyrl": "\u0400-\u052f\u1c80-\u1c8f\u2de0-\u2dff\ua640-\ua69f",
    "Grek": "\u0370-\u03ff\u1f00-\u1fff",
    "Arab": "\u0600-\u06ff\u0750-\u077f\u08a0-\u08ff\ufb50-\ufdff\ufe70-\ufefc",
    "Hebr": "\u0590-\u05ff\ufb1d-\ufb4f",
    "Deva": "\u0900-\u097f\ua8e0-\ua8ff",
    "Beng": "\u0980-\u09ff",
    "Guru": "\u0a00-\u0a7f",
    "Gujr": "\u0a80-\u0aff",
    "Orya": "\u0b00-\u0b7f",
    "Taml": "\u0b80-\u0bff",
    "Telu": "\u0c00-\u0c7f",
    "Knda": "\u0c80-\u0cff",
    "Mlym": "\u0d00-\u0d7f",
    "Sinh": "\u0d80-\u0dff",
    "Thai": "\u0e00-\u0e7f",
    "Laoo": "\u0e80-\u0eff",
    "Tibt": "\u0f00-\u0fff",
    "Mymr": "\u1000-\u109f\ua9e0-\ua9ff\uaa60-\uaa7f",
    "Khmr": "\u1780-\u17ff\u19e0-\u19ff",
    "Ethi": "\u1200-\u139f\u2d80-\u2ddf\uab00-\uab2f",
    "Armn": "\u0530-\u058f",
    "Geor": "\u10a0-\u10ff\u1c90-\u1cbf\u2d00-\u2d2f",
    "Hans": _HAN,
    "Hant": _HAN,
    "Jpan": f"\u3040-\u30ff\u31f0-\u31ff{_HAN}",
    "Kore": f"{_HANGUL}{_HAN}",
}
_LETTER = re.compile(r"[^\W\d_]")
_DENSE = re.compile(f"[\u3040-\u30ff{_HANGUL}{_HAN}]")

_LETTERS_MIN = 20
_SHARE_MIN = 0.1  # names in their own letters are normal, a text in them is not


def is_written_in(script: str | None, text: str) -> bool:
    """Whether *text* may be in *script* (ISO 15924); true for short texts and scripts nobody listed here."""
    if script not in _RANGES or len(text) < _LETTERS_MIN or (script == "Latn" and text.isascii()):
        return True
    foreign = _foreign(script)
    if not foreign.search(text):
        return True
    letters = len(_LETTER.findall(text))
    return letters < _LETTERS_MIN or letters - len(foreign.findall(text)) >= letters * _SHARE_MIN


def dense_characters(text: str) -> int:
    """How many characters of *text* are of a script that says much in few: Chinese, Japanese, Korean."""
    return 0 if text.isascii() else len(_DENSE.findall(text))


def is_dense(text: str) -> bool:
    return dense_characters(text) * 3 > len(text)


@lru_cache(maxsize=64)
def _foreign(script: str) -> re.Pattern[str]:
    """Any letter that is not of *script*."""
    return re.compile(rf"[^\W\d_{_RANGES[script]}]")

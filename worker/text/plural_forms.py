"""
Which plural forms a message needs in another language, and the number by which to ask a translator for each.

English has two forms and Russian four, so a message that is only translated form by form is incomplete. Every
further form is the source's `other` form with an example number in it: "3 files" comes back inflected for 3
from any engine, and the number is then taken out again. Arithmetic over `plurals` only; knows no syntax.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from worker.text import plurals

# A longer form is no phrase to be inflected; it is not asked for again for every category.
_LEAF_CHARS_MAX = 1000


@dataclass(slots=True)
class Leaf:
    """What a message says for one form. `number`: how it writes the number that is counted, empty if not."""

    text: str
    number: str


@dataclass(slots=True)
class Form:
    """A plural form to add. `example`: the number to ask with and what it stands for; None: copy `other`."""

    category: str
    example: tuple[int, str] | None


def added(leaves: Mapping[str, Leaf], language: str, *, ordinal: bool, has_offset: bool) -> Sequence[Form]:
    """
    The forms that *language* needs beside those of *leaves* (by selector).

    `one` is among them although *leaves* have it when the target's `one` means more numbers than 1 and the
    source's says 1 in words: what is there becomes `=1` then, and `one` is asked for with another number.
    """
    known = plurals.categories(language, ordinal=ordinal)
    other = leaves["other"]
    missing = [category for category in known if category not in leaves]
    not_one = (
        not (ordinal or has_offset or "=1" in leaves)
        and "one" in leaves
        and bool(other.number and not leaves["one"].number)
        and any(number != 1 for number in known.get("one", ()))
    )
    if not_one:
        missing.insert(0, "one")
    return [Form(category, _example(other, known[category], not_one and category == "one")) for category in missing]


def _example(other: Leaf, numbers: Sequence[int], not_one: bool) -> tuple[int, str] | None:
    """A number that cannot be mistaken for another one in the text."""
    if not other.number or len(other.text) > _LEAF_CHARS_MAX or _touches_digit(other):
        return None
    taken = {int(digits) for digits in re.findall(r"\d{1,4}", other.text)}
    usable = (number for number in numbers if number not in taken and not (not_one and number == 1))
    number = next(usable, None)
    return None if number is None else (number, other.number)


def _touches_digit(leaf: Leaf) -> bool:
    return re.search(rf"[\d.,]{re.escape(leaf.number)}|{re.escape(leaf.number)}[.,]?\d", leaf.text) is not None

"""
Mutants of SQL: operators, conditions, constants, words of state, and statements left out.

Works on words, not on a grammar: what the database cannot read is no mutant, and it says so when it is applied. Only
bodies of functions and the statements that make tables, indexes and triggers are touched.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from scripts.mutation.mutants import Mutant, Unit

_WORD = re.compile(
    r"""(?P<space>\s+|--[^\n]*)|(?P<text>'(?:[^']|'')*')|(?P<name>"[^"]*"|[A-Za-z_][\w$]*)|(?P<quote>\$\w*\$)
    |(?P<number>\d+(?:\.\d+)?)|(?P<sign>:=|=>|->>|->|<>|<=|>=|<@|@>|\|\||::|\.\.|.)""",
    re.VERBOSE | re.DOTALL,
)
_SWAPPED: Final = {
    "=": "<>", "<>": "=", "<": "<=", "<=": "<", ">": ">=", ">=": ">", "+": "-", "-": "+", "*": "/", "/": "*",
    "and": "or", "or": "and", "true": "false", "false": "true", "least": "greatest", "greatest": "least",
    "min": "max", "max": "min", "bool_or": "bool_and", "desc": "asc",
}  # fmt: skip
_STATES: Final = {
    f"'{word}'"
    for word in (
        *("pending", "processing", "completed", "failed", "cancelled", "scheduled", "retrying", "blocked", "retry"),
        *("throttled", "grant", "revoke", "reserve", "consume", "refund", "recorded", "already", "lost", "cancel"),
        *("run", "ready", "stopping"),
    )
}
_CLAUSE: Final = frozenset(
    (
        *(
            "and",
            "or",
            ";",
            ",",
            "group",
            "order",
            "returning",
            "limit",
            "for",
            "on",
            "union",
            "then",
            "loop",
            "having",
        ),
        *("join", "left", "cross", "when", "else", "from", "where"),
    )
)
_BEFORE_STATEMENT: Final = frozenset((";", "then", "begin", "else", "loop"))
_MADE: Final = ("table", "index", "trigger", "unique")


@dataclass(frozen=True, slots=True)
class _Word:
    text: str
    start: int
    kind: str

    @property
    def end(self) -> int:
        return self.start + len(self.text)


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Words of one unit: *signature* counts for its print, *body* is what is mutated."""

    name: str
    signature: Sequence[_Word]
    body: Sequence[_Word]


def read(file: str, text: str) -> tuple[list[Unit], list[Mutant]]:
    stretches = list(_stretches(_words(text)))
    units = [Unit(one.name, " ".join(word.text for word in (*one.signature, *one.body))) for one in stretches]
    mutants = [Mutant(file, start, end, new, one.name) for one in stretches for start, end, new in _edits(one.body)]
    return units, mutants


def statement(text: str, unit: str) -> str | None:
    """The statement that puts the function *unit* in place of the one that stands; None for what is no function."""
    words = _words(text)
    for one in _stretches(words):
        if one.name == unit and any(word.text == "function" for word in one.signature):
            closing = words[words.index(one.body[-1]) + 1]
            made = text[one.signature[0].start : closing.end]
            return re.sub("^create function", "create or replace function", made)
    return None


def _words(text: str) -> list[_Word]:
    found = ((match.group(), match.start(), match.lastgroup or "") for match in _WORD.finditer(text))
    return [_Word(*one) for one in found if one[2] != "space"]


def _stretches(words: Sequence[_Word]) -> Iterator[_Stretch]:
    at = 0
    while at < len(words):
        here = words[at].text
        if here == "create" and (name_at := _function_name(words, at)):
            opening = next(i for i in range(name_at, len(words)) if words[i].kind == "quote")
            closing = next(i for i in range(opening + 1, len(words)) if words[i].text == words[opening].text)
            name = "".join(word.text for word in words[name_at : name_at + 3])
            yield _Stretch(name, words[at:opening], words[opening + 1 : closing])
            at = closing
        elif here == "create" and any(word.text in _MADE for word in words[at : at + 4]):
            end = next(i for i in range(at, len(words)) if words[i].text == ";")
            kind = next(i for i in range(at, end) if words[i].text in ("table", "index", "trigger"))
            named = next(i for i in range(kind + 1, end) if words[i].text not in ("if", "not", "exists", "public", "."))
            yield _Stretch(f"{words[kind].text} {words[named].text}", words[at:named], words[named + 1 : end])
            at = end
        at += 1


def _function_name(words: Sequence[_Word], at: int) -> int | None:
    """Where the name begins, when *at* is the beginning of a function."""
    for ahead in (1, 3):
        if at + ahead < len(words) and words[at + ahead].text == "function":
            return at + ahead + 1
    return None


def _edits(body: Sequence[_Word]) -> Iterator[tuple[int, int, str]]:
    between = _between(body)
    for at, word in enumerate(body):
        before = body[at - 1].text if at else ";"
        after = body[at + 1].text if at + 1 < len(body) else ";"
        if at not in between:
            yield from _changed(word, before, after)
        yield from _relations(body, at, before, after)
        if at not in between and word.text in ("where", "and", "or", "on") and after not in ("conflict", "delete"):
            end = _operand_end(body, at + 1)
            if end > at + 1:
                yield body[at + 1].start, body[end - 1].end, "false" if word.text == "or" else "true"
        if before in _BEFORE_STATEMENT and (word.text in ("perform", "update", "insert", "delete") or after == ":="):
            end = next((i for i in range(at, len(body)) if body[i].text == ";"), at)
            if end > at:
                yield word.start, body[end - 1].end, "null"


def _changed(word: _Word, before: str, after: str) -> Iterator[tuple[int, int, str]]:
    if word.text == "*" and (before in ("(", "select", "returning", ".") or after in ("from", "into", ")")):
        return
    if word.kind == "number":
        if before != "fillfactor" and "." not in word.text:
            yield word.start, word.end, str(int(word.text) + 1)
    elif word.text in _STATES:
        yield word.start, word.end, "'~'"
    elif word.text in _SWAPPED and word.kind in ("sign", "name"):
        yield word.start, word.end, _SWAPPED[word.text]


def _relations(body: Sequence[_Word], at: int, before: str, after: str) -> Iterator[tuple[int, int, str]]:
    word = body[at]
    if word.text == "is" and after in ("null", "distinct"):
        yield word.start, word.end, "is not"
    elif word.text == "is" and after == "not":
        yield word.start, body[at + 1].end, "is"
    elif word.text == "not" and before != "is" and after != "null":
        yield word.start, body[at + 1].start, ""
    elif word.text == "in" and after == "(" and before != "not":
        yield word.start, word.end, "not in"


def _between(body: Sequence[_Word]) -> set[int]:
    """The `and` words that belong to a `between`."""
    return {
        next((i for i in range(at, len(body)) if body[i].text == "and"), -1)
        for at, word in enumerate(body)
        if word.text == "between"
    }


def _operand_end(body: Sequence[_Word], at: int) -> int:
    """The end of the condition that begins *at*: the next word of its own depth that begins something else."""
    depth = 0
    between = _between(body)
    for i in range(at, len(body)):
        text = body[i].text
        if (
            depth == 0
            and text in _CLAUSE
            and i not in between
            and not (text == "from" and body[i - 1].text == "distinct")
        ):
            return i
        if text in ("(", "case", "["):
            depth += 1
        elif text in (")", "end", "]"):
            if depth == 0:
                return i
            depth -= 1
    return len(body)

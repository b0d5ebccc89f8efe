"""
Branches of a PL/pgSQL function, from how often each of its statements ran.

The profiler of plpgsql_check counts statements rightly, also in functions that raise. Its own figure of branches knows
only what stands in the text: an `if` without `else` is whole for it once the body ran. So branches are made here:

- the function itself: it was called
- `if` and `case`: each of their bodies; and an `if` without `else` was passed by
- a loop: its body ran. Whether it also ended without having run is not in the counts
- an exception handler: it ran. One with nothing to do (`null;`) has no statement, and is not seen
- `exit when` and `continue when`: they fired, and they did not
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

_CONDITIONAL = re.compile(r"\b(?:exit|continue)\b[^;]*\bwhen\b")


@dataclass(frozen=True, slots=True)
class Statement:
    """*note* is its place in statement *parent*, such as `then body`; *line* counts from 1 in the function's body."""

    number: int
    parent: int | None
    note: str
    line: int
    name: str


@dataclass(frozen=True, slots=True)
class Count:
    """How often a statement began, and how often it raised itself: not in a statement within it."""

    begun: int = 0
    raised: int = 0

    def __add__(self, other: "Count") -> "Count":
        return Count(self.begun + other.begun, self.raised + other.raised)


def taken(source: str, statements: Sequence[Statement], counts: Mapping[int, Count]) -> dict[str, bool]:
    """Whether each branch of the function with body *source* was taken. What has no count never ran."""
    return dict(_Function(source, statements, counts).branches())


class _Function:
    def __init__(self, source: str, statements: Sequence[Statement], counts: Mapping[int, Count]) -> None:
        self._lines = source.splitlines()
        self._statements = {one.number: one for one in statements}
        self._counts = counts
        self._bodies: dict[tuple[int | None, str], list[Statement]] = defaultdict(list)
        for one in sorted(statements, key=lambda one: one.number):
            self._bodies[one.parent, one.note].append(one)

    def branches(self) -> Iterator[tuple[str, bool]]:
        """By line and what it is; a line may have several of the same kind, so the number stands with it."""
        for one in self._statements.values():
            if one.parent is None:
                yield "called", self._begun(one) > 0
            if one.name == "IF" and (one.number, "else body") not in self._bodies:
                yield f"line {one.line}, statement {one.number}: passed by", self._left(one, self._within(one)) > 0
            if one.name in ("EXIT", "CONTINUE") and _CONDITIONAL.search(self._lines[one.line - 1]):
                stayed = self._stayed(one)
                yield f"line {one.line}, statement {one.number}: fired", self._left(one, stayed) > 0
                yield f"line {one.line}, statement {one.number}: did not fire", stayed > 0
        for (parent, note), (first, *_) in self._bodies.items():
            # What a block or an endless loop does whenever it is entered is no branch.
            if parent is not None and note != "body" and self._statements[parent].name != "LOOP":
                yield f"line {first.line}, statement {first.number}: {note}", self._begun(first) > 0

    def _begun(self, one: Statement) -> int:
        return self._counts.get(one.number, Count()).begun

    def _left(self, one: Statement, elsewhere: int) -> int:
        """How often *one* was over without having raised or gone *elsewhere*."""
        return self._begun(one) - self._counts.get(one.number, Count()).raised - elsewhere

    def _within(self, one: Statement) -> int:
        return sum(self._begun(body[0]) for (parent, _), body in self._bodies.items() if parent == one.number)

    def _stayed(self, one: Statement) -> int:
        """How often the statement after *one* followed; after the last one of a body, its next round."""
        body = self._bodies[one.parent, one.note]
        at = body.index(one)
        if at + 1 < len(body):
            return self._begun(body[at + 1])
        assert one.parent is not None
        return self._begun(body[0]) - self._begun(self._statements[one.parent])

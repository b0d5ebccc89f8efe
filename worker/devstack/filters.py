"""
The query string of a REST request as SQL: which columns, which rows, in what order.

Pure text work. The rule that keeps it safe: names are quoted, values become parameters, and nothing else of the
request reaches the statement.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from worker.devstack.refusals import Refusal

_OPERATORS = {
    "eq": "=", "neq": "<>", "gt": ">", "gte": ">=", "lt": "<", "lte": "<=", "like": "like", "ilike": "ilike",
    "match": "~", "imatch": "~*", "cs": "@>", "cd": "<@", "ov": "&&", "sl": "<<", "sr": ">>", "nxl": "&>",
    "nxr": "&<", "adj": "-|-", "isdistinct": "is distinct from",
}  # fmt: skip
_TEXT_SEARCH = {
    "fts": "to_tsquery",
    "plfts": "plainto_tsquery",
    "phfts": "phraseto_tsquery",
    "wfts": "websearch_to_tsquery",
}
_IS = {"null": "null", "not_null": "not null", "true": "true", "false": "false", "unknown": "unknown"}
_RESERVED = {"select", "columns", "order", "limit", "offset", "on_conflict", "apikey"}


def quote(name: str) -> str:
    """An SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """An SQL string constant."""
    return "'" + text.replace("'", "''") + "'"


@dataclass
class Query:
    """A query string, read: SQL fragments and the values they refer to as `$n`, counted on from *values*."""

    qualifier: str  # what a column name is qualified with, quoted
    values: list[str | bytes | None] = field(default_factory=list)
    columns: str = ""
    conditions: list[str] = field(default_factory=list)
    order: str = ""
    limit: int | None = None
    offset: int = 0

    def __post_init__(self) -> None:
        self.columns = self.columns or f"{self.qualifier}.*"

    @property
    def where(self) -> str:
        return f" where {' and '.join(self.conditions)}" if self.conditions else ""

    def read(self, pairs: Iterable[tuple[str, str]], *, skip: frozenset[str] = frozenset()) -> "Query":
        """Take in a decoded query string; *skip* names arguments of a function called by GET."""
        for key, value in pairs:
            if key in skip:
                continue
            if key == "select":
                self.columns = self._select(value)
            elif key == "order":
                self.order = " order by " + ", ".join(self._order(item) for item in split(value))
            elif key == "limit":
                self.limit = _count(key, value)
            elif key == "offset":
                self.offset = _count(key, value)
            elif key not in _RESERVED:
                self.conditions.append(self._condition(key, value))
        return self

    def _select(self, text: str) -> str:
        return ", ".join(self._selected(item) for item in split(text)) or self.columns

    def _selected(self, item: str) -> str:
        if "(" in item and not item.startswith('"'):
            raise Refusal(400, "PGRST200", f"The local stack does not embed or aggregate: {item!r}")
        if item == "*":
            return f"{self.qualifier}.*"
        aliased = re.fullmatch(r'("(?:[^"\\]|\\.)*"|[^":]+):(?!:)(.*)', item)
        alias, rest = aliased.groups() if aliased else ("", item)
        path, _, cast = rest.partition("::")
        if cast and not re.fullmatch(r"[a-z]\w*(\[\])?", cast):
            raise _unreadable(item)
        column = f"cast({self._column(path)} as {cast})" if cast else self._column(path)
        return f"{column} as {quote(_unquote(alias or re.split('->>?', path)[-1]))}"

    def _column(self, path: str) -> str:
        """A column, or a way into a JSON column: `data->items->0->>name`."""
        name, *steps = re.split(r"(->>?)", path)
        column = f"{self.qualifier}.{quote(_unquote(name))}"
        if not steps:
            return column
        column = f"to_jsonb({column})"
        for arrow, step in zip(steps[::2], steps[1::2], strict=True):
            column += arrow + (step if re.fullmatch(r"-?\d+", step) else literal(_unquote(step)))
        return f"({column})"

    def _order(self, item: str) -> str:
        path, *words = re.split(r"\.(?=asc|desc|nullsfirst|nullslast)", item)
        allowed = {"asc": " asc", "desc": " desc", "nullsfirst": " nulls first", "nullslast": " nulls last"}
        if not all(word in allowed for word in words) or ("." in re.split("->", path)[0] and not path.startswith('"')):
            raise _unreadable(item)
        return self._column(path) + "".join(allowed[word] for word in words)

    def _condition(self, key: str, value: str) -> str:
        """`key=value` of the query string: a logic tree or a column's filter."""
        negated = key.startswith("not.") and key[4:] in ("and", "or")
        if negated or key in ("and", "or"):
            return self._tree(key + value)
        return self._filter(key, value)

    def _tree(self, text: str) -> str:
        """`or(a.eq.1,not.and(b.gt.2,c.is.null))`, any depth."""
        match = re.fullmatch(r"(not\.)?(and|or)\((.*)\)", text, re.DOTALL)
        if match is None:
            column, separator, rest = _cut(text, ".")
            if not separator:
                raise _unreadable(text)
            return self._filter(column, rest, in_tree=True)
        negation, joiner, inside = match.groups()
        joined = f" {joiner} ".join(self._tree(item) for item in split(inside))
        return f"{'not ' if negation else ''}({joined})"

    def _filter(self, path: str, text: str, *, in_tree: bool = False) -> str:
        """`eq.5`, `not.in.(1,2)`, `like(any).{a*,b*}` on a column. Only inside a tree are values quoted."""
        if "." in path and not path.startswith('"'):
            table = path.partition(".")[0]
            raise Refusal(
                400,
                "PGRST108",
                f"'{table}' is not an embedded resource in this request",
                hint=f"Verify that '{table}' is included in the 'select' query parameter.",
            )
        negation = "not " if text.startswith("not.") else ""
        match = re.fullmatch(r"(\w+)(?:\((\w+)\))?\.(.*)", text.removeprefix("not."), re.DOTALL)
        if match is None:
            raise _unreadable(text)
        operator, modifier, value = match.groups()
        value = _unquote(value) if in_tree else value
        return f"{negation}({self._comparison(self._column(path), operator, modifier, value)})"

    def _comparison(self, column: str, operator: str, modifier: str | None, value: str) -> str:
        if operator == "is":
            if value.lower() not in _IS:
                raise _unreadable(f"is.{value}")
            return f"{column} is {_IS[value.lower()]}"
        if operator == "in":
            if not (value.startswith("(") and value.endswith(")")):
                raise _unreadable(f"in.{value}")
            return f"{column} = any ({self._value(array(split(value[1:-1])))})"
        if operator in _TEXT_SEARCH:
            language = f"{literal(modifier)}, " if modifier else ""
            return f"{column} @@ {_TEXT_SEARCH[operator]}({language}{self._value(value)})"
        if operator not in _OPERATORS:
            raise Refusal(400, "PGRST100", f'"failed to parse filter ({operator}.{value})"', "unknown operator")
        if operator in ("like", "ilike"):
            value = value.replace("*", "%")
        if modifier in ("any", "all"):
            return f"{column} {_OPERATORS[operator]} {modifier} ({self._value(value)})"
        return f"{column} {_OPERATORS[operator]} {self._value(value)}"

    def _value(self, value: str) -> str:
        self.values.append(value)
        return f"${len(self.values)}"


def split(text: str) -> list[str]:
    """The parts of *text* between commas, but not those inside quotes, parentheses or braces."""
    parts = []
    while text:
        part, _, text = _cut(text, ",")
        parts.append(part.strip())
    return parts


def _cut(text: str, separator: str) -> tuple[str, str, str]:
    """`str.partition` that steps over quoted, parenthesised and braced text."""
    depth, quoted, position = 0, False, 0
    while position < len(text):
        character = text[position]
        if character == "\\" and quoted:
            position += 1
        elif character == '"':
            quoted = not quoted
        elif not quoted:
            if character in "({":
                depth += 1
            elif character in ")}":
                depth -= 1
            elif character == separator and depth == 0:
                return text[:position], separator, text[position + 1 :]
        position += 1
    return text, "", ""


def _unquote(text: str) -> str:
    if len(text) >= 2 and text[0] == text[-1] == '"':
        return re.sub(r"\\(.)", r"\1", text[1:-1])
    return text


def array(items: Sequence[str]) -> str:
    """A Postgres array literal."""
    quoted = ('"' + re.sub(r'(["\\])', r"\\\1", _unquote(item)) + '"' for item in items)
    return "{" + ",".join(quoted) + "}"


def _count(key: str, value: str) -> int:
    if not value.isdigit():
        raise Refusal(400, "PGRST100", f'"failed to parse {key} parameter ({value})"')
    return int(value)


def _unreadable(text: str) -> Refusal:
    return Refusal(400, "PGRST100", f'"failed to parse filter ({text})"', "unexpected text in the query string")

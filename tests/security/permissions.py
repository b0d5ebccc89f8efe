"""
`permissions.toml` as the tests of this folder read it: one table of who may do what, for every door.

Knows the file and nothing of a database. The rule: what the file does not name is nobody's.
"""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

ROLES: Final = ("anon", "authenticated", "service_role")
COMMANDS: Final = ("select", "insert", "update", "delete")
INNER: Final = "translation_private"


@dataclass(frozen=True)
class Table:
    schema: str
    name: str
    service: frozenset[str]
    rows: str | None
    """Which ones a user may select: `own`, `all`; None: none."""
    columns: tuple[str, ...]
    """With which columns."""

    def may(self, role: str, command: str) -> bool:
        if role == "service_role":
            return command in self.service
        return role == "authenticated" and command == "select" and self.rows is not None

    def may_column(self, role: str, command: str, column: str) -> bool:
        return self.may(role, command) and (role == "service_role" or column in self.columns)


@dataclass(frozen=True)
class Permissions:
    schemas: Mapping[str, frozenset[str]]
    tables: Mapping[tuple[str, str], Table]
    sequences: Mapping[tuple[str, str], frozenset[str]]
    users_call: Mapping[str, frozenset[str]]
    """By schema: what users and the service may call."""
    service_calls: frozenset[str]
    """Of the exposed schema: what only the service may call."""
    published: frozenset[str]
    private_topics: tuple[str, ...]
    routes: Mapping[str, tuple[str, ...]]
    """Addresses, as `GET /path`, by whom they answer."""

    @property
    def exposed(self) -> list[Table]:
        return [table for (schema, _), table in self.tables.items() if schema == "public"]

    def callers(self, function: str) -> frozenset[str]:
        """Roles that may call *function* of the exposed schema."""
        if function in self.users_call["public"]:
            return frozenset({"authenticated", "service_role"})
        return frozenset({"service_role"} if function in self.service_calls else ())


def load() -> Permissions:
    told = tomllib.loads((Path(__file__).parent / "permissions.toml").read_text())
    functions = told["functions"]
    return Permissions(
        schemas={name: frozenset(roles) for name, roles in told["schemas"].items()},
        tables={_place(name): _table(*_place(name), about) for name, about in told["tables"].items()},
        sequences={_place(name): frozenset(may) for name, may in told["sequences"].items()},
        users_call={schema: _unique(named["users_and_service"]) for schema, named in functions.items()},
        service_calls=_unique(functions["public"]["service"]),
        published=frozenset(told["realtime"]["published"]),
        private_topics=tuple(told["realtime"]["private_topics"]),
        routes={who: tuple(routes) for who, routes in told["routes"].items()},
    )


def _table(schema: str, name: str, about: Mapping[str, Any]) -> Table:
    return Table(schema, name, frozenset(about["service"]), about.get("rows"), tuple(about.get("columns", ())))


def _place(name: str) -> tuple[str, str]:
    schema, dot, rest = name.partition(".")
    return (schema, rest) if dot else ("public", name)


def _unique(names: Iterable[str]) -> frozenset[str]:
    listed = list(names)
    assert len(set(listed)) == len(listed), "a name stands twice"
    return frozenset(listed)


PERMISSIONS: Final = load()

"""
What is installed, compared with what the shipped script makes: functions, grants, row security, policies, triggers.

Pure: *facts* is the answer of `translation_self_check`, *shipped* the same answer of a fresh project
(`sql/catalog.json`). What an owner may replace is only asked to be there.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Final

from worker import errors
from worker.verify.finding import INSTALL, Finding, judged, skipped

Facts = Mapping[str, Any]
Fault = tuple[str, str]
Check = Callable[[Facts, Facts], Iterator[Fault]]

SELF_CHECK: Final = "public.translation_self_check()"
YOURS: Final = (
    "public.price_translation_item(",
    "public.hold_translation_balance(",
    "public.return_translation_balance(",
)
CLIENTS: Final = ("anon", "authenticated")


def shipped() -> dict[str, Any]:
    """What `install.sql` makes: out of the wheel, or out of the checkout this package is run from."""
    packaged = resources.files("worker").joinpath("sql", "catalog.json")
    checkout = Path(__file__).resolve().parents[2] / "sql" / "catalog.json"
    for place in (packaged, checkout):
        if place.is_file():
            found: dict[str, Any] = json.loads(place.read_text(encoding="utf-8"))
            return found
    raise errors.ConfigurationError("catalog.json is neither in this installation nor beside install.sql.")


def findings(facts: Facts, shipped: Facts) -> list[Finding]:
    """One finding for each kind of thing."""
    if facts["schema_version"] > shipped["schema_version"]:
        newer = "the installed SQL is newer than this worker, which cannot tell what belongs to it"
        return [skipped(name, newer) for name, _, _ in CHECKS]
    found = []
    readable = _is_readable(facts, shipped)
    for name, said, check in CHECKS:
        if readable or check in (functions, function_grants):
            count = len(shipped["functions"] if "function" in name else shipped["tables"])
            found.append(judged(name, said.format(count), list(check(facts, shipped))))
        else:
            found.append(skipped(name, "the installed translation_self_check is another one"))
    return found


def _is_readable(facts: Facts, shipped: Facts) -> bool:
    installed = facts["functions"].get(SELF_CHECK, {})
    return bool(installed.get("source") == shipped["functions"][SELF_CHECK]["source"])


def functions(facts: Facts, shipped: Facts) -> Iterator[Fault]:
    installed = facts["functions"]
    for name, expected in shipped["functions"].items():
        if name not in installed:
            yield f"{name} is missing", INSTALL
        elif not name.startswith(YOURS) and any(
            installed[name].get(part) != expected[part] for part in ("source", "settings", "definer")
        ):
            yield f"{name} is not the shipped one", INSTALL
    ours = {_plain(name) for name in shipped["functions"] if name.startswith("public.")}
    for name in installed:
        if name not in shipped["functions"] and _plain(name) in ours:
            yield f"{name} is there beside the shipped one: calls become ambiguous", f"drop function {name};"


def _plain(signature: str) -> str:
    return signature.partition("(")[0]


def function_grants(facts: Facts, shipped: Facts) -> Iterator[Fault]:
    for name, installed in facts["functions"].items():
        if name not in shipped["functions"]:
            continue
        may, should = set(installed["may"]), set(shipped["functions"][name]["may"])
        for role in sorted(should - may):
            yield f"{role} may not call {name}", f"grant execute on function {name} to {role};"
        for role in sorted(may - should):
            yield f"{role} may call {name}", f"revoke execute on function {name} from public, {role};"


def tables(facts: Facts, shipped: Facts) -> Iterator[Fault]:
    for name in shipped["tables"]:
        if name not in facts["tables"]:
            yield f"{name} is missing", INSTALL


def row_security(facts: Facts, shipped: Facts) -> Iterator[Fault]:
    for name, installed, expected in _both(facts, shipped):
        if expected["row_security"] and not installed["row_security"]:
            cure = (
                INSTALL
                if name == "translation_jobs_overview"
                else f"alter table {_qualified(name)} enable row level security;"
            )
            yield f"row level security is off on {name}", cure


def policies(facts: Facts, shipped: Facts) -> Iterator[Fault]:
    for name, installed, expected in _both(facts, shipped):
        for policy, rule in installed["policies"].items():
            if policy not in expected["policies"]:
                yield f"{name} has the policy {policy} ({rule})", f'drop policy "{policy}" on {_qualified(name)};'
            elif rule != expected["policies"][policy]:
                yield f"the policy {policy} of {name} is not the shipped one ({rule})", INSTALL
        for policy in expected["policies"].keys() - installed["policies"].keys():
            yield f"{name} lacks the policy {policy}", INSTALL


def table_grants(facts: Facts, shipped: Facts) -> Iterator[Fault]:
    for name, installed, expected in _both(facts, shipped):
        for role in (*CLIENTS, "service_role"):
            may, should = (set(side["may"].get(role, ())) for side in (installed, expected))
            for command in sorted(should - may):
                yield f"{role} may not {command} on {name}", f"grant {command} on table {_qualified(name)} to {role};"
            for command in sorted(may - should):
                yield (
                    f"{role} may {command} on {name}",
                    f"revoke {command} on table {_qualified(name)} from public, {role};",
                )
            yield from _column_grants(name, role, installed, expected)


def _column_grants(name: str, role: str, installed: Facts, expected: Facts) -> Iterator[Fault]:
    may, should = (set(side["may_columns"].get(role, ())) for side in (installed, expected))
    whole = {grant for grant in should if grant.split()[0] in installed["may"].get(role, ())}
    for command, column in sorted(grant.split(" ", 1) for grant in should - may - whole):
        yield (
            f"{role} may not {command} {name}.{column}",
            f'grant {command} ("{column}") on table {_qualified(name)} to {role};',
        )
    if whole:  # told above as a grant on the table
        return
    for command, column in sorted(grant.split(" ", 1) for grant in may - should):
        yield (
            f"{role} may {command} {name}.{column}",
            f'revoke {command} ("{column}") on table {_qualified(name)} from public, {role};',
        )


def triggers(facts: Facts, shipped: Facts) -> Iterator[Fault]:
    for name, installed, expected in _both(facts, shipped):
        for trigger in sorted(set(expected["triggers"]) - set(installed["triggers"])):
            cure = (
                f"alter table {_qualified(name)} enable trigger {trigger};  -- if it is not there: `worker sql` again"
            )
            yield f"the trigger {trigger} of {name} is missing or disabled", cure


def publication(facts: Facts, shipped: Facts) -> Iterator[Fault]:
    published = facts["publication"]
    if published is None:
        yield "there is no publication supabase_realtime", f"create publication supabase_realtime;\n{INSTALL}"
        return
    for name, installed, expected in _both(facts, shipped):
        if expected["published"] and not installed["published"]:
            yield f"{name} is not published", f"alter publication supabase_realtime add table {_qualified(name)};"
        elif installed["published"] and not expected["published"]:
            yield f"{name} is published", f"alter publication supabase_realtime drop table {_qualified(name)};"
    for command in ("insert", "update"):
        if not published[command]:
            cure = "alter publication supabase_realtime set (publish = 'insert, update, delete, truncate');"
            yield f"{command}s are not published", cure


def _both(facts: Facts, shipped: Facts) -> Iterator[tuple[str, Facts, Facts]]:
    for name, expected in shipped["tables"].items():
        if name in facts["tables"]:
            yield name, facts["tables"][name], expected


def _qualified(name: str) -> str:
    return name if "." in name else f"public.{name}"


CHECKS: Final[tuple[tuple[str, str, Check], ...]] = (
    ("functions", "{} as shipped", functions),
    ("function grants", "{} functions, each callable by whom it should be", function_grants),
    ("tables", "{} there", tables),
    ("row security", "on for all", row_security),
    ("policies", "as shipped", policies),
    ("table grants", "as shipped", table_grants),
    ("triggers", "as shipped", triggers),
    ("publication", "both tables are in supabase_realtime", publication),
)

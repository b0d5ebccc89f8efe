"""The committed report of `scripts/coverage`: that it is about this code, and that branches are counted rightly."""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest

from scripts.counting import counts, in_postgres, report
from scripts.counting.branches import Count, Statement
from worker.devstack.postgres import Cluster

WITHOUT_DEBIAN = os.environ.get("WITHOUT_DEBIAN", "Debian's postgresql-15-plpgsql-check is not installed")

BAR = 0.95

# So many may have changed since they were counted: the count takes an hour, and most changes bring their tests along.
STALE_SHARE = 0.1

PRINTS = {"python": report.modules, "sql": report.functions}
RENEW = "run scripts/coverage {0} --fresh, then scripts/coverage report"

IF = "begin if 1 / p = 1 then return 1; end if; return p; end"
ELSE = "begin if p = 1 then return 1; elsif p = 2 then return 2; else return 3; end if; end"
CASE = "begin case p when 1 then return 1; when 2 then return 2; else return 3; end case; end"
FOR = "declare v int := 0; begin for i in 1..p loop v := v + 1; end loop; return v; end"
WHILE = "begin while p > 0 loop p := p - 1; end loop; return p; end"
EXIT = "begin loop p := p - 1; exit when p <= 0; p := p - 1; end loop; return p; end"
EXIT_LAST = "begin loop p := p - 1; exit when p <= 0; end loop; return p; end"
CONTINUE = "declare v int := 0; begin for i in 1..p loop continue when i = 2; v := v + 1; end loop; return v; end"
HANDLER = """
begin
  if p = 1 then raise 'no'; end if;
  return 1 / p;
exception
  when raise_exception then return 1;
  when division_by_zero then return 0;
end
"""

# What a test of the counting sees of a branch: its kind, not where it stands.
Taken = dict[str, bool]
Counted = Callable[..., Taken]


@pytest.mark.parametrize("kind", PRINTS)
def test_the_report_is_about_nearly_all_of_the_code_that_is_here(kind: str) -> None:
    prints = PRINTS[kind]()
    stale = report.stale(report.read()[kind], prints)

    assert len(stale) <= STALE_SHARE * len(prints), f"{RENEW.format(kind)}; not counted as they are now: {stale}"


def test_the_tests_take_nearly_all_branches_of_the_package() -> None:
    taken, of = report.total(report.read()["python"].values(), "branches")

    assert of > 0
    assert taken / of >= BAR


def test_the_tests_take_nearly_all_branches_of_every_sql_function() -> None:
    entries = report.read()["sql"]
    shares = {name: entry["branches"][0] / entry["branches"][1] for name, entry in entries.items()}

    assert {name: share for name, share in shares.items() if share < BAR} == {}


def test_an_entry_is_stale_once_its_code_is_another_or_gone() -> None:
    entries = {name: {"print": name} for name in ("same", "changed", "gone")}

    assert report.stale(entries, {"same": "same", "changed": "other", "new": "new"}) == ["changed", "gone", "new"]


@pytest.fixture(scope="module")
def profiled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A server that counts."""
    if not in_postgres.CHECKER.exists():
        pytest.skip(WITHOUT_DEBIAN)
    with Cluster(tmp_path_factory.mktemp("profiled"), bin_dir=in_postgres.DEBIAN) as cluster:
        with (cluster.data_dir / "pgdata/postgresql.conf").open("a") as settings:
            settings.writelines(f"{name} = '{value}'\n" for name, value in in_postgres.SETTINGS.items())
        cluster.restart()
        yield cluster


@pytest.fixture
def counted(profiled: Cluster) -> Iterator[Counted]:
    """`counted(body, *arguments)`: branches of a function with that body, called once with each argument."""
    url = profiled.url()
    head = "create function public.tried(p int) returns int language {} set search_path = '' as $${}$$"
    with psycopg.connect(url, autocommit=True) as connection:

        def count(body: str, *arguments: int, language: str = "plpgsql") -> Taken:
            connection.execute(head.format(language, body).encode())
            with psycopg.connect(url, autocommit=True) as caller:
                for argument in arguments:
                    with suppress(psycopg.Error):
                        caller.execute("select public.tried(%s)", [argument])
            functions = {"public.tried": in_postgres.layout(url)["public.tried"]}
            counts.add(functions, in_postgres.read(url))
            return {branch.split(": ")[-1]: taken for branch, taken in functions["public.tried"].branches().items()}

        yield count
        connection.execute("drop function if exists public.tried")


# Body, arguments of the calls, and the branches that were not taken.
CASES = {
    "an if without else is whole once it was also passed by": (IF, (1,), {"passed by"}),
    "an if that is passed by has not run its body": (IF, (2,), {"then body"}),
    "an if with both is whole": (IF, (1, 2), set()),
    "a condition that raises is not passed by": (IF, (0,), {"then body", "passed by"}),
    "a body that raises was taken": ("begin if p = 1 then raise 'no'; end if; return p; end", (1,), {"passed by"}),
    "each body of an if with else": (ELSE, (1, 3), {"elsif 1"}),
    "each body of a case": (CASE, (2,), {"case when 1", "case else"}),
    "a loop without a round": (FOR, (0,), {"loop body"}),
    "a loop with a round": (FOR, (1,), set()),
    "a while without a round": (WHILE, (0,), {"loop body"}),
    "an exit that always fires": (EXIT, (1,), {"did not fire"}),
    "an exit that fires in the end": (EXIT, (3,), set()),
    "an exit at the end of a round that always fires": (EXIT_LAST, (1,), {"did not fire"}),
    "an exit at the end of a round that fires in the end": (EXIT_LAST, (3,), set()),
    "a continue that never fires": (CONTINUE, (1,), {"fired"}),
    "a continue that fires now and then": (CONTINUE, (3,), set()),
    "a handler that nothing was for": (HANDLER, (3,), {"then body", "exception 1", "exception 2"}),
    "a handler that ran": (HANDLER, (1, 3), {"exception 2"}),
    "each handler": (HANDLER, (0, 1), set()),
    "a function that nobody called": (IF, (), {"called", "then body", "passed by"}),
}


@pytest.mark.parametrize(("body", "arguments", "missed"), CASES.values(), ids=CASES)
def test_branches_are_told_from_what_ran(
    counted: Counted, body: str, arguments: tuple[int, ...], missed: set[str]
) -> None:
    assert {branch for branch, taken in counted(body, *arguments).items() if not taken} == missed


def test_a_function_of_language_sql_has_its_call_for_a_branch(counted: Counted) -> None:
    assert counted("select p", language="sql") == {"called": False}


def test_a_function_of_language_sql_is_counted_by_its_calls(counted: Counted) -> None:
    assert counted("select p", 1, language="sql") == {"called": True}


def test_what_a_test_puts_in_place_of_a_function_is_not_counted_for_it() -> None:
    functions = {"public.f": counts.Function("sql", "select 1")}
    counts.add(functions, [("public.f", "select 2", {}, 1), ("public.g", "select 1", {}, 1)])

    assert functions["public.f"].branches() == {"called": False}


def test_what_was_counted_before_holds_for_the_same_source_only() -> None:
    before = {"public.f": counts.Function("sql", "select 1", calls=1), "public.g": counts.Function("sql", "", calls=1)}
    fresh = {"public.f": counts.Function("sql", "select 1"), "public.g": counts.Function("sql", "select 2")}

    assert {name: one.calls for name, one in counts.joined(before, fresh).items()} == {"public.f": 1, "public.g": 0}


def test_counts_are_read_as_they_were_written(tmp_path: Path) -> None:
    function = counts.Function("plpgsql", "…", [Statement(0, None, "", 1, "statement block")], {0: Count(2, 1)}, 3)
    counts.write(tmp_path / "counts.json", {"public.f": function})

    assert counts.read(tmp_path / "counts.json") == {"public.f": function}

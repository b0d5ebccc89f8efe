"""Who may do what through the REST gateway, with real keys and tokens: what `permissions.toml` says, table by table."""

import pytest

from tests.security.doors import Doors
from tests.security.permissions import INNER, PERMISSIONS
from tests.web.site import Answer

pytestmark = pytest.mark.asyncio(loop_scope="session")

CALLERS = ["anon", "ada", "bob", "operator", "service"]


def is_denied(answer: Answer) -> bool:
    # 55000: nobody writes to a view.
    return answer.status >= 400 and answer.json["code"] in ("42501", "55000")


@pytest.mark.parametrize("who", CALLERS)
async def test_each_table_is_open_to_whom_the_page_names(doors: Doors, who: str) -> None:
    project = doors.project
    role = project.roles[who]
    for table in PERMISSIONS.exposed:
        columns = project.columns(table)
        first = table.columns[0] if table.columns else columns[0]
        # A filter that needs only a readable column, and no row passes.
        nothing = f"{table.name}?and=({first}.is.null,{first}.not.is.null)"
        headers = project.headers(who)
        answers = {
            "select": await doors.rest("GET", f"{nothing}&select={first}", headers),
            # Of defaults alone no table makes a row.
            "insert": await doors.rest("POST", table.name, headers, json={}),
            "update": await doors.rest("PATCH", nothing, headers, json={columns[-1]: None}),
            "delete": await doors.rest("DELETE", nothing, headers),
        }
        for command, answer in answers.items():
            assert is_denied(answer) != table.may(role, command), (table.name, command, answer.status, answer.body)
        for column in columns:
            answer = await doors.rest("GET", f"{table.name}?select={column}&limit=1", headers)
            assert is_denied(answer) != table.may_column(role, "select", column), (table.name, column, answer.body)


async def test_users_read_their_own_rows_and_no_filter_shows_more(doors: Doors) -> None:
    project = doors.project
    for table in (table for table in PERMISSIONS.exposed if table.rows):
        everything = await rows(doors, "service", table.name, table.columns)
        ada, bob = [await rows(doors, who, table.name, table.columns) for who in ("ada", "bob")]
        if table.rows == "all":
            assert ada == bob == everything
            continue
        assert ada
        assert bob
        assert sorted(ada + bob) == everything
        assert await rows(doors, "operator", table.name, table.columns) == []
        owner = {"user_id": project.ids["bob"], "job_id": project.done["bob"]}
        for column in owner.keys() & set(table.columns):
            asked = f"{table.name}?{column}=eq.{owner[column]}&select={column}"
            either = f"{table.name}?or=({column}.eq.{owner[column]},{column}.neq.{owner[column]})&select={column}"
            headers = {**project.headers("ada"), "Prefer": "count=exact"}
            answer = await doors.rest("GET", asked, headers)
            assert (answer.json, answer.headers["Content-Range"]) == ([], "*/0")
            assert {column: owner[column]} not in (await doors.rest("GET", either, headers)).json


async def rows(doors: Doors, who: str, table: str, columns: tuple[str, ...]) -> list[str]:
    answer = await doors.rest("GET", f"{table}?select={','.join(columns)}", doors.project.headers(who))
    assert answer.status == 200, answer.body
    return sorted(map(str, answer.json))


@pytest.mark.parametrize("schema", [INNER, "auth", "realtime", "pg_catalog", "information_schema"])
async def test_no_other_schema_is_reached(doors: Doors, schema: str) -> None:
    for who in ("anon", "ada", "service"):
        headers = doors.project.headers(who)
        for path in ("create_budget", "users", "messages", "pg_authid", f"{schema}.users"):
            profile = {"Accept-Profile": schema}
            assert (await doors.rest("GET", path, {**headers, **profile})).status == 406
            assert (await doors.rest("GET", path, headers)).status == 404
        profile = {"Content-Profile": schema}
        assert (await doors.rest("POST", "rpc/send", {**headers, **profile}, json={})).status == 406
        assert (await doors.rest("POST", f"rpc/{schema}.send", headers, json={})).status == 404


# Last: whatever a caller may call is called


@pytest.mark.parametrize("who", CALLERS)
async def test_each_procedure_is_open_to_whom_the_page_names(doors: Doors, who: str) -> None:
    """With nothing said but nulls, which at most makes the service look after what is due."""
    project = doors.project
    known = project.database.run(
        """select p.proname as name, coalesce(p.proargnames[1:p.pronargs - p.pronargdefaults], '{}') as required
           from pg_proc p where p.pronamespace = 'public'::regnamespace"""
    )
    for function in known:
        said = dict.fromkeys(function["required"])
        answer = await doors.rest("POST", f"rpc/{function['name']}", project.headers(who), json=said)
        allowed = project.roles[who] in PERMISSIONS.callers(function["name"])
        assert is_denied(answer) != allowed, (function, answer.status, answer.body)
        assert answer.status != 404 or answer.json["code"].startswith("PT"), (function, answer.body)


async def test_inner_functions_have_no_address(doors: Doors) -> None:
    for name in (*PERMISSIONS.users_call[INNER], "add_job", "move_credits"):
        for who in ("ada", "service"):
            answer = await doors.rest("POST", f"rpc/{name}", doors.project.headers(who), json={})
            assert (answer.status, answer.json["code"]) == (404, "PGRST202"), name

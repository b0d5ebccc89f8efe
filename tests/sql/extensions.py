"""Stand-ins for pg_cron, pg_net and the Vault, with their signatures, and one turn of what an example schedules."""

from collections.abc import Callable
from typing import Final

import psycopg

from tests.conftest import ROOT
from tests.support.database import Database, Row

_SQL: Final = """
create schema cron;
create table cron.job (jobname text unique, schedule text, command text);
create function cron.schedule(job_name text, schedule text, command text) returns bigint language sql as $$
  insert into cron.job values (job_name, schedule, command)
  on conflict (jobname) do update set command = excluded.command returning 1::bigint $$;
create schema net;
create table net.sent (id bigint generated always as identity, url text, body jsonb, headers jsonb, timeout int);
create function net.http_post(
  url text, body jsonb default '{}', params jsonb default '{}', headers jsonb default '{}',
  timeout_milliseconds int default 5000)
returns bigint language sql as $$
  insert into net.sent (url, body, headers, timeout) values (url, body, headers, timeout_milliseconds) returning id $$;
create schema vault;
create table vault.decrypted_secrets (name text, decrypted_secret text);
grant usage on schema cron, net, vault to postgres;
grant all on all tables in schema cron, net, vault to postgres;
"""


def install(db: Database, secrets: dict[str, str]) -> None:
    """All three; *secrets* stand in the Vault."""
    with psycopg.connect(db.admin_url, autocommit=True) as admin:
        admin.execute(_SQL)
    for name, secret in secrets.items():
        db.run("insert into vault.decrypted_secrets values (%s, %s)", name, secret)


def turns(db: Database, example: str, fields: str, *, name: str, schedule: str) -> Callable[[], list[Row]]:
    """
    Paste *example* twice, which schedules *name* once; then each call is one turn of it, and returns *fields*
    (of url, body, headers, timeout) of what pg_net was given.
    """
    for _ in range(2):
        db.run((ROOT / "sql/examples" / example).read_text())
    (job,) = db.run("select * from cron.job")
    assert (job["jobname"], job["schedule"]) == (name, schedule)

    def turn() -> list[Row]:
        before = db.value("select count(*) from net.sent")
        db.run(job["command"])
        return db.run(f"select {fields} from net.sent order by id offset %s", before)

    return turn

"""Makes a plain database look like one of a fresh hosted project: applies `platform.sql`."""

from pathlib import Path

import psycopg

from worker.devstack.postgres import Cluster

_SCRIPT = (Path(__file__).parent / "platform.sql").read_text()


async def install(cluster: Cluster, database: str = "postgres", *, legacy_grants: bool = False) -> None:
    """
    Apply the platform to *database*; again on one that has it, to bring it up to date.

    Args:
        legacy_grants: everything that role `postgres` makes in `public` from now on is granted to the API roles, as
            projects made before 2026 do. Roles are shared by all databases of the cluster, this is not.
    """
    connection = await psycopg.AsyncConnection.connect(cluster.url(database=database))
    async with connection:
        await connection.execute(
            "select set_config('devstack.password', %s, true), set_config('devstack.legacy_grants', %s, true)",
            [cluster.password, "on" if legacy_grants else "off"],
        )
        await connection.execute(_SCRIPT)


async def apply_sql(cluster: Cluster, database: str, script: str) -> None:
    """Run *script* as role `postgres` the way the SQL editor does: one message, one implicit transaction."""
    connection = await psycopg.AsyncConnection.connect(cluster.url("postgres", database), autocommit=True)
    async with connection:
        await connection.execute(script)

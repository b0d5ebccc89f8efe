"""
Writes sql/catalog.json: what a project looks like right after install.sql, for `worker verify` to compare with.

Read from a database that was made for it, by the same procedure that verify asks. Called by scripts/build-sql. It
names the install.sql it was read from, so that an old one shows without a database.
"""

import asyncio
import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any

import psycopg

from worker.devstack import platform
from worker.devstack.postgres import Cluster

_SQL = Path(__file__).parents[1] / "sql"
KEPT = ("schema_version", "functions", "tables", "publication")
"""What the script decides. The rest of a self check is about the project."""


async def read(script: str) -> dict[str, Any]:
    """The self check of a fresh project with *script*."""
    with tempfile.TemporaryDirectory() as home:
        async with Cluster(Path(home)) as cluster:
            await cluster.create_database("catalog")
            await platform.install(cluster, "catalog")
            await platform.apply_sql(cluster, "catalog", script)
            url = cluster.url("postgres", "catalog")
            async with await psycopg.AsyncConnection.connect(url) as connection:
                cursor = await connection.execute("select public.translation_self_check()")
                row = await cursor.fetchone()
    assert row is not None
    return {name: row[0][name] for name in KEPT}


def main() -> None:
    script = (_SQL / "install.sql").read_bytes()
    facts = {"install_sha256": hashlib.sha256(script).hexdigest(), **asyncio.run(read(script.decode()))}
    draft = _SQL / ".catalog.json.new"
    draft.write_text(json.dumps(facts, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
    draft.replace(_SQL / "catalog.json")


if __name__ == "__main__":
    main()

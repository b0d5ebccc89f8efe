"""A project in which the script was pasted twice, with the default grants of old or of new projects."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from worker.devstack import platform
from worker.devstack.postgres import Cluster


@contextmanager
def twice(cluster: Cluster, script: str, name: str, *, legacy_grants: bool) -> Iterator[str]:
    """The name of a database of *cluster*, *name* and which grants it began with, for as long as the block lasts."""
    name = f"{name}_{'old' if legacy_grants else 'new'}"

    async def make() -> None:
        await cluster.create_database(name)
        await platform.install(cluster, name, legacy_grants=legacy_grants)
        for _ in range(2):
            await platform.apply_sql(cluster, name, script)

    asyncio.run(make())
    yield name
    asyncio.run(cluster.drop_database(name))

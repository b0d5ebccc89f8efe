"""The stack lives through what is done to its Postgres: nothing that serves requests may end with a session."""

import asyncio
from pathlib import Path

import psycopg

from tests.support.waiting import until
from worker.devstack.broadcasts import DatabaseRoad, Message
from worker.devstack.faults import Faults
from worker.devstack.pipeline import Pool
from worker.devstack.stack import Stack

_TERMINATE = """
select pg_terminate_backend(pid) from pg_stat_activity
where backend_type = 'client backend' and pid <> pg_backend_pid()
"""
_SEND = "select realtime.send('{}', 'e', 't')"


async def test_a_broadcast_that_is_announced_while_postgres_is_away_is_told_afterwards(tmp_path: Path) -> None:
    async with Stack(tmp_path) as stack:
        async with await psycopg.AsyncConnection.connect(stack.urls.admin_database_url, autocommit=True) as owner:
            await owner.execute(_SEND)
            found = await owner.execute("select id::text from realtime.messages")
            ((message_id,),) = await found.fetchall()
        told: list[Message] = []
        pool = Pool(stack.urls.admin_database_url, size=1)
        road = DatabaseRoad(pool, told.append, Faults())
        running = asyncio.create_task(road.run())
        try:
            road.announced(message_id)
            await until(lambda: told, "the road works")
            restarting = asyncio.create_task(asyncio.to_thread(stack.postgres.restart, crash=True))
            while not restarting.done():
                road.announced(message_id)
                await asyncio.sleep(0.01)
            await restarting
            told.clear()
            road.announced(message_id)
            await until(lambda: told, "it is told")
            assert not running.done()
        finally:
            running.cancel()
            await pool.close()


async def test_a_storm_of_ended_sessions_leaves_the_stack_running(tmp_path: Path) -> None:
    """The end of the block raises what a part of it ended with."""
    async with Stack(tmp_path) as stack:
        for _ in range(20):
            async with await psycopg.AsyncConnection.connect(stack.urls.admin_database_url, autocommit=True) as admin:
                await admin.execute(_SEND)
                await admin.execute(_TERMINATE)

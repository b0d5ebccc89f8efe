"""Sessions of a database that somebody counts in: what one did is told when it ends."""

import time
from typing import Any, Final

import psycopg

_LOOK_SECONDS: Final = 0.01
_OTHERS: Final = """
select from pg_catalog.pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()
"""


def wait_until_alone(connection: psycopg.Connection[Any], *, looks: int) -> None:
    """Until its session is the only one of its database, or after so many *looks*, ten milliseconds apart."""
    for _ in range(looks):
        if connection.execute(_OTHERS).rowcount == 0:
            return
        time.sleep(_LOOK_SECONDS)

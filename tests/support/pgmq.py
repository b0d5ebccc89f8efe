"""
A stand-in for pgmq in SQL: its names, its signatures and what a reader can tell of them.

`read` hides a message for a time and counts, `archive` moves it; both work on tables `pgmq.q_<queue>`. The real one is
asked the same questions where a server has it (`tests/sql/test_intake.py`).
"""

from pathlib import Path

import psycopg

STAND_IN = Path(__file__).with_suffix(".sql").read_text()

# As a hosted project has it: its own role may use them, service_role may not.
GRANTS = """
grant usage, create on schema pgmq to postgres;
grant all on all functions in schema pgmq to postgres;
"""


def install(admin_url: str) -> None:
    """Give a test's database the stand-in."""
    with psycopg.connect(admin_url, autocommit=True) as admin:
        admin.execute(STAND_IN)
        admin.execute(GRANTS)

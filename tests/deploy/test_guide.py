"""docs/deploy.md done as it says: its SQL runs, and what is backed up comes back."""

import re
import subprocess
from pathlib import Path

import psycopg
import pytest

from tests.conftest import INSTALL
from tests.support.database import Database
from worker.devstack import postgres

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs/deploy.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
BIN = postgres._packaged_binaries(18)


def done(db: Database, start: str, folder: Path) -> None:
    """Run the one command of the guide in which *start* stands, with Postgres' own programs, against *db*."""
    (command,) = (block for language, block in BLOCKS if language == "sh" and start in block)
    without_secret = "\n".join(line for line in command.splitlines() if not line.startswith("read "))
    ran = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", without_secret],
        cwd=folder,
        env={"PATH": f"{BIN}:/usr/bin:/bin", "DATABASE_URL": db.url},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr


def test_the_stages_are_taken_one_after_the_other_and_back(db: Database) -> None:
    stages, off, _ = (block for language, block in BLOCKS if language == "sql")
    before = db.run("select * from public.translation_job_types where name = 'translation'")
    user = db.user()
    ask = {"p_content": "Hello", "p_target_languages": ["es"], "p_source_language": "en"}
    refused = []
    for statement in stages.split(";")[:-1]:
        db.run(statement)
        try:
            db.rpc("create_translation_job", user, **ask)
        except Exception as error:
            refused.append(str(error))
    db.run("update public.translation_job_types set enabled = true")

    assert len(refused) == 1
    assert db.run("select * from public.translation_job_types where name = 'translation'") == before
    db.run(off)
    with pytest.raises(Exception, match="422"):
        db.rpc("create_translation_job", user, **ask)


def test_what_was_backed_up_is_back_after_uninstall_paste_and_restore(db: Database, tmp_path: Path) -> None:
    db.run(INSTALL)  # the clock of the tests goes
    db.run("drop table translation_private.test_clock")
    db.price(10)
    user = db.user(credits=100)
    job = db.rpc(
        "create_translation_job", user, p_content="Hello", p_target_languages=["es", "fr"], p_source_language="en"
    )
    shown = "select id, seq, status, credits_reserved, turn from public.translation_jobs"
    before = db.run(shown)
    done(db, "pg_dump --format", tmp_path)
    db.run((ROOT / "sql/uninstall.sql").read_text())
    db.run(INSTALL)
    (empty,) = (
        block for language, block in BLOCKS if language == "sql" and "delete from public.translation_job_types" in block
    )
    db.run(empty)
    with psycopg.connect(db.admin_url, autocommit=True) as admin:  # as hosted projects have it
        admin.execute("grant set on parameter session_replication_role to postgres")
    done(db, "pg_restore --data-only", tmp_path)

    assert db.run(shown) == before
    assert db.value("select count(*) from public.translation_job_items where job_id = %s", job["id"]) == 2
    assert db.value("select price from public.translation_job_types where name = 'translation'") == 10
    db.check_money()
    again = db.rpc("create_translation_job", user, p_content="Hi", p_target_languages=["es"], p_source_language="en")
    assert again["seq"] > job["seq"]

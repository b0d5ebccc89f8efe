"""`scripts/test --project`, which is for a real project, asked of a stack and of one behind a real PostgREST."""

import os
import subprocess
import sys

import psycopg
import pytest

from scripts import project
from tests.support import processes
from worker.devstack.stack import Stack, StackUrls

LEFT = "select count(*) from public.translation_jobs"


def asked(urls: StackUrls | None) -> subprocess.CompletedProcess[str]:
    values = (urls.url, urls.secret_key, urls.publishable_key) if urls else ("", "", "")
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(processes.ROOT),
        **dict(zip(project.NAMES, values, strict=True)),
    }
    return subprocess.run(
        [sys.executable, "-m", "scripts.project"], env=environment, capture_output=True, text=True, timeout=50
    )


@pytest.mark.parametrize("rest", ["stand_in", "fronted"])
def test_a_project_keeps_the_contract_and_nothing_is_left_in_it(rest: str, request: pytest.FixtureRequest) -> None:
    stack: Stack = request.getfixturevalue(rest)
    with psycopg.connect(stack.urls.admin_database_url, autocommit=True) as owner:
        owner.execute("truncate public.translation_jobs cascade")
        answer = asked(stack.urls)
        left = owner.execute(LEFT).fetchone()

    assert (answer.returncode, answer.stderr) == (0, ""), answer.stdout + answer.stderr
    assert "FAILED" not in answer.stdout
    assert "ok         verify: probe: work" in answer.stdout
    assert left == (0,)


def test_without_a_project_nothing_is_asked() -> None:
    answer = asked(None)

    assert (answer.returncode, answer.stdout.split()[:2]) == (0, ["NOT", "ASKED"])

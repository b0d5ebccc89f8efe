"""`worker verify`, `worker alerts` and `worker stats` as they are typed."""

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner

from tests.conftest import CHORE
from tests.verify.conftest import Sql
from worker import cli, errors
from worker.devstack.stack import Stack

pytestmark = [pytest.mark.asyncio(loop_scope="package"), pytest.mark.timeout(60)]

Typed = Callable[..., Any]
WAITING = "select public.enqueue_translation_job('chore', '{}', p_title => 'waits')"


@pytest.fixture
def typed(stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Typed:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SUPABASE_URL", stack.urls.url)
    monkeypatch.setenv("SUPABASE_SECRET_KEY", stack.urls.secret_key)
    return lambda *words: CliRunner().invoke(cli.app, words)


@pytest.fixture
def late_job(stack: Stack, editor: Sql) -> Iterator[None]:
    """One job has waited for six minutes."""
    editor(CHORE)
    editor(WAITING)
    editor("update public.translation_jobs set ready_at = now() - interval '6 minutes' where title = 'waits'")
    yield
    editor("delete from public.translation_jobs where title = 'waits'")


async def test_verify_of_a_healthy_project_ends_with_0(typed: Typed) -> None:
    done = await asyncio.to_thread(typed, "verify")

    assert done.exit_code == 0
    assert "✓ road: changes" in done.output
    assert "– workers           none is running yet" in done.output
    assert "All well: " in done.output


async def test_verify_of_a_project_with_a_fault_ends_with_1_and_says_the_cure(typed: Typed, editor: Sql) -> None:
    editor("alter table public.translation_memory disable row level security")
    try:
        done = await asyncio.to_thread(typed, "verify")
        as_json = await asyncio.to_thread(typed, "verify", "--json")
    finally:
        editor("alter table public.translation_memory enable row level security")

    assert (done.exit_code, as_json.exit_code) == (1, 1)
    assert "✗ row security" in done.output
    assert "    → alter table public.translation_memory enable row level security;" in done.output
    (fault,) = [finding for finding in json.loads(as_json.output) if finding["ok"] is False]
    assert fault["name"] == "row security"


async def test_the_key_is_never_shown(typed: Typed, stack: Stack) -> None:
    stack.faults.order(rest_status=503)
    try:
        done = await asyncio.to_thread(typed, "verify")
    finally:
        stack.faults.clear()

    assert done.exit_code == 1
    assert stack.urls.secret_key not in done.output


async def test_alerts_end_with_1_only_when_they_are_critical(
    typed: Typed, late_job: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    critical = await asyncio.to_thread(typed, "alerts")
    monkeypatch.setenv("ALERT_PENDING_SECONDS", "3600")
    none = await asyncio.to_thread(typed, "alerts")
    monkeypatch.setenv("ALERT_QUEUE_DEPTH", "0")
    warning = await asyncio.to_thread(typed, "alerts", "--json")

    assert critical.exit_code == 1
    assert "critical jobs_pending: Jobs have waited for up to 36" in critical.output
    assert (none.exit_code, none.output) == (0, "No alerts.\n")
    assert warning.exit_code == 0
    assert [alert["alert"] for alert in json.loads(warning.output)] == ["queue_depth"]


async def test_stats_are_readable(typed: Typed, late_job: None) -> None:
    done = await asyncio.to_thread(typed, "stats")
    as_json = await asyncio.to_thread(typed, "stats", "--json")

    assert done.exit_code == 0
    assert "waiting            1 chore" in done.output
    assert "oldest waiting     36" in done.output
    assert json.loads(as_json.output)["waiting_by_type"]["chore"] == 1


async def test_an_operators_command_without_a_key_says_which(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUPABASE_SECRET_KEY")

    done = await asyncio.to_thread(typed, "alerts")

    assert isinstance(done.exception, errors.ConfigurationError)
    assert "SUPABASE_SECRET_KEY is not set" in str(done.exception)


async def test_a_project_without_the_script_is_told_what_to_run(typed: Typed, stack: Stack, editor: Sql) -> None:
    editor("alter function public.translation_queue_stats() rename to hidden")
    try:
        done = await asyncio.to_thread(typed, "stats")
    finally:
        editor("alter function public.hidden() rename to translation_queue_stats")

    assert isinstance(done.exception, errors.WorkerError)
    assert "worker sql" in str(done.exception)


async def test_a_probe_has_a_probes_name(stack: Stack, editor: Sql) -> None:
    for call in ("start_translation_probe", "end_translation_probe"):
        for name in ("'translation'", "null", "'translation_probe_%'"):
            with pytest.raises(psycopg.Error, match="A probe is called"):
                editor(f"select public.{call}({name})")

"""What the benches make of what they saw: statements in a log, the table of the peers, the bars of the plots."""

import json
import re
import shutil
import sys
from pathlib import Path

import pytest

from scripts import bench
from scripts.benches import bars, claim, create, idle, memory, peer_process, peers, start, wire
from tests.unit import factories

ROOT = Path(__file__).parents[2]

LOG = """bench_pgqueuer_default LOG:  execute __asyncpg_stmt_5__: SELECT 1
authenticator LOG:  execute <unnamed>: begin
authenticator LOG:  execute s1: select set_config('role', $1, true)
authenticator DETAIL:  Parameters: $1 = 'service_role'
authenticator LOG:  execute s2: with called as (
    select 'LOG:  statement: this is only quoted')
authenticator LOG:  execute <unnamed>: commit
bench_procrastinate_default LOG:  statement: BEGIN
bench_procrastinate_default ERROR:  deadlock detected
bench_procrastinate_default STATEMENT:  select 1
"""

FIGURES = {
    "peers_ours_default_create_median_ms": 9.96,
    "peers_ours_default_create_p99_ms": 17.0,
    "peers_ours_default_statements_per_minute": 8.0,
    "peers_ours_default_rest_calls_per_minute": 2.0,
    "peers_ours_default_connections": 0.0,
    "peers_ours_tuned_jobs_per_second": 1500.0,
    "peers_ours_tuned_jobs_per_second_min": 1400.0,
    "peers_ours_tuned_jobs_per_second_max": 1600.0,
    "peers_graphile_worker_tuned_jobs_per_second": 9000.0,
    "peers_graphile_worker_tuned_jobs_per_second_min": 8000.0,
    "peers_graphile_worker_tuned_jobs_per_second_max": 10000.0,
}


def test_statements_are_counted_by_role_and_nothing_else_is() -> None:
    counts = peer_process.count_statements(LOG)

    assert counts["bench_pgqueuer_default", "statements"] == 1
    assert counts["authenticator", "statements"] == 4
    assert counts["authenticator", "begins"] == 1
    assert counts["bench_procrastinate_default", "statements"] == 1
    assert counts["bench_procrastinate_default", "begins"] == 1


def test_the_table_has_a_line_for_each_that_was_measured_and_a_dash_for_what_was_not() -> None:
    lines = [re.split(r"  +", line.strip()) for line in peers.table(FIGURES).splitlines()]

    assert lines[1:] == [
        ["ours, default", "-", "10.0 / 17.0", "8 (2.0 REST calls)", "0"],
        ["ours, tuned", "1500 (1400-1600)", "-", "-", "-"],
        ["graphile-worker, tuned", "9000 (8000-10000)", "-", "-", "-"],
    ]


@pytest.fixture
def installed(tmp_path: Path) -> peer_process.Installed:
    """Those of Python are there."""
    (tmp_path / "python").mkdir()
    shutil.copy(peer_process.DRIVERS / "requirements.txt", tmp_path / "python")
    return peer_process.Installed(tmp_path, "node")


def test_a_peer_that_needs_a_newer_node_is_skipped_with_its_reason(
    installed: peer_process.Installed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer_process, "node_major", lambda node: 20)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    installed.install()

    reason = "needs Node 22, and here is 20 (--node names another); there is no npm"
    assert installed.missing == {"graphile-worker": reason}


def test_a_newer_node_is_brought_by_npm_where_the_own_is_too_old(
    installed: peer_process.Installed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    npm = tmp_path / "npm"
    npm.write_text('#!/bin/sh\nmkdir -p "$4/node_modules/${5%@*}"\n')
    npm.chmod(0o755)
    monkeypatch.setattr(peer_process, "node_major", lambda node: 20)
    monkeypatch.setattr(shutil, "which", lambda name: str(npm))
    installed.install()
    peer = peer_process.Peer("graphile-worker", "tuned", "")

    assert installed.missing == {}
    assert installed.command(peer, "url")[0] == str(tmp_path / f"node-{peer_process.NODE}/node_modules/node/bin/node")


def test_ours_is_held_against_the_fastest_of_python_in_the_same_run() -> None:
    theirs = {"peers_pgqueuer_tuned_jobs_per_second": 1499.0, "peers_pgqueuer_default_create_median_ms": 9.95}

    assert peers.against(FIGURES) == []
    assert peers.against(FIGURES | theirs) == [
        "jobs_per_second, tuned: 1500 jobs/s, pgqueuer 1499",
        "create_median_ms, default: 9.96 ms, pgqueuer 9.95; MISSED",
    ]


def test_no_node_at_all_is_version_0(tmp_path: Path) -> None:
    assert peer_process.node_major(str(tmp_path / "node")) == 0


def test_the_peers_are_pinned() -> None:
    lines = (peer_process.DRIVERS / "requirements.txt").read_text().splitlines()

    assert all("==" in line for line in lines if not line.startswith("#"))
    assert {line.partition("==")[0] for line in lines} >= set(peer_process.PYTHON_PEERS)


def test_a_plot_has_only_what_was_measured_fastest_first() -> None:
    assert bars.rates(FIGURES) == [
        ("graphile-worker, tuned", 9000.0, 8000.0, 10000.0, False, None),
        ("this one, 500 slots", 1500.0, 1400.0, 1600.0, True, None),
    ]
    assert bars.claims(FIGURES) == []
    assert {name for name, plot in bars.PLOTS.items() if plot.bars(FIGURES)} == {"bench-peers.svg", "bench-pickup.svg"}


def test_a_plot_marks_what_a_bar_may_be_at_most_or_could_be_at_best() -> None:
    figures = {
        "idle_worker_megabytes": 64.0,
        "idle_calls_per_minute": 2.0,
        "idle_looks_per_hour": 0.0,
        "scale_4_jobs_per_second": 650.0,
        "scale_4_jobs_per_second_min": 600.0,
        "scale_4_jobs_per_second_max": 700.0,
    }

    assert bars.weights(figures) == [("idle", 64.0, 64.0, 64.0, True, 75)]
    assert bars.processes(figures) == [("4", 650.0, 600.0, 700.0, True, 720.0)]
    assert [(bar.label, bar.value, bar.mark) for bar in bars.calls(figures)] == [
        ("a queue that polls every 5 s", 720.0, None),
        ("this one, all calls", 120.0, 132.0),
        ("of these, looks for work", 0.0, None),
    ]


def test_every_figure_that_is_drawn_is_one_that_a_bench_brings() -> None:
    sources = "".join(path.read_text() for path in (ROOT / "scripts/benches").glob("*.py") if path.stem != "bars")
    drawn = [*bars.CLAIMS.values(), *bars.STREAMS.values(), *(key for key, _ in bars.WEIGHTS.values())]
    plain = {re.sub(r"throughput_|_1_in_\d+$", "", key) for key in drawn}

    assert [key for key in plain if key not in sources] == []


def test_a_cold_start_is_told_by_its_medians_and_a_slow_one_as_missed(capsys: pytest.CaptureFixture[str]) -> None:
    rounds = [
        {"claim_seconds": seconds, "handler_seconds": seconds + 0.1, "processor_seconds": 0.5} for seconds in (2, 1, 9)
    ]

    assert start.tell(rounds) == {
        "start_claim_seconds": 2,
        "start_handler_seconds": 2.1,
        "start_processor_seconds": 0.5,
    }
    assert "first claim: median 2 s (from 1 to 9, n=3); MISSED" in capsys.readouterr().out
    start.tell(rounds[1:2])
    assert "MISSED" not in capsys.readouterr().out


def test_creating_is_held_against_its_bars_client_by_client_and_in_batches(capsys: pytest.CaptureFixture[str]) -> None:
    figures = create.tell_client("official", [7, 8, 30], 1.5) | create.tell_batches([1_499, 1_500, 2_000], 0.1, 0.4)

    assert "MISSED" not in capsys.readouterr().out
    assert figures["create_official_median_ms"] == 8
    assert figures["create_official_p99_ms"] == 30
    assert figures["create_batch_jobs_per_second"] == 1_500
    create.tell_client("plain", [8.1], 1.5)
    create.tell_batches([1_499], 0.1, 0.4)
    assert capsys.readouterr().out.count("MISSED") == 2


def test_every_bench_is_named_with_its_minutes() -> None:
    modules = [path for path in (ROOT / "scripts/benches").glob("*.py") if "\nasync def run(" in path.read_text()]

    assert {path.stem for path in modules} == {*bench.MINUTES, "plot"}


def test_several_benches_are_asked_for_by_name_or_as_a_set_each_once() -> None:
    names, rest = bench.chosen(["start", "performance", "idle", "--json", "all"])

    assert names == ["start", *(name for name in bench.SETS["performance"] if name != "start"), "idle"]
    assert rest == ["--json", "all"]
    assert bench.chosen(["plot", "idle"]) == (["plot"], ["idle"])
    assert bench.chosen(["--json", "idle"]) == ([], ["--json", "idle"])


def test_a_bench_that_fails_holds_up_no_other_and_loses_no_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(home: Path, args: list[str]) -> dict[str, float]:
        raise SystemExit("The stack did not start.")

    async def brings(home: Path, args: list[str]) -> dict[str, float]:
        return {"megabytes": 64.0}

    monkeypatch.setattr(memory, "run", brings)
    monkeypatch.setattr(start, "run", fails)

    assert bench.measure(["memory", "start"], [], tmp_path / "figures.json") == ["start"]
    assert json.loads((tmp_path / "figures.json").read_text()) == {"megabytes": 64.0}


async def test_what_is_not_installed_is_named_and_not_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "orjson", None)

    assert await wire.run(tmp_path, []) == {}
    assert "wire: NOT RUN, orjson is not installed" in capsys.readouterr().out


def test_json_libraries_are_compared_by_what_they_read_and_write_of_a_job() -> None:
    figures = wire.measure_json([factories.claim_row("es")], {"json": (lambda value: b"{}", json.loads)}, "short")

    assert set(figures) == {"wire_json_short_read_us", "wire_json_short_write_us"}


def test_a_claim_is_held_against_the_blocks_it_touches_where_little_waits(capsys: pytest.CaptureFixture[str]) -> None:
    base = claim.Cost(500, 2.0)

    assert claim.tell("beside a million", claim.Cost(600, 9.0), base, 1.2) == {
        "beside a million": 600,
        "beside a million, ms": 9.0,
    }
    assert "1.20 ×" in (told := capsys.readouterr().out)
    assert "MISSED" not in told
    claim.tell("beside a million", claim.Cost(601, 2.0), base, 1.2)
    assert "MISSED" in capsys.readouterr().out


def test_an_idle_hour_that_was_shorter_is_told_as_reckoned(capsys: pytest.CaptureFixture[str]) -> None:
    idle.tell({"claim_translation_jobs": 1, "heartbeat_translation_worker": 20}, 600)
    idle.tell({"claim_translation_jobs": 1}, 3600)

    reckoned, whole = capsys.readouterr().out.splitlines()
    assert "idle 10.0 min: 1 looks for work (6.0 an hour, reckoned), 2.10 calls a minute" in reckoned
    assert "1 looks for work (1.0 an hour), " in whole

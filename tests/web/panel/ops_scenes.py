"""What an operator sees in the middle of a bad morning: for screenshots, and for tests that want a full page."""

import math
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.web.panel.scripted import ADA, Json, Script, ago, item, job

CLAIM = "translation_operator"
OPERATOR = {**ADA, "app_metadata": {CLAIM: True}}
_USERS = [str(uuid.UUID(int=0xA0000000_00000000_00000000_00000000 + n * 0x1111_0000_0000)) for n in range(4)]
WAITS = {"p50": 12, "p95": 45, "p99": 160}
RUNS = {"p50": 2_600, "p95": 9_000, "p99": 24_000}
_BLOCKED = "The provider refused this text (content filter)."
_OVERLOADED = 'The provider answered 503 for request 7f3a9c11-0d52-4a1b-8a55-3d6b1a2c9e10: "upstream busy".'


def furnish_ops(script: Script) -> None:
    """A queue with a provider in trouble, a worker that polls, and jobs in every state."""
    script.user = OPERATOR
    script.source = "The ferry leaves at noon. Bring {name}."
    script.ops = {
        "stats": _stats(), "alerts": {"alerts": _alerts()}, "workers": {"workers": _workers()},
        "failures": _failures(), "endings": {"jobs": _endings()}, "series": series(), "jobs": _jobs(),
        "triggers": {"triggers": _triggers()}, "actions": {"actions": _actions()},
    }  # fmt: skip


def quiet(script: Script) -> None:
    """A project where nothing has happened yet."""
    furnish_ops(script)
    script.ops |= {
        "stats": {**_stats(), "live": {}, "waiting_by_type": {}, "oldest_waiting_ms": None, "ended_in_an_hour": {}},
        "alerts": {"alerts": []}, "workers": {"workers": []}, "endings": {"jobs": []}, "triggers": {"triggers": []},
        "failures": {**_failures(), "items": 0, "groups": []}, "jobs": {"jobs": [], "next": None},
        "series": {**series(), "measures": {}}, "actions": {"actions": []},
    }  # fmt: skip


def _stats() -> Json:
    return {
        "live": {"pending": 34, "processing": 7, "retrying": 12, "scheduled": 3},
        "waiting_by_type": {"translation": 34}, "oldest_waiting_ms": 86_400,
        "ended_in_an_hour": {"completed": 412, "failed": 37, "cancelled": 4},
        "credits_in_an_hour": {"reserved": 5460, "consumed": 4890, "refunded": 570},
        "created": 128_114, "stuck": 0, "claims": 7, "workers": {"realtime": 2, "polling": 1},
    }  # fmt: skip


def _alerts() -> list[Json]:
    return [
        {
            "alert": "queue_depth", "severity": "warning", "message": "34 jobs wait.",
            "cure": "If it grows, start another worker, or raise MAX_CONCURRENT_JOBS.", "value": 34, "threshold": 20,
            "details": {"translation": 34},
        }
    ]  # fmt: skip


def _worker(number: int, mode: str, **values: Any) -> Json:
    return {
        "id": f"worker-eu-{number}", "version": "1.0.0", "mode": mode, "mode_since": ago(minutes=3 * number),
        "started_at": ago(hours=5), "last_seen_at": ago(seconds=4 * number), "silent_seconds": 4.0 * number,
        "stale": False, "slots": 3, "running": 3, "stats": {}, "jobs": [], **values,
    }  # fmt: skip


def _held(seq: int, title: str, progress: int) -> Json:
    return {
        "id": str(uuid.UUID(int=seq)), "seq": seq, "job_type": "translation", "title": title, "progress": progress,
        "claimed_at": ago(seconds=40), "lease_left_ms": 21_000,
    }  # fmt: skip


def _workers() -> list[Json]:
    slow = {"providers": {"deepl": "overloaded, tried again in 20 s"}, "reconnects": 2}
    return [
        _worker(
            1, "realtime", jobs=[_held(128_101, "Handbook for visitors.md", 54), _held(128_099, "Audio guide", 12)]
        ),
        _worker(2, "realtime", stats=slow, jobs=[_held(128_100, "Welcome texts.json", 80)]),
        _worker(3, "polling", running=1),
        _worker(9, "realtime", stale=True, last_seen_at=ago(minutes=9), running=0),
    ]


def _group(signature: str, error_class: str, message: str, sample: str, items: int, **values: Any) -> Json:
    return {
        "signature": signature * 16, "class": error_class, "provider": None, "message": message, "sample": sample,
        "sample_job": str(uuid.UUID(int=9)), "items": items, "jobs": items, "retriable": items, "users": 5,
        "names": ["de", "ja", "pl"], "first_seen": ago(hours=9), "last_seen": ago(minutes=2),
        "course": [0, 0, 1, 2, 9, items], **values,
    }  # fmt: skip


def _failures() -> Json:
    return {
        "as_of": ago(seconds=1), "window_hours": 24, "window_items": 1000, "items": 45,
        "groups": [
            _group("a", "overloaded", "The provider answered <n> for request <id>: <text>.", _OVERLOADED, 37),
            _group("b", "content_blocked", _BLOCKED, _BLOCKED, 6, users=2, names=["ar"], retriable=1),
            _group("c", "bad_output", "<n> of <n> placeholders are missing.", "1 of 3 placeholders are missing.", 2,
                   retriable=0, users=1, names=["ko"], course=[1, 0, 0, 1, 0, 0]),
        ],
    }  # fmt: skip


def _endings() -> list[Json]:
    titles = ["Bronze mirror, room 4", "Opening hours", "Press release", "Shop catalogue", "Audio guide, room 7"]
    states = ["completed", "failed", "completed", "completed", "cancelled"]
    return [
        {
            "id": str(uuid.UUID(int=500 + n)), "seq": 128_090 - n, "job_type": "translation",
            "title": titles[n % 5], "status": states[n % 5], "failed_items": int(n % 5 in (1, 3)), "items": 3,
            "error": None, "created_at": ago(minutes=n + 2), "started_at": ago(minutes=n + 2),
            "completed_at": ago(minutes=n + 1), "waited_ms": 40 + 260 * n, "ran_ms": 4_100 + 9_700 * n,
        }
        for n in range(10)
    ]  # fmt: skip


def series(points: int = 60, step_seconds: int = 60) -> Json:
    """An hour that gets worse towards its end."""

    def wave(height: float, *, worse: float = 0.0, least: float = 0.0) -> list[int]:
        late = [max(0.0, (n - 0.7 * points) / points) * worse for n in range(points)]
        course = [1.2 + math.sin(n / 7) + 0.4 * math.sin(n * 1.7) for n in range(points)]
        return [round(max(least, height * course[n]) + late[n]) for n in range(points)]

    now = datetime.now(UTC).replace(second=0, microsecond=0)
    return {
        "as_of": now.isoformat(), "from": (now - timedelta(seconds=step_seconds * (points - 1))).isoformat(),
        "step_seconds": step_seconds, "points": points, "rolled_up_until": now.isoformat(),
        "measures": {
            "ended": {"completed": wave(6), "failed": wave(0.2, worse=20), "partly": wave(0.3), "cancelled": wave(0.1)},
            "depth": {"pending": wave(1.5, worse=110), "processing": wave(3), "retrying": wave(0.2, worse=40)},
            "wait": {name: wave(ms, worse=40 * ms, least=ms / 3) for name, ms in WAITS.items()},
            "run": {name: wave(ms, worse=3 * ms, least=ms / 3) for name, ms in RUNS.items()},
            "error": {"overloaded": wave(0.1, worse=22), "content_blocked": wave(0.2)},
            "chars": {"all": wave(9400)},
        },
    }  # fmt: skip


def _ops_job(status: str, *items: Json, user: int = 0, **values: Any) -> Json:
    more = {"user_id": _USERS[user], "worker_id": "worker-eu-1", "found_by": "broadcast", "deliveries": 1}
    return job(status, *items, **{**more, "lost_count": 0, **values})


def _jobs() -> Json:
    overloaded = {"class": "overloaded", "message": _OVERLOADED}
    jobs = [
        _ops_job("pending", item("es"), item("fr"), title="Room labels, second floor", user=1),
        _ops_job("processing", item("es", "completed"), item("ja", "processing"), title="Handbook for visitors.md",
                 progress=54),
        _ops_job("retrying", item("de", error=overloaded), title="Audio guide, room 7", error=overloaded, user=2),
        _ops_job("completed", item("es", "completed"), item("de", "failed", error=overloaded), title="Bronze mirror",
                 subject="card:42", error=overloaded, user=3),
        _ops_job("failed", item("ko", "failed", error=overloaded), title="Press release, November", error=overloaded),
        _ops_job("cancelled", item("nl", "cancelled"), title="Draft of the shop catalogue", user=1),
    ]  # fmt: skip
    return {"jobs": jobs[::-1], "next": None}


def _triggers() -> list[Json]:
    def trigger(name: str, kind: str, state: str, **values: Any) -> Json:
        return {
            "name": name, "kind": kind, "job_type": "translation", "priority": 3, "enabled": True, "title": name,
            "description": None, "state": state, "last_run_at": ago(hours=4), "last_job_id": str(uuid.UUID(int=4)),
            "last_completed_at": ago(hours=3), "last_progress": 100, "last_error": None, **values,
        }  # fmt: skip

    return [
        trigger("nightly-cards", "cron", "succeeded", description="Cards that changed during the day."),
        trigger("reindex", "admin", "running"),
        trigger("new-exhibit", "match", "failed", enabled=False),
    ]


def _actions() -> list[Json]:
    def action(number: int, name: str, target: str | None, jobs: int, **since: float) -> Json:
        return {
            "id": number, "operator_id": OPERATOR["id"], "action": name, "target": target, "jobs": jobs, "details": {},
            "created_at": ago(**since),
        }  # fmt: skip

    return [
        action(3, "retry_failures", "a" * 16, 12, minutes=20), action(2, "reveal", str(uuid.UUID(int=4)), 1, hours=2),
        action(1, "run_trigger", "reindex", 1, hours=4),
    ]  # fmt: skip

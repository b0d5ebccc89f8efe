"""What the end of a Realtime session means for the next one."""

import json

import pytest

from worker import reasons
from worker.link import reason_of
from worker.session import Plan


def test_a_project_without_the_policy_keeps_the_changes_road() -> None:
    plan = Plan().after("Unauthorized: You do not have permissions to read from this Channel topic")

    assert plan == Plan(private=False, replication_ready=False)
    assert plan.after("Unauthorized: again") == plan


def test_a_server_that_cannot_confirm_replication_is_not_asked_again() -> None:
    plan = Plan().after("Replication connection was not established in time")

    assert plan == Plan(private=True, replication_ready=False)


def test_a_project_of_private_channels_only_gets_a_private_probe() -> None:
    assert Plan().after("PrivateOnly: This project only allows private channels") == Plan(private_probe=True)


@pytest.mark.parametrize(
    "reason", ["TIMED_OUT", "CLOSED", "HTTP 502", "Too many database timeouts", "probe not acknowledged", ""]
)
def test_what_will_pass_changes_no_plan_and_is_tried_again_soon(reason: str) -> None:
    assert Plan().after(reason) == Plan()
    assert pauses(reason) == (0, 1)
    assert reasons.cure(reason) is None


def pauses(reason: str, failures: int = 1, workers: int = 1) -> tuple[float, float]:
    """The shortest and the longest pause."""
    shortest = reasons.pause_seconds(reason, failures=failures, workers=workers, draw=lambda low, _: low)
    return shortest, reasons.pause_seconds(reason, failures=failures, workers=workers, draw=lambda _, high: high)


@pytest.mark.parametrize(
    ("reason", "between"),
    [
        ("ConnectionRateLimitReached: Too many connected users", (30, 40)),
        ("ClientJoinRateLimitReached: Too many joins per second", (30, 40)),
        ("Too many messages per second", (30, 40)),
        ("HTTP 429", (30, 40)),
        ("HTTP 401", (30, 60)),
        ("HTTP 403", (30, 60)),
        ("RealtimeDisabledForTenant: Realtime disabled for this tenant", (30, 60)),
        ("socket closed 1012", (0, 2)),
        ("RealtimeRestarting: Realtime is restarting", (0, 2)),
    ],
)
def test_some_reasons_have_a_pause_of_their_own(reason: str, between: tuple[float, float]) -> None:
    assert pauses(reason) == between


def test_pauses_grow_to_ten_seconds_and_no_further() -> None:
    assert [pauses("CLOSED", failures)[1] for failures in (0, 1, 2, 3, 4, 5, 100)] == [1, 1, 2, 4, 8, 10, 10]


def test_a_large_fleet_comes_back_over_a_longer_time() -> None:
    assert pauses("socket closed 1001", workers=100) == (0, 4)
    assert pauses("socket closed 1001", workers=10_000) == (0, 10)


@pytest.mark.parametrize(
    ("reason", "name"),
    [
        ("Token has expired 17 seconds ago", "Token has expired n seconds ago"),
        ("Unauthorized: You do not have permissions", "Unauthorized"),
        ("HTTP 502", "HTTP 502"),
        ("socket closed 1006", "socket closed 1006"),
    ],
)
def test_reasons_of_one_class_have_one_name(reason: str, name: str) -> None:
    assert reasons.label(reason) == name


@pytest.mark.parametrize(
    ("reason", "cure"),
    [
        ("Unable to subscribe to changes with given parameters. Please check", "alter publication"),
        ("RealtimeDisabledForTenant: x", "Switch Realtime on"),
        ("Unauthorized: x", "create policy"),
        ("HTTP 401", "SUPABASE_SECRET_KEY"),
        ("HTTP 540", "restore it"),
    ],
)
def test_what_a_person_must_cure_comes_with_the_cure(reason: str, cure: str) -> None:
    assert cure in (reasons.cure(reason) or "")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Exception(json.dumps({"reason": "Unauthorized: no"})), "Unauthorized: no"),
        (Exception(json.dumps({"status": "error", "message": "Token has expired"})), "Token has expired"),
        (Exception("mismatch between bindings"), "mismatch between bindings"),
        (Exception("[1]"), "[1]"),
        (None, ""),
    ],
)
def test_the_servers_words_are_found_in_what_the_client_wraps(error: Exception | None, reason: str) -> None:
    assert reason_of(error) == reason

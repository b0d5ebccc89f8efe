"""What the end of a Realtime session means for the next one."""

import json

import pytest

from worker.listener import floor_seconds
from worker.session import Plan, reason_of


def test_a_project_without_the_policy_keeps_the_changes_road() -> None:
    plan = Plan().after("Unauthorized: You do not have permissions to read from this Channel topic")

    assert plan == Plan(private=False, replication_ready=False)
    assert plan.after("Unauthorized: again") == plan


def test_a_server_that_cannot_confirm_replication_is_not_asked_again() -> None:
    plan = Plan().after("Replication connection was not established in time")

    assert plan == Plan(private=True, replication_ready=False)


def test_a_project_of_private_channels_only_gets_a_private_probe() -> None:
    assert Plan().after("PrivateOnly: This project only allows private channels") == Plan(private_probe=True)


@pytest.mark.parametrize("reason", ["TIMED_OUT", "CLOSED", "HTTP 502", "probe not acknowledged", ""])
def test_what_will_pass_changes_no_plan_and_waits_no_extra_time(reason: str) -> None:
    assert Plan().after(reason) == Plan()
    assert floor_seconds(reason) == 0


@pytest.mark.parametrize(
    ("reason", "seconds"),
    [
        ("ConnectionRateLimitReached: Too many connected users", 30),
        ("ClientJoinRateLimitReached: Too many joins per second", 30),
        ("Too many messages per second", 30),
        ("HTTP 429", 30),
        ("heartbeat row not heard", 30),
        ("HTTP 401", 60),
        ("HTTP 403", 60),
    ],
)
def test_limits_and_refusals_keep_their_distance(reason: str, seconds: float) -> None:
    assert floor_seconds(reason) == seconds


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

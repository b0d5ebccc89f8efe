"""The switches of a rollout: each under two names, which may not disagree."""

import pytest

from worker import errors, settings
from worker.flags import Flags

PROJECT = {"SUPABASE_URL": "https://x.supabase.co", "SUPABASE_SECRET_KEY": "sb_secret_x"}


def loaded(monkeypatch: pytest.MonkeyPatch, **environment: str) -> settings.Settings:
    for name, value in {**PROJECT, **environment}.items():
        monkeypatch.setenv(name, value)
    return settings.load(None)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, ("on", False, False, False)),
        ({"JOBS_ENABLED": "off"}, ("off", False, False, False)),
        ({"JOBS_ENABLED": "per-trigger", "JOBS_ENABLED_CRON": "true"}, ("per-trigger", False, True, False)),
        ({"USE_BG_JOBS_GLOBAL": "per-trigger", "USE_BG_JOBS_ADMIN": "1"}, ("per-trigger", True, False, False)),
        ({"USE_BG_JOBS_GLOBAL": "true", "USE_BG_JOBS_MATCH": "yes"}, ("on", False, False, True)),
        ({"USE_BG_JOBS_GLOBAL": "false"}, ("off", False, False, False)),
        ({"JOBS_ENABLED": "on", "USE_BG_JOBS_GLOBAL": "True"}, ("on", False, False, False)),
        ({"JOBS_ENABLED_CRON": "on", "USE_BG_JOBS_CRON": "yes"}, ("on", False, True, False)),
    ],
)
def test_a_switch_goes_by_either_name(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], expected: tuple[object, ...]
) -> None:
    found = loaded(monkeypatch, **environment)

    names = ("jobs_enabled", "jobs_enabled_admin", "jobs_enabled_cron", "jobs_enabled_match")
    assert tuple(getattr(found, name) for name in names) == expected


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"JOBS_ENABLED": "on", "USE_BG_JOBS_GLOBAL": "off"}, "JOBS_ENABLED is on and USE_BG_JOBS_GLOBAL is 'off'; "),
        (
            {"JOBS_ENABLED_CRON": "false", "USE_BG_JOBS_CRON": "true"},
            "JOBS_ENABLED_CRON is false and USE_BG_JOBS_CRON is 'true'; ",
        ),
        ({"JOBS_ENABLED_MATCH": "true", "USE_BG_JOBS_MATCH": "maybe"}, "JOBS_ENABLED_MATCH is true and "),
        ({"JOBS_ENABLED": "sometimes"}, "JOBS_ENABLED is 'sometimes'; allowed: off, per-trigger or on."),
        ({"USE_BG_JOBS_ADMIN": "sometimes"}, "JOBS_ENABLED_ADMIN is 'sometimes'; allowed: true or false."),
    ],
)
def test_what_nobody_could_tell_stops_the_start_with_a_sentence(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], sentence: str
) -> None:
    with pytest.raises(errors.ConfigurationError) as refused:
        loaded(monkeypatch, **environment)

    assert str(refused.value).startswith(sentence)


def test_the_kinds_that_make_jobs_are_those_that_are_let() -> None:
    assert Flags("off", admin=True).kinds() == []
    assert Flags("per-trigger", admin=True, match=True).kinds() == ["admin", "match"]
    assert Flags("on").kinds() == ["admin", "cron", "match"]

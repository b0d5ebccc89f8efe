"""Settings are right by default, complete in .env.example, and wrong ones are explained in one sentence."""

import re
from pathlib import Path
from typing import Any

import pytest

from worker import errors, settings

EXAMPLE = Path(__file__).parents[2] / ".env.example"
NEEDED = {"SUPABASE_URL": "https://project.supabase.co", "SUPABASE_SECRET_KEY": "sb_secret_x"}


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [
        *settings.Settings.model_fields,
        *settings.DeskSettings.model_fields,
        *settings.AlertSettings.model_fields,
        "supabase_service_role_key",
    ]:
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def set_env(monkeypatch: pytest.MonkeyPatch) -> Any:
    def set_all(**variables: str) -> None:
        for name, value in {**NEEDED, **variables}.items():
            monkeypatch.setenv(name, value)

    return set_all


def refusal() -> str:
    with pytest.raises(errors.ConfigurationError) as refused:
        settings.load(None)
    return str(refused.value)


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("MAX_CONCURRENT_JOBS", "many", "a whole number from 1 to 1000"),
        ("MAX_CONCURRENT_JOBS", "0", "a whole number from 1 to 1000"),
        ("LEASE_SECONDS", "soon", "seconds, from 2 to 3600"),
        ("SUPABASE_URL", "project.supabase.co", "https address"),
        ("LOG_LEVEL", "LOUD", "DEBUG, INFO, WARNING or ERROR"),
        ("WORKER_ID", "a,b", "letters, digits"),
        ("PORT", "http", "a whole number from 0 to 65535"),
        ("LOG_JSON", "perhaps", "true or false"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(set_env: Any, name: str, value: str, allowed: str) -> None:
    set_env(**{name: value})

    sentence = refusal()

    assert name in sentence
    assert repr(value) in sentence
    assert allowed in sentence
    assert "\n" not in sentence


def test_a_missing_key_is_named(set_env: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    set_env()
    monkeypatch.delenv("SUPABASE_SECRET_KEY")

    assert refusal().startswith("SUPABASE_SECRET_KEY is not set")


def test_a_publishable_key_is_refused_without_printing_it(set_env: Any) -> None:
    set_env(SUPABASE_SECRET_KEY="sb_publishable_abc")

    sentence = refusal()

    assert "SUPABASE_SECRET_KEY is a publishable key" in sentence
    assert "sb_publishable_abc" not in sentence


UNSENDABLE = ["secret\r", "secret\nmore", "a secret", "s\u00e9cret", "s\udcffcret", "secret\x7f"]


@pytest.mark.parametrize("key", UNSENDABLE)
@pytest.mark.parametrize("name", ["SUPABASE_SECRET_KEY", "SUPABASE_PUBLISHABLE_KEY", "FALLBACK_TOKEN"])
def test_a_key_that_no_header_can_carry_is_refused_without_being_shown(set_env: Any, name: str, key: str) -> None:
    """A key with the line end of its file, which is easily had, was a traceback at the first call."""
    set_env(**{name: key})

    sentence = refusal()

    assert sentence.startswith(f"{name} is a key with a space, a line end or a special letter in it; allowed: ")
    assert "cret" not in sentence.replace("the project's secret key (sb_secret_…)", "")


@pytest.mark.parametrize("key", UNSENDABLE)
def test_a_token_of_an_endpoint_that_no_header_can_carry_is_refused(set_env: Any, key: str) -> None:
    set_env(HTTP_TOKENS=f"site=fine,other={key}!")

    sentence = refusal()

    assert sentence.startswith("HTTP_TOKENS is ")
    assert "cret" not in sentence.replace("secret,", "")


@pytest.mark.parametrize("load", [settings.load, settings.load_desk, settings.load_alerts])
def test_a_file_that_is_no_text_is_named(set_env: Any, load: Any, tmp_path: Path) -> None:
    """As editors of another system save it."""
    set_env()
    env_file = tmp_path / ".env"
    env_file.write_bytes("POLL_SECONDS=5\n".encode("utf-16"))

    with pytest.raises(errors.ConfigurationError, match=r"\.env is not UTF-8 text"):
        load(env_file)


@pytest.mark.parametrize("key", ["sb_secret_x", "e30.eyJyb2xlIjoic2VydmljZV9yb2xlIn0.c2ln"])
def test_a_key_that_is_given_to_browsers_may_not_be_a_secret_one(set_env: Any, key: str) -> None:
    set_env(SUPABASE_PUBLISHABLE_KEY=key)

    said = refusal()
    assert said.startswith("SUPABASE_PUBLISHABLE_KEY is a secret key; allowed: the project's publishable key")
    assert key not in said


@pytest.mark.parametrize("key", ["sb_publishable_x", "e30.eyJyb2xlIjoiYW5vbiJ9.c2ln"])
def test_a_key_that_is_given_to_browsers_is_a_public_one(set_env: Any, key: str) -> None:
    set_env(SUPABASE_PUBLISHABLE_KEY=key, CORS_ORIGINS="https://a.example.com, http://localhost:3000")

    chosen = settings.load(None)
    assert chosen.supabase_publishable_key is not None
    assert chosen.cors_origins == ("https://a.example.com", "http://localhost:3000")


@pytest.mark.parametrize("origin", ["app.example.com", "https://app.example.com/", "https://a.com https://b.com"])
def test_an_origin_has_a_scheme_and_no_path(set_env: Any, origin: str) -> None:
    set_env(CORS_ORIGINS=origin)

    assert refusal().startswith("CORS_ORIGINS is ")


def test_beats_must_fit_twice_into_a_lease(set_env: Any) -> None:
    set_env(BEAT_SECONDS="20", LEASE_SECONDS="30")

    assert refusal().startswith("BEAT_SECONDS is 20; allowed: at most half of LEASE_SECONDS (30)")


def test_the_legacy_name_of_the_key_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPABASE_URL", NEEDED["SUPABASE_URL"])
    monkeypatch.setenv("SUPABASE_SERVICE_ROLE_KEY", "a.legacy.key")

    assert settings.load(None).supabase_secret_key.get_secret_value() == "a.legacy.key"


def test_lists_are_separated_by_commas_and_empty_means_default(set_env: Any) -> None:
    set_env(JOB_TYPES=" translation , thumbnail,", PORT="", WORKER_ID="")

    loaded = settings.load(None)

    assert loaded.job_types == ("translation", "thumbnail")
    assert loaded.port is None
    assert re.fullmatch(r"[A-Za-z0-9.-]+-\d+-[0-9a-f]{6}", loaded.worker_id)


def test_secrets_do_not_show(set_env: Any) -> None:
    set_env(LIBRETRANSLATE_API_KEY="hush")

    assert "sb_secret_x" not in repr(settings.load(None))
    assert "hush" not in repr(settings.load(None))


def test_the_example_lists_every_setting_with_its_default_and_a_reason(tmp_path: Path) -> None:
    lines = EXAMPLE.read_text().splitlines()
    values = dict(line.split("=", 1) for line in lines if re.match(r"[A-Z_]+=", line))
    reasons = [lines[number - 1] for number, line in enumerate(lines) if re.match(r"[A-Z_]+=", line)]

    known = {*settings.Settings.model_fields, *settings.AlertSettings.model_fields}
    assert set(values) == {name.upper() for name in known}
    assert all(re.match(r"#|[A-Z_]+=", above) for above in reasons)

    env_file = tmp_path / ".env"
    env_file.write_text(EXAMPLE.read_text().replace("sb_secret_…", "sb_secret_x"))
    from_example = settings.load(env_file).model_dump(exclude={"worker_id"})
    defaults = settings.load(None, **{name.lower(): value for name, value in NEEDED.items()}).model_dump()
    del defaults["worker_id"]
    assert from_example == {**defaults, "supabase_url": "https://your-project.supabase.co"}
    assert settings.load_alerts(env_file) == settings.load_alerts(None)


def test_a_users_token_goes_with_the_publishable_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPABASE_URL", NEEDED["SUPABASE_URL"])
    monkeypatch.setenv("SUPABASE_SECRET_KEY", "sb_secret_x")
    monkeypatch.setenv("SUPABASE_PUBLISHABLE_KEY", "sb_publishable_x")
    assert settings.load_desk(None).key.get_secret_value() == "sb_secret_x"

    monkeypatch.setenv("SUPABASE_ACCESS_TOKEN", "user.token")

    assert settings.load_desk(None).key.get_secret_value() == "sb_publishable_x"


def test_tokens_of_endpoints_are_pairs_that_nobody_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in NEEDED.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HTTP_TOKENS", "site=eyJ.a==, feed=tok")
    chosen = settings.load(None)

    assert [(name, token.get_secret_value()) for name, token in chosen.http_tokens] == [
        ("site", "eyJ.a=="),
        ("feed", "tok"),
    ]
    assert {"eyJ.a==", "tok"} <= set(chosen.secrets)
    assert "tok" not in repr(chosen.http_tokens)
    monkeypatch.setenv("HTTP_TOKENS", "only-a-token")
    with pytest.raises(errors.ConfigurationError) as refused:
        settings.load(None)
    assert str(refused.value) == "HTTP_TOKENS is not usable; allowed: endpoint=token, several separated by commas."


@pytest.mark.parametrize("address", ["hooks.example.com/secret-part", "ftp://hooks.example.com/secret-part"])
def test_a_wrong_address_of_the_webhook_is_refused_without_being_shown(set_env: Any, address: str) -> None:
    set_env(ALERT_WEBHOOK_URL=address)

    sentence = refusal()

    assert sentence == "ALERT_WEBHOOK_URL is not usable; allowed: an https address."


def test_a_word_that_is_too_short_to_sign_with_is_refused_without_being_shown(set_env: Any) -> None:
    set_env(ALERT_WEBHOOK_SECRET="tooshort")

    assert refusal() == "ALERT_WEBHOOK_SECRET is not usable; allowed: a random word of 16 characters or more."


def test_every_secret_of_the_settings_is_known_to_the_log(set_env: Any) -> None:
    planted = {
        name.upper(): f"planted-{name}-0123456789"
        for name, field in settings.Settings.model_fields.items()
        if "SecretStr" in str(field.annotation) and name not in ("alert_webhook_url", "http_tokens", "http_secrets")
    }
    set_env(**planted, ALERT_WEBHOOK_URL="https://hooks.example.com/planted?x=1")

    assert {*planted.values(), "https://hooks.example.com/planted?x=1"} <= set(settings.load(None).secrets)
    assert len(planted) >= 8


def test_a_desk_without_any_key_says_which_it_needs(set_env: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    set_env()
    monkeypatch.delenv("SUPABASE_SECRET_KEY")

    with pytest.raises(errors.ConfigurationError, match="SUPABASE_SECRET_KEY is not set"):
        _ = settings.load_desk(None).key

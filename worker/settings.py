"""
One frozen Settings, read once from the environment and `.env`.

Only `app` and `cli` import this module; every other part is handed plain values. `.env.example` lists every
variable with its default and its reason (a test compares the two).
"""

import base64
import json
import os
import re
import secrets
import socket
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from worker import errors

_WORKER_ID: Final = r"^[A-Za-z0-9._:-]{1,100}$"
_URL: Final = r"^https?://[^\s/?#]+(/[^\s?#]*)?$"
_URL_WITH_QUERY: Final = r"^https?://[^\s/?#]+(/[^\s?#]*)?(\?[^\s#]*)?$"  # Azure has its api-version there

_OTHER_NAMES: Final = {
    "JOBS_ENABLED": "USE_BG_JOBS_GLOBAL",
    "JOBS_ENABLED_ADMIN": "USE_BG_JOBS_ADMIN",
    "JOBS_ENABLED_CRON": "USE_BG_JOBS_CRON",
    "JOBS_ENABLED_MATCH": "USE_BG_JOBS_MATCH",
}

_UNSENDABLE: Final = "a key with a space, a line end or a special letter in it"
_SWITCHED: Final = {"true": "on", "1": "on", "yes": "on", "false": "off", "0": "off", "no": "off"}

_ORIGINS: Final = "origins such as https://app.example.com, separated by commas"
M = TypeVar("M", bound=BaseSettings)
Pairs = tuple[tuple[str, SecretStr], ...]
Origin = Annotated[str, Field(pattern=r"^(https?://[A-Za-z0-9.\[\]:-]+|\*)$")]


def _setting(default: Any, allowed: str, **limits: Any) -> Any:
    return Field(default, json_schema_extra={"allowed": allowed}, **limits)


def _whole(default: int, low: int, high: int) -> Any:
    return _setting(default, f"a whole number from {low} to {high}", ge=low, le=high)


def _seconds(default: float, low: float, high: float) -> Any:
    return _setting(default, f"seconds, from {low:g} to {high:g}", ge=low, le=high)


def _per_minute() -> Any:
    return _setting(None, "a number above 0, or empty for no limit", gt=0, allow_inf_nan=False)


def _flag(name: str, default: Any, allowed: str) -> Any:
    """A switch that goes by a second name as well; see `_agree`."""
    return _setting(default, allowed, validation_alias=AliasChoices(name, _OTHER_NAMES[name]))


def _own_id() -> str:
    """A name no other worker has, that still tells an operator where it runs."""
    host = "".join(c for c in socket.gethostname() if c.isascii() and (c.isalnum() or c in ".-"))[:60]
    return f"{host or 'worker'}-{os.getpid()}-{secrets.token_hex(3)}"


class AlertSettings(BaseSettings):
    """From where on `worker alerts` and the webhook say something."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    alert_realtime_down_seconds: int = _whole(300, 1, 86400)
    alert_pending_seconds: int = _whole(300, 1, 86400)
    alert_failure_percent: float = _setting(10.0, "a number from 0 to 100", ge=0, le=100)
    alert_failure_jobs: int = _whole(10, 1, 1000)
    alert_window_seconds: int = _whole(3600, 60, 86400)
    alert_queue_depth: int = _whole(20, 0, 1000)
    alert_average_seconds: int = _whole(120, 1, 86400)
    alert_stale_seconds: int = _whole(90, 31, 86400)

    def arguments(self) -> dict[str, Any]:
        """The same as arguments of `translation_alerts`."""
        return {f"p_{name.removeprefix('alert_')}": getattr(self, name) for name in AlertSettings.model_fields}


class Settings(AlertSettings):
    """What an operator may choose. Durations are in seconds."""

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", env_ignore_empty=True, validate_default=False, populate_by_name=True
    )

    supabase_url: str = _setting(..., "the project's https address", pattern=_URL)
    supabase_secret_key: SecretStr = Field(
        validation_alias=AliasChoices("SUPABASE_SECRET_KEY", "SUPABASE_SERVICE_ROLE_KEY"),
        json_schema_extra={"allowed": "the project's secret key (sb_secret_…) or its service_role key"},
    )

    max_concurrent_jobs: int = _whole(3, 1, 1000)
    max_concurrent_languages: int = _whole(3, 1, 100)
    job_types: Annotated[tuple[str, ...], NoDecode] = _setting((), "names separated by commas")
    worker_modules: Annotated[tuple[str, ...], NoDecode] = _setting((), "module names separated by commas")
    http_tokens: Annotated[Pairs, NoDecode] = _setting((), "endpoint=token, several separated by commas")
    http_secrets: Annotated[Pairs, NoDecode] = _setting((), "endpoint=secret, several separated by commas")
    worker_id: str = Field(
        default_factory=_own_id,
        pattern=_WORKER_ID,
        json_schema_extra={"allowed": "1 to 100 letters, digits, dots, colons, dashes or underscores"},
    )

    translator: str = _setting("pseudo", "names of translators, separated by commas")
    openai_api_key: SecretStr | None = _setting(None, "a key")
    openai_base_url: str | None = _setting(None, "an http or https address", pattern=_URL_WITH_QUERY)
    openai_model: str | None = _setting(None, "the name of a model")
    deepl_api_key: SecretStr | None = _setting(None, "a key")
    deepl_glossary_ids: Annotated[tuple[str, ...], NoDecode] = _setting(
        (), "up to five ids of glossaries, separated by commas", max_length=5
    )
    google_api_key: SecretStr | None = _setting(None, "a key")
    libretranslate_url: str | None = _setting(None, "an http or https address", pattern=_URL)
    libretranslate_api_key: SecretStr | None = _setting(None, "a key")
    apertium_modes: str = _setting("/usr/share/apertium/modes", "a folder")
    provider_concurrency: int = _whole(16, 1, 1000)
    provider_requests_per_minute: float | None = _per_minute()
    provider_characters_per_minute: float | None = _per_minute()
    provider_wait_seconds: float = _seconds(30, 0, 120)

    health_check_seconds: float = _seconds(30, 1, 300)
    beat_seconds: float = _seconds(10, 0.2, 60)
    poll_seconds: float = _seconds(5, 0.1, 300)
    realtime_session_seconds: float = _seconds(43200, 10, 604800)
    lease_seconds: float = _seconds(30, 2, 3600)
    claim_interval_seconds: float = _seconds(0.02, 0, 10)
    request_seconds: float = _seconds(10, 1, 60)
    start_seconds: float = _seconds(15, 0, 600)
    shutdown_grace_seconds: float = _seconds(8, 0, 3600)
    unready_seconds: float = _seconds(60, 1, 3600)
    exit_seconds: float = _seconds(300, 2, 86400)

    port: int | None = _whole(None, 0, 65535)  # type: ignore[arg-type]  # unset: no HTTP side at all
    host: str = _setting("0.0.0.0", "an address of this machine")
    supabase_publishable_key: SecretStr | None = _setting(
        None, "the project's publishable key (sb_publishable_…) or its anon key"
    )
    supabase_jwt_secret: SecretStr | None = _setting(
        None, "the project's legacy JWT secret, 16 characters or more", min_length=16
    )
    supabase_public_url: str | None = _setting(None, "an http or https address", pattern=_URL)
    cors_origins: Annotated[tuple[Origin, ...], NoDecode] = _setting((), _ORIGINS)
    operator_claim: str = _setting("", "the name of a claim, letters, digits and _", pattern=r"^[A-Za-z0-9_]{0,60}$")
    panel_enabled: bool = _setting(True, "true or false")
    panel_sign_up: bool = _setting(True, "true or false")
    panel_embed_origins: Annotated[tuple[Origin, ...], NoDecode] = _setting((), _ORIGINS)
    internal_api_key: SecretStr | None = _setting(None, "a random word of 16 characters or more", min_length=16)
    jobs_enabled: Literal["off", "per-trigger", "on"] = _flag("JOBS_ENABLED", "on", "off, per-trigger or on")
    jobs_enabled_admin: bool = _flag("JOBS_ENABLED_ADMIN", False, "true or false")
    jobs_enabled_cron: bool = _flag("JOBS_ENABLED_CRON", False, "true or false")
    jobs_enabled_match: bool = _flag("JOBS_ENABLED_MATCH", False, "true or false")
    fallback_url: str | None = _setting(None, "an http or https address", pattern=_URL_WITH_QUERY)
    fallback_token: SecretStr | None = _setting(None, "a token")
    fallback_seconds: float = _seconds(60, 1, 600)
    work_on: Literal["always", "request"] = _setting("always", "always or request")

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = _setting("INFO", "DEBUG, INFO, WARNING or ERROR")
    log_json: bool | None = _setting(None, "true or false, or empty: JSON unless stderr is a terminal")

    otel_exporter_otlp_endpoint: str | None = _setting(None, "an http or https address", pattern=_URL)

    alert_webhook_url: SecretStr | None = _setting(None, "an https address")  # whoever knows it may write there
    alert_webhook_secret: SecretStr | None = _setting(None, "a random word of 16 characters or more", min_length=16)

    @field_validator(
        *("job_types", "worker_modules", "deepl_glossary_ids", "cors_origins", "panel_embed_origins"), mode="before"
    )
    @classmethod
    def _split(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(name.strip() for name in value.split(",") if name.strip())
        return value

    @field_validator("http_tokens", "http_secrets", mode="before")
    @classmethod
    def _pairs(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        pairs = [pair.strip().partition("=") for pair in value.split(",") if pair.strip()]
        if not all(name.strip() and secret.strip() for name, _, secret in pairs):
            raise ValueError("no pairs")
        return tuple((name.strip(), secret.strip()) for name, _, secret in pairs)

    @field_validator("supabase_secret_key", "supabase_publishable_key", "fallback_token", mode="before")
    @classmethod
    def _fits_a_header(cls, value: Any) -> Any:
        return _sendable(value)

    @field_validator("http_tokens")
    @classmethod
    def _fit_a_header(cls, value: Pairs) -> Pairs:
        for _, token in value:
            _sendable(token.get_secret_value())
        return value

    @field_validator("jobs_enabled", mode="before")
    @classmethod
    def _on_or_off(cls, value: Any) -> Any:
        # Its other name was a plain switch.
        return _SWITCHED.get(value.strip().lower(), value) if isinstance(value, str) else value

    @field_validator("supabase_url", "supabase_public_url")
    @classmethod
    def _without_slash(cls, value: str | None) -> str | None:
        return value.rstrip("/") if value is not None else None

    @field_validator("supabase_secret_key")
    @classmethod
    def _not_public(cls, value: SecretStr) -> SecretStr:
        if value.get_secret_value().startswith("sb_publishable_"):
            raise ValueError("a publishable key")
        return value

    @field_validator("supabase_publishable_key")
    @classmethod
    def _public(cls, value: SecretStr | None) -> SecretStr | None:
        # Every visitor of the panel is given it.
        if value is not None and _is_powerful(value.get_secret_value()):
            raise ValueError("a secret key")
        return value

    @field_validator("alert_webhook_url")
    @classmethod
    def _is_address(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not re.fullmatch(_URL_WITH_QUERY, value.get_secret_value()):
            raise ValueError("no address")
        return value

    @model_validator(mode="after")
    def _beats_fit_the_lease(self) -> "Settings":
        if self.beat_seconds * 2 > self.lease_seconds:
            raise ValueError(
                f"BEAT_SECONDS is {self.beat_seconds:g}; allowed: at most half of LEASE_SECONDS "
                f"({self.lease_seconds:g}), so that one lost heartbeat does not cost a running job."
            )
        return self

    @property
    def secrets(self) -> list[str]:
        """Every value that nobody shall read in a log."""
        single = [value.get_secret_value() for _, value in self if isinstance(value, SecretStr)]
        return [*single, *(value.get_secret_value() for _, value in (*self.http_tokens, *self.http_secrets))]


class _OtherNames(BaseSettings):
    """What stands under the second names of the switches, as it is written there."""

    model_config = SettingsConfigDict(extra="ignore", env_ignore_empty=True)

    use_bg_jobs_global: str | None = None
    use_bg_jobs_admin: str | None = None
    use_bg_jobs_cron: str | None = None
    use_bg_jobs_match: str | None = None


class DeskSettings(BaseSettings):
    """What `worker jobs` needs: an address, a key, and a user's token to speak for a user."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    supabase_url: str = _setting(..., "the project's https address", pattern=_URL)
    supabase_secret_key: SecretStr | None = Field(
        default=None, validation_alias=AliasChoices("SUPABASE_SECRET_KEY", "SUPABASE_SERVICE_ROLE_KEY")
    )
    supabase_publishable_key: SecretStr | None = None
    supabase_access_token: SecretStr | None = None
    worker_url: str | None = _setting(None, "the address of a worker with an API", pattern=_URL)

    @field_validator("supabase_secret_key", "supabase_publishable_key", "supabase_access_token", mode="before")
    @classmethod
    def _fits_a_header(cls, value: Any) -> Any:
        return _sendable(value)

    @property
    def key(self) -> SecretStr:
        """The publishable key beside a user's token if there is one: less power than it could have."""
        public = self.supabase_publishable_key if self.supabase_access_token else None
        key = public or self.supabase_secret_key or self.supabase_publishable_key
        if key is None:
            raise errors.ConfigurationError(
                "SUPABASE_SECRET_KEY is not set; to speak for a user, set SUPABASE_PUBLISHABLE_KEY and "
                "SUPABASE_ACCESS_TOKEN."
            )
        return key


def load_alerts(env_file: Path | None = Path(".env")) -> AlertSettings:
    """The thresholds of `worker alerts`. Raises ConfigurationError."""
    return _read(AlertSettings, env_file)


def load_desk(env_file: Path | None = Path(".env")) -> DeskSettings:
    """The settings of `worker jobs`. Raises ConfigurationError."""
    return _read(DeskSettings, env_file)


def load(env_file: Path | None = Path(".env"), **overrides: Any) -> Settings:
    """
    The settings of this process; *overrides* win over the environment.

    Raises:
        ConfigurationError: one sentence that names the variable, its value and what is allowed.
    """
    chosen = _read(Settings, env_file, **overrides)
    _agree(chosen, _read(_OtherNames, env_file))
    return chosen


def _read(model: type[M], env_file: Path | None, **overrides: Any) -> M:
    try:
        return model(_env_file=env_file, **overrides)
    except ValidationError as invalid:
        raise errors.ConfigurationError(_sentence(model, invalid)) from None
    except UnicodeDecodeError:
        raise errors.ConfigurationError(f"{env_file} is not UTF-8 text; save it as that.") from None
    except OSError as error:
        raise errors.ConfigurationError(f"{env_file} cannot be read: {error.strerror}.") from None


def _agree(chosen: Settings, others: _OtherNames) -> None:
    """Refuse a switch that says one thing under one name and another under the other: nobody could tell which holds."""
    for name, other in _OTHER_NAMES.items():
        said = getattr(others, other.lower())
        found = getattr(chosen, name.lower())
        if said is None or _same_switch(found, said):
            continue
        shown = str(found).lower()
        raise errors.ConfigurationError(
            f"{name} is {shown} and {other} is {said!r}; allowed: one of the two names, or the same under both."
        )


def _same_switch(found: str | bool, said: str) -> bool:
    said = said.strip().lower()
    if isinstance(found, bool):
        return {"on": True, "off": False}.get(_SWITCHED.get(said, said)) is found
    return _SWITCHED.get(said, said) == found


def _sentence(model: type[BaseSettings], invalid: ValidationError) -> str:
    first = invalid.errors(include_url=False)[0]
    if not first["loc"]:  # a rule between two settings says it in its own words
        return str(first["msg"]).removeprefix("Value error, ")
    name = str(first["loc"][0]).lower()
    field = model.model_fields[name]
    extra = field.json_schema_extra
    allowed = extra["allowed"] if isinstance(extra, dict) else ""
    if first["type"] == "missing":
        return f"{name.upper()} is not set; it must be {allowed}."
    kind = str(first["msg"]).removeprefix("Value error, ")
    shown = kind if kind in ("a publishable key", "a secret key", _UNSENDABLE) else _shown(name, first["input"])
    return f"{name.upper()} is {shown}; allowed: {allowed}."


def _sendable(key: Any) -> Any:
    """*key*, which travels in a header; refused if none can carry it."""
    if isinstance(key, str) and not (key.isascii() and key.isprintable() and " " not in key):
        raise ValueError(_UNSENDABLE)
    return key


def _is_powerful(key: str) -> bool:
    """Whether *key* may do more than a visitor: a secret key, or a legacy one of another role than anon."""
    if key.startswith("sb_secret_"):
        return True
    try:
        _, claims, _ = key.split(".")
        role = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4))).get("role")
    except (ValueError, AttributeError):
        return False
    return bool(role != "anon")


def _shown(name: str, value: Any) -> str:
    secret = "secret" in name or "token" in name or "webhook" in name or name.endswith("_key")
    return "not usable" if secret else repr(value)

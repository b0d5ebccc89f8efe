"""
The project around the queue: does it answer, to which key, with which SQL; clocks, prices, workers.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from worker import cures, errors
from worker.rpc import Rpc
from worker.store import SCHEMA_VERSION, SCHEMA_VERSIONS_AHEAD
from worker.verify.finding import INSTALL, Finding, failed, passed, skipped

SKEW_SECONDS_MAX: Final = 5.0
# A worker beats every 30 seconds when it is idle.
SILENT_SECONDS_MAX: Final = 90

_KEY_CURE: Final = (
    "Set SUPABASE_SECRET_KEY to the project's secret key (sb_secret_…): dashboard, Project Settings, API Keys."
)
_URL_CURE: Final = (
    "Set SUPABASE_URL to the project's address (https://….supabase.co): dashboard, Project Settings, Data API."
)
_NEWER_WORKER_CURE: Final = "Start a newer worker: one is tested with SQL that is one release newer, and no more."
_EXPOSE_CURE: Final = "Add public to the exposed schemas: dashboard, Project Settings, Data API, Exposed schemas."


def key_kind(key: str, now: datetime) -> Finding:
    """Which kind of key it is, from its looks."""
    if key.startswith("sb_secret_"):
        return passed("key", "a secret key")
    if key.startswith("sb_publishable_"):
        return failed("key", "this is the publishable key, which may do nothing here", _KEY_CURE)
    claims = _claims(key)
    if claims is None:
        return failed("key", "this is no key of a Supabase project", _KEY_CURE)
    if claims.get("role") != "service_role":
        return failed("key", f"this key speaks for {claims.get('role', 'nobody')}, not for service_role", _KEY_CURE)
    expires = claims.get("exp")
    if isinstance(expires, int | float) and expires < now.timestamp():
        return failed("key", "this key has expired", _KEY_CURE)
    return passed("key", "a service_role key")


def _claims(token: str) -> dict[str, Any] | None:
    """What a token says of itself. Not verified: the project does that."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError):
        return None
    return claims if isinstance(claims, dict) else None


async def read(rpc: Rpc) -> tuple[Mapping[str, Any] | None, list[Finding]]:
    """The self check of the project, None when it cannot be had, and what its coming or not coming tells."""
    try:
        facts = await rpc.call("translation_self_check", {})
    except errors.StoreError as error:
        return None, _unread(error)
    if not isinstance(facts, dict) or "functions" not in facts:
        return None, [failed("address", "it does not answer like a Supabase project", _URL_CURE)]
    return facts, [passed("address", "answers"), _role(facts), _version(facts)]


def _unread(error: errors.StoreError) -> list[Finding]:
    match error:
        case errors.SqlMissing():
            return [passed("address", "answers"), failed("sql", "not installed, or not completely", cures.cure(error))]
        case errors.StoreUnauthorized() if str(error) == "PGRST106":
            return [failed("address", "the API does not serve the schema public", _EXPOSE_CURE)]
        case errors.StoreUnauthorized() if str(error) == "42501":
            grant = "grant execute on function public.translation_self_check() to service_role;"
            said = "the key's role may not call translation_self_check"
            return [passed("address", "answers"), failed("role", said, f"{_KEY_CURE} If it is that: {grant}")]
        case errors.StoreUnauthorized() if str(error).startswith("HTTP"):
            return [failed("address", f"something else answers there ({error})", _URL_CURE)]
        case errors.StoreUnauthorized():
            return [passed("address", "answers"), failed("role", f"the project refuses the key ({error})", _KEY_CURE)]
        case errors.StoreRefused():
            return [
                passed("address", "answers"),
                failed("sql", f"the self check fails ({error.code}): {error.message}", INSTALL),
            ]
        case _:
            return [failed("address", f"no answer ({error})", cures.cure(error))]


def _role(facts: Mapping[str, Any]) -> Finding:
    if facts["role"] == "service_role":
        return passed("role", "service_role")
    return failed("role", f"the key acts as {facts['role']}, not as service_role", _KEY_CURE)


def _version(facts: Mapping[str, Any]) -> Finding:
    version = facts["schema_version"]
    if version < SCHEMA_VERSION:
        return failed("sql", f"version {version}; this worker needs {SCHEMA_VERSION}", INSTALL)
    if version > SCHEMA_VERSION + SCHEMA_VERSIONS_AHEAD:
        return failed("sql", f"version {version}; this worker was made for {SCHEMA_VERSION}", _NEWER_WORKER_CURE)
    return passed("sql", f"version {version}" + (", newer than this worker" if version > SCHEMA_VERSION else ""))


def clocks(facts: Mapping[str, Any], now: datetime, round_trip_seconds: float) -> Finding:
    """*now* is this machine's time when the answer came."""
    ahead = (now - datetime.fromisoformat(facts["now"])).total_seconds() - round_trip_seconds / 2
    if abs(ahead) <= SKEW_SECONDS_MAX:
        return passed("clock", f"{abs(ahead):.1f} s from the database's")
    way = "ahead of" if ahead > 0 else "behind"
    cure = "Switch time synchronisation on where the worker runs (NTP, chrony): tokens and logs depend on it."
    return failed("clock", f"this machine is {abs(ahead):.0f} s {way} the database", cure)


async def price(rpc: Rpc, facts: Mapping[str, Any]) -> Finding:
    """What a translation costs, asked of the function that an owner may have replaced."""
    types = facts.get("job_types")
    if types is None:
        return skipped("price", "the installed translation_self_check does not tell")
    kind = types.get("translation")
    if kind is None:
        return failed("price", "there is no job type translation", INSTALL)
    if not kind["enabled"]:
        cure = "update public.translation_job_types set enabled = true where name = 'translation';"
        return failed("price", "the job type translation is switched off: new jobs are refused", cure)
    sample = {"p_job_type": "translation", "p_content_kind": "text", "p_chars": 1000, "p_item": "es", "p_options": {}}
    try:
        cost = await rpc.call("price_translation_item", sample)
    except errors.StoreError as error:
        return failed("price", f"price_translation_item fails ({error}): no job can be made", _PRICE_CURE)
    return _judge_price(cost, bool(facts["credits_held"]))


_PRICE_CURE: Final = (
    "Repair your price_translation_item, or drop it and run `worker sql` again: it brings the shipped one."
)


def _judge_price(cost: Any, credits_held: bool) -> Finding:
    if not isinstance(cost, int) or cost < 0:
        return failed("price", f"price_translation_item says {cost}: translations would be free", _PRICE_CURE)
    if cost == 0 and credits_held:
        cure = "update public.translation_job_types set price = 1 where name = 'translation';"
        return failed("price", "users hold credits, and a translation costs none", cure)
    return passed("price", f"{cost} for a language of 1000 characters" if cost else "none: credits are off")


def workers(facts: Mapping[str, Any]) -> Finding:
    """Whether those that said they work still do. That none runs yet is no fault."""
    known = facts.get("workers")
    if known is None:
        return skipped("workers", "the installed translation_self_check does not tell")
    silent = [worker for worker in known if worker["silent_seconds"] > SILENT_SECONDS_MAX]
    if not silent:
        modes = ", ".join(f"{worker['id']} ({worker['mode']})" for worker in known[:5])
        return passed("workers", modes) if known else skipped("workers", "none is running yet")
    told = "; ".join(f"{worker['id']} has been silent for {worker['silent_seconds']} s" for worker in silent[:4])
    ids = ", ".join("'" + worker["id"].replace("'", "''") + "'" for worker in silent[:4])
    cure = f"Start it again, or, if it is gone for good: delete from public.translation_workers where id in ({ids});"
    return failed("workers", told, cure)


def broadcast_function(facts: Mapping[str, Any]) -> Finding:
    if facts["realtime_send"]:
        return passed("realtime.send", "there")
    cure = "Upgrade or restart the project (dashboard, Project Settings, General): Realtime installs it then."
    return failed("realtime.send", "not there: the database cannot broadcast", cure)

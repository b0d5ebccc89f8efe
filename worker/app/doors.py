"""
The HTTP side of a worker, put together from the settings: what the platform asks, and what users reach if there is any.

Imported only by a worker with a port; the portal only where there is a publishable key.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol

import worker
from worker.counters import Counters
from worker.flags import Flags
from worker.rpc import Rpc
from worker.settings import Settings
from worker.web import health, metrics, queue_metrics, site

if TYPE_CHECKING:
    from worker.web.internal import Drain, Internal
    from worker.web.portal import Portal


class Vitals(Protocol):
    """What the platform asks about."""

    def readiness(self) -> health.Readiness: ...

    def health(self) -> dict[str, Any]: ...

    def gauges(self) -> metrics.Gauges: ...


async def serve(
    settings: Settings,
    vitals: Vitals,
    *,
    counters: Counters,
    rpc: Rpc,
    is_simulated: Callable[[], bool],
    drain: "Drain",
    port: int,
) -> None:
    """Serve until cancelled. *rpc* calls as `service_role`; *drain* works for whoever asks, if anybody may."""
    numbers = metrics.page(counters, vitals.gauges, queue_metrics.QueueStats(rpc).latest)
    routes = health.routes(vitals.readiness, vitals.health, numbers)
    async with internal(settings, rpc, drain) as inside:
        outside = portal(settings, is_simulated)
        await site.serve(routes, outside, inside, service=rpc, host=settings.host, port=port)


@asynccontextmanager
async def internal(settings: Settings, rpc: Rpc, drain: "Drain") -> "AsyncIterator[Internal | None]":
    """What the project's own servers reach; None without a key, and then nothing of it is imported."""
    if settings.internal_api_key is None:
        yield None
        return
    from worker.web.fallback import Fallback
    from worker.web.intake import Intake
    from worker.web.internal import Internal

    token = settings.fallback_token
    fallback = settings.fallback_url and Fallback(
        settings.fallback_url,
        token=token.get_secret_value() if token else None,
        seconds=settings.fallback_seconds,
    )
    flags = Flags(
        settings.jobs_enabled, settings.jobs_enabled_admin, settings.jobs_enabled_cron, settings.jobs_enabled_match
    )
    try:
        yield Internal(settings.internal_api_key.get_secret_value(), Intake(rpc, flags, fallback or None), drain)
    finally:
        if fallback:
            await fallback.close()


def portal(settings: Settings, is_simulated: Callable[[], bool]) -> "Portal | None":
    """What users reach; None without the publishable key, and then nothing of it is imported."""
    if settings.supabase_publishable_key is None:
        return None
    from worker.web.panel import PanelConfig
    from worker.web.portal import Portal

    key = settings.supabase_publishable_key.get_secret_value()
    secret = settings.supabase_jwt_secret
    panel = PanelConfig(
        supabase_url=settings.supabase_public_url or settings.supabase_url,
        publishable_key=key,
        version=worker.__version__,
        simulated=is_simulated,
        sign_up=settings.panel_sign_up,
        embed_origins=settings.panel_embed_origins,
        operator_claim=settings.operator_claim,
    )
    return Portal(
        supabase_url=settings.supabase_url,
        publishable_key=key,
        jwt_secret=secret.get_secret_value() if secret else None,
        request_seconds=settings.request_seconds,
        cors_origins=settings.cors_origins,
        panel=panel if settings.panel_enabled else None,
        operator_claim=settings.operator_claim,
        alert_limits=settings.arguments(),
    )

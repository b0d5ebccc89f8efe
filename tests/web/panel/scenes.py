"""Jobs as in life, in every state: for screenshots, and for tests that want a full page."""

from typing import Any

from tests.web.panel.scripted import Json, Script, ago, item, job, soon

_PRICE = 120


def furnish(script: Script) -> None:
    """A morning of somebody who translates for a museum."""
    script.credits = {"balance": 1240, "reserved": 360}
    script.price = _PRICE
    script.source = _SOURCE
    script.results = {"es": _SPANISH, "ja": _JAPANESE, "ar": _ARABIC}
    script.attempts = [
        {"started_at": ago(minutes=9), "ended_at": ago(minutes=8), "outcome": "lost", "found_by": "broadcast"},
        {"started_at": ago(minutes=8), "ended_at": ago(minutes=6), "outcome": "completed", "found_by": "timer"},
    ]
    script.movements = [
        {"item": None, "kind": "reserve", "amount": 480, "created_at": ago(minutes=10)},
        {"item": "es", "kind": "consume", "amount": 120, "created_at": ago(minutes=7)},
        {"item": "ja", "kind": "consume", "amount": 120, "created_at": ago(minutes=6)},
    ]
    for one in (_done(), _german_failed(), _cancelled(), _all_failed(), _retrying(), _scheduled(), _running()):
        script.jobs[one["id"]] = one


def _priced(name: str, status: str, **values: Any) -> Json:
    return item(name, status, **{"price": _PRICE, "credits": _PRICE if status == "completed" else 0, **values})


def _running() -> Json:
    return job(
        "processing",
        _priced("es", "completed"),
        _priced("fr", "processing", progress=64),
        _priced("ja", "processing", progress=38),
        _priced("de", "pending", retry_at=soon(seconds=24)),
        title="Handbook for visitors.md", content_kind="markdown", content_chars=12_400, progress=54,
        eta_at=soon(seconds=118), started_at=ago(minutes=1), chunks_per_minute=14.0, chunks_done=11, chunks_total=24,
        credits_reserved=480, credits_consumed=120, credits_open=360,
    )  # fmt: skip


def _scheduled() -> Json:
    return job(
        "scheduled", item("it"), item("pt-BR"), title="Opening hours, winter season", content_chars=860,
        run_at=soon(hours=9), started_at=None,
    )  # fmt: skip


def _retrying() -> Json:
    return job(
        "retrying", item("uk", "completed"), item("pl", "pending", retry_at=soon(seconds=41)),
        title="Audio guide, room 7", content_chars=5210, run_at=soon(seconds=41), progress=50,
    )  # fmt: skip


def _german_failed() -> Json:
    refused = {"class": "content_blocked", "message": "The provider refused this text (content filter)."}
    short = {"code": "length_ratio", "message": "Much shorter than the source in one part.", "count": 1}
    return job(
        "completed",
        _priced("es", "completed"),
        _priced("ja", "completed", warnings=[short]),
        _priced("ar", "completed"),
        _priced("de", "failed", error=refused),
        title="Bronze mirror, room 4", subject="card:42", content_chars=2380,
        completed_at=ago(minutes=6), started_at=ago(minutes=9), created_at=ago(minutes=10), credits_reserved=480,
        credits_consumed=360, credits_refunded=120,
    )  # fmt: skip


def _all_failed() -> Json:
    fault = {"class": "quota_exhausted", "message": "The provider's monthly quota is used up."}
    return job(
        "failed", item("ko", "failed", error=fault), item("th", "failed", error=fault),
        title="Press release, November", content_chars=1740, completed_at=ago(hours=3), error=fault,
    )  # fmt: skip


def _cancelled() -> Json:
    return job(
        "cancelled", item("nl", "completed"), item("sv", "cancelled"), title="Draft of the shop catalogue",
        content_chars=31_800, cancelled_at=ago(hours=20), completed_at=None, progress=50,
    )  # fmt: skip


def _done() -> Json:
    names = ("es", "fr", "de", "ja", "ar")
    return job(
        "completed", *(item(name, "completed") for name in names), title="Welcome texts.json", content_kind="json",
        content_chars=3120, completed_at=ago(days=1, hours=2),
    )  # fmt: skip


_SOURCE = """# Bronze mirror

This mirror was cast around 350 BC in a workshop near the harbour. Its back shows two ibises among papyrus; the \
polished side once gave a warm, slightly golden image of whoever held it.

Please do not touch the glass. The mirror is on loan until **{date}**.

Ask at the desk for the tactile copy: you may hold it, turn it, and feel the engraving."""

_SPANISH = """# Espejo de bronce

Este espejo se fundió hacia el 350 a. C. en un taller cercano al puerto. El reverso muestra dos ibis entre papiros; la \
cara pulida devolvía una imagen cálida, ligeramente dorada, de quien lo sostenía.

Por favor, no toque el cristal. El espejo está en préstamo hasta el **{date}**.

Pida en el mostrador la copia táctil: puede sostenerla, girarla y sentir el grabado."""

_JAPANESE = """# 青銅鏡

この鏡は紀元前350年頃、港に近い工房で鋳造されました。裏面にはパピルスの間に立つ二羽のトキが描かれています。

ガラスに手を触れないでください。この鏡は**{date}**まで貸し出されています。"""

_ARABIC = """# مرآة برونزية

صُبّت هذه المرآة نحو عام 350 قبل الميلاد في ورشة قرب الميناء. يظهر على ظهرها طائران من أبو منجل بين نبات البردي.

يُرجى عدم لمس الزجاج. المرآة معارة حتى **{date}**.

اطلب من المكتب النسخة اللمسية: يمكنك حملها وتدويرها وتحسس النقش."""

"""What a log line looks like to a collector and to a person, and what never stands in one."""

import asyncio
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from loguru import logger

from worker import logs

KEY = 'hunter2 "and" ünknown'
TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJyb2xlIjoic2VydmljZV9yb2xlIn0.c2lnbmF0dXJl"
PLANTED = [
    "sb_secret_Zm9vYmFy_abc123",
    "sb_publishable_Zm9vYmFy",
    TOKEN,
    "sk-proj-abcdef0123456789",
    "ada.lovelace@example.co.uk",
]


class Screen(io.StringIO):
    """Stands for stderr; a terminal if asked to be."""

    is_terminal = False

    def isatty(self) -> bool:
        return self.is_terminal


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Iterator[Screen]:
    screen = Screen()
    monkeypatch.setattr(logs, "sys", SimpleNamespace(stderr=screen))  # pytest puts its own into sys for each phase
    yield screen
    logger.remove()


def entries(screen: Screen) -> list[dict[str, Any]]:
    return [json.loads(line) for line in screen.getvalue().splitlines()]


def test_a_collector_gets_one_flat_object_a_line_in_its_own_words(screen: Screen) -> None:
    logs.configure(level="DEBUG", json=None)
    with logger.contextualize(job_id="j1", correlation_id=None):
        logger.bind(item="es").warning("Item took too long", timeout_seconds=2.5)
    logger.success("Done {braces} stay", braces="x")
    logger.log("TRACE", "below")

    first, second = entries(screen)
    assert datetime.fromisoformat(first.pop("time")).utcoffset() == timedelta(0)
    assert first == {
        "severity": "WARNING",
        "message": "Item took too long",
        "job_id": "j1",
        "item": "es",
        "timeout_seconds": 2.5,
    }
    assert second["severity"] == "INFO"


def test_a_field_cannot_take_the_place_of_the_message(screen: Screen) -> None:
    logs.configure(level="DEBUG", json=True)
    logger.bind(message="mine", severity="none", time="never").info("The message")

    (entry,) = entries(screen)
    assert (entry["message"], entry["severity"]) == ("The message", "INFO")


def test_what_is_no_json_is_told_by_its_kind(screen: Screen) -> None:
    logs.configure(level="DEBUG", json=True)
    logger.info("Odd", thing=object(), pair={1, 2})

    assert entries(screen)[0]["thing"] == "<object>"


def test_people_get_lines_on_a_terminal_and_wherever_they_ask_for_them(screen: Screen) -> None:
    for is_terminal, json_asked, is_json in ((True, None, False), (False, None, True), (False, False, False)):
        screen.is_terminal = is_terminal
        screen.seek(0)
        screen.truncate()
        logs.configure(level="INFO", json=json_asked)
        logger.info("Stopping", running=2, reason=None)
        said = logs.last_words("The end.")

        assert said is is_json
        assert screen.getvalue().startswith("{") is is_json
        assert ("running" in screen.getvalue(), "reason" in screen.getvalue()) == (True, False)


def test_last_words_are_critical(screen: Screen) -> None:
    logs.configure(level="ERROR", json=True)
    logs.last_words("SUPABASE_URL is {not} set.")

    (entry,) = entries(screen)
    assert (entry["severity"], entry["message"]) == ("CRITICAL", "SUPABASE_URL is {not} set.")


@pytest.mark.parametrize("json_asked", [True, False], ids=["json", "lines"])
@pytest.mark.parametrize("planted", [*PLANTED, KEY])
def test_a_planted_secret_is_blacked_out_wherever_it_stands(screen: Screen, planted: str, json_asked: bool) -> None:
    logs.configure(level="DEBUG", json=json_asked, secrets=[KEY, "", "or"])
    logger.info("In a field", cure=f"use {planted}; or ask", nested={"a": [planted]})
    logger.info("In a message: " + planted.replace("{", ""))
    logger.info("In an address", url=f"wss://x.test/websocket?apikey={planted}&vsn=1.0.0")
    logger.info("In a header", header=f"Bearer {planted}")

    text = screen.getvalue()
    assert planted not in text
    assert json.dumps(planted, ensure_ascii=False)[1:-1] not in text
    assert "or ask" in text  # what is short is no secret
    if json_asked:
        assert len(entries(screen)) == 4


def test_a_key_of_no_known_kind_is_blacked_out_where_keys_stand(screen: Screen) -> None:
    logs.configure(level="DEBUG", json=True)
    logger.info(
        "Odd", url="https://x.test/?apikey=plain-key-1&b=2", header="bearer abc.def/ghi=", more="Basic dXNlcjpw"
    )

    text = screen.getvalue()
    assert [word for word in ("plain-key-1", "abc.def", "dXNlcjpw") if word in text] == []
    assert "b=2" in text


def test_a_raised_error_is_told_by_kind_and_place_and_not_by_its_text(screen: Screen) -> None:
    logs.configure(level="DEBUG", json=True)
    try:
        raise ValueError("The mirror of the queen")
    except ValueError:
        logger.exception("Handler failed")

    (entry,) = entries(screen)
    assert entry["error"] == "ValueError"
    assert entry["place"].startswith("test_logs.py:")
    assert "mirror" not in screen.getvalue()


def complain(name: str) -> None:
    try:
        raise RuntimeError("The mirror of the queen")
    except RuntimeError:
        logging.getLogger(name).exception("Unrecognized message %r", "The mirror")


async def never_looked_at() -> None:
    async def fail() -> None:
        raise RuntimeError("The mirror of the queen")

    task = asyncio.create_task(fail())
    await asyncio.wait({task})
    del task


@pytest.mark.parametrize(
    ("complaint", "library", "severity"),
    [
        (lambda: complain("realtime._async.client"), "realtime._async.client", "DEBUG"),
        (lambda: logging.getLogger("websockets").warning("The mirror"), "websockets", "DEBUG"),
        (lambda: asyncio.run(never_looked_at()), "asyncio", "ERROR"),
    ],
)
def test_a_library_is_quoted_by_its_place_alone(
    screen: Screen, complaint: Callable[[], None], library: str, severity: str
) -> None:
    logs.configure(level="DEBUG", json=True)
    complaint()

    (entry,) = entries(screen)
    assert (entry["message"], entry["library"], entry["severity"]) == ("A library complains", library, severity)
    assert ".py:" in entry["place"]
    assert "mirror" not in screen.getvalue()


def test_a_warning_of_python_is_a_line_too(screen: Screen) -> None:
    logs.configure(level="DEBUG", json=True)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(False)  # pytest put its own in place after the last time
        logging.captureWarnings(True)
        warnings.warn("The mirror", UserWarning, stacklevel=1)
        logging.captureWarnings(False)

    assert [entry["library"] for entry in entries(screen)] == ["py.warnings"]

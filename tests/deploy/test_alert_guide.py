"""docs/alerts.md: what it shows is what is sent, and what it gives to copy tells ours from others'."""

import base64
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.database import Database
from worker import signing

GUIDE = (Path(__file__).parents[2] / "docs/alerts.md").read_text()
SECRETS = ["a long random word", "whsec_" + base64.b64encode(bytes(range(32))).decode()]
BODY = '{"text": "über: jobs_pending"}'.encode()
OTHERS: dict[str, dict[str, Any]] = {
    "another secret": {"secret": "another word"},
    "another body": {"body": b"{}"},
    "an old message": {"at": -301},
    "another id": {"change": {"webhook-id": "alerts_2"}},
    "no signature": {"change": {"webhook-signature": ""}},
    "another version": {"change": {"webhook-signature": "v2,AAAA"}},
}

Verifier = Callable[[str, dict[str, str], bytes], bool]


def block(language: str) -> str:
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
    return str(found)


def in_python(secret: str, headers: dict[str, str], body: bytes) -> bool:
    names: dict[str, Any] = {}
    exec(block("python"), names)
    return bool(names["is_from_worker"](secret, headers, body))


def in_javascript(secret: str, headers: dict[str, str], body: bytes) -> bool:
    if shutil.which("node") is None:
        pytest.skip(os.environ.get("WITHOUT_NODE", "node is not installed"))
    asked = json.dumps([secret, headers, body.decode()])
    script = f"{block('js')}\nconst [secret, headers, body] = {asked}\n"
    script += "console.log(await isFromWorker(secret, new Headers(headers), body))"
    done = subprocess.run(
        ["node", "--input-type=module", "--eval", script], capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout == "true\n"


@pytest.mark.parametrize("is_ours", [in_python, in_javascript])
@pytest.mark.parametrize("secret", SECRETS)
def test_what_a_worker_sent_is_taken(is_ours: Verifier, secret: str) -> None:
    headers = signing.headers(secret, message_id="alerts_1", body=BODY, at=int(time.time()))

    assert is_ours(secret, headers, BODY)


@pytest.mark.parametrize("is_ours", [in_python, in_javascript])
@pytest.mark.parametrize("other", OTHERS)
def test_what_it_did_not_send_is_not(is_ours: Verifier, other: str) -> None:
    how: dict[str, Any] = {"secret": SECRETS[0], "body": BODY, "at": 0, "change": {}, **OTHERS[other]}
    headers = signing.headers(SECRETS[0], message_id="alerts_1", body=BODY, at=int(time.time()) + how["at"])

    assert not is_ours(how["secret"], {**headers, **how["change"]}, how["body"])


def test_the_message_that_is_shown_has_the_shape_of_one_that_is_sent(db: Database) -> None:
    shown = json.loads(block("json"))
    db.rpc("enqueue_translation_job", p_job_type="translation", p_content="Hello", p_items=["es"])
    db.forward("6 minutes")
    sent = db.rpc("take_translation_alert_notices", p_watcher="w1")

    (one,), (other,) = shown["alerts"], sent["notices"]
    assert {name: type(value) for name, value in one.items()} == {name: type(value) for name, value in other.items()}
    for message, alert in ((shown, one), (sent, other)):
        assert alert["state"] == "fired"
        assert message["text"] == f"{alert['severity']}: {alert['message']} {alert['cure']}"

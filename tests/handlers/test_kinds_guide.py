"""docs/kinds.md, as somebody follows it: its SQL runs, and its receiving routes tell a true call from a false one."""

import asyncio
import json
import os
import re
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.database import Database
from worker import signing

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs/kinds.md").read_text()
KEY, SECRET = "an-api-key", "a-long-random-word"

# Serves what the guide exports: reads requests from stdin, a line each, and answers each on stdout.
NEXT = """
import { createInterface } from 'node:readline'
import { tags } from 'next/cache'
import { POST } from './route.mjs'

for await (const line of createInterface({ input: process.stdin })) {
  const { body, headers } = JSON.parse(line)
  const answer = await POST(new Request('http://site.test/api/invalidate', { method: 'POST', body, headers }))
  console.log(JSON.stringify({ status: answer.status, body: await answer.json(), tags: tags.splice(0) }))
}
"""
NEXT_CACHE = "export const tags = []\nexport function revalidateTag(tag) { tags.push(tag) }\n"

DENO = """
import { createInterface } from 'node:readline'

const deleted = []
let serve
globalThis.Deno = { env: { get: (name) => process.env[name] }, serve: (handler) => { serve = handler } }
globalThis.createClient = () => ({
  from: (table) => ({ delete: () => ({ overlaps: async (column, tags) => {
    deleted.push([table, column, tags])
    return { error: tags.includes('broken') ? { message: 'The table is away.' } : null }
  } }) }),
})
await import('./index.mjs')
for await (const line of createInterface({ input: process.stdin })) {
  const { body, headers } = JSON.parse(line)
  const answer = await serve(new Request('http://edge.test/invalidate', { method: 'POST', body, headers }))
  console.log(JSON.stringify({ status: answer.status, body: await answer.json(), deleted: deleted.splice(0) }))
}
"""


def block(language: str) -> str:
    found = re.search(rf"^```{language}\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
    assert found
    return found[1]


async def answers(home: Path, program: str, requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    node = shutil.which("node")
    if node is None:
        pytest.skip(os.environ.get("WITHOUT_NODE", "node is not installed"))
    (home / "main.mjs").write_text(program)
    process = await asyncio.create_subprocess_exec(
        *(node, "main.mjs"),
        cwd=home,
        env={**os.environ, "INVALIDATE_API_KEY": KEY, "INVALIDATE_SECRET": SECRET},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    lines = "".join(json.dumps(request) + "\n" for request in requests)
    async with asyncio.timeout(40):
        output, _ = await process.communicate(lines.encode())
    return [json.loads(line) for line in output.decode().splitlines()]


def request(tags: list[str], *, key: str = KEY, secret: str = SECRET, age_seconds: int = 0, **changed: Any) -> Any:
    body = json.dumps({"tags": tags, "job_id": "j"})
    signed = signing.headers(secret, message_id="j:site", body=body.encode(), at=int(time.time()) - age_seconds)
    return {"body": body, "headers": {"authorization": f"Bearer {key}", **signed}} | changed


async def test_the_route_takes_signed_calls_with_its_key_and_no_others(tmp_path: Path) -> None:
    (tmp_path / "route.mjs").write_text(block("js"))
    (tmp_path / "node_modules/next").mkdir(parents=True)
    (tmp_path / "node_modules/next/cache.js").write_text(NEXT_CACHE)
    (tmp_path / "node_modules/next/package.json").write_text(
        '{"name": "next", "type": "module", "exports": {"./cache": "./cache.js"}}'
    )
    good = request(["league:7", "añejo"])

    told = await answers(
        tmp_path,
        NEXT,
        [
            good,
            request(["a"], key="another"),
            request(["a"], secret="another"),
            request(["a"], age_seconds=3600),
            {**good, "body": good["body"].replace("league:7", "league:8")},
            {"body": good["body"], "headers": {"authorization": f"Bearer {KEY}"}},
            {"body": good["body"], "headers": {}},
        ],
    )

    assert told[0] == {"status": 200, "body": {"invalidated": 2}, "tags": ["league:7", "añejo"]}
    assert [one["status"] for one in told[1:]] == [401] * 6
    assert all(one["tags"] == [] for one in told[1:])


async def test_the_edge_function_takes_calls_with_its_key_and_no_others(tmp_path: Path) -> None:
    code, replaced = re.subn(r"^import \{ createClient \} from '[^']+'$", "", block("ts"), flags=re.MULTILINE)
    (tmp_path / "index.mjs").write_text(code)

    told = await answers(tmp_path, DENO, [request(["a"]), request(["a"], key="another"), request(["broken"])])

    assert replaced == 1
    assert [one["status"] for one in told] == [200, 401, 503]
    assert [one["deleted"] for one in told] == [
        [["page_cache", "tags", ["a"]]],
        [],
        [["page_cache", "tags", ["broken"]]],
    ]


def test_the_sql_of_the_guide_runs(kinds: Database) -> None:
    kinds.run(block("sql"))
    kinds.run("insert into public.translation_sql_functions (name) values ('refresh_league')")

    (listed,) = kinds.rpc("list_translation_functions", p_names=["refresh_league"])

    assert (listed["is_callable"], listed["timeout_ms"]) == (True, 45_000)
    kinds.run("drop function public.refresh_league(int)")


@pytest.mark.parametrize("secret", ["whsec_MDEyMw==", "0123"])
def test_both_spellings_of_a_secret_sign_alike(secret: str) -> None:
    """The signature is what openssl makes of `msg.1700000000.{}`."""
    headers = signing.headers(secret, message_id="msg", body=b"{}", at=1700000000)

    assert headers == {
        "webhook-id": "msg",
        "webhook-timestamp": "1700000000",
        "webhook-signature": "v1,dMfSDkDTQRl0QRezx1s64t42TFvbqD2Li1JwdC4IzKo=",
    }

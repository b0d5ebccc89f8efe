"""
A server of HTTP/1.1 and HTTP/2 on one port that answers every POST with one file, for `scripts/bench wire`.

`python canned.py FILE PORT`; `/small` brings an empty list instead. HTTP/2 without TLS, by prior knowledge.
"""

import asyncio
import importlib
import sys
from pathlib import Path
from typing import Any


def application(body: bytes) -> Any:
    async def answer(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        while (await receive()).get("more_body"):
            pass
        said = b"[]" if scope["path"] == "/small" else body
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(said)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": said})

    return answer


def main() -> None:
    file, port = sys.argv[1:]
    serving: Any = importlib.import_module("hypercorn.asyncio")
    config: Any = importlib.import_module("hypercorn.config").Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.keep_alive_timeout = 60
    config.keep_alive_max_requests = sys.maxsize
    asyncio.run(serving.serve(application(Path(file).read_bytes()), config))


if __name__ == "__main__":
    main()

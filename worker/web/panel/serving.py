"""Routes of the panel. They read no request body, ask no database, and answer everybody alike."""

from aiohttp import ETag, web

from worker.web.panel import config as panel_config
from worker.web.panel import files

_FOR_EVER = "public, max-age=31536000, immutable"
_ASK_FIRST = "no-cache"


def routes(config: panel_config.PanelConfig) -> list[web.RouteDef]:
    """`/panel` and what belongs to it."""
    headers = panel_config.headers(config)

    async def page(request: web.Request) -> web.StreamResponse:
        return _answer(request, files.load().pages["index.html"], headers, _ASK_FIRST)

    async def ops_page(request: web.Request) -> web.StreamResponse:
        return _answer(request, files.load().pages["ops/index.html"], headers, _ASK_FIRST)

    async def public_config(_: web.Request) -> web.StreamResponse:
        return web.json_response(config.public(), headers={**headers, "Cache-Control": "no-store"})

    async def asset(request: web.Request) -> web.StreamResponse:
        loaded = files.load()
        file = loaded.assets.get(request.match_info["path"])
        if file is None:
            return web.Response(status=404, text="There is no such file in the panel.", headers=headers)
        # Another build's page, in the minute of a deploy: it gets what there is, but does not keep it.
        same = request.match_info["build"] == loaded.build
        return _answer(request, file, headers, _FOR_EVER if same else _ASK_FIRST)

    of_operators = [web.get("/panel/ops", ops_page)] if config.operator_claim else []
    return [
        web.get("/panel", page),
        web.get("/panel/", page),
        *of_operators,
        web.get("/panel/config.json", public_config),
        web.get("/panel/assets/{build}/{path:.+}", asset),
    ]


def _answer(request: web.Request, file: files.File, headers: dict[str, str], caching: str) -> web.StreamResponse:
    packed = "gzip" in request.headers.get("Accept-Encoding", "")
    response = web.Response(headers={**headers, "Cache-Control": caching, "Vary": "Accept-Encoding"})
    response.etag = ETag(value=file.etag + ("-gz" if packed else ""))
    known = request.if_none_match or ()
    if any(tag.value in ("*", response.etag.value) for tag in known):
        response.set_status(304)
        return response
    response.headers["Content-Type"] = file.content_type
    if packed:
        response.headers["Content-Encoding"] = "gzip"
    response.body = file.packed if packed else file.body
    return response

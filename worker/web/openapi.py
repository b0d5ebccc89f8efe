"""
`openapi.json`, written from the route table and the models: what is tested against the running server.
"""

import json
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final

from aiohttp import web
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from worker.web import documents
from worker.web.routing import EVENT_STREAM, Route

_TEMPLATE: Final = "#/components/schemas/{model}"
# Whatever the route: the token, its rights, the query, a project that is away, a stream or a user that is too much.
_EVERYWHERE: Final = frozenset({401, 403, 422, 503})
_PARAMETERS: Final = {
    "id": {"type": "string", "format": "uuid", "description": "The job's id."},
    "item": {"type": "string", "minLength": 1, "description": "The language, or the name of the step."},
    "signature": {"type": "string", "pattern": "^[0-9a-f]{16}$", "description": "Of a group of failures."},
    "name": {"type": "string", "minLength": 1, "description": "Of a trigger."},
}

_SCHEMES: Final = {
    "user": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
    "internal": {"type": "http", "scheme": "bearer", "description": "INTERNAL_API_KEY of the worker."},
}


def route(routes: Sequence[Route], *, version: str) -> web.RouteDef:
    """The address where *routes* are described."""
    described = json.dumps(document(routes, version=version)).encode()

    async def description(_: web.Request) -> web.Response:
        return web.Response(body=described, content_type="application/json")

    return web.get("/openapi.json", description, allow_head=False)


def document(routes: Sequence[Route], *, version: str) -> dict[str, Any]:
    used = {route.answer for route in routes} | {route.body for route in routes} | {documents.Error}
    requests = {route.body for route in routes if route.body}
    models = sorted((model for model in used if model is not None), key=lambda model: model.__name__)
    refs, definitions = models_json_schema(
        [(model, "validation" if model in requests else "serialization") for model in models], ref_template=_TEMPLATE
    )
    by_model = {model: ref for (model, _), ref in refs.items()}
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, by_model)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Translation jobs",
            "version": version,
            "description": "Jobs of a signed-in user. Every call is made with the user's own Supabase access token.",
        },
        "security": [{"user": []}],
        "paths": paths,
        "components": {
            "schemas": definitions["$defs"],
            "securitySchemes": {name: _SCHEMES[name] for name in sorted({"user", *(route.scheme for route in routes)})},
        },
    }


def _operation(route: Route, by_model: dict[Any, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.handler.__name__,
        "summary": route.summary,
        "parameters": [*_path_parameters(route.path), *_query_parameters(route.query)],
        "responses": {str(route.status): _success(route, by_model)},
    }
    if route.other_status is not None:
        operation["responses"][str(route.other_status)] = _success(route, by_model)
    if route.scheme != "user":
        operation["security"] = [{route.scheme: []}]
    if route.answer is None:
        operation["parameters"].append(
            {"name": "Last-Event-ID", "in": "header", "schema": {"type": "string"}, "required": False}
        )
    if route.body is not None:
        content = {"application/json": {"schema": by_model[route.body]}}
        operation["requestBody"] = {"required": True, "content": content}
    error = {"application/json": {"schema": by_model[documents.Error]}}
    for status in sorted(_EVERYWHERE | route.refusals):
        operation["responses"][str(status)] = {"description": HTTPStatus(status).phrase, "content": error}
    return operation


def _success(route: Route, by_model: dict[Any, Any]) -> dict[str, Any]:
    if route.answer is None:
        return {"description": "Events, until the job ends or the token expires.", "content": {EVENT_STREAM: {}}}
    content = {"application/json": {"schema": by_model[route.answer]}}
    return {"description": HTTPStatus(route.status).phrase, "content": content}


def _path_parameters(path: str) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": schema}
        for name, schema in _PARAMETERS.items()
        if f"{{{name}}}" in path
    ]


def _query_parameters(query: type[BaseModel] | None) -> list[dict[str, Any]]:
    if query is None:
        return []
    properties = query.model_json_schema()["properties"]
    return [
        {"name": name, "in": "query", "required": False, "schema": _bare(schema)} for name, schema in properties.items()
    ]


def _bare(schema: dict[str, Any]) -> dict[str, Any]:
    """A parameter is left out or has a value: there is no null in an address."""
    options = [option for option in schema.get("anyOf", []) if option != {"type": "null"}]
    rest = {name: value for name, value in schema.items() if name not in ("anyOf", "default", "title")}
    return {**rest, **(options[0] if options else {})}

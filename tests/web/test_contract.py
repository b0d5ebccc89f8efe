"""`openapi.json` against the server that it describes."""

import asyncio
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.web.site import Site, User
from worker.web import refusals

_SECONDS = 150


async def test_the_description_names_every_route_and_no_other(site: Site) -> None:
    described = (await site.ask("GET", "/openapi.json")).json
    served = {
        (route.method.lower(), route.resource.canonical)
        for route in site.app.router.routes()
        if route.resource is not None and route.resource.canonical.startswith("/api")
    }

    assert {(method, path) for path, methods in described["paths"].items() for method in methods} == served
    operations = [operation for methods in described["paths"].values() for operation in methods.values()]
    assert all({"200", "202"} & set(operation["responses"]) for operation in operations)
    assert len({operation["operationId"] for operation in operations}) == len(operations)


def test_the_words_of_the_api_are_in_the_readme_and_no_others() -> None:
    sources = "\n".join(path.read_text() for path in (ROOT / "worker" / "web").glob("*.py"))
    raised = set(re.findall(r'Refusal\(\s*\d+,\s*"(\w+)"|code: str = "(\w+)"', sources))
    words = {word for pair in raised for word in pair if word} | {refusals.UNAUTHORIZED, "bad_request"}
    listed = re.search(r"one of the API's own: (.*?)\. `X-Request-ID`", (ROOT / "README.md").read_text(), re.DOTALL)
    assert listed

    # Of these one is the database's, and one is for a connection that is gone.
    assert set(re.findall(r"`(\w+)`", listed[1])) == words - {"job_not_found", "gone"} | {"query_invalid"}


def loose_ends(document: Any, schemas: dict[str, Any]) -> list[str]:
    found = []
    for name, value in document.items() if isinstance(document, dict) else enumerate(document):
        if name == "$ref" and value.removeprefix("#/components/schemas/") not in schemas:
            found.append(value)
        elif isinstance(value, dict | list):
            found += loose_ends(value, schemas)
    return found


async def test_the_description_refers_to_what_it_has(site: Site) -> None:
    described = (await site.ask("GET", "/openapi.json")).json

    assert loose_ends(described, described["components"]["schemas"]) == []


@pytest.mark.timeout(_SECONDS + 30)
async def test_the_server_keeps_its_description(site: Site, ada: User, tmp_path: Path) -> None:
    """Whatever is sent, with a token and without: no 500, no status or shape that is not described."""
    site.project.run(
        """update public.translation_job_types
           set price = 0, creates_per_minute = 100000, max_waiting_per_user = 1000000 where name = 'translation'"""
    )
    job = ada.job("es")
    config = tmp_path / "schemathesis.toml"
    config.write_text(f'[parameters]\n"path.id" = "{job}"\n')
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(config), "run", f"{site.url}/openapi.json"),
        *("--header", f"Authorization: Bearer {ada.token}"),
        *("--exclude-path-regex", "/stream$"),  # they do not end; test_streams has them
        # What is a language, or worth a job, is for the database to say: no schema tells.
        *(
            "--checks",
            "all",
            "--exclude-checks",
            "positive_data_acceptance",
            "--max-examples",
            "25",
            "--seed",
            "1",
            "--request-timeout",
            "10",
            "--no-color",
        ),
        *("--generation-database", "none", "--max-failures", "10"),
    ]
    process = await asyncio.create_subprocess_exec(
        *command, cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        async with asyncio.timeout(_SECONDS):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()

    assert process.returncode == 0, output.decode()[-8000:]

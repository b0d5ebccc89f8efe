"""What the panel is made of: sizes, headers, origins. No browser."""

import gzip
import hashlib
import json
import re
from pathlib import Path

import aiohttp

from tests.web.panel.scripted import Script, serving
from worker.web.panel import files

STATIC = Path(files.__file__).parent / "static"
KILO = 1024


def first_modules() -> list[str]:
    """The modules that a person who is signed in loads before the first row: what app.js names, and what those name."""
    found, todo = [], ["app.js"]
    while todo:
        name = todo.pop()
        if name in found:
            continue
        found.append(name)
        folder = Path(name).parent
        source = (STATIC / name).read_text()
        for target in re.findall(r"^import[^\n]* from '\./([^']+)'", source, re.MULTILINE):
            todo.append(str(folder / target))
    return found


OPERATORS = ("ops/", "vendor/uplot")


def test_the_first_load_keeps_its_budget() -> None:
    assets = files.load().assets
    scripts = sum(len(assets[name].packed) for name in [*first_modules(), "theme.js", "locales/en.js"])
    styles = sum(
        len(file.packed) for name, file in assets.items() if name.endswith(".css") and not name.startswith(OPERATORS)
    )

    assert scripts <= 30 * KILO
    assert styles <= 8 * KILO


def test_users_load_nothing_of_the_operator_view() -> None:
    assert [name for name in first_modules() if name.startswith(OPERATORS)] == []
    assert "ops/" not in (STATIC / "index.html").read_text()


def test_the_operator_view_keeps_its_budgets() -> None:
    """The numbers stand there before the plots are loaded, which are the larger half."""
    assets = files.load().assets
    own = [name for name in assets if name.startswith("ops/") and name.endswith(".js")]
    plots = ["ops/plots.js", "vendor/uplot.js", "vendor/uplot.css"]
    numbers = [*(set(own) - set(plots)), "ops/ops.css", "locales/en.ops.js"]

    assert sum(len(assets[name].packed) for name in plots) <= 30 * KILO
    assert sum(len(assets[name].packed) for name in numbers) <= 16 * KILO


def test_the_page_names_every_module_of_the_first_load() -> None:
    page = (STATIC / "index.html").read_text()
    preloaded = re.findall(r'modulepreload" href="/panel/assets/\{build\}/([^"]+)"', page)

    assert sorted(preloaded) == sorted(set(first_modules()) - {"app.js"})


def test_every_vendored_file_is_what_its_origin_says() -> None:
    vendored = json.loads((STATIC / "vendor/VENDOR.json").read_text())["files"]
    there = {path.name for path in (STATIC / "vendor").iterdir() if path.suffix in (".js", ".css")}

    assert set(vendored) == there
    for name, origin in vendored.items():
        assert hashlib.sha256((STATIC / "vendor" / name).read_bytes()).hexdigest() == origin["sha256"]
        for package in origin["packages"]:
            assert package["licence"]
            assert (STATIC / "vendor" / package["text"]).read_text()


def test_nothing_in_the_page_runs_or_looks_but_from_files() -> None:
    page = (STATIC / "index.html").read_text()

    assert not re.search(r"<script(?![^>]* src=)|<style|\sstyle=|\son\w+=|https?://", page)


async def test_files_are_kept_for_ever_and_the_page_is_asked_for_again() -> None:
    async with serving(Script()) as script, aiohttp.ClientSession(script.url, auto_decompress=False) as client:
        async with client.get("/panel", headers={"Accept-Encoding": "gzip"}) as answer:
            page = gzip.decompress(await answer.read()).decode()
            assert answer.headers["Cache-Control"] == "no-cache"
            etag = answer.headers["ETag"]
        asked_again = {"Accept-Encoding": "gzip", "If-None-Match": etag}
        async with client.get("/panel", headers=asked_again) as answer:
            assert (answer.status, await answer.read()) == (304, b"")
        address = re.search(r'src="(/panel/assets/[^"]+/app\.js)"', page)
        assert address
        async with client.get(address[1]) as answer:
            assert answer.headers["Content-Type"] == "text/javascript; charset=utf-8"
            assert "immutable" in answer.headers["Cache-Control"]
        async with client.get(re.sub(r"assets/\w+", "assets/000000000000", address[1])) as answer:
            assert (answer.status, answer.headers["Cache-Control"]) == (200, "no-cache")


async def test_no_answer_leaves_without_the_fence() -> None:
    async with serving(Script(), csp_report_uri=None) as script, aiohttp.ClientSession(script.url) as client:
        for path in ("/panel", "/panel/config.json", "/panel/assets/x/app.js", "/panel/assets/x/nothing.js"):
            async with client.get(path) as answer:
                policy = answer.headers["Content-Security-Policy"]
                assert "default-src 'none'" in policy
                assert "unsafe" not in policy
                assert "require-trusted-types-for 'script'; trusted-types 'none'" in policy
                assert "frame-ancestors 'none'" in policy
                assert f"connect-src 'self' {script.auth_url};" in policy
                assert answer.headers["X-Content-Type-Options"] == "nosniff"


async def test_only_files_of_the_panel_are_served() -> None:
    async with serving(Script()) as script, aiohttp.ClientSession(script.url) as client:
        for path in (
            "LICENSE.preact",
            "vendor/LICENSE.preact",
            "..%2fconfig.py",
            "%2e%2e/config.py",
            "/etc/passwd",
            "index.html",
        ):
            async with client.get(f"/panel/assets/x/{path}") as answer:
                assert answer.status == 404, path


async def test_the_public_config_holds_no_secret() -> None:
    async with (
        serving(Script(), embed_origins=["https://museum.example"]) as script,
        aiohttp.ClientSession(script.url) as client,
        client.get("/panel/config.json") as answer,
    ):
        config = await answer.json()

    assert config == {
        "supabase_url": script.auth_url, "publishable_key": "sb_publishable_test", "version": "0.0.0",
        "simulated": False, "auth": {"sign_up": True}, "embed_origins": ["https://museum.example"],
        "operator_claim": "",
    }  # fmt: skip

"""What the Dockerfile makes: checked without an engine, by its text and by doing what it says."""

import asyncio
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

import worker
from tests.deploy.dockerfile import Dockerfile
from tests.support.waiting import until
from worker.devstack.stack import Stack

pytestmark = pytest.mark.timeout(300)  # installing what it needs

ROOT = Path(__file__).parents[2]
IMAGE = Dockerfile(ROOT / "Dockerfile")
TARGETS = ("worker", "offline")
NUMBER = 10001
HAS_APERTIUM = Path("/usr/share/apertium/modes/eng-spa.mode").exists()


def test_the_plain_build_makes_the_worker_and_offline_is_a_second_target() -> None:
    assert [stage.name for stage in IMAGE.stages] == ["build", "base", "offline", "worker"]
    assert {IMAGE.stage("build").base, IMAGE.stage("base").base} == {"python:3.11-slim-bookworm"}
    assert {IMAGE.stage(target).base for target in TARGETS} == {"base"}


@pytest.mark.parametrize("target", TARGETS)
def test_the_image_is_not_root_and_starts_in_exec_form_behind_an_init(target: str) -> None:
    assert IMAGE.last(target, "USER") == f"{NUMBER}:{NUMBER}"
    assert IMAGE.stage(target).steps[-1][0] == "USER"  # nothing is done as that user, so nothing belongs to it
    assert IMAGE.command(target) == ["worker", "run"]
    assert IMAGE.command(target, "ENTRYPOINT") == ["tini", "--"]
    assert "tini" in IMAGE.last("base", "RUN")
    assert IMAGE.stage(target).all("COPY") == ["--from=build /venv /venv"]


def test_the_offline_image_translates_with_what_it_has_installed() -> None:
    (install,) = IMAGE.stage("offline").all("RUN")

    assert IMAGE.variables("offline")["TRANSLATOR"] == "apertium"
    assert {"apertium", "apertium-eng-spa", "apertium-es-pt"} <= set(install.split())
    assert "TRANSLATOR" not in IMAGE.variables("worker")


def test_what_debian_installs_leaves_no_lists_behind_and_brings_nothing_extra() -> None:
    installs = [text for stage in IMAGE.stages for text in stage.all("RUN") if "apt-get install" in text]

    assert len(installs) == 2
    assert all("--no-install-recommends" in text for text in installs)
    assert all(text.endswith("rm -rf /var/lib/apt/lists/*") for text in installs)


def test_the_labels_tell_the_version_that_is_inside() -> None:
    (labels,) = IMAGE.stage("base").all("LABEL")

    assert 'org.opencontainers.image.version="${VERSION}"' in labels
    assert f"VERSION={worker.__version__}" in IMAGE.stage("base").all("ARG")


def test_only_what_the_package_is_made_of_enters_the_build() -> None:
    sources = {source for named, _ in IMAGE.copied("build") for source in named}
    ignore = (ROOT / ".dockerignore").read_text().splitlines()

    assert all((ROOT / source).exists() for source in sources)
    assert ignore[1] == "*"
    allowed = tuple(line.removeprefix("!") for line in ignore if line.startswith("!"))
    assert [source for source in sources if not source.startswith(allowed)] == []
    assert not [name for name in allowed if re.search(r"\.env|\.git|tests|\.venv", name)]


def test_everything_is_installed_by_hash() -> None:
    installs = [text for text in IMAGE.stage("build").all("RUN") if "pip" in text and " install " in text]

    assert installs
    assert all("--require-hashes" in text or "--no-index --no-deps" in text for text in installs)


@pytest.fixture(scope="module")
def image() -> Iterator[Path]:
    """The folder of an environment made as the Dockerfile says, from nothing but what it copies; read-only."""
    home = Path(tempfile.mkdtemp(prefix="image-", dir="/tmp"))
    try:
        home.chmod(0o755)
        source, venv, empty = home / "src", home / "venv", home / "empty"
        source.mkdir()
        empty.mkdir()
        for named, destination in IMAGE.copied("build"):
            for one in named:
                _copy(ROOT / one, source / destination)
        _make(source, venv)
        for path in [home, *home.rglob("*")]:
            if not path.is_symlink():
                path.chmod(path.stat().st_mode & ~0o222)
        yield home
    finally:
        subprocess.run(["chmod", "-R", "u+w", home], check=True)
        shutil.rmtree(home)


def _copy(source: Path, destination: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, destination, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        folder = destination.parent if destination.suffix else destination
        folder.mkdir(exist_ok=True, parents=True)
        shutil.copy(source, folder)


def _make(source: Path, venv: Path) -> None:
    """The RUN steps of the build, with its paths exchanged and with this environment's build backend."""
    subprocess.run([_python(), "-m", "venv", "--without-pip", venv], check=True)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    into = ["--python", str(venv / "bin/python")]
    requirements = source / "requirements/run.txt"
    done = subprocess.run(
        [*pip, *into, "install", "--require-hashes", "--requirement", requirements],
        capture_output=True,
        text=True,
        check=False,
    )
    if re.search("Could not find a version|ConnectionError|Max retries|timed out", done.stderr) and done.returncode:
        pytest.skip("registry: pip could not download what run.txt names")
    assert done.returncode == 0, done.stderr
    wheel = ["wheel", "--no-build-isolation", "--no-deps", "--wheel-dir", "dist", "."]
    subprocess.run([*pip, *wheel], cwd=source, check=True)
    built = next((source / "dist").glob("*.whl"))
    subprocess.run([*pip, *into, "install", "--no-index", "--no-deps", built], check=True)


def _python() -> str:
    """An interpreter that the image's user may run too."""
    installed = (Path(folder, "python3.11") for folder in ("/usr/bin", "/usr/local/bin"))
    return next((str(path) for path in installed if path.exists()), sys.executable)


def _as_its_user() -> dict[str, Any]:
    is_reachable = not _python().startswith(str(Path.home()))
    return {"user": NUMBER, "group": NUMBER} if os.getuid() == 0 and is_reachable else {}


def _environment(image: Path, target: str = "worker", **more: str) -> dict[str, str]:
    own = {name: value.replace("/venv", str(image / "venv")) for name, value in IMAGE.variables(target).items()}
    own["PATH"] = own["PATH"].replace("$PATH", "/usr/bin:/bin")
    return {**own, "HOME": "/nonexistent", "TMPDIR": "/nonexistent", **more}


@asynccontextmanager
async def started(
    image: Path, environment: Mapping[str, str]
) -> AsyncIterator[tuple[asyncio.subprocess.Process, list[str]]]:
    """The image's command as its user in an empty, read-only folder, and what it prints."""
    init = IMAGE.command("worker", "ENTRYPOINT") if shutil.which("tini") else []
    process = await asyncio.create_subprocess_exec(
        *init,
        *IMAGE.command("worker"),
        env=dict(environment),
        cwd=image / "empty",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        **_as_its_user(),
    )
    lines: list[str] = []
    reading = asyncio.create_task(_read(process, lines))
    try:
        yield process, lines
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await reading


async def _read(process: asyncio.subprocess.Process, lines: list[str]) -> None:
    assert process.stdout is not None
    async for line in process.stdout:
        lines.append(line.decode().rstrip())


async def _is_healthy(environment: Mapping[str, str]) -> bool:
    check = await asyncio.create_subprocess_exec(
        *IMAGE.command("worker", "HEALTHCHECK"),
        env=dict(environment),
        stderr=asyncio.subprocess.DEVNULL,
        **_as_its_user(),
    )
    return await check.wait() == 0


def _files(image: Path) -> dict[Path, float]:
    return {path: path.lstat().st_mtime for path in image.rglob("*")}


def test_it_has_the_package_and_nothing_else_of_the_checkout(image: Path) -> None:
    (record,) = (image / "venv").glob("lib/python*/site-packages/supabase_realtime_worker-*.dist-info/RECORD")
    listed = {line.rpartition(",")[0].rpartition(",")[0] for line in record.read_text().splitlines()}
    own = {name for name in listed if not name.startswith(f"{record.parent.name}/") and "__pycache__" not in name}
    source = image / "src"
    made = {str(path.relative_to(source)) for path in (source / "worker").rglob("*") if path.is_file()}
    made = {name for name in made if "__pycache__" not in name}

    assert own == made | {"../../../bin/worker", "worker/sql/install.sql", "worker/sql/catalog.json"}
    assert [name for name in made if re.search(r"\.env|/\.|test_|\.pem|\.key$", name)] == []
    linked = [path.name for path in (image / "venv/bin").iterdir() if path.name.startswith("worker")]
    assert linked == ["worker"]


@pytest.mark.asyncio(loop_scope="module")
async def test_it_runs_in_an_empty_environment_writes_nothing_and_stops_when_asked(image: Path, stack: Stack) -> None:
    before = _files(image)
    environment = _environment(
        image,
        SUPABASE_URL=stack.urls.url,
        SUPABASE_SECRET_KEY=stack.urls.secret_key,
        HOST="127.0.0.1",
        PORT=str(_free_port()),
    )
    async with started(image, environment) as (process, lines):
        await until(lambda: any("Realtime subscription active" in line for line in lines), "\n".join(lines), seconds=60)
        assert any("Job processor started" in line for line in lines)
        async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{environment['PORT']}/ready") as ready:
            assert ready.status == 200
        assert await _is_healthy(environment)
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            assert await process.wait() == 0, lines

    assert not await _is_healthy(environment)
    assert await _is_healthy({name: value for name, value in environment.items() if name != "PORT"})
    assert _files(image) == before


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _logged(lines: list[str]) -> list[dict[str, Any]]:
    """What the worker said; tini has words of its own where it is not process 1."""
    return [json.loads(line) for line in lines if line.startswith("{")]


@pytest.mark.asyncio(loop_scope="module")
async def test_the_offline_image_starts_with_a_translator_that_needs_nobody(image: Path, stack: Stack) -> None:
    if not HAS_APERTIUM:
        pytest.skip(os.environ.get("WITHOUT_APERTIUM", "Apertium with eng-spa is not installed"))
    project = {"SUPABASE_URL": stack.urls.url, "SUPABASE_SECRET_KEY": stack.urls.secret_key}
    async with started(image, _environment(image, "offline", **project)) as (process, lines):
        await until(lambda: any("Job processor started" in line for line in lines), "it starts", seconds=60)
        process.send_signal(signal.SIGTERM)
        await process.wait()

    (chosen,) = [entry for entry in _logged(lines) if entry["message"] == "Translator chosen"]
    assert (chosen["translator"], chosen["simulated"], chosen["severity"]) == ("apertium", False, "INFO")


@pytest.mark.asyncio(loop_scope="module")
async def test_without_settings_it_says_which_one_is_missing_and_ends_with_2(image: Path) -> None:
    async with started(image, _environment(image)) as (process, lines):
        assert await process.wait() == 2

    (last,) = _logged(lines)
    assert last["message"].startswith("SUPABASE_URL is not set")
    assert last["severity"] == "CRITICAL"
